"""Fuzzing the two engines against each other: `python -m tests.robustness.fuzz --minutes 60`.

    --minutes M     how long (default 1)
    --programs N    no more than so many
    --seed S        another seed, other programs (default: the time)
    --setting NAME  only programs that start in this mode; --setting ? lists them
    --tier N        only tier 1 or 2 of the translator; without it they take turns
    --loops         programs of loops that hardly ever leave (loops.py), with units of whole paths
    --mode M,...    what programs are of: legacy (the default), long (64-bit code), compat (compatibility mode); with
                    the last two handlers and other parts are of the respective other one
    --heat N        how often a place is come by before it gets a unit, in loops and long mode (default 4)
    --random-bytes  in long mode programs of random bytes, and of instructions of any form
    --in-units P    fail with status 2 unless P % of the instructions of tier 2's programs were executed in units
    --translated P  fail with status 2 unless P % of 16-bit code (default 70) was translated, not interpreted
    --translated-long P  the same of 64-bit code, in units, and of compatibility mode, in fragments (default 80)
    --corpus DIR    where programs, findings and account are kept; a campaign there goes on
    --replay FILE   run the programs (lines that begin with a bracket) of a file and say what differs

Ends with status 1 if there is any finding, else with 2 if too little was executed in units or translated.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bt.engine.library.library import load_library
from tests.robustness.fuzz.campaign import (
    LOOPS_HEAT,
    MANY,
    MODES,
    TIERS,
    Child,
    describe,
    heat_for,
    make_pair,
    run_campaign,
    samples_for,
)
from tests.robustness.fuzz.long_settings import LONG_SETTINGS
from tests.robustness.fuzz.program import Program
from tests.robustness.fuzz.report import lines
from tests.robustness.fuzz.settings import SETTINGS


def main() -> int:
    """Entry of the program."""
    parser = argparse.ArgumentParser(prog="tests.robustness.fuzz", description="see the head of this module")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--programs", type=int, default=MANY)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--setting", default="")
    parser.add_argument("--tier", choices=TIERS, default="")
    parser.add_argument("--loops", action="store_true")
    parser.add_argument("--mode", type=modes, default=MODES[:1], metavar=",".join(MODES))
    parser.add_argument("--random-bytes", action="store_true")
    parser.add_argument("--heat", type=int, default=LOOPS_HEAT)
    parser.add_argument("--in-units", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--translated", type=float, default=70.0, metavar="PERCENT")
    parser.add_argument("--translated-long", type=float, default=80.0, metavar="PERCENT")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = [*SETTINGS, *LONG_SETTINGS]
    if options.setting and options.setting not in settings:
        parser.error(f"--setting {options.setting}: there are {', '.join(settings)}")
    if options.child:
        child = Child(
            options.child,
            options.seed,
            options.setting,
            options.tier,
            loops=options.loops,
            modes=options.mode,
            heat=options.heat,
            random_bytes=options.random_bytes,
        )
        child.run(options.seconds, options.programs)
        return 0
    if options.replay:
        return replay(options.replay, options.heat)
    directory = options.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
    directory.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed}, everything is kept in {directory}", flush=True)
    coverage, totals = run_campaign(
        directory,
        seed=options.seed,
        seconds=60 * options.minutes,
        programs=options.programs,
        setting=options.setting,
        tier=options.tier,
        loops=options.loops,
        modes=options.mode,
        heat=options.heat,
        random_bytes=options.random_bytes,
    )
    print("\n".join(lines(coverage, totals, load_library())))
    if totals.findings:
        return 1
    too_little = False
    for what, percent, wanted in (
        ("of tier 2's instructions are executed in units", totals.percent_in_units, options.in_units),
        ("of 16-bit code is translated", totals.percent_translated_16, options.translated),
        ("of 64-bit code is executed in units", totals.percent_of_long_in_units, options.translated_long),
        ("of compatibility mode is translated", totals.percent_of_compat_translated, options.translated_long),
    ):
        if percent < wanted:
            print(f"{percent:.1f} % {what}; {wanted:g} % are wanted")
            too_little = True
    return 2 if too_little else 0


def modes(text: str) -> list[str]:
    """Some of MODES, with commas between them."""
    found = text.split(",")
    if unknown := set(found) - set(MODES):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(MODES)}")
    return found


def replay(path: Path, heat: int) -> int:
    """Run the programs of a file; 1 if the engines differ in any. `heat`: see `heat_for`."""
    library, status = load_library(), 0
    for line in path.read_text().splitlines():
        if not line.removeprefix("at first ").startswith("["):
            continue
        program = Program.from_line(line.removeprefix("at first "))
        for tier in TIERS:
            pair = make_pair(library, program.model, tier, heat=heat_for(program, heat), samples=samples_for(program))
            differs = pair.run(program) is not None
            print(describe(pair, program) if differs else "no difference")
            status |= differs
    return status


if __name__ == "__main__":
    sys.exit(main())
