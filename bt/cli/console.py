"""-serial, -display, -monitor and their like: what a person or a program outside has of a machine, and how."""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS, Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast, get_args

from bt.chardev.chardev import Chardev
from bt.chardev.kinds import KINDS
from bt.chardev.stdio import Stdio
from bt.chardev.waiter import Waiter
from bt.cli import devices, signals
from bt.cli.chardevs import SPELLINGS, Chardevs, Wanted
from bt.cli.options import Choice, Parser, pairs
from bt.cli.port_output import PortSink, Writer
from bt.errors import BadUsage
from bt.machine.config import ClockMode, DisplayName, MachineConfig, Sinks

if TYPE_CHECKING:
    from bt.console.display import TerminalDisplay
    from bt.console.mux import Front
    from bt.console.terminal import Terminal
    from bt.gdb.server import GdbServer
    from bt.machine import Machine
    from bt.monitor.monitor import Monitor

PORTS = 2
TERMINAL, NONE = "terminal", "none"
DISPLAYS = {TERMINAL: TERMINAL, "curses": TERMINAL, NONE: NONE}
WINDOWS = ("gtk", "sdl", "cocoa", "dbus", "egl-headless", "spice-app", "default")  # displays of QEMU that bt has not
HINT_SECONDS = 1.0  # after that time, and again
OTHER_DISPLAYS = ("cirrus", "vmware", "qxl", "virtio", "xenfb")  # QEMU's
SHOT = Path("bt.png")  # what screenshots by key are called after


class _ChooseVga(Choice):
    """-vga KIND: of the displays that QEMU has besides, std serves most guests as well; that is noted."""

    def choose(self, given: Namespace, option: str, text: str) -> None:
        here = get_args(DisplayName)
        if text in OTHER_DISPLAYS:
            given.notes.append(f"{option}: the display is QEMU's std: a VGA with VBE")
        elif text not in here:
            raise BadUsage(f"{option}: there is no such display; these are: {', '.join((*here, *OTHER_DISPLAYS))}")
        given.vga = text if text in here else MachineConfig.vga


def add_options(parser: Parser) -> None:
    """`Console` is made of them."""
    parser.set_defaults(more_serial=[], monitor_program="bt")
    add = parser.add_argument_group("screen, keyboard, serial ports: docs/console.md").add_argument
    add("-display", metavar="WHERE", help="terminal (or curses): screen and keyboard here; none (default)")
    add("-vga", metavar="KIND", action=_ChooseVga, default=MachineConfig.vga, help="the display: std (default) or none")
    add("-curses", dest="display", action="store_const", const="curses", help=SUPPRESS)
    add("-nographic", action="store_true", help="no screen: firmware, serial port and monitor on stdio")
    add("-serial", metavar="TO", action="append",
        help=f"COM1, and given again COM2: {SPELLINGS} (default stdio)")  # fmt: skip
    add("-chardev", dest="chardevs", metavar="KIND,id=ID,...", action="append", default=[],
        help=f"something to be named by chardev:ID; kinds: {', '.join(KINDS)}")  # fmt: skip
    add("-monitor", metavar="TO", help="where the monitor is: as -serial (default: with what is on stdio)")
    add("-mon", dest="mons", metavar="chardev=ID", action="append", default=[], help=SUPPRESS)
    add("-s", dest="gdb", action="store_const", const="tcp::1234", help="GDB may connect, to TCP port 1234")
    add("-gdb", metavar="TO", help="GDB may connect there: tcp::PORT, unix:PATH, stdio")
    add("-nodefaults", dest="no_defaults", action="store_true", help="no serial port and no empty drives by default")
    add("--screenshot", metavar="FILE.png", help="write what the screen shows at the end there")
    add("--pace", choices=("on", "off"), help="idle time is the host's (default: on with a terminal), not skipped")


def chosen_clock(given: Namespace) -> ClockMode:
    """Of a machine on whose screen somebody looks it is the host's, unless the command line says otherwise.

    Who polls for a key while a countdown runs, as GRUB does, never idles: where instructions take longer than they
    are counted for, no pace makes that last as long as it says.
    """
    if given.clock is not None:
        return cast(ClockMode, given.clock)
    is_watched = _display_kind(given) == TERMINAL and given.pace != "off"
    return "host" if is_watched else "icount"


