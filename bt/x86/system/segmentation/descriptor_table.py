"""Segment descriptors: finding them in the GDT and LDT, what their bits mean, loading the hidden part from them.

SDM vol. 3A 3.4.5 (segment descriptors), 3.5 (system descriptors), 6.13 (error codes).
"""

from __future__ import annotations

from dataclasses import dataclass

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import state
from bt.x86.context import GP, SS_FAULT, Context
from bt.x86.state import LDTR, WHOLE_LIMIT
from bt.x86.system.operating_mode import system_linear

# Bits of a descriptor's high dword
ACCESSED, READ_WRITE, CONFORMING_OR_DOWN, CODE = 1 << 8, 1 << 9, 1 << 10, 1 << 11
CODE_OR_DATA, PRESENT, LONG, BIG, GRANULAR = 1 << 12, 1 << 15, 1 << 21, 1 << 22, 1 << 23
DPL_SHIFT = 13
BUSY = 1 << 9  # in a TSS descriptor
WIDE_TYPE = 0x1F00  # where a system descriptor of long mode has zeros in its fourth dword

# System descriptor types (SDM vol. 3A table 3-2)
TSS_16, LDT, TSS_16_BUSY, CALL_GATE_16, TASK_GATE, TSS_32, TSS_32_BUSY, CALL_GATE_32 = 1, 2, 3, 4, 5, 9, 11, 12

SELECTOR_TABLE, SELECTOR_RPL, SELECTOR_INDEX = 4, 3, 0xFFFC  # index: with the table bit, as error codes have it

# Read the descriptor of a selector: selector, vector of the exception if it is beyond its table, EXT bit of the error
# code. Answers in memory_value, high dword above low.
FETCH_DESCRIPTOR = native("fetch_descriptor", PTR, "i32", "i32", "i32")
# The same of a system descriptor of long mode, which has 16 bytes: selector; #GP beyond its table. Its third dword is
# in walk_flags; #GP where the type bits of the fourth are not zero.
FETCH_WIDE_DESCRIPTOR = native("fetch_wide_descriptor", PTR, "i32")
# Set the accessed bit of a descriptor in memory: selector, high dword as read.
MARK_ACCESSED = native("mark_accessed", PTR, "i32", "i32")
# Fill a segment register, hidden part and all: its number, selector, low and high dword. Always OK.
SET_SEGMENT = native("set_segment", PTR, "i32", "i32", "i32", "i32")
# Make a segment register unusable: its number, the null selector. Always OK.
SET_NULL_SEGMENT = native("set_null_segment", PTR, "i32", "i32")


@dataclass(frozen=True)
class Descriptor:
    """A descriptor as two i32 values, with the questions one asks of it (answers are i1 unless they say)."""

    b: Context
    low: Value
    high: Value

    def _all(self, bits: int, among: int) -> Value:
        return (self.high & among) == bits

    def base(self) -> Value:
        """Base address, i32."""
        return (self.low >> 16) | ((self.high & 0xFF) << 16) | (self.high & 0xFF00_0000)

    def limit(self) -> Value:
        """Last byte, i32, granularity applied."""
        raw = (self.low & 0xFFFF) | (self.high & 0xF_0000)
        return self.b.select((self.high & GRANULAR) != 0, (raw << 12) | 0xFFF, raw)

    def dpl(self) -> Value:
        """Descriptor privilege level, i32."""
        return (self.high >> DPL_SHIFT) & 3

    def system_type(self) -> Value:
        """Type with the S bit above it, i32: a system descriptor's is below 16."""
        return (self.high >> 8) & 0x1F

    def present(self) -> Value:
        return (self.high & PRESENT) != 0

    def is_code(self) -> Value:
        return self._all(CODE_OR_DATA | CODE, CODE_OR_DATA | CODE)

    def is_conforming_code(self) -> Value:
        bits = CODE_OR_DATA | CODE | CONFORMING_OR_DOWN
        return self._all(bits, bits)

    def is_writable_data(self) -> Value:
        return self._all(CODE_OR_DATA | READ_WRITE, CODE_OR_DATA | CODE | READ_WRITE)

    def is_readable(self) -> Value:
        """Data, or code that may be read."""
        return ((self.high & CODE_OR_DATA) != 0) & ((self.high & (CODE | READ_WRITE)) != CODE)

    def is_long_code(self) -> Value:
        """What is executed in 64-bit mode, where there is long mode."""
        bits = CODE_OR_DATA | CODE | LONG
        return self._all(bits, bits)

    def stack_mask(self) -> Value:
        """Offsets a stack in this segment has: 0xffffffff or 0xffff, i32."""
        return self.b.select((self.high & BIG) != 0, self.b.const(-1, 32), 0xFFFF)

    def range(self) -> tuple[Value, Value]:
        """First and last valid offset, i64; first > last when there is none."""
        b = self.b
        limit = self.limit().zext(64)
        down = self._all(CONFORMING_OR_DOWN, CODE | CONFORMING_OR_DOWN)
        top = b.select((self.high & BIG) != 0, b.const(0xFFFF_FFFF, 64), 0xFFFF)
        # a flat segment's limit lies beyond 4 GiB, so that accesses may wrap there as on hardware
        up = b.select(limit == 0xFFFF_FFFF, b.const(WHOLE_LIMIT, 64), limit)
        return b.select(down, limit + 1, 0), b.select(down, top, up)

    def mark_accessed(self, selector: Value) -> Descriptor:
        """Set the accessed bit in memory; returns the descriptor as it is now."""
        self.b.attempt(MARK_ACCESSED, self.b.cpu, selector, self.high)
        return Descriptor(self.b, self.low, self.high | ACCESSED)

    def load_into(self, segment: int | Value, selector: Value) -> None:
        """Fill a segment register; cannot fail."""
        self.b.attempt(SET_SEGMENT, self.b.cpu, segment, selector, self.low, self.high)


