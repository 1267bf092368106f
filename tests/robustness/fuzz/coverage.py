"""What a campaign has reached: the feedback that keeps programs, and the account at its end.

Cheap feedback after each program is read off the engines' own structures: the decoded records (form, variant, mode),
the interpreter's handlers they lead to, the exits, the magnitudes of the engines' counters, and now and then the
translator's diary for stencils. Decoded is not executed: programs that are kept are run once more in single steps, and
only those count in the account of instructions by mode and of exceptions.
"""

from __future__ import annotations

import ctypes
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bt.engine.structures import (
    BLOCK,
    BLOCK_BYTES,
    RECORD,
    RECORD_BYTES,
    TRACE,
    TRACE_BEGIN,
    TRACE_STENCIL,
)
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import RECORDS, Vcpu
from bt.inspect.explanation.structure import Structure, find_block
from bt.x86 import flags
from bt.x86.exits import ExitReason
from bt.x86.mode import CODE_32, CODE_64, FLAT_32, USER
from bt.x86.opcodes import PLAIN_FORMS
from bt.x86.system.registers.control_registers import (
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    CR4_PSE,
    EFER_LMA,
)
from tests.robustness.fuzz.guest import Guest
from tests.robustness.fuzz.program import Program

_DIARY_BYTES = 16 << 20
_STEPPED_INSTRUCTIONS = 1500
MODE_CLASSES = {0: "16-bit", 1: "16-bit user", 2: "32-bit", 3: "32-bit user", 6: "flat", 7: "flat user",
                8: "64-bit", 9: "64-bit user"}  # fmt: skip
FORM_BITS = 12
_LONG_CLASS = 8
_NO_VECTOR = 0xFF

Feature = tuple[str | int, ...]


def _mode_class(mode: int) -> int:
    flat = mode & FLAT_32 == FLAT_32
    return bool(mode & USER) | bool(mode & CODE_32) << 1 | flat << 2 | bool(mode & CODE_64) << 3


def mode_name(cpu: Vcpu) -> str:
    """The mode a vCPU is in, as the account names it."""
    state = cpu.state
    if not state["cr0"] & CR0_PE:
        return "real"
    paging = ""
    if state["cr0"] & CR0_PG:
        paging = ", PAE" if state["cr4"] & CR4_PAE else ", PSE" if state["cr4"] & CR4_PSE else ", paged"
    if state["eflags_system"] & flags.VM:
        return "virtual-8086" + paging
    if state["efer"] & EFER_LMA:
        paging = "" if state["mode"] & CODE_64 else ", compatibility"
    bits = 64 if state["mode"] & CODE_64 else 32 if state["mode"] & CODE_32 else 16
    return f"{bits}-bit ring {state['cpl']}{paging}"


