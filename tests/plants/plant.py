"""A planted fault: a unified diff with a few words before it, and how it is put into a tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
_CAUGHT_BY = "Caught by: "
_FILE = re.compile(r"^\+\+\+ b/(\S+)$")
_HUNK = re.compile(r"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


class Misfit(Exception):
    """A patch is none, or does not fit the tree: which one, and why."""


@dataclass(frozen=True)
class Change:
    """One hunk: `before` gives way to `after` in a file, whose name is relative to the tree."""

    file: str
    before: str
    after: str


@dataclass(frozen=True)
class Plant:
    """One patch. `says`: what is wrong with it, for people; `test`: the node id that must turn red."""

    name: str
    says: str
    test: str
    changes: tuple[Change, ...]

    @classmethod
    def read(cls, path: Path) -> Plant:
        """Take a patch file apart. Misfit if it does not name its test or changes nothing."""
        says, _, rest = path.read_text(encoding="utf-8").partition(_CAUGHT_BY)
        test, _, diff = rest.partition("\n")
        changes = tuple(_changes(iter(diff.splitlines(keepends=True))))
        if not test.strip() or not changes:
            raise Misfit(f"{path.name}: needs a line '{_CAUGHT_BY}TEST' and a unified diff behind it")
        return cls(path.stem, " ".join(says.split()), test.strip(), changes)

    def apply(self, tree: Path) -> None:
        """Change the files of a tree. Misfit, and nothing changed, unless every hunk fits in exactly one place."""
        texts: dict[Path, str] = {}
        for change in self.changes:
            path = tree / change.file
            text = texts.get(path) or path.read_text(encoding="utf-8")
            found = text.count(change.before)
            if found != 1:
                raise Misfit(f"{self.name}: a hunk fits {found} places of {change.file}, not one")
            texts[path] = text.replace(change.before, change.after)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")


def plants() -> dict[str, Plant]:
    """All planted faults by name."""
    return {path.stem: Plant.read(path) for path in sorted(FOLDER.glob("*.patch"))}


def _changes(lines: Iterator[str]) -> Iterator[Change]:
    """The hunks of a unified diff. What their heads say counts lines, not where they are: the context says that."""
    file = ""
    for line in lines:
        if match := _FILE.match(line):
            file = match[1]
        elif match := _HUNK.match(line):
            old, new = (int(count or 1) for count in match.groups())
            before, after = "", ""
            while old > 0 or new > 0:
                kind, text = (following := next(lines, "\\"))[0], following[1:]
                if kind not in " +-":
                    raise Misfit(f"{file}: a hunk ends with {following!r}, {old} and {new} lines too early")
                if kind != "+":
                    before, old = before + text, old - 1
                if kind != "-":
                    after, new = after + text, new - 1
            yield Change(file, before, after)
