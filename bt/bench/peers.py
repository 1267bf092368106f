"""The others: QEMU's and Unicorn's translators, the same code as a Linux program, and its C twin."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import guest_images
from bt.bench import host
from bt.bench.contender import MEMORY, Contender, Unavailable
from bt.bench.workload import Workload
from bt.errors import BadUsage


class Qemu:
    """QEMU's system emulation by TCG, with the same multiboot image."""

    name = "qemu"
    program, wider_program = "qemu-system-i386", "qemu-system-x86_64"

    def prepare(self, scratch: Path) -> str:
        return _first_line(self.program, "--version")

    def can_run(self, workload: Workload) -> bool:
        return True

    def command(self, workload: Workload, n: int) -> list[str]:
        model = workload.image.cpu
        program = f"{self.wider_program} -cpu {model}" if model else self.program
        machine = f"{program} -accel tcg -m {MEMORY} -display none -serial stdio -no-reboot -net none"
        exit_port = "-device isa-debug-exit,iobase=0xf4,iosize=4"
        image = ["-kernel", str(workload.image.path), "-append", workload.append(n)]
        return [*machine.split(), *exit_port.split(), *image]

    def record(self) -> dict[str, Any]:
        return {}


class Unicorn:
    """Unicorn (an older TCG as a library) in flat 32-bit mode: guests that need no interrupts."""

    name = "unicorn"

    def prepare(self, scratch: Path) -> str:
        if importlib.util.find_spec("unicorn") is None:
            raise Unavailable("unicorn: not installed; pip install unicorn")
        return f"unicorn {version('unicorn')}"

    def can_run(self, workload: Workload) -> bool:
        return _is_plain_code(workload)

    def command(self, workload: Workload, n: int) -> list[str]:
        child = [sys.executable, "-m", "bt.bench.unicorn_guest", str(workload.image.path)]
        return [*child, workload.append(n)]

    def record(self) -> dict[str, Any]:
        return {}


class Native:
    """The guest's own instructions on the host's processor: the same source as a Linux i386 program."""

    name = "native"

    def __init__(self) -> None:
        self._programs = Path()

    def prepare(self, scratch: Path) -> str:
        self._programs = scratch / "native"
        self._programs.mkdir()
        for image in guest_images.images():
            if image.linux_path is not None:
                program = self._programs / image.name
                shutil.copyfile(image.linux_path, program)
                program.chmod(0o755)  # a package installer may have dropped it
        try:
            subprocess.run([self._programs / "hello"], capture_output=True, timeout=10, check=False)
        except OSError as error:
            raise Unavailable(f"native: this host runs no i386 programs ({error.strerror})") from error
        return host.processor()

    def can_run(self, workload: Workload) -> bool:
        return _is_plain_code(workload)

    def command(self, workload: Workload, n: int) -> list[str]:
        return [str(self._programs / workload.image.name), workload.append(n)]

    def record(self) -> dict[str, Any]:
        return {}


class Gcc:
    """The guest's C twin, compiled by gcc -O2 for i386: what a compiler makes of the same computation."""

    name = "gcc"
    sources = Path(guest_images.__file__).parent / "native"

    def __init__(self) -> None:
        self._programs = Path()

    def prepare(self, scratch: Path) -> str:
        found = _first_line("gcc", "--version")
        self._programs = scratch / "gcc"
        self._programs.mkdir()
        for source in sorted(self.sources.glob("*.c")):
            compile_it = ["gcc", "-O2", "-m32", "-o", str(self._programs / source.stem), str(source)]
            if subprocess.run(compile_it, capture_output=True, check=False).returncode:
                raise Unavailable("gcc: cannot compile for i386 here; on Debian install gcc-multilib")
        return f"{found}, -O2 -m32"

    def can_run(self, workload: Workload) -> bool:
        return (self.sources / f"{workload.image.name}.c").is_file()

    def command(self, workload: Workload, n: int) -> list[str]:
        return [str(self._programs / workload.image.name), workload.append(n)]

    def record(self) -> dict[str, Any]:
        return {}


PEERS: dict[str, Callable[[], Contender]] = {each.name: each for each in (Qemu, Unicorn, Native, Gcc)}


def named(names: str) -> list[Contender]:
    """Peers by their names, separated by commas; "all" for all. BadUsage for an unknown one."""
    wanted = list(PEERS) if names == "all" else [name for name in names.split(",") if name]
    for name in wanted:
        if name not in PEERS:
            raise BadUsage(f"--peers {name}: there are {', '.join(PEERS)} and all")
    return [PEERS[name]() for name in wanted]


def _is_plain_code(workload: Workload) -> bool:
    """Guests that exist as Linux programs need neither interrupts nor paging."""
    return workload.image.linux_file is not None


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{command[0]}: not installed here") from error
