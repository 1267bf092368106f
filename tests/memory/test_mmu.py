"""What Python asks of a vCPU's memory back-end: whose translations are forgotten, seen by page tables that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bt.engine.library.library import load_library
from bt.engine.vcpu import own_vcpu
from bt.machine import EngineName, Machine, MachineConfig
from bt.memory.mmu import Mmu
from bt.memory.soft_mmu import layout
from bt.x86.state import EAX, EBX, ECX, POINTER_BIAS, TLB_BYTES, offset
from guest_images.assembler import assemble
from tests import tables

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
DIRECTORY, TABLE, PROGRAM = 0x4000, 0x5000, 0x8000
OLD, NEW = 0x3_0000, 0x4_0000  # three pages each: the new ones take the place of the old ones
PAGES = (OLD, OLD + 0x1000, OLD + 0x2000)
GLOBAL = PAGES[2]


@pytest.fixture(params=ENGINES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Paging is on and the pages have been read, so that their translations are known."""
    made = Machine(MachineConfig(memory=4 << 20, engine=request.param), library=load_library())
    made.load(b"\xf4", flat=PROGRAM)
    made.ram.write(DIRECTORY, tables.page_table({0: TABLE | tables.WRITABLE}))
    made.ram.write(TABLE, tables.page_table({number: number << 12 | tables.WRITABLE for number in range(1024)}))
    for page in PAGES:
        made.ram.write(page, b"old.")
        made.ram.write(page - OLD + NEW, b"new.")
    point(made, OLD)
    start = f"mov eax, {DIRECTORY}\nmov cr3, eax\nmov eax, 0x80\nmov cr4, eax\nmov eax, cr0\nbts eax, 31\nmov cr0, eax"
    read = "\n".join(f"mov {to}, [{page}]" for to, page in zip(("eax", "ebx", "ecx"), PAGES, strict=True))
    made.ram.write(PROGRAM, assemble(f"{start}\nagain:\n{read}\nhlt\njmp again", 32, PROGRAM))
    made.cpu.state["eip"] = PROGRAM
    assert seen(made) == ["old"] * 3
    point(made, NEW)
    yield made
    made.close()


def point(machine: Machine, frames: int) -> None:
    for page in PAGES:
        entry = page - OLD + frames | tables.PRESENT | tables.WRITABLE | (tables.GLOBAL if page == GLOBAL else 0)
        machine.ram.write(TABLE + 4 * (page >> 12), entry.to_bytes(4, "little"))


def seen(machine: Machine) -> list[str]:
    """What the guest reads from each page."""
    assert machine.run(max_insns=100).reason == "halted"
    return [machine.cpu.state["gpr", number].to_bytes(4, "little")[:3].decode() for number in (EAX, EBX, ECX)]


@pytest.mark.parametrize(
    ("forget", "expected"),
    [
        (lambda mmu: None, ["old", "old", "old"]),
        (lambda mmu: mmu.invalidate_page(PAGES[1] + 5), ["old", "new", "old"]),
        (lambda mmu: mmu.invalidate_page(GLOBAL), ["old", "old", "new"]),
        (lambda mmu: mmu.invalidate_range(PAGES[0] + 0xFFF, 2), ["new", "new", "old"]),
        (lambda mmu: mmu.invalidate_range(0, 1 << 32), ["new", "new", "new"]),
        (lambda mmu: mmu.invalidate_user(), ["new", "new", "old"]),
        (lambda mmu: mmu.invalidate_all(), ["new", "new", "new"]),
    ],
    ids=["nothing", "a page", "a global page", "a range", "a large range", "the user's", "all"],
)
def test_what_is_forgotten(machine: Machine, forget: Callable[[Mmu], None], expected: list[str]) -> None:
    forget(own_vcpu(machine.cpu).mmu)
    assert seen(machine) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_tlb_is_zeros_and_knows_no_page(engine: EngineName) -> None:
    """Zeros are memory that the host has not given yet; the page at zero, too, is looked up at its first access."""
    with Machine(MachineConfig(memory=4 << 20, engine=engine), library=load_library()) as made:
        made.load(assemble("mov eax, [0]\nmov ebx, [0xffc]\nmov [4], eax\nhlt", 32, PROGRAM), flat=PROGRAM)
        view, at = made.cpu.state.view, POINTER_BIAS + offset(layout.SUPERVISOR)
        assert not any(view[at : at + 3 * TLB_BYTES])
        made.ram.write(0, b"old.")
        made.ram.write(0xFFC, b"new.")
        assert made.run(max_insns=10).reason == "halted"
        assert made.ram.read(4, 4) == b"old."
        assert made.cpu.state["gpr", EBX] == int.from_bytes(b"new.", "little")
        tags = view[at : at + layout.TLB_ENTRIES * layout.TLB_ENTRY_BYTES].cast("Q")[:: layout.TLB_ENTRY_BYTES // 8]
        assert 0xFFF in tags.tolist()
