"""Power management of the PIIX4: PM registers and timer, power button, soft-off, APM ports, general-purpose events."""

from collections.abc import Callable
from typing import Any

from bt.clock.virtual_clock import Event, Oscillator, VirtualClock
from bt.devices.device import Device, Line
from bt.devices.pci.function import CONFIG_BYTES, Identity, PciFunction
from bt.devices.pci.piix4_pm_native import TIMER_BITS, TIMER_HZ, read_timer
from bt.memory.native_registers import NativeRegister

IDENTITY = Identity(0x8086, 0x7113, 0x068000, revision=0x03, status=0x0280, interrupt_pin=1)
PM_BASE, PM_ENABLES, SMBUS_BASE, SMBUS_ENABLES, APMC_ENABLE = 0x40, 0x80, 0x90, 0xD2, 0x5B
APMC_ENABLED = 1 << 1
BASE_ADDRESS = 0xFFC0  # of PM_BASE; 16 bytes less of the SMBus's
DEFAULTS = {PM_BASE: 0x01, 0x5F: 0x10, 0x63: 0x60, 0x67: 0x08, SMBUS_BASE: 0x01, 0x91: 0xB1, SMBUS_ENABLES: 0x09}
PM, SMBUS = 0, 1  # what `moved` is about
PM_BYTES, SMBUS_BYTES = 64, 16

STATUS, ENABLE, CONTROL, TIMER = 0x00, 0x02, 0x04, 0x08  # offsets in the PM registers
TIMER_OVERFLOW, GLOBAL, POWER_BUTTON, RTC_ALARM, WAKE = 1 << 0, 1 << 5, 1 << 8, 1 << 10, 1 << 15
STATUS_BITS = TIMER_OVERFLOW | GLOBAL | POWER_BUTTON | RTC_ALARM | WAKE
EVENTS = TIMER_OVERFLOW | GLOBAL | POWER_BUTTON | RTC_ALARM  # those that interrupt
SCI_ENABLE, SUSPEND_ENABLE = 1 << 0, 1 << 13
SUSPEND_TYPE_SHIFT, SOFT_OFF = 10, 0

HALF_ROUND = 1 << TIMER_BITS - 1  # the overflow status is set whenever the highest bit changes

APM_CONTROL, APM_STATUS = 0, 1  # offsets (ports B2h and B3h)
ACPI_ENABLE, ACPI_DISABLE = 0xF1, 0xF0  # what FADT tells to write to B2h


class PmFunction(PciFunction):
    """Intel 82371AB PIIX4 (data sheet 290562), function 3: base addresses of the PM and SMBus registers.

    `moved(PM or SMBUS, address)`: where they are, None for nowhere. There is no system management mode: with
    `apmc_enabled` the register says that firmware has installed its handler already, and SeaBIOS does not try to.
    """

    def __init__(
        self,
        moved: Callable[[int, int | None], None] = lambda number, address: None,
        apmc_enabled: bool = True,
        name: str = "PM function",
    ) -> None:
        self._block_moved = moved
        self._blocks: list[int | None] = [None, None]
        defaults = DEFAULTS | ({APMC_ENABLE: APMC_ENABLED} if apmc_enabled else {})
        super().__init__(name, IDENTITY, defaults=defaults)
        self.written(0, CONFIG_BYTES)  # a reset leaves the SMBus on

    def written(self, offset: int, size: int) -> None:
        for number, register, enables, bytes_ in (
            (PM, PM_BASE, PM_ENABLES, PM_BYTES),
            (SMBUS, SMBUS_BASE, SMBUS_ENABLES, SMBUS_BYTES),
        ):
            base = self._word(register) & -bytes_ & 0xFFFF
            place = base if self._config[enables] & 1 and base else None
            if place != self._blocks[number]:
                self._blocks[number] = place
                self._block_moved(number, place)


