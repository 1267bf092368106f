"""Debian's kernel and BusyBox, side by side with QEMU's translator: `python -m benchmarks.boot [RUNS] [PART...]`.

Claims: to the shell in at most 0.4 of the time that `qemu-system-i386 -accel tcg` takes on the same machine, with the
same devices and command line, without PCI in 0.7; there, each task at least at TCG's rate, a process in two thirds of
TCG's time; sectors from ATA (by DMA and by PIO) and virtio at least at TCG's; through SeaBIOS to GRUB's prompt, and
Debian's amd64 installer to its shell, in TCG's time. Parts: pc, disks, isapc (no PCI), pio, grub, amd64; all of them by
default. bt and QEMU take turns; what is shown is the median of the pairs' ratios, the least and the most. Wall time,
from the start of the process to the prompt, and from a command to its end. Memory of the host's beside the guest's RAM
is shown as it is at the prompt and when all is done.
"""

from __future__ import annotations

import math
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import NamedTuple

from bt.bench.process import MeasurementFailed
from bt.cli import library
from guest_images.disks.made import made
from guest_images.third_party import locate

PROMPT, DONE = rb"(bt|~ )# (\x1b\[6n)?$", "that is all"  # the shell asks where the cursor is
MENU, GRUB_PROMPT = rb"GNU GRUB  version", rb"grub> ?"
DISK_BYTES = 64 << 20
PATIENCE_SECONDS = 120.0  # without a word
# fmt: off
CONTENDERS: dict[str, tuple[str, ...]] = {
    "bt": (sys.executable, "-m", "bt.cli.main", "run"),
    "qemu": ("qemu-system-i386", "-accel", "tcg", "-nodefaults", "-vga", "std", "-display", "none",
             "-serial", "stdio", "-no-reboot"),
}
# fmt: on


class Task(NamedTuple):
    """Something to do at the prompt: what is counted, how many of it, and the command."""

    name: str
    unit: str
    amount: int
    command: str
    before: str = ":"  # not measured
    least: float = 1.0  # bt's rate by TCG's


def _reading(device: str, how: str, mib: int) -> Task:
    command = f"dd if=/dev/{device} of=/dev/null bs=64k count={16 * mib} 2>/dev/null"
    return Task(f"{how}, reading", "sectors", mib << 11, command, "echo 3 >/proc/sys/vm/drop_caches")


def _writing(device: str, how: str, mib: int) -> Task:
    command = f"dd if=/dev/zero of=/dev/{device} bs=64k count={16 * mib} conv=fsync 2>/dev/null"
    return Task(f"{how}, writing", "sectors", mib << 11, command)


TASKS = (
    Task("fork+exec", "processes", 300, "i=0; while [ $i -lt 300 ]; do /bin/busybox true; i=$((i+1)); done", least=1.5),
    Task("gzip", "bytes", 1_288_895, "gzip -c /tmp/text >/dev/null", "seq 1 200000 >/tmp/text"),
    Task("sha256sum", "bytes", 8 << 20, "head -c 8388608 /dev/zero | sha256sum"),
    Task("awk", "rounds", 300_000, "awk 'BEGIN {for (i = 0; i < 300000; i++) s += i * i % 7; print s}'"),
    Task("shell loop", "rounds", 50_000, "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done"),
    Task("pipe", "bytes", 40_960_000, "dd if=/dev/zero bs=4k count=10000 2>/dev/null | cat | wc -c"),
    Task("dd bs=1", "bytes", 300_000, "dd if=/dev/zero of=/dev/null bs=1 count=300000 2>/dev/null"),
)
DISK_TASKS = (
    _reading("sda", "ATA by DMA", 48),
    _writing("sda", "ATA by DMA", 48),
    _reading("vda", "virtio", 48),
    _writing("vda", "virtio", 48),
)
PIO_TASKS = (_reading("sda", "ATA by PIO", 8), _writing("sda", "ATA by PIO", 8))


class Part(NamedTuple):
    """A machine, what its kernel is told besides, what is done there; or a disk whose GRUB is asked for its prompt."""

    machine: Sequence[str]
    append: str
    tasks: Sequence[Task]
    most: float  # of the time that TCG takes to the prompt
    disk: str = ""
    ram: int = 256  # MiB
    is_amd64: bool = False


PARTS = {
    "pc": Part(("-M", "pc"), "", TASKS, 0.4),
    "disks": Part(("-M", "pc"), "", DISK_TASKS, 0.4),
    # QEMU's isapc has a 486, which this kernel is not for, and an I/O APIC that no table tells of, on which it panics
    "isapc": Part(("-M", "isapc", "-cpu", "pentium3"), "noapic", (), 0.7),
    "pio": Part(("-M", "pc"), "libata.dma=0", PIO_TASKS, 0.4),
    "grub": Part(("-M", "pc"), "", (), 1.0, "debian-sysvinit.img"),
    "amd64": Part(("-M", "pc", "-cpu", "qemu64"), "rdinit=/bin/sh", (), 1.0, ram=512, is_amd64=True),
}


@dataclass(frozen=True)
class Times:
    """Seconds: to the prompt, and of each task. MiB beside the RAM: at the prompt, and in the end."""

    boot: float
    tasks: tuple[float, ...]
    beside_ram: tuple[float, float]


