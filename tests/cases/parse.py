"""Reads case files: one `code | state before => state after` a line.  README.md here has the grammar."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bt.errors import BadUsage, BtError
from bt.x86 import cpu_model
from guest_images.assembler import assemble
from guest_images.operands import AssemblyError
from tests.cases import layout
from tests.cases.model import (
    DEFAULT_REGISTERS,
    EFLAGS_FIXED,
    ERROR_CODE_VECTORS,
    FLAG_BITS,
    LONG_CPU,
    LONG_DEFAULT_REGISTERS,
    LONG_REGISTERS,
    REGISTERS,
    TRAP_VECTORS,
    VECTORS,
    Case,
    Expectation,
    State,
    Trap,
)


class CaseSyntaxError(BtError):
    """A line that is not a case; the message begins with file:line."""


UNKNOWN = "?"
"""Right-hand side of a line that waits for `python -m tests.cases.record`; as a value, what is not compared."""

REGISTER_PARTS = {
    **{name: (number, 0, 0xFFFFFFFF) for number, name in enumerate(REGISTERS)},
    **{name[1:]: (number, 0, 0xFFFF) for number, name in enumerate(REGISTERS)},
    **{name: (number, 0, 0xFF) for number, name in enumerate(("al", "cl", "dl", "bl"))},
    **{name: (number, 8, 0xFF) for number, name in enumerate(("ah", "ch", "dh", "bh"))},
}
"""Register name to (number, shift, mask of the value)."""

LONG_REGISTER_PARTS = {
    **REGISTER_PARTS,
    **{name: (number, 0, 0xFFFF_FFFF_FFFF_FFFF) for number, name in enumerate(LONG_REGISTERS)},
    **{name: (number, 0, 0xFF) for number, name in enumerate(("spl", "bpl", "sil", "dil"), 4)},
    **{
        f"r{number}{letter}": (number, 0, (1 << width) - 1)
        for number in range(8, 16)
        for letter, width in (("b", 8), ("w", 16), ("d", 32))
    },
}
"""The same in 64-bit code."""

_MEMORY = re.compile(r"\[([0-9a-f]+)\]=((?:[0-9a-f]{2}|\?\?)+)\Z")
_EXCEPTION = re.compile(r"(#[A-Z]{2})(?:\(([0-9a-f]+)\))?\Z")


@dataclass
class _Side:
    """One side of a line, token by token."""

    long: bool = False  # of 64-bit code
    registers: dict[int, tuple[int, int]] = field(default_factory=dict)
    flags: int = 0
    flags_named: int = 0
    undefined: int = 0
    memory: dict[int, bytes] = field(default_factory=dict)
    unknown_memory: list[tuple[int, int]] = field(default_factory=list)
    unknown_registers: list[int] = field(default_factory=list)
    options: dict[str, int] = field(default_factory=dict)
    cpu: str | None = None
    exception: tuple[str, int | None] | None = None

    def add(self, token: str) -> None:
        """Take in one token; ValueError says what is wrong with it."""
        if memory := _MEMORY.match(token):
            self._add_memory(int(memory[1], 16), memory[2])
        elif exception := _EXCEPTION.match(token):
            self._add_exception(exception[1], exception[2])
        else:
            name, equals, value = token.partition("=")
            if not equals:
                raise ValueError(f"{token!r} is neither name=value, [address]=bytes nor an exception")
            self._add_named(name, value)

    def _add_memory(self, address: int, digits: str) -> None:
        for run in re.finditer(r"\?+|[^?]+", digits):
            place = address + run.start() // 2
            if run[0].startswith("?"):
                self.unknown_memory.append((place, len(run[0]) // 2))
            else:
                self.memory[place] = bytes.fromhex(run[0])

    def _add_exception(self, name: str, error_code: str | None) -> None:
        if name not in VECTORS:
            raise ValueError(f"unknown exception {name}: one of {' '.join(VECTORS)}")
        if (error_code is None) is (VECTORS[name] in ERROR_CODE_VECTORS):
            raise ValueError(f"{name} {'needs' if error_code is None else 'has no'} error code")
        self.exception = (name, None if error_code is None else int(error_code, 16))

    def _add_named(self, name: str, value: str) -> None:
        if name in self.options or (name == "cpu" and self.cpu is not None):
            raise ValueError(f"{name} is given twice")
        if name in FLAG_BITS:
            self._add_flag(name, value)
        elif name in self._register_names and value == UNKNOWN:
            self.unknown_registers.append(self._register_names.index(name))
        elif name in self._register_parts:
            number, shift, mask = self._register_parts[name]
            old_value, old_mask = self.registers.get(number, (0, 0))
            if old_mask & mask << shift:
                raise ValueError(f"{name} is given twice")
            self.registers[number] = (old_value | _number(value, 16, mask) << shift, old_mask | mask << shift)
        elif name == "flags" and value == UNKNOWN:
            self.undefined |= sum(FLAG_BITS[flag] for flag in ("cf", "pf", "af", "zf", "sf", "of"))
        elif name == "cpu":
            cpu_model.parse(value)  # refuses what is none
            self.cpu = value
        elif name in ("eip", "cr2"):
            self.options[name] = _number(value, 16, (1 << (64 if self.long else 32)) - 1)
        elif name in ("bits", "stack", "steps", "cpl"):
            self.options[name] = _number(value, 10, 1_000_000)
        else:
            raise ValueError(f"unknown name {name!r}")

    @property
    def _register_names(self) -> tuple[str, ...]:
        return LONG_REGISTERS if self.long else REGISTERS

    @property
    def _register_parts(self) -> Mapping[str, tuple[int, int, int]]:
        return LONG_REGISTER_PARTS if self.long else REGISTER_PARTS

    def _add_flag(self, name: str, value: str) -> None:
        if value == UNKNOWN:
            self.undefined |= FLAG_BITS[name]
        elif self.flags_named & FLAG_BITS[name]:
            raise ValueError(f"{name} is given twice")
        elif value in ("0", "1"):
            self.flags_named |= FLAG_BITS[name]
            self.flags |= FLAG_BITS[name] * int(value)
        else:
            raise ValueError(f"{name} is a flag: 0, 1 or ?, not {value!r}")


def _number(text: str, base: int, limit: int) -> int:
    try:
        value = int(text, base)
    except ValueError:
        raise ValueError(f"{text!r} is not a number in base {base}") from None
    if not 0 <= value <= limit:
        raise ValueError(f"{text} does not fit: at most {limit:#x}")
    return value


def _side(tokens: Iterable[str], allowed: frozenset[str], *, long: bool) -> _Side:
    side = _Side(long)
    for token in tokens:
        side.add(token)
    given = side.options.keys() | ({"cpu"} if side.cpu else set())
    for option in given - allowed:
        raise ValueError(f"{option}= does not belong on this side")
    return side


def _start(side: _Side, origin: int) -> State:
    registers = list(LONG_DEFAULT_REGISTERS if side.long else DEFAULT_REGISTERS)
    for number, (value, mask) in side.registers.items():
        registers[number] = registers[number] & ~mask | value
    layout.images(side.memory)  # refuses memory outside the layout
    return State(tuple(registers), origin, EFLAGS_FIXED | side.flags, side.memory)


def _expectation(side: _Side, case: Case) -> Expectation:
    layout.images(side.memory)
    trap = None
    eip = case.end
    if side.exception:
        name, error_code = side.exception
        trap = Trap(VECTORS[name], error_code, side.options.get("cr2"))
        if (trap.cr2 is not None) != (name == "#PF"):
            raise ValueError("cr2= goes with #PF, and #PF with cr2=")
        eip = case.end if trap.vector in TRAP_VECTORS else case.origin
    elif "cr2" in side.options:
        raise ValueError("cr2= goes with #PF")
    return Expectation(
        registers=side.registers,
        flags=side.flags,
        flags_named=side.flags_named,
        eip=side.options.get("eip", eip),
        memory=side.memory,
        trap=trap,
    )


def parse_line(text: str, where: str = "case", undefined_flags: Callable[[Case], int] = lambda case: 0) -> Case:
    """The case on one line; CaseSyntaxError with `where` in front if it is none.

    `undefined_flags` says which EFLAGS bits the case's instructions leave undefined.
    """
    try:
        return _parse(text.strip(), where, undefined_flags)
    except (ValueError, AssemblyError, BadUsage) as error:
        raise CaseSyntaxError(f"{where}: {error}") from None


def _parse(text: str, where: str, undefined_flags: Callable[[Case], int]) -> Case:
    code_text, bar, rest = text.partition("|")
    before, arrow, after = rest.partition("=>")
    if not bar or not arrow:
        raise ValueError("a case is `code | state before => state after`")
    long = "bits=64" in before.split()
    given = _side(before.split(), frozenset({"bits", "stack", "steps", "cpl", "cpu"}), long=long)
    if given.exception or given.undefined or given.unknown_memory or given.unknown_registers:
        raise ValueError("exceptions and `?` belong behind `=>`")
    if given.options.get("cpl", 3) != 3:
        raise ValueError("cpl must be 3: these cases run as user code")
    bits, stack_bits = given.options.get("bits", 32), given.options.get("stack", 32)
    if bits not in (16, 32, 64) or stack_bits not in (16, 32):
        raise ValueError("bits= is 16, 32 or 64, and stack= 16 or 32")
    origin = (layout.LOW_CODE if bits == 16 else layout.CODE).start
    code_text = code_text.strip()
    if code_text.startswith("hex:"):
        code = bytes.fromhex(code_text.removeprefix("hex:"))
    else:
        code = assemble(code_text.replace(";", "\n"), bits, origin)
    if not code:
        raise ValueError("no code")
    after_tokens = after.split()
    recorded = UNKNOWN not in after_tokens
    wanted = _side([token for token in after_tokens if token != UNKNOWN], frozenset({"eip", "cr2"}), long=long)
    case = Case(
        code=code,
        start=_start(given, origin),
        bits=bits,
        stack_bits=stack_bits,
        steps=given.options.get("steps"),
        cpu=given.cpu or (LONG_CPU if long else cpu_model.DEFAULT),
        text=text,
        where=where,
    )
    expected = _expectation(wanted, case) if recorded else None
    faults = expected is not None and expected.trap is not None and expected.trap.vector not in TRAP_VECTORS
    return replace(
        case,
        expected=expected,
        # A fault leaves the flags as they were before the instruction, whatever it would have made of them.
        ignored_flags=wanted.undefined | (0 if faults else undefined_flags(case)),
        ignored_registers=tuple(wanted.unknown_registers),
        ignored_memory=tuple(wanted.unknown_memory),
    )


def parse_file(path: Path, undefined_flags: Callable[[Case], int] = lambda case: 0) -> Iterator[Case]:
    """Every case of a file, in order; empty lines and lines that begin with `#` are comments."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield parse_line(line, f"{path.name}:{number}", undefined_flags)
