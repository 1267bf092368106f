"""Boot sectors: how they are entered, what is refused, what happens without a BIOS."""

from __future__ import annotations

import pytest

from bt.boot import boot_sector
from bt.boot.detect import load
from bt.errors import BadImage, BadUsage
from bt.machine import Machine, MachineConfig
from guest_images.assembler import assemble
from tests.boot.images import Ram

MEMORY = 16 << 20


def sector(code: bytes, size: int = 512) -> bytes:
    """A boot sector, with further sectors behind it up to `size` bytes."""
    return code.ljust(510, b"\0") + b"\x55\xaa" + bytes(size - 512)


def test_entry_is_what_firmware_leaves() -> None:
    ram = Ram(MEMORY)
    image = sector(b"\xf4", 1536)
    entry = load(image, ram, boot_sector=True)
    assert (entry.entry_kind, entry.eip, entry.cr0) == ("boot sector", 0x7C00, 0x10)
    assert (entry.gpr["edx"], entry.gpr["esp"]) == (0x80, 0x7C00)
    assert {(s.selector, s.base, s.limit, s.flags32) for s in entry.segments.values()} == {(0, 0, 0xFFFF, False)}
    assert ram.read(0x7C00, len(image)) == image


def test_recognised_by_its_signature() -> None:
    assert load(sector(b"\xf4"), Ram(MEMORY)).entry_kind == "boot sector"


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (b"\xf4" * 512, r"x: no boot sector \(bytes 510 and 511 are not 55 AA\); for a raw image give --flat ADDRESS"),
        (b"", r"x: no boot sector"),
        (sector(b"", 1 << 20), r"x: 1048576 bytes are no boot sector; at most 492544 fit below 512 KiB"),
    ],
)
def test_refused(image: bytes, complaint: str) -> None:
    ram = Ram(MEMORY)
    with pytest.raises(BadImage, match=complaint):
        load(image, ram, boot_sector=True, name="x")
    assert not any(ram.bytes)


def test_takes_no_command_line() -> None:
    with pytest.raises(BadUsage, match="a boot sector cannot take -append"):
        load(sector(b""), Ram(MEMORY), append="a")


@pytest.mark.parametrize("number", [0, 0x10, 0x13, 0xFF])
def test_a_bios_service_ends_the_run(number: int) -> None:
    machine = Machine(MachineConfig(memory=MEMORY, engine="interp"))
    machine.load(sector(assemble(f"mov ax, 0x0e41\nint {number}", 16, 0x7C00)), boot_sector=True)
    result = machine.run(max_insns=100)
    assert (result.reason, result.status, result.instructions) == ("bios-service", 2, 3)
    assert result.detail == f"it called BIOS service int {number:#04x} with AX=0x0e41"
    machine.close()


def test_a_halt_of_its_own_is_none() -> None:
    machine = Machine(MachineConfig(memory=MEMORY, engine="interp"))
    machine.load(sector(assemble("cli\nhlt", 16, 0x7C00)))
    assert machine.run(max_insns=100).reason == "halted"
    assert boot_sector.service_called(machine.cpu.state.segment(1, "selector"), machine.cpu.state["eip"]) is None
    machine.close()
