"""INT 1Ah, AH=B1h: PCI BIOS 2.1 (PCI SIG, "PCI BIOS Specification"), by configuration mechanism 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.pc import Pc, linear
from bt.firmware.pir_table import pir_table

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

ADDRESS, DATA, ENABLE = 0xCF8, 0xCFC, 1 << 31
SIGNATURE = 0x2049_4350  # "PCI "
MECHANISM_1, VERSION_2_1 = 0x01, 0x0210
SUCCESS, BAD_FUNCTION, BAD_VENDOR, NOT_FOUND, BAD_REGISTER, TOO_SMALL = 0x00, 0x81, 0x83, 0x86, 0x87, 0x89
PCI_ONLY_IRQS = 1 << 10 | 1 << 11
FUNCTIONS_A_BUS = 256
HEADER_TYPE, MULTIFUNCTION = 0x0E, 0x80
ROUTES_AT = 32  # of the $PIR table


def config_value(pc: Pc, function: int, register: int, size: int) -> int:
    """`function`: device in bits 7:3, function in 2:0, of bus 0."""
    pc.ports.write(ADDRESS, 4, ENABLE | function << 8 | register & 0xFC)
    return pc.ports.read(DATA + (register & 3), size)


def set_config_value(pc: Pc, function: int, register: int, size: int, value: int) -> None:
    pc.ports.write(ADDRESS, 4, ENABLE | function << 8 | register & 0xFC)
    pc.ports.write(DATA + (register & 3), size, value)


def pci_bios(bios: Bios, frame: Frame) -> None:
    """AL says what; bit 7 is of 32-bit callers, who have an entry of their own. Without PCI nothing is said."""
    if not bios.pc.facts.has_pci:
        frame.carry = True
        return
    match frame.al & 0x7F:
        case 0x01:
            frame.edx, frame.al, frame.bx, frame.cl = SIGNATURE, MECHANISM_1, VERSION_2_1, 0
            frame.succeed()
        case 0x02:
            wanted = frame.cx << 16 | frame.dx
            _answer(frame, BAD_VENDOR if frame.dx == 0xFFFF else _find(bios.pc, frame, 0x00, wanted, 0))
        case 0x03:
            _answer(frame, _find(bios.pc, frame, 0x08, frame.ecx & 0xFF_FFFF, 8))
        case 0x08 | 0x09 | 0x0A:
            _answer(frame, _read(bios.pc, frame, 1 << (frame.al - 8 & 3)))
        case 0x0B | 0x0C | 0x0D:
            _answer(frame, _write(bios.pc, frame, 1 << (frame.al - 0x0B & 3)))
        case 0x0E:
            _answer(frame, _routing(bios.pc, frame))
        case _:
            _answer(frame, BAD_FUNCTION)


def _answer(frame: Frame, code: int) -> None:
    frame.ah = code
    frame.carry = code != SUCCESS


def _find(pc: Pc, frame: Frame, register: int, wanted: int, shift: int) -> int:
    """The function number SI among those whose register is as wanted: BH bus, BL device and function."""
    wanted_ones = [function for function, value in _registers(pc, register) if value >> shift == wanted]
    if frame.si >= len(wanted_ones):
        return NOT_FOUND
    frame.bx = wanted_ones[frame.si]
    return SUCCESS


def _registers(pc: Pc, register: int) -> list[tuple[int, int]]:
    found = []
    for function in range(FUNCTIONS_A_BUS):
        is_behind_one = function & 7 and not config_value(pc, function & ~7, HEADER_TYPE, 1) & MULTIFUNCTION
        if not is_behind_one and config_value(pc, function, 0, 2) != 0xFFFF:
            found.append((function, config_value(pc, function, register, 4)))
    return found


def _read(pc: Pc, frame: Frame, size: int) -> int:
    """BX which, DI the register; CL, CX or ECX."""
    if frame.di > 0xFF or frame.di % size:
        return BAD_REGISTER
    value = config_value(pc, frame.bl, frame.di, size) if frame.bh == 0 else (1 << 8 * size) - 1
    if size == 1:
        frame.cl = value
    elif size == 2:
        frame.cx = value
    else:
        frame.ecx = value
    return SUCCESS


def _write(pc: Pc, frame: Frame, size: int) -> int:
    if frame.di > 0xFF or frame.di % size:
        return BAD_REGISTER
    if frame.bh == 0:
        set_config_value(pc, frame.bl, frame.di, size, frame.ecx & (1 << 8 * size) - 1)
    return SUCCESS


def _routing(pc: Pc, frame: Frame) -> int:
    """ES:DI: length and address of a buffer; BX the interrupts that are PCI's alone."""
    at = linear(frame.es, frame.di)
    routes = pir_table()[ROUTES_AT:]
    room, offset, segment = pc.word(at), pc.word(at + 2), pc.word(at + 4)
    pc.put_word(at, len(routes))
    if room < len(routes):
        return TOO_SMALL
    pc.write(linear(segment, offset), routes)
    frame.bx = PCI_ONLY_IRQS
    return SUCCESS
