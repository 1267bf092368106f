"""The few host instructions that we encode ourselves, because they stand between pieces of compiled code.

Registers are numbers as in ModRM, SIB and (bit 3) REX; see RegisterPlan.number.
"""

from __future__ import annotations

JUMP_REL32 = 0xE9  # jmp rel32: opcode
JUMP_BYTES = 5
MOV_IMMEDIATE_BYTES = 6  # with a REX prefix
SIB_FOLLOWS, NO_INDEX, DISPLACEMENT_ONLY = 4, 4, 5  # ModRM.rm, SIB.index, SIB.base with mod 0
_LAHF = 0x9F
_SETO_AL = b"\x0f\x90\xc0"
_EAX, _EBX, _AH = 0, 3, 4


def rex(reg: int = 0, index: int = 0, base: int = 0) -> int:
    """The prefix that holds bit 3 of up to three register numbers."""
    return 0x40 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3


def _short_rex(reg: int = 0, base: int = 0, *, wide: bool = False) -> bytes:
    prefix = rex(reg, base=base) | 8 * wide
    return bytes((prefix,)) if prefix != 0x40 else b""


def _registers(opcode: bytes, reg: int, rm: int) -> bytes:
    return _short_rex(reg, rm) + opcode + bytes((0xC0 | (reg & 7) << 3 | rm & 7,))


def jump_register(number: int) -> bytes:
    """jmp r64"""
    return _registers(b"\xff", 4, number)


def move_immediate(number: int) -> bytes:
    """mov r32, imm32 without its four bytes of immediate; of a register that needs REX"""
    assert number >= 8
    return bytes((rex(base=number), 0xB8 | number & 7))


def move(target: int, source: int) -> bytes:
    """mov r32, r32"""
    return _registers(b"\x89", source, target)


def zero_extend_word(number: int) -> bytes:
    """movzx r32, r16, both the same"""
    return _registers(b"\x0f\xb7", number, number)


def test(number: int) -> bytes:
    """test r32, r32, both the same"""
    return _registers(b"\x85", number, number)


def based(opcode: bytes, reg: int, base: int, displacement: int, *, short: bool = False, wide: bool = False) -> bytes:
    """An instruction on [base + displacement], 8 (`short`) or 32 bits; `reg`: register or opcode extension. `wide`: it
    has operands of 64 bits."""
    mod = 1 if short else 2
    sib = bytes((0x24,)) if base & 7 == SIB_FOLLOWS else b""
    modrm = bytes((mod << 6 | (reg & 7) << 3 | base & 7,))
    return (
        _short_rex(reg, base, wide=wide)
        + opcode
        + modrm
        + sib
        + displacement.to_bytes(1 if short else 4, "little", signed=True)
    )


def memory_operand(reg: int, base: int | None, index: int | None, scale: int, displacement: int) -> tuple[bytes, int]:
    """ModRM, SIB and displacement of [base + (index << scale) + displacement], and the low four bits of REX.

    `reg`: register or opcode extension. Raises OverflowError for a displacement that has no 32 bits.
    """
    prefix = rex(reg, index or 0, base or 0) & 0xF
    field = (reg & 7) << 3
    index3 = NO_INDEX if index is None else index & 7
    if base is None:
        long = displacement.to_bytes(4, "little", signed=True)
        return bytes((field | SIB_FOLLOWS, scale << 6 | index3 << 3 | DISPLACEMENT_ONLY)) + long, prefix
    if displacement == 0 and base & 7 != DISPLACEMENT_ONLY:
        mod, tail = 0, b""
    elif -128 <= displacement < 128:
        mod, tail = 1, displacement.to_bytes(1, "little", signed=True)
    else:
        mod, tail = 2, displacement.to_bytes(4, "little", signed=True)
    if index is None and base & 7 != SIB_FOLLOWS:
        return bytes((mod << 6 | field | base & 7,)) + tail, prefix
    return bytes((mod << 6 | field | SIB_FOLLOWS, scale << 6 | index3 << 3 | base & 7)) + tail, prefix


def flags_to(number: int) -> bytes:
    """SF ZF AF PF CF as LAHF has them, into a register; destroys ebx. PUSHFQ would take longer."""
    load = bytes((_LAHF,)) + _registers(b"\x0f\xb6", _EBX, _AH)  # movzx ebx, ah
    return move(number, _EAX) + load + move(_EAX, number) + move(number, _EBX)


def flags_and_overflow_to(number: int) -> bytes:
    """The same in bits 8 to 15, and OF in bit 0."""
    load = bytes((_LAHF,)) + _SETO_AL + _registers(b"\x0f\xb7", _EBX, _EAX)  # movzx ebx, ax
    return move(number, _EAX) + load + move(_EAX, number) + move(number, _EBX)
