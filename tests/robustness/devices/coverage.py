"""Which lines of the devices have run: what a fuzz of them has reached, and what it has not.

Lines in functions are counted, not what runs when a module is imported. Files that build native code at start
(`*_native.py`, `native_device.py`) run nothing when a guest does something, and are not counted; nor are texts typed.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import bt.devices
import bt.firmware.fw_cfg

DEVICES = Path(bt.devices.__file__).parent
NOT_COUNTED = re.compile("native$|^native|^typist$|^us_layout$")
FW_CFG = Path(bt.firmware.fw_cfg.__file__)


def counted_files() -> dict[str, Path]:
    """By the name they have in accounts."""
    files = [path for path in sorted(DEVICES.rglob("*.py")) if not NOT_COUNTED.search(path.stem)]
    return {str(path.relative_to(DEVICES.parent)): path for path in [*files, FW_CFG]}


def lines_of(code: CodeType) -> set[int]:
    """Where the lines of one function begin, without those of functions in it."""
    return {line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno}


def _functions(code: CodeType) -> Iterator[CodeType]:
    if code.co_flags & inspect.CO_OPTIMIZED:  # no module, no body of a class
        yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _functions(constant)


class Coverage:
    """Lines reached, by file. While it watches, a function costs more until all of it has run, and then no more."""

    def __init__(self) -> None:
        self.names = {str(path): name for name, path in counted_files().items()}
        self.wanted: dict[str, set[int]] = {}
        for name, path in counted_files().items():
            whole = compile(path.read_text(), str(path), "exec")
            self.wanted[name] = set().union(*(lines_of(code) for code in _functions(whole)))
        self.reached: dict[str, set[int]] = {name: set() for name in self.wanted}
        self._left: dict[CodeType, tuple[str, set[int]] | None] = {}  # None: not to be looked at (any more)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count what this thread runs."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        try:
            left = self._left[code]
        except KeyError:
            name = self.names.get(code.co_filename)
            left = self._left[code] = None if name is None else (name, lines_of(code) - self.reached[name])
        return None if left is None else self._line

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        left = self._left[frame.f_code]
        if left is None:
            return None
        if event == "line":
            name, lines = left
            if frame.f_lineno in lines:
                lines.discard(frame.f_lineno)
                self.reached[name].add(frame.f_lineno)
            if not lines:
                self._left[frame.f_code] = None
                return None
        return self._line

    def share(self) -> float:
        """Of all lines, those that were reached."""
        reached = sum(len(lines & self.reached[name]) for name, lines in self.wanted.items())
        return reached / sum(map(len, self.wanted.values()))

    def account(self, missing: bool = False) -> Iterator[str]:
        """A line a file: reached, all, and its name; with `missing` also the numbers of the lines that were not."""
        for name, wanted in self.wanted.items():
            if wanted:
                reached = self.reached[name] & wanted
                numbers = f"  {_ranges(sorted(wanted - reached))}" if missing and wanted - reached else ""
                yield f"{len(reached):5} of {len(wanted):4}  {100 * len(reached) // len(wanted):3} %  {name}{numbers}"
        yield f"{100 * self.share():.1f} % of all"


def _ranges(numbers: list[int]) -> str:
    """In few words: 3-5, 9."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][-1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}-{last}" if first < last else f"{first}" for first, last in found)
