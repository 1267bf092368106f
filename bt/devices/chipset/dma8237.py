"""DMA on the ISA bus: two Intel 8237A controllers and the PC/AT's page registers."""

from typing import Any, Protocol

from bt.devices.device import Device
from bt.devices.dma_memory import DmaMemory, GuestMemory

# offsets: the first controller (ports 00h-0Fh), the second (C0h-DFh, every other port), pages (80h-8Fh)
FIRST, SECOND, PAGES = 0x00, 0x20, 0x40
PAGE_OF_CHANNEL = (0x87, 0x83, 0x81, 0x82, 0x8F, 0x8B, 0x89, 0x8A)  # ports; channel 4's is the refresh page

# registers of a controller behind those of its four channels
STATUS, REQUEST, ONE_MASK, MODE, CLEAR_POINTER, MASTER_CLEAR, CLEAR_MASKS, ALL_MASKS = range(8, 16)
COMMAND = STATUS  # when written
DISABLED = 1 << 2  # command register
TO_MEMORY, FROM_MEMORY = 1, 2  # mode register, bits 3:2; 0 verifies: moves, and writes nothing
AUTO_INITIALIZE, DECREMENT = 1 << 4, 1 << 5
CASCADE = 0b11  # bits 7:6; demand, single and block differ in who may have the bus meanwhile, which nobody sees here

CASCADE_CHANNEL = 4


class DmaPeripheral(Protocol):
    """A device that asks for DMA cycles. Lengths are bytes, whole words on channels 5-7."""

    def dma_take(self, n: int) -> bytes:
        """Up to `n` bytes for memory; none if it has none now."""

    def dma_room(self) -> int:
        """How many bytes it wants from memory now."""

    def dma_give(self, data: bytes) -> None:
        """No more than it wanted."""

    def dma_served(self, is_terminal: bool) -> None:
        """What could be moved was; `is_terminal`: terminal count was reached."""


class _Channel:
    fields = ("base_address", "base_count", "address", "count", "mode", "is_masked", "is_requested", "is_by_software")

    def __init__(self) -> None:
        self.base_address = self.base_count = self.address = self.count = 0  # units: bytes, or words on channels 4-7
        self.mode = 0
        self.is_masked = True
        self.is_requested = False  # DREQ
        self.is_by_software = False
        self.peripheral: DmaPeripheral | None = None


class _Controller:
    """One 8237A: its registers, and which of its channels were served to the end."""

    fields = ("_command", "_is_high_byte", "_terminal")

    def __init__(self) -> None:
        self.channels = [_Channel() for _ in range(4)]
        self.master_clear()

    def master_clear(self) -> None:
        """As the RESET pin: all channels masked; addresses, counts and modes stay."""
        self._command = 0
        self._is_high_byte = False  # the byte pointer flip-flop
        self._terminal = 0  # status bits 3:0
        for channel in self.channels:
            channel.is_masked, channel.is_by_software = True, False

    @property
    def is_enabled(self) -> bool:
        return not self._command & DISABLED

    def reached_terminal(self, number: int) -> None:
        self._terminal |= 1 << number

    def read(self, register: int) -> int:
        if register < 8:
            channel = self.channels[register >> 1]
            value = channel.count if register & 1 else channel.address
            shift = 8 if self._is_high_byte else 0
            self._is_high_byte = not self._is_high_byte
            return value >> shift & 0xFF
        if register == STATUS:
            requests = sum((c.is_requested or c.is_by_software) << n for n, c in enumerate(self.channels, 4))
            status, self._terminal = self._terminal | requests, 0
            return status
        if register == ALL_MASKS:  # of later chips; the 8237A calls reading it illegal
            return sum(channel.is_masked << n for n, channel in enumerate(self.channels))
        return 0  # the temporary register is memory-to-memory transfers', and the others are write-only

    def write(self, register: int, value: int) -> None:
        if register < 8:
            self._write_channel(self.channels[register >> 1], bool(register & 1), value)
            return
        channel = self.channels[value & 3]
        if register == COMMAND:
            self._command = value
        elif register == REQUEST:
            channel.is_by_software = bool(value & 4)
        elif register == ONE_MASK:
            channel.is_masked = bool(value & 4)
        elif register == MODE:
            channel.mode = value & 0xFC
        elif register == CLEAR_POINTER:
            self._is_high_byte = False
        elif register == MASTER_CLEAR:
            self.master_clear()
        else:
            for number, each in enumerate(self.channels):
                each.is_masked = register == ALL_MASKS and bool(value >> number & 1)

    def _write_channel(self, channel: _Channel, is_count: bool, value: int) -> None:
        old = channel.base_count if is_count else channel.base_address
        new = old & 0x00FF | value << 8 if self._is_high_byte else old & 0xFF00 | value
        self._is_high_byte = not self._is_high_byte
        if is_count:
            channel.base_count = channel.count = new
        else:
            channel.base_address = channel.address = new


