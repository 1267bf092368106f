"""Rebuilds the built-in guests: `python -m guest_images.build` (= `make images`).

Writes `built/NAME.elf` (ELF with a multiboot header or a PVH note, bare PC), `built/NAME.bin` (boot sector),
`built/linux/NAME.elf` (the same code as a Linux i386 program, where that makes sense) and `built/manifest.json`. The
bytes depend on the sources only; a test rebuilds and compares.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bt.errors import BtError
from guest_images.assembler import assemble_program
from guest_images.elf import ELF32, ELF64, write_elf

HERE: Final = Path(__file__).parent
SOURCES: Final = HERE / "sources"
EXPECTED: Final = HERE / "expected"
BUILT: Final = HERE / "built"
LOAD_ADDRESS: Final = 0x100000
BOOT_SECTOR_ADDRESS: Final = 0x7C00
BOOT_SECTOR: Final = "boot sector"
MAX_IMAGE_BYTES: Final = 64 * 1024
SUCCESS_STATUS: Final = 1  # isa-debug-exit: guest's 0, times two, plus one


@dataclass(frozen=True)
class Guest:
    """One line of the catalogue: `parameters` are command-line options and their defaults, `ops` what is counted.

    `cpu`: the model that it is for, where any would not do.
    """

    name: str
    kind: str
    source: str
    ops: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    linux: bool = False
    format: str = "multiboot"
    cpu: str | None = None

    @property
    def file(self) -> str:
        return f"{self.name}.bin" if self.format == BOOT_SECTOR else f"{self.name}.elf"


CATALOGUE: Final = (
    Guest("hello", "demo", "compute/hello.asm", "greetings", {"n": "1"}, linux=True),
    Guest("sieve", "compute", "compute/sieve.asm", "flags", {"n": "1", "size": "524288"}, linux=True),
    Guest("crc", "compute", "compute/crc.asm", "bytes", {"n": "16"}, linux=True),
    Guest("quicksort", "compute", "compute/quicksort.asm", "words", {"n": "2", "size": "16384"}, linux=True),
    Guest("matmul", "compute", "compute/matmul.asm", "multiply-adds", {"n": "2"}, linux=True),
    Guest("strings", "compute", "compute/strings.asm", "bytes", {"n": "20"}, linux=True),
    Guest("fib-calls", "compute", "compute/fib-calls.asm", "calls", {"n": "5"}, linux=True),
    Guest("switch", "compute", "compute/switch.asm", "bytecodes", {"n": "1000"}, linux=True),
    Guest("sha256", "compute", "compute/sha256.asm", "bytes", {"n": "16"}, linux=True),
    Guest("processes", "compute", "compute/processes.asm", "bytes", {"n": "16"}),
    Guest("mandel-x87", "fp", "fp/mandel-x87.asm", "steps", {"n": "4"}, linux=True),
    Guest("mandel-sse2", "fp", "fp/mandel-sse2.asm", "steps", {"n": "4"}, linux=True),
    Guest("nbody-x87", "fp", "fp/nbody-x87.asm", "pairs", {"n": "20000"}, linux=True),
    Guest("nbody-sse2", "fp", "fp/nbody-sse2.asm", "pairs", {"n": "20000"}, linux=True),
    Guest("memcpy-sse", "fp", "fp/memcpy-sse.asm", "bytes", {"n": "16"}, linux=True),
    Guest("nano-syscall", "nano", "nano/syscall.asm", "system calls", {"n": "20000", "via": "int80"}),
    Guest("nano-in", "nano", "nano/in.asm", "port reads", {"n": "20000"}),
    Guest("nano-cr3wr", "nano", "nano/cr3wr.asm", "CR3 writes", {"n": "10000"}),
    Guest("nano-callret", "nano", "nano/callret.asm", "calls", {"n": "1000000"}, linux=True),
    Guest("nano-pgfault", "nano", "nano/pgfault.asm", "page faults", {"n": "10000"}),
    Guest("nano-divzero", "nano", "nano/divzero.asm", "divide errors", {"n": "10000"}),
    Guest("nano-ptemod", "nano", "nano/ptemod.asm", "page table changes", {"n": "20000"}),
    Guest("smc", "check", "smc/smc.asm", "passes", {"n": "100"}),
    Guest("sensitive", "check", "sensitive/sensitive.asm", "checks", {"accesses": "off"}),
    Guest("real-mode-matrix", "check", "real/real.asm", "snippets", {"accesses": "off"}),
    Guest("v86-matrix", "check", "v86/v86.asm", "snippets", {"vme": "off", "accesses": "off"}),
    Guest("faults-matrix", "check", "matrix/faults-matrix.asm", "probes", {"strict": "off"}),
    Guest("segment-matrix", "check", "matrix/segment-matrix.asm", "probes", {"accesses": "off"}),
    Guest("gate-matrix", "check", "matrix/gate-matrix.asm", "probes", {"strict": "off"}),
    Guest("paging-matrix", "check", "matrix/paging-matrix.asm", "probes", {"reserved": "off", "nx": "off"}),
    Guest("task-matrix", "check", "matrix/task-matrix.asm", "switches", {"strict": "off"}),
    Guest("fp-matrix", "check", "matrix/fp-matrix.asm", "probes", {"strict": "off"}),
    Guest("minikernel", "system", "minikernel/minikernel.asm", "faults and endings", {"n": "1", "hz": "250"}),
    Guest("hello64", "long", "long/hello64.asm", "", cpu="qemu64"),
    Guest("sha64", "compute64", "long/compute/sha64.asm", "rounds", {"n": "2000"}, cpu="qemu64"),
    Guest("qsort64", "compute64", "long/compute/qsort64.asm", "words", {"n": "4"}, cpu="qemu64"),
    Guest("list64", "compute64", "long/compute/list64.asm", "nodes", {"n": "100"}, cpu="qemu64"),
    Guest("fib64", "compute64", "long/compute/fib64.asm", "calls", {"n": "20"}, cpu="qemu64"),
    Guest("icall64", "compute64", "long/compute/icall64.asm", "calls", {"n": "2"}, cpu="qemu64"),
    Guest("interp64", "compute64", "long/compute/interp64.asm", "bytecodes", {"n": "100"}, cpu="qemu64"),
    Guest("strhash64", "compute64", "long/compute/strhash64.asm", "words", {"n": "16"}, cpu="qemu64"),
    Guest("bignum64", "compute64", "long/compute/bignum64.asm", "multiplications", {"n": "200"}, cpu="qemu64"),
    Guest("sieve64", "compute64", "long/compute/sieve64.asm", "bytes", {"n": "2"}, cpu="qemu64"),
    Guest("crc64", "compute64", "long/compute/crc64.asm", "bytes", {"n": "16"}, cpu="qemu64"),
    Guest("matmul64", "compute64", "long/compute/matmul64.asm", "multiply-adds", {"n": "20"}, cpu="qemu64"),
    Guest("mandel64", "compute64", "long/compute/mandel64.asm", "steps", {"n": "4"}, cpu="qemu64"),
    Guest("nbody64", "compute64", "long/compute/nbody64.asm", "pairs", {"n": "2000"}, cpu="qemu64"),
    Guest("long-matrix", "check", "long/long-matrix.asm", "probes", cpu="qemu64"),
    Guest("task-priority", "check", "long/task-priority.asm", "", cpu="qemu64"),
    Guest("bootsector", "boot", "boot/bootsector.asm", "", format=BOOT_SECTOR),
    Guest("multiboot2-info", "boot", "boot/multiboot2-info.asm", "", format="multiboot 2"),
    Guest("hello64-elf64", "boot", "long/hello64-elf64.asm", "", format="multiboot 2, ELF64", cpu="qemu64"),
    Guest("pvh-info", "boot", "boot/pvh-info.asm", "", format="PVH"),
)


def build_image(guest: Guest, platform: str = "bare") -> bytes:
    """The file of `guest` for platform "bare" or "linux"; BtError names the source line that does not assemble."""
    source = SOURCES / guest.source
    if guest.format == BOOT_SECTOR:
        text = source.read_text(encoding="ascii")
        return assemble_program(text, 16, BOOT_SECTOR_ADDRESS, [source.parent], source.name).image
    include_path = [SOURCES / platform, SOURCES / "runtime", SOURCES / "long", source.parent]
    program = assemble_program(source.read_text(encoding="ascii"), 32, LOAD_ADDRESS, include_path, source.name)
    image = write_elf(program, "start", ELF64 if guest.format.endswith("ELF64") else ELF32)
    if len(image) > MAX_IMAGE_BYTES:
        raise BtError(f"{guest.source}: image of {len(image)} bytes; move buffers to .section bss")
    return image


def description(guest: Guest) -> str:
    """The sentence the source's header comment begins with, without the name."""
    first = (SOURCES / guest.source).read_text(encoding="ascii").splitlines()[0]
    return first.removeprefix("; ").partition(": ")[2]


