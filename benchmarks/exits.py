"""What a guest's access to a device costs the host: `python -m benchmarks.exits [RUNS]`.

Claim: at most 3 us of CPU time for an access that Python serves, 0.15 for one that native code does. One row a device:
a loop of one IN, OUT, read or write less the same loop without it, under each engine; the last row is an empty
call of native code from Python.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bt.cli import library
from bt.devices.apic.local_apic import LocalApic
from bt.devices.device import Line
from bt.devices.display.memory import APERTURE, APERTURE_BYTES, VGA_BYTES
from bt.devices.display.registers import FIRST_PORT, PORTS
from bt.devices.display.vga import Vga
from bt.devices.storage.ata.ata_device import AtaDevice
from bt.devices.storage.ata.ide_channel import IdeChannel
from bt.machine import EngineName, Machine, MachineConfig
from bt.memory.bus import Bus
from guest_images.assembler import assemble

LIMIT_US, NATIVE_LIMIT_US = 3.0, 0.15
LOAD_ADDRESS = 0x10_0000
ENGINES: tuple[EngineName, ...] = ("interp", "bt")
PASSES = 20_000


@dataclass(frozen=True)
class Row:
    """One kind of access: what is shown, and the instruction, which finds the port in DX."""

    name: str
    port: int
    instruction: str
    attach: Callable[[Machine], None] = lambda machine: None  # puts the device there
    limit_us: float = NATIVE_LIMIT_US


def local_apic(machine: Machine) -> None:
    """With its timer running."""
    machine.board.part("local APIC", LocalApic).write(0x380, 4, 0xFFFF_FFFF)


def disk(machine: Machine) -> None:
    """With a block of the longest kind under way, so that there is always something to read."""
    make_room(machine.ports, 0x1F0, 8)
    channel = IdeChannel(Line("IRQ14"))
    device = AtaDevice(machine.clock, None, None)
    channel.connect(device, 0)
    device.read_end = len(device.buffer)
    machine.ports.attach(channel, 0x1F0, 8)


def planar_vga(machine: Machine) -> None:
    """Planar memory, write mode 2, and a raster."""
    screen = Vga(machine.clock, bytearray(VGA_BYTES))
    screen.registers.write(0x12, 1, 0x63)
    for index, value in ((0x14, 4), (0x15, 6), (0x14, 2), (0x15, 15), (0x1E, 5), (0x1F, 2), (0x1E, 8), (0x1F, 0x0F)):
        screen.registers.write(index, 1, value)
    screen.registers.read(0x2A, 1)
    screen.memory.note_stores_through(machine.board.outputs)
    make_room(machine.ports, FIRST_PORT, 0x30)
    make_room(machine.mmio, APERTURE, APERTURE_BYTES)
    for port, count in PORTS:
        machine.ports.attach(screen.registers, port, count, offset=port - FIRST_PORT)
    machine.mmio.attach(screen.memory, APERTURE, APERTURE_BYTES)


def make_room(bus: Bus, start: int, length: int) -> None:
    """What the board has there goes."""
    for region in bus.regions:
        if region.start < start + length and start < region.end:
            bus.detach(region)


ROWS = (
    Row("PIC mask, in al, 21h", 0x21, "in al, 0x21"),
    Row("PIC mask, out 21h, al", 0x21, "out 0x21, al", limit_us=LIMIT_US),
    Row("PIT count, in al, 40h", 0x40, "in al, 0x40"),
    Row("PIT latch, out 43h, al (al = 0)", 0x43, "xor eax, eax\nout 0x43, al"),
    Row("keyboard status, in al, 64h", 0x64, "in al, 0x64"),
    Row("system port B, in al, 61h", 0x61, "in al, 0x61"),
    Row("RTC, in al, 71h", 0x71, "in al, 0x71", limit_us=LIMIT_US),
    Row("POST latch, out 80h, al", 0x80, "out 0x80, al"),
    Row("UART status, in al, dx", 0x3FD, "in al, dx"),
    Row("UART identification, in al, dx", 0x3FA, "in al, dx"),
    Row("UART data, out dx, al", 0x3F8, "out dx, al"),
    Row("console, out E9h, al", 0xE9, "out 0xe9, al"),
    Row("PM timer, in eax, dx", 0x608, "in eax, dx"),
    Row("APIC count, mov eax, [390h]", 0, "mov eax, [0xfee00390]", local_apic),
    Row("APIC EOI, mov [B0h], eax", 0, "mov [0xfee000b0], eax", local_apic),
    Row("APIC TPR, mov [80h], eax", 0, "mov [0xfee00080], eax", local_apic),
    Row("APIC ICR, mov [300h], to itself", 0, "mov dword [0xfee00300], 0x40031", local_apic),
    Row("ATA data, in ax, dx", 0x1F0, "mov edi, 0x200000\nmov ecx, 1\nin ax, dx", disk),
    Row("ATA data, rep insw (1)", 0x1F0, "mov edi, 0x200000\nmov ecx, 1\nrep insw", disk),
    Row("ATA status, in al, dx", 0x1F7, "in al, dx", disk),
    Row("VGA status, in al, dx", 0x3DA, "in al, dx", planar_vga),
    Row("VGA bit mask, out dx, ax", 0x3CE, "mov eax, 0x0f08\nout dx, ax", planar_vga),
    Row("VGA planar store, mov [ebx], al", 0, "mov [0xa1000], al", planar_vga),
    Row("VGA planar load, mov al, [ebx]", 0, "mov al, [0xa1000]", planar_vga),
    Row("VGA planar, rep stosb (1)", 0, "mov edi, 0xa1000\nmov ecx, 1\nrep stosb", planar_vga),
    Row("nobody's port, in al, dx", 0x2E8, "in al, dx", limit_us=LIMIT_US),
    Row("nobody's memory, mov eax, [ebx]", 0, "mov eax, [ebx]", limit_us=LIMIT_US),
)
EMPTY = Row("", 0, "")


def program(row: Row) -> bytes:
    """Raw code for LOAD_ADDRESS: PASSES times the instruction, then the exit, again and again."""
    text = f"""
