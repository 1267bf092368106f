"""Stencils we encode ourselves, because LLVM cannot fold a hole into the instruction that should hold it.

Addresses become one LEA, moves and flagless arithmetic with an immediate become the guest's own instruction with its
registers renamed: 8 and 7 bytes where LLVM's versions take 14 to 18 (benchmarks/translate.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from bt.codegen.abi import HOST_NUMBERS
from bt.codegen.objectfile import CodePiece, Relocation, RelocationKind
from bt.x86.state import GPR_NAMES

HOST_REGISTERS = tuple(HOST_NUMBERS[name] for name in GPR_NAMES)  # host register number of each guest register
HOST_T = HOST_NUMBERS["t"]

_SIB_FOLLOWS, _NO_INDEX, _DISPLACEMENT_ONLY = 4, 4, 5
_LEA, _MOV, _MOV_IMMEDIATE, _GROUP_1 = 0x8D, 0x8B, 0xB8, 0x81
_GROUP_1_DIGITS = {"arith_add": 0, "logic_or_": 1, "logic_and_": 4, "arith_sub": 5, "logic_xor": 6}


def _rex(reg: int = 0, index: int = 0, base: int = 0) -> int:
    return 0x40 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3


def _hole(code: bytes, symbol: str, kind: RelocationKind) -> CodePiece:
    """Code that ends with a four-byte hole."""
    return CodePiece(code + bytes(4), (Relocation(len(code), kind, symbol, 0),), 1)


def _lea(base: int | None, index: int | None, scale: int) -> CodePiece:
    """lea t32, [base + (index << scale) + OFFSET]: guest register numbers."""
    b = None if base is None else HOST_REGISTERS[base]
    i = None if index is None else HOST_REGISTERS[index]
    rex = _rex(HOST_T, i or 0, b or 0)
    mod = 0 if b is None else 2
    modrm = mod << 6 | (HOST_T & 7) << 3 | _SIB_FOLLOWS
    sib = scale << 6 | ((_NO_INDEX if i is None else i & 7) << 3) | (_DISPLACEMENT_ONLY if b is None else b & 7)
    return _hole(bytes((rex, _LEA, modrm, sib)), "OFFSET", RelocationKind.ABS32S)


def _move_to_t(host: int) -> CodePiece:
    """mov t32, register"""
    return CodePiece(bytes((_rex(HOST_T, base=host), _MOV, 0xC0 | (HOST_T & 7) << 3 | host & 7)), (), 1)


def raw_pieces() -> Iterator[tuple[str, CodePiece]]:
    """All of them by stencil name."""
    yield "ea_abs", _hole(bytes((_rex(base=HOST_T), _MOV_IMMEDIATE | HOST_T & 7)), "OFFSET", RelocationKind.ABS32)
    for base in range(8):
        yield f"ea_b{base}", _move_to_t(HOST_REGISTERS[base])
        yield f"ea_bd{base}", _lea(base, None, 0)
    for scale in range(4):
        for index in range(8):
            yield f"ea_i{scale}{index}", _lea(None, index, scale)
            for base in range(8):
                yield f"ea_bi{scale}{base}{index}", _lea(base, index, scale)
    for number, host in enumerate(HOST_REGISTERS):
        name = f"r32_{number}_i32"
        move = bytes((_rex(base=host), _MOV_IMMEDIATE | host & 7))
        yield f"move_mov_32_{name}", _hole(move, "IMMEDIATE", RelocationKind.ABS32)
        for meaning, digit in _GROUP_1_DIGITS.items():
            operate = bytes((_rex(base=host), _GROUP_1, 0xC0 | digit << 3 | host & 7))
            yield f"{meaning}_32_{name}_dead", _hole(operate, "IMMEDIATE", RelocationKind.ABS32)
