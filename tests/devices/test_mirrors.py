"""Registers that engines read without asking the device: what they show is what a read returns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bt.devices.chipset.pic8259 import Pic8259Pair
from bt.devices.device import Line
from bt.engine.library.library import load_library
from bt.machine import Machine, MachineConfig
from bt.memory.bus import NATIVE_READ, Bus
from guest_images.assembler import assemble

POLL = 0x0C  # OCW3
PORTS = (0x20, 0x21, 0xA0, 0xA1)
WRITES = st.tuples(
    st.sampled_from(PORTS), st.sampled_from((0x11, 0x13, POLL, 0x0A, 0x0B, 0x20, 0x68)) | st.integers(0, 255)
)
READS = st.tuples(st.sampled_from(PORTS), st.none())


def board() -> tuple[Pic8259Pair, Bus]:
    pic, ports = Pic8259Pair(Line("INTR")), Bus("ports", 16)
    ports.attach(pic, 0x20, 2)
    ports.attach(pic, 0xA0, 2, offset=2)
    return pic, ports


@given(st.lists(WRITES | READS, max_size=40), st.lists(st.integers(0, 15).filter(lambda irq: irq != 2), max_size=4))
def test_a_mirror_shows_what_the_device_would_answer(traffic: list[tuple[int, int | None]], raised: list[int]) -> None:
    pic, ports = board()
    for irq in raised:
        pic.line(irq).raise_()
    for port, value in traffic:
        if value is None:
            ports.read(port, 1)
        else:
            ports.write(port, 1, value)
        for mirrored in (0x21, 0xA1):
            before = pic.state()
            answer = ports.read(mirrored, 1)
            if pic.state() == before:
                assert ports.native_access[mirrored] == NATIVE_READ
                assert ports.latch_values[mirrored] == answer
            else:
                pic.restore(before)
                assert ports.native_access[mirrored] == 0, "a poll is for the device"


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
        assert result.exits["io"] == 4, "two writes, the poll and the exit"
