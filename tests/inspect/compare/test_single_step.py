"""bt and QEMU, instruction by instruction: agreement in every mode, and planted differences found and named."""

from __future__ import annotations

import shutil
from functools import partial

import pytest

from bt.cli import diff
from bt.errors import BadUsage
from bt.inspect.compare.lockstep import Report
from bt.inspect.compare.peer import MachinePeer
from bt.inspect.compare.qemu_stub import PROGRAM, QemuMissing
from bt.inspect.compare.single_step import SingleStep
from bt.machine import Machine, MachineConfig
from tests.inspect.compare.planted import (
    ADDRESS,
    Guest,
    PlantedPeer,
    flip_carry,
    library_with,
    library_with_handler,
    peer,
)

needs_qemu = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed")

# QEMU 7.2: no accessed bit for CS loaded by far transfers, no RF in what faults push, no C1 after rounding up
QEMU_BUGS = ("accessed", "rf", "fstat")
LOOP = """
    mov ecx, 40
again:
    mov eax, ecx
    lea edx, [eax + ecx * 4 + 3]
    mov [0x200000], edx
    imul eax, edx
    bswap ecx
    bswap ecx
    loop again
    hlt
"""


def compare(guest: str | Guest, *, after: int = 0, limit: int | None = None, ignore: tuple[str, ...] = ()) -> Report:
    """Of a sound machine."""
    return SingleStep(peer(guest, "bt"), advance=partial(run, after), limit=limit, ignore=ignore).run()[0]


def run(instructions: int, machine: Machine) -> None:
    machine.run(max_insns=instructions)


@needs_qemu
def test_they_agree_to_the_end() -> None:
    report = compare(LOOP)
    assert report.identical, report
    assert (report.names, report.instructions, report.ended) == (("bt", "qemu"), 2 + 40 * 7, "halted with status 0")
    assert report.notes == ("taken over from bt: 21 x undefined flags",)


@needs_qemu
@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("hello", 0),
        pytest.param("crc", 1000, marks=pytest.mark.slow),
        pytest.param("sensitive", 1200, marks=pytest.mark.slow),
        ("real-mode-matrix", 1000),
        ("v86-matrix", 1000),
        pytest.param("task-matrix", 1500, marks=pytest.mark.slow),
        ("fp-matrix", 2000),
        pytest.param("bootsector", 0, marks=pytest.mark.slow),
        ("paging-matrix", 500),
        pytest.param("mandel-sse2", 50_000, marks=pytest.mark.slow),
    ],
)
def test_they_agree_in_every_mode(name: str, after: int) -> None:
    report = compare(Guest(name=name), after=after, limit=600, ignore=QEMU_BUGS)
    assert report.identical, report
    assert report.instructions == 600


@needs_qemu
def test_interrupts_are_bts() -> None:
    """The timer interrupts the minikernel's processes for the first time after some 4,040,400 instructions."""

    def make() -> MachinePeer:
        return MachinePeer(MachineConfig(memory=16 << 20), Guest(name="minikernel").load)

    report = SingleStep(make, advance=partial(run, 4_040_100), limit=600, ignore=QEMU_BUGS).run()[0]
    assert report.identical, report
    assert any("1 x interrupt" in note for note in report.notes)


@needs_qemu
@pytest.mark.parametrize(
    ("name", "after", "text", "what", "bug"),
    [
        # SDM vol. 3A 3.4.5.1: loading a segment register sets it
        ("hello", 0, "ljmp 8:0x100021", "RAM [0x10006d]", "accessed"),
        # SDM vol. 3B 17.3.1.1: pushed set by faults
        ("v86-matrix", 1200, "cli", "RAM [0x111fa2]", "rf"),
        # SDM vol. 1 8.1.3.3: C1 tells the direction of rounding
        ("mandel-x87", 100_000, "fmul st(0)", "fstat", "fstat"),
    ],
)
def test_what_qemu_does_otherwise(name: str, after: int, text: str, what: str, bug: str) -> None:
    report = compare(Guest(name=name), after=after, limit=200)
    assert report.culprit is not None
    assert report.culprit.text == text
    assert [difference.what for difference in report.differences] == [what]
    assert compare(Guest(name=name), after=after, limit=200, ignore=(bug,)).identical


@needs_qemu
@pytest.mark.parametrize(
    ("source", "ended"),
    [
        (f"lidt [{ADDRESS + 0x800}]\nud2", "shutdown with status 6"),
        ("mov al, 0xfe\nout 0x64, al\nhlt", "reset with status 0"),
        ("mov edx, 0xf4\nout dx, eax\nhlt", "exit with status 1"),
    ],
)
def test_the_end_of_the_machine(source: str, ended: str) -> None:
    report = compare(source)
    assert report.identical, report
    assert report.ended == ended


@needs_qemu
def test_a_shutdown_that_should_not_be() -> None:
    """Where no handler can be found, NOP executes as UD2."""
    source = f"lidt [{ADDRESS + 0x800}]\nnop\nhlt"
    report = SingleStep(peer(source, "interp", partial(library_with_handler, "90", "0F 0B"))).run()[0]
    assert report.culprit is not None
    assert report.culprit.text == "nop"
    assert [(d.what, d.left, d.right) for d in report.differences] == [("guest", "shutdown with status 6", "goes on")]


