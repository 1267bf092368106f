"""Power-on: devices and memory as a BIOS's self-test would have left them, at once."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bt.devices.chipset import cmos_rtc
from bt.devices.chipset import cmos_rtc_native as rtc
from bt.devices.storage.ata.ata_identify import HEADS, SECTORS_PER_TRACK, default_cylinders
from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import rom, time_of_day
from bt.firmware.builtin.disks import disk
from bt.firmware.builtin.disks.floppy import FORMATS
from bt.firmware.builtin.pc import Pc
from bt.firmware.builtin.video import fonts, registers

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

SHUTDOWN = 0x0F  # of CMOS: why the processor was reset
RESUME_WITH_EOI, RESUME = 0x05, 0x0A  # to where 0040:0067 says
# 8259s: vectors 08h and 70h; timer, keyboard, cascade and diskettes may interrupt, as may RTC, mouse, FPU and disks
PIC_SETUP = (
    (0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xB8),
    (0xA0, 0x11), (0xA1, 0x70), (0xA1, 0x02), (0xA1, 0x01), (0xA1, 0x8E),
)  # fmt: skip
PIT_SETUP = ((0x43, 0x34), (0x40, 0x00), (0x40, 0x00))
DMA_SETUP = ((0xD6, 0xC0), (0xD4, 0x00))
A20_OPEN = ((0x92, 0x02),)
# self-test and what it answers is read; keyboard on; command byte: translation, system flag, IRQ 1 and IRQ 12
CONTROLLER_COMMAND, CONTROLLER_DATA = 0x64, 0x60
SELF_TEST, ENABLE_KEYBOARD, ENABLE_MOUSE, WRITE_COMMAND_BYTE, COMMAND_BYTE = 0xAA, 0xAE, 0xA8, 0x60, 0x61
ENABLE_SCANNING = 0xF4
OPEN_VECTORS = range(0x60, 0x68)  # for programs
COM_PORTS = (0x3F8, 0x2F8)
TRANSLATED, DRIVE_CONTROL = 0xA0, 0xC8
COM_TIMEOUT = 10  # ticks
DISK_CONTROL, DISK_CONTROL_VALUE = 0x476, 0xC0  # no retries


def power_on(bios: Bios) -> int:
    """Answers how the ROM's code goes on."""
    pc = bios.pc
    why = pc.cmos(SHUTDOWN)
    if why in (RESUME_WITH_EOI, RESUME):
        pc.set_cmos(SHUTDOWN, 0)
        if why == RESUME_WITH_EOI:
            pc.output(0x20, 0x20)
        return rom.RESUME
    initialise(bios)
    return rom.BOOT


def initialise(bios: Bios) -> None:
    """Have everything as what a BIOS starts finds it."""
    pc = bios.pc
    bios.prepare()
    for port, value in (*A20_OPEN, *DMA_SETUP, *PIC_SETUP, *PIT_SETUP):
        pc.output(port, value)
    _start_clock(pc)
    _start_keyboard(pc)
    _write_vectors(pc)
    _write_data_area(bios)
    registers.set_mode(pc, 3)
    fonts.point_at_usual(pc, 16)
    registers.show_cursor(pc)
    _write_disk_tables(bios)


def _start_clock(pc: Pc) -> None:
    pc.set_cmos(rtc.REGISTER_A, 0x26)
    pc.set_cmos(rtc.REGISTER_B, cmos_rtc.B_24_HOUR)
    pc.cmos(rtc.REGISTER_C)


def _start_keyboard(pc: Pc) -> None:
    pc.output(CONTROLLER_COMMAND, SELF_TEST)
    pc.input(CONTROLLER_DATA)
    pc.output(CONTROLLER_COMMAND, WRITE_COMMAND_BYTE)
    pc.output(CONTROLLER_DATA, COMMAND_BYTE & ~1)
    pc.output(CONTROLLER_COMMAND, ENABLE_KEYBOARD)
    pc.output(CONTROLLER_DATA, ENABLE_SCANNING)
    pc.input(CONTROLLER_DATA)
    pc.output(CONTROLLER_COMMAND, WRITE_COMMAND_BYTE)
    pc.output(CONTROLLER_DATA, COMMAND_BYTE)


def _write_vectors(pc: Pc) -> None:
    def far(offset: int, segment: int = rom.SEGMENT) -> bytes:
        return struct.pack("<HH", offset, segment)

    vectors = [bytes(4) if number in OPEN_VECTORS else far(rom.entry_of(number)) for number in range(256)]
    vectors[area.VIDEO_TABLE_VECTOR] = bytes(4)
    vectors[area.DISKETTE_TABLE_VECTOR] = far(rom.DISKETTE_PARAMETERS)
    for vector, table in zip(area.DISK_VECTORS, area.DISK_TABLES, strict=True):
        vectors[vector] = far(table - area.EBDA, area.EBDA_SEGMENT)
    pc.write(area.IVT, b"".join(vectors))


def _write_data_area(bios: Bios) -> None:
    pc = bios.pc
    floppies = sum(kind in FORMATS for kind in pc.facts.floppies)
    equipment = area.EQUIPMENT_FPU | area.EQUIPMENT_MOUSE | area.EQUIPMENT_COLOUR_80
    equipment |= len(COM_PORTS) << 9
    equipment |= (1 | floppies - 1 << 6) if floppies else 0
    pc.write(area.BDA, bytes(0x100))
    pc.write(area.EBDA, bytes((area.EBDA_KIB,)).ljust(area.EBDA_KIB << 10, b"\0"))
    pc.write(area.COM_PORTS, struct.pack("<HH", *COM_PORTS))
    pc.put_word(area.EBDA_AT, area.EBDA_SEGMENT)
    pc.put_word(area.EQUIPMENT, equipment)
    pc.put_word(area.MEMORY_KIB, area.EBDA >> 10)
    start, end = area.KEYS - area.BDA, area.KEYS_END - area.BDA
    for at, value in (
        (area.KEYS_HEAD, start), (area.KEYS_TAIL, start), (area.KEYS_START_AT, start), (area.KEYS_END_AT, end)
    ):  # fmt: skip
        pc.put_word(at, value)
    pc.write(area.COM_TIMEOUTS, bytes((COM_TIMEOUT,)) * len(COM_PORTS))
    pc.put_byte(DISK_CONTROL, DISK_CONTROL_VALUE)
    pc.put_byte(area.KEYBOARD_FLAGS, 0x10)
    pc.put_byte(area.VIDEO_FLAGS, registers.VIDEO_FLAGS)
    pc.put_byte(area.FLOPPY_CONTROLLER, (0x00, 0x07, 0x77)[floppies])
    pc.put_byte(area.DISK_COUNT, disk.disk_count(bios))
    pc.put_long(area.TICKS, time_of_day.ticks_of(time_of_day.seconds_since_midnight(pc)))


def _write_disk_tables(bios: Bios) -> None:
    """The fixed disk parameter tables of the first two (IBM PC/AT Technical Reference; translated ones: Phoenix)."""
    for at, number in zip(area.DISK_TABLES, (0x80, 0x81), strict=True):
        drive = disk.find(bios, number)
        if drive is None or drive.place is None or drive.place.is_cdrom:
            continue
        chs, cylinders = drive.geometry, default_cylinders(drive.sectors)
        table = struct.pack(
            "<HBBBHBBHBHB", chs.cylinders, chs.heads, TRANSLATED, SECTORS_PER_TRACK, 0, 0, DRIVE_CONTROL, cylinders,
            HEADS, 0, chs.sectors,
        )  # fmt: skip
        bios.pc.write(at, table + bytes((-sum(table) & 0xFF,)))
