"""Guest code for people: what a vCPU would execute next, fetched and disassembled without the guest noticing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from bt.engine.vcpu import Vcpu
from bt.memory.ram import PAGE_SIZE
from bt.x86.capstone_layout import Handle
from bt.x86.mode import CODE_32
from bt.x86.state import CS
from bt.x86.system.control_registers import CR0_PG, CR4_PSE
from bt.x86.system.paging import LARGE, PRESENT

LONGEST_INSTRUCTION = 15  # bytes
_LARGE_PAGE = 4 << 20
_32_BITS = (1 << 32) - 1
Bits = Literal[16, 32, 64]


class Address(NamedTuple):
    """A linear address and where it is in guest physical memory; None if its page is not mapped."""

    linear: int
    physical: int | None


@dataclass(frozen=True)
class Instruction:
    """One guest instruction: `number` counts those retired before it; `code` is empty where there is no memory."""

    number: int
    eip: int
    code: bytes
    text: str


def translate(cpu: Vcpu, linear: int) -> Address:
    """Look up a linear address in the guest's page tables (SDM vol. 3A 4.3), leaving accessed bits alone."""
    linear &= _32_BITS
    if not cpu.state["cr0"] & CR0_PG:
        return Address(linear, linear & cpu.state["a20_mask"])
    directory = _entry(cpu, (cpu.state["cr3"] & -PAGE_SIZE) | (linear >> 20 & 0xFFC))
    if directory is None or not directory & PRESENT:
        return Address(linear, None)
    if directory & LARGE and cpu.state["cr4"] & CR4_PSE:
        return Address(linear, ((directory & -_LARGE_PAGE) | linear % _LARGE_PAGE) & cpu.state["a20_mask"])
    table = _entry(cpu, (directory & -PAGE_SIZE) | (linear >> 10 & 0xFFC))
    if table is None or not table & PRESENT:
        return Address(linear, None)
    return Address(linear, ((table & -PAGE_SIZE) | linear % PAGE_SIZE) & cpu.state["a20_mask"])


def _entry(cpu: Vcpu, physical: int) -> int | None:
    physical &= cpu.state["a20_mask"]
    return int.from_bytes(cpu.ram.read(physical, 4), "little") if physical + 4 <= cpu.ram.size else None


def read_linear(cpu: Vcpu, linear: int, size: int) -> bytes:
    """Up to `size` bytes at a linear address; fewer where RAM or the mapping ends."""
    found = bytearray()
    while len(found) < size:
        linear_now = (linear + len(found)) & _32_BITS
        physical = translate(cpu, linear_now).physical
        part = min(size - len(found), PAGE_SIZE - linear_now % PAGE_SIZE)
        if physical is None or physical + part > cpu.ram.size:
            break
        found += cpu.ram.read(physical, part)
    return bytes(found)


def code_bits(cpu: Vcpu) -> Literal[16, 32]:
    """Default operand and address size of the code that runs now."""
    return 32 if cpu.state["mode"] & CODE_32 else 16


def next_instruction(cpu: Vcpu) -> Instruction:
    """The instruction at CS:EIP."""
    eip = cpu.state["eip"]
    code = read_linear(cpu, cpu.state.segment(CS, "base") + eip, LONGEST_INSTRUCTION)
    line = next(disassembler(code_bits(cpu)).disassemble(code, eip), None)
    if line is None:
        return Instruction(cpu.instructions, eip, code[:1], "(undefined)" if code else "(no memory)")
    return Instruction(cpu.instructions, eip, line.code, line.text)


@cache
def disassembler(bits: Bits) -> Handle:
    """A disassembler without detail."""
    return Handle(bits, detail=False)