@needs_qemu
def test_old_processor() -> None:
    """A processor without SSE, FXSAVE and MSRs has less to be copied."""

    def make() -> MachinePeer:
        return MachinePeer(MachineConfig(memory=16 << 20, cpu="486"), Guest(name="hello").load)

    assert SingleStep(make, ignore=QEMU_BUGS).run()[0].identical


@needs_qemu
def test_mode_and_place_in_virtual_8086_mode() -> None:
    report = compare(Guest(name="v86-matrix"), after=1200, limit=200)
    assert report.culprit is not None
    assert report.culprit.place == "ffff:08bc"
    assert report.culprit.mode.startswith("virtual-8086 mode")


REPEATED = """
    mov edi, 0x200000
    mov ecx, 5000
    mov eax, 0x12345678
    rep stosd
    mov esi, 0x200000
    mov edi, 0x280000
    mov ecx, 3
    rep movsd
    mov edi, 0x200000
    mov ecx, 20
    xor eax, eax
    repne scasd
    mov ecx, 0
    rep stosd
    hlt
"""


@needs_qemu
def test_repeated_instructions() -> None:
    report = compare(REPEATED)
    assert report.identical, report
    assert report.ended == "halted with status 0"


@needs_qemu
@pytest.mark.parametrize("after", [1, 2, 9, 100])
def test_wrong_flag(after: int) -> None:
    report = SingleStep(lambda: PlantedPeer(LOOP, after, flip_carry)).run()[0]
    assert report.culprit is not None
    assert (report.instructions, report.culprit.number) == (after, after - 1)
    assert [difference.what for difference in report.differences] == ["eflags"]
    assert [one.number for one in report.before] == list(range(after - 1))[-8:]


@needs_qemu
def test_flags_and_registers_can_be_ignored() -> None:
    report = SingleStep(lambda: PlantedPeer(LOOP, 9, flip_carry), ignore=["cf"]).run()[0]
    assert report.identical, report
    assert any("1 x eflags" in note for note in report.notes)


@needs_qemu
def test_wrong_stencil_is_named_and_what_follows_is_compared() -> None:
    library = partial(library_with, "move_bswap_32_r32_1", bytes.fromhex("0fc9"), bytes.fromhex("f7d1"))
    reports = SingleStep(peer(LOOP, "bt", library)).run(most=3)
    assert [report.culprit.text for report in reports if report.culprit] == ["bswap ecx"] * 3
    assert [report.instructions for report in reports] == [6, 7, 13]
    assert [(d.what, d.left, d.right) for d in reports[0].differences] == [("ecx", "0xffffffd7", "0x28000000")]


@needs_qemu
def test_wrong_handler_in_real_mode() -> None:
    make = peer(Guest(name="bootsector"), "interp", partial(library_with_handler, "AC", "AD"))
    report = SingleStep(make).run()[0]
    assert report.culprit is not None
    assert report.culprit.text == "lodsb al, byte ptr [si]"
    assert report.culprit.mode.startswith("real mode")


@needs_qemu
def test_wrong_byte_in_memory_that_no_instruction_names() -> None:
    """It shows when all of RAM is compared; then the instruction is found by comparing all of it after each."""

    def write(machine: Machine) -> None:
        machine.ram.write(0x30_0123, b"\x01")

    report = SingleStep(lambda: PlantedPeer(LOOP, 107, write)).run()[0]
    assert (report.instructions, report.ended) == (107, None)
    assert [(d.what, d.left, d.right) for d in report.differences] == [("RAM [0x300120]", "00 00 00 01", "00 00 00 00")]


def test_command_wants_qemu_for_its_options() -> None:
    with pytest.raises(BadUsage, match="--ignore: only with qemu"):
        diff.main(["hello", "--ignore", "af"])


@pytest.mark.parametrize("names", ["axe", "eax,", "0x1g"])
def test_command_refuses_what_cannot_be_ignored(names: str) -> None:
    with pytest.raises(BadUsage):
        diff.main(["hello", "--engines", "bt,qemu", "--ignore", names])


def test_command_without_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(QemuMissing, match=r"qemu-system-i386: not installed here") as raised:
        diff.main(["hello", "--engines", "bt,qemu"])
    assert raised.value.exit_code == 2


@needs_qemu
def test_command_shows_differences_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert diff.main(["hello", "-m", "8", "--engines", "interp,qemu", "--differences", "2"]) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "interp and qemu first differ after instruction 5, because of it."
    assert "> 5 0010001a ea 21 00 10 00 08 00 ljmp 8:0x100021" in lines
    assert "RAM [0x10006d] 9b 9a" in lines
    assert any(line.startswith("interp and qemu agree on the rest") for line in lines)


@needs_qemu
def test_command_begins_at_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert diff.main(["bootsector", "--engines", "bt,qemu", "--until", "0000:7c44", "--max-insns", "4"]) == 0
    assert capsys.readouterr().out.startswith("bt and qemu agree: 4 instructions")
