"""What a Debian guest does with the board's ACPI devices: the power button, and pvpanic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bt.end import End
from guest_images.disks import initramfs
from tests.guests.images import required
from tests.guests.on_bt import Bt
from tests.guests.session import Ends, Player, Run, Send, Serial, Step

MODULES = ("button", "evdev", "pvpanic-mmio")
NOT_YET = pytest.mark.xfail(
    run=False, reason="written, and not seen to pass yet; by hand the kernel hears of the button"
)
PROMPT: tuple[Step, ...] = (Serial(r"bt# $"),)
# as a person would set it up; BusyBox knows the event by this name, and starts what is called so
ACPID: tuple[Step, ...] = (
    Run("mkdir -p /etc/acpi/PWRF", ""),
    Run(r"printf '#!/bin/sh\necho pressed >/dev/ttyS0\npoweroff -f\n' >/etc/acpi/PWRF/00000080", ""),
    Run("chmod +x /etc/acpi/PWRF/00000080; acpid && echo listening", "listening"),
)


@contextmanager
def guest(tmp_path: Path, *options: str) -> Iterator[tuple[Bt, Player]]:
    """At its shell."""
    initrd = tmp_path / "initrd"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(initramfs, "MODULES", MODULES)
        initrd.write_bytes(initramfs.build())
    kernel = required("debian-12-linux")
    arguments = ["-m", "256", "-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet"]
    vm = Bt([*arguments, *options])
    try:
        player = Player(vm, tmp_path)
        player.play(PROMPT)
        yield vm, player
    finally:
        vm.close()


@NOT_YET
@pytest.mark.slow
def test_the_power_button_is_heard_by_acpid(tmp_path: Path) -> None:
    with guest(tmp_path) as (vm, player):
        player.play(ACPID)
        vm.machine.power_button()
        player.play((Serial("pressed"), Ends(0)))


@NOT_YET
@pytest.mark.slow
@pytest.mark.parametrize("events", [3, 2])
def test_a_panic_is_told_by_pvpanic(tmp_path: Path, events: int) -> None:
    """The kernel finds the device by its name in the DSDT, at the port that the resource says."""
    with guest(tmp_path, "-device", f"pvpanic,ioport=0x620,events={events}") as (_, player):
        player.play((Run("cat /sys/bus/acpi/devices/QEMU0001:00/status", "15"), Send("echo c >/proc/sysrq-trigger\n")))
        if events & 1:
            player.play((Ends(End.PANIC.exit_status()),))
        else:
            player.play((Serial("Kernel panic"),))