def is_null(selector: Value) -> Value:
    """Null selectors are 0 to 3."""
    return (selector & SELECTOR_INDEX) == 0


def error_code(selector: Value, external: Value | int = 0) -> Value:
    """Error code naming a selector (i32): its RPL gives way to the EXT bit."""
    return (selector & SELECTOR_INDEX) | external


def fetch(b: Context, selector: Value, vector: int | Value = GP, external: Value | int = 0) -> Descriptor:
    """The descriptor of a selector that is not null; `vector` with the selector if it is beyond its table."""
    b.attempt(FETCH_DESCRIPTOR, b.cpu, selector, vector, external)
    raw = b.get("memory_value")
    return Descriptor(b, raw.trunc(32), (raw >> 32).trunc(32))


def check_stack_segment(
    b: Context, selector: Value, descriptor: Descriptor, level: Value, vector: int = GP, external: Value | int = 0
) -> None:
    """A stack for privilege level `level` (i32): writable data with RPL and DPL equal to it, and present."""
    error = error_code(selector, external)
    level_differs = ((selector & SELECTOR_RPL) != level) | (descriptor.dpl() != level)
    b.fault_if(level_differs | ~descriptor.is_writable_data(), vector, error)
    b.fault_if(~descriptor.present(), SS_FAULT, error)


def require_64_bit_code(b: Context, code: Descriptor, error: Value) -> None:
    """#GP unless gates of long mode may lead to a code segment: L set, and D not."""
    b.fault_if((code.high & (LONG | BIG)) != LONG, GP, error)


def locate(b: Context, selector: Value) -> tuple[Value, Value]:
    """Linear address (i64) of a selector's descriptor, and whether it lies within its table (i1).

    An LDTR that is null has limit 0, so that everything is beyond it.
    """
    local = (selector & SELECTOR_TABLE) != 0
    base = b.select(local, b.get_segment(LDTR, "base"), b.get("gdtr_base"))
    limit = b.select(local, b.get_segment(LDTR, "limit"), b.get("gdtr_limit"))
    within = (selector | 7).zext(64).ule(limit)
    return system_linear(b, base + (selector & 0xFFF8).zext(64)), within


def _fetch_descriptor(b: Context) -> None:
    _, selector, vector, external = b.arguments
    linear, within = locate(b, selector)
    with b.Unlikely(~within):
        b.fault(vector, error_code(selector, external))
    low = b.read_linear(linear, 32, system=True).zext(64)
    high = b.read_linear(system_linear(b, linear + 4), 32, system=True).zext(64)
    b.put("memory_value", low | (high << 32))


def _fetch_wide_descriptor(b: Context) -> None:
    _, selector = b.arguments
    linear, _ = locate(b, selector)
    _, within = locate(b, selector + 8)
    error = error_code(selector)
    b.fault_if(~within, GP, error)
    low, high, upper, reserved = (b.read_linear(linear + 4 * place, 32, system=True) for place in range(4))
    b.fault_if((reserved & WIDE_TYPE) != 0, GP, error)
    b.put("memory_value", low.zext(64) | (high.zext(64) << 32))
    b.put("walk_flags", upper)


def _mark_accessed(b: Context) -> None:
    _, selector, high = b.arguments
    with b.Unlikely((high & ACCESSED) == 0):
        linear, _ = locate(b, selector)
        b.write_linear(system_linear(b, linear + 5), ((high | ACCESSED) >> 8).trunc(8), system=True)


def _set_segment(b: Context) -> None:
    _, segment, selector, low, high = b.arguments
    descriptor = Descriptor(b, low, high)
    first, last = descriptor.range()
    readable, writable = descriptor.is_readable(), descriptor.is_writable_data()
    b.put_segment(segment, "selector", selector)
    b.put_segment(segment, "base", descriptor.base())
    b.put_segment(segment, "limit", descriptor.limit())
    b.put_segment(segment, "attributes", (high >> 8) & 0xF0FF)
    b.put_segment(segment, "read_low", b.select(readable, first, 1))
    b.put_segment(segment, "read_high", b.select(readable, last, 0))
    b.put_segment(segment, "write_low", b.select(writable, first, 1))
    b.put_segment(segment, "write_high", b.select(writable, last, 0))


def _set_null_segment(b: Context) -> None:
    _, segment, selector = b.arguments
    for part in state.SEGMENT_FIELDS:
        b.put_segment(segment, part, 1 if part.endswith("_low") else 0)
    b.put_segment(segment, "selector", selector)


RUNTIME = (
    (FETCH_DESCRIPTOR, _fetch_descriptor),
    (FETCH_WIDE_DESCRIPTOR, _fetch_wide_descriptor),
    (MARK_ACCESSED, _mark_accessed),
    (SET_SEGMENT, _set_segment),
    (SET_NULL_SEGMENT, _set_null_segment),
)
