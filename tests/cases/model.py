"""What a case is, and the protocol between cases and the executors that run them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from bt.errors import BtError
from bt.x86 import cpu_model
from bt.x86.opcodes import FORMS
from tests.cases import layout

REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
"""In ModRM order, the order of `State.registers`."""
LONG_REGISTERS = (*(f"r{name[1:]}" for name in REGISTERS), *(f"r{number}" for number in range(8, 16)))
"""The same in 64-bit code."""

FLAG_BITS: Mapping[str, int] = {
    "cf": 1 << 0,
    "pf": 1 << 2,
    "af": 1 << 4,
    "zf": 1 << 6,
    "sf": 1 << 7,
    "tf": 1 << 8,
    "df": 1 << 10,
    "of": 1 << 11,
    "nt": 1 << 14,
    "ac": 1 << 18,
    "id": 1 << 21,
}
"""The bits of EFLAGS that user code can change (SDM vol. 1, 3.4.3); a case sees no others."""

STATUS_FLAGS = ("cf", "pf", "af", "zf", "sf", "of")
STATUS_MASK = sum(FLAG_BITS[name] for name in STATUS_FLAGS)
VISIBLE_FLAGS = sum(FLAG_BITS.values())
EFLAGS_FIXED = 0x202
"""Bit 1 is always set; IF is set and IOPL is 0, as in any user process."""

DEFAULT_REGISTERS = (
    0x11111111,
    0x22222222,
    0x33333333,
    0x44444444,
    layout.STACK_TOP,
    0x66666666,
    0x77777777,
    0x88888888,
)
"""Registers a case does not mention: distinct, not zero, and none but ESP points at mapped memory."""
LONG_DEFAULT_REGISTERS = (
    *(0x1111_1111_1111_1111 * number for number in (1, 2, 3, 4)),
    layout.STACK_TOP,
    *(0x1111_1111_1111_1111 * number for number in range(6, 15)),
    0x0123_4567_89AB_CDEF,
    0xFEDC_BA98_7654_3210,
)
"""The same for 64-bit code."""

VECTORS: Mapping[str, int] = {
    "#DE": 0,
    "#DB": 1,
    "#BP": 3,
    "#OF": 4,
    "#BR": 5,
    "#UD": 6,
    "#NM": 7,
    "#TS": 10,
    "#NP": 11,
    "#SS": 12,
    "#GP": 13,
    "#PF": 14,
    "#MF": 16,
    "#AC": 17,
    "#XM": 19,
}
"""SDM vol. 3A, table 6-1: those that user code can raise."""

ERROR_CODE_VECTORS = frozenset({10, 11, 12, 13, 14, 17})
TRAP_VECTORS = frozenset({1, 3, 4})
"""Reported after the instruction: EIP points behind it."""


LONG_CPU = "qemu64,+cx16,+lahf-lm"
"""The processor of 64-bit cases that name none."""


@cache
def with_every_instruction(model: str = cpu_model.DEFAULT) -> str:
    """A processor and the features that bring the rest of the table's instructions."""
    asked = {form.cpuid for form in FORMS if form.cpuid is not None}
    return ",".join((model, *(f"+{name}" for name in sorted(asked - cpu_model.parse(model).features))))


class ExecutorError(BtError):
    """An executor could not run a case to an outcome: it hung, died, or the case asks for what it cannot do."""


@dataclass(frozen=True)
class State:
    """A user-level processor state.

    `registers` are the general registers in ModRM order, eight or in 64-bit code sixteen, `memory` maps addresses to
    bytes: in a start state the bytes that differ from the layout's fill, in an outcome every region whole, keyed by its
    start address.
    """

    registers: tuple[int, ...] = DEFAULT_REGISTERS
    eip: int = layout.CODE.start
    eflags: int = EFLAGS_FIXED
    memory: Mapping[int, bytes] = field(default_factory=dict)

    def byte(self, address: int) -> int:
        """The byte at a mapped address, of an outcome's state."""
        start = next(start for start, image in self.memory.items() if start <= address < start + len(image))
        return self.memory[start][address - start]


@dataclass(frozen=True)
class Trap:
    """An exception: vector, error code where the vector has one, CR2 for a page fault."""

    vector: int
    error_code: int | None = None
    cr2: int | None = None

    def __str__(self) -> str:
        name = next((name for name, vector in VECTORS.items() if vector == self.vector), f"#{self.vector}")
        error = "" if self.error_code is None else f"({self.error_code:x})"
        cr2 = "" if self.cr2 is None else f" cr2={self.cr2:08x}"
        return name + error + cr2


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the state, and the exception that ended it, if one did.

    After an exception the state is what the handler would find: EIP as pushed, registers as interrupted.
    """

    state: State
    trap: Trap | None = None


@dataclass(frozen=True)
class Expectation:
    """The right-hand side of a case.

    `registers` holds (value, mask) pairs by register number, `memory` the bytes that must have changed to these;
    anything not named must be as before.  `flags` holds the values of the bits in `flags_named`.
    """

    registers: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    flags: int = 0
    flags_named: int = 0
    eip: int | None = None
    memory: Mapping[int, bytes] = field(default_factory=dict)
    trap: Trap | None = None


@dataclass(frozen=True)
class Case:
    """One run of a few instructions.

    The run ends when EIP leaves `code` inside a code region (the filler there is HLT), after `steps` instructions
    where that is given, or with an exception.  `bits` is the default operand and address size (CS.D), or 64 for 64-bit
    mode, `stack_bits` that of the stack (SS.B).  `cpu` is the processor, as `--cpu` names it.  `ignored_flags` are
    undefined at the end, whatever the expectation says.
    """

    code: bytes
    start: State = field(default_factory=State)
    expected: Expectation | None = None
    bits: int = 32
    stack_bits: int = 32
    steps: int | None = None
    cpu: str = cpu_model.DEFAULT
    ignored_flags: int = 0
    ignored_registers: tuple[int, ...] = ()
    ignored_memory: tuple[tuple[int, int], ...] = ()
    text: str = ""
    where: str = ""

    @property
    def origin(self) -> int:
        """Address of the first byte of code."""
        return (layout.LOW_CODE if self.bits == 16 else layout.CODE).start

    @property
    def register_names(self) -> tuple[str, ...]:
        """Of `State.registers`."""
        return LONG_REGISTERS if self.bits == 64 else REGISTERS

    @property
    def end(self) -> int:
        """Address behind the last byte of code."""
        return self.origin + len(self.code)

    def images(self) -> dict[int, bytes]:
        """Every region's contents before the run, code included, keyed by region start."""
        return layout.images({self.origin: self.code, **self.start.memory})

    def is_end(self, eip: int) -> bool:
        """Whether a #GP at `eip` is the end of the run, if the byte there is still FILLER: outside the case's code."""
        region = layout.region_at(eip)
        return region in (layout.CODE, layout.LOW_CODE) and not self.origin <= eip < self.end

    def __str__(self) -> str:
        return self.text or f"hex: {self.code.hex(' ')}"


class Executor(Protocol):
    """Something that runs cases: an engine, the host CPU, another emulator."""

    def run(self, case: Case) -> Outcome:
        """Run one case from its start state.  Raises ExecutorError where no outcome can be had."""
        ...

    def run_many(self, cases: Iterable[Case]) -> list[Outcome]:
        """Run cases one after another, outcomes in the same order; independent of each other."""
        ...
