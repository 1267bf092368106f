"""Lock step: agreement of the engines on the built-in guests, and planted differences found to the instruction."""

from __future__ import annotations

from functools import partial

import pytest
from rich.console import Console

import guest_images
from bt.cli import diff
from bt.engine.library.library import Library
from bt.errors import BadUsage
from bt.inspect.compare.lockstep import LockStep, Report
from bt.inspect.compare.peer import MachinePeer, PeerFactory
from bt.machine import EngineName, Machine, MachineConfig
from bt.machine.config import TierName
from guest_images import third_party
from tests.inspect.compare.planted import (
    ADDRESS,
    Guest,
    PlantedPeer,
    ShyPeer,
    flip_carry,
    library_with,
    library_with_handler,
    peer,
)

# Several million instructions, among them few that write flags, and pieces of more than one instruction.
LONG = """
    mov ecx, 300000
again:
    mov eax, ecx
    mov ebx, [0x200000]
    lea edx, [eax + ebx]
    not edx
    mov [0x200000], edx
    bswap ecx
    bswap ecx
    xchg ecx, esi
    xchg ecx, esi
    loop again
    hlt
"""
WRONG_BYTE = 0x30_0123


def compare(left: PeerFactory, right: PeerFactory, *, every: int | None = None, limit: int | None = None) -> Report:
    return LockStep(left, right, every=every, limit=limit).run()


def built_in(name: str, engine: EngineName, append: str = "", tier: TierName = "auto") -> PeerFactory:
    path = guest_images.image(name).path
    config = MachineConfig(memory=64 << 20, engine=engine, tier=tier)
    return lambda: MachinePeer(config, lambda machine: machine.load(path, append=append))


@pytest.mark.parametrize(
    ("name", "append"),
    [
        ("hello", ""),
        ("smc", "n=20"),
        ("sensitive", ""),
        ("minikernel", ""),
        ("nano-pgfault", "n=200"),
        ("switch", "n=30"),
    ],
)
@pytest.mark.parametrize("tier", ["1", "2"])
def test_engines_agree(name: str, append: str, tier: TierName) -> None:
    report = compare(built_in(name, "interp", append), built_in(name, "bt", append, tier))
    assert report.identical, report
    assert report.ended == "exit with status 1"
    assert report.instructions > 500


@pytest.mark.slow
def test_engines_agree_on_a_kernel() -> None:
    kernel = third_party.locate("debian-12-linux")
    if kernel is None:
        pytest.skip("debian-12-linux is not fetched (make guests)")

    def factory(engine: EngineName) -> PeerFactory:
        config = MachineConfig(memory=128 << 20, engine=engine)
        return lambda: MachinePeer(config, lambda machine: machine.load(kernel, append="earlyprintk=ttyS0"))

    report = compare(factory("interp"), factory("bt"), limit=500_000_000)
    assert report.identical, report
    assert report.instructions == 500_000_000


@pytest.mark.parametrize("every", [None, 7, 1000])
def test_engines_agree_wherever_they_are_stopped(every: int | None) -> None:
    report = compare(built_in("smc", "interp", "n=2"), built_in("smc", "bt", "n=2"), every=every, limit=20_000)
    assert report.identical, report


@pytest.mark.parametrize("after", [1, 2, 17, 5000, 100_000, 1_234_567])
def test_wrong_flag_is_found_at_its_instruction(after: int) -> None:
    report = compare(peer(LONG, "interp"), lambda: PlantedPeer(LONG, after, flip_carry))
    assert report.instructions == after
    assert report.culprit is not None
    assert report.culprit.number == after - 1
    assert [difference.what for difference in report.differences] == ["eflags"]
    assert "cf" in report.differences[0].right
    assert "cf" not in report.differences[0].left
    assert [one.number for one in report.before] == list(range(after - 1))[-8:]


def test_the_culprit_is_shown_as_it_stands_in_memory() -> None:
    report = compare(peer(LONG, "interp"), lambda: PlantedPeer(LONG, 5, flip_carry))
    assert report.culprit is not None
    assert (report.culprit.eip, report.culprit.text) == (ADDRESS + 5 + 2 + 6 + 3, "not edx")
    assert [one.text for one in report.before][:2] == ["mov ecx, 0x493e0", "mov eax, ecx"]


