"""`python -m benchmarks.bochs_guest IMAGE APPEND`: a built-in guest under Bochs, in a process that can be measured."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bt.bench.workload import SUCCESS
from tests.guest_images import bochs

TIMEOUT_SECONDS = 280
FAILURE = 3


def main() -> int:
    image, append = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        said = bochs.run(Path(image).read_bytes(), append, Path(folder), TIMEOUT_SECONDS)
    sys.stdout.write(said)
    return SUCCESS if "\nops=" in said else FAILURE  # its own exit port Bochs does not have


if __name__ == "__main__":
    raise SystemExit(main())