class _Line:
    """A character device and who talks over it."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.ports: list[int] = []
        self.has_monitor = False

    @property
    def device(self) -> Chardev:
        return self.wanted.device


class Console:
    """What a command line says of it. Use as a context manager, and `attached` in it around the run."""

    def __init__(self, given: Namespace) -> None:
        """Raises BadUsage for what there is not, and cannot be opened."""
        self._held = ExitStack()
        self._display = _chosen_display(given)
        self._is_display_chosen = bool(given.display or given.nographic or given.screenshot)
        self._pace = given.pace
        self._shot = Path(given.screenshot) if given.screenshot else None
        if self._shot is not None:
            from bt.console import screenshot

            screenshot.check_name(self._shot)
        self._is_serial_named = given.serial is not None or given.nographic
        self._lines: list[_Line] = []
        self._chardevs = Chardevs(given.chardevs, screen="stdio" if self._display == TERMINAL else "null")
        serial = _serial(given)
        if len(serial) > PORTS:
            raise BadUsage(f"--serial {serial[PORTS]}: there are two ports, COM1 and COM2")
        for number, text in enumerate(serial):
            self._add_port(number, text)
        self._debugcon: Chardev | None = None
        if given.debugcon is not None:
            self._debugcon = self._chardevs.wanted("-debugcon", "debugcon", given.debugcon).device
        self._debugcon_port = devices.debug_console_port(given)
        self._add_monitors(given)
        self._monitor_program = given.monitor_program
        self._gdb: Chardev | None = None
        if given.gdb not in (None, "none"):
            self._gdb = self._chardevs.wanted("-gdb", "gdb", _as_server(given.gdb)).device
        self.gdb: GdbServer | None = None
        self._terminal = self._our_terminal()
        self._writers: dict[Chardev, Writer] = {}
        self._port_sinks = {
            number: PortSink(self._writer(line.device)) for line in self._lines for number in line.ports
        }

    def _add_port(self, number: int, text: str) -> None:
        line = self._line(self._chardevs.wanted("--serial", f"serial{number}", text))
        if line.ports and not line.wanted.is_multiplexed:
            raise BadUsage(f"--serial {text}: COM{line.ports[0] + 1} has it already; give the other another")
        line.ports.append(number)

    def _add_monitors(self, given: Namespace) -> None:
        texts = [] if given.monitor is None else [given.monitor]
        for text in given.mons:
            options = dict(pairs(text))
            name = options.get("chardev", next(iter(options)))  # the key may be left out, as in QEMU
            if options.get("mode", "readline") != "readline":
                raise BadUsage(f"-mon {text}: mode={options['mode']}; bt has the monitor for people, readline; no QMP")
            texts.append(f"chardev:{name}")
        for number, text in enumerate(texts):
            self._line(self._chardevs.wanted("-monitor", f"compat_monitor{number}", text)).has_monitor = True
        self._is_monitor_placed = bool(texts)

    def _line(self, wanted: Wanted) -> _Line:
        """The line of that device; there is one on standard input and output."""
        for line in self._lines:
            both_stdio = isinstance(line.device, Stdio) and isinstance(wanted.device, Stdio)
            if line.device is wanted.device or both_stdio:
                is_multiplexed = line.wanted.is_multiplexed or wanted.is_multiplexed
                line.wanted = line.wanted._replace(is_multiplexed=is_multiplexed)
                return line
        self._lines.append(_Line(wanted))
        return self._lines[-1]

    def _our_terminal(self) -> Terminal | None:
        """The terminal, if something is to be shown there or typed."""
        if self._display != TERMINAL and not any(isinstance(line.device, Stdio) for line in self._lines):
            return None
        if sys.stdin is None or not sys.stdin.isatty():
            if self._display == TERMINAL:
                raise BadUsage("--display terminal: standard input is no terminal")
            return None
        from bt.console.terminal import Terminal

        if self._display == TERMINAL and not (sys.stdout is not None and sys.stdout.isatty()):
            raise BadUsage("--display terminal: standard output is no terminal")
        if self._display == TERMINAL and os.environ.get("TERM", "dumb") == "dumb":
            raise BadUsage("--display terminal: TERM says that this terminal cannot place a cursor")
        return None if sys.stdout is None else Terminal.ours(sys.stdout.fileno())

    def __enter__(self) -> Console:
        with ExitStack() as held:
            others = (device for device in (self._debugcon, self._gdb) if device is not None)
            for device in [*(line.device for line in self._lines), *others]:
                device.open()
                held.callback(device.close)
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def sinks(self) -> Sinks:
        """Where the ports that were named send to."""
        found = Sinks()
        if 0 in self._port_sinks:
            found["serial"] = self._port_sinks[0].send
        if 1 in self._port_sinks:
            found["serial2"] = self._port_sinks[1].send
        if self._debugcon is not None:
            send = PortSink(self._writer(self._debugcon)).send
            if self._debugcon_port == devices.CONSOLE_PORT:
                found["console"] = send
            else:
                found["firmware_log"] = send
        return found

    def _writer(self, device: Chardev) -> Writer:
        """Several ports may share a device."""
        return self._writers.setdefault(device, Writer(device.write))

    # -- the run ------------------------------------------------------------------------------------------------------

    @contextmanager
    def attached(self, machine: Machine) -> Iterator[None]:
        """While the guest runs, give it what comes, and show what it shows. Afterwards the screenshot is written."""
        with ExitStack() as stack:
            waiter = Waiter(lambda error: machine.post(partial(_raise, error)))
            display = None
            if self._terminal is not None:
                if self._display == TERMINAL:
                    display = self._add_display(machine, self._terminal, waiter)
                stack.enter_context(signals.put_right_by(self._terminal.give_back))
                stack.enter_context(self._terminal.taken())
            if display is not None:
                display.enter()
                stack.callback(display.finish)
            machine.is_paced = self._pace == "on" if self._pace else self._terminal is not None
            self._listen(machine, waiter, display)
            if self._gdb is not None:
                from bt.gdb.server import GdbServer

                self.gdb = GdbServer(machine, self._gdb.write, _monitor(machine).execute)
                self._gdb.listen(waiter, self.gdb.received, ended=_nothing, opened=_nothing)
            hint = None
            if not self._is_display_chosen:
                hint = self._add_hint(machine, waiter)
            stack.callback(waiter.close)
            waiter.start()
            for writer in self._writers.values():
                stack.enter_context(writer.in_pieces(machine.post))
            yield
        if hint is not None:
            hint()
        if self._shot is not None:
            from bt.console import screenshot
            from bt.devices.display.render import image

            screenshot.save(image(machine.board.vga), self._shot)

    def _add_display(self, machine: Machine, terminal: Terminal, waiter: Waiter) -> TerminalDisplay:
        from bt.console.display import TerminalDisplay

        return TerminalDisplay(machine, terminal, waiter, self._shot or SHOT)

    def _add_hint(self, machine: Machine, waiter: Waiter) -> Callable[[], None]:
        """Tell who does not see what the guest shows; what is to be done at the end of the run."""
        said: list[str] = []
        asked: list[bool] = []

        def look() -> None:
            from bt.console.hint import hint  # most guests have said something before

            asked.clear()
            if not said and (text := hint(machine.board.vga)):
                said.append(text)
                print(f"bt: {text}", file=sys.stderr)

        def is_silent() -> bool:
            return not said and all(sink.is_silent for sink in self._port_sinks.values())

        def tick() -> None:
            if is_silent() and not asked:
                asked.append(True)
                machine.post(look)

        waiter.every(HINT_SECONDS, tick)
        return lambda: look() if is_silent() else None

    def _listen(self, machine: Machine, waiter: Waiter, display: TerminalDisplay | None) -> None:
        """Put each character device together with those that talk over it."""
        open_lines: set[int] = set()

        def ended(number: int) -> None:
            open_lines.discard(number)
            machine.post(update)

        def update() -> None:
            machine.input_open = bool(open_lines)

        stdio = next((line for line in self._lines if isinstance(line.device, Stdio)), None)
        if display is not None and stdio is None:
            stdio = self._line(self._chardevs.wanted("--serial", "stdio", "stdio"))
            stdio.device.open()
        for number, line in enumerate(self._lines):
            if line is stdio and isinstance(line.device, Stdio) and self._terminal is not None:
                line.device.write_to(self._terminal.write)
            is_shared = line.wanted.is_multiplexed or (line is stdio and self._terminal is not None)
            received, opened = self._received(machine, line, is_shared, display if line is stdio else None)
            if line.device.sends:
                open_lines.add(number)
            line.device.listen(waiter, received, partial(ended, number), opened)
        update()

    def _received(
        self, machine: Machine, line: _Line, is_shared: bool, display: TerminalDisplay | None
    ) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        """What takes the bytes that come over a line, and what is done when somebody is there."""
        if not is_shared and not line.has_monitor and len(line.ports) == 1:
            uart = (machine.com1, machine.com2)[line.ports[0]]
            return (lambda data: machine.post(lambda: uart.receive(data))), _nothing
        from bt.console.fronts import MonitorFront, SerialFront
        from bt.console.mux import Command, Mux

        write = line.device.write
        the_monitor = MonitorFront(machine, write, partial(_monitor, machine), self._monitor_program)
        wants_monitor = line.has_monitor or (is_shared and not self._is_monitor_placed)
        monitors: list[Front] = [the_monitor] if wants_monitor else []
        uarts = (machine.com1, machine.com2)
        ports: list[Front] = [SerialFront(machine, uarts[number], f"COM{number + 1}") for number in line.ports]
        # in QEMU's window the monitor is the second console, and serial ports follow; on a line they come first
        fronts = [*ports, *monitors] if display is None else [display, *monitors, *ports]
        mux = Mux(
            fronts,
            say=the_monitor.say if display is None else display.say,
            stop=machine.stop,
            has_numbers=display is not None,
            # the monitor was asked for, the serial port is only there
            first=len(ports) if not display and line.has_monitor and not self._is_serial_named else 0,
        )
        if line.ports:
            mux.commands["t"] = Command("toggle console timestamps", partial(self._toggle_stamps, line))
        if display is not None:
            display.join(mux)
        if not is_shared and not line.ports:
            return the_monitor.received, the_monitor.greet
        return mux.typed, lambda: the_monitor.greet() if mux.current is the_monitor else None

    def _toggle_stamps(self, line: _Line) -> None:
        for number in line.ports:
            self._port_sinks[number].toggle_stamps()


def _nothing() -> None:
    """What there is to do for most."""


def _as_server(text: str) -> str:
    """-gdb's argument, which means a server that waits for nobody."""
    is_address = text.startswith(("tcp:", "unix:")) and ",server" not in text
    return f"{text},server=on,wait=off" if is_address else text


