"""The pictures in README.md: `python -m tests.guests.pictures [NAME...]` (= `make pictures`) makes them anew.

Each is what the machine's screen shows once some text is on it. Needs `make guests`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import PIL.Image

from bt import GuestTime, Machine

DIRECTORY = Path(__file__).parents[2] / "docs" / "pictures"
COLOURS = 16  # a text mode has no more
SECONDS = 600  # of the guest's time, in which the text must come


class Picture(NamedTuple):
    """`line`: QEMU's command line; `text` is looked for on the screen; `more`: guest seconds from then on."""

    name: str
    line: str
    text: str
    more: float = 0


PICTURES = (
    Picture("installer", "-m 512 -kernel debian-12-linux -initrd debian-12-initrd -append 'fb=false nomodeset'",
            "Select a language", 1),
    Picture("memtest", "-m 64 -cdrom memtest86+ia32.iso", "Memtest86+", 5),
)  # fmt: skip


def take(picture: Picture) -> PIL.Image.Image:
    """Run the guest to there."""
    with Machine.from_qemu(shlex.split(picture.line)) as vm:
        for _ in range(SECONDS):
            vm.run(limit=GuestTime(1))
            if any(picture.text in line for line in vm.screen.text()):
                break
        else:
            raise SystemExit(f"{picture.name}: {picture.text!r} does not come:\n" + "\n".join(vm.screen.text()))
        vm.run(limit=GuestTime(picture.more))
        return vm.screen.image().quantize(COLOURS)


def main(names: Sequence[str]) -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for picture in PICTURES:
        if not names or picture.name in names:
            take(picture).save(DIRECTORY / f"{picture.name}.png", optimize=True)
            print(DIRECTORY / f"{picture.name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
