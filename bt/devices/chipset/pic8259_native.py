"""The 8259s in native code: masks, ends of interrupts, what OCW3 has chosen to be read.

Whatever takes the INT pin up or down is Python's, as is everything but fixed priorities without special modes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.native import native_code
from bt.devices.shared import Flag, Shared, Word

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.devices.native_device import NativeDevice

COMMAND_OR_MODE = 0x18  # bits 4:3 of what is written with A0 = 0: ICW1, OCW3, or OCW2 for none
OCW3 = 0x08
NON_SPECIFIC_EOI, SPECIFIC_EOI = 0x20, 0x60  # OCW2, without the level
READ_REGISTER, READ_ISR = 0x02, 0x01
LEVEL, OCW2_COMMAND, OCW3_COMMAND = 0x07, 0xE0, 0x66


class PicShared(Shared):
    """See `Pic8259`. `_requests` is `irr`; `_is_plain`: IR0 comes first, no ICW, poll or special mode is under way."""

    imr, _isr, _requests = Word(), Word(), Word()
    _ready, _read_isr, _is_plain = Flag(), Flag(), Flag()


P = PicShared


def _interrupts(b: NativeDevice, imr: Value, isr: Value) -> Value:
    """`Pic8259.interrupt`: whether a request is of higher priority, a lower bit, than all in service (i1)."""
    requests = b.word(P._requests) & ~imr
    return b.is_set(P._ready) & (requests != 0) & ((isr == 0) | (requests & -requests).ult(isr & -isr))


def _set(b: NativeDevice, imr: Value, isr: Value) -> None:
    """Store both, unless the pin changes."""
    changes = _interrupts(b, imr, isr) ^ _interrupts(b, b.word(P.imr), b.word(P._isr))
    b.ask_if(changes)
    b.set_word(P.imr, imr)
    b.set_word(P._isr, isr)
    b.done()


def _begin(b: NativeDevice) -> None:
    b.ask_unless_size(1)
    b.ask_if(~b.is_set(P._is_plain))


@native_code
def read_chosen(b: NativeDevice) -> None:
    """IRR or ISR."""
    _begin(b)
    b.answer(b.select(b.is_set(P._read_isr), b.word(P._isr), b.word(P._requests)))


@native_code
def read_mask(b: NativeDevice) -> None:
    _begin(b)
    b.answer(b.word(P.imr))


@native_code
def write_mask(b: NativeDevice) -> None:
    """OCW1."""
    _begin(b)
    _set(b, b.written & 0xFF, b.word(P._isr))


@native_code
def write_command(b: NativeDevice) -> None:
    """OCW2 that ends an interrupt, OCW3 that chooses a register."""
    _begin(b)
    isr, kind = b.word(P._isr), b.written & COMMAND_OR_MODE
    command = b.written & OCW2_COMMAND
    with b.If((kind == 0) & (command == NON_SPECIFIC_EOI)):
        _set(b, b.word(P.imr), isr & (isr - 1))
    with b.If((kind == 0) & (command == SPECIFIC_EOI)):
        _set(b, b.word(P.imr), isr & ~(b.const(1, 64) << (b.written & LEVEL)))
    with b.If((kind == OCW3) & ((b.written & OCW3_COMMAND) == READ_REGISTER)):
        b.set_word(P._read_isr, b.written & READ_ISR)
        b.done()
    b.ask()
