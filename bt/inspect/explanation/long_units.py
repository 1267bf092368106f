"""What tier 2 makes of a block of 64-bit code, to look at it: nothing runs, and nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bt.engine.identity.long.decoded import LongBlock
from bt.engine.identity.long.encoding import NotEncodable
from bt.engine.identity.long.paths import runs_of
from bt.engine.identity.long.signatures import ENTER, LEAVE_NEIGHBOURS, LEAVE_SAMPLED, LEAVE_TO, LEAVE_UNIT, PREPARE_FP
from bt.engine.identity.long.surroundings import Draft, End, Step, Surroundings
from bt.engine.identity.long.unit import UnitWriter
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.inspect.code import disassembler, fetch
from bt.inspect.explanation.diary import runtime_names
from bt.inspect.explanation.host_code import annotate
from bt.inspect.explanation.structure import find_block
from bt.inspect.explanation.units import ExplainedUnit, UnitLine

_WAYS = (LEAVE_UNIT, LEAVE_TO, PREPARE_FP, LEAVE_NEIGHBOURS, LEAVE_SAMPLED)  # in the order of Surroundings


def explained_long_units(cpu: TranslatingVcpu, eip: int) -> list[ExplainedUnit]:
    """The units that the block at RIP would be alone, on a host that leaves undefined flags as bt does: what the
    interpreter does lies between them, and has a reason in place of lines."""
    here, cpu.state["eip"] = cpu.state["eip"], eip
    found = find_block(cpu)
    cpu.state["eip"] = here
    if found is None:
        return [ExplainedUnit(eip, "no code can be fetched there")]
    block = LongBlock.at(found.address)
    runs = runs_of([block], block.eip, lambda _: False)
    if not runs:
        return [ExplainedUnit(eip, "code across two pages, or watched")]
    steps, _, closes, exit = runs[0]
    return list(_units(cpu, block.mode, steps, End(closes, exit)))


def _units(cpu: TranslatingVcpu, mode: int, steps: Sequence[Step], end: End) -> Iterator[ExplainedUnit]:
    """As LongTier makes them: one, or those before and behind the instruction that is for none."""
    if not steps:
        return
    symbols, start = cpu.library.symbols, cpu.library.arena.exec_base
    way_out, way_to, way_fp, way_neighbours, way_sampled = (symbols[way.name] for way in _WAYS)
    looks = (start, start), (start, start)
    around = Surroundings(way_out, way_to, way_fp, way_neighbours, way_sampled, looks, 0, frozenset())
    writer = UnitWriter(Draft(steps, mode, start, None, around, 1), end, symbols[ENTER.name])
    missing = cpu.library.forms_without(cpu.model)
    at = next((number for number, step in enumerate(steps) if step.i.form in missing), None)
    why = "the processor has no such instruction"
    if at is None:
        try:
            written = writer.write()
        except NotEncodable as reason:
            at, why = writer.at, str(reason)
        else:
            yield _explained(cpu, steps, [start + written.hot, *writer.begins[1:]], written.code)
            return
    yield from _units(cpu, mode, steps[:at], End(exit_record=steps[at].i.record))
    yield ExplainedUnit(steps[at].i.eip, why)
    yield from _units(cpu, mode, steps[at + 1 :], end._replace(closes=False))


def _explained(cpu: TranslatingVcpu, steps: Sequence[Step], begins: Sequence[int], code: bytes) -> ExplainedUnit:
    """`begins`: host addresses of the instructions, the first with what is charged, of the way on and of the stubs."""
    start = cpu.library.arena.exec_base
    labels = runtime_names(cpu.library) | {at: f"{step.i.eip:08x}" for at, step in zip(begins, steps, strict=False)}
    labels |= dict.fromkeys(range(begins[-1], start + len(code)), "below")
    labels |= dict.fromkeys(range(start, begins[0]), "above")

    def host(begin: int, end: int) -> tuple[str, ...]:
        lines = disassembler(64).disassemble(code[begin - start : end - start], begin) if end > begin else ()
        return tuple(annotate(line.text, labels) for line in lines)

    lines = []
    for number, step in enumerate(steps):
        _, text = fetch(cpu, 0, step.i.eip, 64)
        made = host(begins[number], begins[number + 1])
        itself = len(made) == 1 and made[0].split()[0] == text.split()[0]
        lines.append(UnitLine(step.i.eip, text, "=" if itself else "", made))
    stubs = (*host(start, begins[0]), *host(begins[-2], begins[-1]), *host(begins[-1], start + len(code)))
    return ExplainedUnit(steps[0].i.eip, "", tuple(lines), stubs, len(code), is_long=True)
