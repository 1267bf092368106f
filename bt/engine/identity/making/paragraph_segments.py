"""Segment registers of real and virtual-8086 mode in units: selector and base, in the state."""

from __future__ import annotations

from bt.codegen.host_bytes import based, memory_operand, move, move_immediate
from bt.engine.identity.crossing import TABLE
from bt.engine.identity.making.offsets import FREE, LEA, MOV_LOAD, MOV_STORE, STATE, Parts, T, plain
from bt.engine.reencode.integer import NotEncodable
from bt.x86 import state
from bt.x86.mode import PARAGRAPH_SLOTS_SHIFT
from bt.x86.state import CS, DS, ES, FS, GS, segment_offset

SELECTOR = 10
"""r10, which is nobody's."""

_LOADED = frozenset((ES, DS, FS, GS))


def selector_of(segment: int) -> tuple[bytes, bool]:
    """mov FREE, selector of a segment"""
    return based(MOV_LOAD, FREE, STATE, segment_offset(segment, "selector")), False


def rotated(target: int, source: int, count: int, *, wide: bool = False) -> bytes:
    """rorx target, source, count (BMI2), of 32 or 64 bits: no flag changes."""
    vex = bytes((0xC4, (~target >> 3 & 1) << 7 | 0x40 | (~source >> 3 & 1) << 5 | 3, 0xFB if wide else 0x7B, 0xF0))
    return vex + bytes((0xC0 | (target & 7) << 3 | source & 7, count))


def enter_code() -> Parts:
    """CS = the selector in SELECTOR, T = FREE; the table is that of the segment."""
    table = state.offset("branch_tables", 2)
    slots = rotated(TABLE, SELECTOR, 60 - PARAGRAPH_SLOTS_SHIFT, wide=True), False
    return (
        *_put_selector(CS, SELECTOR),
        slots,
        (_wide(MOV_LOAD, T, table), False),
        (_wide_sum(TABLE, TABLE, T), False),
        (_wide(MOV_STORE, TABLE, state.offset("branch_table")), False),
        *_put_base(CS, SELECTOR),
        (move(T, FREE), False),
    )


def load_segment(segment: int, source: int) -> Parts:
    """A segment register = selector in a host register, which is destroyed."""
    if segment not in _LOADED:
        raise NotEncodable("SS or CS")
    return (*_put_selector(segment, source), *_put_base(segment, source))


def _put_selector(segment: int, source: int) -> Parts:
    return ((_wide(MOV_STORE, source, segment_offset(segment, "selector")), False),)


def _put_base(segment: int, source: int) -> Parts:
    base = _wide(MOV_STORE, source, segment_offset(segment, "base")), False
    return (_times(source, 3), False), (plain(LEA, source, source, source), False), base


def _wide(opcode: bytes, reg: int, displacement: int) -> bytes:
    """An instruction on 64 bits of the state."""
    code = based(opcode, reg, STATE, displacement)
    return bytes((code[0] | 8,)) + code[1:]


def _wide_sum(target: int, base: int, index: int) -> bytes:
    """lea r64, [r64 + r64]"""
    address, bits = memory_operand(target, base, index, 0, 0)
    return bytes((0x48 | bits,)) + LEA + address


def constant(target: int, value: int) -> bytes:
    return move_immediate(target) + value.to_bytes(4, "little")


def _times(register: int, shift: int) -> bytes:
    """lea r32, [r64 << shift]"""
    prefix = 0x40 | (register >> 3) << 2 | (register >> 3) << 1
    modrm, sib = (register & 7) << 3 | 4, shift << 6 | (register & 7) << 3 | 5
    return (bytes((prefix,)) if prefix != 0x40 else b"") + LEA + bytes((modrm, sib)) + bytes(4)