class PmRegisters(Device):
    """The PM I/O registers (data sheet 290562, "Power Management I/O"): status, enable, control, timer.

    `sci` is the interrupt (IRQ 9): high while an enabled event is pending and the operating system has set SCI_EN.
    Suspend type 0 with suspend enable calls `power_off()`; other types do nothing. Registers from 0Ch on (general
    purpose, global, device events) read 0: board and firmware use the events of `Gpe`.
    """

    widest_access = 4
    fields = ("_status", "_enable", "_control", "_seen_half_rounds")

    def __init__(self, clock: VirtualClock, sci: Line, power_off: Callable[[], None], name: str = "PM") -> None:
        super().__init__(name)
        self._clock = clock
        self._crystal = Oscillator(clock, TIMER_HZ)
        self._sci = sci
        self._power_off = power_off
        self._status = self._enable = self._control = 0
        self._seen_half_rounds = self._crystal.ticks // HALF_ROUND
        self._event: Event | None = None

    def press_power_button(self) -> None:
        self._status |= POWER_BUTTON
        self._drive()

    def set_acpi(self, on: bool) -> None:
        """What firmware does when the operating system takes power management over, or gives it back."""
        self._control = self._control & ~SCI_ENABLE | (SCI_ENABLE if on else 0)
        self._drive()

    def read(self, offset: int, size: int) -> int:
        if offset >= TIMER and offset + size <= TIMER + 4:  # at one time, whatever the size
            ticks = self._crystal.ticks & (1 << TIMER_BITS) - 1
            return ticks >> 8 * (offset - TIMER) & (1 << 8 * size) - 1
        value = 0
        for n in range(size):
            value |= self._byte(offset + n) << 8 * n
        return value

    def native_registers(self) -> dict[int, NativeRegister]:
        return {TIMER: NativeRegister(0, read=read_timer)}

    def write(self, offset: int, size: int, value: int) -> None:
        if offset >= CONTROL + 2:
            return
        for n in range(size):
            self._write_byte(offset + n, value >> 8 * n & 0xFF)
        self._drive()
        if offset <= CONTROL + 1 < offset + size and self._control & SUSPEND_ENABLE:
            self._suspend()

    def reset(self) -> None:
        self._status = self._enable = self._control = 0
        self._seen_half_rounds = self._crystal.ticks // HALF_ROUND
        self._drive()

    def state(self) -> dict[str, Any]:
        return super().state() | {"event": self._event.state() if self._event else None}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._clock.cancel(self._event)
        self._event = self._clock.restore_event(state["event"], self._drive)
        self._sci.set(self._interrupts())

    def _byte(self, offset: int) -> int:
        self._notice_overflow()
        if offset < CONTROL + 2:
            word = (self._status, self._enable, self._control)[offset >> 1]
            return word >> 8 * (offset & 1) & 0xFF
        return 0

    def _write_byte(self, offset: int, value: int) -> None:
        shift = 8 * (offset & 1)
        match offset >> 1:
            case 0:  # ones clear
                self._notice_overflow()
                self._status &= ~(value << shift)
            case 1:
                self._enable = self._enable & ~(0xFF << shift) | value << shift
            case 2:
                self._control = self._control & ~(0xFF << shift) | value << shift

    def _suspend(self) -> None:
        kind = self._control >> SUSPEND_TYPE_SHIFT & 7
        self._control &= ~SUSPEND_ENABLE  # reads as 0
        if kind == SOFT_OFF:
            self._power_off()

    def _notice_overflow(self) -> None:
        half_rounds = self._crystal.ticks // HALF_ROUND
        if half_rounds != self._seen_half_rounds:
            self._seen_half_rounds = half_rounds
            self._status |= TIMER_OVERFLOW

    def _interrupts(self) -> bool:
        return bool(self._control & SCI_ENABLE and self._status & self._enable & EVENTS)

    def _drive(self) -> None:
        self._notice_overflow()
        self._sci.set(self._interrupts())
        self._clock.cancel(self._event)
        self._event = None
        if self._enable & TIMER_OVERFLOW and not self._status & TIMER_OVERFLOW:
            at_ns = self._crystal.ns_at((self._seen_half_rounds + 1) * HALF_ROUND)
            self._event = self._clock.schedule(at_ns, self._drive)


class ApmPorts(Device):
    """Ports B2h and B3h (data sheet 290562, "APM"): two latches, and the two commands firmware would answer in SMM."""

    fields = ("_control", "_status")

    def __init__(self, pm: PmRegisters, name: str = "APM") -> None:
        super().__init__(name)
        self._pm = pm
        self._control = self._status = 0

    def read(self, offset: int, size: int) -> int:
        return self._status if offset == APM_STATUS else self._control

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == APM_STATUS:
            self._status = value
            return
        self._control = value
        if value in (ACPI_ENABLE, ACPI_DISABLE):
            self._pm.set_acpi(value == ACPI_ENABLE)

    def reset(self) -> None:
        self._control = self._status = 0


class Gpe(Device):
    """General-purpose events 0 to 15 as ACPI 1.0 section 4.7.4.3 has them: two bytes of status, two of enable.

    QEMU's machine has them at AFE0h. `sci` is a wire of its own to the same interrupt as the PM registers'.
    """

    fields = ("_status", "_enable")

    def __init__(self, sci: Line, name: str = "GPE") -> None:
        super().__init__(name)
        self._sci = sci
        self._status = self._enable = 0

    def trigger(self, number: int) -> None:
        self._status |= 1 << number
        self._drive()

    def read(self, offset: int, size: int) -> int:
        return (self._status | self._enable << 16) >> 8 * offset & 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        shift = 8 * (offset & 1)
        if offset < 2:
            self._status &= ~(value << shift)
        else:
            self._enable = self._enable & ~(0xFF << shift) | value << shift
        self._drive()

    def reset(self) -> None:
        self._status = self._enable = 0
        self._drive()

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._drive()

    def _drive(self) -> None:
        self._sci.set(bool(self._status & self._enable))


class SmBus(Device):
    """The SMBus host controller (data sheet 290562, "SMBus") of a board with nothing on the bus.

    A transaction ends at once with a device error; status 0, control 2, command 3, address 4, data 5 and 6.
    """

    fields = ("_registers",)
    _DEVICE_ERROR, _START = 1 << 2, 1 << 6
    _STORED = frozenset({3, 4, 5, 6})

    def __init__(self, name: str = "SMBus") -> None:
        super().__init__(name)
        self._registers = [0] * SMBUS_BYTES

    def read(self, offset: int, size: int) -> int:
        return self._registers[offset]

    def write(self, offset: int, size: int, value: int) -> None:
        registers = self._registers
        if offset == 0:
            registers[0] &= ~value
        elif offset == 2:
            registers[2] = value & ~self._START
            if value & self._START:
                registers[0] |= self._DEVICE_ERROR
        elif offset in self._STORED:
            registers[offset] = value

    def reset(self) -> None:
        self._registers = [0] * SMBUS_BYTES

    def state(self) -> dict[str, Any]:
        return super().state() | {"_registers": list(self._registers)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._registers = list(self._registers)
