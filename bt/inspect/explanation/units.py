"""What tier 2 makes of a block alone, and the units that a guest's run has made."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bt.engine.identity.crossing import UNIT_END, UNIT_FAULT, UNIT_MISS, UNIT_SERVICE, way_out
from bt.engine.identity.making.paths import Choice, GuestBlock, Trace, trace_of
from bt.engine.identity.making.undefined_flags import HostFlags
from bt.engine.identity.making.unit import Unit, UnitWriter
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.inspect.code import code_bits, disassembler, fetch
from bt.inspect.explanation.diary import runtime_names
from bt.inspect.explanation.host_code import annotate
from bt.inspect.explanation.structure import find_block
from bt.x86.opcodes.fp import READY_SSE, READY_X87

_GATES = {"service": UNIT_SERVICE, "end": UNIT_END, "fault": UNIT_FAULT, "miss": UNIT_MISS}


@dataclass(frozen=True)
class UnitLine:
    """A guest instruction and its host code. `mark`: "=" it is the instruction itself, "!" the interpreter does it."""

    eip: int
    text: str
    mark: str
    host: tuple[str, ...]
    traps: int = 0  # units given up because of it, so that this one has it otherwise


@dataclass(frozen=True)
class ExplainedUnit:
    """A unit. `why`: there can be none. `is_long`: it is one of 64-bit code, charged as it begins."""

    eip: int
    why: str = ""
    lines: tuple[UnitLine, ...] = ()
    stubs: tuple[str, ...] = ()
    host_bytes: int = 0
    charged_at: int = 0  # EIP of the instruction in front of which all are charged
    charged_dead: bool = False
    head_is_dead: bool = False
    path: tuple[int, ...] = ()  # EIPs of its blocks
    closes: bool = False
    is_long: bool = False

    def __str__(self) -> str:
        if self.why:
            return f"unit {self.eip:08x}: none, {self.why}"
        if self.is_long:
            return f"unit {self.eip:08x}: {len(self.lines)} instructions, {self.host_bytes} host bytes"
        how = "where no flags are alive" if self.charged_dead else "with the flags saved"
        charge = f"charged at {self.charged_at:08x} {how}"
        head = ", entered without flags" if self.head_is_dead else ""
        return f"unit {self.eip:08x}: {len(self.lines)} instructions, {self.host_bytes} host bytes, {charge}{head}"

    @property
    def way(self) -> str:
        """Its blocks in words."""
        back = " and around again" if self.closes else ""
        return f"path {' '.join(f'{eip:08x}' for eip in self.path)}{back}"

    @property
    def rewritten(self) -> tuple[str, ...]:
        """A line for each instruction that is otherwise than it would be, because it trapped."""
        traps = {line.eip: line for line in self.lines if line.traps}
        done = ("the interpreter does it", "an address that wraps, or a store that looks for code first")
        return tuple(
            f"{eip:08x} {line.text}: trapped in {line.traps} units before; {done[line.mark != '!']}"
            for eip, line in traps.items()
        )


def explained_unit(cpu: TranslatingVcpu, eip: int) -> ExplainedUnit:
    """The unit that the block at an offset in CS would be alone, on a host that leaves undefined flags as bt does."""
    here, cpu.state["eip"] = cpu.state["eip"], eip
    found = find_block(cpu)
    cpu.state["eip"] = here
    if found is None:
        return ExplainedUnit(eip, "no code can be fetched there")
    choice = Choice(
        False,
        True,
        {},
        frozenset(),
        frozenset(),
        cpu.library.forms_without(cpu.model),
        READY_X87 | READY_SSE,
        HostFlags(),
    )
    trace = trace_of([GuestBlock.at(found.address)], choice)
    if trace.why:
        return ExplainedUnit(eip, trace.why)
    gates = {name: cpu.library.symbols[way_out(gate)] for name, gate in _GATES.items()}
    return _explained(cpu, trace, UnitWriter(trace, cpu.library.arena.exec_base, 1, gates).write())


class MadeUnits:
    """The units that a vCPU makes from now on, as they are when they are made; the latest of them are kept."""

    def __init__(self, cpu: TranslatingVcpu, most: int) -> None:
        self.latest: deque[ExplainedUnit] = deque(maxlen=most)
        self._cpu = cpu
        cpu.unit_observer = self._note

    def _note(self, trace: Trace, unit: Unit) -> None:
        self.latest.append(_explained(self._cpu, trace, unit))


def _explained(cpu: TranslatingVcpu, trace: Trace, unit: Unit) -> ExplainedUnit:
    """Guest code is fetched in the present address space."""
    names = runtime_names(cpu.library)
    labels = names | {at: f"{placed.step.i.eip:08x}" for at, placed in zip(unit.begins, trace.steps, strict=False)}
    labels |= dict.fromkeys(range(unit.begins[-1], unit.start + len(unit.code)), "below")
    bits = code_bits(trace.head.mode)
    lines = []
    for index, placed in enumerate(trace.steps):
        step = placed.step
        _, text = fetch(cpu, trace.code_base, step.i.eip, bits)
        host = _disassembled(unit, unit.begins[index], unit.begins[index + 1], labels)
        itself = len(step.parts) == 1 and host[-1].split()[0] == text.split()[0]
        mark = "!" if step.service else "=" if itself else ""
        traps = cpu.identity.traps_at(step.i.eip) if cpu.identity is not None else 0
        lines.append(UnitLine(step.i.eip, text, mark, tuple(host), traps))
    stubs = _disassembled(unit, unit.begins[-1], unit.start + len(unit.code), labels)
    return ExplainedUnit(
        trace.head.eip,
        lines=tuple(lines),
        stubs=tuple(stubs),
        host_bytes=len(unit.code),
        charged_at=trace.steps[unit.charge_at].step.i.eip,
        charged_dead=unit.charged_dead,
        head_is_dead=unit.head_is_dead,
        path=tuple(block.eip for block in trace.blocks),
        closes=trace.closes,
    )


def _disassembled(unit: Unit, begin: int, end: int, labels: dict[int, str]) -> list[str]:
    code = unit.code[begin - unit.start : end - unit.start]
    return [annotate(line.text, labels) for line in disassembler(64).disassemble(code, begin)] if code else []