def test_wrong_byte_in_memory_that_no_register_ever_shows() -> None:
    def write(machine: Machine) -> None:
        machine.ram.write(WRONG_BYTE, b"\x01")

    report = compare(peer(LONG, "interp"), lambda: PlantedPeer(LONG, 1_000_003, write))
    assert report.instructions == 1_000_003
    assert [(d.what, d.left, d.right) for d in report.differences] == [
        (f"RAM [{WRONG_BYTE & ~3:#x}]", "00 00 00 00", "00 00 00 01")
    ]


def test_wrong_device() -> None:
    def mask(machine: Machine) -> None:
        machine.ports.write(0x21, 1, 0x5A)

    report = compare(peer(LONG, "interp"), lambda: PlantedPeer(LONG, 900, mask))
    assert report.instructions == 900
    assert [(d.what, d.left, d.right) for d in report.differences] == [("PIC.master.imr", "184", "90")]


WITH_BSWAP = "mov ecx, 1000\nagain:\nnop\nloop again\nmov ecx, 0x12345678\nnop\nbswap ecx\nnop\nhlt\n"


def test_wrong_stencil_is_found_although_the_interpreter_finishes_what_is_stopped() -> None:
    def library() -> Library:
        return library_with("move_bswap_32_r32_1", sound=bytes.fromhex("0fc9"), broken=bytes.fromhex("f7d1"))

    report = compare(peer(WITH_BSWAP, "interp"), peer(WITH_BSWAP, "bt", library))
    assert report.culprit is not None
    assert report.culprit.text == "bswap ecx"
    assert report.culprit.number == 1 + 2 * 1000 + 2
    assert not report.piece
    assert [(d.what, d.left, d.right) for d in report.differences] == [("ecx", "0x78563412", "0xedcba987")]


def test_translation_that_is_wrong_only_in_company() -> None:
    """Alone, the addition is translated with its flags; only before another one does the broken stencil serve."""

    def library() -> Library:
        return library_with("arith_add_32_r32_1_r32_2_dead", sound=bytes.fromhex("01d1"), broken=bytes.fromhex("29d1"))

    source = "mov ecx, 5\nmov edx, 2\njmp on\non:\nnop\nadd ecx, edx\nadd ebx, eax\nnop\nhlt\n"
    report = compare(peer(source, "interp"), peer(source, "bt", library))
    assert [one.text for one in report.piece] == ["nop", "add ecx, edx", "add ebx, eax"]
    assert report.culprit == report.piece[-1]
    assert [(d.what, d.left, d.right) for d in report.differences] == [("ecx", "0x7", "0x3")]


@pytest.mark.parametrize("unobserved", [40_000, 2_000])
def test_difference_that_hides_when_looked_at_is_found_from_the_stop_before(unobserved: int) -> None:
    report = compare(peer(LONG, "interp"), lambda: ShyPeer(LONG, 150_000, unobserved))
    assert report.culprit is not None
    assert report.culprit.number == report.instructions - 1
    assert report.unstopped is not None
    start, end = report.unstopped
    assert (start, end) == (100_000, max(150_000, 100_000 + unobserved + 1))
    assert [difference.what for difference in report.differences] == ["eflags"]


def test_machines_that_do_not_start_alike() -> None:
    report = compare(peer("mov eax, 1\nhlt", "interp"), peer("mov eax, 2\nhlt", "bt"))
    assert (report.instructions, report.culprit) == (0, None)
    assert [difference.what for difference in report.differences] == ["RAM [0x100000]"]


# -- every mode -------------------------------------------------------------------------------------------------------

REAL_LOOP = "mov cx, 500\nagain:\ninc ax\nlea bx, [bx + 3]\nmov [bx + 0x4000], ax\nloop again\nhlt\n"


def test_real_mode() -> None:
    guest = Guest(REAL_LOOP, 16)
    report = compare(peer(guest, "interp"), lambda: PlantedPeer(guest, 1003, flip_carry))
    assert report.culprit is not None
    assert (report.culprit.number, report.culprit.place) == (1002, "0000:7c04")
    assert report.culprit.text == "lea bx, [bx + 3]"
    assert report.culprit.mode.startswith("real mode, no paging, CPL 0, 16-bit code, 16-bit stack")
    assert [one.text for one in report.before][-3:] == ["mov word ptr [bx + 0x4000], ax", "loop 0x7c03", "inc ax"]


