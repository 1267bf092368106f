"""Blocks that are interpreted: each decoded record with its handler, its operands and what may come of it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

from bt.engine.linear import Address, read_linear, translate
from bt.engine.shapes import immediate_field
from bt.engine.structures import (
    LONG_RECORD,
    LONG_VARIANTS,
    NO_REGISTER,
    NO_REGISTER_LONG,
    RECORD,
    RECORD_BYTES,
    THUNK_BYTES,
    VARIANT_MEMORY,
    operand_size_of,
)
from bt.engine.vcpu import Vcpu
from bt.inspect.code import code_base, code_bits, disassembler, place_text, text_of
from bt.inspect.explanation.handlers import OPERAND_LIMIT, Handler, Handlers
from bt.inspect.explanation.structure import Structure
from bt.x86.mode import CODE_64
from bt.x86.opcodes import FORMS, Form, Method, Operand, Width
from bt.x86.opcodes.fp import is_fp
from bt.x86.state import GPR_NAMES, GPR_NAMES_64, SEGMENT_NAMES, SS

_BYTE_NAMES = ("al", "cl", "dl", "bl", "ah", "ch", "dh", "bh")
_BYTE_NAMES_REX = (*_BYTE_NAMES[:4], "spl", "bpl", "sil", "dil")
_LETTERS = {8: "b", 16: "w", 32: "d", 64: ""}  # of R8 to R15
_RETURN = "ret"
_REGISTER_KINDS = {
    Method.SEGMENT: (*SEGMENT_NAMES[:6], "", "", *SEGMENT_NAMES[:6]),  # REX.R says nothing
    Method.CONTROL_REGISTER: tuple(f"cr{n}" for n in range(16)),
    Method.DEBUG_REGISTER: tuple(f"dr{n}" for n in range(16)),
    Method.XMM_REGISTER: tuple(f"xmm{n}" for n in range(16)),
    Method.MMX_REGISTER: tuple(f"mm{n % 8}" for n in range(16)),
}
_RM_KINDS = {
    Method.XMM_OR_MEMORY: "xmm{}",
    Method.XMM_RM: "xmm{}",
    Method.MMX_OR_MEMORY: "mm{}",
    Method.MMX_RM: "mm{}",
}


@dataclass(frozen=True)
class InterpretedInstruction:
    """One record. `operands` is what its handler will take from it, `host` the host's instructions of an FP thunk."""

    eip: int
    place: str
    address: Address
    code: bytes
    text: str
    form: Form
    handler: Handler
    operands: str
    faults: tuple[str, ...]  # that the handler raises itself
    host: tuple[str, ...]


@dataclass(frozen=True)
class InterpretedBlock:
    """One block of decoded code without a translation, and the reason for that."""

    eip: int
    place: str
    address: Address
    why: str
    instructions: tuple[InterpretedInstruction, ...]

    @property
    def guest_bytes(self) -> int:
        return sum(len(instruction.code) for instruction in self.instructions)


def interpreted_block(cpu: Vcpu, block: Structure, why: str, handlers: Handlers) -> InterpretedBlock:
    """Take a BLOCK apart, in the processor's present mode and address space."""
    layout = LONG_RECORD if block["mode"] & CODE_64 else RECORD
    records = (Structure(layout, block["records"] + number * RECORD_BYTES) for number in range(block["count"]))
    eip = block["eip"]
    return InterpretedBlock(
        eip,
        place_text(cpu, eip),
        translate(cpu, code_base(cpu) + eip),
        why,
        tuple(_instruction(cpu, record, handlers) for record in records),
    )


def _instruction(cpu: Vcpu, record: Structure, handlers: Handlers) -> InterpretedInstruction:
    eip, form = record["eip"], FORMS[record["form"]]
    address = translate(cpu, code_base(cpu) + eip)
    code = read_linear(cpu, address.linear, record["length"])
    handler = handlers.at(_handler_address(cpu, record, handlers))
    limit = "#SS" if record["segment"] == SS else "#GP"
    return InterpretedInstruction(
        eip,
        place_text(cpu, eip),
        address,
        code,
        text_of(code, eip, code_bits(cpu.state["mode"])) or form.name,
        form,
        handler,
        ", ".join(_operands(record, form)),
        tuple(dict.fromkeys(limit if fault == OPERAND_LIMIT else fault for fault in handler.faults)),
        _thunk(cpu, record) if is_fp(form) and not cpu.model.lacks(form.cpuid) else (),
    )


