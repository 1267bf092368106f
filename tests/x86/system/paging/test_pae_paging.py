"""PAE paging and PSE-36 against a model written from SDM vol. 3A 4.4, 4.6 to 4.8; execute disable; global pages."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from functools import partial

import pytest

from bt.engine.library.library import Library
from bt.x86 import cpu_model
from bt.x86.context import GP, PF
from bt.x86.exits import ExitReason
from bt.x86.services import (
    WALK_FETCH,
    WALK_USER,
    WALK_WRITE,
    WALKED_GLOBAL,
    WALKED_LARGE,
    WALKED_NO_EXECUTE,
    WALKED_WRITABLE,
)
from bt.x86.state import CS
from guest_images.assembler import assemble
from tests.engines import factories
from tests.x86.system.processor import CR0_PE, CR0_PG, CR0_WP, DIRECTORY, TABLE, Processor, Trouble

P, W, U, A, D, PS, G, NX = 1, 2, 4, 32, 64, 128, 256, 1 << 63
LARGE_RESERVED, HIGH_RESERVED, TOP_RESERVED = 1 << 13, 1 << 36, 1 << 62
CR4_PSE, CR4_PAE, CR4_PGE = 1 << 4, 1 << 5, 1 << 7
EFER_NXE = 1 << 11
POINTERS = 0x6000
LINEAR = 0x40A0_3456  # pointer 1, directory entry 5, table entry 3
PAGE, LARGE_PAGE = 0xC_0000_7000, 0xA_0020_0000  # beyond 4 GiB


@dataclass(frozen=True)
class Walk:
    """One walk: directory and table entry, the access, the control bits."""

    pde: int
    pte: int
    access: int
    wp: bool
    nxe: bool

    def expected(self) -> tuple[int | None, int, int, int]:
        """(error code, physical address, directory entry afterwards, table entry afterwards)."""
        write, user, fetch = (bool(self.access & bit) for bit in (WALK_WRITE, WALK_USER, WALK_FETCH))
        error = (2 if write else 0) | (4 if user else 0) | (16 if fetch and self.nxe else 0)
        dirty = D if write else 0
        untouched = (0, self.pde, self.pte)
        if not self.pde & P:
            return error, *untouched
        large = bool(self.pde & PS)
        if self.pde & self._reserved(large):
            return error | 9, *untouched
        if large:
            rights, no_execute = self.pde, self.pde & NX
        else:
            if not self.pte & P:
                return error, *untouched
            if self.pte & self._reserved(False):
                return error | 9, *untouched
            rights, no_execute = self.pde & self.pte, (self.pde | self.pte) & NX
        may_write = rights & W or (not user and not self.wp)
        if (user and not rights & U) or (write and not may_write) or (fetch and no_execute):
            return error | 1, *untouched
        if large:
            return None, LARGE_PAGE | LINEAR & 0x1FFFFF, self.pde | A | dirty, self.pte
        return None, PAGE | LINEAR & 0xFFF, self.pde | A, self.pte | A | dirty

    def _reserved(self, large: bool) -> int:
        return HIGH_RESERVED | TOP_RESERVED | (0 if self.nxe else NX) | (LARGE_RESERVED if large else 0)

    def expected_flags(self) -> int:
        write, user = self.access & WALK_WRITE, self.access & WALK_USER
        leaf, rights = (self.pde, self.pde) if self.pde & PS else (self.pte, self.pde & self.pte)
        no_execute = (self.pde | (0 if self.pde & PS else self.pte)) & NX
        may_write = rights & W or (not user and not self.wp)
        found = WALKED_WRITABLE if may_write and (write or leaf & D) else 0
        found |= WALKED_LARGE if self.pde & PS else 0
        return found | (WALKED_GLOBAL if leaf & G else 0) | (WALKED_NO_EXECUTE if no_execute else 0)


def _entries() -> list[tuple[int, int]]:
    odd = (0, NX, LARGE_RESERVED, HIGH_RESERVED, TOP_RESERVED)
    directory = [sum(bits) for bits in itertools.product((0, P), (0, W), (0, U), (0, PS), odd)]
    table = [sum(bits) for bits in itertools.product((0, P), (0, W), (0, U), (0, D), (0, G), (0, NX, HIGH_RESERVED))]
    pairs = [(bits | (LARGE_PAGE if bits & PS else TABLE), PAGE | entry) for bits in directory for entry in table]
    return [(pde & ~LARGE_RESERVED if not pde & PS else pde, pte) for pde, pte in pairs]


def prepare(processor: Processor, *, nxe: bool = True, wp: bool = False) -> None:
    cpu = processor.cpu
    processor.ram.write(POINTERS, struct.pack("<4Q", 0, DIRECTORY | P, 0, 0))
    cpu["cr0"] = CR0_PE | CR0_PG | (CR0_WP if wp else 0)
    cpu["cr4"], cpu["efer"] = CR4_PAE | CR4_PGE, EFER_NXE if nxe else 0
    assert processor.call("load_page_directory_base", POINTERS) is None
    processor.vcpu.flush()


@pytest.mark.parametrize("nxe", [False, True])
@pytest.mark.parametrize("wp", [False, True])
def test_every_combination_of_entries(processor: Processor, nxe: bool, wp: bool) -> None:
    prepare(processor, nxe=nxe, wp=wp)
    pde_at, pte_at = DIRECTORY + 8 * 5, TABLE + 8 * 3
    accesses = [user | kind for user in (0, WALK_USER) for kind in (0, WALK_WRITE, WALK_FETCH)]
    for pde, pte in _entries():
        for access in accesses:
            walk = Walk(pde, pte, access, wp, nxe)
            processor.ram.write(pde_at, struct.pack("<Q", pde))
            processor.ram.write(pte_at, struct.pack("<Q", pte))
            error, physical, pde_after, pte_after = walk.expected()
            trouble = processor.call("page_walk", LINEAR, access)
            if error is None:
                assert trouble is None, walk
                assert processor.cpu["memory_value"] == physical, walk
                assert processor.cpu["walk_flags"] == walk.expected_flags(), walk
            else:
                assert trouble == Trouble(PF, error), walk
                assert processor.cpu["cr2"] == LINEAR
            found = (
                *struct.unpack("<Q", processor.ram.read(pde_at, 8)),
                *struct.unpack("<Q", processor.ram.read(pte_at, 8)),
            )
            assert found == (pde_after, pte_after), walk


def test_pointer_table_is_read_when_cr3_is_loaded(processor: Processor) -> None:
    prepare(processor)
    processor.ram.write(POINTERS, bytes(32))
    processor.ram.write(DIRECTORY + 8 * 5, struct.pack("<Q", LARGE_PAGE | PS | P))
    assert processor.call("page_walk", LINEAR, 0) is None, "the register still has it"
    assert processor.call("page_walk", 0x8000_0000, 0) == Trouble(PF, 0)
    assert processor.call("load_page_directory_base", POINTERS) is None
    assert processor.call("page_walk", LINEAR, 0) == Trouble(PF, 0)


@pytest.mark.parametrize("bad", [2, 4, 0x20, 0x100, 1 << 36, NX])
def test_reserved_bits_of_pointers(processor: Processor, bad: int) -> None:
    prepare(processor)
    processor.ram.write(POINTERS + 16, struct.pack("<Q", bad))
    assert processor.call("load_page_directory_base", POINTERS) is None, "not present"
    processor.ram.write(POINTERS + 16, struct.pack("<Q", bad | P))
    for arguments in ((3, POINTERS), (0, CR0_PE | CR0_PG | 1 << 30), (4, CR4_PAE)):
        assert processor.call("write_control_register", *arguments) == Trouble(GP, 0)
    assert processor.cpu["cr4"] == CR4_PAE | CR4_PGE
    assert processor.call("write_control_register", 4, 0) is None, "without PAE nobody looks"


A20_SHUT = (1 << 64) - 1 & ~(1 << 20)


def test_a20_masks_every_physical_address(processor: Processor) -> None:
    """With the gate closed what is at 1 MiB + x is what is at x: pointers, directory, table and page."""
    prepare(processor)
    cpu, high = processor.cpu, 1 << 20
    processor.ram.write(POINTERS + 8, struct.pack("<Q", high | DIRECTORY | P))
    processor.ram.write(DIRECTORY + 8 * 5, struct.pack("<Q", high | TABLE | P))
    processor.ram.write(TABLE + 8 * 3, struct.pack("<Q", high | 0x7000 | P))
    cpu["a20_mask"] = A20_SHUT
    try:
        assert processor.call("load_page_directory_base", high | POINTERS) is None
        assert processor.call("page_walk", LINEAR, 0) is None
        assert cpu["memory_value"] == 0x7456
        processor.ram.write(DIRECTORY + 8 * 5, struct.pack("<Q", PS | P))
        assert processor.call("page_walk", high | LINEAR, 0) is None
        assert cpu["memory_value"] == 0x3456
    finally:
        cpu["a20_mask"] = (1 << 64) - 1


def test_pse_36_reaches_beyond_4_gib(processor: Processor) -> None:
    cpu = processor.cpu
    cpu["cr0"], cpu["cr4"], cpu["cr3"] = CR0_PE | CR0_PG, CR4_PSE, DIRECTORY
    processor.ram.write(DIRECTORY + 4 * (LINEAR >> 22), struct.pack("<I", 0x1240_0000 | 0xB << 13 | PS | P))
    assert processor.call("page_walk", LINEAR, 0) is None
    assert cpu["memory_value"] == 0xB_1240_0000 | LINEAR & 0x3F_FFFF
    cpu["features"] &= ~(1 << 17)
    assert processor.call("page_walk", LINEAR, 0) == Trouble(PF, 9)
    processor.vcpu.model.install(cpu)


def map_low_memory(processor: Processor, special: int, bits: int) -> None:
    """Identity mapping of the first 2 MiB; the page at `special` gets extra bits."""
    processor.ram.write(POINTERS, struct.pack("<4Q", DIRECTORY | P, 0, 0, 0))
    processor.ram.write(DIRECTORY, struct.pack("<Q", TABLE | P | W | U))
    entries = (page << 12 | P | W | U | (bits if page == special >> 12 else 0) for page in range(256))
    processor.ram.write(TABLE, struct.pack("<256Q", *entries))
    cpu = processor.cpu
    cpu["cr0"], cpu["cr4"], cpu["efer"] = CR0_PE | CR0_PG, CR4_PAE | CR4_PGE, EFER_NXE
    assert processor.call("load_page_directory_base", POINTERS) is None
    processor.vcpu.flush()
    cpu["trap_vectors"] = (1 << 32) - 1


CODE, TARGET = 0x10000, 0x12000
LOAD_THEN_JUMP = bytes.fromhex("a100200100") + b"\xe9" + struct.pack("<i", TARGET - CODE - 10)


@pytest.mark.parametrize("nxe", [False, True])
def test_a_page_that_was_read_cannot_be_executed(engine: Processor, nxe: bool) -> None:
    """The TLB knows the page from the load; the fetch is refused nevertheless."""
    map_low_memory(engine, TARGET, NX if nxe else 0)
    engine.ram.write(CODE, LOAD_THEN_JUMP)
    engine.ram.write(TARGET, b"\xf4")
    engine.cpu["eip"] = CODE
    leave = engine.vcpu.run(100)
    if nxe:
        assert (leave.reason, leave.address, leave.value) == (ExitReason.EXCEPTION, PF, 0x11)
        assert (engine.cpu["cr2"], engine.cpu["eip"]) == (TARGET, TARGET)
    else:
        assert leave.reason is ExitReason.HLT


def test_xd_bit_disable_makes_the_bit_of_entries_reserved(library: Library) -> None:
    """At once: the page is in the TLB when bit 34 of IA32_MISC_ENABLE takes EFER.NXE away."""
    for make in factories(unpaged=False).values():
        processor = Processor(library, partial(make, model=cpu_model.parse("pentium4,+nx")))
        map_low_memory(processor, TARGET, NX)
        read = "mov ebx, [0x12000]\n"
        disable = "mov ecx, 0x1a0\nrdmsr\nor edx, 4\nwrmsr\n"
        processor.ram.write(CODE, assemble(read + disable + read, 32, CODE))
        processor.cpu["eip"] = CODE
        leave = processor.vcpu.run(100)
        assert (leave.reason, leave.address, leave.value) == (ExitReason.EXCEPTION, PF, 9), "present, reserved bit"
        assert processor.cpu["eip"] == CODE + len(assemble(read + disable, 32, CODE))
        processor.close()


def test_an_instruction_that_reaches_into_a_page_without_execution(engine: Processor) -> None:
    map_low_memory(engine, TARGET, NX)
    engine.ram.write(TARGET - 2, bytes.fromhex("b801000000f4"))
    engine.cpu["eip"] = TARGET - 2
    leave = engine.vcpu.run(100)
    assert (leave.reason, leave.address, leave.value) == (ExitReason.EXCEPTION, PF, 0x11)
    assert (engine.cpu["cr2"], engine.cpu["eip"]) == (TARGET, TARGET - 2)


@pytest.mark.parametrize("beyond", [0, 1, 5])
def test_the_limit_of_cs_comes_before_the_page_behind_it(engine: Processor, beyond: int) -> None:
    """An instruction that crosses into a page that is not there: #GP(0), unless CS reaches into that page."""
    map_low_memory(engine, TARGET, 0)
    engine.ram.write(TABLE + 8 * (TARGET >> 12), bytes(8))
    engine.ram.write(TARGET - 2, bytes.fromhex("b801000000f4"))
    engine.cpu["eip"] = TARGET - 2
    engine.cpu.set_segment(CS, "limit", TARGET - 1 + beyond)
    leave = engine.vcpu.run(100)
    assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, PF if beyond else GP)


