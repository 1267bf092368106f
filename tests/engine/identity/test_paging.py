"""Views of linear memory: what is walked to, what is forgotten, who may do what. As in the interpreter, bit by bit."""

from __future__ import annotations

import pytest

from bt.memory.host_mmu.layout import MOST_MAPPED, PAGED_VIEWS
from bt.x86.exits import ExitReason
from bt.x86.state import EAX, EBX
from guest_images.assembler import assemble
from tests.engines import TIER_2
from tests.smc.guest import (
    ALIAS,
    DIRECTORY,
    DONE,
    LOW_TABLE,
    MAP,
    MAPPED,
    OTHER_DIRECTORY,
    PROGRAM,
    TABLE,
    Mode,
    Paging,
    guest,
)
from tests.tables import PAGE_BYTES

SMALL, LARGE = Paging.SMALL, Paging.LARGE
TABLES = range(DIRECTORY, LOW_TABLE + PAGE_BYTES, PAGE_BYTES)
ENTRY = TABLE + 4 * ((MAPPED - ALIAS) >> 12)  # of MAPPED; the next page follows
BELOW, BEHIND = MAPPED - PAGE_BYTES, MAPPED + PAGE_BYTES
_FORGET_ALL = "mov edi, cr3\nmov cr3, edi"
_RELOAD_ALL = "mov edi, cr4\nxor edi, 0x80\nmov cr4, edi\nxor edi, 0x80\nmov cr4, edi"  # global pages too


def played(engine: str, mode: Mode, program: str, switch: str = "") -> dict[str, object]:
    """What the program leaves behind. It is run twice: the second time there are units."""
    cpu = guest(engine).start(mode, {PROGRAM: assemble(f"{program}\nint {DONE}", 32, PROGRAM)}, switch)
    ram, began = guest(engine).ram, cpu.instructions
    accesses = []
    while (leave := cpu.run(400_000)).reason is ExitReason.MMIO:
        accesses.append((cpu.instructions - began, leave.address, leave.size, leave.write, leave.value))
        cpu.complete(0xA5A5A5A5)
    assert leave.reason in (ExitReason.HLT, ExitReason.SHUTDOWN)  # the stack may be what is gone
    return {
        "reason": leave.reason,
        "eax": cpu.state["gpr", EAX],
        "ebx": cpu.state["gpr", EBX],
        "eip": cpu.state["eip"],
        "cr2": cpu.state["cr2"],
        "x87": cpu.state["fp_image", 0] & 0xFF_FFFF_FFFF,  # control and status word, tags
        "instructions": cpu.instructions - began,
        "accesses": accesses,
        "tables": [ram.read(at, PAGE_BYTES) for at in TABLES],
    }


def compared(mode: Mode, program: str, switch: str = "") -> dict[str, object]:
    """The same in both; units must have done it, and opened pages."""
    cpu = guest(TIER_2).cpu
    before = cpu.statistics()
    wanted = played("interp", mode, program, switch)
    for _ in range(2):
        assert played(TIER_2, mode, program, switch) == wanted
    after = cpu.statistics()
    assert after["unit_insns"] > before["unit_insns"]
    assert after["pages_opened"] > before["pages_opened"]
    return wanted