start:
    mov esi, {PASSES}
    mov edx, {row.port:#x}
    mov ebx, 0xfeb00000
    mov eax, 0xff
again:
    {row.instruction}
    dec esi
    jnz again
    out 0xf4, al
    jmp start
"""
    return assemble(text, 32, LOAD_ADDRESS)


def seconds(row: Row, engine: EngineName, runs: int) -> float:
    """CPU seconds of PASSES accesses, loop included: the median of so many runs."""
    machine = Machine(MachineConfig(memory=4 << 20, engine=engine))
    machine.load(program(row), flat=LOAD_ADDRESS)
    row.attach(machine)  # afterwards: loading leaves devices as firmware would
    machine.run()
    times = [machine.run().cpu_seconds for _ in range(runs)]
    machine.close()
    return median(times)


def empty_call_us(runs: int) -> float:
    """Microseconds of a call from Python into native code that does nothing, per call."""
    loaded = library.load()
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(loaded.symbols["leave_translated"])
    times = []
    for _ in range(runs):
        start = time.process_time()
        for _ in range(PASSES):
            function(None)
        times.append(time.process_time() - start)
    return median(times) / PASSES * 1e6


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    library.load()  # compiles it where that has not been done
    loops = {engine: seconds(EMPTY, engine, runs) for engine in ENGINES}
    print(f"{'microseconds an access (CPU time)':36}" + "".join(f"{engine:>9}" for engine in ENGINES))
    kept = True
    for row in ROWS:
        costs = [(seconds(row, engine, runs) - loops[engine]) / PASSES * 1e6 for engine in ENGINES]
        kept = kept and max(costs) <= row.limit_us
        print(f"{row.name:36}" + "".join(f"{cost:9.2f}" for cost in costs))
    print(f"{'empty call of native code':36}{empty_call_us(runs):9.2f}")
    return int(not kept)


if __name__ == "__main__":
    raise SystemExit(main())