@dataclass
class Coverage:
    """Sets and counts that only grow; `to_json` and `merge` carry them from one process to the next."""

    features: set[Feature] = field(default_factory=set)
    seen: dict[int, set[int]] = field(default_factory=lambda: {number: set() for number in MODE_CLASSES})
    """Forms decoded, by mode class."""
    handlers: set[int] = field(default_factory=set)
    """Form and variant of each handler that records led to."""
    stencils: set[int] = field(default_factory=set)
    executed: dict[str, set[int]] = field(default_factory=dict)
    """Forms, by mode."""
    exceptions: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    """Vector and form, by mode."""
    exits: Counter[str] = field(default_factory=Counter)

    def of_program(self, interpreter: Guest, translator: Guest) -> tuple[bool, bool]:
        """Add what a program that has just run did; whether anything of it is new, and whether a form is in a mode."""
        decoded = set(_decoded(interpreter.cpu))
        forms_before = sum(map(len, self.seen.values()))
        for form, variant, mode in decoded:
            self.seen[mode].add(form)
            if mode < _LONG_CLASS:  # the others have handlers of their own
                self.handlers.add(variant << FORM_BITS | form)
        found: set[Feature] = {*decoded, *(("translator", *record) for record in _decoded(translator.cpu))}
        for guest in (interpreter, translator):
            sizes = guest.cpu.statistics().items()
            found |= {(guest.engine, name, value.bit_length()) for name, value in sizes if "cycles" not in name}
        counts = Counter(ExitReason(entry[1]).name for entry in interpreter.exits)
        self.exits.update(counts)
        found |= {("exit", name, count.bit_length()) for name, count in counts.items()}
        new = not found <= self.features
        self.features |= found
        return new, sum(map(len, self.seen.values())) > forms_before

    def to_json(self) -> dict[str, object]:
        """For a file."""
        return {
            "features": sorted(map(list, self.features), key=str),
            "seen": {str(mode): sorted(forms) for mode, forms in self.seen.items()},
            "handlers": sorted(self.handlers),
            "stencils": sorted(self.stencils),
            "executed": {mode: sorted(forms) for mode, forms in self.executed.items()},
            "exceptions": {mode: sorted(pairs) for mode, pairs in self.exceptions.items()},
            "exits": dict(self.exits),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Coverage:
        """The inverse."""
        return Coverage(
            {tuple(feature) for feature in data["features"]},
            {int(mode): set(forms) for mode, forms in data["seen"].items()},
            set(data["handlers"]),
            set(data["stencils"]),
            {mode: set(forms) for mode, forms in data["executed"].items()},
            {mode: {(vector, form) for vector, form in pairs} for mode, pairs in data["exceptions"].items()},
            Counter(data["exits"]),
        )

    def missing(self, bits: int, user: bool) -> tuple[int, ...]:
        """Forms that code of this kind has not shown yet."""
        mode = int(user) | (6 if bits == 32 else 0)
        return tuple(sorted({form.id for form in PLAIN_FORMS} - self.seen[mode]))

    def step_through(self, guest: Guest, program: Program) -> None:
        """Run a program in single steps and note which instructions are executed, and what they raise."""
        guest.load(program)
        at = 0
        for event in program.events:
            at += event.after
            while guest.instructions < min(at, _STEPPED_INSTRUCTIONS) and not guest.ended:
                self._step(guest)
            guest.happen(event)

    def _step(self, guest: Guest) -> None:
        cpu = guest.cpu
        block, mode = find_block(cpu), mode_name(cpu)
        form = None if block is None else Structure(RECORD, block["records"])["form"]
        if not cpu.state["delivering"]:
            cpu.state["fault_vector"] = _NO_VECTOR
        guest.run_to(guest.instructions + 1)
        vector = cpu.state["fault_vector"]
        if form is None:
            return
        if vector < _NO_VECTOR:
            self.exceptions.setdefault(mode, set()).add((vector, form))
        else:
            self.executed.setdefault(mode, set()).add(form)


def _decoded(cpu: Vcpu) -> Iterator[tuple[int, int, int]]:
    """(form, variant, mode class) of all records that an engine holds."""
    count = (cpu.control("records_next") - _address(cpu, "records")) // RECORD_BYTES
    records = ctypes.string_at(_address(cpu, "records"), count * RECORD_BYTES)
    forms = memoryview(records).cast("H")[RECORD.offsets["form"] // 2 :: RECORD_BYTES // 2].tolist()
    variants = records[RECORD.offsets["variant"] :: RECORD_BYTES]
    blocks = cpu.control("blocks_next")
    table = ctypes.string_at(cpu.control("blocks_base"), blocks * BLOCK_BYTES)
    for at in range(BLOCK_BYTES, len(table), BLOCK_BYTES):
        start, size, mode = (_field(table, at, name) for name in ("records", "count", "mode"))
        first = (start - _address(cpu, "records")) // RECORD_BYTES
        kind = _mode_class(mode)
        yield from zip(forms[first : first + size], variants[first : first + size], [kind] * size, strict=False)


def _address(cpu: Vcpu, area: str) -> int:
    """Where records begin: what `records_end` ends."""
    return cpu.control(f"{area}_end") - RECORDS * RECORD_BYTES


def _field(table: bytes, at: int, name: str) -> int:
    offset = at + BLOCK.offsets[name]
    return int.from_bytes(table[offset : offset + BLOCK.widths[name] // 8], "little")


class StencilDiary:
    """Numbers of the stencils that a translator uses, from the diary it keeps (bt/engine/translator/emit/trace.py)."""

    def __init__(self, cpu: TranslatingVcpu, found: set[int]) -> None:
        self._cpu, self._found = cpu, found
        self._area = cpu.area(_DIARY_BYTES)
        self.keep(True)

    def keep(self, on: bool) -> None:
        """Start or stop noting: reading it costs as much as the run itself."""
        self._on = on
        self._cpu.keep_diary(self._area, self._read)
        self._rewind()

    def _rewind(self) -> None:
        self._cpu.set_control("trace_next", self._area.address if self._on else 0)
        self._cpu.set_control("trace_end", self._area.address + self._area.size)

    def _read(self) -> None:
        end = self._cpu.control("trace_next")
        if end in (0, self._area.address) and self._on:
            self._rewind()
            return
        if not self._on:
            return
        entries = struct.iter_unpack("<4Q", ctypes.string_at(self._area.address, end - self._area.address))
        skip = 0
        for kind, subject, _, _ in entries:
            if skip:
                skip -= 1
            elif kind == TRACE_STENCIL:
                self._found.add(subject)
            elif kind == TRACE_BEGIN:
                skip = -(-Structure(BLOCK, subject)["bytes"] // TRACE.size)
        self._rewind()
