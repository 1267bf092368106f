"""`python -m tests.oracles.bulk`: every user-mode instruction form in many states, on the host CPU and on the engines.

Prints a line for each family and engine, then what differs; exit status 1 if anything does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from bt.x86.opcodes import Form
from tests.engines import executors
from tests.oracles.bulk.coverage import LEFT_OUT, Treatment, forms
from tests.oracles.bulk.run import Bulk, Row, Tally
from tests.oracles.host_cpu import HostCpu

_COLUMNS = ("forms", "cases", "compared", "masked", "free", "translated", "differing")
_FAULT_ROUNDS_A_MILLION = 4


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.oracles.bulk", description=__doc__)
    parser.add_argument("--cases", type=int, default=2_000_000, metavar="N", help="at least so many (2,000,000)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="another seed gives other cases (1)")
    parser.add_argument("--form", metavar="NAME", help="only of this mnemonic or encoding: 'shld', 'D9 /0'")
    parser.add_argument("--engine", choices=list(executors()), help="only this one")
    return parser.parse_args(words)


def chosen(name: str | None) -> tuple[tuple[Form, ...], tuple[Form, ...]]:
    """Forms to run in bulk and as single cases: all, or those of a mnemonic or whose encoding begins like this."""

    def fits(form: Form) -> bool:
        return name is None or form.name == name or form.encoding.startswith(name)

    # other processors store two bytes of the four that PUSH of a segment register takes (SDM vol. 2B PUSH)
    left_out = "segment.push" if HostCpu.unlike() else None
    bulk = tuple(form for form in forms(Treatment.BULK) if fits(form) and form.meaning != left_out)
    return bulk, bulk + tuple(form for form in forms(Treatment.FAULT) if fits(form))


def table(tally: Tally) -> Iterator[str]:
    """A line for each family and engine."""
    yield f"{'':<20}" + "".join(f"{column:>11}" for column in _COLUMNS)
    for engine, rows in tally.rows.items():
        total = Row()
        for family, row in rows.items():
            yield _line(engine, family, row)
            total.forms |= row.forms
            total.add(row)
        yield _line(engine, "total", total)


def _line(engine: str, family: str, row: Row) -> str:
    numbers = (len(row.forms), *(getattr(row, column) for column in _COLUMNS[1:]))
    return f"{engine:<8}{family:<12}" + "".join(f"{number:>11,}" for number in numbers)


def main(words: Sequence[str]) -> int:
    """Run it."""
    arguments = _arguments(words)
    if reason := HostCpu.unavailable():
        print(f"bulk: no host CPU to compare with: {reason}", file=sys.stderr)
        return 2
    bulk_forms, all_forms = chosen(arguments.form)
    if not all_forms:
        reason = LEFT_OUT.get(arguments.form, "no such form; give a mnemonic or the beginning of an encoding")
        print(f"bulk: {arguments.form}: {reason}", file=sys.stderr)
        return 2
    engines = executors()
    if arguments.engine:
        engines = {arguments.engine: engines[arguments.engine]}
    start = time.monotonic()
    with HostCpu() as host:
        bulk = Bulk(host, engines)
        if bulk_forms:
            bulk.run(arguments.seed, bulk_forms, arguments.cases)
        bulk.run_faults(arguments.seed, all_forms, 1 + arguments.cases * _FAULT_ROUNDS_A_MILLION // 1_000_000)
    print("\n".join(table(bulk.tally)))
    print(f"{time.monotonic() - start:.0f} s, seed {arguments.seed}")
    for (engine, _), reports in bulk.tally.reports.items():
        print("\n".join(f"\n{engine}: {report}" for report in reports))
    return 1 if bulk.tally.differing() else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
