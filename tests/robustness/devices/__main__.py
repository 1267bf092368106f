"""Fuzzing the devices of a whole machine: `python -m tests.robustness.devices --hours 1`.

    --hours H, --minutes M  how long (default: a minute)
    --episodes N            no more than so many
    --seed S                another seed, other episodes (default: the time)
    --missing               with the account of lines reached, the numbers of those that were not
    --no-coverage           count no lines: more episodes in the same time
    --replay FILE           do once more what a finding says

Ends with status 1 if there is any finding; each is printed as a file for --replay.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.robustness.devices.campaign import Campaign, Finding, run_campaign
from tests.robustness.devices.coverage import Coverage
from tests.robustness.devices.target import Action

MANY = 1 << 62


def main() -> int:
    """Entry of the program."""
    parser = argparse.ArgumentParser(prog="tests.robustness.devices", description="see the head of this module")
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--episodes", type=int, default=MANY)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--no-coverage", action="store_true")
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay)
    seconds = 3600 * options.hours + 60 * options.minutes or 60.0
    coverage = None if options.no_coverage else Coverage()
    print(f"seed {options.seed}", flush=True)
    campaign = run_campaign(options.seed, seconds, options.episodes, coverage, _show)
    for where, times in campaign.totals.alike.items():
        print(f"{times} times: {where}")
    print("\n".join(account(campaign, options.missing)))
    return int(bool(campaign.findings))


def _show(finding: Finding) -> None:
    print("\n".join((f"\n# {finding.where}", *finding.lines())), flush=True)


def account(campaign: Campaign, missing: bool) -> list[str]:
    totals = campaign.totals
    lines = list(campaign.coverage.account(missing)) if campaign.coverage is not None else []
    return [
        *lines,
        f"{totals.episodes} episodes, {totals.actions} actions in {totals.seconds / 3600:.2f} h "
        f"({totals.cpu_seconds / 3600:.2f} h of a processor's time)",
        f"most memory more than before: {totals.most_growth / (1 << 20):.1f} MiB",
        f"slowest action: {totals.slowest[0]:.2f} s, {totals.slowest[1][:100]}",
        f"{len(campaign.findings)} findings",
    ]


def replay(path: Path) -> int:
    """Do the actions of a file; 1 if something goes wrong."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    machine = lines[0].removeprefix("machine ")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        found = Campaign("", Path(directory)).replay(machine, map(Action.from_line, lines[1:]))
    print("nothing is wrong" if found is None else found.details)
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
