"""A session's VM that is bt, made by the command line of `bt run`; the guest waits while nobody looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bt.cli import run
from bt.devices.display import render
from bt.devices.input.i8042 import I8042
from bt.end import End

MOMENT_NS = 100_000_000  # of the guest's time: a session is the same on every host
KEY_NS = 30_000_000  # that a key is held, and that there is to the next one


class Bt:
    """The machine in this process: it runs only in `go_on` and while a key is pressed."""

    tsc_mhz = 1000.0

    def __init__(self, arguments: Sequence[str]) -> None:
        given = run.parser().parse_args([*arguments, "-no-reboot"])
        self.serial = bytearray()
        self.machine = run.powered_on(given, *run.chosen(given), serial=self.serial.append)
        self.machine.input_open = True
        self._status: int | None = None

    def go_on(self) -> None:
        self._run(MOMENT_NS)

    def send(self, data: bytes) -> None:
        self.machine.com1.receive(data)

    def screen(self) -> list[str]:
        shown = render.text(self.machine.board.vga)
        if shown is None:
            return []
        return ["".join(bytes([c]).decode("cp437") if c >= 0x20 else " " for c in row) for row, _ in shown.rows]

    def press(self, key: str) -> None:
        keyboard = self.machine.board.part("keyboard", I8042).keyboard
        names = key.split("-")
        for name in names:
            keyboard.press(name)
            self._run(KEY_NS)
        for name in reversed(names):
            keyboard.release(name)
            self._run(KEY_NS)

    def screenshot(self, path: Path) -> None:
        shown = render.image(self.machine.board.vga)
        path.write_bytes(b"P6 %d %d 255\n" % (shown.width, shown.height) + shown.rgb)

    def status(self) -> int | None:
        return self._status

    def close(self) -> None:
        self.machine.close()

    def _run(self, ns: int) -> None:
        if self._status is not None:
            return
        clock = self.machine.clock
        pause = clock.schedule(clock.now_ns + ns, self.machine.stop)
        result = self.machine.run()
        clock.cancel(pause)
        if result.reason is not End.INTERRUPTED:
            self._status = result.status
