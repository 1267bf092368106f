"""Records: what `@dataclass(frozen=True)` promises, without its import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bt.errors import BadUsage
from bt.machine.media import Drive
from bt.record import Record


class Point(Record):
    x: int
    y: int = 2

    def __post_init__(self) -> None:
        self.sum = self.x + self.y

    @property
    def mirrored(self) -> Point:
        return Point(self.y, self.x)


def test_fields_and_defaults() -> None:
    point = Point(1)
    assert (point.x, point.y, point.sum, Point.y) == (1, 2, 3, 2)
    assert point == Point(x=1, y=2) == Point(1, y=2) != Point(2, 2)
    assert point != (1, 2)
    assert len({point, Point(1, 2), point.mirrored}) == 2
    assert repr(point) == "Point(x=1, y=2)"
    assert list(Point.FIELDS) == ["x", "y"]


def test_another_one_is_checked_as_the_first_was() -> None:
    drive = Drive("disk.img")
    assert drive.replace(index=3) == Drive("disk.img", index=3)
    assert drive.index is None
    with pytest.raises(BadUsage, match="0 to 3 is wanted"):
        drive.replace(index=4)
    assert Point(1).replace(x=5).sum == 7


@pytest.mark.parametrize(
    ("values", "named", "wrong"),
    [
        ((), {}, "no x"),
        ((), {"y": 1}, "no x"),
        ((1, 2, 3), {}, "3 values for 2 fields"),
        ((1,), {"x": 1}, "x given twice"),
        ((1,), {"z": 1}, "z given twice, or no field"),
    ],
)
def test_arguments_that_are_none(values: tuple[int, ...], named: dict[str, int], wrong: str) -> None:
    with pytest.raises(TypeError, match=wrong):
        Point(*values, **named)


def test_it_does_not_change() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point\.x cannot be changed"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"Point\.y cannot be changed"):
        del point.y
    assert point == Point(1)


def test_a_start_does_without_dataclasses() -> None:
    """They import `inspect`, `ast` and `dis`; so nothing that every start imports may have one."""
    script = "import sys, bt.cli.run, bt.machine.parts; print('dataclasses' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script]) == b"False\n"
