"""The machine's screen on a terminal, and the terminal's keys for the machine's keyboard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from bt.chardev.waiter import Waiter
from bt.console import screenshot
from bt.console.half_blocks import BlockPainter
from bt.console.keyboard import KeyDecoder, Keys, Unknown
from bt.console.mux import Command, Mux
from bt.console.terminal import Terminal
from bt.console.text_screen import TextPainter, TextPicture, look
from bt.devices.display.render import Image, image
from bt.devices.input.i8042 import I8042
from bt.devices.input.keys import KEYS, PAUSE, PRINT, SYNONYMS
from bt.devices.input.typist import Typist
from bt.errors import BadUsage
from bt.machine import Machine

FRAME_SECONDS = 1 / 30
MOST_OF_THE_GUESTS_TIME = 0.05  # that looking at the screen may take
NOTE_SECONDS = 4.0
INVERSE, PLAIN = b"\x1b[0;7m", b"\x1b[0m"
ENTER, BACKSPACES, ESCAPES = 0x0D, b"\b\x7f", b"\x1b\x03"
NAMES = KEYS.keys() | SYNONYMS.keys() | {PRINT, PAUSE}


class _Note(NamedTuple):
    """A line over the screen's last one."""

    text: str
    until: float  # monotonic seconds


class TerminalDisplay:
    """The front that is the machine's screen and keyboard.

    The guest's thread looks at what the screen shows (`_look`), between two instructions, only when something has been
    written to video memory or registers. The waiter's thread draws, so that the guest does not wait for a terminal.
    """

    name = "screen"

    def __init__(self, machine: Machine, terminal: Terminal, waiter: Waiter, shots: Path) -> None:
        """`shots`: screenshots by key are called after it."""
        self._machine, self._terminal, self._waiter, self._shots = machine, terminal, waiter, shots
        self._video = machine.board.memory.video
        self._typist = Typist(machine.clock, machine.board.part("keyboard", I8042).keyboard)
        self._decoder = KeyDecoder()
        self._waits_for_sequence = False
        self._painters = TextPainter(), BlockPainter(terminal.has_true_colour)
        self._picture: TextPicture | Image | None = None
        self._registers: object = None  # what they were when the picture was made
        self._is_asked = False  # the guest's thread is to look
        self._next_look = 0.0  # monotonic seconds
        self._size = terminal.size
        self._note: _Note | None = None
        self._said: set[str] = set()  # characters that are on no key
        self._mux: Mux | None = None
        self._is_current = False
        terminal.redraw, terminal.last_words = self._redraw, self._last_words
        waiter.every(FRAME_SECONDS, self._tick)

    def join(self, mux: Mux) -> None:
        """Be one of its fronts, with keys of one's own."""
        self._mux = mux
        mux.commands |= {
            "d": Command("send Ctrl-Alt-Del", lambda: self._press("ctrl", "alt", "delete")),
            "k": Command("press keys by name, as in ctrl-alt-f2", self._ask_for_keys),
            "p": Command("write a screenshot", self._shoot),
        }

    def say(self, text: str) -> None:
        """Show a line for a while; several: until a key is pressed."""
        self._note = _Note(text, time.monotonic() + NOTE_SECONDS)
        self._waiter.ask(self._redraw if "\n" in text else self._paint)

    # -- the screen ---------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        self._is_current = True
        self._terminal.show_display()

    def leave(self) -> None:
        self._is_current = False
        self._terminal.show_text()

    def _tick(self) -> None:
        """30 times a second, in the waiter's thread."""
        if self._decoder.is_amid_sequence:  # for a whole frame: nothing follows
            if self._waits_for_sequence:
                self._press_all(self._decoder.end_of_sequence())
            self._waits_for_sequence = not self._waits_for_sequence
        if not self._is_current:
            return
        if self._note is not None and time.monotonic() >= self._note.until:
            self._note = None
            self._redraw()
        if self._terminal.size != self._size:
            self._redraw()
        if not self._is_asked and time.monotonic() >= self._next_look:
            self._is_asked = True
            self._machine.post(self._look)

    def _look(self) -> None:
        """In the guest's thread."""
        start = time.monotonic()
        if self._has_changed():
            self._picture = self._what_is_shown()
            self._waiter.ask(self._paint)
        now = time.monotonic()
        self._next_look = now + max(FRAME_SECONDS / 2, (now - start) / MOST_OF_THE_GUESTS_TIME)
        self._is_asked = False

    def _has_changed(self) -> bool:
        vga = self._machine.board.vga
        dispi = vga.dispi
        mode = (dispi.bits, dispi.size, dispi.line_bytes, dispi.start) if dispi.enabled else None
        registers = vga.registers.changes, mode
        log = self._video.keep_log()
        marks = log.since(self)
        log.same_as(self)
        before, self._registers = self._registers, registers
        return registers != before or marks is None or bool(marks.strip(b"\0"))

    def _what_is_shown(self) -> TextPicture | Image:
        vga = self._machine.board.vga
        return look(vga) or image(vga)

    def _redraw(self) -> None:
        """The terminal shows something else, or has another size. From any thread."""

        def redraw() -> None:
            for painter in self._painters:
                painter.forget()
            self._paint()

        self._waiter.ask(redraw)

    def _paint(self) -> None:
        """In the waiter's thread."""
        picture, self._size = self._picture, self._terminal.size
        if picture is None or not self._is_current:
            return
        texts, blocks = self._painters
        columns, rows = self._size
        if isinstance(picture, TextPicture):
            blocks.forget()
            output = texts.paint(picture, columns, rows)
        else:
            texts.forget()
            output = blocks.paint(picture, columns, rows)
        self._terminal.draw(output + self._note_over(picture, columns, rows))

    def _note_over(self, picture: TextPicture | Image, columns: int, rows: int) -> bytes:
        """A note, with the cursor saved and restored around it."""
        if self._note is None:
            return b""
        lines = self._note.text.split("\n")[-rows:]
        output = b"\x1b7"
        for number, line in enumerate(lines):
            output += b"\x1b[%d;1H" % (rows - len(lines) + number + 1) + INVERSE
            output += f" {line}"[:columns].ljust(columns).encode()
        return output + PLAIN + b"\x1b8"

    def _last_words(self) -> bytes:
        """The last screen, for the normal one."""
        picture = self._picture
        if isinstance(picture, TextPicture):
            return "".join(line + "\r\n" for line in picture.lines()).encode()
        if picture is None:
            return b""
        columns, rows = self._size
        return self._painters[1].text(picture, columns, rows - 1)

    def finish(self) -> None:
        """The run is over: what the screen shows now is what stays."""
        self._picture = self._what_is_shown()

    # -- the keyboard -------------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        self._waits_for_sequence = False
        if self._note is not None:
            self._note = None
            self._redraw()
        self._press_all(self._decoder.feed(data))

    def send_break(self) -> None:
        """As a keyboard has it: Ctrl-Break."""
        self._press("ctrl", PAUSE)

    def _press_all(self, found: list[Keys | Unknown]) -> None:
        for each in found:
            if isinstance(each, Keys):
                self._press(*each.names)
            elif each.character not in self._said:
                self._said.add(each.character)
                self.say(f"{each.character!r} is on no key of a US keyboard, which is what the guest has")

    def _press(self, *names: str) -> None:
        self._machine.post(lambda: self._typist.press(*names))

    def _ask_for_keys(self) -> None:
        """Everything that is typed is names of keys, until Enter or Esc."""
        typed = bytearray()

        def ask() -> None:
            self.say(f"keys: {typed.decode('ascii', 'replace')}")

        def capture(data: bytes) -> bytes:
            assert self._mux is not None
            for at, byte in enumerate(data):
                if byte == ENTER or byte in ESCAPES:
                    self._mux.capture = None
                    self._note = None
                    self._redraw()
                    if byte == ENTER and typed:
                        self._press_named(typed.decode("ascii", "replace").strip().lower())
                    return data[at + 1 :] if byte == ENTER else b""  # behind ESC is the rest of a key's sequence
                if byte in BACKSPACES:
                    del typed[-1:]
                else:
                    typed.append(byte)
            ask()
            return b""

        assert self._mux is not None
        self._mux.capture = capture
        ask()

    def _press_named(self, text: str) -> None:
        names = text.split("-")
        unknown = [name for name in names if name not in NAMES]
        if unknown:
            self.say(f"{unknown[0]!r} is no key: names are QEMU's, such as ctrl-alt-f2, ret, pgup, print, kp_enter")
        else:
            self._press(*names)

    def _shoot(self) -> None:
        """Write what the screen shows, and say where."""

        def shoot() -> None:
            shown, path = image(self._machine.board.vga), screenshot.next_name(self._shots)
            try:
                screenshot.save(shown, path)
            except BadUsage as error:
                self.say(str(error))
            else:
                self.say(f"screenshot: {path}")

        self._machine.post(shoot)
