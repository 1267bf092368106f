"""INT 14h and 17h: serial ports, and printers, of which there is none (IBM PS/2 BIOS Interface Technical Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import rom
from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.services import Family, Service, nothing

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

PORTS = 4
DATA, ENABLE, IDENTIFICATION, LINE, MODEM, LINE_STATUS, MODEM_STATUS = range(7)
DIVISOR_LATCH, DTR_RTS = 0x80, 0x03
RECEIVED, CAN_SEND, TIMED_OUT = 0x01, 0x20, 0x80
BAUDS = (110, 150, 300, 600, 1200, 2400, 4800, 9600, 19200)
TICK_NS = 54_925_495
PRINTER_TIMED_OUT = 0x01


def _port(bios: Bios, frame: Frame) -> int:
    """DX's; 0, and CF, where there is none."""
    port = bios.pc.word(area.COM_PORTS + 2 * frame.dx) if frame.dx < PORTS else 0
    frame.carry = not port
    return port


def _set_baud(bios: Bios, port: int, baud: int, line: int) -> None:
    pc = bios.pc
    divisor = 115_200 // baud if baud != 110 else 0x417
    pc.output(port + LINE, line | DIVISOR_LATCH)
    pc.output(port + DATA, divisor & 0xFF)
    pc.output(port + ENABLE, divisor >> 8)
    pc.output(port + LINE, line)
    pc.output(port + ENABLE, 0)


def _status(bios: Bios, frame: Frame, port: int) -> None:
    frame.ah, frame.al = bios.pc.input(port + LINE_STATUS), bios.pc.input(port + MODEM_STATUS)


def initialize(bios: Bios, frame: Frame) -> None:
    """AH=00h: AL baud rate, parity, stop bits and length, as line control has the rest."""
    if port := _port(bios, frame):
        _set_baud(bios, port, BAUDS[frame.al >> 5], frame.al & 0x1F)
        _status(bios, frame, port)


def send(bios: Bios, frame: Frame) -> int | None:
    """AH=01h: AL."""
    if not (port := _port(bios, frame)):
        return None
    pc = bios.pc
    pc.output(port + MODEM, pc.input(port + MODEM) | DTR_RTS)
    status = pc.input(port + LINE_STATUS)
    if status & CAN_SEND:
        pc.output(port + DATA, frame.al)
        frame.ah = status
        return None
    return _wait(bios, frame, status)


def receive(bios: Bios, frame: Frame) -> int | None:
    """AH=02h: AL, waited for."""
    if not (port := _port(bios, frame)):
        return None
    pc = bios.pc
    pc.output(port + MODEM, pc.input(port + MODEM) | DTR_RTS)
    status = pc.input(port + LINE_STATUS)
    if status & RECEIVED:
        frame.al, frame.ah = pc.input(port + DATA), status & 0x1E
        return None
    return _wait(bios, frame, status)


def _wait(bios: Bios, frame: Frame, status: int) -> int | None:
    """As many ticks as the data area says."""
    if bios.has_waited_ns(bios.pc.byte(area.COM_TIMEOUTS + frame.dx) * TICK_NS):
        frame.ah = status | TIMED_OUT
        return None
    return rom.AGAIN


def get_status(bios: Bios, frame: Frame) -> None:
    """AH=03h."""
    if port := _port(bios, frame):
        _status(bios, frame, port)


def initialize_extended(bios: Bios, frame: Frame) -> None:
    """AH=04h: BH parity, BL stop bits, CH length, CL baud rate; AL=1 holds a break."""
    if not (port := _port(bios, frame)):
        return
    parity = (0x00, 0x08, 0x18, 0x28, 0x38)[min(frame.bh, 4)]
    line = parity | (frame.bl & 1) << 2 | frame.ch & 3 | (0x40 if frame.al == 1 else 0)
    _set_baud(bios, port, BAUDS[min(frame.cl, len(BAUDS) - 1)], line)
    _status(bios, frame, port)


def modem_control(bios: Bios, frame: Frame) -> None:
    """AH=05h: AL=0 gets, 1 sets BL."""
    if not (port := _port(bios, frame)):
        return
    if frame.al == 1:
        bios.pc.output(port + MODEM, frame.bl)
    frame.bl = bios.pc.input(port + MODEM)
    _status(bios, frame, port)


def printer(bios: Bios, frame: Frame) -> None:
    """INT 17h: any printer has timed out."""
    if frame.ah <= 2:
        frame.ah = PRINTER_TIMED_OUT
        frame.carry = False


FUNCTIONS: dict[int, Service] = {
    0x00: initialize,
    0x01: send,
    0x02: receive,
    0x03: get_status,
    0x04: initialize_extended,
    0x05: modem_control,
}
SERIAL = Family(FUNCTIONS, nothing)
PRINTER = Family({}, printer)
