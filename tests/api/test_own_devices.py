"""A device of one's own in a few lines, and what becomes of its mistakes."""

from __future__ import annotations

import pytest

from bt import Address, Device, Machine, Part
from bt.engine.library.library import Library
from bt.errors import BadUsage
from bt.machine import EngineName
from bt.memory.bus import BusConflict
from guest_images.assembler import assemble
from tests.api.guest import CODE, ENGINES, machine

PORT, WINDOW = 0x300, 0xFED0_8000
SOURCE = f"""
    mov edx, {PORT}
    mov al, 7
    out dx, al
    in al, dx
    mov [{WINDOW}], eax
    mov ebx, [{WINDOW}]
done: jmp done
"""
DONE = CODE + assemble(SOURCE, 32, CODE).index(b"\xeb\xfe")


class Doubler(Device):
    """What is written comes back twice as large."""

    widest_access = 4
    fields = ("value",)
    value = 0

    def read(self, offset: int, size: int) -> int:
        return 2 * self.value

    def write(self, offset: int, size: int, value: int) -> None:
        self.value = value

    def reset(self) -> None:
        self.value = 0


@pytest.mark.parametrize("engine", ENGINES)
def test_at_ports_and_in_memory(library: Library, engine: EngineName) -> None:
    with machine(library, engine, SOURCE) as pc:
        pc.ports.attach(Doubler("ports"), PORT, 1)
        pc.mmio.attach(Doubler("window"), WINDOW, 4)
        pc.run(until=Address(DONE))
        assert (pc.reg.al, pc.reg.ebx) == (14, 28)


def test_on_the_board_it_is_reset_and_in_snapshots(library: Library) -> None:
    with machine(library, "bt", SOURCE) as pc:
        with pytest.raises(BadUsage, match="part='RTC'"):
            pc.add(Part("RTC", "300", (), lambda b, irq: Doubler("x")))
        with pytest.raises(BusConflict):
            pc.add(Part("clash", "3F8", (), lambda b, irq: Doubler("x")))
    with machine(library, "bt", SOURCE) as pc:
        pc.add(Part("doubler", f"{PORT:X}-{PORT + 3:X}", (5,), lambda b, irq: Doubler("doubler")))
        device = pc.board.part("doubler", Doubler)
        with pc.snapshot() as snapshot:
            pc.run(max_insns=3)
            assert device.value == 7
            pc.restore(snapshot)
            assert device.value == 0
        pc.run(max_insns=3)
        pc.reset()
        assert device.value == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_what_it_raises_leaves_the_run(library: Library, engine: EngineName) -> None:
    """And the machine can go on: the instruction is executed once more."""

    class Broken(Doubler):
        works = False

        def write(self, offset: int, size: int, value: int) -> None:
            if not self.works:
                raise ZeroDivisionError("mine")
            super().write(offset, size, value)

    with machine(library, engine, SOURCE) as pc:
        device = Broken("broken")
        pc.ports.attach(device, PORT, 1)
        with pytest.raises(ZeroDivisionError, match="mine"):
            pc.run(max_insns=100)
        device.works = True
        pc.run(until=Address(CODE + 8))
        assert device.value == 7


def test_registers_are_not_written_in_the_middle_of_an_instruction(library: Library) -> None:
    class Late(Doubler):
        def read(self, offset: int, size: int) -> int:
            pc.post(lambda: setattr(pc.reg, "eip", 0))
            return 1

    with machine(library, "bt", SOURCE) as pc:
        pc.ports.attach(Late("late"), PORT, 1)
        with pytest.raises(BadUsage, match="waits for a device"):
            pc.run(max_insns=100)


def test_several_machines_have_devices_of_their_own(library: Library) -> None:
    with machine(library, "bt", SOURCE) as one, machine(library, "bt", SOURCE) as other:
        one.ports.attach(Doubler("one"), PORT, 1)
        machines: list[Machine] = [one, other]
        for pc in machines:
            pc.run(until=Address(DONE))
        assert (one.reg.ebx, other.reg.ebx) == (0xFFFF_FFFF, 0xFFFF_FFFF)
        assert (one.mem.physical[0], other.mem.physical[0]) == (0, 0)
