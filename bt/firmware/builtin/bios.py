"""The built-in BIOS: a device that its ROM's code (rom.py) asks for services, which are done in Python.

A service sees registers on the caller's stack (frame.py) and the machine through `Pc`; what it keeps is in the BIOS
data area, or in a field here that is in snapshots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

from bt.clock.virtual_clock import Event
from bt.devices.device import Device
from bt.firmware.builtin import interrupts, post, rom, serial, system, time_of_day
from bt.firmware.builtin.disks import boot, disk
from bt.firmware.builtin.disks.boot import Boot, Emulation
from bt.firmware.builtin.disks.direct import DirectTransfer
from bt.firmware.builtin.disks.floppy import FloppyTransfer
from bt.firmware.builtin.disks.transfer import AtaTransfer, Transfer
from bt.firmware.builtin.frame import FRAME_BYTES, Frame
from bt.firmware.builtin.keyboard import keyboard
from bt.firmware.builtin.pc import Pc
from bt.firmware.builtin.services import Family
from bt.firmware.builtin.video import text

ASKED_AGAIN = 0x8000  # of the number on the stack: it is not the first time
ASK, POST = 0, 1  # offsets
NOBODY = 0xFF  # what others than the ROM read here
# What a service takes of the guest's time, about as on an AT: who asks for a tick or a key over and over need not do so
# for long.
SERVICE_NS = 20_000
WAY_OUT = "SeaBIOS has it: give -bios FILE, or install the package seabios"

FAMILIES: dict[int, Family] = {
    **dict.fromkeys((0x00, 0x06, 0x07), interrupts.EXCEPTION),
    0x05: interrupts.SCREEN,
    **dict.fromkeys((*range(0x0A, 0x10), *range(0x70, 0x78)), interrupts.HARDWARE),
    0x10: text.FAMILY,
    0x11: system.EQUIPMENT,
    0x12: system.MEMORY_SIZE,
    0x13: disk.FAMILY,
    0x14: serial.SERIAL,
    0x15: system.SYSTEM,
    0x16: keyboard.FAMILY,
    0x17: serial.PRINTER,
    0x18: boot.NO_DISK,
    0x19: boot.BOOTSTRAP,
    0x1A: time_of_day.FAMILY,
    0x40: disk.FAMILY,
    0x42: text.FAMILY,
    rom.KEY: keyboard.KEY,
}


class Processor(Protocol):
    """Where the processor is that asks."""

    def code(self) -> int:
        """The linear address of the instruction under way."""

    def stack(self) -> int:
        """That of the top of its 16-bit stack."""


class Outside(Protocol):
    """What the BIOS does to the machine as a whole."""

    def prepare(self) -> None:
        """Have chipset, tables and ROM as they are when a BIOS has started."""

    def restart(self) -> None: ...

    def stop(self, detail: str, is_want_of_handler: bool) -> None:
        """End the run: for want of something that a line names."""

    def warn(self, line: str) -> None: ...


class Bios(Device):
    """Offset 0: a service; offset 1: power-on. Everybody else's reads are of no device."""

    version = 2
    NAME: ClassVar = "built-in BIOS"
    fields = ("event_at_ns", "event_address", "wait_owner", "wait_until_ns", "noted")

    def __init__(self, pc: Pc, processor: Processor, outside: Outside) -> None:
        super().__init__(self.NAME)
        self.pc = pc
        self._processor, self._outside = processor, outside
        self.frame_at = 0  # of the call under way
        self._is_again = False
        self.noted: list[str] = []
        self._forget()

    def _forget(self) -> None:
        for port in self.pc.direct:
            port.forget()
        self.transfer: Transfer | None = None
        self.boot: Boot | None = None
        self.emulation: Emulation | None = None
        self.event_at_ns = self.event_address = 0
        self.wait_owner = self.wait_until_ns = 0
        self._event: Event | None = None
        self._wake: Event | None = None

    def read(self, offset: int, size: int) -> int:
        code = self._processor.code() - rom.ROM_BASE
        if offset == POST and code == rom.labels()["post"] + 2:
            return post.power_on(self)
        if offset != ASK or code != rom.asks_at():
            return NOBODY
        return self._serve()

    def write(self, offset: int, size: int, value: int) -> None:
        """Nothing: the ROM only reads."""

    def _serve(self) -> int:
        pc, at = self.pc, self._processor.stack()
        before = pc.read(at, FRAME_BYTES)
        frame = Frame(before)
        self.frame_at = at
        self._is_again = bool(frame.number & ASKED_AGAIN)
        frame.number &= ~ASKED_AGAIN
        family = FAMILIES.get(frame.number)
        if family is None:
            return rom.DONE  # somebody has made up a stack
        answer = family.functions.get(frame.ah, family.other)(self, frame) or rom.DONE
        if answer == rom.DONE:
            pc.clock.spend(SERVICE_NS)
        else:
            frame.number |= ASKED_AGAIN
        after = frame.pack()
        if after != before:
            pc.write(at, after)
        return answer

    # -- for services -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        self._forget()
        self._outside.prepare()

    def restart(self) -> None:
        self._outside.restart()

    def stop(self, detail: str, is_want_of_handler: bool = False) -> None:
        self._outside.stop(detail, is_want_of_handler)

    def note_missing(self, frame: Frame) -> None:
        """Tell the user, once, that a service is not here."""
        name = f"int {frame.number:02x}h AX={frame.ax:04x}h"
        kind = f"{frame.number:02x}.{frame.ah:02x}"
        if kind not in self.noted:
            self.noted.append(kind)
            self._outside.warn(f"{name}: the built-in BIOS has no such service; {WAY_OUT}")

    def goes_on(self) -> bool:
        """Whether the transfer under way is this call's."""
        return self._is_again and self.transfer is not None and self.transfer.owner == self.frame_at

    def begin(self, transfer: Transfer) -> None:
        self.transfer = transfer

    def step_transfer(self) -> int | None:
        """None while it is not over; time has passed where that is what it waits for."""
        transfer = self.transfer
        assert transfer is not None, "begun before"
        status = transfer.step(self.pc)
        if status is None and transfer.waits:
            self.pc.clock.skip_to_next_event()
        return status

    def drop_transfer(self) -> None:
        if self.transfer is not None:
            self.transfer.abandon(self.pc)
            self.transfer = None

    def on_disk(self, error: OSError | None) -> None:
        """What a transfer has asked of a disk in `Pc.direct` has come."""
        assert isinstance(self.transfer, DirectTransfer), "forgotten with the transfer"
        self.transfer.delivered(self.pc, error)

    def has_waited_ns(self, ns: int) -> bool:
        """Whether so much time has passed since this call first asked; until then some passes each time."""
        clock = self.pc.clock
        if not self._is_again or self.wait_owner != self.frame_at:
            clock.cancel(self._wake)
            self.wait_owner, self.wait_until_ns = self.frame_at, clock.now_ns + ns
            self._wake = clock.schedule(self.wait_until_ns, _nothing)
        if clock.now_ns < self.wait_until_ns:
            clock.skip_to_next_event()
            return False
        self.wait_owner = 0
        return True

    def schedule_event(self, address: int, microseconds: int) -> None:
        """Bit 7 of the byte at `address` is set then."""
        self.event_address = address
        self.event_at_ns = self.pc.clock.now_ns + microseconds * 1000
        self._event = self.pc.clock.schedule(self.event_at_ns, self._event_due)

    def cancel_event(self) -> None:
        self.pc.clock.cancel(self._event)
        self._event, self.event_at_ns = None, 0

    def _event_due(self) -> None:
        self._event, self.event_at_ns = None, 0
        self.pc.set_bits(self.event_address, system.EVENT_FLAG, True)

    # -- as a device --------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        for event in (self._event, self._wake):
            self.pc.clock.cancel(event)
        self._forget()

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "transfer": None if self.transfer is None else self.transfer.state(),
            "direct": [port.state() for port in self.pc.direct],
            "boot": None if self.boot is None else self.boot.state(),
            "emulation": None if self.emulation is None else asdict(self.emulation),
            "event": self._event.state() if self._event else None,
            "wake": self._wake.state() if self._wake else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.transfer = _transfer(state["transfer"])
        for port, saved in zip(self.pc.direct, state["direct"], strict=True):
            port.restore(saved)
        self.boot = None if state["boot"] is None else Boot(**state["boot"])
        self.emulation = None if state["emulation"] is None else Emulation(**state["emulation"])
        self._event = self.pc.clock.restore_event(state["event"], self._event_due)
        self._wake = self.pc.clock.restore_event(state["wake"], _nothing)


KINDS: dict[str, Callable[..., Transfer]] = {"ata": AtaTransfer, "direct": DirectTransfer, "floppy": FloppyTransfer}


def _transfer(state: dict[str, Any] | None) -> Transfer | None:
    if state is None:
        return None
    return KINDS[state["medium"]](**{name: value for name, value in state.items() if name != "medium"})


def _nothing() -> None:
    """What is due is only that time has passed."""
