"""bt explain and BT_DEBUG: what they say of the translation is what the translator did."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import guest_images
from bt.cli import explain, run
from bt.engine.translator import vcpu
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.errors import BadUsage
from bt.inspect.explanation import debug, host_code
from bt.inspect.explanation.diary import Diary, Fragment
from bt.inspect.explanation.explain import Explainer, NotExplained
from bt.machine import Machine, MachineConfig
from bt.x86.state import CS
from guest_images.assembler import assemble

ADDRESS = 0x10_0000
SOURCE = """
    add ecx, edx            ; flags dead: the next one sets them all
    sub eax, ebx
    mov esi, [0x200000]
    call there
    nop
there:
    cpuid
    push 5
    cmp ecx, 7
    jne there
    ret
    jmp 0x101234
"""


def machine_for(source: str) -> Machine:
    machine = Machine(MachineConfig(memory=4 << 20))
    machine.load(assemble(source, 32, ADDRESS), flat=ADDRESS)
    return machine


def translator(machine: Machine) -> TranslatingVcpu:
    assert isinstance(machine.cpu, TranslatingVcpu)
    return machine.cpu


def fragments_of(cpu: TranslatingVcpu, eip: int, blocks: int) -> list[Fragment]:
    found = list(Explainer(cpu).blocks(eip, blocks=blocks))
    assert all(isinstance(block, Fragment) for block in found)
    return [block for block in found if isinstance(block, Fragment)]


def explained(source: str, blocks: int) -> tuple[list[Fragment], Machine]:
    machine = machine_for(source)
    return fragments_of(translator(machine), ADDRESS, blocks), machine


def stencils(fragment: Fragment, number: int) -> list[str]:
    return [piece.name for piece in fragment.instructions[number].hot if piece.kind == "stencil"]


def test_blocks_are_shown_as_they_lie_in_memory() -> None:
    fragments, _ = explained(SOURCE, 4)
    assert [[one.text.split()[0] for one in fragment.instructions] for fragment in fragments] == [
        ["add", "sub", "mov", "call"],
        ["nop", "cpuid", "push", "cmp", "jne"],
        ["ret"],
        ["jmp"],
    ]
    assert b"".join(one.code for fragment in fragments for one in fragment.instructions) == assemble(
        SOURCE, 32, ADDRESS
    )
    assert [fragment.eip for fragment in fragments[1:]] == [
        fragment.eip + fragment.guest_bytes for fragment in fragments[:-1]
    ]


def test_host_code_is_accounted_for_without_a_gap() -> None:
    fragments, _ = explained(SOURCE, 4)
    for fragment in fragments:
        at = fragment.host
        for piece in fragment.hot_pieces():
            assert piece.address == at
            at = piece.end
            lines = host_code.disassemble(piece, {})
            assert b"".join(line.code for line in lines) == piece.code, piece


def test_instructions_by_kind() -> None:
    (first, second, *_), _ = explained(SOURCE, 4)
    add, sub, load, call = first.instructions
    assert host_code.is_identity(add)
    assert not add.flags_live
    assert sub.flags_live
    assert not host_code.is_identity(sub)
    assert stencils(first, 0) == ["arith_add_32_r32_1_r32_2_dead"]
    assert [host_code.purpose(piece) for piece in load.cold] == ["slow path: read 4 bytes"]
    assert "slow path: write 4 bytes" in [host_code.purpose(piece) for piece in call.cold]
    nop, cpuid, push, cmp, jne = second.instructions
    assert [one.is_callout for one in second.instructions] == [False, True, False, False, False]
    assert cpuid.form.cls.value == "sensitive"
    assert host_code.purpose(cpuid.hot[0]) == f"callout: interpret {cpuid.eip:08x}"
    assert [host_code.purpose(piece) for piece in push.cold] == ["slow path: write 4 bytes"]
    assert cmp.hot
    assert not jne.hot  # the pair is one stencil
    assert f"chain to {cpuid.eip:08x}" in [host_code.purpose(piece) for piece in (*cmp.cold, *jne.cold)]
    assert host_code.purpose(second.link[-1]) == f"exit to {jne.eip + len(jne.code):08x}"
    assert nop.eip == call.eip + len(call.code)


def test_floating_point_is_shown_as_it_is_encoded() -> None:
    (fragment,), machine = explained("fmul st(0)\nfadd qword ptr [ecx]\nmov eax, edx\nret\n", 1)
    multiply, add, *_ = fragment.instructions
    assert [(piece.name, piece.code.hex()) for piece in multiply.hot][1:] == [("", "d8c8")]
    (itself,) = (piece for piece in add.hot if piece.kind == "")
    (*_, last) = host_code.disassemble(itself, {})
    assert (last.code.hex(), last.text) == ("41dc0424", "fadd qword ptr [r12]")
    machine.close()


def test_places_have_names() -> None:
    fragments, machine = explained(SOURCE, 3)
    text = [
        line.text
        for fragment in fragments
        for piece in (*fragment.hot_pieces(), *fragment.cold_pieces())
        for line in host_code.disassemble(piece, host_code.labels_of(fragment, machine.library))
    ]
    for expected in ("jmp <slow_gate>", "jmp <service_gate>", "js <budget used up>", "jne <miss_gate>"):
        assert expected in text
    assert any("[code_tag]" in line for line in text)
    assert any("tlb_supervisor.read_tag" in line for line in text)
    assert not any(f"[{host_code.STATE_REGISTER}" in line for line in text)


@pytest.mark.parametrize(
    ("displacement", "name"),
    [(-128, "eax"), (-128 + 8 * 4, "esp"), (-126, "eax+0x2"), (-128 + 8 * 8, "zero"), (1 << 30, "state+0x40000000")],
)
def test_slot_names(displacement: int, name: str) -> None:
    assert host_code.slot_name(displacement) == name


def test_explaining_changes_nothing_for_the_guest() -> None:
    plain, looked_at = machine_for(SOURCE), machine_for(SOURCE)
    before = looked_at.cpu.state["eip"]
    list(Explainer(translator(looked_at)).blocks(ADDRESS, instructions=9))
    assert looked_at.cpu.state["eip"] == before
    assert plain.run(max_insns=500).instructions == looked_at.run(max_insns=500).instructions
    assert [plain.cpu.state["gpr", n] for n in range(8)] == [looked_at.cpu.state["gpr", n] for n in range(8)]


def test_where_there_is_no_code() -> None:
    cpu = translator(machine_for("mov eax, 1\n"))
    cpu.state.set_segment(CS, "limit", ADDRESS + 5)
    with pytest.raises(NotExplained, match="00100010: no code can be fetched there"):
        list(Explainer(cpu).blocks(ADDRESS + 16, blocks=1))


# -- the command ------------------------------------------------------------------------------------------------------


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.main(["hello", "--blocks", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("protected mode, no paging, CPL 0, 32-bit code, 32-bit stack, flat segments")
    assert "block 00100" in said
    assert "lgdt" in said
    assert "privileged" in said
    assert "off the hot path" in said
    assert "state in r13" in said


def test_command_after_some_instructions(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.main(["fib-calls", "--after", "3000", "--insns", "2", "-m", "8"]) == 0
    assert "block 001" in capsys.readouterr().out


def test_command_wants_the_guest_to_last(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadUsage, match="the guest ended before, after 919 instructions"):
        explain.main(["hello", "--after", "100000"])


# -- BT_DEBUG ---------------------------------------------------------------------------------------------------------


def narrated(name: str, detail: int) -> tuple[list[str], Machine]:
    machine = Machine(MachineConfig(memory=8 << 20))
    machine.load(guest_images.image(name).path)
    lines: list[str] = []
    debug.attach(machine, detail, lines.append)
    machine.run()
    return lines, machine


def test_level_1_has_a_line_for_every_unit() -> None:
    lines, machine = narrated("smc", debug.FRAGMENTS)
    assert len(lines) == machine.cpu.statistics()["fragments"]
    assert all(line.startswith("fragment ") for line in lines)


def test_units_survive_a_flush_and_code_that_changes_under_them() -> None:
    machine = machine_for("mov ecx, 3\nagain:\nmov dword [again], 0x90909090\nnop\nloop again\nhlt\n")
    fragments: list[Fragment] = []
    Diary(translator(machine), fragments.append)
    machine.run()
    translator(machine).flush()
    assert fragments[0].instructions[1].text.startswith("mov dword ptr [0x")
    assert machine.ram.read(fragments[0].instructions[1].eip, 4) == b"\x90" * 4


def test_each_level_adds_to_the_one_before() -> None:
    lines = {detail: narrated("hello", detail)[0] for detail in range(1, 5)}
    for less, more in ((1, 2), (2, 3), (3, 4)):
        assert len(lines[less]) < len(lines[more])
    assert any("sensitive, callout" in line for line in lines[2])
    assert any(line.endswith("  head") for line in lines[3])
    assert any(line.endswith(" jmp <service_gate>") for line in lines[4])


def test_level_5_shows_the_ir_of_each_stencil_once() -> None:
    lines, _ = narrated("hello", debug.IR)
    heads = [line for line in lines if "| define " in line]
    assert sum("@head(" in line for line in heads) == 1
    assert len(heads) == len(set(heads)) > 10


def test_interpreter_has_nothing_to_say() -> None:
    machine = Machine(MachineConfig(memory=8 << 20, engine="interp"))
    lines: list[str] = []
    debug.attach(machine, debug.FRAGMENTS, lines.append)
    assert lines == ["BT_DEBUG: engine interp translates nothing"]


def test_run_obeys_the_environment(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BT_DEBUG", "1")
    monkeypatch.setattr(sys, "stdin", None)
    assert run.main(["hello", "--serial", "null"]) == 1
    assert capfd.readouterr().err.startswith("fragment ")
    monkeypatch.setenv("BT_DEBUG", "6")
    with pytest.raises(BadUsage, match="BT_DEBUG=6: give 0 to 5"):
        run.main(["hello", "--serial", "null"])


def test_the_unit_of_a_block(capsys: pytest.CaptureFixture[str]) -> None:
    """The instructions themselves; memory through the view; what is charged, and where it leads."""
    assert explain.main(["crc", "--tier", "2", "--after", "40000", "--blocks", "1"]) == 0
    said = capsys.readouterr().out.partition("unit 0010030e: 7 instructions")[2]
    assert "entered without flags" in said
    assert re.search(r"mov byte ptr \[ecx \+ 0x112400\], dl +=  mov byte ptr \[r10 \+ rcx \+ 0x112400\], dl", said)
    assert re.search(r"add eax, 0x3c6ef35f +=  sub r15, 7 *\n +js <below>", said)
    assert "jmp <unit_end_way_out>" in said


def test_units_that_a_run_has_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An access to where there is nothing trapped, and is the interpreter's in the units after that."""
    body = "again:\nadd ecx, 3\nmov edx, [0xe0000000]\ndec esi\njnz again\nhlt"
    image = tmp_path / "loop.bin"
    image.write_bytes(assemble(f"mov esi, 9000\n{body}", 32, 0x100000))
    given = [str(image), "--flat", "0x100000", "--tier", "2", "--after", "2000"]
    assert explain.main([*given, "--units", "20"]) == 0
    said = capsys.readouterr().out
    assert "mov edx, dword ptr [0xe0000000]: trapped in 1 units before; the interpreter does it" in said
    assert explain.main([*given, "--units", "1"]) == 0
    assert len(re.findall(r"^unit ", capsys.readouterr().out, re.MULTILINE)) == 1


def test_units_have_paths(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vcpu.HEAT_WANTED, "auto", 1000)  # also where all others are promoted at once
    image = tmp_path / "loop.bin"
    body = "again:\nadd ecx, 3\njc over\ninc ebx\nover:\ndec esi\njnz again\nhlt"
    image.write_bytes(assemble(f"mov esi, 90000000\n{body}", 32, 0x100000))
    assert explain.main([str(image), "--flat", "0x100000", "--after", "300000000", "--units", "5"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^path 001000\w\w( 001000\w\w)+ and around again$", said, re.MULTILINE)


def test_no_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vcpu.HEAT_WANTED, "auto", 1000)
    with pytest.raises(BadUsage, match="no 32-bit or 16-bit code has become a unit"):
        explain.main(["hello", "--after", "100", "--units", "3"])
