"""The fuzzer: short campaigns without a finding, and a finding where something is wrong on purpose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from bt.engine.library.library import load_library
from bt.engine.vcpu import Vcpu
from bt.x86.opcodes import lookup
from tests.engines import factories
from tests.inspect.compare.planted import library_with_handler
from tests.robustness.fuzz.campaign import Child, describe, how_it_died, read_account, run_campaign
from tests.robustness.fuzz.guest import Guest
from tests.robustness.fuzz.pair import Pair, minimise
from tests.robustness.fuzz.program import Program, generate, generate_loops
from tests.robustness.fuzz.settings import SETTINGS

EVERYDAY_PROGRAMS, SLOW_PROGRAMS = 60, 2500
SECONDS = 600
"""Far more than it takes."""
TRANSLATED_16 = 70
DAA, DAS = "27", "2F"


def _campaign(directory: Path, programs: int, forms: int, modes: int) -> None:
    coverage, totals = run_campaign(directory, seed="tests", seconds=SECONDS, programs=programs)
    findings = directory / "findings.txt"
    assert not totals.findings, findings.read_text()
    assert totals.programs == programs
    assert totals.instructions > 400 * programs, "most programs end early"
    assert totals.restarts < 2 * programs, "most programs do not get far between shutdowns"
    assert len(set().union(*coverage.executed.values())) >= forms
    assert len(coverage.executed) >= modes
    assert totals.translated_16 > 0
    assert totals.percent_translated_16 >= TRANSLATED_16, "the interpreter does too much of 16-bit code"


def test_a_short_campaign(tmp_path: Path) -> None:
    _campaign(tmp_path, EVERYDAY_PROGRAMS, 400, 12)


@pytest.mark.slow
def test_a_long_campaign(tmp_path: Path) -> None:
    _campaign(tmp_path, SLOW_PROGRAMS, 800, 20)


@pytest.mark.parametrize("programs", [60, pytest.param(800, marks=pytest.mark.slow)])
def test_loops_in_units(tmp_path: Path, programs: int) -> None:
    """Tier 2 has nearly all of what hardly ever leaves."""
    _, totals = run_campaign(tmp_path, seed="loops", seconds=SECONDS, programs=programs, tier="2", loops=True)
    assert not totals.findings, (tmp_path / "findings.txt").read_text()
    assert totals.instructions > 20_000 * programs, "most programs end early"
    assert totals.percent_in_units >= 90


def test_loops_are_the_same_for_the_same_seed() -> None:
    program = generate_loops(Random(7))
    assert generate_loops(Random(7)) == program
    assert Program.from_line(program.to_line()) == program


@pytest.mark.parametrize("setting", SETTINGS)
def test_programs_are_the_same_for_the_same_seed(setting: str) -> None:
    program = generate(Random(7), setting=setting)
    assert generate(Random(7), setting=setting) == program
    assert Program.from_line(program.to_line()) == program


def test_a_wrong_instruction_is_found_and_alone_remains() -> None:
    """The translator does DAS in place of DAA."""
    library, broken = load_library(), library_with_handler(DAA, DAS)
    (left_name, left), (right_name, right) = factories(unpaged=False).items()
    pair = Pair(Guest(left_name, left, library, "pentium4"), Guest(right_name, right, broken, "pentium4"))
    random, wanted = Random("planted"), (lookup(0, int(DAA, 16)).id,)
    programs = (generate(random, wanted, "flat") for _ in range(50))
    found = next(program for program in programs if pair.run(program) is not None)
    least = minimise(found, lambda less: pair.differs_by(less, less.instructions) is not None)
    assert describe(pair, least).splitlines()[-1].endswith("daa")
    code = b"".join(least.slots)
    assert bytes.fromhex(DAA) in code
    assert len(code) - code.count(b"\x90") < 24


class Forgetful(Guest):
    """Forgets its translations every seven instructions, as processors may (SDM vol. 3A 4.10.2.2)."""

    def run_to(self, instructions: int) -> None:
        while not self.ended and self.instructions < instructions:
            super().run_to(min(instructions, self.instructions // 7 * 7 + 7))
            self.cpu.call("flush_tlb", 1)


def test_what_a_tlb_may_forget_is_no_finding() -> None:
    library, random = load_library(), Random("x")
    paged = [name for name, setting in SETTINGS.items() if setting.paging]
    programs = [generate(random, (), random.choice(paged)) for _ in range(212)]
    differ = 0
    # in the last one the page tables are right again when the difference shows: the guest has restarted
    for program in (*programs[:40], programs[-1]):
        left, right = (kind("interp", Vcpu, library, program.model) for kind in (Guest, Forgetful))
        pair = Pair(left, right)
        if pair.run(program) is not None:
            differ += 1
            assert pair.is_stale_paging(program, pair.locate(program))
        left.close()
        right.close()
    assert differ


def test_a_campaign_that_is_to_be_in_units_and_is_not_fails(tmp_path: Path) -> None:
    """It is mostly services: forms of all kinds, faults, a few instructions at a time."""
    command = [sys.executable, "-m", "tests.robustness.fuzz", "--programs", "6", "--tier", "2", "--setting", "flat"]
    command += ["--seed", "units", "--corpus", str(tmp_path)]
    statuses = {}
    for wanted in ("90", "0.1"):
        done = subprocess.run([*command, "--in-units", wanted], capture_output=True, text=True, check=False)
        statuses[wanted] = done.returncode
    assert statuses == {"90": 2, "0.1": 0}


def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for programs in (5, 8):
        Child(tmp_path, "tests", "").run(SECONDS, programs)
        coverage, totals = read_account(tmp_path)
        assert totals.programs == programs
    assert coverage.features


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("arm(0.01)\nwhile True: pass", "hangs"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("arm(60)", None),
        ("raise ValueError", None),
    ],
)
def test_how_a_child_died(source: str, how: str | None) -> None:
    program = f"from tests.robustness.fuzz.campaign import arm\n{source}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert how_it_died(done.returncode) == how
