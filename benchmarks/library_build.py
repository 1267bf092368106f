"""What the library costs to build from nothing: `python -m benchmarks.library_build`.

Claim: under 60 s.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path

from bt.codegen.store import Store
from bt.engine.library.library import load_library

LIMIT_SECONDS = 60


def main() -> int:
    counts: list[int] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        load_library(Store(Path(directory)), progress=lambda done, total: counts.append(total))
        seconds = time.monotonic() - start
        size = sum(file.stat().st_size for file in Path(directory).iterdir())
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime
    cpus = len(os.sched_getaffinity(0))
    print(f"{counts[-1]} modules, {size / 1e6:.1f} MB: {seconds:.1f} s wall, {cpu:.1f} s CPU on {cpus} processors")
    return int(seconds > LIMIT_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
