"""The dirty log: whoever writes to RAM, is noticed; and RAM comes back from the pages noticed alone."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from bt.engine.library.library import Library, load_library
from bt.engine.vcpu import Vcpu
from bt.memory.dirty_log import DirtyLog, Marks, runs
from bt.memory.map import PhysicalMap
from bt.memory.ram import PAGE_SIZE, GuestRam
from bt.memory.ram_copy import RamCopy
from bt.x86 import reset
from bt.x86.exits import ExitReason
from bt.x86.state import ESP
from guest_images.assembler import assemble
from tests import tables
from tests.engines import factories

MEMORY = 1 << 20
GDT, DIRECTORY, TABLE, CODE, STACK, TSS = 0x1000, 0x2000, 0x3000, 0x8000, 0x10000, 0x11000
DATA = 0x20000  # what the writers write to: a page each, with one between that stays clean
TASK = 0x18

# What a guest can write with, EDI on the page that is to be marked.
WRITERS = {
    "store": "mov [edi], eax",
    "byte": "mov byte ptr [edi + 4095], 1",
    "read before": "mov eax, [edi]\nmov [edi], edi",
    "update": "inc dword ptr [edi]",
    "exchange": "lock xadd [edi], ebx\nxchg [edi + 8], ecx",
    "string": "mov ecx, 100\nrep stosd",
    "string backwards": "add edi, 400\nstd\nmov ecx, 3\nrep movsb\ncld",
    "push": "lea esp, [edi + 64]\npushad",
    "call": "lea esp, [edi + 64]\ncall next\nnext: mov esp, 0x10000",
    "x87": "fld1\nfstp qword ptr [edi]",
    "sse": "xorps xmm0, xmm0\ncmpeqps xmm0, xmm0\nmovaps [edi], xmm0\nmovaps [edi + 16], xmm0",
    "sse across pages": "movups [edi - 8], xmm0\nmovups [edi + 4090], xmm0",
    "fxsave": "fxsave [edi]",
    "environment": "fnstenv [edi]",
    "code": "mov byte ptr [edi], 0xc3\ncall edi\nmov dword ptr [edi], 0xc3909090\ncall edi",
    "store of a segment register": "mov [edi], ds",
    "store of a table": "sgdt [edi]",
}


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    with closing(load_library()) as made:
        yield made


@pytest.fixture(params=["interp", "bt"])
def cpu(request: pytest.FixtureRequest, library: Library) -> Iterator[Vcpu]:
    """Flat protected mode; linear addresses are physical ones, without paging."""
    with GuestRam(MEMORY) as ram, closing(factories()[request.param](library, PhysicalMap(ram))) as made:
        gdt = {
            0x08: tables.descriptor(tables.CODE),
            0x10: tables.descriptor(tables.DATA & ~1),  # not accessed yet
            TASK: tables.descriptor(tables.TSS & ~2, base=TSS, limit=103, flags=0),
        }
        ram.write(GDT, tables.descriptor_table(gdt))
        reset.power_on(made.state)
        tables.flat_segments(made.state, 0x08, 0x10)
        state = made.state
        state["gdtr_base"], state["gdtr_limit"] = GDT, 0x1F
        state["cr0"], state["cr4"] = 0x11, 0x600
        made.flush()
        yield made


def run(cpu: Vcpu, program: str) -> None:
    cpu.ram.write(CODE, assemble(f"{program}\nhlt", 32, CODE))
    reset.initialize_fp(cpu.state, 0x37F, tags=0)
    cpu.state["eip"], cpu.state["gpr", ESP] = CODE, STACK
    assert cpu.run(100_000).reason is ExitReason.HLT


def marked(ram: GuestRam, copy: RamCopy) -> set[int]:
    marks = ram.keep_log().since(copy)
    assert marks is not None
    return {page for first, end in runs(marks) for page in range(first, end)}


def changed(ram: GuestRam, before: bytes) -> set[int]:
    pages = range(ram.size // PAGE_SIZE)
    return {n for n in pages if ram.read(n * PAGE_SIZE, PAGE_SIZE) != before[n * PAGE_SIZE : (n + 1) * PAGE_SIZE]}


def begin(cpu: Vcpu) -> tuple[RamCopy, bytes]:
    copy = RamCopy(cpu)
    return copy, bytes(cpu.ram.view)


@pytest.mark.parametrize("writer", WRITERS)
def test_each_way_of_writing_is_noticed(cpu: Vcpu, writer: str) -> None:
    """With write tags in the TLB from before the log began, and code of that page decoded."""
    program = f"mov edi, {DATA}\nmov esi, {DATA + 0x4000}\nmov ebp, 7\n{WRITERS[writer]}"
    run(cpu, program)
    cpu.ram.write(DATA - PAGE_SIZE, b"\xaa" * 3 * PAGE_SIZE)
    copy, before = begin(cpu)
    run(cpu, program)
    written = changed(cpu.ram, before)
    assert DATA // PAGE_SIZE in written
    assert written <= marked(cpu.ram, copy) <= written | {CODE // PAGE_SIZE, STACK // PAGE_SIZE - 1, STACK // PAGE_SIZE}
    copy.put_back(cpu)
    assert cpu.ram.view == before


def test_what_the_processor_writes_by_itself_is_noticed(cpu: Vcpu) -> None:
    """Accessed and dirty bits of pages, the accessed bit of a segment, the busy bit of a task."""
    pages = {number: number << 12 | tables.WRITABLE for number in range(256)}
    for at, entries in ((TABLE, pages), (DIRECTORY, {0: TABLE | tables.WRITABLE})):
        cpu.ram.write(at, b"".join((entry | tables.PRESENT).to_bytes(4, "little") for entry in entries.values()))
    copy, before = begin(cpu)
    run(
        cpu,
        f"mov ax, 0x10\nmov fs, ax\nmov ax, {TASK}\nltr ax\n"
        f"mov eax, {DIRECTORY}\nmov cr3, eax\nmov eax, 0x80000011\nmov cr0, eax\nmov eax, [{DATA}]",
    )
    written = changed(cpu.ram, before)
    assert {page // PAGE_SIZE for page in (GDT, DIRECTORY, TABLE)} < written <= marked(cpu.ram, copy)


def test_what_was_only_read_is_clean(cpu: Vcpu) -> None:
    copy, _ = begin(cpu)
    run(cpu, f"mov esi, {DATA}\nmov ecx, 2000\nrep lodsd")
    assert marked(cpu.ram, copy) == {CODE // PAGE_SIZE}  # which Python wrote


def test_a_page_is_noticed_again_after_it_came_back(cpu: Vcpu) -> None:
    copy, before = begin(cpu)
    for _ in range(3):
        run(cpu, f"mov dword ptr [{DATA}], 1\nmov dword ptr [{DATA}], 2")
        assert DATA // PAGE_SIZE in marked(cpu.ram, copy)
        copy.put_back(cpu)
        assert cpu.ram.view == before
        assert not marked(cpu.ram, copy)


def test_code_that_came_back_is_decoded_anew(cpu: Vcpu) -> None:
    cpu.ram.write(DATA, assemble("inc ebx\nret", 32, DATA))
    copy, _ = begin(cpu)
    call = f"xor ebx, ebx\nmov eax, {DATA}\ncall eax"
    run(cpu, f"{call}\nmov byte ptr [{DATA}], 0x4b\ncall eax\ncall eax")  # dec ebx
    assert cpu.state["gpr", 3] == 0xFFFF_FFFF
    copy.put_back(cpu)
    run(cpu, call)
    assert cpu.state["gpr", 3] == 1


@dataclass(frozen=True)
class Writer:
    """A processor that runs nothing."""

    ram: GuestRam

    def copy_pages(self, source: int, marks: Marks) -> None:
        for first, end in runs(marks):
            at, size = first * PAGE_SIZE, (end - first) * PAGE_SIZE
            ctypes.memmove(self.ram.address + at, source + at, size)

    def forget_translations(self) -> None:
        pass


def test_what_python_writes_is_noticed() -> None:
    with GuestRam(MEMORY) as ram:
        copy = RamCopy(Writer(ram))
        ram.write(PAGE_SIZE - 1, b"ab")
        ram.changed(8 * PAGE_SIZE, 1)
        ram.write(9 * PAGE_SIZE, b"")
        assert marked(ram, copy) == {0, 1, 8}


def test_several_copies_know_what_differs_from_each() -> None:
    with GuestRam(MEMORY) as ram:
        contents, copies = [], []
        for number in range(4):
            ram.write(number * PAGE_SIZE, bytes([number + 1]) * PAGE_SIZE)
            contents.append(bytes(ram.view))
            copies.append(RamCopy(Writer(ram)))
        for number in (3, 0, 2, 2, 1, 3, 0):
            ram.write((5 + number) * PAGE_SIZE, b"new")
            copies[number].put_back(Writer(ram))
            assert ram.view == contents[number]
            assert not marked(ram, copies[number])


def test_a_copy_goes_into_another_ram_as_a_whole() -> None:
    with GuestRam(MEMORY) as ram, GuestRam(MEMORY) as other:
        ram.write(5 * PAGE_SIZE, b"kept")
        other.write(7 * PAGE_SIZE, b"lost")
        copy = RamCopy(Writer(ram))
        copy.put_back(Writer(other))
        assert other.view == ram.view
        other.write(3 * PAGE_SIZE, b"lost")
        assert marked(other, copy) == {3}


class Moment:
    """Stands for a copy."""


def test_a_copy_that_is_gone_is_forgotten() -> None:
    log = DirtyLog(4)
    copy = Moment()
    log.same_as(copy)
    assert log.since(copy) == bytes(4)
    del copy
    assert log.since(Moment()) is None
    log.close()
