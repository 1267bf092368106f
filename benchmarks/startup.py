"""What a start costs: `python -m benchmarks.startup [RUNS]`.

Claim: with a warm cache, `bt run` on a tiny guest takes under 0.5 s of wall time in all.
"""

from __future__ import annotations

import sys
from statistics import median

from bt.bench.process import run
from bt.cli import library

LIMIT_SECONDS = 0.5
ENGINES = ("interp", "bt")


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    library.load()  # compiles it where that has not been done
    missed = False
    for engine in ENGINES:
        command = [sys.executable, "-m", "bt.cli.main", "run", "hello", "--engine", engine]
        outcomes = [run(command, 60) for _ in range(runs)]
        wall = median(outcome.wall_seconds for outcome in outcomes)
        cpu = median(outcome.cpu_seconds for outcome in outcomes)
        print(f"bt run hello --engine {engine}: {wall:.3f} s wall, {cpu:.3f} s CPU (median of {runs})")
        missed |= wall > LIMIT_SECONDS
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
