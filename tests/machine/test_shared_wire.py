"""Two devices share a level-triggered request of the 8259, each by a driver of its own; the guest serves both."""

from __future__ import annotations

import pytest

from bt.devices.device import Device, Line
from bt.engine.library.library import load_library
from bt.machine import EngineName, Machine, MachineConfig
from guest_images.assembler import assemble_program
from tests import tables

ORIGIN, IDT, IRQ = 0x1_0000, 0x4000, 11
FIRST, SECOND = 0x300, 0x310
GUEST = f"""
    lidt [idt_register]
    mov esi, initialise
next:
    movzx edx, word ptr [esi]
    mov al, [esi + 2]
    add esi, 3
    test edx, edx
    jz ready
    out dx, al
    jmp next
ready:
    mov dx, {FIRST}
    mov al, 1
    out dx, al              ; both ask while interrupts are off
    mov dx, {SECOND}
    out dx, al
    sti
    hlt
    mov dx, {SECOND}        ; the other way round, and only one
    mov al, 1
    out dx, al
    nop
    mov dx, {FIRST}
    out dx, al
    nop
    cli
    hlt
handler:                    ; serves the first device that asks, as drivers on a shared request do
    mov dx, {FIRST}
    in al, dx
    test al, al
    jnz found
    mov dx, {SECOND}
    in al, dx
    test al, al
    jz nobody
found:
    mov al, 0
    out dx, al
    mov al, '1'
    cmp dx, {FIRST}
    je say
    inc al
say:
    out 0xE9, al
    jmp finish
nobody:
    mov al, '?'
    out 0xE9, al
finish:
    mov al, 0x20
    out 0xA0, al
    out 0x20, al
    iretd
idt_register:
    .word 0x7FF
    .long {IDT}
initialise:
    .word 0x20
    .byte 0x11
    .word 0x21
    .byte 0x20
    .word 0x21
    .byte 4
    .word 0x21
    .byte 1
    .word 0xA0
    .byte 0x11
    .word 0xA1
    .byte 0x28
    .word 0xA1
    .byte 2
    .word 0xA1
    .byte 1
    .word 0x21
    .byte 0xFB
    .word 0xA1
    .byte 0xF7
    .word 0x4D1
    .byte 8                 ; IRQ 11 is level-triggered
    .word 0
    .byte 0
"""


class Asking(Device):
    """Asks for service from the write of 1 to the write of 0; reads say whether it does."""

    fields = ("asks",)

    def __init__(self, name: str, request: Line) -> None:
        super().__init__(name)
        self.request, self.asks = request, 0

    def read(self, offset: int, size: int) -> int:
        return self.asks

    def write(self, offset: int, size: int, value: int) -> None:
        self.asks = value
        self.request.set(bool(value))


def serve(engine: EngineName) -> tuple[bytes, int]:
    said = bytearray()
    config = MachineConfig(memory=2 << 20, engine=engine)
    with Machine(config, library=load_library(), console=said.append) as machine:
        wire = machine.board.pic.line(IRQ)
        for name, port in (("first", FIRST), ("second", SECOND)):
            machine.ports.attach(Asking(name, wire.driver(name)), port, 1)
        guest = assemble_program(GUEST, 32, ORIGIN)
        machine.load(guest.image, flat=ORIGIN)
        gate = tables.interrupt_gate(machine.cpu.state.segment(1, "selector"), guest.symbols["handler"])
        machine.ram.write(IDT + 8 * 0x2B, gate)
        result = machine.run(max_insns=10_000)
        assert result.reason == "halted"
        return bytes(said), result.instructions


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_two_devices_share_a_level_triggered_request(engine: EngineName) -> None:
    """While one of them still asks, the end of the other's service is the beginning of the next; then it is quiet."""
    assert serve(engine)[0] == b"1221"


def test_at_the_same_instructions_in_both_engines() -> None:
    assert serve("interp") == serve("bt")
