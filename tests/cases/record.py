"""Fills in case lines that end in `=> ?` with what the host CPU does: `python -m tests.cases.record FILE...`.

What is recorded is a proposal: read it against the manual before committing it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bt.errors import BadUsage, BtError
from tests.cases.check import right_hand_side
from tests.cases.model import Executor
from tests.cases.parse import UNKNOWN, parse_line
from tests.cases.undefined import undefined_flags
from tests.oracles.host_cpu import HostCpu


def record_line(line: str, where: str, executor: Executor) -> str:
    """`line` with its `?` replaced by the outcome; other lines unchanged.  Raises BtError if it is no case."""
    case_text, arrow, after = line.partition("=>")
    if line.startswith("#") or not arrow or UNKNOWN not in after.split():
        return line
    case = parse_line(line, where, undefined_flags)
    kept = [token for token in after.split() if token != UNKNOWN]
    words = [right_hand_side(case, executor.run(case)), *kept]
    return f"{case_text}=> {' '.join(word for word in words if word)}".rstrip()


def record_file(path: Path, executor: Executor) -> int:
    """Record every waiting line of a file in place; how many there were."""
    before = path.read_text(encoding="utf-8").splitlines()
    after = [record_line(line, f"{path.name}:{number}", executor) for number, line in enumerate(before, 1)]
    path.write_text("\n".join(after) + "\n", encoding="utf-8")
    return sum(old != new for old, new in zip(before, after, strict=True))


def main(arguments: list[str]) -> int:
    """Command line: files to record; 2 with a message when one cannot be."""
    try:
        if not arguments:
            raise BadUsage("usage: python -m tests.cases.record FILE.case...")
        if reason := HostCpu.unavailable():
            raise BadUsage(f"cannot record here: {reason}")
        with HostCpu() as cpu:
            for name in arguments:
                print(f"{name}: {record_file(Path(name), cpu)} lines recorded")
    except (BtError, OSError) as error:
        print(error, file=sys.stderr)
        return BadUsage.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
