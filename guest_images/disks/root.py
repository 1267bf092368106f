"""Root file systems of Debian for i386 and amd64, of unpacked packages: what their scripts would have done is done
here, as data.

root's password is "bt". A getty waits on the screen and on the first serial port.
"""

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from guest_images.debian_packages import package_sets, packages_of
from guest_images.disks.initramfs import build as build_initramfs
from guest_images.disks.tree import TIME, Tree
from guest_images.third_party import directory

MIB = 1 << 20
UUID = "0b0b0b0b-1234-4000-8000-0123456789ab"
# of "bt", by `openssl passwd -6 -salt debianroot bt`
PASSWORD = "$6$debianroot$4YCzzjXBByX4x0lhA.kkdbP0s3aKPkvds.OKkwVxbmGMurgfR0aSHghqS6ni2mgDnXgw8l5fIBhRUmtkb15nZ1"
LEFT_OUT = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/share/lintian/",
            "usr/share/i18n/", "usr/lib/udev/hwdb.d/", "usr/lib/i386-linux-gnu/gconv/",
            "usr/lib/x86_64-linux-gnu/gconv/", "usr/share/bash-completion/", "lib/modules/", "boot/")  # fmt: skip
FILES: Mapping[str, str] = {
    "etc/hostname": "bt\n",
    "etc/hosts": "127.0.0.1 localhost bt\n",
    "etc/securetty": "tty1\nttyS0\n",
    "etc/default/rcS": "FSCKFIX=yes\n",
    "etc/adjtime": "0.0 0 0.0\n0\nUTC\n",
    "etc/machine-id": "",
    "etc/environment": "",
    "root/greeting.py": (
        "import sys\n"
        'print("Python", sys.version_info[:2], sum(n * n for n in range(1001)))\n'
        'print(open("/etc/debian_version").read().strip())\n'
    ),
    # pam-auth-update's common-* of libpam-runtime, with pam_unix alone
    "etc/pam.d/common-auth": "auth required pam_unix.so nullok\n",
    "etc/pam.d/common-account": "account required pam_unix.so\n",
    "etc/pam.d/common-password": "password required pam_unix.so yescrypt\n",
    "etc/pam.d/common-session": "session required pam_unix.so\n",
    "etc/pam.d/common-session-noninteractive": "session required pam_unix.so\n",
}
PROFILES = {"etc/profile": "profile", "root/.profile": "dot.profile", "root/.bashrc": "dot.bashrc"}
INITTAB = """\
id:2:initdefault:
si::sysinit:/etc/init.d/rcS
l0:0:wait:/etc/init.d/rc 0
l1:1:wait:/etc/init.d/rc 1
l2:2:wait:/etc/init.d/rc 2
l6:6:wait:/etc/init.d/rc 6
ca:12345:ctrlaltdel:/sbin/shutdown -t1 -a -r now
1:2345:respawn:/sbin/getty --noclear 38400 tty1
T0:2345:respawn:/sbin/getty -L ttyS0 115200 vt100
"""
# what insserv would make of the headers of /etc/init.d, as far as this disk has what the scripts are for
RUNLEVELS: Mapping[str, tuple[str, ...]] = {
    "S": ("S01mountkernfs.sh", "S02hostname.sh", "S03mountdevsubfs.sh", "S04hwclock.sh", "S05checkroot.sh",
          "S06checkfs.sh", "S07checkroot-bootclean.sh", "S08mountall.sh", "S09mountall-bootclean.sh", "S10procps",
          "S11urandom", "S12bootmisc.sh"),
    "2": ("S01bootlogs", "S02rmnologin"),
    "0": ("K01urandom", "K02sendsigs", "K03hwclock.sh", "K04umountfs", "K05umountroot", "K06halt"),
    "6": ("K01urandom", "K02sendsigs", "K03hwclock.sh", "K04umountfs", "K05umountroot", "K06reboot"),
}  # fmt: skip
GRUB_CONFIG = """\
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=3
menuentry "Debian" {{
    linux /boot/vmlinuz root={device} console=tty0 console=ttyS0 vga=normal
    initrd /boot/initrd.gz
}}
"""


