"""The real-time clock and its battery-backed RAM: Motorola MC146818A, as wired in the PC/AT."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from bt.clock.virtual_clock import (
    NS_PER_SECOND,
    Event,
    VirtualClock,
)
from bt.devices.chipset.cmos_rtc_native import (
    A_DIVIDER,
    A_RATE,
    A_UPDATE_IN_PROGRESS,
    B_SET,
    CALENDAR,
    CENTURY,
    D_VALID_RAM_AND_TIME,
    DAY,
    DIVIDER_RUNS,
    HOURS,
    HOURS_ALARM,
    INDEX_BITS,
    MINUTES,
    MINUTES_ALARM,
    MONTH,
    REGISTER_A,
    REGISTER_B,
    REGISTER_C,
    REGISTER_D,
    SECONDS,
    SECONDS_ALARM,
    UPDATE_WARNING_NS,
    WEEKDAY,
    WRITE_ONLY,
    YEAR,
    RtcShared,
    read_data,
    read_index,
    write_index,
)
from bt.devices.device import Device, Line
from bt.devices.shared import address_of
from bt.memory.map_layout import low_ram
from bt.memory.native_registers import NativeRegister

CRYSTAL_HZ = 32_768
INDEX, DATA = 0, 1  # offsets

B_PERIODIC, B_ALARM, B_UPDATE, B_SQUARE_WAVE, B_BINARY, B_24_HOUR, B_DAYLIGHT = (1 << n for n in range(6, -1, -1))
INTERRUPT_ENABLES = B_PERIODIC | B_ALARM | B_UPDATE  # the flags in register C have the same positions
C_INTERRUPT = 1 << 7

PM = 1 << 7
ALARM_DONT_CARE = 0xC0  # and everything above

FIRST_UPDATE_NS = NS_PER_SECOND // 2  # after the divider leaves reset

EPOCH = datetime(1, 1, 1)
LAST_SECOND = (datetime.max - EPOCH) // timedelta(seconds=1)
DEFAULT_BASE = datetime(2000, 1, 1, tzinfo=UTC)

KIB, MIB = 1 << 10, 1 << 20


class CmosRtc(RtcShared, Device):
    """MC146818A data sheet (Motorola); byte assignments of the RAM from the IBM PC/AT Technical Reference.

    Index at offset 0 (bit 7, the NMI mask, is ignored), data at 1. The clock shows UTC and starts at `base`, which has
    a time zone, when the machine is switched on. Values outside the data sheet's ranges are brought to the nearest
    valid date when the clock starts from them; daylight saving is not applied, and the square wave goes nowhere.
    """

    version = 2
    fields = ("_index", "_phase_ns", "_seconds", "_mark", "_weekday_shift", "_periods_seen", "_updates_seen",
              "_true_until_ns")  # fmt: skip

    def __init__(
        self,
        clock: VirtualClock,
        irq8: Line,
        ram_bytes: int = 640 * KIB,
        base: datetime = DEFAULT_BASE,
        name: str = "RTC",
        nvram: Mapping[int, int] | None = None,
    ) -> None:
        """`nvram`: bytes of the RAM, 0Eh to 7Fh, that are to be found beside or instead of what `ram_bytes` says."""
        super().__init__(name)
        self._clock = clock
        self._irq8 = irq8
        self._index = 0
        # calendar bytes are true while the clock stands and a second after they were read, alarms and registers always
        self._ram = bytearray(128)
        self._ram_address = address_of(self._ram)
        self._ram[REGISTER_A] = DIVIDER_RUNS | 0b0110  # 1024 Hz, the AT's initialization
        self._ram[REGISTER_B] = B_24_HOUR
        self._describe_machine(ram_bytes, nvram or {})
        self._phase_ns = clock.now_ns  # seconds begin at whole seconds from here
        self._mark = 0  # the update at which _seconds was right
        self._seconds = (base.astimezone(UTC).replace(tzinfo=None) - EPOCH) // timedelta(seconds=1)
        self._weekday_shift = 0
        self._periods_seen = self._updates_seen = 0
        self._event: Event | None = None

    def read(self, offset: int, size: int) -> int:
        if offset == INDEX:
            return WRITE_ONLY
        index = self._index
        if index == REGISTER_A:
            return self._ram[REGISTER_A] | (A_UPDATE_IN_PROGRESS if self._update_in_progress() else 0)
        if index == REGISTER_C:
            self._collect_flags()
            flags, self._ram[REGISTER_C] = self._ram[REGISTER_C], 0
            self._update_irq()
            return flags
        if index == REGISTER_D:
            return D_VALID_RAM_AND_TIME
        if index in CALENDAR and self._running() and self._clock.now_ns >= self._true_until_ns:
            self._ram_from_calendar()
            self._true_until_ns = self._phase_ns + (self._updates() + 1) * NS_PER_SECOND
        return self._ram[index]

    def native_registers(self) -> dict[int, NativeRegister]:
        index = NativeRegister(self.block, read_index, write_index)
        return {INDEX: index, DATA: NativeRegister(self.block, read_data)}

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == INDEX:
            self._index = value & INDEX_BITS
            return
        index = self._index
        if index in (REGISTER_C, REGISTER_D):
            return
        self._true_until_ns = 0
        self._collect_flags()
        was_running = self._running()
        if was_running:
            self._ram_from_calendar()
        divider_was_running = self._divider_running()
        if index == REGISTER_A:
            value &= ~A_UPDATE_IN_PROGRESS
        elif index == REGISTER_B and value & B_SET:
            value &= ~B_UPDATE  # data sheet: SET clears UIE
        if was_running and index == REGISTER_B:
            # a running clock goes on in the new format; a stopped one is left for the guest to set
            self._ram[REGISTER_B] = value
            if not value & B_SET:
                self._ram_from_calendar()
        self._ram[index] = value
        if self._divider_running() and not divider_was_running:
            self._phase_ns = self._clock.now_ns + FIRST_UPDATE_NS - NS_PER_SECOND
        if index == REGISTER_A:
            self._periods_seen = self._periods()  # counted in periods of the new length
        if self._running():
            self._start_from_ram()
        self._update_irq()

    def reset(self) -> None:
        """RESET: interrupts and square wave off, flags cleared; time, alarms and RAM go on."""
        self._collect_flags()
        self._ram[REGISTER_B] &= ~(INTERRUPT_ENABLES | B_SQUARE_WAVE)
        self._ram[REGISTER_C] = 0
        self._update_irq()

    def state(self) -> dict[str, Any]:
        return super().state() | {"ram": list(self._ram), "event": self._event.state() if self._event else None}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._ram[:] = bytes(state["ram"])
        self._clock.cancel(self._event)
        self._event = self._clock.restore_event(state["event"], self._on_event)
        self._irq8.set(bool(self._ram[REGISTER_C] & C_INTERRUPT))

    def _describe_machine(self, ram_bytes: int, nvram: Mapping[int, int]) -> None:
        """What firmware would have found: memory sizes, equipment, and the checksum over 0x10-0x2d."""
        self._ram[0x14] = 0x02  # equipment: a numeric coprocessor, no diskette
        low_bytes = low_ram(ram_bytes)
        extended_kib = max(0, min(ram_bytes - MIB, 0xFFFF * KIB)) // KIB
        for low, amount in (
            (0x15, min(ram_bytes, 640 * KIB) // KIB),
            (0x17, extended_kib),
            (0x30, extended_kib),
            (0x34, max(0, low_bytes - 16 * MIB) // (64 * KIB)),
        ):
            self._ram[low : low + 2] = amount.to_bytes(2, "little")
        high = (ram_bytes - low_bytes) // (64 * KIB)  # above 4 GiB
        self._ram[0x5B:0x5E] = high.to_bytes(3, "little")
        for index, value in nvram.items():
            self._ram[index] = value
        self._ram[0x2E:0x30] = sum(self._ram[0x10:0x2E]).to_bytes(2, "big")

    # Time: second boundaries ("updates") come every 10^9 ns from _phase_ns.

    def _divider_running(self) -> bool:
        return self._ram[REGISTER_A] & A_DIVIDER == DIVIDER_RUNS

    def _running(self) -> bool:
        return self._divider_running() and not self._ram[REGISTER_B] & B_SET

    def _updates(self) -> int:
        return (self._clock.now_ns - self._phase_ns) // NS_PER_SECOND

    def _update_in_progress(self) -> bool:
        until_update = NS_PER_SECOND - (self._clock.now_ns - self._phase_ns) % NS_PER_SECOND
        return self._running() and until_update <= UPDATE_WARNING_NS

    def _time(self) -> int:
        """Seconds since `EPOCH` on the running clock."""
        return min(self._seconds + self._updates() - self._mark, LAST_SECOND)

    def _calendar(self) -> dict[int, int]:
        now = EPOCH + timedelta(seconds=self._time())
        return {
            SECONDS: self._encode(now.second),
            MINUTES: self._encode(now.minute),
            HOURS: self._encode_hour(now.hour),
            WEEKDAY: self._encode((now.toordinal() + self._weekday_shift) % 7 + 1),  # 1 is Sunday
            DAY: self._encode(now.day),
            MONTH: self._encode(now.month),
            YEAR: self._encode(now.year % 100),
            CENTURY: self._encode(now.year // 100),
        }

    def _ram_from_calendar(self) -> None:
        for index, value in self._calendar().items():
            self._ram[index] = value

    def _start_from_ram(self) -> None:
        field = {index: self._decode(self._ram[index]) for index in CALENDAR}
        year = max(1, min(field[CENTURY] * 100 + field[YEAR], 9999))
        month = max(1, min(field[MONTH], 12))
        from calendar import monthrange  # and locale with it, 3 ms that most runs need not wait for

        date = datetime(year, month, max(1, min(field[DAY], monthrange(year, month)[1])))
        of_day = timedelta(
            hours=self._decode_hour(self._ram[HOURS]), minutes=min(field[MINUTES], 59), seconds=min(field[SECONDS], 59)
        )
        self._seconds = (date + of_day - EPOCH) // timedelta(seconds=1)
        self._weekday_shift = (field[WEEKDAY] - 1 - date.toordinal()) % 7
        self._mark = self._updates_seen = self._updates()

    def _encode(self, value: int) -> int:
        return value if self._ram[REGISTER_B] & B_BINARY else value // 10 << 4 | value % 10

    def _decode(self, value: int) -> int:
        return value if self._ram[REGISTER_B] & B_BINARY else (value >> 4) * 10 + (value & 15)

    def _encode_hour(self, hour: int) -> int:
        if self._ram[REGISTER_B] & B_24_HOUR:
            return self._encode(hour)
        return self._encode(hour % 12 or 12) | (PM if hour >= 12 else 0)

    def _decode_hour(self, value: int) -> int:
        if self._ram[REGISTER_B] & B_24_HOUR:
            return min(self._decode(value), 23)
        return self._decode(value & ~PM) % 12 + (12 if value & PM else 0)

    # Interrupts: a flag is found out when somebody asks, and an event is needed only while it could interrupt.

    def _period_ticks(self) -> int:
        """Crystal periods between periodic interrupts; 0 for none."""
        rate = self._ram[REGISTER_A] & A_RATE
        if rate == 0 or not self._divider_running():
            return 0
        return 1 << (rate + 6 if rate <= 2 else rate - 1)  # rates 1 and 2 repeat 8 and 9 with this crystal

    def _periods(self) -> int:
        period = self._period_ticks()
        return (self._clock.now_ns - self._phase_ns) * CRYSTAL_HZ // NS_PER_SECOND // period if period else 0

    def _collect_flags(self) -> None:
        """Set the flags of everything that has happened since the last time."""
        flags = 0
        periods = self._periods()
        if self._period_ticks() and periods > self._periods_seen:
            flags |= B_PERIODIC
        self._periods_seen = periods
        if self._running():
            updates = self._updates()
            if updates > self._updates_seen:
                flags |= B_UPDATE
                if self._seconds_to_alarm(self._updates_seen) <= updates - self._updates_seen:
                    flags |= B_ALARM
            self._updates_seen = updates
        self._ram[REGISTER_C] |= flags

    def _seconds_to_alarm(self, update: int) -> int:
        """Seconds from `update` to the next one at which the alarm goes off; a number out of reach if never."""
        now = EPOCH + timedelta(seconds=min(self._seconds + update - self._mark, LAST_SECOND))
        second_of_day = now.hour * 3600 + now.minute * 60 + now.second

        def matching(alarm: int, values: range) -> list[int]:
            wanted = self._ram[alarm]
            encode = self._encode_hour if alarm == HOURS_ALARM else self._encode
            return [value for value in values if wanted >= ALARM_DONT_CARE or encode(value) == wanted]

        hours, minutes = matching(HOURS_ALARM, range(24)), matching(MINUTES_ALARM, range(60))
        seconds = matching(SECONDS_ALARM, range(60))
        later_today = product((hour for hour in hours if hour >= now.hour), minutes, seconds)
        for day, times in ((0, later_today), (86_400, product(hours, minutes, seconds))):
            for hour, minute, second in times:
                wait = day + hour * 3600 + minute * 60 + second - second_of_day
                if wait > 0:
                    return wait
        return 1 << 62

    def _update_irq(self) -> None:
        interrupting = self._ram[REGISTER_C] & self._ram[REGISTER_B] & INTERRUPT_ENABLES
        self._ram[REGISTER_C] = self._ram[REGISTER_C] & ~C_INTERRUPT | (C_INTERRUPT if interrupting else 0)
        self._irq8.set(bool(interrupting))
        self._clock.cancel(self._event)
        at_ns = self._next_interrupt_ns()
        self._event = None if at_ns is None else self._clock.schedule(at_ns, self._on_event)

    def _next_interrupt_ns(self) -> int | None:
        """When the first enabled flag that is not set yet will be."""
        missing = self._ram[REGISTER_B] & ~self._ram[REGISTER_C]
        period = self._period_ticks()
        times: list[int] = []
        if missing & B_PERIODIC and period:
            times.append(-(-(self._periods() + 1) * period * NS_PER_SECOND // CRYSTAL_HZ))
        if self._running():
            if missing & B_UPDATE:
                times.append((self._updates() + 1) * NS_PER_SECOND)
            if missing & B_ALARM and (wait := self._seconds_to_alarm(self._updates())) <= 2 * 86_400:
                times.append((self._updates() + wait) * NS_PER_SECOND)
        return self._phase_ns + min(times) if times else None

    def _on_event(self) -> None:
        self._collect_flags()
        self._update_irq()
