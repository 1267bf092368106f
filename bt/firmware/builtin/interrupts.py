"""Interrupts that nobody has asked for: IRQs without a driver, exceptions without a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.chipset import cmos_rtc_native as rtc
from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import rom
from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.pc import Pc, linear
from bt.firmware.builtin.services import Family
from bt.x86.vectors import vector_name

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

MASTER, SLAVE = 0x20, 0xA0
READ_IN_SERVICE, READ_REQUESTS, END_OF_INTERRUPT = 0x0B, 0x0A, 0x20
FIRST_OF_MASTER, FIRST_OF_SLAVE = 0x08, 0x70
FLOPPY_IRQ, DISK_IRQ, RTC_IRQ, MOUSE_IRQ, FPU_IRQ = 6, 14, 8, 12, 13
INT_OPCODE = 0xCD
FPU_CLEAR = 0xF0
PRINT_SCREEN_DONE = 0x00


def hardware(bios: Bios, frame: Frame) -> int | None:
    """An IRQ: told to be over. A spurious one is not; what is none is an exception."""
    pc = bios.pc
    number = frame.number
    if number >= FIRST_OF_SLAVE:
        irq = number - FIRST_OF_SLAVE + 8
        if not _in_service(pc, SLAVE) >> irq - 8 & 1:
            if _in_service(pc, MASTER) & 4:  # the cascade's, of what the slave has withdrawn
                pc.output(MASTER, END_OF_INTERRUPT)
            return None
    else:
        irq = number - FIRST_OF_MASTER
        if not _in_service(pc, MASTER) >> irq & 1:
            return exception(bios, frame) if irq != 7 else None
    _serve(bios, pc, irq)
    if irq >= 8:
        pc.output(SLAVE, END_OF_INTERRUPT)
    pc.output(MASTER, END_OF_INTERRUPT)
    return None


def _in_service(pc: Pc, chip: int) -> int:
    pc.output(chip, READ_IN_SERVICE)
    value = pc.input(chip)
    pc.output(chip, READ_REQUESTS)
    return value


def _serve(bios: Bios, pc: Pc, irq: int) -> None:
    if irq == FLOPPY_IRQ:
        pc.set_bits(area.FLOPPY_RECALIBRATED, 0x80, True)
    elif irq == RTC_IRQ:
        pc.cmos(rtc.REGISTER_C)
    elif irq == MOUSE_IRQ:
        pc.input(0x60)
    elif irq == FPU_IRQ:
        pc.output(FPU_CLEAR, 0)


def exception(bios: Bios, frame: Frame) -> int | None:
    """A fault comes back to the instruction that it is of: nobody will do anything about it. INT n is no fault."""
    pc, number = bios.pc, frame.number
    before = pc.read(linear(frame.cs, (frame.ip - 2) & 0xFFFF), 2)
    if before == bytes((INT_OPCODE, number)):
        return None
    bios.stop(f"no handler for interrupt {number:#04x} ({vector_name(number)}) at {frame.cs:04x}:{frame.ip:04x}",
              is_want_of_handler=True)  # fmt: skip
    return rom.AGAIN


def print_screen(bios: Bios, frame: Frame) -> None:
    """INT 05h: there is no printer. BOUND's exception is the same interrupt."""
    bios.pc.put_byte(area.PRINT_SCREEN, PRINT_SCREEN_DONE)


HARDWARE = Family({}, hardware)
EXCEPTION = Family({}, exception)
SCREEN = Family({}, print_screen)
