"""`python -m tests.vectors.report` (= `make conformance`): all recorded vectors in all engines, a line for each opcode.

Exit status 1 if any vector fails. Options: engine names to run fewer engines.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from bt.engine.library.library import load_library
from bt.x86.opcodes import lookup
from tests.engines import factories
from tests.vectors.conformance import Batch, make_runner, read_batch
from tests.vectors.differences import RULES
from tests.vectors.vectors import flag_names, opcodes


def _name(opcode: str) -> str:
    number, _, digit = opcode.partition(".")
    return lookup(0, int(number, 16), int(digit or "0") << 3).name


def _notes(batch: Batch) -> str:
    """What of the batch is left out or compared in part."""
    notes = [f"{count} skipped ({key})" for key, count in batch.skipped.items()]
    notes += [f"{count} masked ({key})" for key, count in batch.masked.items()]
    return ", ".join(notes)


def _row(batch: Batch, failed: dict[str, int]) -> str:
    passed = "".join(f"{len(batch.ready) - count:>8}" for count in failed.values())
    undefined = flag_names(batch.undefined_flags).lower() or "-"
    return (
        f"{batch.opcode:<6}{_name(batch.opcode):<10}{batch.tests:>6}{passed}  {undefined:<18}{_notes(batch)}".rstrip()
    )


LEAST_RATE = 20_000  # vectors a second of processor time


def main(arguments: Sequence[str]) -> int:
    engines = list(arguments) or list(factories(unpaged=False))
    if unknown := set(engines) - factories(unpaged=False).keys():
        print(
            f"conformance: no engine {' '.join(sorted(unknown))}; there are {' '.join(factories(unpaged=False))}",
            file=sys.stderr,
        )
        return 2
    runners = {name: make_runner(name, load_library()) for name in engines}
    total, failures = Counter[str](), list[str]()
    seconds = dict.fromkeys(engines, 0.0)
    print(f"{'':<16}{'tests':>6}{''.join(f'{name:>8}' for name in engines)}  flags masked")
    for opcode in opcodes():
        batch, failed = read_batch(opcode), {}
        for name, runner in runners.items():
            start = time.process_time()
            findings = runner.run(batch.ready)
            seconds[name] += time.process_time() - start
            failed[name] = len(findings)
            failures += [f"{name}: {opcode}: {finding}" for finding in findings]
        total += Counter(tests=batch.tests, run=len(batch.ready)) + batch.skipped + batch.masked
        print(_row(batch, failed))
    for runner in runners.values():
        runner.close()
    _summary(total, seconds, failures)
    too_slow = any(total["run"] / spent < LEAST_RATE for spent in seconds.values())
    return 1 if failures or too_slow else 0


def _summary(total: Counter[str], seconds: dict[str, float], failures: Sequence[str]) -> None:
    print(f"\n{total['tests']:,} vectors, {total['run']:,} run in each engine, {len(failures)} failures")
    for name, spent in seconds.items():
        print(f"{name}: {total['run'] / spent:,.0f} vectors a second of processor time")
    print("\nWhere a 286 differs from later processors:")
    for rule in RULES:
        print(f"{total[rule.key]:>6} {'skipped' if rule.skip else 'masked'} ({rule.key}): {rule.reason}")
    for failure in failures:
        print(failure)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
