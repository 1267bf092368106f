"""The fuzzer in long mode: its programs, the shares it asks for, and small programs for what it has found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from bt.engine.library.library import load_library
from bt.x86.vectors import Vector
from guest_images.assembler import assemble
from tests.cases.model import LONG_CPU
from tests.robustness.fuzz import long_world, world
from tests.robustness.fuzz.campaign import LOOPS_HEAT, Totals, make_pair, run_campaign
from tests.robustness.fuzz.long_program import generate_long
from tests.robustness.fuzz.long_settings import LONG_SETTINGS
from tests.robustness.fuzz.program import Event, Program, cut

SECONDS = 600
"""Far more than it takes."""
SHARE = 80  # percent


@pytest.mark.parametrize("setting", LONG_SETTINGS)
def test_programs_are_the_same_for_the_same_seed(setting: str) -> None:
    program = generate_long(Random(7), setting)
    assert generate_long(Random(7), setting) == program
    assert Program.from_line(program.to_line()) == program


@pytest.mark.parametrize("mode", ["long", "compat"])
@pytest.mark.parametrize("programs", [60, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_campaign(tmp_path: Path, mode: str, programs: int) -> None:
    """No finding, and translators have most of it."""
    coverage, totals = run_campaign(tmp_path, seed="long", seconds=SECONDS, programs=programs, modes=(mode,))
    assert not totals.findings, (tmp_path / "findings.txt").read_text()
    assert totals.programs == programs
    assert totals.instructions > 50_000 * programs, "most programs end early"
    assert totals.restarts < programs / 5, "most programs shut down"
    share, many = totals.percent_of_long_in_units, totals.long
    if mode == "compat":
        share, many = totals.percent_of_compat_translated, totals.compat
    assert many > totals.instructions / 3
    assert share >= SHARE
    assert all(coverage.seen[kind] for kind in (0, 1, 6, 8, 9)), "code of each size"


@pytest.mark.parametrize("programs", [80, pytest.param(3000, marks=pytest.mark.slow)])
def test_random_bytes(tmp_path: Path, programs: int) -> None:
    """At each level nothing becomes of them but faults of the guest."""
    coverage, totals = run_campaign(
        tmp_path, seed="bytes", seconds=SECONDS, programs=programs, modes=("long", "compat"), random_bytes=True
    )
    assert not totals.findings, (tmp_path / "findings.txt").read_text()
    assert totals.programs == programs
    raised = {vector for pairs in coverage.exceptions.values() for vector, _ in pairs}
    assert raised >= {Vector.UD, Vector.GP, Vector.PF}


def test_a_campaign_in_which_too_little_is_translated_fails(tmp_path: Path) -> None:
    """With places that must be come by a million times nothing becomes a unit."""
    command = [sys.executable, "-m", "tests.robustness.fuzz", "--mode", "long", "--programs", "6", "--seed", "share"]
    statuses = {}
    for heat in ("4", "1000000"):
        directory = tmp_path / heat
        done = subprocess.run(
            [*command, "--heat", heat, "--corpus", str(directory)], capture_output=True, text=True, check=False
        )
        statuses[heat] = done.returncode, "of 64-bit code is executed in units" in done.stdout
    assert statuses == {"4": (0, False), "1000000": (2, True)}


def test_where_there_is_no_such_code_the_shares_are_whole() -> None:
    assert Totals().percent_of_long_in_units == Totals().percent_of_compat_translated == 100


_HOP = f"""
    push {long_world.KERNEL_CODE_32}
    push {long_world.ORIGIN + long_world.AREAS[32].offset}
    .byte 0x48, 0xCB
"""
_ROUNDS = """
    mov ecx, 20
again:
    {text}
    dec ecx
    jnz again
forever:
    jmp forever
"""
FOUND: dict[str, tuple[str, str]] = {
    # a path is recorded, and a unit begins behind an instruction that runs alone
    "a trap while a path is recorded": (
        """
        xor r9d, r9d
    outer:
        inc r9d
        mov r8d, 0x202
        cmp r9d, 4
        jne middle
        mov r8d, 0x302
        jmp middle
    middle:
        mov eax, r8d
        mov ecx, 8
    inner:
        push rax
        popfq
        cli
        nop
        nop
        dec ecx
        jnz inner
        jmp outer
    """,
        "",
    ),
    # they are undefined in 32-bit code, and the same in all engines
    "upper halves of registers": ("mov rax, 0x123456789abcdef0\n", "mov ax, 5"),
    # it was left there by the x87 instruction before, of 64-bit code
    "the upper half of an operand's address": (
        f"mov rbx, {long_world.HIGH + world.DATA}\n fld dword [rbx]\n",
        f"fstp dword [{world.DATA}]\n fld dword [{world.DATA}]",
    ),
}
"""By name: 64-bit code, and 32-bit code that it goes on with, over and over."""


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    """Both engines do the same, at level 0, and are compared again and again."""
    long, compatible = FOUND[name]
    area = long_world.AREAS[32].offset
    code = assemble(f"mov esp, {world.STACK_TOPS[0]}\n{long}{_HOP}", 64, long_world.ORIGIN).ljust(area, b"\x90")
    code += assemble(_ROUNDS.format(text=compatible), 32, long_world.ORIGIN + area)
    slots = cut(code.ljust(long_world.PROGRAM_BYTES, b"\x90"))
    program = Program("long", LONG_CPU, "found", slots, (Event(10, "run"),) * 100, calm=True)
    pair = make_pair(load_library(), program.model, "2", heat=LOOPS_HEAT)
    difference = pair.run(program)
    pair.left.close()
    pair.right.close()
    assert difference is None
