"""Guests on a map that is not just RAM from zero: ROM, memory above 4 GiB, windows, pages that change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bt.devices.device import Device
from bt.engine.library.library import load_library
from bt.machine import EngineName, Machine, MachineConfig, Result
from bt.memory.map import Use
from bt.memory.map_layout import HIGH_RAM
from bt.memory.ram import GuestRam
from bt.x86.state import EAX, EBX, ECX, EDX
from guest_images.assembler import assemble

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
MIB = 1 << 20
PROGRAM, ROM_AT, ROM_BYTES = 0x2_0000, 0xF_0000, 0x1_0000
HIGH_ROM_AT = (1 << 32) - ROM_BYTES
WINDOW_AT, WINDOW_BYTES = 0xE000_0000, 64 << 12
PORT = 0x300
OTHER_WAY = f"mov dx, {PORT}\nout dx, al\n"


class Switch(Device):
    """Calls a function with each byte written to it."""

    def __init__(self, switch: Callable[[int], None]) -> None:
        super().__init__("switch")
        self._switch = switch

    def write(self, offset: int, size: int, value: int) -> None:
        self._switch(value)


class Guest:
    """A machine with a block of memory beside RAM, and a port that does what the test says."""

    def __init__(self, engine: EngineName, memory: int = 8 * MIB) -> None:
        self.machine = Machine(MachineConfig(memory=memory, engine=engine), library=load_library())
        self.machine.load(b"\xf4", flat=PROGRAM)
        self.memory = self.machine.memory
        self.block = GuestRam(ROM_BYTES)
        self.switch: Callable[[int], None] = lambda value: None
        self.machine.ports.attach(Switch(lambda value: self.switch(value)), PORT, 1)

    def put(self, source: str, at: int) -> None:
        self.memory.write(at, assemble(source, 32, at))

    def run(self, program: str, limit: int = 1_000_000) -> Result:
        """Run the program to its HLT, which is put behind it."""
        self.put(f"{program}\ncli\nhlt", PROGRAM)
        self.machine.cpu.state["eip"] = PROGRAM
        result = self.machine.run(max_insns=limit)
        assert result.reason == "halted", result
        return result

    def registers(self, *numbers: int) -> list[int]:
        return [self.machine.cpu.state["gpr", number] for number in numbers]

    def rom(self, source: str = "", at: int = ROM_AT) -> None:
        """The block as ROM, with code at its beginning."""
        self.block.write(0, assemble(f"{source}\nret", 32, at))
        self.memory.remap(at, ROM_BYTES, Use.ROM, self.block)

    def ram_again(self) -> None:
        self.memory.remap(ROM_AT, ROM_BYTES, Use.RAM, self.machine.ram, ROM_AT)

    def close(self) -> None:
        self.machine.close()
        self.block.close()


@pytest.fixture(params=ENGINES)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    made = Guest(request.param)
    yield made
    made.close()


def calls(place: int, times: int = 1) -> str:
    return f"mov esi, {times}\nagain{place}_{times}:\nmov edi, {place}\ncall edi\ndec esi\njnz again{place}_{times}\n"


@pytest.mark.parametrize("at", [ROM_AT, HIGH_ROM_AT])
def test_code_in_rom_runs_and_is_translated(guest: Guest, at: int) -> None:
    guest.rom("add eax, 3\nadd ecx, [edi + 1]", at)
    before = guest.machine.cpu.statistics().get("services", 0)
    guest.run(f"xor eax, eax\nxor ecx, ecx\n{calls(at, 1000)}")
    constant = int.from_bytes(guest.block.read(1, 4), "little")
    assert guest.registers(EAX, ECX) == [3000, constant * 1000 & 0xFFFF_FFFF]
    if guest.machine.config.engine == "bt":
        assert guest.machine.cpu.statistics()["services"] - before < 20  # interpreted by instructions
        assert guest.machine.cpu.statistics()["interpreted_runs"] < 20


STORES = {
    "mov": "mov dword ptr [ebx], 0x11223344",
    "byte": "mov byte ptr [ebx], 7",
    "update": "inc dword ptr [ebx]",
    "exchange": "mov eax, 5\nxchg [ebx], eax",
    "locked": "lock or dword ptr [ebx], 0x70",
    "string": "mov edi, ebx\nmov ecx, 64\nmov eax, 9\nrep stosd",
    "push": "mov ebp, esp\nlea esp, [ebx + 8]\npush 7\npush 9\nmov esp, ebp",
    "sse": "movups [ebx], xmm0",
    "sse run": "movups [ebx], xmm0\nmovups [ebx + 16], xmm1\nmovups [ebx + 32], xmm2",
    "x87": "fld1\nfstp qword ptr [ebx]",
    "across pages": "mov dword ptr [ebx + 0xffe], -1",
}


@pytest.mark.parametrize("store", STORES)
def test_stores_to_rom_vanish(guest: Guest, store: str) -> None:
    """Without a fault and without an exit; also over and over, and where code comes from."""
    guest.rom("nop")
    guest.block.write(16, bytes(range(1, 256)) * 32)
    before = guest.block.read(0, ROM_BYTES)
    enable = "mov eax, cr4\nor eax, 0x600\nmov cr4, eax\npcmpeqb xmm0, xmm0\nfninit\n"
    stores = "".join(f"mov ebx, {ROM_AT + page}\n{STORES[store]}\n" for page in (0, 0x1000))  # with code, and without
    result = guest.run(f"{enable}{calls(ROM_AT)}mov edx, 100\nnext:\n{stores}\ndec edx\njnz next")
    assert guest.block.read(0, ROM_BYTES) == before
    assert "mmio" not in result.exits
    killed = guest.machine.cpu.statistics()["blocks_killed"]
    assert killed <= 2  # the program that was there before


@pytest.mark.parametrize("store", STORES)
def test_stores_go_to_the_ram_behind_rom(guest: Guest, store: str) -> None:
    """As they would without the ROM, which stays as it was, and is what is read and executed."""
    enable = "mov eax, cr4\nor eax, 0x600\nmov cr4, eax\npcmpeqb xmm0, xmm0\nfninit\n"
    stores = "".join(f"mov ebx, {ROM_AT + page}\n{STORES[store]}\n" for page in (0x40, 0x1000))
    ram = guest.machine.ram
    guest.block.write(0, assemble(f"inc dword ptr [{PROGRAM - 4}]\nret", 32, ROM_AT))
    guest.block.write(0x40, bytes(range(1, 256)) * 32)
    before = guest.block.read(0, ROM_BYTES)
    ram.write(ROM_AT, before)
    guest.run(enable + stores)
    without = ram.read(ROM_AT - 16, ROM_BYTES + 32)
    ram.write(ROM_AT, before)
    guest.memory.remap(ROM_AT, ROM_BYTES, Use.ROM_OVER_RAM, guest.block)
    result = guest.run(f"{enable}{calls(ROM_AT, 2)}mov edx, 3\nnext:\n{stores}\ndec edx\njnz next\n{calls(ROM_AT, 3)}")
    assert guest.block.read(0, ROM_BYTES) == before
    assert before != without[16:-16]
    assert ram.read(ROM_AT - 16, ROM_BYTES + 32) == without
    assert ram.read(PROGRAM - 4, 4) == (5).to_bytes(4, "little")
    assert "mmio" not in result.exits


def test_a_bios_copies_itself_behind_its_rom(guest: Guest) -> None:
    """Read ROM and write RAM at one address, change the copy, and go on in RAM: in code that does so itself."""
    guest.put("add ebx, 1000\nret", ROM_AT)
    guest.rom("add ebx, 1")
    guest.switch = lambda value: (
        guest.memory.remap(ROM_AT, ROM_BYTES, Use.ROM_OVER_RAM, guest.block) if value else guest.ram_again()
    )
    guest.run(
        f"""
        xor ebx, ebx
        mov al, 1
        {OTHER_WAY}
        {calls(ROM_AT, 3)}
        mov esi, {ROM_AT}
        mov edi, esi
        mov ecx, {ROM_BYTES // 4}
        rep movsd
        mov byte ptr [{ROM_AT} + 2], 7              ; of the copy
        {calls(ROM_AT, 4)}
        mov al, 0
        {OTHER_WAY}
        {calls(ROM_AT, 5)}
        """
    )
    assert guest.registers(EBX) == [3 + 4 + 5 * 7]


def test_rom_at_two_addresses_is_executed_at_both(guest: Guest) -> None:
    """A BIOS below 4 GiB and below 1 MiB; what somebody writes to it is seen at both."""
    guest.rom("add ebx, 1")
    guest.memory.add_rom(HIGH_ROM_AT, guest.block)
    guest.switch = lambda value: guest.block.write(2, b"\7")
    both = "".join(calls(at, times) for at, times in ((ROM_AT, 3), (HIGH_ROM_AT, 4)))
    guest.run(f"xor ebx, ebx\n{both}{OTHER_WAY}{both.replace('again', 'later')}")
    assert guest.registers(EBX) == [7 + 7 * 7]


def test_an_update_reads_rom(guest: Guest) -> None:
    guest.rom("")
    guest.block.write(0x100, (41).to_bytes(4, "little"))
    guest.run(f"mov eax, 1\nlock xadd [{ROM_AT + 0x100}], eax\nmov ebx, 5\nxchg ebx, [{ROM_AT + 0x100}]")
    assert guest.registers(EAX, EBX) == [41, 41]


def test_a_store_half_in_rom(guest: Guest) -> None:
    guest.rom("nop")
    for at, seen in ((ROM_AT - 2, b"\x44\x33"), (ROM_AT + ROM_BYTES - 2, b"\x22\x11")):
        guest.run(f"mov dword ptr [{at}], 0x11223344")
        assert guest.machine.ram.read(ROM_AT - 2 if at < ROM_AT else ROM_AT + ROM_BYTES, 2) == seen
    assert guest.block.read(0, 2) == b"\x90\xc3"


def test_a_page_is_rom_and_ram_by_turns(guest: Guest) -> None:
    """Code of either is what runs; stores before the change do not count for what comes after it."""
    guest.put("add ecx, 1\nret", ROM_AT)
    guest.block.write(0, assemble("add ecx, 1000\nret", 32, ROM_AT))
    guest.switch = lambda value: (
        guest.memory.remap(ROM_AT, ROM_BYTES, Use.ROM, guest.block) if value else guest.ram_again()
    )
    guest.run(
        f"""
        xor ecx, ecx
        xor ebx, ebx
        mov ebp, 50
    turn:
        {calls(ROM_AT, 2)}
        mov dword ptr [{ROM_AT + 0x1800}], ebp     ; RAM's
        mov al, 1
        {OTHER_WAY}
        mov dword ptr [{ROM_AT + 0x1800}], 77      ; vanishes
        add ebx, [{ROM_AT + 0x1800}]               ; ROM's: 0
        {calls(ROM_AT, 3)}
        mov al, 0
        {OTHER_WAY}
        add ebx, [{ROM_AT + 0x1800}]
        dec ebp
        jnz turn
        """
    )
    assert guest.registers(ECX, EBX) == [50 * (2 + 3000), sum(range(51))]
    assert guest.block.read(0x1800, 4) == bytes(4)


def test_code_changes_the_page_that_it_is_in(guest: Guest) -> None:
    """The instruction behind the one that made the page ROM is the ROM's."""
    code = "mov al, 1\nmov dx, 0x300\nout dx, al\nmov ebx, {}\nret"
    guest.put(code.format(1), ROM_AT)
    guest.block.write(0, assemble(code.format(2), 32, ROM_AT))
    guest.switch = lambda value: guest.memory.remap(ROM_AT, ROM_BYTES, Use.ROM, guest.block)
    guest.run(calls(ROM_AT))
    assert guest.registers(EBX) == [2]


def test_an_instruction_whose_second_page_changes(guest: Guest) -> None:
    """Keyed by its first page, which does not change."""
    at = ROM_AT - 3
    guest.put(".byte 0x81, 0xc3, 1, 0, 0, 0, 0xc3", at)  # add ebx, imm32; ret
    guest.block.write(0, b"\x01\x00\x00\xc3")
    guest.switch = lambda value: guest.memory.remap(ROM_AT, ROM_BYTES, Use.ROM, guest.block)
    guest.run(f"xor ebx, ebx\n{calls(at, 5)}{OTHER_WAY}{calls(at, 6)}")
    assert guest.registers(EBX) == [5 + 6 * 0x101]


def test_code_where_nothing_was(guest: Guest) -> None:
    """First all ones, which is an undefined instruction; then memory."""
    guest.memory.remove(ROM_AT, ROM_BYTES)
    guest.block.write(0, b"\x43\xc3")  # inc ebx; ret
    handler, idt = PROGRAM + 0x800, 0x1_0000
    gate = (handler & 0xFFFF) | guest.machine.cpu.state.segment(1, "selector") << 16
    guest.memory.write(
        idt + 6 * 8, gate.to_bytes(4, "little") + ((handler & 0xFFFF_0000) | 0x8E00).to_bytes(4, "little")
    )
    guest.put(f"mov dx, {PORT}\nout dx, al\niretd", handler)
    guest.memory.write(0x1_1000, (0x7FF).to_bytes(2, "little") + idt.to_bytes(4, "little"))
    guest.switch = lambda value: guest.memory.add_rom(ROM_AT, guest.block)
    result = guest.run(f"xor ebx, ebx\nlidt [0x11000]\n{calls(ROM_AT, 4)}")
    assert guest.registers(EBX) == [4]
    assert result.exits["io"] == 1


class Cells(Device):
    """A device window that counts."""

    widest_access = 4

    def __init__(self) -> None:
        super().__init__("cells")
        self.written: list[int] = []

    def read(self, offset: int, size: int) -> int:
        return 0x100 + offset

    def write(self, offset: int, size: int, value: int) -> None:
        self.written.append(value)


def test_a_page_is_a_devices_and_memory_by_turns(guest: Guest) -> None:
    device = Cells()
    guest.machine.mmio.attach(device, ROM_AT, 0x1000)
    guest.switch = lambda value: guest.memory.remove(ROM_AT, 0x1000) if value else guest.ram_again()
    guest.run(
        f"""
        mov ebx, {ROM_AT + 8}
        mov dword ptr [ebx], 1
        mov al, 1
        {OTHER_WAY}
        mov dword ptr [ebx], 2
        mov ecx, [ebx]
        mov al, 0
        {OTHER_WAY}
        mov edx, [ebx]
        """
    )
    assert guest.registers(ECX, EDX) == [0x108, 1]
    assert device.written == [2]


def dirty(guest: Guest) -> list[int]:
    return [offset >> 12 for offset in guest.memory.take_dirty(guest.block)]


def test_a_window_is_written_without_exits_and_says_where(guest: Guest) -> None:
    guest.memory.add_window(WINDOW_AT, guest.block)
    read_all = f"mov esi, {WINDOW_AT}\nmov ecx, {ROM_BYTES // 4}\nrep lodsd\n"
    result = guest.run(
        f"{read_all}mov dword ptr [{WINDOW_AT + 0x1004}], 7\nmov byte ptr [{WINDOW_AT + 0x4FFF}], 8\n"
        f"mov edi, {WINDOW_AT + 0x7FF0}\nmov ecx, 8\nrep stosd"
    )
    assert "mmio" not in result.exits
    assert dirty(guest) == [1, 4, 7, 8]
    assert guest.block.read(0x1004, 1) + guest.block.read(0x4FFF, 1) == b"\7\10"
    guest.run(read_all)
    assert dirty(guest) == []
    store = f"mov ebp, 1000\nmore:\ninc dword ptr [{WINDOW_AT + 0x1008}]\ndec ebp\njnz more\n"
    for _ in range(3):  # the store goes through the TLB each time but the first
        guest.run(store)
        assert dirty(guest) == [1]
    assert guest.block.read(0x1008, 4) == (3000).to_bytes(4, "little")


def test_a_window_moves_and_keeps_what_was_written(guest: Guest) -> None:
    places = [WINDOW_AT, WINDOW_AT + 0x40_0000, WINDOW_AT + 0x3000]
    guest.memory.add_window(places[0], guest.block)
    guest.switch = lambda value: guest.memory.move(places[value - 1], places[value])
    guest.run(
        f"""
        mov dword ptr [{places[0]} + 0x2000], 5
        mov al, 1
        {OTHER_WAY}
        mov dword ptr [{places[0]} + 0x5000], 6    ; nobody is there
        mov ebx, [{places[1]} + 0x2000]
        mov dword ptr [{places[1]} + 0x4000], 7
        mov al, 2
        {OTHER_WAY}
        mov ecx, [{places[2]} + 0x4000]
        mov edx, [{places[0]} + 0x2000]            ; nobody is there
        """
    )
    assert guest.registers(EBX, ECX, EDX) == [5, 7, 0xFFFF_FFFF]
    assert dirty(guest) == [2, 4]


def test_code_in_a_window(guest: Guest) -> None:
    """It is translated, and what it writes over itself is seen."""
    guest.memory.add_window(WINDOW_AT, guest.block)
    guest.put("mov byte ptr [edi + 6], 5\nadd ebx, 1\nret", WINDOW_AT)
    guest.run(f"xor ebx, ebx\n{calls(WINDOW_AT, 3)}")
    assert guest.registers(EBX) == [15]


@pytest.fixture(params=ENGINES)
def large(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest with 5 GiB, of which 1.5 lie above 4 GiB."""
    made = Guest(request.param, 5 << 30)
    yield made
    made.close()


PAE_ON = """
    mov eax, 0x20               ; PAE
    mov cr4, eax
    mov eax, 0x1000
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
"""
DIRECTORY, HIGH_TABLE, HIGH_DATA, HIGH_CODE = (HIGH_RAM + place for place in (0x5000_0000, 0x5FFF_F000, 0, 0x2000_1000))
SEEN_AT = 0x4000_0000  # linear


def test_page_tables_data_and_code_above_4_gib(large: Guest) -> None:
    """Linear addresses are physical ones below 1 GiB; from there directory, table, data and code are all high."""
    memory = large.memory
    low = b"".join((number << 21 | 0x83).to_bytes(8, "little") for number in range(512))
    memory.write(0x2000, low)
    memory.write(0x1000, (0x2001).to_bytes(8, "little") + (DIRECTORY | 1).to_bytes(8, "little"))
    memory.write(DIRECTORY, (HIGH_TABLE | 3).to_bytes(8, "little"))
    memory.write(HIGH_TABLE, (HIGH_DATA | 3).to_bytes(8, "little") + (HIGH_CODE | 3).to_bytes(8, "little"))
    memory.write(HIGH_DATA, (40).to_bytes(4, "little"))
    memory.write(HIGH_CODE, assemble("add ebx, 1\nret", 32, SEEN_AT + 0x1000))
    memory.take_dirty(large.machine.ram)
    large.run(
        f"""
        {PAE_ON}
        xor ebx, ebx
        add dword ptr [{SEEN_AT}], 2
        {calls(SEEN_AT + 0x1000, 500)}
        mov byte ptr [{SEEN_AT + 0x1002}], 3    ; the code's constant
        {calls(SEEN_AT + 0x1000, 501)}
        """
    )
    assert memory.read(HIGH_DATA, 4) == (42).to_bytes(4, "little")
    assert large.registers(EBX) == [500 + 3 * 501]
    assert memory.read(HIGH_TABLE, 1)[0] & 0x60 == 0x60  # accessed, dirty
    assert large.machine.ram.read(HIGH_DATA - HIGH_RAM + WINDOW_AT, 4) == memory.read(HIGH_DATA, 4)
    written = large.memory.take_dirty(large.machine.ram)
    assert {0x2000, DIRECTORY - HIGH_RAM + WINDOW_AT, HIGH_TABLE - HIGH_RAM + WINDOW_AT} <= set(written)
    if large.machine.config.engine == "bt":
        assert large.machine.cpu.statistics()["interpreted_runs"] < 30


def test_the_hole_below_4_gib_is_nobodys(large: Guest) -> None:
    result = large.run(f"mov dword ptr [{WINDOW_AT}], 5\nmov ebx, [{WINDOW_AT}]")
    assert large.registers(EBX) == [0xFFFF_FFFF]
    assert result.exits["mmio"] == 2
    assert large.memory.read(HIGH_RAM, 4) == bytes(4)
