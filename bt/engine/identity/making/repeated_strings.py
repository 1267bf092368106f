"""Repeated MOVS and STOS in a unit: the host's own, upwards, for what one execution may do at most.

A view begins at a multiple of 4 GiB, so what becomes of RSI and RDI becomes, in their lower halves, of ESI and EDI. At
a fault these and ECX say how far the instruction has come, and it goes on from there, here or in the interpreter.

With paging a string that begins in a page that is not open is the interpreter's: most pages are copied to or from once,
and to open one takes longer than that.
"""

from __future__ import annotations

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import based, memory_operand, move, on_registers
from bt.engine.identity.crossing import LOAD_FLAGS, SAVE_FLAGS, VIEW_BASE, wide
from bt.engine.identity.making.beside_code import Look
from bt.engine.identity.making.offsets import FREE, LEA, MOV_LOAD, STATE, Parts, T
from bt.engine.identity.making.strings import element_size
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.integer import NotEncodable
from bt.memory.host_mmu.layout import PAGE_MAPPED, PAGES
from bt.x86 import state
from bt.x86.flags import DF
from bt.x86.opcodes import Form
from bt.x86.page import PAGE
from bt.x86.repetition import ITERATIONS
from bt.x86.services import WALKED_WRITABLE
from bt.x86.state import ECX, EDI, ESI

_MEANINGS = {"string.movs": (b"\xa4", b"\xa5"), "string.stos": (b"\xaa", b"\xab")}
_REP, _WORD = b"\xf3", b"\x66"
_COUNTER, _SOURCE, _DESTINATION = (FLAT_32.guest_numbers[number] for number in (ECX, ESI, EDI))
_COMPARE, _COMPARE_DIGIT, _TEST, _TEST_BYTE, _SHIFT, _RIGHT = b"\x81", 7, b"\xf7", b"\xf6", b"\xc1", 5
_EQUAL, _NOT_EQUAL, _ABOVE = 4, 5, 7  # condition codes
_DF_BYTE = (DF.bit_length() - 1) // 8  # of EFLAGS
_PAGE_SHIFT = PAGE.bit_length() - 1
assert (_COUNTER, _SOURCE, _DESTINATION) == (ECX, ESI, EDI)  # which the host's instruction has, too


def repeated(form: Form, i: Decoded, opened: str) -> tuple[Look, Parts]:
    """What has to be looked at first, and its host instructions. `opened`: the name of what is noted of the view's
    pages in the state; empty without paging. Raises NotEncodable."""
    if form.meaning not in _MEANINGS or i.address_mask != 0xFFFF_FFFF or not i.is_flat:
        raise NotEncodable("compares or loads, or is not flat")
    size = element_size(form, i)
    opcode = (_WORD if size == 2 else b"") + _REP + _MEANINGS[form.meaning][size > 1]
    indexes = (_DESTINATION,) if form.meaning == "string.stos" else (_SOURCE, _DESTINATION)
    few = SAVE_FLAGS + on_registers(_COMPARE, _COMPARE_DIGIT, _COUNTER) + ITERATIONS.to_bytes(4, "little")
    is_down = based(_TEST_BYTE, 0, STATE, state.offset("eflags_system") + _DF_BYTE)
    pieces = [(few, _ABOVE), (is_down + bytes((DF >> 8 * _DF_BYTE,)), _NOT_EQUAL)]
    if opened:
        for index in indexes:
            pieces += _is_open(index, opened, writes=index == _DESTINATION)
    in_view = b"".join(_wide_sum(index) for index in indexes)
    parts = (in_view, False), (opcode, True), (b"".join(move(index, index) for index in indexes), False)
    return Look(tuple(pieces), LOAD_FLAGS, LOAD_FLAGS), parts


def _is_open(index: int, opened: str, *, writes: bool) -> list[tuple[bytes, int]]:
    """Look whether an access at a host register's address is let through."""
    find = wide(MOV_LOAD, FREE, opened) + move(T, index) + on_registers(_SHIFT, _RIGHT, T) + bytes((_PAGE_SHIFT,))
    address, bits = memory_operand(0, FREE, T, 3, PAGES)
    has = bytes((0x40 | bits,)) + _TEST + address
    pieces = [(find + has + PAGE_MAPPED.to_bytes(4, "little"), _EQUAL)]
    if writes:
        pieces.append((has + WALKED_WRITABLE.to_bytes(4, "little"), _EQUAL))
    return pieces


def _wide_sum(index: int) -> bytes:
    """lea index, [the view's base + index], 64 bits"""
    address, bits = memory_operand(index, VIEW_BASE, index, 0, 0)
    return bytes((0x48 | bits,)) + LEA + address
