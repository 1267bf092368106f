"""bt explain in 16-bit and segmented code; and where code is interpreted, under breakpoints: records, and what may
come of each instruction."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import pytest

from bt.cli import explain
from bt.engine.linear import translate
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.errors import BadUsage
from bt.inspect.explanation.explain import Explainer
from bt.inspect.explanation.interpreted import InterpretedBlock, InterpretedInstruction
from bt.inspect.modes import describe_mode
from bt.inspect.place import Place, looking_at
from bt.machine import Machine, MachineConfig
from bt.x86.state import CS
from bt.x86.system.registers.control_registers import CR4_PAE
from guest_images.assembler import assemble

ORIGIN = 0x7C00
BREAKPOINT = 0x402  # DR7: the first one is enabled


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine(MachineConfig(memory=4 << 20))
    yield machine
    machine.close()


def load(machine: Machine, source: str) -> TranslatingVcpu:
    """A machine about to execute a boot sector."""
    code = assemble(source.replace("; ", "\n"), 16, ORIGIN)
    machine.load(code.ljust(510, b"\x90") + b"\x55\xaa", boot_sector=True)
    assert isinstance(machine.cpu, TranslatingVcpu)
    return machine.cpu


def first(cpu: TranslatingVcpu, eip: int) -> InterpretedBlock:
    """As the interpreter has it, to which breakpoints leave it."""
    cpu.state["dr", 7] = BREAKPOINT
    cpu.call("update_mode")
    (block,) = Explainer(cpu).blocks(eip, blocks=1)
    assert isinstance(block, InterpretedBlock)
    return block


def only(machine: Machine, source: str) -> InterpretedInstruction:
    return first(load(machine, source), ORIGIN).instructions[0]


def test_real_mode_is_shown_record_by_record(machine: Machine) -> None:
    source = "add ax, [bx + si + 0x10]; mov es:[bp + di], cl; imul ecx, [eax + ecx*4 + 8], 0x1234; jz 0x7c00"
    cpu = load(machine, source)
    block = first(cpu, ORIGIN)
    assert (block.place, block.address, block.why) == ("0000:7c00", (ORIGIN, ORIGIN), "breakpoints set")
    assert [(one.place, one.text, one.operands) for one in block.instructions] == [
        ("0000:7c00", "add ax, word ptr [bx + si + 0x10]", "ax, ds:[bx + si + 0x10]"),
        ("0000:7c03", "mov byte ptr es:[bp + di], cl", "es:[bp + di], cl"),
        ("0000:7c07", "imul ecx, dword ptr [eax + ecx*4 + 8], 0x1234", "ecx, ds:[eax + ecx*4 + 0x8], 0x1234"),
        ("0000:7c11", "je 0x7c00", "to 0x7c00"),
    ]
    assert block.guest_bytes == 0x13


@pytest.mark.parametrize(
    ("source", "calls", "faults", "exits"),
    [
        ("mov ds, ax", "load_segment", (), ()),
        ("lgdt [bx]", "slow_read", ("#GP",), ()),
        ("arpl [bx], ax", "slow_write", ("#UD", "#GP"), ()),
        ("hlt", None, ("#GP",), ("HLT",)),
        ("in al, dx", "check_port", (), ()),
        ("int 0x10", "software_interrupt", (), ()),
        ("iret", "interrupt_return", None, ()),
        ("ud2", None, ("#UD",), ()),
        ("aam 0", None, ("#DE",), ()),
        ("fld dword ptr [bp]", "fp_prepare", ("#SS",), ()),
        ("bound ax, [bx]", "slow_read", ("#GP", "#BR"), ()),
    ],
)
def test_what_may_come_of_an_instruction(
    machine: Machine, source: str, calls: str | None, faults: tuple[str, ...] | None, exits: tuple[str, ...]
) -> None:
    one = only(machine, source)
    assert calls is None or calls in one.handler.calls
    assert faults is None or set(one.faults) == set(faults)
    assert one.handler.exits == exits


@pytest.mark.parametrize(
    ("source", "host"),
    [
        ("fld qword ptr [bx]", "dd07 fld qword ptr [rdi]"),
        ("fsin", "d9fe fsin"),
        ("addps xmm1, [bp + 4]", "0f580f addps xmm1, xmmword ptr [rdi]"),
        (".byte 0x66, 0x0f, 0x7e, 0xd8", "660f7ed8 movd eax, xmm3"),
    ],
)
def test_floating_point_shows_what_the_host_executes(machine: Machine, source: str, host: str) -> None:
    assert host in only(machine, source).host
    assert not any("ret" in line for line in only(machine, source).host)


def test_an_instruction_that_the_model_lacks_has_no_host_code() -> None:
    machine = Machine(MachineConfig(memory=4 << 20, cpu="486"))
    one = only(machine, "addps xmm1, xmm2")
    assert (one.host, one.faults) == ((), ("#UD",))
    machine.close()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("eb fe", "jmp 0xfffe"),
        ("eb 10", "jmp 0x10"),
        ("e9 02 80", "jmp 0x8003"),
        ("66 e9 00 00 01 00", "jmp 0x20004"),
        ("e3 f0", "jcxz 0xfff0"),
        ("67 e2 f0", "loop 0xfff1"),
        ("0f 84 00 00", "je 0x2"),
        # SIMD: 66 is no operand size
        ("66 0f 58 07", "addpd xmm0, xmmword ptr [bx]"),
        ("67 66 0f 58 07", "addpd xmm0, xmmword ptr [edi]"),
        ("0f 67 c1", "packuswb mm0, mm1"),
        ("f3 0f 59 0e cd fd", "mulss xmm1, dword ptr [0xfdcd]"),
        # sign extension goes by the operand size
        ("98", "cbw"),
        ("66 98", "cwde"),
        ("99", "cwd"),
        ("66 99", "cdq"),
        ("0f 1a e3", "nop"),  # reserved, which capstone refuses
        ("26 0f 7f 07", "movq qword ptr es:[bx], mm0"),
    ],
)
def test_disassembly_of_16_bit_code(machine: Machine, code: str, text: str) -> None:
    cpu = load(machine, "nop")
    machine.ram.write(0x1FFFE, bytes.fromhex(code))
    cpu.state.set_segment(CS, "base", 0x10000)
    cpu.state.set_segment(CS, "limit", 0x1FFFF)
    cpu.call("update_mode")
    assert first(cpu, 0xFFFE).instructions[0].text == text


def test_places_in_real_mode(machine: Machine) -> None:
    cpu = load(machine, "nop")
    for place in (Place(ORIGIN), Place(ORIGIN, 0), Place(0x100, 0x7B0), Place(0xC00, 0x700)):
        with looking_at(cpu, place) as eip:
            assert first(cpu, eip).address == (ORIGIN, ORIGIN)
    assert (cpu.state.segment(CS, "selector"), cpu.state.segment(CS, "base")) == (0, 0)
    with pytest.raises(BadUsage, match=r"--at 0x20000: outside of CS 0000 \(base 0x0, limit 0xffff\)"):
        looking_at(cpu, Place(0x20000)).__enter__()


GDT = 0x8000
ENTER_PROTECTED = """
    lgdt [0x7d00]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 0x20:0x7c20
