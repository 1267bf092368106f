"""INT 1Ah: ticks, clock, date, alarm (IBM PC/AT Technical Reference); PCI BIOS behind AH=B1h."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.chipset import cmos_rtc
from bt.devices.chipset import cmos_rtc_native as rtc
from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import pci
from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.services import Family, Service, quietly_unsupported

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios
    from bt.firmware.builtin.pc import Pc

PIT_HZ, PIT_COUNT = 1_193_182, 0x10000
SECONDS_A_DAY = 86_400
RTC_USUAL = cmos_rtc.B_24_HOUR


def get_ticks(bios: Bios, frame: Frame) -> None:
    """AH=00h: CX:DX ticks since midnight; AL: midnight has passed since the last call."""
    pc = bios.pc
    ticks = pc.long(area.TICKS)
    frame.al, frame.cx, frame.dx = pc.byte(area.MIDNIGHTS), ticks >> 16, ticks & 0xFFFF
    pc.put_byte(area.MIDNIGHTS, 0)
    frame.ah = 0
    frame.carry = False


def set_ticks(bios: Bios, frame: Frame) -> None:
    """AH=01h."""
    bios.pc.put_long(area.TICKS, frame.cx << 16 | frame.dx)
    bios.pc.put_byte(area.MIDNIGHTS, 0)
    frame.succeed()


def get_time(bios: Bios, frame: Frame) -> None:
    """AH=02h: CH hours, CL minutes, DH seconds in BCD, DL daylight saving."""
    pc = bios.pc
    frame.ch, frame.cl, frame.dh = pc.cmos(rtc.HOURS), pc.cmos(rtc.MINUTES), pc.cmos(rtc.SECONDS)
    frame.dl = pc.cmos(rtc.REGISTER_B) & cmos_rtc.B_DAYLIGHT
    frame.al = frame.ch
    frame.succeed()


def _set(pc: Pc, values: dict[int, int]) -> None:
    """The clock stands meanwhile."""
    control = pc.cmos(rtc.REGISTER_B)
    pc.set_cmos(rtc.REGISTER_B, control | rtc.B_SET)
    for index, value in values.items():
        pc.set_cmos(index, value)
    pc.set_cmos(rtc.REGISTER_B, control & ~rtc.B_SET)


def set_time(bios: Bios, frame: Frame) -> None:
    """AH=03h."""
    _set(bios.pc, {rtc.SECONDS: frame.dh, rtc.MINUTES: frame.cl, rtc.HOURS: frame.ch})
    frame.al = bios.pc.cmos(rtc.REGISTER_B)
    frame.succeed()


def get_date(bios: Bios, frame: Frame) -> None:
    """AH=04h: CH century, CL year, DH month, DL day in BCD."""
    pc = bios.pc
    frame.cl, frame.dh, frame.dl, frame.ch = (
        pc.cmos(index) for index in (rtc.YEAR, rtc.MONTH, rtc.DAY, rtc.CENTURY)
    )  # fmt: skip
    frame.al = frame.ch
    frame.succeed()


def set_date(bios: Bios, frame: Frame) -> None:
    """AH=05h."""
    _set(bios.pc, {rtc.YEAR: frame.cl, rtc.MONTH: frame.dh, rtc.DAY: frame.dl, rtc.CENTURY: frame.ch})
    frame.al = bios.pc.cmos(rtc.REGISTER_B)
    frame.succeed()


def set_alarm(bios: Bios, frame: Frame) -> None:
    """AH=06h: CH, CL, DH; INT 4Ah is called then. CF: one is set already."""
    pc = bios.pc
    control = pc.cmos(rtc.REGISTER_B)
    frame.ax = 0
    if control & cmos_rtc.B_ALARM:
        frame.carry = True
        return
    for index, value in ((rtc.SECONDS_ALARM, frame.dh), (rtc.MINUTES_ALARM, frame.cl), (rtc.HOURS_ALARM, frame.ch)):
        pc.set_cmos(index, value)
    pc.output(0xA1, pc.input(0xA1) & 0xFE)
    pc.set_cmos(rtc.REGISTER_B, control & ~rtc.B_SET | cmos_rtc.B_ALARM)
    frame.al = control
    frame.carry = False


def reset_alarm(bios: Bios, frame: Frame) -> None:
    """AH=07h."""
    pc = bios.pc
    control = pc.cmos(rtc.REGISTER_B)
    pc.set_cmos(rtc.REGISTER_B, control & ~(cmos_rtc.B_ALARM | rtc.B_SET))
    frame.al = control
    frame.succeed()


def seconds_since_midnight(pc: Pc) -> int:
    hours, minutes, seconds = (_from_bcd(pc.cmos(index)) for index in (rtc.HOURS, rtc.MINUTES, rtc.SECONDS))
    return (hours * 60 + minutes) * 60 + seconds


def _from_bcd(value: int) -> int:
    return (value >> 4) * 10 + (value & 0x0F)


def ticks_of(seconds: int) -> int:
    return seconds % SECONDS_A_DAY * PIT_HZ // PIT_COUNT


def not_there(bios: Bios, frame: Frame) -> None:
    """Later functions: CF, as a clock's BIOS of 1984 has it."""
    bios.note_missing(frame)
    frame.carry = True


FUNCTIONS: dict[int, Service] = {
    0x00: get_ticks,
    0x01: set_ticks,
    0x02: get_time,
    0x03: set_time,
    0x04: get_date,
    0x05: set_date,
    0x06: set_alarm,
    0x07: reset_alarm,
    0xB1: pci.pci_bios,
    0xBB: quietly_unsupported,  # the trusted platform module's
}
FAMILY = Family(FUNCTIONS, not_there)
