"""Sending through a UART in native code, while nobody wants to hear that a character has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.debug.output_native import SenderShared, send
from bt.devices.native import native_code
from bt.devices.shared import Flag, Word

if TYPE_CHECKING:
    from bt.devices.native_device import NativeDevice


class UartShared(SenderShared):
    """`_native_mask`: the bits of a character while native code may send it, else 0."""

    _native_mask, _thre_interrupt = Word(), Flag()


@native_code
def write_data(b: NativeDevice) -> None:
    """`Uart16550._transmit`, to the other end and with the THR interrupt disabled."""
    mask = b.word(UartShared._native_mask)
    b.ask_if((b.size != 1) | (mask == 0))
    send(b, b.written & mask)
    b.set_word(UartShared._thre_interrupt, 1)
    b.done()
