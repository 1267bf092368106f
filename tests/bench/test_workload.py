"""Which guests are measured, and what they answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import guest_images
from bt.bench.process import MeasurementFailed, Outcome, run
from bt.bench.runner import Settings, measure
from bt.bench.workload import Answer, Workload, answer, select
from bt.errors import BadImage, BadUsage


def test_all_measuring_guests_by_default() -> None:
    labels = [workload.label for workload in select([])]
    measuring = [image.name for image in guest_images.images() if image.kind in ("compute", "fp", "compute64", "nano")]
    assert [label for label in labels if ":" not in label] == measuring
    assert len(labels) > len(measuring)


def test_options_reach_the_command_line() -> None:
    (workload,) = select(["sieve:size=4096"])
    assert workload.append(7) == "n=7 size=4096"


@pytest.mark.parametrize(
    ("label", "error", "said"),
    [
        ("nothing", BadImage, "no built-in guest"),
        ("hello", BadUsage, "kind demo measures nothing"),
        ("sieve:n=3", BadUsage, "no option 'n=3'"),
        ("sieve:depth=3", BadUsage, "no option 'depth=3'"),
        ("crc:size", BadUsage, "no option 'size'"),
    ],
)
def test_what_cannot_be_measured(label: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        select([label])


def outcome(output: str, status: int = 1, errors: str = "") -> Outcome:
    return Outcome(output, errors, status, 0.1, 0.1)


def test_answer_is_read_with_either_line_end() -> None:
    for end in ("\n", "\r\n"):
        found = answer("x", Workload("crc"), outcome(end.join(["crc", "result=0000beef", "ops=65536", ""])))
        assert found == Answer("0000beef", 65536)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (outcome("crc\nself-check failed\n", 3), "status 3: self-check failed"),
        (outcome("crc\nresult=0000beef\nops=1\n", 3), "status 3"),
        (outcome("", -11), "status -11: silent"),
        (outcome("crc\n", 2, "bt: something: wrong\n"), "status 2: bt: something: wrong"),
    ],
)
def test_a_run_that_failed_is_no_measurement(wrong: Outcome, said: str) -> None:
    with pytest.raises(MeasurementFailed, match=said):
        answer("x", Workload("crc"), wrong)


def test_cpu_time_of_children_counts() -> None:
    busy = "i = 0; t = __import__('time').process_time\nwhile t() < 0.3: i += 1"
    shell = ["sh", "-c", f'{sys.executable} -c "{busy}"; exit 7']
    found = run(shell, 30)
    assert found.status == 7
    assert 0.25 < found.cpu_seconds < 1.5


def test_a_process_that_does_not_end_is_ended() -> None:
    with pytest.raises(MeasurementFailed, match="not done after"):
        run(["sleep", "60"], 0.3)


class Script:
    """A contender that is a shell script; `wrong` makes it answer another result."""

    def __init__(self, name: str, wrong: str = "") -> None:
        self.name = name
        self.wrong = wrong

    def prepare(self, scratch: Path) -> str:
        return "1"

    def can_run(self, workload: Workload) -> bool:
        return True

    def command(self, workload: Workload, n: int) -> list[str]:
        result = "0000dead" if workload.label == self.wrong else "0000beef"
        work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done" if n else ":"
        return ["sh", "-c", f'{work}; printf "result={result}\\nops={n}\\n"; exit 1']

    def record(self) -> dict[str, Any]:
        return {}


def test_one_wrong_answer_costs_one_workload() -> None:
    heard: list[str] = []
    report = measure(
        select(["crc", "matmul"]), [Script("good"), Script("bad", wrong="crc")], Settings(1, 0.001), heard.append
    )
    assert [result.label for result in report.workloads] == ["matmul"]
    assert len(report.failures) == 1
    assert report.failures[0].startswith("crc: good answers")
    assert f"failed: {report.failures[0]}" in heard
