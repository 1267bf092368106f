"""A guest that works on a disk: the same instructions whatever the engine, and however slow the host."""

import random
import struct
import time
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import pytest

from bt.devices.storage.ata.ata_disk import AtaDisk
from bt.devices.storage.ata.bus_master_ide import BusMasterIde
from bt.devices.storage.ata.ide_channel import IdeChannel
from bt.disks.disk import Disk
from bt.engine.library.library import Library, load_library
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86.state import EBP
from guest_images.assembler import assemble
from tests.disks.memory_image import MemoryImage

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
PROGRAM, IDT, TABLE, BUFFER, DIRECT = 0x8000, 0x4000, 0x5000, 0x20000, 0x40000
CONTENT = random.Random(9).randbytes(2880 * 512)
GATE = 0x2E  # IRQ 14 behind an 8259 at 20h and 28h

# Reads 40 sectors by PIO with an interrupt for each, waiting in HLT; writes them elsewhere, polling; flushes; reads
# them back by bus-master DMA. EBP counts interrupts.
GUEST = f"""
    mov esp, {PROGRAM}
    lidt [{IDT - 8}]
    mov al, 0x11
    out 0x20, al
    out 0xA0, al
    mov al, 0x20
    out 0x21, al
    mov al, 0x28
    out 0xA1, al
    mov al, 4
    out 0x21, al
    mov al, 2
    out 0xA1, al
    mov al, 1
    out 0x21, al
    out 0xA1, al
    mov al, 0xFB
    out 0x21, al
    mov al, 0xBF
    out 0xA1, al
    xor ebp, ebp
    mov edi, {BUFFER}
    mov ecx, 0x20050028
    call command
    mov ebx, 40
next:
    sti
    hlt
    cli
    mov edx, 0x1F0
    mov ecx, 256
    rep insw
    dec ebx
    jnz next
    mov esi, {BUFFER}
    mov ecx, 0x30640028
    call command
    mov ebx, 40
write:
    call poll
    mov edx, 0x1F0
    mov ecx, 256
    rep outsw
    dec ebx
    jnz write
    call poll
    mov ecx, 0xE7000000
    call command
    call poll
    mov edx, 0xC004
    mov eax, {TABLE}
    out dx, eax
    mov edx, 0xC000
    mov al, 8
    out dx, al
    mov ecx, 0xC8640028
    call command
    mov edx, 0xC000
    mov al, 9
    out dx, al
    sti
    hlt
    cli
    hlt
poll:
    mov edx, 0x3F6
again:
    inc eax
    in al, dx
    test al, 0x80
    jnz again
    ret
command:
    mov edx, 0x1F6
    mov al, 0xE0
    out dx, al
    mov edx, 0x1F2
    mov al, cl
    out dx, al
    inc edx
    shr ecx, 16
    mov al, cl
    out dx, al
    inc edx
    mov al, 0
    out dx, al
    inc edx
    out dx, al
    mov edx, 0x1F7
    mov al, ch
    out dx, al
    ret
"""
HANDLER = """
    push eax
    push edx
    mov edx, 0x1F7
    in al, dx
    mov al, 0x20
    out 0xA0, al
    out 0x20, al
    inc ebp
    pop edx
    pop eax
    iretd
"""
HANDLER_AT = 0x7000


class Slow(MemoryImage):
    """A host that takes its time."""

    def read(self, offset: int, n: int) -> bytes:
        time.sleep(random.random() / 300)
        return super().read(offset, n)

    def write(self, offset: int, data: bytes) -> None:
        time.sleep(random.random() / 300)
        super().write(offset, data)


class Seen(NamedTuple):
    reason: str
    instructions: int
    now_ns: int
    interrupts: int


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    made = load_library()
    yield made
    made.close()


def attach(machine: Machine, image: MemoryImage) -> None:
    channel = machine.board.part("IDE 1", IdeChannel)
    channel.connect(AtaDisk(machine.clock, Disk(image)), 0)
    master = machine.board.part("bus master 1", BusMasterIde)
    channel.connect_dma(master)
    machine.ports.attach(master, 0xC000, 8)


def make(library: Library, engine: EngineName, image: MemoryImage) -> Machine:
    machine = Machine(MachineConfig(memory=4 << 20, engine=engine), library=library)
    attach(machine, image)
    machine.load(assemble(GUEST, 32, PROGRAM), flat=PROGRAM)
    machine.ram.write(HANDLER_AT, assemble(HANDLER, 32, HANDLER_AT))
    machine.ram.write(IDT - 8, struct.pack("<HI", 8 * 256 - 1, IDT))
    selector = 0x08
    machine.ram.write(IDT + 8 * GATE, struct.pack("<HHHH", HANDLER_AT, selector, 0x8E00, 0))
    machine.ram.write(TABLE, struct.pack("<IHHIHH", DIRECT, 10_000, 0, DIRECT + 10_000, 20_480 - 10_000, 0x8000))
    return machine


def test_a_disk_is_deterministic(library: Library) -> None:
    found = []
    for engine, host in product(ENGINES, (MemoryImage, Slow)):
        image = host(CONTENT)
        with make(library, engine, image) as machine:
            result = machine.run(max_insns=50_000_000)
            interrupts = machine.cpu.state["gpr", EBP]
            found.append(Seen(result.reason, result.instructions, machine.clock.now_ns, interrupts))
            data = CONTENT[5 * 512 : 45 * 512]
            assert machine.ram.read(BUFFER, 40 * 512) == data
            assert image.bytes[100 * 512 : 140 * 512] == data
            assert machine.ram.read(DIRECT, 40 * 512) == data
            assert image.flushes == 1
    assert found == [found[0]] * 4
    assert (found[0].reason, found[0].interrupts) == ("halted", 41)


def test_a_snapshot_of_a_machine_that_waits_for_its_disk(library: Library) -> None:
    with make(library, "bt", MemoryImage(CONTENT)) as machine:
        for limit in (5_000, 9_000, 14_000, 20_000):
            machine.run(max_insns=limit - machine.cpu.instructions)
            snapshot = machine.snapshot()
            ends = []
            for _ in range(2):
                machine.run()
                ends.append((machine.cpu.instructions, machine.clock.now_ns, machine.ram.read(DIRECT, 40 * 512)))
                machine.restore(snapshot)
            assert ends[0] == ends[1]
            assert ends[0][2] == CONTENT[5 * 512 : 45 * 512]
            snapshot.close()
