"""Debian from its own disk: firmware, GRUB in the master boot record, kernel, init, logins, a clean shutdown."""

from __future__ import annotations

import subprocess
from pathlib import Path

from guest_images.disks.bootable import FIRST_SECTOR, SECTOR
from tests.guests.images import copy_of
from tests.guests.session import Ends, Keys, Press, Run, Screen, Send, Serial, Session, Shot, Step

LOGIN: tuple[Step, ...] = (
    Serial(r"bt login: $"),
    Send("root\n"),
    Serial(r"Password: $"),
    Send("bt\n"),
    Serial(r"root@bt:~# $"),
)
PYTHON_SAYS = r"Python \(3, 11\) 333833500\n12\.\d+"


def is_clean(scratch: Path, name: str) -> None:
    """The root file system has been unmounted and has no errors."""
    image = f"{scratch / name}?offset={FIRST_SECTOR * SECTOR}"
    done = subprocess.run(["e2fsck", "-f", "-n", image], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recovery" not in done.stdout + done.stderr


def debian(name: str, machine: str, kernel: str = "686", interface: str = "ide") -> Session:
    """`kernel`: its flavour."""
    disk = f"debian-{name}.img"
    device = {"ide": "sda1", "virtio": "vda1"}[interface]
    return Session(
        f"debian-{name}",
        f"{machine} -m 256 -drive file={{disk}},format=raw,if={interface},index=0,media=disk",
        (
            Serial(r"GNU GRUB  version 2\.06"),
            Screen(r"GNU GRUB  version 2\.06"),
            Serial(rf"Linux version 6\.1\.0-50-{kernel}"),
            *LOGIN,
            Run("python3 greeting.py", PYTHON_SAYS),
            Run("mount | grep ' / '", rf"/dev/{device} on / type ext4 \(rw,"),
            Run("cat /proc/1/comm", r"(init|systemd)\n"),
            Run("for n in 1 2 3; do bash -c 'echo $n $BASH_VERSION' & wait; done", r"5\.2\.15"),
            Run("dd if=/dev/urandom of=written bs=64k count=64 2>&1; sync; sha256sum written >sums; echo $?", r"\n0\n"),
            Screen(r"bt login:"),
            Keys("root\n"),
            Screen(r"Password:"),
            Press("b t ret"),
            Screen(r"root@bt:~# *$"),
            Keys("python3 greeting.py\n"),
            Screen(r"Python \(3, 11\) 333833500"),
            Keys("sha256sum -c sums\n"),
            Screen(r"^written: OK$"),
            Shot(f"debian-{name}"),
            Send("poweroff\n"),
            Ends(0),
        ),
        {"disk": copy_of(disk)},
        after=lambda scratch: is_clean(scratch, disk),
    )
