"""Our interpreter against Bochs, the best known of the pure interpreters: `python -m benchmarks.bochs [GUEST...]`.

Claim: the interpreter runs at least at Bochs's speed. (A slow one would flatter the translator.) Needs a checkout, the
packages bochs and seabios, and the right to make a network namespace: Bochs listens for a display. Debian's Bochs is
built with its debugger, which makes it slower than it could be.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from bt.bench import figures, table
from bt.bench.contender import Contender, OurEngine, Unavailable
from bt.bench.runner import Settings, measure
from bt.bench.workload import Workload, select
from bt.cli import library
from bt.errors import BtError
from tests.guest_images import bochs

# Bochs is noticed to be done a tenth of a second late: the work must be long beside that.
SETTINGS = Settings(rounds=3, target_seconds=2.0)
GUESTS = ("sieve", "crc", "quicksort", "matmul", "strings", "fib-calls", "switch")


class Bochs:
    """Bochs, booting the same image from a disk made for it."""

    name = "bochs"

    def prepare(self, scratch: Path) -> str:
        if not bochs.available():
            raise Unavailable("bochs: needs bochs, its firmware (seabios) and network namespaces")
        return "Bochs"

    def can_run(self, workload: Workload) -> bool:
        return True

    def command(self, workload: Workload, n: int) -> list[str]:
        return [sys.executable, "-m", "benchmarks.bochs_guest", str(workload.image.path), workload.append(n)]

    def record(self) -> dict[str, Any]:
        return {}


def main() -> int:
    try:
        library.load()
        workloads = select(sys.argv[1:] or GUESTS)
        contenders: list[Contender] = [OurEngine("interp"), Bochs()]
        report = measure(workloads, contenders, SETTINGS, lambda text: print(text, file=sys.stderr))
    except BtError as error:
        print(f"benchmarks.bochs: {error}", file=sys.stderr)
        return error.exit_code
    table.show(report, Console())
    mean = figures.geometric_mean(report.workloads, "interp", "bochs")
    for failure in report.failures:
        print(f"benchmarks.bochs: {failure}", file=sys.stderr)
    return 0 if not report.failures and mean is not None and mean.median >= 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