READ_RELOAD_READ = bytes.fromhex("a100200100 0f20d9 0f22d9 8b1500200100 f4")


@pytest.mark.parametrize("bits", [0, G])
def test_global_pages_outlive_a_load_of_cr3(engine: Processor, bits: int) -> None:
    """EAX: read before, EDX: after the page was mapped elsewhere and CR3 loaded."""
    map_low_memory(engine, TARGET, bits)
    engine.ram.write(TARGET, struct.pack("<I", 0x1111))
    engine.ram.write(TARGET + 0x1000, struct.pack("<I", 0x2222))
    engine.ram.write(CODE, READ_RELOAD_READ)
    engine.cpu["eip"] = CODE
    engine.vcpu.run(1)
    entry = TARGET + 0x1000 | P | W | U | bits
    engine.ram.write(TABLE + 8 * (TARGET >> 12), struct.pack("<Q", entry))
    assert engine.vcpu.run(100).reason is ExitReason.HLT
    assert (engine.cpu["gpr", 0], engine.cpu["gpr", 2]) == (0x1111, 0x1111 if bits else 0x2222)
    engine.cpu["eip"] = CODE
    assert engine.call("invalidate_page", TARGET) is None
    assert engine.vcpu.run(100).reason is ExitReason.HLT
    assert engine.cpu["gpr", 0] == 0x2222


