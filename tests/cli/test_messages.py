"""`bt run` and images that are damaged or foreign: status 2, one line on stderr, nothing on stdout."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

import guest_images
from bt.cli.main import main
from bt.firmware import roms
from tests.boot.files.foreign_images import FOREIGN, MEMORY_MIB, Foreign
from tests.cli.conftest import Bt
from tests.everyday import one_in

# what firmware is to boot: whether anything is in it is for its first sector to say
BOOTED = frozenset({
    "ISO 9660", "ISO 9660, hybrid", "ISO 9660, hybrid, small", "floppy", "floppy with FAT12", "FAT32 disk",
    "disk of an odd size", "MBR disk", "MBR disk with a loader that has multiboot", "GPT disk", "GPT disk, small",
    "ext2 with a boot sector", "NTFS",
})  # fmt: skip


@pytest.mark.skipif(roms.find("bios-256k.bin") is None, reason="SeaBIOS is not installed")
@pytest.mark.parametrize("name", sorted(BOOTED))
def test_a_medium_boots_as_what_it_is(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "image.bin"
    path.write_bytes(next(image for image in FOREIGN if image.name == name).make())
    assert main(["run", str(path), "-m", str(MEMORY_MIB), "--max-insns", "1000"]) == 4
    assert capfd.readouterr().err == "bt: stopped by --max-insns after 1,000 instructions\n"


REFUSED = [each for each in FOREIGN if each.name not in BOOTED]


@pytest.mark.parametrize("image", one_in(3, REFUSED), ids=lambda image: image.name)
def test_status_2_and_one_line(image: Foreign, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "image.bin"
    path.write_bytes(image.make())
    assert main(["run", str(path), "-cpu", "pentium4", "-m", str(MEMORY_MIB), "--max-insns", "1000"]) == 2
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    assert stderr.startswith("bt: image.bin: ")
    assert stderr.endswith("\n")
    assert stderr[:-1].isprintable(), "one line"
    assert [words for words in image.said.split("|") if words not in stderr] == [], stderr
    assert [words for words in image.never if words in stderr] == [], stderr


@pytest.mark.parametrize("command", ["diff", "explain"])
def test_each_command_says_it(bt: Bt, tmp_path: Path, command: str) -> None:
    path = tmp_path / "image.iso"
    path.write_bytes(bytes(0x8001) + b"CD001" + bytes(2000))
    done = bt(command, str(path))
    assert (done.returncode, done.stdout) == (2, "")
    said = "an ISO 9660 image (CD or DVD); give it with -cdrom"
    assert done.stderr == f"bt: image.iso: {said}\n"


def test_a_compressed_guest_runs(bt: Bt, tmp_path: Path) -> None:
    hello = guest_images.image("hello")
    path = tmp_path / "hello.gz"
    path.write_bytes(gzip.compress(hello.path.read_bytes()))
    done = bt("run", str(path))
    assert (done.stdout, done.returncode, done.stderr) == (hello.transcript, hello.exit_status, "")


@pytest.mark.parametrize("way", ["IMAGE", "-kernel", "--boot-sector", "-initrd", "--serial", "--json", "command"])
def test_what_is_cited_stays_on_one_line(bt: Bt, tmp_path: Path, way: str) -> None:
    odd = "two\nlines\x1b[2J"
    (tmp_path / odd).write_bytes(b"\xeb\xfe" * 300)
    arguments = {
        "IMAGE": ["run", str(tmp_path / odd)],
        "-kernel": ["run", "-kernel", str(tmp_path / odd)],
        "--boot-sector": ["run", "--boot-sector", str(tmp_path / odd)],
        "-initrd": ["run", "hello", "-initrd", str(tmp_path / f"no-{odd}")],
        "--serial": ["run", "hello", "--serial", odd],
        "--json": ["run", "hello", "--json", str(tmp_path / "no" / odd)],
        "command": [odd],
    }
    done = bt(*arguments[way])
    assert done.returncode == 2
    assert done.stderr.endswith("\n")
    assert done.stderr[:-1].isprintable()
    assert r"two\nlines\x1b[2J" in done.stderr


def test_a_guest_that_starts_does_not_wait_for_tables_of_others() -> None:
    program = (
        "import sys; from bt.cli.main import main; main(['run', 'hello', '--serial', 'null']); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert "bt.boot.loaders.multiboot" in loaded
    assert loaded & {"bt.boot.files.foreign", "bt.boot.files.formats", "bt.boot.files.unpack", "gzip"} == set()