def _handler_address(cpu: Vcpu, record: Structure, handlers: Handlers) -> int:
    address = record["handler"]
    if not handlers.is_for_units(address):
        return address
    number = record["form"] * LONG_VARIANTS + record["variant"]
    return ctypes.c_uint64.from_address(cpu.control("long_handlers") + 8 * number).value


def _thunk(cpu: Vcpu, record: Structure) -> tuple[str, ...]:
    """The host's instructions that execute an FP instruction."""
    if not record["thunk"]:
        make = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)(cpu.library.symbols["fp_make_thunk"])
        make(cpu.state.pointer, record.address)
    code = ctypes.string_at(cpu.control("thunks") + record["thunk"], THUNK_BYTES)
    lines = []
    for line in disassembler(64).disassemble(code):
        if line.text == _RETURN:
            break
        lines.append(f"{line.code.hex()} {line.text}")
    return tuple(lines)


# -- operands ---------------------------------------------------------------------------------------------------------


def _operands(record: Structure, form: Form) -> Iterator[str]:
    """The record's operand fields, as far as the form has operands for them."""
    for place, operand in enumerate(form.operands):
        text = _operand(record, form, operand, place)
        if text is not None:
            yield text


def _operand(record: Structure, form: Form, operand: Operand, place: int) -> str | None:
    memory = bool(record["variant"] & VARIANT_MEMORY)
    match operand.method:
        case Method.MEMORY_ONLY | Method.OFFSET:
            return _memory(record)
        case Method.REGISTER_OR_MEMORY | Method.XMM_OR_MEMORY | Method.MMX_OR_MEMORY if memory:
            return _memory(record)
        case Method.REGISTER_OR_MEMORY | Method.REGISTER_RM | Method.OPCODE_REGISTER:
            return _register(record, operand, "rm_number")
        case Method.REGISTER:
            return _register(record, operand, "reg_number")
        case kind if kind in _REGISTER_KINDS:
            return _REGISTER_KINDS[kind][record["reg_number"]]
        case kind if kind in _RM_KINDS:
            mmx = kind in (Method.MMX_OR_MEMORY, Method.MMX_RM)
            return _RM_KINDS[kind].format(record["rm_number"] & (7 if mmx else 15))
        case Method.RELATIVE:
            return f"to {record['immediate']:#x}"
        case Method.FAR_POINTER:
            return f"{record['immediate2']:#x}:{record['immediate']:#x}"
        case Method.IMMEDIATE:
            return f"{record[immediate_field(form, place)]:#x}"
        case _:
            return None  # fixed by the form


def _register(record: Structure, operand: Operand, field: str) -> str:
    """The register a field names, by the width of the operand."""
    number, size = record[field], operand_size_of(record["variant"])
    bits = {Width.B: 8, Width.W: 16, Width.D: 32, Width.Y: max(size, 32)}.get(operand.width, size)
    if bits == 8 and number < 8:
        return (_BYTE_NAMES_REX if _is_long(record) and record["rex"] else _BYTE_NAMES)[number]
    return _name(number, bits)


def _name(number: int, bits: int) -> str:
    """A general register of 16, 32 or 64 bits, or the low byte of one of the upper eight."""
    if number >= len(GPR_NAMES):
        return GPR_NAMES_64[number] + _LETTERS[bits]
    return {16: GPR_NAMES[number][1:], 32: GPR_NAMES[number], 64: GPR_NAMES_64[number]}[bits]


def _is_long(record: Structure) -> bool:
    return record.layout is LONG_RECORD


def _address_bits(record: Structure) -> int:
    if _is_long(record):
        return 32 if record["address_size_32"] else 64
    return 16 if record["address_mask"] == 0xFFFF else 32


def _memory(record: Structure) -> str:
    """Segment and address: "ds:[bx + si + 0x10]"."""
    bits = _address_bits(record)
    none = NO_REGISTER_LONG if _is_long(record) else NO_REGISTER
    parts = [
        _name(record[name], bits) + (f"*{1 << record['scale']}" if scaled and record["scale"] else "")
        for name, scaled in (("base_number", False), ("index_number", True))
        if record[name] != none
    ]
    displacement = record["displacement"] & (1 << bits) - 1
    if displacement or not parts:
        parts.append(f"{displacement:#x}")
    return f"{SEGMENT_NAMES[record['segment']]}:[{' + '.join(parts)}]"
