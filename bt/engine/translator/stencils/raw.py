"""Stencils we encode ourselves, because LLVM cannot fold a hole into the instruction that should hold it.

Addresses become one LEA, moves and flagless arithmetic with an immediate become the guest's own instruction with its
registers renamed: 8 and 7 bytes where LLVM's versions take 14 to 18 (benchmarks/translate.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from bt.codegen.abi import RegisterPlan
from bt.codegen.host_bytes import DISPLACEMENT_ONLY, NO_INDEX, SIB_FOLLOWS, move_immediate, rex, zero_extend_word
from bt.codegen.objectfile import CodePiece, Relocation, RelocationKind

_LEA, _MOV, _MOV_IMMEDIATE, _GROUP_1 = 0x8D, 0x8B, 0xB8, 0x81
_GROUP_1_DIGITS = {"arith_add": 0, "logic_or_": 1, "logic_and_": 4, "arith_sub": 5, "logic_xor": 6}


def _hole(code: bytes, symbol: str, kind: RelocationKind) -> CodePiece:
    """Code that ends with a four-byte hole."""
    return CodePiece(code + bytes(4), (Relocation(len(code), kind, symbol, 0),), 1)


def _lea(target: int, base: int | None, index: int | None, scale: int) -> CodePiece:
    """lea target32, [base + (index << scale) + OFFSET]: host register numbers."""
    mod = 0 if base is None else 2
    modrm = mod << 6 | (target & 7) << 3 | SIB_FOLLOWS
    sib_base = DISPLACEMENT_ONLY if base is None else base & 7
    sib = scale << 6 | (NO_INDEX if index is None else index & 7) << 3 | sib_base
    return _hole(bytes((rex(target, index or 0, base or 0), _LEA, modrm, sib)), "OFFSET", RelocationKind.ABS32S)


def _move(target: int, source: int) -> CodePiece:
    """mov target32, source32"""
    return CodePiece(bytes((rex(target, base=source), _MOV, 0xC0 | (target & 7) << 3 | source & 7)), (), 1)


def raw_pieces(plan: RegisterPlan) -> Iterator[tuple[str, CodePiece]]:
    """All of them by stencil name, for guest registers that sit where `plan` says."""
    t = plan.number("t")
    yield "ea_wrap", CodePiece(zero_extend_word(t), (), 1)
    yield "ea_abs", _hole(move_immediate(t), "OFFSET", RelocationKind.ABS32)
    for base, base_host in enumerate(plan.guest_numbers):
        yield f"ea_b{base}", _move(t, base_host)
        yield f"ea_bd{base}", _lea(t, base_host, None, 0)
    for scale in range(4):
        for index, index_host in enumerate(plan.guest_numbers):
            yield f"ea_i{scale}{index}", _lea(t, None, index_host, scale)
            for base, base_host in enumerate(plan.guest_numbers):
                yield f"ea_bi{scale}{base}{index}", _lea(t, base_host, index_host, scale)
    for number, host in enumerate(plan.guest_numbers):
        name = f"r32_{number}_i32"
        move = bytes((rex(base=host), _MOV_IMMEDIATE | host & 7))
        yield f"move_mov_32_{name}", _hole(move, "IMMEDIATE", RelocationKind.ABS32)
        for meaning, digit in _GROUP_1_DIGITS.items():
            operate = bytes((rex(base=host), _GROUP_1, 0xC0 | digit << 3 | host & 7))
            yield f"{meaning}_32_{name}_dead", _hole(operate, "IMMEDIATE", RelocationKind.ABS32)