@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize("paging", [SMALL, LARGE])
def test_accessed_and_dirty_bits(paging: Paging, cpl: int) -> None:
    """Read, then written; written at once; read alone; a page that is only walked to by a read-modify-write."""
    clear = "\n".join(f"and dword ptr [{ENTRY + 4 * number}], 0xFFFFFF9F" for number in range(-1, 3))
    found = compared(
        Mode(paging, cpl),
        f"int {MAP}\nmov ecx, 200\nagain:\nmov eax, [{MAPPED}]\nmov [{BEHIND}], ecx\nadd ebx, [{BELOW}]\n"
        f"add dword ptr [{BEHIND + PAGE_BYTES}], 3\ncmp ecx, 100\nja over\nmov [{MAPPED + 8}], eax\nover:\n"
        "dec ecx\njnz again",
        f"{clear}\n{_RELOAD_ALL}",
    )
    tables = found["tables"]
    assert isinstance(tables, list)
    page = tables[(TABLE - DIRECTORY) // PAGE_BYTES]
    assert [page[ENTRY + 4 * number - TABLE] & 0x60 for number in range(-1, 3)] == [0x20, 0x60, 0x60, 0x60]


@pytest.mark.parametrize("forget", [f"invlpg [{MAPPED}]", _FORGET_ALL, _RELOAD_ALL])
@pytest.mark.parametrize("cpl", [0, 3])
def test_another_frame(cpl: int, forget: str) -> None:
    """Loops go on with what is there now, once the guest has had the translation forgotten."""
    switch = f"mov edi, [{ENTRY}]\nxor edi, 0x70000\nmov [{ENTRY}], edi\n{forget}"
    found = compared(
        Mode(SMALL, cpl),
        f"mov ecx, 60\nagain:\nmov [{MAPPED}], ecx\nadd ebx, [{MAPPED}]\ndec ecx\njnz again\n"
        f"mov edx, 1\nint {MAP}\nmov ecx, 60\nonce:\nadd ebx, [{MAPPED}]\nadd eax, [{MAPPED}]\nmov [{MAPPED}], ecx\n"
        "dec ecx\njnz once",
        switch,
    )
    assert found["eax"] == sum(range(2, 61))


def test_a_global_page_is_remembered() -> None:
    """The low pages are global: a load of CR3 does not make a processor forget them, INVLPG does."""
    entry = LOW_TABLE + 4 * 0x40
    change = f"mov edi, [{entry}]\nxor edi, 0x1000\nmov [{entry}], edi"
    read = "mov ecx, 100\n{0}:\nadd ebx, [0x40000]\ndec ecx\njnz {0}\n"
    found = compared(
        Mode(SMALL, 0),
        f"mov dword ptr [0x40000], 1\nmov dword ptr [0x41000], 1000\n{read.format('a')}{change}\n{_FORGET_ALL}\n"
        f"mov eax, ebx\n{read.format('b')}sub eax, ebx\ninvlpg [0x40000]\n{read.format('c')}",
    )
    assert found["eax"] == -100 & 0xFFFFFFFF
    assert found["ebx"] == 100 + 100 + 100_000


@pytest.mark.parametrize("cpl", [0, 3])
def test_two_address_spaces(cpl: int) -> None:
    switch = f"mov edi, {DIRECTORY}\ntest edx, edx\njz set\nmov edi, {OTHER_DIRECTORY}\nset:\nmov cr3, edi"
    compared(
        Mode(SMALL, cpl),
        f"mov esi, 40\nnext:\nmov edx, esi\nand edx, 1\nint {MAP}\nmov ecx, 80\nagain:\nadd [{MAPPED}], ecx\n"
        f"add ebx, [{MAPPED}]\nrol ebx, 3\ndec ecx\njnz again\ndec esi\njnz next",
        switch,
    )


@pytest.mark.parametrize(
    "change",
    ["xor edi, 0x70000", "and edi, 0xFFFFFFDF", "and edi, 0xFFFFFFBF", "xor edi, 2", "xor edi, 4", "xor edi, 1"],
)
@pytest.mark.parametrize("cpl", [0, 3])
def test_what_changed_while_another_space_was_loaded(cpl: int, change: str) -> None:
    """The frame, the accessed bit, the dirty bit, rights: nothing but a load of CR3 says that there may be others."""
    other = DIRECTORY ^ OTHER_DIRECTORY
    switch = f"mov edi, [{ENTRY}]\n{change}\nmov [{ENTRY}], edi\nmov edi, cr3\nxor edi, {other}\nmov cr3, edi"
    compared(
        Mode(SMALL, cpl),
        f"mov esi, 9\nnext:\nmov ecx, 80\nagain:\nadd [{MAPPED}], ecx\nadd ebx, [{MAPPED}]\nadd eax, [{BEHIND}]\n"
        f"dec ecx\njnz again\nint {MAP}\ndec esi\njnz next",
        switch,
    )


@pytest.mark.parametrize("bit", [0x20, 0x40])
def test_bits_stay_clear_until_the_page_is_used_again(bit: int) -> None:
    """One that is accessed in its first turn only: looking at its entry when CR3 is loaded sets no bit there."""
    clear = f"mov edi, [{ENTRY + 4}]\nand edi, {~bit & 0xFFFFFFFF}\nmov [{ENTRY + 4}], edi"
    switch = f"{clear}\nmov edi, cr3\nxor edi, {DIRECTORY ^ OTHER_DIRECTORY}\nmov cr3, edi"
    found = compared(
        Mode(SMALL, 3),
        f"mov ecx, 90\nagain:\nadd [{BEHIND}], ecx\ndec ecx\njnz again\nmov esi, 4\nnext:\nint {MAP}\nmov ecx, 90\n"
        f"once:\nadd ebx, [{MAPPED}]\ndec ecx\njnz once\ndec esi\njnz next",
        switch,
    )
    tables = found["tables"]
    assert isinstance(tables, list)
    entry = tables[(TABLE - DIRECTORY) // PAGE_BYTES][ENTRY + 4 - TABLE]
    assert entry & bit == 0


def test_more_address_spaces_than_views() -> None:
    """Seven by turns, whose directories are written anew each time."""
    switch = (
        f"push esi\npush ecx\nmov edi, edx\nshl edi, 12\nadd edi, 0x50000\npush edi\nmov esi, {DIRECTORY}\n"
        f"test edx, 1\njz copy\nmov esi, {OTHER_DIRECTORY}\ncopy:\nmov ecx, 1024\nrep movsd\npop edi\nmov cr3, edi\n"
        "pop ecx\npop esi"
    )
    compared(
        Mode(SMALL, 3),
        f"mov esi, 30\nxor edx, edx\nnext:\nmov ecx, 80\nagain:\nadd [{MAPPED}], ecx\nadd ebx, [{MAPPED}]\n"
        f"rol ebx, 1\ndec ecx\njnz again\ninc edx\ncmp edx, {PAGED_VIEWS + 2}\njb other\nxor edx, edx\nother:\n"
        f"int {MAP}\ndec esi\njnz next",
        switch,
    )


@pytest.mark.parametrize(("cpl", "bits"), [(3, 4), (3, 1), (0, 1), (3, 2), (0, 2)])
def test_rights_that_are_taken_away(cpl: int, bits: int) -> None:
    """USER, PRESENT, WRITABLE: the next access in the loop faults, at the same instruction."""
    switch = f"mov edi, [{ENTRY}]\nxor edi, {bits}\nmov [{ENTRY}], edi\ninvlpg [{MAPPED}]"
    compared(
        Mode(SMALL, cpl),
        f"mov esi, 2\nnext:\nmov ecx, 90\nagain:\nmov [{MAPPED}], ecx\ninc ebx\ndec ecx\njnz again\n"
        f"mov edx, 1\nint {MAP}\ndec esi\njnz next",
        switch,
    )


@pytest.mark.parametrize("access", ["xchg [{0}], eax", "xchg [{0}], ax", "add [{0}], eax", "cmpxchg8b [{0}]"])
def test_what_may_not_be_stored_to_is_not_accessed(access: str) -> None:
    """A unit exchanges by a load and a store: the load is one for writing, which fails before any bit is set."""
    found = compared(
        Mode(SMALL, 3),
        f"mov ecx, 200\nagain:\nmov [{BEHIND}], ecx\ndec ecx\njnz again\nint {MAP}\n{access.format(MAPPED + 8)}",
        f"and dword ptr [{ENTRY}], 0xFFFFFF9D\n{_RELOAD_ALL}",
    )
    tables = found["tables"]
    assert isinstance(tables, list)
    assert tables[(TABLE - DIRECTORY) // PAGE_BYTES][ENTRY - TABLE] & 0x60 == 0


def test_write_protection_of_supervisors() -> None:
    """CR0.WP decides whether a read-only page may be written at CPL 0."""
    compared(
        Mode(SMALL, 0),
        f"mov edi, [{ENTRY}]\nand edi, 0xFFFFFFFD\nmov [{ENTRY}], edi\ninvlpg [{MAPPED}]\n"
        "mov edi, cr0\nand edi, 0xFFFEFFFF\nmov cr0, edi\n"
        f"mov ecx, 90\nagain:\nmov [{MAPPED}], ecx\ninc ebx\ndec ecx\njnz again\n"
        "or edi, 0x10000\nmov cr0, edi\nmov ecx, 90\nonce:\n"
        f"add eax, [{MAPPED}]\ncmp ecx, 50\njnz over\nmov [{MAPPED}], eax\nover:\ninc ebx\ndec ecx\njnz once",
    )


@pytest.mark.parametrize("access", ["mov eax, [{0}]", "mov [{0}], eax", "add [{0}], eax", "mov esp, {0} + 4\npush eax"])
@pytest.mark.parametrize("gone", ["first", "second", "neither"])
def test_an_access_across_two_pages(access: str, gone: str) -> None:
    """The first page is walked to before the second: no bit of the second is set if the first is not there."""
    entry = {"first": ENTRY, "second": ENTRY + 4, "neither": ENTRY + 8}[gone]
    compared(
        Mode(SMALL, 0),
        f"mov ecx, 90\nagain:\nadd ebx, [{BELOW}]\ndec ecx\njnz again\nmov dword ptr [{entry}], 0\n"
        f"invlpg [{MAPPED}]\ninvlpg [{BEHIND}]\nmov ecx, 90\nonce:\n{access.format(BEHIND - 2)}\n"
        "inc ebx\ndec ecx\njnz once",
    )


def test_devices_behind_page_tables() -> None:
    """A page that leads to no memory: each access is the device's, though the page is mapped."""
    entry = 0x0700_0000 | 0x67
    compared(
        Mode(SMALL, 0),
        f"mov dword ptr [{ENTRY}], {entry}\ninvlpg [{MAPPED}]\nmov ecx, 20\nagain:\nmov [{MAPPED}], ecx\n"
        f"add eax, [{MAPPED + 0x20}]\nadd [{BEHIND}], eax\ndec ecx\njnz again",
    )


def test_paging_is_switched_off_and_on() -> None:
    """A loop over two pages of code, at addresses that mean the same either way; then one that does not."""
    toggle = "mov edi, cr0\nbtc edi, 31\nmov cr0, edi"
    pages = "\n".join(["nop"] * 4090)
    compared(
        Mode(SMALL, 0),
        f"mov esi, 4\nnext:\nmov ecx, 40\nagain:\nadd [0x40000], ecx\njmp far_away\n{pages}\nfar_away:\n"
        f"add ebx, [0x40000]\ndec ecx\njnz again\n{toggle}\ndec esi\njnz next\nmov eax, [{MAPPED}]",
    )


def test_more_pages_than_a_view_has_at_once() -> None:
    """16 MiB of addresses more than once; each of them leads to the same few pages."""
    for engine in ("interp", TIER_2):
        guest(engine).ram.clear()  # all of it is read, also what another test has left
    compared(
        Mode(SMALL, 0),
        f"mov ecx, 16\nmore:\nmov dword ptr [{DIRECTORY + 4 * 16} + ecx * 4], {TABLE | 7}\ndec ecx\njnz more\n"
        f"mov esi, 2\nnext:\nmov ecx, {17 << 22}\nagain:\nadd ebx, [ecx]\nadd ebx, [ecx + {MOST_MAPPED << 12}]\n"
        f"add ecx, 0x1000\ncmp ecx, {(17 << 22) + (MOST_MAPPED << 12)}\njb again\ndec esi\njnz next",
    )
