"""What tier 2 makes of a block, to look at it: nothing runs, and nothing is kept."""

from __future__ import annotations

from dataclasses import dataclass

from bt.engine.identity.crossing import UNIT_END, UNIT_FAULT, UNIT_MISS, UNIT_SERVICE, way_out
from bt.engine.identity.making.paths import Choice, GuestBlock, trace_of
from bt.engine.identity.making.undefined_flags import HostFlags
from bt.engine.identity.making.unit import Unit, UnitWriter
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.inspect.code import disassembler, fetch
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


@dataclass(frozen=True)
class ExplainedUnit:
    """A unit of one block. `why`: there can be none. `is_long`: it is one of 64-bit code, charged as it begins."""

    eip: int
    why: str = ""
    lines: tuple[UnitLine, ...] = ()
    stubs: tuple[str, ...] = ()
    host_bytes: int = 0
    charged_dead: bool = False
    head_is_dead: bool = False
    is_long: bool = False

    def __str__(self) -> str:
        if self.why:
            return f"unit {self.eip:08x}: none, {self.why}"
        if self.is_long:
            return f"unit {self.eip:08x}: {len(self.lines)} instructions, {self.host_bytes} host bytes"
        charge = "charged where no flags are alive" if self.charged_dead else "charged with the flags saved"
        head = ", entered without flags" if self.head_is_dead else ""
        return f"unit {self.eip:08x}: {len(self.lines)} instructions, {self.host_bytes} host bytes, {charge}{head}"


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
        cpu.library.forms_without(cpu.model),
        READY_X87 | READY_SSE,
        HostFlags(),
    )
    trace = trace_of([GuestBlock.at(found.address)], choice)
    if trace.why:
        return ExplainedUnit(eip, trace.why)
    names = runtime_names(cpu.library)
    gates = {name: cpu.library.symbols[way_out(gate)] for name, gate in _GATES.items()}
    unit = UnitWriter(trace, cpu.library.arena.exec_base, 1, gates).write()
    labels = names | {at: f"{placed.step.i.eip:08x}" for at, placed in zip(unit.begins, trace.steps, strict=False)}
    labels |= dict.fromkeys(range(unit.begins[-1], unit.start + len(unit.code)), "below")
    lines = []
    for index, placed in enumerate(trace.steps):
        step = placed.step
        _, text = fetch(cpu, 0, step.i.eip, 32)
        host = _disassembled(unit, unit.begins[index], unit.begins[index + 1], labels)
        itself = len(step.parts) == 1 and host[-1].split()[0] == text.split()[0]
        mark = "!" if step.service else "=" if itself else ""
        lines.append(UnitLine(step.i.eip, text, mark, tuple(host)))
    stubs = _disassembled(unit, unit.begins[-1], unit.start + len(unit.code), labels)
    return ExplainedUnit(eip, "", tuple(lines), tuple(stubs), len(unit.code), unit.charged_dead, unit.head_is_dead)


def _disassembled(unit: Unit, begin: int, end: int, labels: dict[int, str]) -> list[str]:
    code = unit.code[begin - unit.start : end - unit.start]
    return [annotate(line.text, labels) for line in disassembler(64).disassemble(code, begin)] if code else []
