"""`bt bench`: what it measures adds up, and survives being written and read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Bt

QUICK = ("--runs", "2", "--seconds", "0.1")


def test_two_engines_do_the_same_work(bt: Bt, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    done = bt("bench", "fib-calls", *QUICK, "--json", str(path))
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    (workload,) = report["workloads"]
    assert list(workload["measurements"]) == ["bt", "interp"]
    assert all(len(each["runs"]) == 2 for each in workload["measurements"].values())
    counts = {each["instructions"] for each in workload["measurements"].values()}
    assert len(counts) == 1
    assert counts.pop() > workload["ops"]  # an operation is a call, of several instructions
    assert "fib-calls" in done.stdout


@pytest.mark.slow  # it waits for the plotting library
def test_report_can_be_read_again(bt: Bt, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path, again, page = tmp_path / "bench.json", tmp_path / "again.json", tmp_path / "bench.html"
    first = bt("bench", "nano-in", "crc", "--engines", "bt,interp", *QUICK, "--json", str(path))
    second = bt("bench", "--read", str(path), "--json", str(again), "--html", str(page))
    assert second.stdout == first.stdout
    assert again.read_text() == path.read_text()
    text = page.read_text()
    assert "nano-in" in text
    for wanted in ("Where the time goes", "tier 1 and the interpreter", "TLB fills", "Ways out of units", "units made"):
        assert wanted in text, wanted


@pytest.mark.skipif(shutil.which("qemu-system-i386") is None, reason="needs qemu-system-i386")
def test_qemu_takes_part(bt: Bt, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    done = bt("bench", "nano-callret", "--engines", "interp", "--peers", "qemu", *QUICK, "--json", str(path))
    assert done.returncode == 0, done.stderr
    (workload,) = json.loads(path.read_text())["workloads"]
    assert set(workload["measurements"]) == {"interp", "qemu"}


def test_a_damaged_report_is_refused(bt: Bt, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    for content in ("", "{}", '{"schema": "bt.bench/1"}', '{"schema": "bt.bench/0"}', "[]"):
        path.write_text(content)
        done = bt("bench", "--read", str(path))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
