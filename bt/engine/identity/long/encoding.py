"""The register plan of units of 64-bit code, and host instructions in it.

All guest registers are in host registers of their own names, but RSP, which is in r15, and R10, R11, R13 and R15,
which stay in the state: r13 points to that, r10 and r11 are for the accesses. The stack pointer is the host's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from bt.codegen.host_bytes import memory_operand
from bt.x86 import state

S0, S1, STATE, RSP_HOME = 10, 11, 13, 15
RAX = 0
RESIDENT = frozenset((10, 11, 13, 15))  # guest registers that stay in the state
_RSP = 4
HOST = tuple(RSP_HOME if n == _RSP else n for n in range(16))
HELD = tuple(n for n in range(16) if n not in RESIDENT)  # guest registers that have a host register
BELOW_EQUAL, EQUAL, NOT_EQUAL, SIGN, NOT_SIGN, NOT_BELOW = 6, 4, 5, 8, 9, 3  # condition codes


class Address(NamedTuple):
    """[base + (index << scale) + displacement], host registers."""

    base: int | None
    displacement: int = 0
    index_register: int | None = None
    scale: int = 0


NOWHERE = Address(None)  # of an instruction without memory operand


class NotEncodable(Exception):
    """Not in a unit: the interpreter does it."""


@lru_cache(1 << 15)
def instruction(
    opcode: bytes, reg: int, rm: int | Address, *, wide: bool = False, prefix: bytes = b"", low_bytes: bool = False
) -> bytes:
    """Prefix, REX, opcode, ModRM and all that follows but immediates. `reg`: a host register or an opcode extension.

    `wide`: REX.W. `low_bytes`: registers 4 to 7 are SPL to DIL.
    """
    if isinstance(rm, int):
        rex = (reg >> 3) << 2 | rm >> 3
        tail = bytes((0xC0 | (reg & 7) << 3 | rm & 7,))
    else:
        base, displacement, index, scale = rm
        if not -(1 << 31) <= displacement < 1 << 31:
            raise NotEncodable("displacement")
        tail, rex = memory_operand(reg, base, index, scale, displacement)
    rex |= wide << 3
    return prefix + (bytes((0x40 | rex,)) if rex or low_bytes else b"") + opcode + tail


def i32(value: int) -> bytes:
    """Four bytes of a number with sign."""
    return value.to_bytes(4, "little", signed=True)


def slot(name: str, index: int = 0) -> Address:
    """A slot of the state as an operand."""
    return Address(STATE, state.offset(name, index))


def gpr(number: int) -> Address:
    """Where the state has a guest register."""
    return slot("gpr", number)


def move(target: int, source: int) -> bytes:
    """mov r64, r64"""
    return instruction(b"\x89", source, target, wide=True)


def load(target: int, where: Address) -> bytes:
    """mov r64, memory"""
    return instruction(b"\x8b", target, where, wide=True)


def store(where: Address, source: int) -> bytes:
    """mov memory, r64"""
    return instruction(b"\x89", source, where, wide=True)


def lea(target: int, where: Address) -> bytes:
    """lea r64, address"""
    return instruction(b"\x8d", target, where, wide=True)


def shift(digit: int, register: int, count: int) -> bytes:
    """shl (4), shr (5) or sar (7) of 64 bits"""
    return instruction(b"\xc1", digit, register, wide=True) + bytes((count,))


@lru_cache(1 << 12)
def constant(register: int, value: int) -> bytes:
    """mov r64, value (64 bits, with or without sign)"""
    value &= (1 << 64) - 1
    if value < 1 << 32:
        return (b"\x41" if register >= 8 else b"") + bytes((0xB8 | register & 7,)) + value.to_bytes(4, "little")
    if value >= (1 << 64) - (1 << 31):
        return instruction(b"\xc7", 0, register, wide=True) + i32(value - (1 << 64))
    return bytes((0x48 | register >> 3, 0xB8 | register & 7)) + value.to_bytes(8, "little")


def add_to_slot(where: Address, amount: int) -> bytes:
    """add qword memory, amount (32 bits): destroys flags"""
    if -128 <= amount < 128:
        return instruction(b"\x83", 0, where, wide=True) + amount.to_bytes(1, "little", signed=True)
    return instruction(b"\x81", 0, where, wide=True) + i32(amount)


FLAGS, BUDGET, TEMPORARY, CODE_TAG = slot("host_flags"), slot("budget"), slot("scratch"), slot("code_tag")

SAVE_BEGIN = move(S1, RAX) + bytes.fromhex("9f0f90c0")  # mov r11, rax; lahf; seto al
SAVE_END = store(FLAGS, RAX) + move(RAX, S1)  # r11 goes
LOAD = move(S1, RAX) + load(RAX, FLAGS) + bytes.fromhex("047f9e") + move(RAX, S1)  # add al, 7Fh; sahf
LOAD_SAVED_CARRY = instruction(b"\x0f\xba", 4, FLAGS) + b"\x08"  # bt dword memory, 8: CF as LAHF has it