class Dma8237Pair(Device):
    """8237A data sheet (231466), wired as in the PC/AT: channels 0-3 move bytes, 5-7 words, 4 lets the first through.

    Left out: memory-to-memory transfers, and priorities, since a transfer takes no time. A software request shows in
    the status and moves nothing.
    """

    latches = frozenset(range(PAGES + 1, PAGES + 16))  # 80h is the POST port's

    def __init__(self, memory: GuestMemory, name: str = "DMA") -> None:
        super().__init__(name)
        self._memory = DmaMemory(memory)
        self._controllers = (_Controller(), _Controller())

    def connect(self, channel: int, peripheral: DmaPeripheral) -> None:
        """Have `peripheral` served by `channel`, 0-7 but not 4."""
        self._channel(channel).peripheral = peripheral

    def request(self, channel: int, level: bool) -> None:
        """Drive DREQ. Whatever the controllers allow is moved before this returns."""
        self._channel(channel).is_requested = level
        if level:
            self._serve(channel)

    def read(self, offset: int, size: int) -> int:
        if offset >= PAGES:
            return self.latch(offset)
        if offset >= SECOND:
            return self._controllers[1].read(offset - SECOND >> 1)
        return self._controllers[0].read(offset)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset >= PAGES:
            self.set_latch(offset, value)
            return
        if offset >= SECOND:
            self._controllers[1].write(offset - SECOND >> 1, value)
        else:
            self._controllers[0].write(offset, value)
        for channel in range(8):
            if self._channel(channel).is_requested:
                self._serve(channel)

    def reset(self) -> None:
        for controller in self._controllers:
            controller.master_clear()

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "controllers": [
                {name: getattr(controller, name) for name in _Controller.fields}
                | {
                    "channels": [
                        {name: getattr(channel, name) for name in _Channel.fields} for channel in controller.channels
                    ]
                }
                for controller in self._controllers
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        for controller, saved in zip(self._controllers, state["controllers"], strict=True):
            for name in _Controller.fields:
                setattr(controller, name, saved[name])
            for channel, fields in zip(controller.channels, saved["channels"], strict=True):
                for name in _Channel.fields:
                    setattr(channel, name, fields[name])

    def _channel(self, number: int) -> _Channel:
        return self._controllers[number >> 2].channels[number & 3]

    def _may_run(self, number: int) -> bool:
        channel = self._channel(number)
        allowed = not channel.is_masked and channel.mode >> 6 != CASCADE and self._controllers[number >> 2].is_enabled
        if number >= CASCADE_CHANNEL:
            return allowed
        # the first controller asks for the bus through the second
        cascade = self._channel(CASCADE_CHANNEL)
        return allowed and not cascade.is_masked and cascade.mode >> 6 == CASCADE and self._controllers[1].is_enabled

    def _serve(self, number: int) -> None:
        channel = self._channel(number)
        peripheral = channel.peripheral
        if peripheral is None or not self._may_run(number):
            return
        is_terminal = False
        while channel.is_requested and not is_terminal:
            moved = self._move(number, channel, peripheral)
            if not moved:
                break
            units = moved >> 1 if number > CASCADE_CHANNEL else moved
            is_terminal = units > channel.count
            channel.address = channel.address + (-units if channel.mode & DECREMENT else units) & 0xFFFF
            channel.count = channel.count - units & 0xFFFF
        if is_terminal:
            self._controllers[number >> 2].reached_terminal(number & 3)
            channel.is_by_software = False
            if channel.mode & AUTO_INITIALIZE:
                channel.address, channel.count = channel.base_address, channel.base_count
            else:
                channel.is_masked = True
        peripheral.dma_served(is_terminal)

    def _move(self, number: int, channel: _Channel, peripheral: DmaPeripheral) -> int:
        """Move bytes up to terminal count or the end of the 64 Ki units that an address register reaches."""
        shift = 1 if number > CASCADE_CHANNEL else 0
        goes_down = channel.mode & DECREMENT
        reach = channel.address + 1 if goes_down else 0x10000 - channel.address
        most = min(channel.count + 1, reach) << shift
        kind = channel.mode >> 2 & 3
        page = self.latch(PAGES + (PAGE_OF_CHANNEL[number] & 0xF)) & ~shift
        start = (page << 16) + (channel.address << shift)
        if kind == FROM_MEMORY:
            n = min(peripheral.dma_room(), most) & ~shift
            if n:
                data = self._memory.read(start - n + (1 << shift) if goes_down else start, n)
                peripheral.dma_give(_reversed(data, shift) if goes_down else data)
            return n
        data = peripheral.dma_take(most)
        if kind == TO_MEMORY and data:
            if goes_down:
                self._memory.write(start - len(data) + (1 << shift), _reversed(data, shift))
            else:
                self._memory.write(start, data)
        return len(data)


def _reversed(data: bytes, shift: int) -> bytes:
    """The units of `data` from last to first."""
    if not shift:
        return data[::-1]
    return b"".join(data[at : at + 2] for at in range(len(data) - 2, -1, -2))
