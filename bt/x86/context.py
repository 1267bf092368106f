"""What an instruction's meaning is written against: a builder that knows the processor.

Semantics (bt/x86/semantics, bt/x86/system) never know which engine they are built for. An engine subclasses `Context`
and says where registers, immediates and memory operands are; see bt/engine/interp/context.py and
bt/engine/translator/stencils/context.py.

The contract of every semantics function: **nothing is committed before the last access that can fault has succeeded**
(memory writes first, then registers and flags), because a fault abandons the instruction where it stands and the guest
restarts it (SDM vol. 3A 6.6).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bt.codegen.abi import Signature
from bt.codegen.builder import Builder
from bt.codegen.value import PTR, Value
from bt.x86 import state
from bt.x86.state import ESP, FS, GS, SS
from bt.x86.vectors import Vector

# Short names of the exceptions, which meanings are full of; SS is the segment register.
DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS, NP, SS_FAULT, GP, PF, MF, AC, MC, XM = map(int, Vector)

# What a runtime function answers: go on, an exception is pending in fault_*, or leave to Python and run this
# instruction again.
OK, FAULT, EXIT = 0, 1, 2


class Operand(Protocol):
    """One operand of an instruction, wherever it lives."""

    width: int
    is_memory: bool  # known when code is made: then it is a MemoryOperand

    def read(self) -> Value: ...

    def read_for_update(self) -> Value:
        """Read what `write` will replace: memory is checked for writing before the value is seen."""
        ...

    def write(self, value: Value) -> None: ...


class MemoryOperand(Operand, Protocol):
    """A memory operand: also an address."""

    def offset(self) -> Value:
        """Effective address within its segment, i32 (LEA)."""
        ...

    def read_at(self, displacement: int, width: int) -> Value:
        """Read another part of the operand (far pointers, BOUND, descriptor-table images)."""
        ...

    def write_at(self, displacement: int, value: Value) -> None: ...

    def displaced(self, displacement: Value) -> Operand:
        """The operand of the same width `displacement` bytes (i32, signed) further on in the segment (BT and kin)."""
        ...


@dataclass
class Context(Builder, ABC):
    """A builder inside one instruction or one runtime function of the processor."""

    operand_size: int = 32  # effective operand size of the instruction: 16, 32 or, in 64-bit mode, 64
    rep: str | None = None  # "repz" (F3) or "repnz" (F2) when the instruction carries the prefix and may
    condition_code: int = 0  # of jcc, setcc, cmovcc: 0-15 as encoded
    stack_bias: int = 0  # what address computations add to ESP as a base register, bytes (POP to memory)
    long: bool = False  # code for 64-bit mode: offsets, EIP and linear addresses are i64
    flags_live: bool = True  # False: nobody will see this instruction's arithmetic flags, so do not store them
    captured: tuple[str, Value, Value, Value] | None = None  # last flag-setting operation: kind, operands, result

    @property
    def address_width(self) -> int:
        """Bits of offsets, EIP and linear addresses: in all that follows i32 is i64 in 64-bit mode."""
        return 64 if self.long else 32

    # -- state ----------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def cpu(self) -> Value:
        """The state pointer."""

    def slot(self, name: str, index: int = 0) -> Value:
        """Pointer to a slot of the state."""
        return self.cpu + state.offset(name, index)

    def get(self, name: str, index: int = 0, *, width: int = 64) -> Value:
        return self.load(self.slot(name, index), width)

    def get_pointer(self, name: str) -> Value:
        """A slot that holds a host address."""
        return self.load(self.slot(name), PTR)

    def put(self, name: str, value: Value | int, index: int = 0) -> None:
        """Write a slot; narrower values are zero-extended."""
        value = self.const(value, 64) if isinstance(value, int) else value.zext(64)
        self.store(self.slot(name, index), value)

    def bit_place(self, name: str, number: Value) -> tuple[Value, Value]:
        """Of a bit (its number, i64) in a row of slots: pointer to the slot, and the bit there (i64)."""
        return self.slot(name) + ((number >> 6) << 3), self.const(1, 64) << (number & 63)

    def count(self, name: str, index: int = 0) -> None:
        """Add one to a statistic."""
        self.put(name, self.get(name, index) + 1, index)

    def segment_slot(self, segment: int | Value, part: str) -> Value:
        """Pointer to a part of a segment register. `segment` is its number, constant or i64."""
        if isinstance(segment, int):
            return self.cpu + state.segment_offset(segment, part)
        base = self.cpu + (segment.zext(64) * state.SEGMENT_BYTES)
        return base + state.segment_offset(0, part)

    def get_segment(self, segment: int | Value, part: str, *, width: int = 64) -> Value:
        return self.load(self.segment_slot(segment, part), width)

    def put_segment(self, segment: int | Value, part: str, value: Value | int) -> None:
        value = self.const(value, 64) if isinstance(value, int) else value.zext(64)
        self.store(self.segment_slot(segment, part), value)

    # -- general registers ----------------------------------------------------------------------------------------

    def reg(self, number: int, width: int = 32) -> Value:
        """General register by number; with width 8, 4-7 are ah ch dh bh."""
        return self.load(self.cpu + state.register_offset(number, width), width)

    def set_reg(self, number: int, value: Value) -> None:
        """Write a general register; a 32-bit write also clears the upper half of the slot, narrower ones merge."""
        where = self.cpu + state.register_offset(number, value.width)
        self.store(where, value.zext(64) if value.width == 32 else value)

    # -- faults ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def abandon(self, status: Value | int = FAULT) -> None:
        """Leave this instruction or runtime function now: status is FAULT or EXIT. Ends the block."""

    def fault(self, vector: int | Value, error: Value | int | None = None) -> None:
        """Raise an exception at this instruction. Ends the block."""
        self.put("fault_vector", vector)
        self.put("fault_has_error", 0 if error is None else 1)
        if error is not None:
            self.put("fault_error", error)
        self.abandon(FAULT)

    def fault_if(self, condition: Value, vector: int, error: Value | int | None = None) -> None:
        with self.Unlikely(condition):
            self.fault(vector, error)

    def attempt(self, function: Signature, *args: Value | int) -> None:
        """Call a runtime function whose i32 result is OK, FAULT or EXIT, and pass trouble on."""
        status = self.call(function, *args)
        with self.Unlikely(status != OK):
            self.abandon(status)

    # -- memory ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def read_memory(self, segment: int | Value, offset: Value, width: int) -> Value:
        """Read guest memory at segment:offset (offset i32) with all checks of the current privilege level."""

    @abstractmethod
    def write_memory(self, segment: int | Value, offset: Value, value: Value) -> None: ...

    @abstractmethod
    def read_linear(self, linear: Value, width: int, *, system: bool = False) -> Value:
        """Read at a linear address (i32). `system`: as supervisor whatever the CPL (descriptor tables, TSS)."""

    @abstractmethod
    def write_linear(self, linear: Value, value: Value, *, system: bool = False) -> None: ...

    @abstractmethod
    def update_pointer(self, segment: int | Value, offset: Value, width: int) -> Value:
        """Host pointer of a read-modify-write operand, checked for writing; store through it, then `commit_update`."""

    @abstractmethod
    def commit_update(self, pointer: Value) -> None: ...

    @abstractmethod
    def operand_pointer(
        self, segment: int | Value, offset: Value, size: int, *, write: bool = False, fill: bool = False, align: int = 1
    ) -> Value:
        """Host pointer to an operand of `size` bytes at segment:offset, all checks done; #GP(0) unless `align`ed.

        It may point to a copy. After writing through it call `commit_operand`; whoever does not write all of a copy's
        bytes asks for it to be filled first.
        """

    @abstractmethod
    def commit_operand(self, pointer: Value) -> None: ...

    @abstractmethod
    def direct_pointer(self, linear: Value, size: Value, *, write: bool) -> Value:
        """Host pointer to `size` bytes, not beyond the end of a page, of guest RAM at `linear` (i32); null where only
        the checked accesses above will do (not mapped, no right, MMIO, code to be written). Never faults."""

    def look_up(
        self, linear: Value, size: int | Value, *, write: bool, system: bool
    ) -> tuple[Value, Callable[[], Value]]:
        """Whether `size` bytes at `linear` (i32) are known to be accessible directly, i1, and code for their host
        pointer then. `system`: with supervisor rights. Changes nothing, and does not look any further."""
        raise TypeError(f"{self.signature.name}: to look up memory is for runtime functions")

    def read_physical(self, address: Value, width: int) -> Value:
        """What memory has at a physical address (i64), as a page walk reads it; ones where there is none."""
        raise TypeError(f"{self.signature.name}: physical memory is for runtime functions")

    def write_physical(self, address: Value, value: Value) -> None:
        """Store to memory at a physical address (i64); vanishes where there is none."""
        raise TypeError(f"{self.signature.name}: physical memory is for runtime functions")

    def segment_linear(self, segment: int | Value, offset: Value) -> Value:
        """Linear address of segment:offset (i32), unchecked."""
        if self.long:
            return offset + self.long_base(segment)
        return offset + self.get_segment(segment, "base", width=32)

    def long_base(self, segment: int | Value) -> Value:
        """Base of a segment in 64-bit mode, i64: only FS and GS have one (SDM vol. 3A 3.4.4)."""
        if isinstance(segment, int):
            return self.get_segment(segment, "base") if segment in (FS, GS) else self.const(0, 64)
        return self.select(segment.zext(64).uge(FS), self.get_segment(segment, "base"), 0)

    # -- what string instructions need beside their operands ---------------------------------------------------------

    @abstractmethod
    def address_mask(self) -> Value:
        """0xffffffff or 0xffff by the instruction's address size, i32."""

    def merged(self, old: Value, new: Value) -> Value:
        """What a register that held `old` holds after `new`, of the address size, was written to it: in 64-bit mode
        32 bits are zero-extended as ever."""
        if self.long:
            return new
        return (old & ~self.address_mask()) | new

    @abstractmethod
    def source_segment(self) -> int | Value:
        """Segment of the instruction's memory operand (of strings: the source), override applied."""

    @abstractmethod
    def repeat(self) -> None:
        """End this instruction with EIP still on it, so that interrupts can be taken, then it runs again.

        For repeated string instructions. Ends the block.
        """

    def retire_accesses(self) -> None:
        """An iteration of a repeated instruction is done for good: its accesses need not be replayed."""
        self.put("mmio_count", 0)
        self.put("mmio_used", 0)

    # -- time ---------------------------------------------------------------------------------------------------------

    def pass_time(self, ns: int) -> None:
        """Let so much time pass beside the instruction, where instructions are time. A stencil that does so ends
        its block, for an event may be due behind it, or has looked that the budget outlasts the time."""
        passed = self.select(self.get("clock_scale") == 0, self.const(ns, 64), 0)
        self.put("clock_offset", self.get("clock_offset") + passed)
        self.put("run_budget", self.get("run_budget") - passed)
        self.shorten_budget(passed)

    def shorten_budget(self, insns: Value) -> None:
        """So many instructions (i64) fewer are left until the next event."""
        raise TypeError(f"{self.signature.name}: only instructions have a budget")

    # -- ports and exits ---------------------------------------------------------------------------------------------

    def port_cell(self, port: Value, width: int, *, write: bool) -> Value | None:
        """Pointer to the value of a port (i32) that is nothing but its value, the access's time passed. None where the
        engine goes the long way, which knows every port; one that has no other way abandons what needs it."""
        return None

    def leave(self, reason: int) -> None:
        """Leave to Python with state's `exit_reason` = reason; this instruction will run again. Ends the block."""
        self.put("exit_reason", reason)
        self.abandon(EXIT)

    # -- stack (SDM vol. 1 6.2; the B flag of SS chooses SP or ESP) -------------------------------------------------

    def stack_mask(self) -> Value:
        """0xffffffff or 0xffff, i32."""
        if self.long:
            return self.const(-1, 64)
        big = (self.get_segment(SS, "attributes", width=32) & state.ATTR_BIG) != 0
        return self.select(big, self.const(-1, 32), 0xFFFF)

    def set_stack_pointer(self, value: Value) -> None:
        """Write SP or ESP as SS.B says; the upper half of ESP stays with a 16-bit stack."""
        mask = self.stack_mask()
        self.set_reg(ESP, (self.stack_pointer() & ~mask) | (value & mask))

    def stack_pointer(self) -> Value:
        """ESP, i32, whatever SS.B says."""
        return self.reg(ESP, self.address_width)

    def push(self, value: Value) -> None:
        """Push 16, 32 or 64 bits: memory first, then the stack pointer."""
        top = self.stack_pointer() - value.width // 8
        self.write_memory(SS, top & self.stack_mask(), value)
        self.set_stack_pointer(top)

    def stack_read(self, displacement: int, width: int) -> Value:
        """Read at the top of the stack + displacement bytes; the stack pointer stays."""
        return self.read_memory(SS, (self.stack_pointer() + displacement) & self.stack_mask(), width)

    def pop(self, width: int) -> Value:
        value = self.stack_read(0, width)
        self.set_stack_pointer(self.stack_pointer() + width // 8)
        return value

    # -- control transfer -----------------------------------------------------------------------------------------

    @abstractmethod
    def next_eip(self) -> Value:
        """EIP of the following instruction, i32."""

    def check_target(self, target: Value) -> None:
        """#GP(0) if EIP = target (i32) is beyond the limit of CS, for what commits more than EIP. May be nothing where
        the engine knows CS to be flat. In 64-bit mode unless it is canonical (SDM vol. 1 3.3.7.1)."""
        if self.long:
            self.fault_if((target << 16).sar(16) != target, GP, 0)
            return
        self.fault_if(target.zext(64).ugt(self.get_segment(state.CS, "limit")), GP, 0)

    @abstractmethod
    def jump(self, target: Value) -> None:
        """End the instruction with a near transfer to EIP = target (i32, already masked to the operand size).

        Faults with #GP(0) when it is beyond the limit of CS. Ends the block.
        """

    @abstractmethod
    def icount(self) -> Value:
        """Instructions retired once this one has, i64: the guest's clock. Exact if the instruction ends its block."""

    @abstractmethod
    def resume(self) -> None:
        """End the instruction: go on at state's `eip`, looking at mode, interrupts and everything else afresh.

        For whatever changed more than registers: far transfers, STI, POPF, MOV CR, LIDT... Ends the block.
        """
