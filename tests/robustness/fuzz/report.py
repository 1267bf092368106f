"""What a campaign has come to, in words and tables: what was run, what was reached, what was not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from bt.engine.interp.variants import handler_names
from bt.engine.library.library import Library
from bt.engine.structures import VARIANTS
from bt.x86.opcodes import FORMS, PLAIN_FORMS
from tests.cases.model import VECTORS
from tests.robustness.fuzz.campaign import Totals
from tests.robustness.fuzz.coverage import FORM_BITS, Coverage

_MOST_NAMED = 60
_VECTOR_NAMES = {number: name for name, number in VECTORS.items()}


@cache
def _handlers() -> tuple[str, ...]:
    return tuple(handler_names())


def lines(coverage: Coverage, totals: Totals, library: Library) -> Iterator[str]:
    """The account, a line at a time."""
    yield f"{totals.programs:,} programs, {totals.instructions:,} instructions in each engine"
    yield f"{totals.tier_2_instructions:,} of them by tier 2, {totals.percent_in_units:.1f} % of these in units"
    yield f"16-bit settings: {totals.percent_translated_16:.1f} % of {totals.translated_16:,} instructions translated"
    yield f"64-bit code: {totals.percent_of_long_in_units:.1f} % of {totals.long:,} instructions in units"
    compat = f"{totals.percent_of_compat_translated:.1f} % of {totals.compat:,} instructions translated"
    yield f"compatibility mode: {compat}"
    yield f"{totals.seconds / 60:.1f} minutes, {totals.cpu_seconds / 60:.1f} of the processor's"
    yield f"{totals.restarts:,} shutdowns, each followed by another start; {totals.unfinished:,} programs cut short"
    yield f"{totals.stale:,} programs ended by a TLB that processors may have in more than one state"
    yield "exits: " + ", ".join(f"{count:,} {name}" for name, count in sorted(coverage.exits.items()))
    all_forms = {form.id for form in PLAIN_FORMS}
    decoded = set().union(*coverage.seen.values()) & all_forms  # 64-bit code has others that are undefined there
    executed = set().union(*coverage.executed.values()) - {0}
    yield f"forms: {len(decoded)} of {len(all_forms)} decoded, {len(executed)} executed without an exception"
    reached = {_handlers()[(key & (1 << FORM_BITS) - 1) * VARIANTS + (key >> FORM_BITS)] for key in coverage.handlers}
    yield f"handlers: {len(reached)} of {len(set(_handlers()))}"
    names = library.lines("stencil_names")
    yield f"stencils: {len(coverage.stencils)} of {len(names)}"
    yield ""
    yield f"{'mode':28} {'forms executed':>14} {'raised':>7}  exceptions"
    for mode in sorted(coverage.executed):
        pairs = coverage.exceptions.get(mode, set())
        vectors = " ".join(_VECTOR_NAMES.get(vector, str(vector)) for vector in sorted({vector for vector, _ in pairs}))
        yield f"{mode:28} {len(coverage.executed[mode]):14} {len(pairs):7}  {vectors}"
    yield ""
    yield from _named("never decoded", sorted(str(FORMS[number]) for number in all_forms - decoded))
    yield from _named("never executed", sorted(str(FORMS[number]) for number in decoded - executed))
    yield from _named("handlers not reached", sorted(set(_handlers()) - reached))
    unused = sorted({_family(names[n]) for n in range(len(names)) if n not in coverage.stencils})
    yield from _named("families of stencils with some not used", unused)
    yield ""
    yield f"findings: {totals.findings.total()}"
    for key, count in totals.findings.most_common():
        yield f"  {count:6} {key}"


def _family(stencil: str) -> str:
    return "_".join(stencil.split("_")[:2])


def _named(title: str, names: list[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield f"{title} ({len(names)}): {', '.join(names[:_MOST_NAMED])}{more}"
