"""PVH: the note, the start information, damage; QEMU starts the same kernel the same way."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import guest_images
from bt.boot.detect import load
from bt.errors import BadImage
from bt.machine import Machine, MachineConfig
from bt.x86.state import TR
from tests.boot.files.foreign_images import note
from tests.boot.images import Ram, Segment, elf

LOAD = 0x10_0000


def kernel(description: bytes = (LOAD + 1).to_bytes(4, "little"), *, entry: int = LOAD) -> bytes:
    notes = note(b"Xen\0", 6, b"linux\0\0\0") + note(b"Xen\0", 18, description)
    return elf([Segment(LOAD, b"\x90\xfa\xf4"), Segment(0, notes, memsz=0, kind=4)], entry)


@pytest.mark.parametrize("entry", [LOAD, 0xC010_0000])
def test_entry(entry: int) -> None:
    """It is the note's, whatever the ELF header's may be: a virtual one."""
    ram = Ram()
    state = load(kernel(entry=entry), ram, append="a b")
    assert (state.entry_kind, state.eip) == ("PVH", LOAD + 1)
    magic, version, flags, modules, listed, line, acpi, entries, count, _ = struct.unpack(
        "<IIIIQQQQII", ram.read(state.gpr["ebx"], 56)
    )
    assert (magic, version, flags, modules, listed, acpi) == (0x336EC578, 1, 0, 0, 0, 0)
    assert ram.string(line) == b"a b"
    assert count == 4
    assert struct.unpack("<QQII", ram.read(entries + 3 * 24, 24)) == (LOAD, 7 << 20, 1, 0)


def test_the_task_register_holds_a_busy_tss() -> None:
    with Machine(MachineConfig(memory=8 << 20)) as machine:
        machine.load(kernel())
        parts = {part: machine.cpu.state.segment(TR, part) for part in ("base", "limit", "attributes")}
        assert parts == {"base": 0, "limit": 0x67, "attributes": 0x8B}


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (kernel(b"\0\0\x10"), "its PVH note has 3 bytes"),
        (kernel((LOAD - 1).to_bytes(8, "little")), "the entry 0xfffff of its PVH note lies in none"),
    ],
)
def test_damage(image: bytes, says: str) -> None:
    ram = Ram()
    with pytest.raises(BadImage, match=says):
        load(image, ram)
    assert not ram.written


def transcript(engine: str, *, append: str, module: Path) -> list[str]:
    output = bytearray()
    with Machine(MachineConfig(memory=128 << 20, engine=engine), serial=output.append) as machine:  # type: ignore[arg-type]
        machine.load(guest_images.image("pvh-info").path, append=append, initrd=module)
        assert machine.run(timeout=60).status == 1
    return output.decode().splitlines()


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_the_guest_sees_it(engine: str, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(range(256)) * 17)
    lines = transcript(engine, append="x y=z", module=tmp_path / "one")
    assert lines[:4] == ["pvh-info", "version 1", "command line x y=z", "module one bytes 00001100 sum 00087780"]


@pytest.mark.skipif(shutil.which("qemu-system-i386") is None, reason="needs qemu-system-i386")
def test_qemu_tells_the_same(tmp_path: Path) -> None:
    """But for the module's name, which it does not give, and what its firmware keeps of the memory."""
    module = tmp_path / "one"
    module.write_bytes(bytes(range(256)) * 17)
    arguments = "-m 128 -display none -serial stdio -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=4"
    kernel_file = guest_images.image("pvh-info").path
    done = subprocess.run(
        ["qemu-system-i386", *arguments.split(), "-kernel", kernel_file, "-append", "x y=z", "-initrd", module],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    theirs = done.stdout.decode("latin-1").replace("\r", "").replace("module  ", "module one ").splitlines()
    assert transcript("bt", append="x y=z", module=module)[:7] == theirs[:7]
