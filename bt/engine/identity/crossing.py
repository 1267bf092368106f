"""Between the tiers: what units leave through, and what leads into them.

No register moves, only flags do, from EFLAGS to the state and back, and the budget, which is biased in tier 2.
"""

from __future__ import annotations

from bt.codegen.abi import FLAT_32, Signature
from bt.codegen.host_bytes import based, move, move_immediate
from bt.engine.structures import NO_X87_SEGMENT
from bt.x86 import state
from bt.x86.state import CS, FS

_STATE, _BUDGET, _FREE = FLAT_32.number("state"), FLAT_32.number("budget"), FLAT_32.number("free")
_RBX, _RBP = 3, 5
TABLE = _RBP  # tier 1 keeps it, so that it is the same again when a unit is left
VIEW_BASE = 10  # where the view begins, in r10, which is nobody's in tier 1

SAVE_FLAGS = bytes.fromhex("4889c3 9f 0f90c0")  # mov rbx, rax; lahf; seto al
LOAD_FLAGS = bytes.fromhex("047f 9e 4889d8")  # add al, 7Fh (which sets OF if al was 1); sahf; mov rax, rbx


def slot(opcode: bytes, reg: int, name: str) -> bytes:
    """An instruction with 32 bits of the state as its memory operand."""
    return based(opcode, reg, _STATE, state.offset(name))


def wide(opcode: bytes, reg: int, name: str) -> bytes:
    """The same with 64 bits."""
    return _wide_at(opcode, reg, state.offset(name))


def _wide_at(opcode: bytes, reg: int, displacement: int) -> bytes:
    return based(opcode, reg, _STATE, displacement, wide=True)


def add_to_budget(amount: int) -> bytes:
    """lea r15, [r15 + amount]: no flag changes"""
    short = -128 <= amount < 128
    code = based(b"\x8d", _BUDGET, _BUDGET, amount, short=short)
    return bytes((code[0] | 8,)) + code[1:]


def load_whole_base(segment: int) -> bytes:
    """mov rbx, where the base of FS or GS is to be had"""
    return _wide_at(b"\x8b", _RBX, state.offset("whole_bases", segment - FS))


NOTE_OPERAND = wide(b"\x89", _FREE, "fpu_dp")
"""The free register has the offset of the last x87 operand."""


def note_x87(eip: int, segment: int) -> bytes:
    """Note the last x87 instruction, and the segment of the last x87 operand, if there is one. No flag changes."""
    code = move_immediate(_FREE) + eip.to_bytes(4, "little") + wide(b"\x89", _FREE, "fpu_ip")
    for number, name in ((CS, "fpu_cs"), (segment, "fpu_ds")):
        if number != NO_X87_SEGMENT:
            code += _wide_at(b"\x8b", _FREE, state.segment_offset(number, "selector")) + wide(b"\x89", _FREE, name)
    return code


ENTER_TABLES = (
    wide(b"\x89", TABLE, "host_frame") + wide(b"\x8b", TABLE, "branch_table") + wide(b"\x8b", VIEW_BASE, "view")
)
# Code of 64-bit mode, and nothing else, may leave something in the upper halves. mov r32, r32
CLEAN_REGISTERS = b"".join(move(number, number) for number in FLAT_32.guest_numbers)
NOTE_ENTRY = wide(b"\x89", _BUDGET, "unit_entered") + slot(b"\xc6", 0, "in_unit") + b"\x01"  # mov byte memory, 1


def note_number(number: int) -> bytes:
    """Note in which unit tier 2 is entered."""
    return slot(b"\xc7", 0, "unit_number") + number.to_bytes(4, "little")


_gate = FLAT_32.signature
UNIT_SERVICE, UNIT_FAULT = _gate("unit_service_gate"), _gate("unit_fault_gate")  # number of a site in the free argument
UNIT_END = _gate("unit_end_gate")  # the budget does not cover the unit; a site as well
UNIT_MISS = _gate("unit_miss_gate")  # no unit begins at the address in T
WAYS_OUT = (UNIT_SERVICE, UNIT_FAULT, UNIT_END, UNIT_MISS)
UNIT_ENTER = _gate("unit_enter_gate")  # from tier 1, whose budget covers BIAS: number of a unit in the free argument
RESUME_UNIT = _gate("resume_unit")


def way_out(gate: Signature) -> str:
    """Symbol of what a unit jumps to in order to leave by a gate."""
    return gate.name.replace("_gate", "_way_out")
