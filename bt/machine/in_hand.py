"""What a user of a machine has in hand beside running it: its serial port, keyboard, screen, registers, memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from bt import arguments
from bt.api.errand import ask, soon
from bt.api.received import Received
from bt.clock.virtual_clock import VirtualClock
from bt.devices.input.i8042 import I8042
from bt.devices.pci.piix4_pm import PmRegisters
from bt.devices.serial.uart16550 import Uart16550
from bt.engine.protocol import Engine
from bt.machine.board import Board, Part
from bt.machine.loop import Loop, RunEngine, Server
from bt.machine.media import Media
from bt.machine.restarts import Restarts
from bt.machine.result import Result, Where
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86.exits import ExitReason
from bt.x86.state import CS

if TYPE_CHECKING:
    from bt.api.keyboard import Keyboard, Mouse
    from bt.api.memory import Memory
    from bt.api.registers import Registers
    from bt.api.screen import Screen
    from bt.api.serial import Serial
    from bt.api.stops import Limit, Until

_T = TypeVar("_T")


class InHand(ABC):
    """The part of Machine that is made of these; each is imported when it is first asked for."""

    cpu: Engine
    ram: GuestRam
    memory: PhysicalMap
    board: Board
    clock: VirtualClock
    com1: Uart16550
    _loop: Loop
    _restarts: Restarts
    _received: Received

    @abstractmethod
    def post(self, action: Callable[[], None]) -> None: ...
    @abstractmethod
    def run(
        self,
        *,
        until: Until | Sequence[Until] = (),
        limit: Limit | None = None,
        max_insns: int | None = None,
        timeout: float | None = None,
    ) -> Result: ...
    @abstractmethod
    def _require_open(self) -> None: ...

    @cached_property
    def serial(self) -> Serial:
        """The far end of COM1."""
        from bt.api.serial import Serial

        return Serial(self._received, self.com1, self.run, self.soon)

    @cached_property
    def keyboard(self) -> Keyboard:
        """The keyboard as somebody types on it."""
        from bt.api.keyboard import Keyboard

        return Keyboard(self.board.part("keyboard", I8042).keyboard, self.clock, self.soon)

    @cached_property
    def mouse(self) -> Mouse:
        """The mouse as somebody moves it."""
        from bt.api.keyboard import Mouse

        device = self.board.part("keyboard", I8042).mouse
        assert device is not None, "every PC here has one"
        return Mouse(device, self.soon)

    @cached_property
    def screen(self) -> Screen:
        """What the display shows."""
        from bt.api.screen import Screen

        return Screen(self.board.vga)

    @cached_property
    def reg(self) -> Registers:
        """The processor's registers by name."""
        from bt.api.registers import Registers

        return Registers(self.cpu)

    @cached_property
    def mem(self) -> Memory:
        """Memory by physical and by linear address."""
        from bt.api.memory import Memory

        return Memory(self.cpu, self.memory)

    @property
    def where(self) -> Where:
        """The instruction that comes next."""
        state = self.cpu.state
        return Where(
            state.segment(CS, "selector"), state["eip"], (state.segment(CS, "base") + state["eip"]) & 0xFFFF_FFFF
        )

    def soon(self, action: Callable[[], None]) -> None:
        """Do `action` at once where the guest does not run in another thread, or else `post` it."""
        self._require_open()
        soon(self.ram.sole_use, self.post, action)

    def ask(self, action: Callable[[], _T]) -> _T:
        """Do `action` between two instructions, and answer what it answers, or raise what it raises.

        Safe from any thread: the one that runs the guest does it, where there is one, and this one waits for it.
        """
        self._require_open()
        return ask(self.ram.sole_use, self.post, action)

    @property
    def is_running(self) -> bool:
        """Whether a `run` is under way, and the machine not paused."""
        return self._loop.is_running and not self._loop.is_paused

    @property
    def is_paused(self) -> bool:
        """Whether the guest waits for `resume`."""
        return self._loop.is_paused

    def pause(self) -> None:
        """Have the guest wait, and `run` with it, until `resume`; a run that begins waits too. Safe from any thread.

        Nothing of the guest's time passes with the clock "icount".
        """
        self.soon(lambda: setattr(self._loop, "is_paused", True))

    def resume(self) -> None:
        """Let the guest go on. Safe from any thread."""
        self.soon(lambda: setattr(self._loop, "is_paused", False))

    def add(self, part: Part) -> None:
        """Put one more device on the board, as a line of bt/machine/parts.py would: it is reset with the others, and
        is in snapshots, which machines with the same devices take. Raises BusConflict where another one answers.
        """
        arguments.instance("part", part, Part, "a Part is wanted")
        arguments.require(part.name not in self.board.devices, "part", part.name, "there is a device of this name")
        with self.ram.sole_use.at_rest():
            self._require_open()
            self.board.add(part)

    @property
    def interrupts(self) -> dict[int, int]:
        """How often an interrupt was taken, by vector."""
        return {vector: count for vector, count in enumerate(self._loop.interrupt_counts) if count}

    @property
    def media(self) -> Media:
        """The drives and what is in them (bt/machine/media.py)."""
        return self.board.media

    def change(self, drive: str, file: str, *, force: bool = False) -> None:
        """Put another CD or diskette into a drive, called as QEMU's monitor does: "ide1-cd0", "floppy0".

        The guest notices as it would on hardware. Safe from any thread. BadUsage, nothing changed, where it cannot be
        done, also where the guest has locked the drive, unless `force` is given.
        """
        self.ask(lambda: self.media.change(drive, file, force=force))

    def eject(self, drive: str, *, force: bool = False) -> None:
        """Take the CD or diskette out; as `change`."""
        self.ask(lambda: self.media.change(drive, None, force=force))

    def power_button(self) -> None:
        """Press it: an operating system that listens switches the machine off. BadUsage where there is none (isapc)."""
        self.soon(self.board.part("PM", PmRegisters).press_power_button)

    # -- for those who look on (bt/inspect/log.py) --------------------------------------------------------------------

    def server(self, reason: ExitReason) -> Server:
        """What is done when the guest leaves for `reason`."""
        return self._loop.server(reason)

    def serve(self, reason: ExitReason, server: Server) -> None:
        """Do this from now on when the guest leaves for `reason`."""
        self._loop.serve(reason, server)

    def interrupt_taken(self, hear: Callable[[int], None]) -> None:
        """Call `hear(vector)` before an interrupt is delivered."""
        self._loop.taken = hear

    def restarted(self, hear: Callable[[], None]) -> None:
        """Call `hear()` before the machine starts again, by a reset."""
        self._restarts.noted = hear

    def trace(self, around: Callable[[RunEngine], RunEngine]) -> None:
        """Run the guest through what `around` makes of the engine's `run`, an instruction at a time."""
        self._loop.run_engine = around(self._loop.run_engine)
        self._loop.slice_insns = 1