def _monitor(machine: Machine) -> Monitor:
    from bt.monitor.monitor import Monitor  # few ask for it

    return Monitor(machine)


def _serial(given: Namespace) -> list[str]:
    """What the ports are connected to, as -serial and -device isa-serial have it."""
    named = [*(given.serial or ()), *given.more_serial]
    if given.serial is None and not given.no_defaults:
        named.insert(0, "mon:stdio" if given.nographic else "stdio")
    for extra in given.more_serial[: max(0, len(named) - PORTS)]:
        print(f"bt: -device isa-serial,{extra.replace(':', '=')}: there are two ports, COM1 and COM2", file=sys.stderr)
        named.remove(extra)
    return named or ["null"]


def _display_kind(given: Namespace) -> str:
    kind = NONE if given.nographic else (given.display or NONE).partition(",")[0]
    if kind in WINDOWS:
        return NONE
    if kind not in DISPLAYS:
        raise BadUsage(f"-display {given.display}: there are {', '.join(DISPLAYS)}")
    return DISPLAYS[kind]


def _chosen_display(given: Namespace) -> str:
    kind = (given.display or "").partition(",")[0]
    if kind in WINDOWS:
        print(f"bt: -display {kind}: bt opens no windows; --display terminal shows the screen here", file=sys.stderr)
    return _display_kind(given)


def _raise(error: BaseException) -> NoReturn:
    raise error