def _base(packages: str, kernel: bytes, initrd: bytes, device: str = "/dev/sda1") -> Tree:
    tree = Tree()
    tree.merge_usr()
    tree.unpack(package_sets()[packages], lambda path: not path.startswith(LEFT_OUT))
    for name in ("dev", "proc", "sys", "run", "mnt", "var/log", "var/tmp", "etc/network", "boot/grub"):
        tree.directory(name)
    tree.nodes["tmp"].mode |= 0o1777
    tree.directory("root", 0o700)
    for name, content in FILES.items():
        tree.file(name, content)
    for table in ("passwd", "group"):
        tree.file(f"etc/{table}", tree.nodes[f"usr/share/base-passwd/{table}.master"].data.replace(b":*:", b":x:"))
    for path, name in PROFILES.items():
        tree.file(path, tree.nodes[f"usr/share/base-files/{name}"].data)
    users = [line.split(":")[0] for line in tree.nodes["etc/passwd"].data.decode().splitlines()]
    rows = [f"{user}:{PASSWORD if user == 'root' else '*'}:19676:0:99999:7:::" for user in users]
    tree.file("etc/shadow", "\n".join(rows) + "\n", 0o640)
    tree.link("usr/bin/awk", "mawk")
    tree.link("etc/localtime", "/usr/share/zoneinfo/UTC")
    tree.link("var/run", "/run")
    tree.link("var/lock", "/run/lock")
    tree.link("etc/mtab", "/proc/mounts")
    tree.file("etc/fstab", f"{device} / ext4 errors=remount-ro 0 1\n")
    tree.file("boot/vmlinuz", kernel)
    tree.file("boot/initrd.gz", initrd)
    tree.file("boot/grub/grub.cfg", GRUB_CONFIG.format(device=device))
    return tree


def sysvinit() -> Tree:
    """Debian with System V's init."""
    tree = _base("debian-sysvinit", _installer_kernel(), build_initramfs())
    tree.file("etc/inittab", INITTAB)
    for level, links in RUNLEVELS.items():
        for link in links:
            tree.link(f"etc/rc{level}.d/{link}", f"../init.d/{link[3:]}")
    return tree


def systemd() -> Tree:
    """Debian with systemd."""
    tree = _base("debian-systemd", _installer_kernel(), build_initramfs())
    _start_systemd(tree)
    return tree


def cloud() -> Tree:
    """Debian for amd64 with systemd and the kernel for virtual machines, on a virtio disk."""
    packed = Tree()
    packed.unpack(packages_of("debian-cloud", "linux-image-"), lambda path: path.startswith("boot/vmlinuz-"))
    (kernel,) = (node.data for path, node in packed.nodes.items() if path.startswith("boot/vmlinuz-"))
    tree = _base("debian-cloud", kernel, build_initramfs("debian-cloud"), "/dev/vda1")
    _start_systemd(tree)
    return tree


def _installer_kernel() -> bytes:
    return (directory() / "debian-12-linux").read_bytes()


def _start_systemd(tree: Tree) -> None:
    wanted = "etc/systemd/system/getty.target.wants"
    tree.link(f"{wanted}/getty@tty1.service", "/lib/systemd/system/getty@.service")
    tree.link(f"{wanted}/serial-getty@ttyS0.service", "/lib/systemd/system/serial-getty@.service")
    tree.link("etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")


def file_system(tree: Tree, size: int, offset: int, image: Path) -> None:
    """Make an ext4 file system of `size` bytes at `offset` of a file, with the tree's files and their owners."""
    with tempfile.TemporaryDirectory(dir=image.parent, prefix=".root-") as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        tree.write(root)
        options = f"offset={offset},root_owner=0:0,hash_seed={UUID},lazy_itable_init=0,lazy_journal_init=0"
        command = ["mke2fs", "-q", "-t", "ext4", "-d", str(root), "-E", options, "-U", UUID, "-L", "root",
                   "-O", "^metadata_csum_seed,^orphan_file", str(image), f"{size // 1024}k"]  # fmt: skip
        _run(command, "")
    lines = []
    for path, node in tree.ordered():
        lines += [f'set_inode_field "/{path}" uid {node.uid}', f'set_inode_field "/{path}" gid {node.gid}']
        lines += [f'set_inode_field "/{path}" {each} @{TIME}' for each in ("ctime", "atime", "crtime")]
    _run(["debugfs", "-w", "-f", "-", f"{image}?offset={offset}"], "\n".join(lines) + "\n")


def _run(command: list[str], script: str) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "E2FSPROGS_FAKE_TIME": str(TIME), "LC_ALL": "C"}
    subprocess.run(command, input=script, text=True, check=True, capture_output=True, env=environment)
