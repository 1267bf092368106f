"""A campaign: a child process runs program after program, its parent notes how it ends and starts the next one.

The child writes down each program before it runs it, so that a crash or a hang - more CPU time than any program takes -
leaves the culprit behind. Everything is in one directory: `corpus.txt` (programs that reached something new, a line
each), `findings.txt`, `account.json` (what has been reached, and how much was run), `current.txt`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal
from zlib import crc32

from bt.engine.identity.layout import AT_ONCE
from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.engine.translator.vcpu import Tier, TranslatingVcpu
from bt.engine.vcpu import Vcpu
from tests.robustness.fuzz.coverage import Coverage, StencilDiary
from tests.robustness.fuzz.guest import Guest
from tests.robustness.fuzz.long_program import generate_bytes, generate_long
from tests.robustness.fuzz.long_settings import LONG_SETTINGS
from tests.robustness.fuzz.pair import Difference, Pair, minimise
from tests.robustness.fuzz.program import Program, generate, generate_loops, mutate
from tests.robustness.fuzz.settings import SETTINGS

CPU_SECONDS = 20.0
"""A program that takes longer hangs."""
MANY = 1 << 62
TIERS: tuple[Tier, ...] = ("1", "2")
"""Of the translator, by turns."""
LOOPS_HEAT = 4
_SAVE_SECONDS = 10
_CHANCE_OF_MUTATION = 0.4
_DIARY_EVERY, _STEPPED_EVERY = 5, 50  # programs
_REPORTED_ALIKE = 3
_COUNTED = (
    *("unit_insns", "translated_insns", "serviced"),
    *("long_insns", "long_unit_insns", "interpreted_insns", "services"),
)
MODES = ("legacy", "long", "compat")
"""What programs are of: no long mode, 64-bit code, compatibility mode."""
_HEARTBEAT_BYTES = 1 << 16


def arm(seconds: float) -> None:
    """End this process after so much CPU time; the default action of SIGPROF needs nothing of Python."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


@dataclass
class Totals:
    """How much has been run."""

    programs: int = 0
    instructions: int = 0
    tier_2_instructions: int = 0
    """Of these, so many by programs that tier 2 had."""
    unit_instructions: int = 0
    """Of these, so many in units."""
    translated_16: int = 0
    """Instructions of the fragments that were made in settings of 16 bits."""
    services_16: int = 0
    """Of these, so many that the interpreter does."""
    long: int = 0
    """Instructions of 64-bit code by programs in long mode that tier 2 had."""
    long_in_units: int = 0
    compat: int = 0
    """All others by the same programs."""
    compat_translated: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    restarts: int = 0
    unfinished: int = 0
    """Programs that ended early: too many exits or shutdowns."""
    stale: int = 0
    """Differences that come of page tables changed without a flush of the TLB."""
    findings: Counter[str] = field(default_factory=Counter)

    @property
    def percent_in_units(self) -> float:
        """Of the instructions that tier 2 had."""
        return 100 * self.unit_instructions / max(self.tier_2_instructions, 1)

    @property
    def percent_translated_16(self) -> float:
        """Of 16-bit code; 100 where there was none."""
        return 100 - 100 * self.services_16 / max(self.translated_16, 1)

    @property
    def percent_of_long_in_units(self) -> float:
        """Of 64-bit code; 100 where there was none, and so below."""
        return 100 * self.long_in_units / self.long if self.long else 100.0

    @property
    def percent_of_compat_translated(self) -> float:
        """Of the code of compatibility mode, executed."""
        return 100 * self.compat_translated / self.compat if self.compat else 100.0


