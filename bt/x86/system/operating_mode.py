"""Which operating mode the processor is in (SDM vol. 3A 2.2): real-address, protected, virtual-8086 or long mode."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import UD, Context
from bt.x86.mode import CODE_64
from bt.x86.state import CS
from bt.x86.system.registers.control_registers import CR0_PE, CR0_PG, EFER_LMA


def in_real_mode(b: Context) -> Value:
    """CR0.PE clear, i1."""
    return (b.get("cr0", width=32) & CR0_PE) == 0


def is_paging(b: Context) -> Value:
    """CR0.PG set, i1."""
    return (b.get("cr0", width=32) & CR0_PG) != 0


def is_long_mode(b: Context) -> Value:
    """EFER.LMA set, i1: 64-bit mode or compatibility mode, as CS says."""
    return (b.get("efer", width=32) & EFER_LMA) != 0


def system_linear(b: Context, address: Value) -> Value:
    """Linear address (i64) of something in the processor's own tables: of 32 bits where there is no long mode."""
    return b.select(is_long_mode(b), address, address & 0xFFFF_FFFF)


def in_virtual_8086_mode(b: Context) -> Value:
    """EFLAGS.VM set, i1; never in real mode."""
    return (b.get("eflags_system", width=32) & flags.VM) != 0


def in_protected_mode(b: Context) -> Value:
    """CR0.PE set and EFLAGS.VM clear, i1."""
    return ~has_8086_segments(b)


def has_8086_segments(b: Context) -> Value:
    """Whether a selector is a paragraph number rather than an index of descriptors: real or virtual-8086 mode, i1."""
    return in_real_mode(b) | in_virtual_8086_mode(b)


def require_protected_mode(b: Context) -> None:
    """#UD in real and virtual-8086 mode: for instructions that only make sense with descriptors."""
    b.fault_if(has_8086_segments(b), UD)


def in_64_bit_mode(b: Context) -> Value:
    """By the mode key, i1."""
    return (b.get("mode") & CODE_64) != 0


def further(b: Context, linear: Value, distance: Value | int) -> Value:
    """The linear address (i64) so many bytes behind another: outside 64-bit mode it is cut to 32 bits."""
    there = linear + distance
    return b.select(in_64_bit_mode(b) | ((linear >> 32) != 0), there, there & 0xFFFF_FFFF)


def instruction_linear(b: Context) -> Value:
    """Linear address of the instruction at the state's EIP or RIP, i64."""
    eip = b.get("eip")
    return b.select(in_64_bit_mode(b), eip, (eip + b.get_segment(CS, "base")) & 0xFFFF_FFFF)
