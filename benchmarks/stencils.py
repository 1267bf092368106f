"""How large stencils are, by family, now and at an earlier commit: `python -m benchmarks.stencils --against REVISION`.

Claim: modes and floating point cost flat 32-bit code nothing, its stencils are the ones of before. The earlier
library is built from the sources of that commit, by itself.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from io import BytesIO

from rich.console import Console
from rich.table import Table

# Runs with the sources of either commit, so it uses what both have; a STENCIL begins with code and length.
_DUMP = """
import json, struct
try:
    from bt.engine.library.library import load_library
except ImportError:
    from bt.engine.library import load_library
library = load_library()
if hasattr(library, "sections"):
    sections = library.sections
else:
    sections = {**library.stencils, "stencil_names": library.stencil_names}
names = bytes(sections["stencil_names"]).decode().split("\\n")
table, code = sections["stencils"], sections["stencil_code"]
found = {}
for number, name in enumerate(names):
    start, length = struct.unpack_from("<IH", table, 16 * number)
    found[name] = code[start : start + length].hex()
print(json.dumps(found))
"""


@dataclass
class Family:
    """Stencils of one meaning; sizes in bytes."""

    count: int = 0
    before: int = 0
    after: int = 0


def stencils(root: str) -> dict[str, bytes]:
    """Code by stencil name of the library that the sources below `root` make."""
    done = subprocess.run([sys.executable, "-c", _DUMP], cwd=root, stdout=subprocess.PIPE, check=True)
    return {name: bytes.fromhex(code) for name, code in json.loads(done.stdout).items()}


def earlier(revision: str, directory: str) -> dict[str, bytes]:
    """The same of a commit, whose sources go to `directory`."""
    archive = subprocess.run(["git", "archive", revision, "bt"], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return stencils(directory)


def family_of(name: str) -> str:
    """Meaning of a stencil: its name without widths, operands and condition."""
    return re.split(r"_?\d|(?<=cc)[0-9a-f]_|_[rw]\d|(?<=flags)_j.$|(?<=condition).$", name, maxsplit=1)[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", metavar="REVISION", required=True, help="commit to compare with")
    given = parser.parse_args()
    now = stencils(".")
    with tempfile.TemporaryDirectory() as directory:
        then = earlier(given.against, directory)
    families: dict[str, Family] = {}
    for name in then.keys() & now.keys():
        family = families.setdefault(family_of(name), Family())
        family.count += 1
        family.before += len(then[name])
        family.after += len(now[name])
    console = Console()
    console.print(_table(families))
    same = sum(then[name] == now[name] for name in then.keys() & now.keys())
    gone, new = then.keys() - now.keys(), now.keys() - then.keys()
    console.print(
        f"{same} of {len(then)} stencils are the same byte for byte, {len(gone)} are gone, {len(new)} are new"
    )
    for title, names in (("gone", gone), ("new", new)):
        if names:
            counted = Counter(map(family_of, names)).most_common()
            console.print(f"{title}: " + ", ".join(f"{family} {count}" for family, count in counted))
    return 0


def _table(families: dict[str, Family]) -> Table:
    table = Table(box=None)
    for heading in ("family", "stencils", "bytes before", "bytes now", "mean before", "mean now"):
        table.add_column(heading, justify="left" if heading == "family" else "right")
    total = Family()
    for name, family in [*sorted(families.items()), ("all", total)]:
        table.add_row(
            name,
            f"{family.count:,}",
            f"{family.before:,}",
            f"{family.after:,}",
            f"{family.before / family.count:.1f}",
            f"{family.after / family.count:.1f}",
        )
        total.count, total.before, total.after = (
            total.count + family.count,
            total.before + family.before,
            total.after + family.after,
        )
    return table


if __name__ == "__main__":
    raise SystemExit(main())