class Child:
    """Runs programs until its time is over, or it dies."""

    def __init__(
        self,
        directory: Path,
        seed: str,
        setting: str,
        tier: Tier | Literal[""] = "",
        *,
        loops: bool = False,
        modes: Sequence[str] = MODES[:1],
        heat: int = LOOPS_HEAT,
        random_bytes: bool = False,
    ) -> None:
        self.directory, self.setting, self._loops, self._modes, self._heat = directory, setting, loops, modes, heat
        self._generate_long = generate_bytes if random_bytes else generate_long
        self._tiers = (tier,) if tier else TIERS
        self.random = Random(seed)
        self.library: Library = load_library()
        self.coverage, self.totals = read_account(directory)
        self.corpus = [Program.from_line(line) for line in _lines(directory / "corpus.txt")]
        self._current = os.open(directory / "current.txt", os.O_RDWR | os.O_CREAT)
        self._cpu = time.process_time()
        self._pairs: dict[tuple[str, Tier, int | None, int], Pair] = {}
        self._diaries: dict[tuple[str, Tier, int | None, int], StencilDiary] = {}

    def run(self, seconds: float, programs: int) -> None:
        """The loop: until the time is over or so many programs have been run in all."""
        start = saved = last = time.monotonic()
        try:
            while (now := time.monotonic()) - start < seconds and self.totals.programs < programs:
                self.totals.seconds += now - last
                last = now
                self._one()
                if now - saved > _SAVE_SECONDS:
                    self._save()
                    saved = now
        finally:
            arm(0)
        self._save()

    def _one(self) -> None:
        program = self._choose()
        # units are all that there is of 64-bit code, and without them nothing would be compared
        tier = self._tiers[-1 if program.is_long else self.totals.programs % len(self._tiers)]
        key = program.model, tier, heat_for(program, self._heat), samples_for(program)
        pair = self._pair(*key)
        diary = self._diaries[key]
        before = [pair.right.cpu.control(name) for name in _COUNTED]
        self.totals.programs += 1
        diary.keep(self.totals.programs % _DIARY_EVERY == 0)
        try:
            difference = pair.run(program)
            self.totals.instructions += pair.left.instructions
            counted = (pair.right.cpu.control(name) - was for name, was in zip(_COUNTED, before, strict=True))
            if program.is_long:
                self._account_for_long(pair.right.instructions, *counted)
            else:
                self._account_for(program, tier, pair.right.instructions, *counted)
            self.totals.restarts += pair.left.restarts - 1
            self.totals.unfinished += pair.left.ended
            if difference is not None:
                self._report(program, pair)
            else:
                self._look_at(program, pair)
        except Exception as error:  # whatever it is, it is a finding, and the campaign goes on
            arm(0)
            self._write_finding(type(error).__name__, program, traceback.format_exc())
            for guest in (pair.left, pair.right):
                guest.close()
            del self._pairs[key]

    def _account_for(
        self, program: Program, tier: Tier, instructions: int, units: int, made: int, serviced: int, *_: int
    ) -> None:
        self.totals.tier_2_instructions += instructions if tier == "2" else 0
        self.totals.unit_instructions += units
        if SETTINGS[program.setting].bits == 16:
            self.totals.translated_16 += made
            self.totals.services_16 += serviced

    def _account_for_long(
        self, instructions: int, _u: int, _m: int, _s: int, long: int, in_units: int, interpreted: int, services: int
    ) -> None:
        if self._tiers[-1] != "2":
            return
        compat = instructions - long
        self.totals.long += long
        self.totals.long_in_units += in_units
        self.totals.compat += compat
        self.totals.compat_translated += compat - (interpreted - (long - in_units)) - services

    def _choose(self) -> Program:
        mode = self.random.choice(self._modes)
        if self.setting in LONG_SETTINGS or mode != "legacy":
            return self._generate_long(self.random, self.setting or self.random.choice(settings_of(mode)))
        if self._loops:
            return generate_loops(self.random, self.setting)
        setting = self.setting or self.random.choices(list(SETTINGS), [s.weight for s in SETTINGS.values()])[0]
        chosen = SETTINGS[setting]
        wanted = self.coverage.missing(chosen.bits, chosen.cpl == 3)
        if self.corpus and self.random.random() < _CHANCE_OF_MUTATION:
            return mutate(self.random, self.random.choice(self.corpus), self.corpus, wanted)
        return generate(self.random, wanted, setting)

    def _pair(self, model: str, tier: Tier, heat: int | None, samples: int) -> Pair:
        if (key := (model, tier, heat, samples)) not in self._pairs:
            pair = make_pair(self.library, model, tier, self._watch, heat, samples)
            translator = pair.right.cpu
            assert isinstance(translator, TranslatingVcpu)
            self._pairs[key] = pair
            self._diaries[key] = StencilDiary(translator, self.coverage.stencils)
        return self._pairs[key]

    def _watch(self, program: Program) -> None:
        arm(CPU_SECONDS)
        os.pwrite(self._current, program.to_line().encode().ljust(_HEARTBEAT_BYTES), 0)

    def _look_at(self, program: Program, pair: Pair) -> None:
        """Keep a program that reached something new; look closer at one that has a form in a new mode."""
        new, new_form = self.coverage.of_program(pair.left, pair.right)
        if new and not program.is_long:  # of plots no mutations are made
            self.corpus.append(program)
            with (self.directory / "corpus.txt").open("a") as file:
                file.write(program.to_line() + "\n")
        if new_form or self.totals.programs % _STEPPED_EVERY == 0:
            self._watch(program)
            self.coverage.step_through(pair.left, program)

    # -- findings ----------------------------------------------------------------------------------------------------

    def _report(self, program: Program, pair: Pair) -> None:
        found = pair.locate(program)
        if pair.is_stale_paging(program, found):
            self.totals.stale += 1
            return
        key = _key(found, pair.history(program, found.good))
        original = program
        if self.totals.findings[key] < _REPORTED_ALIKE:
            program = minimise(program, lambda less: pair.differs_by(less, less.instructions) is not None)
            if pair.is_stale_paging(program, pair.locate(program)):  # without what put the page tables right again
                self.totals.stale += 1
                return
        self._write_finding(key, program, f"{describe(pair, program)}\nat first {original.to_line()}")

    def _write_finding(self, key: str, program: Program, text: str) -> None:
        self.totals.findings[key] += 1
        if self.totals.findings[key] <= _REPORTED_ALIKE:
            write_finding(self.directory, key, program.to_line(), text)

    def _save(self) -> None:
        cpu = time.process_time()
        self.totals.cpu_seconds += cpu - self._cpu
        self._cpu = cpu
        account = {"coverage": self.coverage.to_json(), "totals": vars(self.totals)}
        temporary = self.directory / "account.new"
        temporary.write_text(json.dumps(account))
        temporary.replace(self.directory / "account.json")


