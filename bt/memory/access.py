"""How generated code reaches guest memory: segment check, software TLB, slow path.

`TlbContext` is the memory half of a `Context`; interpreter handlers and runtime functions inherit it. (The translator
has its own emitter over the same tables, because its operands sit in pinned registers.)

A TLB entry holds a read tag, a write tag and an addend. An access of n bytes hits when the page of its *last* byte
equals the tag, so a page-crossing access misses without a check of its own. Entries whose page holds translated code
never have a write tag: stores there take the slow path, which looks for self-modified code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import context as x86
from bt.x86 import state
from bt.x86.context import Context
from bt.x86.page import PAGE
from bt.x86.state import SS, TLB_ENTRIES

READ_TAG, WRITE_TAG, ADDEND, PHYSICAL = 0, 8, 16, 24  # offsets within an entry
# Bits beside the physical page: services.WALKED_GLOBAL and WALKED_NO_EXECUTE of the walk that made the entry.
PHYSICAL_FLAGS = PAGE - 1
INVALID_TAG = -1

# Slow paths (bt/memory/slow.py). `flags`: ACCESS_SYSTEM = with supervisor rights.
# ACCESS_FETCH (RESOLVE only) = an instruction fetch.
ACCESS_SYSTEM, ACCESS_FETCH = 1, 2
SLOW_READ = native("slow_read", PTR, "i32", "i32", "i32")  # linear, bytes, flags; value in memory_value
SLOW_WRITE = native("slow_write", PTR, "i32", "i32", "i64", "i32")  # linear, bytes, value, flags
UPDATE_BEGIN = native("update_begin", PTR, "i32", "i32")  # linear, bytes; operand pointer in memory_value
UPDATE_COMMIT = native("update_commit", PTR)
# Operands of any size (bt/memory/wide.py): linear, bytes, OPERAND_* bits; operand pointer in memory_value.
OPERAND_BEGIN = native("operand_begin", PTR, "i32", "i32", "i32")
OPERAND_COMMIT = native("operand_commit", PTR)
OPERAND_COMMIT_MASKED = native("operand_commit_masked", PTR, PTR)  # thunk of an instruction that writes some bytes only
OPERAND_WRITE, OPERAND_FILL = 1, 2  # FILL: what is written may be less than the whole
DIRECT = native("direct_pointer", PTR, "i32", "i32", result=PTR)  # linear, write; null when not plain RAM


def entry_offset(linear: Value) -> Value:
    """Byte offset of the TLB entry for a linear address (any width), i64."""
    shift = 12 - (state.TLB_ENTRY_BYTES.bit_length() - 1)
    return (linear.zext(64) >> shift) & ((TLB_ENTRIES - 1) * state.TLB_ENTRY_BYTES)


@dataclass
class TlbContext(Context):
    """Memory access through the TLB of the current privilege level."""

    def _table(self, system: bool) -> Value:
        return self.get_pointer("tlb_system" if system else "tlb")

    def probe(self, linear: Value, size: int, tag: int, *, system: bool = False) -> tuple[Value, Value]:
        """(hit, entry) for an access of `size` bytes."""
        entry = self._table(system) + entry_offset(linear)
        last_page = (linear.zext(64) + (size - 1)) & -PAGE
        return last_page == self.load(entry + tag, 64), entry

    def _host(self, entry: Value, linear: Value) -> Value:
        return self.load(entry + ADDEND, PTR) + linear.zext(64)

    def read_linear(self, linear: Value, width: int, *, system: bool = False) -> Value:
        size = width // 8
        result = self.local(width)
        hit, entry = self.probe(linear, size, READ_TAG, system=system)
        miss = ~hit
        with self.IfElse(miss, ", !prof !1") as arm:
            with arm.then():
                self.attempt(SLOW_READ, self.cpu, linear, size, ACCESS_SYSTEM if system else 0)
                result.set(self.get("memory_value", width=width))
            with arm.otherwise():
                result.set(self.load(self._host(entry, linear), width))
        return result.get()

    def write_linear(self, linear: Value, value: Value, *, system: bool = False) -> None:
        size = value.width // 8
        hit, entry = self.probe(linear, size, WRITE_TAG, system=system)
        with self.IfElse(hit, ", !prof !0") as arm:
            with arm.then():
                self.store(self._host(entry, linear), value)
            with arm.otherwise():
                self.attempt(SLOW_WRITE, self.cpu, linear, size, value.zext(64), ACCESS_SYSTEM if system else 0)

    def checked_linear(self, segment: int | Value, offset: Value, size: int, *, write: bool) -> Value:
        """Linear address after the segment's limit and type check; #SS(0) or #GP(0) (SDM vol. 3A 5.3, 5.5)."""
        kind = "write" if write else "read"
        first = offset.zext(64)
        too_low = first.ult(self.get_segment(segment, f"{kind}_low"))
        too_high = (first + (size - 1)).ugt(self.get_segment(segment, f"{kind}_high"))
        with self.Unlikely(too_low | too_high):
            if isinstance(segment, int):
                self.fault(x86.SS_FAULT if segment == SS else x86.GP, 0)
            else:
                self.fault(self.select(segment.zext(64) == SS, self.const(x86.SS_FAULT, 64), x86.GP), 0)
        return self.segment_linear(segment, offset)

    def read_memory(self, segment: int | Value, offset: Value, width: int) -> Value:
        return self.read_linear(self.checked_linear(segment, offset, width // 8, write=False), width)

    def write_memory(self, segment: int | Value, offset: Value, value: Value) -> None:
        self.write_linear(self.checked_linear(segment, offset, value.width // 8, write=True), value)

    def update_pointer(self, segment: int | Value, offset: Value, width: int) -> Value:
        """Host pointer of a read-modify-write operand; finish with `commit_update` after storing through it."""
        linear = self.checked_linear(segment, offset, width // 8, write=True)
        pointer = self.local(PTR)
        hit, entry = self.probe(linear, width // 8, WRITE_TAG)
        with self.IfElse(hit, ", !prof !0") as arm:
            with arm.then():
                pointer.set(self._host(entry, linear))
            with arm.otherwise():
                self.attempt(UPDATE_BEGIN, self.cpu, linear, width // 8)
                pointer.set(self.get_pointer("memory_value"))
        return pointer.get()

    def commit_update(self, pointer: Value) -> None:
        with self.Unlikely(pointer == self.slot("bounce")):
            self.attempt(UPDATE_COMMIT, self.cpu)

    def operand_pointer(
        self, segment: int | Value, offset: Value, size: int, *, write: bool = False, fill: bool = False, align: int = 1
    ) -> Value:
        linear = self.checked_linear(segment, offset, size, write=write)
        if align > 1:
            self.fault_if((linear & (align - 1)) != 0, x86.GP, 0)
        pointer = self.local(PTR)
        hit, entry = self.probe(linear, size, WRITE_TAG if write else READ_TAG)
        with self.IfElse(hit, ", !prof !0") as arm:
            with arm.then():
                pointer.set(self._host(entry, linear))
            with arm.otherwise():
                self.attempt(OPERAND_BEGIN, self.cpu, linear, size, OPERAND_WRITE * write | OPERAND_FILL * fill)
                pointer.set(self.get_pointer("memory_value"))
        return pointer.get()

    def commit_operand(self, pointer: Value) -> None:
        with self.Unlikely(pointer == self.slot("fp_operand")):
            self.attempt(OPERAND_COMMIT, self.cpu)

    def direct_pointer(self, linear: Value, *, write: bool) -> Value:
        return self.call(DIRECT, self.cpu, linear, int(write))


class NativeContext(TlbContext):
    """A runtime function with the C convention: argument 0 is the state; result OK, FAULT or EXIT."""

    @property
    def cpu(self) -> Value:
        return self.arguments[0]

    def abandon(self, status: Value | int = x86.FAULT) -> None:
        self.ret(status)

    def _no_instruction(self) -> NoReturn:
        raise TypeError(f"{self.signature.name} is no instruction: it has no place in the guest's code")

    def next_eip(self) -> Value:
        self._no_instruction()

    def this_eip(self) -> Value:
        self._no_instruction()

    def jump(self, target: Value) -> None:
        self._no_instruction()

    def resume(self) -> None:
        self._no_instruction()

    def repeat(self) -> None:
        self._no_instruction()

    def icount(self) -> Value:
        self._no_instruction()

    def address_mask(self) -> Value:
        self._no_instruction()

    def source_segment(self) -> int | Value:
        self._no_instruction()