"""


def in_16_bit_protected_mode(machine: Machine) -> TranslatingVcpu:
    """CS = 20: 16 bits, base 0. In the GDT also 08: 32 bits, base 10000; 1b: CPL 3, 16 bits, base 9000; 28: data."""
    cpu = load(machine, ENTER_PROTECTED)
    descriptors = (0x00CF_9A01_0000_FFFF, 0, 0x0000_FA00_9000_0FFF, 0x0000_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF)
    machine.ram.write(GDT, struct.pack("<6Q", 0, *descriptors))
    machine.ram.write(0x7D00, struct.pack("<HI", 0x2F, GDT))
    assert machine.run(max_insns=5).reason == "max-insns"
    return cpu


def test_16_bit_protected_mode(machine: Machine) -> None:
    cpu = in_16_bit_protected_mode(machine)
    machine.ram.write(0x7C20, assemble("mov eax, [si]\nretf\n", 16, 0x7C20))
    block = first(cpu, cpu.state["eip"])
    assert (block.place, [one.text for one in block.instructions]) == ("0020:7c20", ["mov eax, dword ptr [si]", "retf"])
    assert describe_mode(cpu.state).startswith("protected mode, no paging, CPL 0, 16-bit code, 16-bit stack")


def test_segments_of_the_descriptor_tables(machine: Machine) -> None:
    cpu = in_16_bit_protected_mode(machine)
    machine.ram.write(0x1_0040, assemble("mov eax, [ebx + 4]\nret\n", 32, 0x40))
    with looking_at(cpu, Place(0x40, 8)) as eip:
        block = first(cpu, eip)
        assert block.place == "0008:00000040"
        assert block.address == (0x1_0040, 0x1_0040)
        assert [one.text for one in block.instructions] == ["mov eax, dword ptr [ebx + 4]", "ret"]
    with looking_at(cpu, Place(0, 0x1B)) as eip:
        assert "CPL 3" in describe_mode(cpu.state)
        assert first(cpu, eip).address.linear == 0x9000
    assert (cpu.state["cpl"], cpu.state.segment(CS, "selector")) == (0, 0x20)
    for selector, complaint in ((0x28, "is no code segment"), (0x30, "no descriptor"), (0, "no descriptor")):
        with pytest.raises(BadUsage, match=complaint):
            looking_at(cpu, Place(0, selector)).__enter__()


def test_explaining_changes_nothing_for_a_guest_in_real_mode(machine: Machine) -> None:
    cpu = load(machine, "mov cx, 9; again: inc ax; add [bx], ax; loop again; fld1; jmp again")
    machine.run(max_insns=5)
    other = Machine(MachineConfig(memory=4 << 20))
    load(other, "mov cx, 9; again: inc ax; add [bx], ax; loop again; fld1; jmp again")
    with looking_at(cpu, Place(0x10, 0x7C0)) as eip:
        list(Explainer(cpu).blocks(eip, instructions=20))
    machine.run(max_insns=100)
    other.run(max_insns=105)
    assert [machine.cpu.state["gpr", n] for n in range(8)] == [other.cpu.state["gpr", n] for n in range(8)]
    assert machine.cpu.state["eip"] == other.cpu.state["eip"]
    other.close()


FLAT = 0x10_0000


def flat(machine: Machine, source: str) -> TranslatingVcpu:
    machine.load(assemble(source, 32, FLAT), flat=FLAT)
    assert isinstance(machine.cpu, TranslatingVcpu)
    return machine.cpu


def test_32_bit_code_that_is_interpreted(machine: Machine) -> None:
    cpu = flat(machine, ".space 4094, 0x90\nmov eax, 0x12345678\nhlt\n")
    for eip, why in ((FLAT + 4094, "one instruction across two pages"), (0x8000_0000, "no memory there")):
        (block,) = Explainer(cpu).blocks(eip, blocks=1)
        assert isinstance(block, InterpretedBlock)
        assert block.why == why
    assert first(cpu, FLAT).why == "breakpoints set"


PAE_TABLES, PAE_CODE = 0x20_0000, 0x30_0000
ENTER_PAE = f"""
    mov eax, cr4
    or eax, {CR4_PAE}
    mov cr4, eax
    mov eax, {PAE_TABLES}
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    hlt
"""


def test_pae_paging(machine: Machine) -> None:
    """The same 2 MiB twice: at 0 as they are, at 3 GiB page by page from 3 MiB on."""
    cpu = flat(machine, ENTER_PAE)
    directories, table = PAE_TABLES + 0x1000, PAE_TABLES + 0x3000
    machine.ram.write(PAE_TABLES, struct.pack("<4Q", directories | 1, 0, 0, directories + 0x1000 | 1))
    machine.ram.write(directories, struct.pack("<2Q", 0x83, 0x200083))
    machine.ram.write(directories + 0x1000, struct.pack("<Q", table | 3))
    machine.ram.write(table, struct.pack("<2Q", PAE_CODE | 3, PAE_CODE + 0x7000 | 1 << 63 | 3))
    machine.ram.write(PAE_CODE, assemble("nop\n.space 4094, 0x90\nhlt", 32, 0))
    assert machine.run(max_insns=8).reason == "max-insns"
    assert describe_mode(cpu.state).startswith("protected mode, PAE paging, CPL 0, 32-bit code")
    assert translate(cpu, 0xC000_0123) == (0xC000_0123, PAE_CODE + 0x123)
    assert translate(cpu, 0xC000_1FFF).physical == PAE_CODE + 0x7FFF
    assert translate(cpu, 0x20_0004).physical == 0x20_0004
    assert translate(cpu, 0xC000_2000).physical is None
    assert translate(cpu, 0x4000_0000).physical is None
    (block,) = Explainer(cpu).blocks(0xC000_0000, blocks=1)
    assert block.instructions[0].text == "nop"


# -- the command ------------------------------------------------------------------------------------------------------


def said_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert explain.main(arguments) == 0
    return capsys.readouterr().out


def test_command_in_real_mode(capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of(capsys, "bootsector", "--at", "0:7c05", "--blocks", "2")
    assert said.startswith("real mode, no paging, CPL 0, 16-bit code, 16-bit stack, no flat segments")
    assert "CS 0000 base 00000000 limit 0000ffff" in said
    assert "block 0000:7c05 (linear 0x7c05, physical 0x7c05): 4 instructions, 6 guest bytes -> " in said
    assert re.search(r"^7c\w\w +8ed8 +mov ds, ax .* callout: interpret", said, re.MULTILINE)
    assert "In translated code" in said


def test_command_in_virtual_8086_mode(capsys: pytest.CaptureFixture[str]) -> None:
    """After so many instructions the guest has entered it for the first time."""
    said = said_of(capsys, "v86-matrix", "--after", "1275", "--blocks", "1")
    assert said.startswith("virtual-8086 mode, no paging, CPL 3, 16-bit code, 16-bit stack")
    assert "block ffff:" in said


def test_command_goes_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of(capsys, "bootsector", "--until", "0x7c3c", "--insns", "1")
    assert "block 0000:7c3c" in said
    with pytest.raises(BadUsage, match="--until 0001:0000: the guest ended before"):
        explain.main(["bootsector", "--until", "1:0"])


@pytest.mark.parametrize("place", ["1:2:3", "x:0", "10000:0", "0x", "-1"])
def test_command_refuses_what_is_no_place(place: str) -> None:
    with pytest.raises(BadUsage, match="--at"):
        explain.main(["bootsector", f"--at={place}"])
