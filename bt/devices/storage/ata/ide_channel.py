"""An IDE channel: the registers that its two devices share (ATA/ATAPI-6, clauses 7 and 9.16)."""

from typing import Any

from bt.devices.device import Device, Line
from bt.devices.storage.ata.ata_device import (
    COMMAND,
    DATA,
    DEVICE,
    ERROR,
    STATUS,
    AtaDevice,
    Dma,
)
from bt.devices.storage.ata.ide_native import (
    BUSY,
    DATA_REQUEST,
    HIGH_ORDER,
    SECOND,
    ChannelShared,
    read_alternate_status,
    read_data,
    read_status,
    write_data,
    write_device,
    write_parameter,
)
from bt.memory.native_registers import NativeRegister

CONTROL = 8  # offset of Device Control and Alternate Status, which are elsewhere on the bus (3F6h, 376h)
NO_INTERRUPTS, SOFTWARE_RESET = 0x02, 0x04  # Device Control: nIEN, SRST
ALWAYS_SET = 0xA0  # DEVICE: "shall be set to one" until ATA-3, obsolete since
DEVICE_RESET, EXECUTE_DEVICE_DIAGNOSTIC = 0x08, 0x90


class IdeChannel(ChannelShared, Device):
    """Command block at offsets 0-7, control block at 8; the data port takes 2 or 4 bytes, all others one.

    A write goes to both devices, a read is answered by the selected one. A device that is not there reads as zeros, as
    QEMU has it (the standard has device 0 answer with its own registers, but for a status of zero).
    """

    version = 2
    widest_access = 4

    def __init__(self, irq: Line, name: str = "IDE channel") -> None:
        super().__init__(name)
        self.irq = irq
        self._devices: list[AtaDevice | None] = [None, None]
        self._selected = 0
        self._control = 0

    def connect(self, device: AtaDevice, position: int) -> None:
        """Put `device` on the cable as device 0 or 1."""
        self._devices[position] = device
        if position:
            self._block1 = device.block
        else:
            self._block0 = device.block
        device.interrupt_changed = self.update_interrupt

    def device(self, position: int) -> AtaDevice | None:
        """Device 0 or 1."""
        return self._devices[position]

    def connect_dma(self, dma: Dma) -> None:
        """Have `dma` at the devices' service; it calls `pump_dma` when it starts."""
        for device in self._devices:
            if device is not None:
                device.dma = dma

    def pump_dma(self) -> None:
        """The bus master has started."""
        device = self._devices[self._selected]
        if device is not None:
            device.pump_dma()

    def update_interrupt(self) -> None:
        """Only the selected device drives INTRQ, and that only if the host allows it."""
        device = self._devices[self._selected]
        self.irq.set(device is not None and device.is_interrupting and not self._control & NO_INTERRUPTS)

    def native_registers(self) -> dict[int, NativeRegister]:
        status = {
            STATUS: NativeRegister(self.block, read_status),
            CONTROL: NativeRegister(self.block, read_alternate_status),
        }
        if not any(self._devices):  # all of two empty channels would be half of what a machine begins with
            return status
        return status | {
            DATA: NativeRegister(self.block, read_data, write_data),
            **dict.fromkeys(range(ERROR, DEVICE), NativeRegister(self.block, None, write_parameter)),
            DEVICE: NativeRegister(self.block, None, write_device),
        }

    def read(self, offset: int, size: int) -> int:
        device = self._devices[self._selected]
        if offset == DATA and size > 1:
            return device.read_data(size) if device is not None else 0
        if size > 1:
            return self.read(offset, size >> 1) | self.read(offset + (size >> 1), size >> 1) << 4 * size
        if device is None:
            return 0
        if offset == STATUS:
            if device.is_interrupting:
                device.interrupt(False)
            return device.status
        if offset == CONTROL:
            return device.status
        if offset == DATA:
            return 0xFF  # 16 bits wide, or nothing
        if offset == ERROR:
            return device.error
        if offset == DEVICE:
            return device.task[DEVICE] | ALWAYS_SET
        return device.previous[offset] if self._control & HIGH_ORDER else device.task[offset]

    def write(self, offset: int, size: int, value: int) -> None:
        device = self._devices[self._selected]
        if offset == DATA and size > 1:
            if device is not None:
                device.write_data(size, value)
            return
        if size > 1:
            half = size >> 1
            self.write(offset, half, value & (1 << 8 * half) - 1)
            self.write(offset + half, half, value >> 8 * half)
            return
        if offset == CONTROL:
            self._write_control(value)
            return
        if offset == DATA:
            return
        self._control &= ~HIGH_ORDER
        is_busy = device is not None and device.status & (BUSY | DATA_REQUEST)
        if offset == COMMAND:
            if not is_busy or value == DEVICE_RESET:
                self._execute(device, value)
            return
        if is_busy:
            return  # 7.: "the contents are indeterminate if written while BSY or DRQ is set"
        for each in self._devices:
            if each is not None and not each.status & (BUSY | DATA_REQUEST):
                each.previous[offset] = each.task[offset]
                each.task[offset] = value
        if offset == DEVICE:
            self._selected = 1 if value & SECOND else 0
            self.update_interrupt()

    def reset(self) -> None:
        """RESET-: as after power-on."""
        self._selected = self._control = 0
        for device in self._devices:
            if device is not None:
                device.reset()
        self.update_interrupt()

    def state(self) -> dict[str, Any]:
        return {
            "selected": self._selected,
            "control": self._control,
            "devices": [None if device is None else device.state() for device in self._devices],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._selected, self._control = state["selected"], state["control"]
        for device, fields in zip(self._devices, state["devices"], strict=True):
            if device is not None:
                device.restore(fields)
        self.update_interrupt()

    def _execute(self, device: AtaDevice | None, command: int) -> None:
        if command == EXECUTE_DEVICE_DIAGNOSTIC:  # both do, and device 0 speaks for them
            for each in self._devices:
                if each is not None:
                    each.interrupt(False)
                    each.diagnose()
            self._selected = 0
            if self._devices[0] is not None:
                self._devices[0].interrupt(True)
        elif device is not None:
            device.interrupt(False)
            device.execute(command)

    def _write_control(self, value: int) -> None:
        was_reset = self._control & SOFTWARE_RESET
        self._control = value
        if value & SOFTWARE_RESET and not was_reset:
            for device in self._devices:
                if device is not None:
                    device.hold_reset()
            self._selected = 0
        elif was_reset and not value & SOFTWARE_RESET:
            for device in self._devices:
                if device is not None:
                    device.diagnose()
        self.update_interrupt()
