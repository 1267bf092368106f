"""Memory and CPU state that Python writes between two runs: what runs next is what is there then."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable

import pytest

from bt.devices.device import Device
from bt.engine.library.library import Library
from bt.machine import EngineName, Machine
from bt.memory.ram import GuestRam
from bt.x86.state import CS, EAX, ECX, ESP
from bt.x86.system.segmentation import segment_cache
from guest_images.assembler import assemble
from tests.api.guest import CODE, ENGINES, machine

LOOP = """
again:
    mov eax, 1
    inc ecx
    jmp again
"""
CONSTANT = CODE + 1  # of MOV EAX
TURNS = 3 * 1000


def array(machine: Machine, data: bytes) -> None:
    machine.ram.write(CONSTANT, bytearray(data))


def words(machine: Machine, data: bytes) -> None:
    machine.ram.write(CONSTANT, memoryview(data).cast("I"))


def byte_by_byte(machine: Machine, data: bytes) -> None:
    for at, byte in enumerate(data):
        machine.ram.write(CONSTANT + at, bytes([byte]))


def every_other(machine: Machine, data: bytes) -> None:
    machine.ram.write(CONSTANT, memoryview(bytes(b for byte in data for b in (byte, 0xCC)))[::2])


def pages_around(machine: Machine, data: bytes) -> None:
    around = bytearray(machine.ram.read(CODE - 0x2000, 0x5000))
    around[0x2001:0x2005] = data
    machine.ram.write(CODE - 0x2000, around)


def through_the_address(machine: Machine, data: bytes) -> None:
    ctypes.memmove(machine.ram.address + CONSTANT, data, len(data))
    machine.ram.changed(CONSTANT, len(data))


def through_the_descriptor(machine: Machine, data: bytes) -> None:
    with mmap.mmap(machine.ram.fd, machine.ram.size) as mapped:
        mapped[CONSTANT : CONSTANT + len(data)] = data
    machine.ram.changed(CONSTANT, len(data))


def posted(machine: Machine, data: bytes) -> None:
    machine.post(lambda: machine.ram.write(CONSTANT, data))
    machine.run(max_insns=TURNS)


def loaded(machine: Machine, data: bytes) -> None:
    machine.load(b"\xb8" + data + machine.ram.read(CODE + 5, 3), flat=CODE)


WAYS: tuple[Callable[[Machine, bytes], None], ...] = (
    array,
    words,
    byte_by_byte,
    every_other,
    pages_around,
    through_the_address,
    through_the_descriptor,
    posted,
    loaded,
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("write", WAYS)
def test_code_written_between_two_runs(
    library: Library, engine: EngineName, write: Callable[[Machine, bytes], None]
) -> None:
    with machine(library, engine, LOOP) as guest:
        for value in (1, 0x1234_5678, 3, 0xFFFF_FFFF):
            write(guest, struct.pack("<I", value))
            guest.run(max_insns=TURNS)
            assert guest.cpu.state["gpr", EAX] == value


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("limit", [TURNS + 1, TURNS + 2])
def test_code_written_in_the_middle_of_a_block(library: Library, engine: EngineName, limit: int) -> None:
    """The run has ended between two instructions of one block; the next of them is another now."""
    with machine(library, engine, LOOP) as guest:
        guest.run(max_insns=limit)
        eip, ecx = guest.cpu.state["eip"], guest.cpu.state["gpr", ECX]
        assert eip == CODE + (5 if limit == TURNS + 1 else 6)
        guest.ram.write(eip, assemble("add ecx, 1000\nhlt", 32, eip))
        assert guest.run(max_insns=1000).reason == "halted"
        assert guest.cpu.state["gpr", ECX] == ecx + 1000


@pytest.mark.parametrize("engine", ENGINES)
def test_code_that_crosses_pages(library: Library, engine: EngineName) -> None:
    """An instruction's bytes in its second page are code too."""
    edge = CODE + 0x1000
    with machine(library, engine, f"jmp {edge - 3}") as guest:
        again = b"\xb8" + struct.pack("<I", 7) + b"\xeb\xf9"
        guest.ram.write(edge - 3, again)
        guest.run(max_insns=1000)
        assert guest.cpu.state["gpr", EAX] == 7
        guest.ram.write(edge, b"\x12\x34")
        guest.run(max_insns=1000)
        assert guest.cpu.state["gpr", EAX] == 0x3412_0007


ASKS_A_DEVICE = """
again:
    mov eax, 1                  ; 5 bytes
    out 0xE1, al                ; 2 bytes
    inc ecx
    cmp ecx, 100
    jne again
    out 0xE1, al
    hlt
"""


