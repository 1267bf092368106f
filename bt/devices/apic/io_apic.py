"""The I/O APIC: 24 interrupt inputs, each with its vector and destination."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from bt.devices.apic.message import DeliveryMode, Message
from bt.devices.device import Device

DEFAULT_ADDRESS, LENGTH = 0xFEC00000, 0x1000
INPUTS = 24
SELECT, WINDOW, END = 0x00, 0x10, 0x40  # offsets; the last since version 20h
ID, VERSION, ARBITRATION, FIRST_ENTRY = 0x00, 0x01, 0x02, 0x10  # indices
VERSION_82093AA, VERSION_WITH_EOI = 0x11, 0x20

VECTOR, MODE_SHIFT, LOGICAL, REMOTE_IRR, LEVEL, MASKED = 0xFF, 8, 1 << 11, 1 << 14, 1 << 15, 1 << 16
LOW_WRITABLE = 0x0001_AFFF  # delivery status and remote IRR are the chip's
HIGH_WRITABLE = 0xFF00_0000
DESTINATION_SHIFT = 56


class IoApicRegisters(NamedTuple):
    """What it holds, for who looks at it; `inputs`: a bit for each that is asserted."""

    version: int
    identification: int
    selected: int
    entries: tuple[int, ...]
    inputs: int


class IoApic(Device):
    """Intel 82093AA (data sheet 290566): select at 00h, window at 10h; end of interrupt at 40h as later versions have.

    Inputs are asserted or not, whatever polarity an entry names. An edge at a masked input is lost, as the data sheet
    has it. `send(message)` gets what is delivered, False from it keeps a level-triggered one waiting.
    """

    widest_access = 4
    fields = ("_index", "_id", "_inputs", "_entries")

    def __init__(
        self, send: Callable[[Message], bool], version: int = VERSION_WITH_EOI, name: str = "I/O APIC"
    ) -> None:
        super().__init__(name)
        self._send = send
        self._version = version
        self._inputs = 0  # those asserted: wires, which no reset changes
        self._index = self._id = 0
        self._entries: list[int] = []
        self._power_on()

    def set_input(self, number: int, level: bool) -> None:
        bit = 1 << number
        rises = level and not self._inputs & bit
        self._inputs = self._inputs | bit if level else self._inputs & ~bit
        entry = self._entries[number]
        if entry & LEVEL:
            if level:
                self._deliver_level(number)
        elif rises and not entry & MASKED:
            self._deliver(number)

    def end_of_interrupt(self, vector: int) -> None:
        """A processor has ended a level-triggered interrupt; what is still asserted comes again."""
        for number, entry in enumerate(self._entries):
            if entry & REMOTE_IRR and entry & VECTOR == vector:
                self._entries[number] = entry & ~REMOTE_IRR
                self._deliver_level(number)

    def registers(self) -> IoApicRegisters:
        """All of them, without the effects of reading."""
        return IoApicRegisters(self._version, self._id >> 24, self._index, tuple(self._entries), self._inputs)

    def read(self, offset: int, size: int) -> int:
        if offset == SELECT:
            return self._index
        if offset == WINDOW:
            return self._register(self._index) & (1 << 8 * size) - 1
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == SELECT:
            self._index = value & 0xFF
        elif size != 4:
            return
        elif offset == WINDOW:
            self._write_register(self._index, value)
        elif offset == END and self._version >= VERSION_WITH_EOI:
            self.end_of_interrupt(value & VECTOR)

    def reset(self) -> None:
        self._power_on()

    def state(self) -> dict[str, Any]:
        return super().state() | {"_entries": list(self._entries)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._entries = list(self._entries)

    def _power_on(self) -> None:
        self._index = self._id = 0
        self._entries = [MASKED] * INPUTS

    def _register(self, index: int) -> int:
        if index in (ID, ARBITRATION):
            return self._id << 24
        if index == VERSION:
            return self._version | INPUTS - 1 << 16
        number, high = divmod(index - FIRST_ENTRY, 2)
        if 0 <= number < INPUTS:
            return self._entries[number] >> 32 if high else self._entries[number] & 0xFFFF_FFFF
        return 0

    def _write_register(self, index: int, value: int) -> None:
        if index == ID:
            self._id = value >> 24 & 0xF
        number, high = divmod(index - FIRST_ENTRY, 2)
        if not 0 <= number < INPUTS:
            return
        entry = self._entries[number]
        if high:
            self._entries[number] = entry & 0xFFFF_FFFF | (value & HIGH_WRITABLE) << 32
            return
        entry = entry & ~LOW_WRITABLE | value & LOW_WRITABLE
        if not entry & LEVEL:
            entry &= ~REMOTE_IRR
        self._entries[number] = entry
        self._deliver_level(number)

    def _deliver_level(self, number: int) -> None:
        entry = self._entries[number]
        if entry & LEVEL and self._inputs >> number & 1 and not entry & (MASKED | REMOTE_IRR):
            # before it is sent: the processor may end it at once
            self._entries[number] = entry | REMOTE_IRR
            if not self._deliver(number):
                self._entries[number] &= ~REMOTE_IRR

    def _deliver(self, number: int) -> bool:
        entry = self._entries[number]
        mode = entry >> MODE_SHIFT & 7
        level = bool(entry & LEVEL) and mode in (DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY)
        return self._send(
            Message(entry & VECTOR, mode, entry >> DESTINATION_SHIFT, bool(entry & LOGICAL), level)
        )  # fmt: skip