@pytest.mark.parametrize(
    ("name", "wrong", "right", "text", "mode"),
    [
        ("bootsector", "AC", "AD", "lodsb al, byte ptr [si]", "real mode"),
        ("real-mode-matrix", "17", "07", "pop ss", "real mode"),
        ("v86-matrix", "FA", "FB", "cli", "virtual-8086 mode"),
    ],
)
def test_wrong_handler_is_found_in_16_bit_code(name: str, wrong: str, right: str, text: str, mode: str) -> None:
    guest = Guest(name=name)
    report = compare(peer(guest, "interp"), peer(guest, "interp", partial(library_with_handler, wrong, right)))
    assert report.culprit is not None
    assert report.culprit.text == text
    assert report.culprit.mode.startswith(mode)
    assert ":" in report.culprit.place


PROTECTED_16 = """
    lgdt [0x7d00]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 8:0x7c20
    .space 0x7c20 - 0x7c12
    mov cx, 3
again:
    push cx
    bswap eax
    loop again
    hlt
    .space 0x7d00 - 0x7c2a
    .word 15
    .long 0x7d08
    .word 0
    .long 0, 0, 0x0000ffff, 0x00009a00
"""


def test_16_bit_protected_mode() -> None:
    guest = Guest(PROTECTED_16, 16)
    library = partial(library_with_handler, wrong="0F C8+r", right="0F A2")
    report = compare(peer(guest, "interp"), peer(guest, "interp", library))
    assert report.culprit is not None
    assert (report.culprit.place, report.culprit.text) == ("0008:7c24", "bswap eax")
    assert report.culprit.mode.startswith("protected mode, no paging, CPL 0, 16-bit code, 16-bit stack")


@pytest.mark.parametrize(
    ("name", "append"),
    [
        ("bootsector", ""),
        ("real-mode-matrix", ""),
        ("v86-matrix", "vme=on"),
        ("paging-matrix", "reserved=on"),
        ("task-matrix", "strict=on"),
    ],
)
def test_engines_agree_in_every_mode(name: str, append: str) -> None:
    report = compare(built_in(name, "interp", append), built_in(name, "bt", append))
    assert report.identical, report
    assert report.ended == "exit with status 1"


# -- the command ------------------------------------------------------------------------------------------------------


def test_command_says_that_engines_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert diff.main(["hello", "-m", "8"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("interp and bt agree: ")
    assert said.endswith("the guest ended: exit with status 1\n")


def test_command_stops_at_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert diff.main(["switch", "--max-insns", "5000", "--every", "600", "--engines", "bt,bt"]) == 0
    assert capsys.readouterr().out == "bt and bt agree: 5,000 instructions\n"


def test_command_shows_the_difference(capsys: pytest.CaptureFixture[str]) -> None:
    report = compare(peer(LONG, "interp"), lambda: PlantedPeer(LONG, 5, flip_carry))
    diff.show(report, Console(width=100))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "interp and bt first differ after instruction 5, because of it."
    assert lines[1].startswith("protected mode, no paging, CPL 0, 32-bit code")
    assert "> 5 00100010 f7 d2 not edx" in lines
    assert "interp bt" in lines
    assert "eflags 0x2 0x3 cf" in lines


def test_command_says_what_it_took_to_see_the_difference(capsys: pytest.CaptureFixture[str]) -> None:
    report = compare(peer(LONG, "interp"), lambda: ShyPeer(LONG, 150_000, 40_000))
    diff.show(report, Console(width=300))
    said = capsys.readouterr().out
    assert said.startswith(
        "interp and bt first differ after instruction 150,000, if instructions 100,001 to 150,000 run without a stop."
    )


@pytest.mark.parametrize("engines", ["bt", "qemu,bt", "qemu,qemu", "bt,interp,bt"])
def test_command_refuses_engines_it_has_not(engines: str) -> None:
    with pytest.raises(BadUsage, match="give two of interp, bt, or one of them and qemu"):
        diff.main(["hello", "--engines", engines])
