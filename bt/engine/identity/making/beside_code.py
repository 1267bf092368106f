"""Stores to data that lies beside code, in the same page, which no view lets through.

A unit that trapped at one is made anew with a look at what tier 1 looks at: the TLB has the page, it has been written
to before, and none of its granules of 64 bytes that code came from are touched. Then the store goes to where the page
is on the host. In any other case the interpreter does the instruction.
"""

from __future__ import annotations

from typing import NamedTuple

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import memory_operand, move, on_registers
from bt.engine.identity.crossing import LOAD_FLAGS, SAVE_FLAGS, wide
from bt.engine.identity.making.offsets import FREE, LEA, Parts, T, plain
from bt.engine.identity.making.sequences import exchange
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.floating import encode_floating
from bt.engine.reencode.forms import Inline, fp_form_fields, inline
from bt.engine.reencode.integer import IntegerEncoder, NotEncodable
from bt.memory.physical import CODE_GRANULE_SHIFT
from bt.memory.soft_mmu.host_form import ENTRY
from bt.x86.opcodes import Form, Method, Width
from bt.x86.page import PAGE
from bt.x86.services import WALKED_WRITABLE

_EAX, _ECX = 0, 1
_PUSH_EAX, _POP_EAX, _PUSH_ECX, _POP_ECX = b"\x50", b"\x58", b"\x51", b"\x59"
_SHIFT, _LEFT, _RIGHT, _WITH, _AND, _OR = b"\xc1", 4, 5, b"\x81", 4, 1
_ADD_LOAD, _CMP_LOAD, _MOV_LOAD, _BT = b"\x03", b"\x3b", b"\x8b", b"\x0f\xa3"
_TEST_CL = b"\xf6\xc1"
_CARRY, _EQUAL, _NOT_EQUAL = 2, 4, 5  # condition codes
_ENTRY_BYTES_A_PAGE = 3  # of the code maps: log2
_PAGE_SHIFT = PAGE.bit_length() - 1
_IN_MEMORY = (Method.REGISTER_OR_MEMORY, Method.OFFSET)

_RESTORE = _POP_EAX + LOAD_FLAGS + _POP_ECX
"""What was in registers and flags before the look."""


class Look(NamedTuple):
    """What is in front of an access. `pieces`: code, and the condition on which the interpreter does the instruction,
    behind `restore`; `found`: if it does not."""

    pieces: tuple[tuple[bytes, int], ...]
    found: bytes
    restore: bytes


def _at_t(reg: int, base: int | None, index: int | None, scale: int, displacement: int) -> tuple[bytes, bytes, int]:
    """The OperandForm whose address is in T, a host address."""
    return b"", *memory_operand(reg, T, None, 0, 0)


_ENCODER = IntegerEncoder(FLAT_32, _at_t)


def look_and_store(address: bytes, form: Form, i: Decoded) -> tuple[Look, Parts]:
    """For an instruction that stores to where `address` makes T point, in the guest. Raises NotEncodable."""
    if inline(form) is Inline.EXECUTE:
        return _look(address, fp_form_fields(form, True)["size"]), ((encode_floating(i, _ENCODER), True),)
    width = next((operand.width for operand in form.operands if operand.method in _IN_MEMORY), None)
    if width not in (Width.B, Width.V):
        raise NotEncodable("a selector, or eight bytes")
    look = _look(address, 1 if width is Width.B else i.operand_size // 8)
    if form.meaning == "move.xchg" and width is not Width.B:
        return look, exchange(_ENCODER, i, FREE)
    return look, ((_ENCODER.encode(i), True),)


def _look(address: bytes, size: int) -> Look:
    find = address + _PUSH_ECX + SAVE_FLAGS + _PUSH_EAX
    find += move(FREE, T) + on_registers(_SHIFT, _RIGHT, FREE) + bytes((ENTRY.shift,))
    find += on_registers(_WITH, _AND, FREE) + ENTRY.mask.to_bytes(4, "little") + wide(_ADD_LOAD, FREE, ENTRY.table)
    find += plain(LEA, _ECX, T, displacement=size - 1)  # of the last byte: none that crosses a page has its tag
    find += on_registers(_WITH, _OR, _ECX) + (PAGE - 1).to_bytes(4, "little") + _at(_CMP_LOAD, _ECX, FREE, ENTRY.tag)
    known = _at(_MOV_LOAD, _ECX, FREE, ENTRY.physical) + _TEST_CL + bytes((WALKED_WRITABLE,))
    code_map = on_registers(_SHIFT, _RIGHT, _ECX, wide=True) + bytes((_PAGE_SHIFT,))
    code_map += on_registers(_SHIFT, _LEFT, _ECX, wide=True) + bytes((_ENTRY_BYTES_A_PAGE,))
    code_map += wide(_ADD_LOAD, _ECX, "page_info") + _at(_MOV_LOAD, _ECX, _ECX, 0)
    pieces = [(find, _NOT_EQUAL), (known, _EQUAL), (code_map + _granule(move(_EAX, T)), _CARRY)]
    if size > 1:
        pieces.append((_granule(plain(LEA, _EAX, T, displacement=size - 1)), _CARRY))
    return Look(tuple(pieces), _at(_ADD_LOAD, T, FREE, ENTRY.addend) + _RESTORE, _RESTORE)


def _granule(byte: bytes) -> bytes:
    """CF = code came from the granule of the byte that EAX is made the address of."""
    return (
        byte
        + on_registers(_SHIFT, _RIGHT, _EAX)
        + bytes((CODE_GRANULE_SHIFT,))
        + on_registers(_BT, _EAX, _ECX, wide=True)
    )


def _at(opcode: bytes, reg: int, base: int, displacement: int) -> bytes:
    """64 bits at a host address."""
    address, bits = memory_operand(reg, base, None, 0, displacement)
    return bytes((0x48 | bits,)) + opcode + address
