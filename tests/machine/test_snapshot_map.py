"""Snapshots of machines whose physical map the guest has changed: ROM, windows, what is behind them, the A20 gate."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from bt.devices.device import Device
from bt.engine.library.library import load_library
from bt.errors import BadUsage
from bt.machine import EngineName, Machine, MachineConfig
from bt.machine.snapshot import Snapshot
from bt.memory.map import Layout, Use
from bt.memory.ram import GuestRam
from bt.x86.state import EBX
from guest_images.assembler import assemble
from tests.everyday import one_in

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
PROGRAM, ROM_AT, BYTES, WINDOW_AT, MOVED_TO = 0x2_0000, 0xF_0000, 0x1_0000, 0xE000_0000, 0xE100_0000
GUEST = f"""
    xor ebx, ebx
    mov dx, 0x300
    mov edi, {ROM_AT}
    call edi
    mov al, 0               ; ROM over RAM
    out dx, al
    mov byte ptr [{ROM_AT + 2}], 9
    mov dword ptr [{WINDOW_AT + 0x2000}], 0x100
    call edi
    mov al, 1               ; RAM, and the window elsewhere
    out dx, al
    call edi
    add ebx, [{MOVED_TO + 0x2000}]
    mov dword ptr [{MOVED_TO + 0x2000}], 0x200
    mov al, 2               ; the window nowhere
    out dx, al
    call edi
    mov al, 0               ; the A20 gate
    out 0x92, al
    mov dword ptr [0x300000], 0x10000
    add ebx, [0x200000]
    mov al, 2
    out 0x92, al
    mov al, 3               ; as in the beginning
    out dx, al
    call edi
    add ebx, [{WINDOW_AT + 0x2000}]
    cli
    hlt
"""


class Switch(Device):
    """Changes the map as a bridge would, and has no state: all of it is the map's."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("switch")
        self.machine, self.rom, self.window = machine, GuestRam(BYTES), GuestRam(BYTES)
        self.rom.write(0, assemble("add ebx, 1\nret", 32, ROM_AT))
        machine.memory.remap(ROM_AT, BYTES, Use.ROM, self.rom)
        machine.memory.add_window(WINDOW_AT, self.window)

    def write(self, offset: int, size: int, value: int) -> None:
        memory, ram = self.machine.memory, self.machine.ram
        if value == 0:
            ram.write(ROM_AT, self.rom.view)
            memory.remap(ROM_AT, BYTES, Use.ROM_OVER_RAM, self.rom)
        elif value == 1:
            memory.remap(ROM_AT, BYTES, Use.RAM, ram, ROM_AT)
            memory.move(WINDOW_AT, MOVED_TO)
        elif value == 2:
            memory.remove(MOVED_TO, BYTES)
        else:
            memory.remap(ROM_AT, BYTES, Use.ROM, self.rom)
            memory.add_window(WINDOW_AT, self.window)


class Seen(NamedTuple):
    """What there is to see of a machine."""

    registers: tuple[int, int, int]
    layout: Layout
    contents: list[bytes]


class Guest:
    def __init__(self, engine: EngineName, *, with_blocks: bool = True) -> None:
        self.machine = Machine(MachineConfig(memory=8 << 20, engine=engine), library=load_library())
        self.machine.load(assemble(GUEST, 32, PROGRAM), flat=PROGRAM)
        if with_blocks:
            self.switch = Switch(self.machine)
            self.machine.ports.attach(self.switch, 0x300, 1)

    def seen(self) -> Seen:
        machine = self.machine
        state = machine.cpu.state
        return Seen(
            (state["gpr", EBX], state["eip"], state["a20_mask"]),
            machine.memory.layout(),
            [bytes(each.view) for each in (machine.ram, self.switch.rom, self.switch.window)],
        )

    def finish(self) -> Seen:
        assert self.machine.run(max_insns=1000).reason == "halted"
        return self.seen()


@pytest.mark.parametrize(("restored_under", "taken_under"), one_in(2, ENGINES, ENGINES[::-1]))
def test_the_map_comes_back(taken_under: EngineName, restored_under: EngineName) -> None:
    """From between any two instructions, in another machine and in the one that it was taken in, time and again."""
    taken, other = Guest(taken_under), Guest(restored_under)
    snapshots: list[tuple[Snapshot, Seen]] = []
    for _ in range(60):
        snapshots.append((taken.machine.snapshot(), taken.seen()))
        if taken.machine.run(max_insns=1).reason == "halted":
            break
    expected = taken.seen()
    assert expected.registers[0] == 1 + 1 + 9 + 0x100 + 9 + 0x10000 + 1 + 0x200
    assert len({seen.layout for _, seen in snapshots}) == 4
    for snapshot, seen in snapshots[::3] + snapshots[::-4]:
        for guest in (other, taken):
            guest.machine.restore(snapshot)
            assert guest.seen() == seen
            assert guest.finish() == expected
    for snapshot, _ in snapshots:
        snapshot.close()


def test_a_map_of_other_memory_is_refused() -> None:
    guest, other = Guest("interp"), Guest("interp", with_blocks=False)
    with guest.machine.snapshot() as snapshot:
        other.machine.ports.attach(guest.switch, 0x300, 1)
        with pytest.raises(BadUsage, match=r"the map \[16777216, 65536, 65536\], here \[16777216\]"):
            other.machine.restore(snapshot)


def test_code_in_rom_stays_translated() -> None:
    """What has not changed since the snapshot is not written again."""
    guest = Guest("bt")
    guest.machine.run(max_insns=8)
    with guest.machine.snapshot() as snapshot:
        for _ in range(3):
            killed = guest.machine.cpu.statistics()["blocks_killed"]
            guest.machine.run(max_insns=2)
            guest.machine.restore(snapshot)
            assert guest.machine.cpu.statistics()["blocks_killed"] == killed
