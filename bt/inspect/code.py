"""Guest code for people: what a vCPU would execute next, fetched and disassembled without the guest noticing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from bt.engine.linear import read_linear
from bt.engine.vcpu import Vcpu
from bt.inspect.modes import describe_mode
from bt.x86.capstone_layout import Handle
from bt.x86.decode import DecodeError, decode
from bt.x86.mode import CODE_32, CODE_64, FLAT_CS
from bt.x86.state import ATTR_BIG, CS, ESP, SS

LONGEST_INSTRUCTION = 15  # bytes
RPL, IN_LDT, SELECTOR_INDEX = 3, 4, 0xFFF8  # parts of a selector: privilege level, table, index in bytes
_32_BITS = (1 << 32) - 1
_ADDRESS_SIZE, _ESCAPE = 0x67, 0x0F
_SIGN_EXTENSIONS = {"cbw": ("cbw", "cwde"), "cwd": ("cwd", "cdq")}  # with operands of 16 and of 32 bits
_WIDE_DISPLACEMENT = re.compile(r"\[0xffff([0-9a-f]{4})\]")  # 16 bits, sign-extended
Bits = Literal[16, 32, 64]


@dataclass(frozen=True)
class Instruction:
    """One guest instruction: `number` counts those retired before it; `code` is empty where there is no memory."""

    number: int
    eip: int
    code: bytes
    text: str
    place: str  # EIP, with the selector of CS before it where that is not flat
    mode: str  # of the processor, in words


def stack_top(cpu: Vcpu) -> int:
    """Linear address of what POP would take."""
    if cpu.state["mode"] & CODE_64:
        return cpu.state["gpr", ESP]
    wide = cpu.state.segment(SS, "attributes") & ATTR_BIG
    offset = cpu.state["gpr", ESP] & (_32_BITS if wide else 0xFFFF)
    return (cpu.state.segment(SS, "base") + offset) & _32_BITS


def code_base(cpu: Vcpu) -> int:
    """Linear address of offset 0 in the present code segment."""
    return 0 if cpu.state["mode"] & CODE_64 else cpu.state.segment(CS, "base")


def code_bits(mode: int) -> Bits:
    """Default operand and address size of code, or 64 for 64-bit mode, by the mode key."""
    return 64 if mode & CODE_64 else 32 if mode & CODE_32 else 16


def place_text(cpu: Vcpu, eip: int) -> str:
    """An offset in CS for people: alone where code is flat, else behind the selector."""
    if cpu.state["mode"] & (FLAT_CS | CODE_64):
        return offset_text(cpu.state["mode"], eip)
    return f"{cpu.state.segment(CS, 'selector'):04x}:{offset_text(cpu.state['mode'], eip)}"


def offset_text(mode: int, eip: int) -> str:
    """An offset in CS alone, by the mode key."""
    digits = {16: 4 if eip <= 0xFFFF else 8, 32: 8, 64: 16}[code_bits(mode)]
    return f"{eip:0{digits}x}"


def text_of(code: bytes, eip: int, bits: Bits) -> str | None:
    """Disassembly of one instruction that lies at EIP; None for bytes that are none.

    By capstone, but for what it gets wrong: it refuses reserved NOPs; in 16-bit code it lets branches lead beyond 64
    KiB, calls CBW CWDE and CWD CDQ and the other way round, and takes the prefix 66 of SIMD instructions for an operand
    size (so they are shown to it as the same ones in 32-bit code).
    """
    line = next(disassembler(bits).disassemble(code, eip), None)
    try:
        instruction = decode(code, bits=bits)
    except DecodeError:
        return line.text if line else None
    if bits != 64 and instruction.form.name in _SIGN_EXTENSIONS:
        return _SIGN_EXTENSIONS[instruction.form.name][instruction.operand_size == 32]
    if bits == 16 and instruction.form.chosen_by_prefix:
        line = next(disassembler(32).disassemble(_toggle_address_size(code[: instruction.length]), eip), None)
        if line is not None and instruction.address_size == 16:
            return _WIDE_DISPLACEMENT.sub(r"[0x\1]", line.text)
    if line is None:
        return instruction.form.name
    if instruction.relative is None:
        return line.text
    return f"{line.text.rpartition(' ')[0]} {instruction.target(eip + instruction.length):#x}"


def _toggle_address_size(code: bytes) -> bytes:
    """An instruction of the two-byte map without its address-size prefixes, or with one if there is none."""
    prefixes = code.index(_ESCAPE)
    kept = bytes(byte for byte in code[:prefixes] if byte != _ADDRESS_SIZE)
    return (b"" if _ADDRESS_SIZE in code[:prefixes] else bytes((_ADDRESS_SIZE,))) + kept + code[prefixes:]


def next_instruction(cpu: Vcpu) -> Instruction:
    """The instruction at CS:EIP."""
    eip = cpu.state["eip"]
    bits = code_bits(cpu.state["mode"])
    code, text = fetch(cpu, code_base(cpu), eip, bits)
    return Instruction(cpu.instructions, eip, code, text, place_text(cpu, eip), describe_mode(cpu.state))


def fetch(cpu: Vcpu, base: int, eip: int, bits: Bits) -> tuple[bytes, str]:
    """The bytes of the instruction at EIP in a code segment, and its disassembly or what is wrong with it."""
    code = read_linear(cpu, base + eip, LONGEST_INSTRUCTION)
    text = text_of(code, eip, bits)
    if text is None:
        return code[:1], "(undefined)" if code else "(no memory)"
    return code[: _length(code, bits)], text


def _length(code: bytes, bits: Bits) -> int:
    try:
        return decode(code, bits=bits).length
    except DecodeError:  # capstone knows more instructions than the processor has
        return len(next(disassembler(bits).disassemble(code)).code)


@cache
def disassembler(bits: Bits) -> Handle:
    """A disassembler without detail."""
    return Handle(bits, detail=False)