def build_all() -> dict[str, bytes]:
    """Every file of `built/` by its relative name, manifest included."""
    files: dict[str, bytes] = {}
    manifest: list[dict[str, Any]] = []
    for guest in CATALOGUE:
        image_file = guest.file
        files[image_file] = build_image(guest)
        linux_file = None
        if guest.linux:
            linux_file = f"linux/{guest.name}.elf"
            files[linux_file] = build_image(guest, "linux")
        manifest.append(
            {
                "name": guest.name,
                "kind": guest.kind,
                "format": guest.format,
                "description": description(guest),
                "file": image_file,
                "sha256": hashlib.sha256(files[image_file]).hexdigest(),
                "linux_file": linux_file,
                "parameters": dict(guest.parameters),
                "ops": guest.ops,
                "transcript": (EXPECTED / f"{guest.name}.txt").read_text(encoding="ascii"),
                "exit_status": SUCCESS_STATUS,
                "cpu": guest.cpu,
            }
        )
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode("ascii")
    return files


def main() -> int:
    try:
        files = build_all()
    except BtError as error:
        print(f"guest_images.build: {error}", file=sys.stderr)
        return error.exit_code
    (BUILT / "linux").mkdir(parents=True, exist_ok=True)
    for stale in sorted([*BUILT.rglob("*.elf"), *BUILT.glob("*.bin")]):
        if str(stale.relative_to(BUILT)) not in files:
            stale.unlink()
    for name, content in files.items():
        (BUILT / name).write_bytes(content)
        if name.startswith("linux/"):
            (BUILT / name).chmod(0o755)
    print(f"{len(files)} files, {sum(map(len, files.values())) // 1024} KiB in {BUILT}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
