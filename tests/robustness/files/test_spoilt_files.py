"""Files that are cut off or changed here and there, from the command line: one line, a status, the image as it was."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bt.cli.main import main
from bt.console.hint import HINT
from bt.end import statuses
from tests.robustness.files.valid import KINDS, Kind

MOST_INSTRUCTIONS = "20000"
EVERYDAY, SLOW = 6, 200  # files of each kind
LIMITS = ("-m", "8", "--max-insns", MOST_INSTRUCTIONS, "--serial", "null")
WORDS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
KNOWN = {status for status in statuses() if status not in (None, 70)}


def spoilt(rng: random.Random, kind: Kind, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(rng.choice((0, 1, 1, 2, 4, 8))):
        at = rng.choice(rng.choice(kind.fields)) if rng.random() < 0.8 else rng.randrange(len(data))
        width = rng.choice((1, 1, 2, 4))
        value = rng.choice(WORDS) if rng.random() < 0.5 else rng.getrandbits(32)
        data[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    match rng.randrange(4):
        case 0:
            return bytes(data[: rng.randrange(len(data) + 1)])
        case 1:
            return bytes(data[: rng.choice(rng.choice(kind.fields))])
        case 2:
            return bytes(data) + rng.randbytes(rng.choice((1, 511, 2049)))
        case _:
            return bytes(data)


def command(kind: Kind, path: Path) -> list[str]:
    words = (each.replace("FILE", str(path)).replace("DIRECTORY", str(path.parent)) for each in kind.command)
    return ["run", *LIMITS, *words]


def path_for(kind: Kind, directory: Path) -> Path:
    return directory / ("vgabios-stdvga.bin" if kind.name == "option ROM" else "image.bin")


def check(kind: Kind, number: int, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = path_for(kind, directory)
    data = spoilt(random.Random(f"{kind.name}.{number}"), kind, kind.make())
    path.write_bytes(data)
    status = main(command(kind, path))
    stdout, stderr = capfd.readouterr()
    said = f"{kind.name} {number}: status {status}, {stderr!r}"
    assert status in KNOWN or status & 1, said
    assert "Traceback" not in stderr, said
    if status == 2:  # of firmware that finds nothing to boot, too, behind a hint where to look
        assert stdout == "", said
        lines = stderr.removeprefix(f"bt: {HINT}\n").splitlines()
        assert len(lines) == 1, said
        assert lines[0].startswith("bt: "), said
        assert lines[0].isprintable(), said
    assert path.read_bytes() == data, said


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_some(kind: Kind, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(EVERYDAY):
        check(kind, number, tmp_path, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_many(kind: Kind, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(EVERYDAY, SLOW):
        check(kind, number, tmp_path, capfd)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_not_spoilt_runs(kind: Kind, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Or else nothing above would mean anything."""
    path = path_for(kind, tmp_path)
    path.write_bytes(kind.make())
    status = main(command(kind, path))
    assert status in (0, 1, 4), capfd.readouterr().err


# what is given, the command line, and what the one line says
Make = str | bytes | int | None  # a FIFO or a directory by these names, contents, a length that is a hole, nothing
BAD = [
    ("fifo", ("FILE",), "not a regular file"),
    ("fifo", ("-kernel", "FILE"), "not a regular file"),
    ("fifo", ("--boot-sector", "FILE"), "not a regular file"),
    ("fifo", ("hello", "-initrd", "FILE"), "not a regular file"),
    ("fifo", ("-hda", "FILE"), "neither a file nor a block device"),
    ("fifo", ("-bios", "FILE"), "not a regular file"),
    ("directory", ("FILE",), "not a regular file"),
    ("directory", ("-hda", "FILE"), "Is a directory"),
    ("directory", ("-cdrom", "FILE"), "a directory; give a disk image"),
    ("directory", ("-bios", "FILE"), "not a regular file"),
    (None, ("-fda", "FILE"), "No such file"),
    (None, ("-bios", "FILE"), "No such file"),
    (None, ("hello", "-initrd", "FILE"), "No such file"),
    (b"", ("FILE",), "the file is empty"),
    (b"", ("-hda", "FILE"), "empty; give the disk a size"),
    (b"", ("-cdrom", "FILE"), "empty; is it the right file"),
    (b"", ("-snapshot", "-hda", "FILE"), "empty"),
    (b"", ("-bios", "FILE"), "0 bytes are no BIOS"),
    (b"x" * 100, ("-bios", "FILE"), "100 bytes are no BIOS"),
    (b"\x90" * 511, ("--boot-sector", "FILE"), "no boot sector (511 bytes"),
    (17 << 20, ("-bios", "FILE"), "are no BIOS"),
    (b"", ("hello", "-L", "DIRECTORY"), "0 bytes are no option ROM"),
    (b"\x55\xaa", ("hello", "-L", "DIRECTORY"), "2 bytes are no option ROM"),
    (b"\x55\xaa\x02" + bytes(1000), ("hello", "-L", "DIRECTORY"), "1003 bytes are no option ROM"),
    (b"\xaa\x55\x02" + bytes(1021), ("hello", "-L", "DIRECTORY"), "1024 bytes are no option ROM"),
    (8 << 30, ("hello", "-L", "DIRECTORY"), "8589934592 bytes are no option ROM"),
    ((1 << 32) + 1, ("FILE",), "more than 32 bits can address"),
    ((1 << 32) + 1, ("hello", "-initrd", "FILE"), "more than 32 bits can address"),
    (b"x" * 100, ("--flat", "0xffffffff", "FILE"), "can never be in RAM"),
    (16 << 20, ("--flat", "0x100000", "FILE"), "lies outside RAM"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words", "said"), BAD)
def test_what_cannot_be_used(
    given: Make, words: tuple[str, ...], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vgabios-stdvga.bin"
    lay(path, given)
    kind = Kind("", bytes, words, ())
    assert main(command(kind, path)) == 2
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    assert stderr.startswith("bt: ")
    assert stderr.count("\n") == 1
    assert str(path.name) in stderr
    assert said in stderr


def lay(path: Path, given: Make) -> None:
    if given == "fifo":
        os.mkfifo(path)
    elif given == "directory":
        path.mkdir()
    elif isinstance(given, bytes):
        path.write_bytes(given)
    elif isinstance(given, int):
        with path.open("wb") as file:
            file.truncate(given)


@pytest.mark.parametrize("words", [("-hda", ""), ("-drive", "file="), ("-cdrom", "")])
def test_a_disk_has_a_name(words: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *words]) == 2
    assert capfd.readouterr().err == "bt: a disk image without a name; give the file's\n"


@pytest.mark.parametrize("name", ["gzip", "CD", "option ROM"])
def test_as_a_program(name: str, tmp_path: Path) -> None:
    """The same as a process: nothing comes after the line."""
    kind = next(each for each in KINDS if each.name == name)
    path = path_for(kind, tmp_path)
    path.write_bytes(kind.make()[:-1] if name != "CD" else b"")
    program = [sys.executable, "-m", "bt.cli.main", *command(kind, path)]
    done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
