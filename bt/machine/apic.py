"""The APICs' wires: the 8259s through the local one, ISA interrupts to the I/O APIC, messages between the two."""

from __future__ import annotations

from functools import partial

from bt.devices.apic.io_apic import IoApic
from bt.devices.apic.local_apic import LocalApic
from bt.devices.chipset.pic8259 import CASCADE_INPUT, Pic8259Pair
from bt.machine.board import Board

IRQS = 16


def local_apic(b: Board) -> LocalApic:
    """The processor's, between the 8259s and its pin."""
    apic = LocalApic(b.clock, b.intr, b.part("PIC", Pic8259Pair).acknowledge, b.cpu.nmi)
    b.pic_intr.watch(apic.set_lint0)
    return apic


def io_apic(b: Board) -> IoApic:
    """Gets all ISA interrupts, the timer's at input 2, as every PC's tables say."""
    local = b.part("local APIC", LocalApic)
    apic = IoApic(local.receive)
    local.ended = apic.end_of_interrupt
    pic = b.part("PIC", Pic8259Pair)
    set_input = apic.set_input
    for irq in range(IRQS):
        if irq != CASCADE_INPUT:
            pic.line(irq).watch(partial(set_input, irq or CASCADE_INPUT))
    return apic