def heat_for(program: Program, heat: int = LOOPS_HEAT) -> int | None:
    """How often a place is come by before it has a unit of the path from there; None: each block has one of its own
    before it has run. With paging tier 2 would give itself a rest instead: opening pages is dear."""
    if program.is_long:
        return heat
    return heat if program.calm and not SETTINGS[program.setting].paging else None


def samples_for(program: Program) -> int:
    """How often a unit of 64-bit code is come upon before it has reaches: half of the programs have them at once."""
    return crc32(program.code) & 1 if program.is_long else AT_ONCE


def settings_of(mode: str) -> list[str]:
    """The settings in long mode that "long" or "compat" stands for."""
    return [name for name, each in LONG_SETTINGS.items() if each.is_compatibility == (mode == "compat")]


def make_pair(
    library: Library,
    model: str,
    tier: Tier,
    watch: Callable[[Program], object] | None = None,
    heat: int | None = None,
    samples: int = AT_ONCE,
) -> Pair:
    """The interpreter, and the translator with this tier where a guest can have it. `heat`: see `heat_for`; `samples`:
    see `samples_for`."""
    left = Guest("interp", Vcpu, library, model)
    right = Guest(f"bt, tier {tier}", partial(TranslatingVcpu, tier=tier, heat=heat, samples=samples), library, model)
    return Pair(left, right, watch or (lambda program: None))


def _key(found: Difference, history: list[str]) -> str:
    """What findings of one cause probably have in common: the instruction and the registers."""
    instruction = " ".join(history[-1].split()[4:5]) if history else "?"
    return f"{instruction}: {' '.join(sorted(found.what))[:80]}"


def describe(pair: Pair, program: Program) -> str:
    """Where the engines part, and what led there."""
    found = pair.locate(program)
    where = f"{program.setting}, {program.model}, {pair.right.engine}"
    lines = [f"{where}: alike after {found.good} instructions, not after {found.bad}"]
    lines += [f"  {name}: {left} / {right}"[:400] for name, (left, right) in found.what.items()]
    return "\n".join([*lines, *pair.history(program, found.good)])


def write_finding(directory: Path, key: str, line: str, text: str) -> None:
    """Note it for people; the program is the line that begins with a bracket."""
    with (directory / "findings.txt").open("a") as file:
        file.write(f"== {key}\n{text}\n{line}\n\n")


def read_account(directory: Path) -> tuple[Coverage, Totals]:
    """What the campaign in a directory has come to so far."""
    try:
        account = json.loads((directory / "account.json").read_text())
    except FileNotFoundError:
        return Coverage(), Totals()
    totals = Totals(**account["totals"] | {"findings": Counter(account["totals"]["findings"])})
    return Coverage.from_json(account["coverage"]), totals


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def how_it_died(status: int) -> str | None:
    """The name of a finding for the exit status of a child; None if it ended by itself."""
    if status >= 0:
        return None
    return "hangs" if -status == signal.SIGPROF else signal.Signals(-status).name


def run_campaign(
    directory: Path,
    *,
    seed: str,
    seconds: float,
    programs: int = MANY,
    setting: str = "",
    tier: str = "",
    loops: bool = False,
    modes: Sequence[str] = MODES[:1],
    heat: int = LOOPS_HEAT,
    random_bytes: bool = False,
) -> tuple[Coverage, Totals]:
    """Run children until the time is over or so many programs have been run. `loops`: programs of loops.py alone.

    `modes`: of MODES. `heat`: see `heat_for`. `random_bytes`: those in long mode are random bytes.
    """
    end = time.monotonic() + seconds
    deaths: Counter[str] = Counter()
    number = 0
    while (left := end - time.monotonic()) > 0:
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.robustness.fuzz", "--child", str(directory)]
        command += ["--seconds", str(left), "--programs", str(programs)]
        command += ["--seed", f"{seed}.{number}", "--setting", setting]
        command += ["--tier", tier] if tier else []
        command += ["--loops"] if loops else []
        command += ["--mode", ",".join(modes), "--heat", str(heat)]
        command += ["--random-bytes"] if random_bytes else []
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if not done.returncode:
            break
        key = how_it_died(done.returncode)
        if key is None:
            raise RuntimeError(f"the fuzzer itself fails:\n{done.stderr}")
        deaths[key] += 1
        write_finding(directory, key, (directory / "current.txt").read_text().strip(), done.stderr[-2000:])
        number += 1
    coverage, totals = read_account(directory)
    totals.findings.update(deaths)
    return coverage, totals
