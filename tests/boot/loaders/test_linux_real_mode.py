"""Kernels that have only a 16-bit entry: their real-mode part runs, with a BIOS to call."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from bt.boot.loaders.linux_real_mode import COMMAND_LINE, LARGEST_REAL_MODE_PART, REAL_MODE_PART
from bt.end import End
from bt.errors import BadImage
from bt.machine.config import MachineConfig, MachineName
from bt.machine.machine import Machine
from bt.machine.media import Drive
from guest_images.assembler import assemble
from tests.boot.images import bzimage
from tests.firmware.builtin.calls import BOOT_SECTOR

MIB = 1 << 20
# Says "K" by INT 10h, notes what it finds; starts the machine again the first time, and ends the second.
CODE = """
    mov [3000h], cs
    mov [3002h], ss
    mov [3004h], es
    mov [3006h], sp
    pushfd
    pop eax
    mov [3008h], eax
    mov ax, 0e4bh
    mov bx, 7
    int 10h
    int 12h
    mov [300ch], ax
    mov ah, 88h
    int 15h
    mov [300eh], ax
    inc dword ptr gs:[4000h]
    cmp dword ptr gs:[4000h], 2
    je done
    ljmp 0ffffh:0
done:
    cli
    hlt
"""


def kernel(code: str = CODE, setup_sects: int = 4) -> bytes:
    payload = b"protected-mode part".ljust(1024, b".")
    image = bytearray(bzimage(payload, version=0x0207, code32_start=0, header_end=0x240, setup_sects=setup_sects))
    entry = assemble("xor ax, ax\nmov gs, ax\n" + code, 16, 0x268)
    image[0x200:0x202] = b"\xeb\x66"  # over the header
    image[0x268 : 0x268 + len(entry)] = entry
    return bytes(image)


@pytest.mark.parametrize("machine", ["pc", "isapc"])
def test_what_it_finds(machine: MachineName) -> None:
    with Machine(MachineConfig(memory=16 * MIB, machine=machine)) as made:
        entry = made.load(kernel(), append="some words", initrd=b"initrd" * 100)
        result = made.run(timeout=60)
        assert result.reason is End.HALTED, result
        found = struct.unpack("<4HI2H", made.ram.read(REAL_MODE_PART + 0x3000, 16))
        assert found[:4] == (0x1020, 0x1000, 0x1000, entry.gpr["esp"])
        assert not found[4] & 1 << 9, "interrupts are off"
        assert found[5] == 639
        assert found[6] == 15 * 1024
        assert made.ram.read(0x4000, 4) == (2).to_bytes(4, "little"), "FFFF:0 starts it again"
        assert made.ram.read(COMMAND_LINE, 11) == b"some words\0"
        assert made.ram.read(MIB, 19) == b"protected-mode part"
        header = made.ram.read(REAL_MODE_PART, 0x240)
        at, n = struct.unpack_from("<II", header, 0x218)
        assert made.ram.read(at, n) == b"initrd" * 100
        assert struct.unpack_from("<HHI", header, 0x224) == (0xFE00, 0, COMMAND_LINE)
        assert header[0x211] & 0x80, "it may use the heap"
        assert "K" in made.screen.text()


def test_a_snapshot_of_it() -> None:
    with Machine(MachineConfig(memory=16 * MIB)) as made:
        made.load(kernel())
        made.run(max_insns=20)
        with made.snapshot() as snapshot:
            for _ in range(2):
                assert made.run(timeout=60).reason is End.HALTED
                assert "K" in made.screen.text()
                made.restore(snapshot)


def test_firmware_before_and_after(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(BOOT_SECTOR)
    with Machine(MachineConfig(memory=16 * MIB, bios="builtin", drives=(Drive(str(disk)),))) as made:
        for _ in range(2):
            made.load(kernel())
            assert made.run(timeout=60).reason is End.HALTED
            assert made.ram.read(MIB, 19) == b"protected-mode part"
            made.ram.write(0x4000, bytes(4))
            made.boot()
            assert made.run(timeout=60).reason is End.HALTED
            assert made.reg.eip == 0x7C02


def test_a_real_mode_part_that_is_too_large() -> None:
    with (
        Machine(MachineConfig(memory=16 * MIB)) as made,
        pytest.raises(BadImage, match="real-mode part of 0x8200 bytes; 0x8000 at most"),
    ):
        made.load(kernel(setup_sects=LARGEST_REAL_MODE_PART // 512))
