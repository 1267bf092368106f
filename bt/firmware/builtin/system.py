"""INT 11h, 12h and 15h: what there is, and system services.

IBM PS/2 BIOS Interface Technical Reference; ACPI 6.5, chapter 15, for memory.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import rom
from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.pc import linear
from bt.firmware.builtin.services import NOT_SUPPORTED, Family, Service, quietly_unsupported, unsupported

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

SMAP = 0x534D_4150
ENTRY_BYTES = 20
PORT_92, A20 = 0x92, 0x02
A20_FUNCTIONS = 0x03  # port 92h and the keyboard controller
MOVE_MOST_WORDS = 0x8000
MOST_EXTENDED_KIB = 0xFFFF - 0x400  # of AH=88h
SIXTEEN_MIB_KIB = 15 * 1024  # between 1 and 16 MiB
EVENT_FLAG = 0x80


def equipment(bios: Bios, frame: Frame) -> None:
    """INT 11h: AX."""
    frame.ax = bios.pc.word(area.EQUIPMENT)


def memory_size(bios: Bios, frame: Frame) -> None:
    """INT 12h: AX, KiB below 640 KiB."""
    frame.ax = bios.pc.word(area.MEMORY_KIB)


def a20_gate(bios: Bios, frame: Frame) -> None:
    """AX=2400h closes, 2401h opens, 2402h: AL the state, 2403h: BX what it is done by."""
    pc = bios.pc
    value = pc.input(PORT_92)
    match frame.al:
        case 0x00 | 0x01:
            pc.output(PORT_92, value & ~(A20 | 1) | frame.al * A20)
        case 0x02:
            frame.al = value >> 1 & 1
        case 0x03:
            frame.bx = A20_FUNCTIONS
        case _:
            unsupported(bios, frame)
            return
    frame.succeed()


def keyboard_intercept(bios: Bios, frame: Frame) -> None:
    """AH=4Fh: AL a scan code; CF: it is to be used. Programs put themselves in front."""
    frame.carry = True


def event_wait(bios: Bios, frame: Frame) -> None:
    """AH=83h: AL=0 sets bit 7 at ES:BX after CX:DX microseconds, 1 gives that up."""
    if frame.al == 1:
        bios.cancel_event()
    elif frame.al == 0:
        if bios.event_at_ns:
            frame.fail(0x83)
            return
        bios.schedule_event(linear(frame.es, frame.bx), frame.cx << 16 | frame.dx)
    else:
        frame.fail(NOT_SUPPORTED)
        return
    frame.succeed()


def joystick(bios: Bios, frame: Frame) -> None:
    """AH=84h: there is none."""
    frame.fail(NOT_SUPPORTED)


def system_key(bios: Bios, frame: Frame) -> None:
    """AH=85h, 90h, 91h: for programs to put themselves in front."""
    frame.succeed()


def wait(bios: Bios, frame: Frame) -> int | None:
    """AH=86h: CX:DX microseconds pass."""
    if bios.has_waited_ns((frame.cx << 16 | frame.dx) * 1000):
        frame.carry = False
        return None
    return rom.AGAIN


def move_block(bios: Bios, frame: Frame) -> None:
    """AH=87h: CX words between segments whose descriptors are at ES:SI, the source's 10h, the target's 18h on."""
    pc = bios.pc
    count = frame.cx
    table = pc.read(linear(frame.es, frame.si), 0x30)
    if count > MOVE_MOST_WORDS:
        frame.fail(0x02)
        return
    source, target = (_base(table[at : at + 8]) for at in (0x10, 0x18))
    pc.write_without_gate(target, pc.read_without_gate(source, 2 * count))
    frame.succeed()


def _base(descriptor: bytes) -> int:
    return int.from_bytes(descriptor[2:5], "little") | descriptor[7] << 24


def extended_memory(bios: Bios, frame: Frame) -> None:
    """AH=88h: AX, KiB from 1 MiB up."""
    frame.ax = min(bios.pc.facts.extended_kib, MOST_EXTENDED_KIB)
    frame.carry = False


def configuration(bios: Bios, frame: Frame) -> None:
    """AH=C0h: ES:BX the table in ROM."""
    frame.es, frame.bx = rom.SEGMENT, rom.CONFIGURATION
    frame.succeed()


def extended_data_area(bios: Bios, frame: Frame) -> None:
    """AH=C1h: ES its segment."""
    frame.es = bios.pc.word(area.EBDA_AT)
    frame.succeed()


def memory(bios: Bios, frame: Frame) -> None:
    """AH=E8h: AL=01h sizes, 20h a range of the map at a time."""
    if frame.al in (0x01, 0x81):
        _sizes(bios, frame)
    elif frame.al == 0x20:
        _next_range(bios, frame)
    else:
        unsupported(bios, frame)


def _sizes(bios: Bios, frame: Frame) -> None:
    """E801h: AX and CX KiB from 1 to 16 MiB, BX and DX 64 KiB from there on."""
    kib = bios.pc.facts.extended_kib
    below, above = min(kib, SIXTEEN_MIB_KIB), max(0, kib - SIXTEEN_MIB_KIB) >> 6
    frame.carry = False
    if frame.al == 0x81:
        frame.eax = frame.ecx = below
        frame.ebx = frame.edx = above
    else:
        frame.ax = frame.cx = below
        frame.bx = frame.dx = above


def _next_range(bios: Bios, frame: Frame) -> None:
    """E820h: EBX counts, ES:DI the buffer, of ECX bytes."""
    ranges = bios.pc.facts.memory_map
    if frame.edx != SMAP or frame.ebx >= len(ranges) or frame.ecx < ENTRY_BYTES:
        frame.fail(NOT_SUPPORTED)
        return
    bios.pc.write(linear(frame.es, frame.di), struct.pack("<QQI", *ranges[frame.ebx]))
    frame.ebx = frame.ebx + 1 if frame.ebx + 1 < len(ranges) else 0
    frame.eax, frame.ecx = SMAP, ENTRY_BYTES
    frame.carry = False


FUNCTIONS: dict[int, Service] = {
    0x24: a20_gate,
    0x41: quietly_unsupported,  # wait for an event outside: of the Convertible
    0x4F: keyboard_intercept,
    0x52: system_key,  # a medium is to be ejected: it may
    0x53: quietly_unsupported,  # APM
    0x83: event_wait,
    0x84: joystick,
    0x85: system_key,
    0x86: wait,
    0x87: move_block,
    0x88: extended_memory,
    0x8A: quietly_unsupported,  # Phoenix's memory size
    0x90: system_key,
    0x91: system_key,
    0xC0: configuration,
    0xC1: extended_data_area,
    0xC4: quietly_unsupported,  # Micro Channel
    0xC7: quietly_unsupported,
    0xC9: quietly_unsupported,
    0xD8: quietly_unsupported,  # EISA
    0xDA: quietly_unsupported,
    0xE8: memory,
    0xE9: quietly_unsupported,  # SpeedStep
    0xEC: quietly_unsupported,  # a processor's mode to come
}
SYSTEM = Family(FUNCTIONS, unsupported)
EQUIPMENT = Family({}, equipment)
MEMORY_SIZE = Family({}, memory_size)
