"""Virtio's registers on PCI (OASIS Virtual I/O Device 1.1, 4.1): the old ones in ports, the new ones in memory.

PCI itself is somebody else's: `IDENTITY` and `capabilities()` are for a configuration space, the two devices here for
its base address registers. Left out: MSI-X; all interrupts are INTx.
"""

from collections.abc import Callable
from typing import Any, Protocol

from bt.devices.device import Device, Line
from bt.devices.storage.virtio.virtio_queue import VirtQueue

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
QUEUE_INTERRUPT, CONFIG_INTERRUPT = 1, 2  # ISR status
NO_VECTOR = 0xFFFF
VERSION_1 = 1 << 32
LEGACY_FEATURES = 0xFFFF_FFFF  # the old registers have 32 of them

VENDOR = 0x1AF4
FIRST_MODERN_ID, FIRST_TRANSITIONAL_ID = 0x1040, 0x1000

# windows in the memory region: capability type (4.1.4), offset, length
COMMON, NOTIFY, ISR, DEVICE = 1, 2, 3, 4
WINDOW_BYTES = 0x1000
WINDOWS = {COMMON: 0x0000, ISR: 0x1000, DEVICE: 0x2000, NOTIFY: 0x3000}
MEMORY_BYTES = 0x4000
LEGACY_CONFIG = 0x14  # where the device's configuration begins in the port region
LEGACY_BYTES = 0x80
VENDOR_CAPABILITY = 0x09


class VirtioDevice(Protocol):
    """What stands behind the registers; bt/devices/storage/virtio/virtio_blk.py is one."""

    device_id: int
    features: int
    queues: list[VirtQueue]
    interrupt: Callable[[], None]
    broke: Callable[[], None]

    @property
    def config(self) -> bytes: ...
    def write_config(self, offset: int, value: int) -> None: ...
    def accept(self, features: int) -> None: ...
    def notify(self) -> None: ...
    def reset(self) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


def capabilities(bar: int) -> list[bytes]:
    """The vendor-specific capabilities that say where in base address register `bar` the windows are.

    Each without its first two bytes, the identifier `VENDOR_CAPABILITY` and the link. The window through configuration
    space (type 5) is left out.
    """
    found = []
    for kind, offset in WINDOWS.items():
        extra = bytes(4) if kind == NOTIFY else b""  # a multiplier of zero: one address for all queues
        head = bytes([16 + len(extra), kind, bar, 0, 0, 0])
        found.append(head + offset.to_bytes(4, "little") + WINDOW_BYTES.to_bytes(4, "little") + extra)
    return found


class VirtioTransport:
    """What both sets of registers work on: status, features, the selected queue, the interrupt."""

    fields = ("status", "accepted", "selected", "isr", "device_feature_select", "driver_feature_select")

    def __init__(self, device: VirtioDevice, interrupt: Line) -> None:
        self.device = device
        self._line = interrupt
        self.status = self.accepted = self.selected = self.isr = 0
        self.device_feature_select = self.driver_feature_select = 0
        device.interrupt = lambda: self.raise_interrupt(QUEUE_INTERRUPT)
        device.broke = self._broke

    def reset(self) -> None:
        self.device.reset()
        self.status = self.accepted = self.selected = 0
        self.device_feature_select = self.driver_feature_select = 0
        self.isr = 0
        self._line.lower()

    @property
    def queue(self) -> VirtQueue | None:
        """The selected one."""
        queues = self.device.queues
        return queues[self.selected] if self.selected < len(queues) else None

    def raise_interrupt(self, reason: int) -> None:
        self.isr |= reason
        self._line.raise_()

    def read_isr(self) -> int:
        """Reading acknowledges."""
        isr, self.isr = self.isr, 0
        self._line.lower()
        return isr

    def write_status(self, value: int) -> None:
        if value == 0:
            self.reset()
            return
        if value & FEATURES_OK and not self.status & FEATURES_OK:
            if self.accepted & ~self.device.features or not self.accepted & VERSION_1:
                value &= ~FEATURES_OK  # 3.1.1: the driver reads it back, and sees
            else:
                self.device.accept(self.accepted)
        self.status = value | self.status & NEEDS_RESET
        if value & DRIVER_OK:
            self.device.notify()  # what was made available before

    def accept_legacy(self, features: int) -> None:
        """The old registers have no moment at which features are agreed on."""
        self.accepted = features & self.device.features & LEGACY_FEATURES
        self.device.accept(self.accepted)

    def notify(self, number: int) -> None:
        # old drivers notify before they say that they are ready; new ones must not be heard then (3.1.1)
        is_early = self.accepted & VERSION_1 and not self.status & DRIVER_OK
        if number < len(self.device.queues) and not is_early and not self.status & (NEEDS_RESET | FAILED):
            self.device.notify()

    def read_config(self, offset: int, size: int) -> int:
        return int.from_bytes(self.device.config[offset : offset + size], "little")

    def write_config(self, offset: int, size: int, value: int) -> None:
        for at in range(size):
            self.device.write_config(offset + at, value >> 8 * at & 0xFF)

    def _broke(self) -> None:
        self.status |= NEEDS_RESET
        if self.status & DRIVER_OK:
            self.raise_interrupt(CONFIG_INTERRUPT)

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.fields} | {"device": self.device.state()}

    def restore(self, state: dict[str, Any]) -> None:
        for name in self.fields:
            setattr(self, name, state[name])
        self.device.restore(state["device"])
        self._line.set(bool(self.isr))


