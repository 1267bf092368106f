"""CMOS RAM as QEMU fills it for the same machine."""

from pathlib import Path

import pytest

from bt.clock.virtual_clock import VirtualClock
from bt.devices.chipset.cmos_rtc import CmosRtc
from bt.devices.device import Line
from bt.firmware import cmos
from bt.firmware.cmos import BootDevice, DiskGeometry, FloppyDrive
from tests.devices.qtest import Qemu, needs_qemu

MIB = 1 << 20
DISK_BYTES = 20 * MIB  # 40,960 sectors of 16 * 63: 40 whole cylinders


@needs_qemu
@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ((), {}),
        (("-boot", "order=adc"), {"boot_order": (BootDevice.FLOPPY, BootDevice.CDROM, BootDevice.DISK)}),
        (("-fda", "DISK"), {"floppies": (FloppyDrive.MB_2_88,)}),
        (("-smp", "3"), {"cpus": 3}),
        (("-hda", "DISK"), {"disks": (DiskGeometry(40, 16, 63),)}),
        (
            ("-hdb", "DISK", "-hdc", "DISK"),
            {"disks": (None, DiskGeometry(40, 16, 63), DiskGeometry(40, 16, 63))},
        ),
    ],
)
def test_same_bytes_as_qemu(tmp_path: Path, arguments: tuple[str, ...], values: dict[str, object]) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(DISK_BYTES))
    named = [f"file={disk},format=raw,file.locking=off" if word == "DISK" else word for word in arguments]
    drives = {
        "-fda": "-drive if=floppy,index=0,", "-hda": "-drive if=ide,index=0,",
        "-hdb": "-drive if=ide,index=1,", "-hdc": "-drive if=ide,index=2,",
    }  # fmt: skip
    spelled: list[str] = []
    for word in named:
        if word in drives:
            spelled += drives[word].split()
        elif word.startswith("file="):
            spelled[-1] += word
        else:
            spelled.append(word)
    with Qemu("-machine", "pc", "-nodefaults", "-m", "64", *spelled) as qemu:
        theirs = {}
        for index in range(0x0E, 0x80):
            qemu.outb(0x70, index)
            theirs[index] = qemu.inb(0x71)
    filled = {"boot_order": (BootDevice.DISK, BootDevice.FLOPPY, BootDevice.CDROM)} | values
    rtc = CmosRtc(VirtualClock(), Line("IRQ8"), 64 * MIB, nvram=cmos.values(**filled))  # type: ignore[arg-type]
    ours = {}
    for index in range(0x0E, 0x80):
        rtc.write(0, 1, index)
        ours[index] = rtc.read(1, 1)
    not_ours = (0x2E, 0x2F, 0x37)  # QEMU has no checksum, and the century at the place of a PS/2 too
    assert {k: v for k, v in ours.items() if k not in not_ours} == {
        k: v for k, v in theirs.items() if k not in not_ours
    }


def test_the_checksum_covers_what_was_given() -> None:
    rtc = CmosRtc(VirtualClock(), Line("IRQ8"), 64 * MIB, nvram={0x10: 0x40})
    found = []
    for index in (*range(0x10, 0x2E), 0x2E, 0x2F):
        rtc.write(0, 1, index)
        found.append(rtc.read(1, 1))
    assert sum(found[:-2]) == found[-2] << 8 | found[-1]
    assert found[0] == 0x40