# SDM vol. 3A 4.10.4.1: register, bits to change and to change back; do global pages go too?
FORGETTING = [
    (4, CR4_PGE, True),
    (4, CR4_PAE, True),
    (4, CR4_PSE, True),
    (0, 1 << 31, True),  # PG
    (3, 0, False),
]
READ_AND_HALT = bytes.fromhex("a100200100 f4")


@pytest.mark.parametrize("bits", [0, G])
@pytest.mark.parametrize(("register", "change", "all_pages"), FORGETTING)
def test_writes_of_control_registers_forget_translations(
    engine: Processor, register: int, change: int, all_pages: bool, bits: int
) -> None:
    map_low_memory(engine, TARGET, bits)
    engine.ram.write(TARGET, struct.pack("<I", 0x1111))
    engine.ram.write(TARGET + 0x1000, struct.pack("<I", 0x2222))
    engine.ram.write(CODE, READ_AND_HALT)
    for expected in (0x1111, 0x1111 if bits and not all_pages else 0x2222):
        engine.cpu["eip"] = CODE
        assert engine.vcpu.run(100).reason is ExitReason.HLT
        assert engine.cpu["gpr", 0] == expected
        entry = TARGET + 0x1000 | P | W | U | bits
        engine.ram.write(TABLE + 8 * (TARGET >> 12), struct.pack("<Q", entry))
        value = engine.cpu[f"cr{register}"]
        for written in (value ^ change, value):
            assert engine.call("write_control_register", register, written) is None


def test_write_protection_counts_at_once(engine: Processor) -> None:
    """CR0.WP set after a supervisor wrote to a read-only page."""
    map_low_memory(engine, TARGET, 0)
    engine.ram.write(TABLE + 8 * (TARGET >> 12), struct.pack("<Q", TARGET | P | U))
    engine.ram.write(CODE, bytes.fromhex("a300200100 f4"))
    engine.cpu["eip"] = CODE
    assert engine.vcpu.run(100).reason is ExitReason.HLT
    assert engine.call("write_control_register", 0, CR0_PE | CR0_PG | CR0_WP) is None
    engine.cpu["eip"] = CODE
    leave = engine.vcpu.run(100)
    assert (leave.reason, leave.address, leave.value) == (ExitReason.EXCEPTION, PF, 3)