class Writer(Device):
    """Writes memory when it is told something for the 50th time."""

    def __init__(self, write: Callable[[], None]) -> None:
        super().__init__("writer")
        self._write = write
        self.heard: list[int] = []

    def write(self, offset: int, size: int, value: int) -> None:
        self.heard.append(value)
        if len(self.heard) == 50:
            self._write()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("offset", "code", "said"),
    [
        (5, b"\x90\x90", [1] * 51),
        (7, b"\xf4", [1] * 50),
        (1, b"\x02", [1] * 50 + [2] * 51),
    ],
    ids=["the instruction itself", "the next one", "the one before"],
)
def test_a_device_writes_code_while_it_is_accessed(
    library: Library, engine: EngineName, offset: int, code: bytes, said: list[int]
) -> None:
    """As a bus master does."""
    with machine(library, engine, ASKS_A_DEVICE) as guest:
        writer = Writer(lambda: guest.ram.write(CODE + offset, code))
        guest.ports.attach(writer, 0xE1, 1)
        assert guest.run(max_insns=100_000).reason == "halted"
        assert writer.heard == said


def test_views_cannot_be_written() -> None:
    with GuestRam(1 << 20) as ram:
        assert ram.view.readonly
        with pytest.raises(TypeError, match="read-only"):
            ram.view[0] = 1
        assert ram.view[5:9].readonly
        with pytest.raises(TypeError, match=r"read-only|not writable"):
            ctypes.c_uint8.from_buffer(ram.view)


# -- CPU state: `flush` after it ---------------------------------------------------------------------------------------

SIXTEEN_AND_THIRTY_TWO = b"\xb8\x34\x12\x90\x90\x41\xeb\xf8"  # MOV (E)AX; NOP NOP only with 16 bits; INC (E)CX; JMP


@pytest.mark.parametrize("engine", ENGINES)
def test_a_code_segment_of_another_size(library: Library, engine: EngineName) -> None:
    with machine(library, engine) as guest:
        state = guest.cpu.state
        guest.load(SIXTEEN_AND_THIRTY_TWO, flat=0x8000)
        for big, expected in ((True, 0x9090_1234), (False, 0xFFFF_1234), (True, 0x9090_1234)):
            segment_cache.fill(state, CS, selector=8, base=0, limit=0xFFFF_FFFF, access=0x9B, big=big)
            state["gpr", EAX], state["eip"] = 0xFFFF_FFFF, 0x8000
            guest.cpu.flush()
            guest.run(max_insns=1000)
            assert state["gpr", EAX] == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_another_base_of_the_code_segment(library: Library, engine: EngineName) -> None:
    with machine(library, engine, LOOP) as guest:
        state = guest.cpu.state
        guest.ram.write(CODE + 0x1000, assemble("again: mov eax, 2\ninc ecx\njmp again", 32, CODE))
        for base, expected in ((0, 1), (0x1000, 2), (0, 1)):
            segment_cache.fill(state, CS, selector=8, base=base, limit=0xFFFF_FFFF, access=0x9B, big=True)
            state["eip"] = CODE
            guest.cpu.flush()
            guest.run(max_insns=TURNS)
            assert state["gpr", EAX] == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_paging_switched_on_and_off(library: Library, engine: EngineName) -> None:
    """CR0.PG and CR3 decide which bytes EIP means."""
    directory, table, other = 0x20_0000, 0x20_1000, 0x20_2000
    with machine(library, engine, LOOP) as guest:
        state, ram = guest.cpu.state, guest.ram
        entries = [page << 12 | 3 for page in range(1024)]
        entries[CODE >> 12] = other | 3
        ram.write(table, struct.pack("<1024I", *entries))
        ram.write(directory, struct.pack("<I", table | 3))
        ram.write(other, assemble("again: mov eax, 2\ninc ecx\njmp again", 32, CODE))
        for paging, expected in ((0, 1), (1, 2), (0, 1), (1, 2)):
            state["cr3"], state["cr0"], state["eip"] = directory, paging << 31 | 0x11, CODE
            guest.cpu.flush()
            guest.run(max_insns=TURNS)
            assert state["gpr", EAX] == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_general_registers_and_eip_need_nothing(library: Library, engine: EngineName) -> None:
    with machine(library, engine, "again: inc ecx\njmp again\nhlt\nadd ecx, esp\nhlt") as guest:
        guest.run(max_insns=1000)
        state = guest.cpu.state
        state["gpr", ECX], state["gpr", ESP], state["eip"] = 5, 6, CODE + 4
        assert guest.run(max_insns=1000).reason == "halted"
        assert state["gpr", ECX] == 11
