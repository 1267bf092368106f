"""Blocks that are interpreted: each decoded record with its handler, its operands and what may come of it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

from bt.engine.linear import Address, read_linear, translate
from bt.engine.shapes import immediate_field
from bt.engine.structures import NO_REGISTER, RECORD, RECORD_BYTES, THUNK_BYTES, VARIANT_MEMORY, operand_size_of
from bt.engine.vcpu import Vcpu
from bt.inspect.code import code_bits, disassembler, place_text, text_of
from bt.inspect.explanation.handlers import OPERAND_LIMIT, Handler, Handlers
from bt.inspect.explanation.structure import Structure
from bt.x86.opcodes import FORMS, Form, Method, Operand, Width
from bt.x86.opcodes.fp import is_fp
from bt.x86.state import CS, GPR_NAMES, SEGMENT_NAMES, SS

_BYTE_NAMES = ("al", "cl", "dl", "bl", "ah", "ch", "dh", "bh")
_RETURN = "ret"
_REGISTER_KINDS = {
    Method.SEGMENT: SEGMENT_NAMES,
    Method.CONTROL_REGISTER: tuple(f"cr{n}" for n in range(8)),
    Method.DEBUG_REGISTER: tuple(f"dr{n}" for n in range(8)),
    Method.XMM_REGISTER: tuple(f"xmm{n}" for n in range(8)),
    Method.MMX_REGISTER: tuple(f"mm{n}" for n in range(8)),
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
    records = (Structure(RECORD, block["records"] + number * RECORD_BYTES) for number in range(block["count"]))
    eip = block["eip"]
    base = cpu.state.segment(CS, "base")
    return InterpretedBlock(
        eip,
        place_text(cpu, eip),
        translate(cpu, base + eip),
        why,
        tuple(_instruction(cpu, record, handlers) for record in records),
    )


def _instruction(cpu: Vcpu, record: Structure, handlers: Handlers) -> InterpretedInstruction:
    eip, form = record["eip"], FORMS[record["form"]]
    address = translate(cpu, cpu.state.segment(CS, "base") + eip)
    code = read_linear(cpu, address.linear, record["length"])
    handler = handlers.at(record["handler"])
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
            return _RM_KINDS[kind].format(record["rm_number"])
        case Method.RELATIVE:
            return f"to {record['immediate']:#x}"
        case Method.FAR_POINTER:
            return f"{record['immediate2']:#x}:{record['immediate']:#x}"
        case Method.IMMEDIATE:
            return f"{record[immediate_field(form, place)]:#x}"
        case _:
            return None  # fixed by the form


def _register(record: Structure, operand: Operand, field: str) -> str:
    number = record[field]
    if operand.width is Width.B:
        return _BYTE_NAMES[number]
    fixed = operand.width in (Width.D, Width.Y)
    narrow = operand.width is Width.W or (not fixed and operand_size_of(record["variant"]) == 16)
    return GPR_NAMES[number][1:] if narrow else GPR_NAMES[number]


def _memory(record: Structure) -> str:
    """Segment and address: "ds:[bx + si + 0x10]"."""
    narrow = record["address_mask"] == 0xFFFF
    parts = [
        GPR_NAMES[record[name]][narrow:] + (f"*{1 << record['scale']}" if scaled and record["scale"] else "")
        for name, scaled in (("base_number", False), ("index_number", True))
        if record[name] != NO_REGISTER
    ]
    displacement = record["displacement"] & record["address_mask"]
    if displacement or not parts:
        parts.append(f"{displacement:#x}")
    return f"{SEGMENT_NAMES[record['segment']]}:[{' + '.join(parts)}]"
