"""Semantics as stencils: guest registers are pinned host registers, constants are holes that the emitter patches.

In flat 32-bit code segment checks and address masks vanish. Elsewhere operands come as linear addresses that have been
checked (`segment_base`), and only stencils for the stack and for targets that have to be looked at know of segments
(`segments`). A stencil makes at most one guest memory access and commits nothing before it, so its cold path can hand
the registers over as they came in: the slow path fills the TLB and starts the stencil again, or has the interpreter
execute the instruction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NoReturn

from bt.codegen.abi import FLAT_32, RegisterPlan
from bt.codegen.builder import Local
from bt.codegen.value import Value
from bt.engine.branch_tags import branch_cache_offset, branch_tag
from bt.memory.access import ACCESS_CODE
from bt.memory.backend import HoleContext
from bt.memory.bus import NATIVE_READ, NATIVE_WRITE, PORT_ACCESS_NS, PORT_WIDTH_BITS
from bt.x86 import context as x86
from bt.x86.state import BRANCH_CACHE_ENTRY_BYTES, DS, ESP, RETURN_STACK_ENTRIES
from bt.x86.system.tasks.task_state import may_access_all_ports

# Where a stencil leads. CONT is the next stencil; the others are patched to stubs and gates.
EXTERNALS = CONT, TAKEN, COLD, SERVICE, BRANCH_MISS = ("CONT", "TAKEN", "COLD", "SERVICE", "BRANCH_MISS")

REAL_LIMIT = 0xFFFF
RETURN_STACK_BYTES = RETURN_STACK_ENTRIES * BRANCH_CACHE_ENTRY_BYTES

# Holes: name -> range metadata (see MODULE_EPILOGUE). Signed ones become sign-extended imm32 or disp32.
SIGNED, UNSIGNED, WIDE = "!2", "!3", "!4"
HOLES = {
    "IMMEDIATE": UNSIGNED,
    "OFFSET": SIGNED,  # displacement of the memory operand
    "NEXT": UNSIGNED,  # EIP of the next instruction
    "TARGET": UNSIGNED,  # EIP of a direct transfer's target
    **{name: SIGNED if signed else UNSIGNED for name, signed in ACCESS_CODE.holes.items()},
    "COUNT": UNSIGNED,  # instructions of the block
    "BEHIND": UNSIGNED,  # those behind this one
    "LANDING": WIDE,  # host address where a call's return continues
}
HOLE_DECLARATIONS = [
    f"@{name} = external hidden global i8, !absolute_symbol {metadata}" for name, metadata in HOLES.items()
]


class Segments(Enum):
    """What a stencil for the stack, or for a target that has to be looked at, knows of segments."""

    FLAT = "flat"
    REAL = "real"  # mode.REAL: a 16-bit offset is within them, and what begins there may end beyond
    ANY = "any"


class NotAStencil(Exception):
    """This meaning needs the interpreter."""


@dataclass
class StencilContext(HoleContext):
    """One stencil."""

    plan: RegisterPlan = FLAT_32
    registers: list[Local] = field(default_factory=list)
    targets: set[str] = field(default_factory=set)  # values that are the direct target, for `jump`
    segments: Segments = Segments.FLAT
    address_size: int = 32  # of what counts in CX or ECX
    exit_follows: bool = False  # the jump is a direct exit of the fragment that the emitter puts behind the stencil
    returns: bool = False  # the jump is a RET: look at the return stack first

    def __post_init__(self) -> None:
        super().__post_init__()
        # the upper halves are zero between stencils: LLVM need not clear them again
        self._places = [self.plan.place(role) for role in self.plan.guest]
        self.parameter_attributes = dict.fromkeys([self.plan.place("t"), *self._places], "range(i64 0, 4294967296)")
        self.t: Value = self.argument("t")
        self.budget: Value = self.argument("budget")
        self.registers = [self.local(64, self.arguments[place]) for place in self._places]

    def argument(self, role: str) -> Value:
        """What came in, by its role in the register plan."""
        return self.arguments[self.plan.place(role)]

    @property
    def cpu(self) -> Value:
        return self.argument("state")

    def hole(self, name: str, width: int = 32) -> Value:
        """A constant that the emitter fills in."""
        wide = Value(self, f"ptrtoint (ptr @{name} to i64)", "i64")
        value = wide if width == 64 else wide.trunc(width)
        if name == "TARGET":
            self.targets.add(value.ref)
        return value

    # -- leaving --------------------------------------------------------------------------------------------------

    def go(self, target: str | Value, *, original: bool = False, free: Value | None = None) -> None:
        """Tail-call a name or an address with the registers as they are now, or as they came in. Ends the block."""
        arguments: dict[str, Value] = {
            "state": self.cpu,
            "budget": self.argument("budget") if original else self.budget,
            "t": self.argument("t") if original else self.t,
        }
        if free is not None:
            arguments["free"] = free
        for role, local in zip(self.plan.guest, self.registers, strict=True):
            arguments[role] = self.argument(role) if original else local.get()
        callee = self.plan.signature(target) if isinstance(target, str) else target
        self.tail_call(callee, self.signature, [arguments.get(role, "poison") for role in self.plan.roles])

    def proceed(self) -> None:
        if not self.terminated:
            self.go(CONT)

    def abandon(self, status: Value | int = x86.FAULT) -> None:
        """Faults are the interpreter's business: it executes the instruction again and finds the same fault."""
        self.go(SERVICE, original=True)

    def fault(self, vector: int | Value, error: Value | int | None = None) -> None:
        self.abandon()

    # -- registers ------------------------------------------------------------------------------------------------

    def reg(self, number: int, width: int = 32) -> Value:
        if width == 8 and number >= 4:
            return (self.registers[number - 4].get() >> 8).trunc(8)
        return self.registers[number].get().trunc(width)

    def set_reg(self, number: int, value: Value) -> None:
        if value.width == 32:
            self.registers[number].set(value.zext(64))
            return
        shift = 8 if value.width == 8 and number >= 4 else 0
        local = self.registers[number - 4 if shift else number]
        mask = ((1 << value.width) - 1) << shift
        wide = value.zext(64) << shift if shift else value.zext(64)
        local.set((local.get() & ~mask) | wide)

    # -- memory ---------------------------------------------------------------------------------------------------

    def host_pointer(self, linear: Value, size: int | Value) -> Value:
        """Host pointer for an access of `size` bytes; misses leave for the slow path."""
        return ACCESS_CODE.pointer(self, linear, size, self._miss)

    def known_pointer(self, linear: Value) -> Value:
        """The same where the emitter knows the address, of an access within one page."""
        return ACCESS_CODE.known_pointer(self, linear, self._miss)

    def _miss(self) -> None:
        self.go(COLD, original=True)

    def read_memory(self, segment: int | Value, offset: Value, width: int) -> Value:
        return self.read_linear(self._linear(segment, offset, width // 8, write=False), width)

    def write_memory(self, segment: int | Value, offset: Value, value: Value) -> None:
        self.write_linear(self._linear(segment, offset, value.width // 8, write=True), value)

    def _linear(self, segment: int | Value, offset: Value, size: int, *, write: bool) -> Value:
        return offset if self.segments is Segments.FLAT else self.segment_address(segment, offset, size, write=write)

    def segment_address(self, segment: int | Value, offset: Value, size: int, *, write: bool) -> Value:
        """Linear address of segment:offset (i32), of an access within the segment; others are the interpreter's."""
        if self.segments is Segments.REAL:
            beyond = offset.ugt(REAL_LIMIT + 1 - size) if size > 1 else self.const(0, 1)
        else:
            kind = "write" if write else "read"
            first = offset.zext(64)
            low, high = self.get_segment(segment, f"{kind}_low"), self.get_segment(segment, f"{kind}_high")
            beyond = first.ult(low) | (first + (size - 1)).ugt(high)
        with self.Unlikely(beyond):
            self.abandon()
        return self.segment_linear(segment, offset)

    def read_linear(self, linear: Value, width: int, *, system: bool = False) -> Value:
        return self.load(self.host_pointer(linear, width // 8), width)

    def write_linear(self, linear: Value, value: Value, *, system: bool = False) -> None:
        self.store(self.host_pointer(linear, value.width // 8), value)

    def stack_mask(self) -> Value:
        match self.segments:
            case Segments.FLAT:
                return self.const(-1, 32)
            case Segments.REAL:
                return self.const(REAL_LIMIT, 32)
            case _:
                return super().stack_mask()

    def set_stack_pointer(self, value: Value) -> None:
        if self.segments is Segments.FLAT:
            self.set_reg(ESP, value)
        else:
            super().set_stack_pointer(value)

    def address_mask(self) -> Value:
        return self.const(REAL_LIMIT if self.address_size == 16 else -1, 32)

    def source_segment(self) -> int | Value:
        """Of a string: one that is flat, the emitter has looked (`Linear.SOURCE`)."""
        if self.segments is not Segments.FLAT:
            self.interpreter_only()
        return DS

    # -- control --------------------------------------------------------------------------------------------------

    def next_eip(self) -> Value:
        return self.hole("NEXT")

    def check_target(self, target: Value) -> None:
        """Flat code has no limit to exceed, nor has a 16-bit target in real mode."""
        within = self.segments is Segments.REAL and self.operand_size == 16
        if self.segments is not Segments.FLAT and not within:
            super().check_target(target)

    def jump(self, target: Value) -> None:
        if target.ref in self.targets:
            self.go(CONT if self.exit_follows else TAKEN)
        else:
            self.check_target(target)
            self.jump_indirect(target)

    def jump_indirect(self, target: Value) -> None:
        """Through the return stack (RET) and the branch cache, all in generated code."""
        self.t = target.zext(64)
        tag = branch_tag(self, self.t)
        if self.returns:
            self._predicted_return(tag)
        self.count("branch_lookups")
        entry = self.slot("branch_cache") + branch_cache_offset(self.t)
        with self.Unlikely(self.load(entry, 64) != tag):
            self.go(BRANCH_MISS)
        self._jump_to(self.load(entry + 8, 64))

    def _jump_to(self, host: Value) -> None:
        """Leave for a host address. LLVM has no register to spare for an indirect tail call, so the address goes on
        in the free argument and the emitter appends the jump. Ends the block."""
        self.go(CONT, free=host)

    def _predicted_return(self, tag: Value) -> None:
        top = self.get("return_top")
        entry = self.slot("return_stack") + top
        with self.Likely(self.load(entry, 64) == tag):
            self.put("return_top", (top - BRANCH_CACHE_ENTRY_BYTES) & (RETURN_STACK_BYTES - 1))
            self.count("return_hits")
            self._jump_to(self.load(entry + 8, 64))

    def push_return(self) -> None:
        """Predict where the call that follows will return to."""
        top = (self.get("return_top") + BRANCH_CACHE_ENTRY_BYTES) & (RETURN_STACK_BYTES - 1)
        entry = self.slot("return_stack") + top
        self.store(entry, branch_tag(self, self.hole("NEXT")))
        self.store(entry + 8, self.hole("LANDING", 64))
        self.put("return_top", top)

    def icount(self) -> Value:
        """The block has been charged as a whole, and nothing is set aside while translated code runs."""
        charged = self.get("icount_base") + self.get("run_budget") - self.budget
        return charged - self.hole("BEHIND", 64)

    def shorten_budget(self, insns: Value) -> None:
        self.budget = self.budget - insns

    # -- ports ------------------------------------------------------------------------------------------------------

    def port_cell(self, port: Value, width: int, *, write: bool) -> Value:
        """What needs more than CPL and IOPL, a device or the end of the budget behind it is the interpreter's."""
        if width != 8:
            self.interpreter_only()
        index = port.zext(64) & ((1 << PORT_WIDTH_BITS) - 1)
        kind = self.load(self.get_pointer("port_access") + index, 8) & (NATIVE_WRITE if write else NATIVE_READ)
        outlasts = self.budget.sge(PORT_ACCESS_NS) & (self.get("debugging") == 0)
        with self.Unlikely(~(may_access_all_ports(self) & (kind != 0) & outlasts)):
            self.abandon()
        self.pass_time(PORT_ACCESS_NS)
        self.count("native_accesses")
        return self.get_pointer("port_values") + index

    # -- what only the interpreter does -----------------------------------------------------------------------------

    def interpreter_only(self) -> NoReturn:
        """Refuse what cannot be part of a stencil."""
        raise NotAStencil(self.signature.name)

    def direct_pointer(self, linear: Value, size: Value, *, write: bool) -> Value:
        self.interpreter_only()

    def repeat(self) -> None:
        self.interpreter_only()

    def resume(self) -> None:
        self.interpreter_only()

    def this_eip(self) -> Value:
        self.interpreter_only()

    def update_pointer(self, segment: int | Value, offset: Value, width: int) -> Value:
        self.interpreter_only()

    def commit_update(self, pointer: Value) -> None:
        self.interpreter_only()

    def operand_pointer(
        self, segment: int | Value, offset: Value, size: int, *, write: bool = False, fill: bool = False, align: int = 1
    ) -> Value:
        self.interpreter_only()

    def commit_operand(self, pointer: Value) -> None:
        self.interpreter_only()

    def retire_accesses(self) -> None:
        self.interpreter_only()


# -- operands -------------------------------------------------------------------------------------------------------


@dataclass
class ScratchValue:
    """A source operand that an earlier stencil put into T; or T as a destination."""

    b: StencilContext
    width: int
    is_memory = False

    def read(self) -> Value:
        return self.b.t.trunc(self.width)

    read_for_update = read

    def write(self, value: Value) -> None:
        self.b.t = value.zext(64)


@dataclass
class HoleImmediate:
    """An immediate operand or a branch target."""

    b: StencilContext
    width: int
    name: str = "IMMEDIATE"
    is_memory = False

    def read(self) -> Value:
        if self.name == "TARGET":
            return self.b.hole(self.name)
        return self.b.hole(self.name, self.width)


@dataclass
class ScratchMemory:
    """The memory operand at the linear address in T."""

    b: StencilContext
    width: int
    is_memory = True
    _pointer: Value | None = None

    def offset(self) -> Value:
        return self.b.t.trunc(32)

    def _check(self) -> Value:
        return self.b.host_pointer(self.offset(), self.width // 8)

    def read(self) -> Value:
        return self.b.load(self._check(), self.width)

    def read_for_update(self) -> Value:
        self._pointer = self._check()
        return self.b.load(self._pointer, self.width)

    def write(self, value: Value) -> None:
        if self._pointer is None:
            self._pointer = self._check()
        self.b.store(self._pointer, value)

    def read_at(self, displacement: int, width: int) -> Value:
        self.b.interpreter_only()

    def write_at(self, displacement: int, value: Value) -> None:
        self.b.interpreter_only()

    def displaced(self, displacement: Value) -> ScratchMemory:
        self.b.interpreter_only()


@dataclass
class SettledNumber:
    """A control register of which a stencil knows the number."""

    number: int
    is_memory = False


class KnownMemory(ScratchMemory):
    """The memory operand at a linear address known to the translator, which is in T as well, for the slow path."""

    def _check(self) -> Value:
        return self.b.known_pointer(self.offset())


def segment_base(b: StencilContext, segment: int, size: int, *, write: bool) -> None:
    """T = linear address of segment:T, once that is known to be within the segment."""
    b.t = b.segment_address(segment, b.t.trunc(32), size, write=write).zext(64)