class _Registers(Device):
    """Registers of a transport, whose state is theirs: twice where there are both kinds, which does no harm."""

    widest_access = 4

    def __init__(self, transport: VirtioTransport, name: str) -> None:
        super().__init__(name)
        self._transport = transport

    def reset(self) -> None:
        self._transport.reset()

    def state(self) -> dict[str, Any]:
        return self._transport.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._transport.restore(state)


class VirtioPciLegacy(_Registers):
    """The port region of a transitional device (4.1.4.8)."""

    def __init__(self, transport: VirtioTransport, name: str = "virtio (ports)") -> None:
        super().__init__(transport, name)

    def read(self, offset: int, size: int) -> int:
        transport = self._transport
        queue = transport.queue
        match offset, size:
            case 0x00, 4:
                return transport.device.features & LEGACY_FEATURES
            case 0x04, 4:
                return transport.accepted & LEGACY_FEATURES
            case 0x08, 4:
                return queue.descriptors >> 12 & 0xFFFF_FFFF if queue is not None else 0
            case 0x0C, 2:
                return queue.most if queue is not None else 0
            case 0x0E, 2:
                return transport.selected
            case 0x12, 1:
                return transport.status
            case 0x13, 1:
                return transport.read_isr()
            case _ if offset >= LEGACY_CONFIG:
                return transport.read_config(offset - LEGACY_CONFIG, size)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        transport = self._transport
        queue = transport.queue
        match offset, size:
            case 0x04, 4:
                transport.accept_legacy(value)
            case 0x08, 4 if value == 0:
                transport.reset()
            case 0x08, 4 if queue is not None:
                queue.place_legacy(value << 12)
            case 0x0E, 2:
                transport.selected = value
            case 0x10, 2:
                transport.notify(value)
            case 0x12, 1:
                transport.write_status(value & ~FEATURES_OK)  # which these registers do not know
            case _ if offset >= LEGACY_CONFIG:
                transport.write_config(offset - LEGACY_CONFIG, size, value)


# 4.1.4.3: offset -> (bytes, attribute of the selected queue); 64-bit addresses are written in halves
QUEUE_ADDRESSES = {0x20: "descriptors", 0x28: "driver_area", 0x30: "device_area"}


class VirtioPciModern(_Registers):
    """The memory region: `WINDOWS`, each a page."""

    def __init__(self, transport: VirtioTransport, name: str = "virtio (memory)") -> None:
        super().__init__(transport, name)

    def read(self, offset: int, size: int) -> int:
        window, at = offset & ~(WINDOW_BYTES - 1), offset % WINDOW_BYTES
        if window == WINDOWS[COMMON]:
            return self._read_common(at, size)
        if window == WINDOWS[DEVICE]:
            return self._transport.read_config(at, size)
        if window == WINDOWS[ISR] and at == 0:
            return self._transport.read_isr()
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        window, at = offset & ~(WINDOW_BYTES - 1), offset % WINDOW_BYTES
        if window == WINDOWS[COMMON]:
            self._write_common(at, size, value)
        elif window == WINDOWS[DEVICE]:
            self._transport.write_config(at, size, value)
        elif window == WINDOWS[NOTIFY]:
            self._transport.notify(value & 0xFFFF)

    def _read_common(self, at: int, size: int) -> int:
        transport = self._transport
        queue = transport.queue
        match at, size:
            case 0x00, 4:
                return transport.device_feature_select
            case 0x04, 4:
                return _half(transport.device.features, transport.device_feature_select)
            case 0x08, 4:
                return transport.driver_feature_select
            case 0x0C, 4:
                return _half(transport.accepted, transport.driver_feature_select)
            case 0x10 | 0x1A, 2:
                return NO_VECTOR
            case 0x12, 2:
                return len(transport.device.queues)
            case 0x14, 1:
                return transport.status
            case 0x16, 2:
                return transport.selected
            case _ if queue is None:
                return 0
            case 0x18, 2:
                return queue.size
            case 0x1C, 2:
                return int(queue.is_ready)
            case _, 4 if at & ~4 in QUEUE_ADDRESSES:
                address: int = getattr(queue, QUEUE_ADDRESSES[at & ~4])
                return address >> 8 * (at & 4) & 0xFFFF_FFFF
        return 0

    def _write_common(self, at: int, size: int, value: int) -> None:
        transport = self._transport
        queue = transport.queue
        match at, size:
            case 0x00, 4:
                transport.device_feature_select = value
            case 0x08, 4:
                transport.driver_feature_select = value
            case 0x0C, 4 if transport.driver_feature_select < 2 and not transport.status & FEATURES_OK:
                shift = 32 * transport.driver_feature_select
                transport.accepted = transport.accepted & ~(0xFFFF_FFFF << shift) | value << shift
            case 0x14, 1:
                transport.write_status(value)
            case 0x16, 2:
                transport.selected = value
            case _ if queue is None or queue.is_ready:
                pass  # a queue that is enabled stays where it is until a reset
            case 0x18, 2 if 0 < value <= queue.most and not value & value - 1:
                queue.size = value
            case 0x1C, 2 if value == 1:
                queue.is_ready = True
            case _, 4 if at & ~4 in QUEUE_ADDRESSES:
                name, shift = QUEUE_ADDRESSES[at & ~4], 8 * (at & 4)
                setattr(queue, name, getattr(queue, name) & ~(0xFFFF_FFFF << shift) | value << shift)


def _half(features: int, select: int) -> int:
    return features >> 32 * select & 0xFFFF_FFFF if select < 2 else 0
