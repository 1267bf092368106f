"""Registers that engines read without asking the device: what they show is what a read returns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bt.devices.device import Line
from bt.devices.serial.uart16550 import Uart16550
from bt.engine.library.library import load_library
from bt.machine import Machine, MachineConfig
from bt.memory.bus import NATIVE_READ, Bus
from guest_images.assembler import assemble

UART, MIRRORED = 0x3F8, (1, 2, 5, 6)
WRITES = st.tuples(st.integers(0, 7), st.sampled_from((0x00, 0x01, 0x03, 0x0F, 0x10, 0x80)) | st.integers(0, 255))
READS = st.tuples(st.integers(0, 7), st.none())
RECEIVED = st.tuples(st.just(-1), st.integers(0, 255))


@given(st.lists(WRITES | READS | RECEIVED, max_size=40))
def test_a_mirror_shows_what_the_device_would_answer(traffic: list[tuple[int, int | None]]) -> None:
    uart, ports = Uart16550(Line("IRQ4"), lambda byte: None), Bus("ports", 16)
    ports.attach(uart, UART, 8)
    for offset, value in traffic:
        if value is None:
            ports.read(UART + offset, 1)
        elif offset < 0:
            uart.receive(bytes((value,)))
        else:
            ports.write(UART + offset, 1, value)
        for mirrored in MIRRORED:
            if ports.native_access[UART + mirrored] == NATIVE_READ:
                before, shown = uart.state(), ports.latch_values[UART + mirrored]
                assert (ports.read(UART + mirrored, 1), uart.state()) == (shown, before)


def test_a_guest_reads_the_mask_without_an_exit() -> None:
    code = """
        mov al, 0x5a
        out 0x21, al
        in al, 0x21
        mov bl, al
        mov al, 0x0c
        out 0x20, al            ; the next read is a poll: nothing is requested
        in al, 0x21
        mov cl, al
        in al, 0x21
        mov dl, al
        out 0xf4, al
    """
    with Machine(MachineConfig(memory=4 << 20), library=load_library()) as machine:
        machine.load(assemble(code, 32, 0x1000), flat=0x1000)
        result = machine.run()
        state = machine.cpu.state
        assert [state["gpr", n] & 0xFF for n in (3, 1, 2)] == [0x5A, 0, 0x5A]
        assert result.exits["io"] == 3, "the poll command, its read and the exit"
