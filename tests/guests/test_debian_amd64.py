"""Debian's amd64 kernel and the BusyBox of its installer: commands in a shell, the same count under both engines."""

from __future__ import annotations

import re

import pytest

from bt.api.stops import Insns
from bt.machine import EngineName, Machine, MachineConfig
from tests.guests.images import required

PROMPT, MEMORY = "~ # ", 512 << 20
TO_SHELL, A_COMMAND = Insns(12 * 10**9), Insns(2 * 10**9)
COMMANDS = (
    ("echo $((6 * 7))", r"42"),
    ("uname -srm", r"Linux 6\.1\.0-50-amd64 x86_64"),
    ("mount -t proc proc /proc; mount -t devtmpfs dev /dev; cat /proc/mounts", r"proc /proc proc"),
    ("grep -w -o -E 'lm|syscall|nx|cx16|lahf_lm' /proc/cpuinfo | sort | tr '\\n' ' '", r"cx16 lahf_lm lm nx syscall "),
    ("grep -c . /proc/self/maps", r"2\d"),
    ("dd if=/dev/zero bs=1M count=8 2>/dev/null | sha256sum", r"2daeb1f36095b44b"),
    ("seq 1 1000 | awk '{sum += $1 * $1} END {print sum / 7}'", r"4\.76905e\+07|47690500"),
    ("find /lib /bin -xdev -type f | sort | tail -n 1", r"/lib/"),
    ("for n in 1 2 3; do (sleep $n; echo child $n) & done; wait; echo all", r"child 1\s+child 2\s+child 3\s+all"),
    ("i=0; while [ $i -lt 50 ]; do sh -c 'exit 3'; i=$((i + 1)); done; echo forked $i", r"forked 50"),
    ("ps | grep -c kworker", r"\d"),
    ("cat /proc/interrupts", r"timer"),
)


def session(engine: EngineName) -> int:
    """Instructions that it took."""
    config = MachineConfig(memory=MEMORY, engine=engine, cpu="qemu64")
    with Machine(config) as machine:
        kernel, initrd = (str(required(f"debian-12-amd64-{name}")) for name in ("linux", "initrd"))
        machine.load(kernel, append="console=ttyS0 rdinit=/bin/sh", initrd=initrd)
        machine.serial.expect(PROMPT, limit=TO_SHELL)
        for command, pattern in COMMANDS:
            answer = machine.serial.run(command, limit=A_COMMAND)
            assert re.search(pattern, answer.text), (command, answer)
        return machine.clock.insns


@pytest.mark.slow
def test_commands_and_count() -> None:
    assert session("interp") == session("bt")