class Vm:
    """One process, its serial port on pipes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._said = bytearray()

    def wait_for(self, pattern: bytes) -> None:
        """Until it has said so. Raises MeasurementFailed."""
        assert self._process.stdout is not None
        while (found := re.search(pattern, self._said)) is None:
            is_there, _, _ = select.select([self._process.stdout], [], [], PATIENCE_SECONDS)
            more = self._process.stdout.read(1 << 16) if is_there else b""
            self._said += more or b""
            if not more:
                raise MeasurementFailed(f"no {pattern!r} behind {bytes(self._said[-300:])!r}")
        del self._said[: found.end()]

    def type(self, keys: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(keys.encode())

    def do(self, command: str) -> float:
        """Seconds that a command at the prompt takes."""
        start = time.monotonic()
        self.type(f"{command}; echo {DONE.replace(' ', '  ')}\n")
        self.wait_for(DONE.encode())
        seconds = time.monotonic() - start
        self.wait_for(PROMPT)
        return seconds

    def beside(self, ram: int) -> float:
        """MiB of the host's memory that the process holds beside the guest's RAM (`ram` MiB): resident pages of its
        own, and the host's page tables. Files that are mapped (libraries) do not count."""
        own = Path("/proc") / str(self._process.pid)
        kib = int(_field((own / "status").read_text(), "VmPTE"))
        for mapping in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", (own / "smaps").read_text()):
            if mapping and int(_field(mapping, "Size")) != ram << 10:
                kib += int(_field(mapping, "Anonymous"))
        return kib / 1024

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def _field(text: str, name: str) -> str:
    """Of a line of /proc: a number of KiB."""
    found = re.search(rf"(?m)^{name}:\s+(\d+) kB", text)
    assert found, f"no {name} in /proc"
    return found[1]


def command(contender: str, part: Part, scratch: Path) -> list[str]:
    given = [*CONTENDERS[contender], *part.machine, "-m", str(part.ram)]
    if part.disk:
        return [*given, "-snapshot", "-drive", f"file={made(part.disk)},format=raw,if=ide,index=0"]
    debian = "debian-12-amd64" if part.is_amd64 else "debian-12"
    kernel, initrd = locate(f"{debian}-linux"), locate(f"{debian}-initrd") if part.is_amd64 else made("initramfs.gz")
    if kernel is None or initrd is None:
        raise MeasurementFailed(f"{debian}-linux is not here: make guests")
    given += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", f"console=ttyS0 {part.append}".strip()]
    if part.is_amd64:
        return ["qemu-system-x86_64", *given[1:]] if contender == "qemu" else given
    given += ["-drive", f"file={scratch / 'ata.img'},format=raw,if=ide,index=0"]
    if "isapc" not in part.machine:
        given += ["-drive", f"file={scratch / 'virtio.img'},format=raw,if=virtio"]
    return given


def measure(contender: str, part: Part, scratch: Path) -> Times:
    start = time.monotonic()
    vm = Vm(command(contender, part, scratch))
    try:
        if part.disk:
            vm.wait_for(MENU)
            vm.type("c")
        vm.wait_for(GRUB_PROMPT if part.disk else PROMPT)
        boot = time.monotonic() - start
        at_prompt, times = vm.beside(part.ram), []
        for task in part.tasks:
            vm.do(f"task() {{ {task.command}; }}; {task.before}")  # so that little is typed while it is timed
            times.append(vm.do("task"))
        return Times(boot, tuple(times), (at_prompt, vm.beside(part.ram)))
    finally:
        vm.close()


def show(name: str, part: Part, pairs: Sequence[dict[str, Times]]) -> bool:
    """Print the rows of a part; whether all claims hold."""

    def row(title: str, values: dict[str, list[float]], form: str, limit: float, *, at_most: bool) -> bool:
        ratios = sorted(bt / qemu for bt, qemu in zip(values["bt"], values["qemu"], strict=True))
        mine, theirs = (format(median(values[each]), form) for each in ("bt", "qemu"))
        ratio = median(ratios)
        print(f"{title:28}{mine:>16}{theirs:>16}{ratio:8.2f} ({ratios[0]:.2f}..{ratios[-1]:.2f})", flush=True)
        return ratio <= limit if at_most else ratio >= limit

    boots = {each: [pair[each].boot for pair in pairs] for each in CONTENDERS}
    kept = row(f"{name}: prompt, seconds", boots, ".2f", part.most, at_most=True)
    for place, task in enumerate(part.tasks):
        rates = {each: [task.amount / pair[each].tasks[place] for pair in pairs] for each in CONTENDERS}
        kept &= row(f"{task.name}, {task.unit}/s", rates, ",.0f", task.least, at_most=False)
    for place, when in enumerate(("at the prompt", "in the end")):
        memory = {each: [pair[each].beside_ram[place] for pair in pairs] for each in CONTENDERS}
        row(f"beside RAM {when}, MiB", memory, ",.0f", math.inf, at_most=True)
    return kept


def main() -> int:
    chosen = sys.argv[1:]
    runs = int(chosen.pop(0)) if chosen and chosen[0].isdigit() else 3
    library.load()  # compiles it where that has not been done
    kept = True
    print(f"{'':28}{'bt':>16}{'TCG':>16}{'bt / TCG':>10}")
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        for disk in ("ata.img", "virtio.img"):
            (scratch / disk).write_bytes(Random(disk).randbytes(DISK_BYTES))
        for name in chosen or PARTS:
            pairs = []
            for run in range(runs):
                order = list(CONTENDERS) if run % 2 else list(CONTENDERS)[::-1]
                pairs.append({each: measure(each, PARTS[name], scratch) for each in order})
            kept &= show(name, PARTS[name], pairs)
    return int(not kept)


if __name__ == "__main__":
    raise SystemExit(main())
