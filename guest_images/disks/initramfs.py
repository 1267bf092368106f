"""An initial RAM disk of BusyBox, e2fsck and the kernel's disk drivers: a shell, or the way to a root file system."""

import gzip
import re
import stat

from guest_images.debian_packages import packages_of
from guest_images.disks.tree import Tree

PACKAGES = ("linux-image-", "busybox-static", "e2fsck-static")
# What disks and their file systems need. crc32c_generic is what ext4 asks the kernel's crypto for by another name.
MODULES = (
    "crc32c_generic", "ext4", "isofs", "nls_utf8", "ata_piix", "ata_generic", "sd_mod", "sr_mod", "virtio_pci",
    "virtio_blk",
)  # fmt: skip
INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /dev /mnt /proc /run /sbin /sys /tmp /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for module in $(cat /lib/modules/order); do insmod "$module" 2>/dev/null; done
root= init=/sbin/init
for word in $(cat /proc/cmdline); do
    case $word in
    root=*) root=${word#root=} ;;
    init=*) init=${word#init=} ;;
    esac
done
if [ -n "$root" ]; then
    tries=100
    while [ ! -b "$root" ] && [ $tries -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
    e2fsck -p "$root"
    mount -t ext4 "$root" /mnt && for there in dev proc sys; do mount --move /$there /mnt/$there; done
    exec switch_root /mnt "$init"
fi
export HOME=/root PS1='bt# '
mkdir -p /root
cd /root
exec setsid cttyhack sh
"""


def build(packages: str = "debian-initramfs") -> bytes:
    """The initial RAM disk, gzip'ed, of a set of packages."""
    packed = Tree()
    wanted = (".ko", "bin/busybox", "e2fsck.static", "modules.builtin")
    packed.unpack(packages_of(packages, *PACKAGES), lambda path: path.endswith(wanted))
    tree = Tree()
    for name in ("dev", "proc", "sys", "mnt", "bin"):
        tree.directory(name)
    tree.file("init", INIT, 0o755)
    tree.file("bin/busybox", packed.nodes["bin/busybox"].data, 0o755)
    tree.file("bin/e2fsck", packed.nodes["sbin/e2fsck.static"].data, 0o755)
    tree.link("bin/fsck.ext4", "e2fsck")
    tree.link("bin/fsck.ext2", "e2fsck")
    drivers = {path.rpartition("/")[2].removesuffix(".ko"): node.data for path, node in packed.nodes.items()
               if path.endswith(".ko") and stat.S_ISREG(node.mode)}  # fmt: skip
    (built_in,) = (node.data.decode() for path, node in packed.nodes.items() if path.endswith("modules.builtin"))
    order = _load_order(drivers, set(re.findall(r"([^/]+)\.ko$", built_in, re.MULTILINE)))
    for name in order:
        tree.file(f"lib/modules/{name}.ko", drivers[name])
    tree.file("lib/modules/order", "".join(f"/lib/modules/{name}.ko\n" for name in order))
    return gzip.compress(tree.cpio(), 6, mtime=0)


def _load_order(drivers: dict[str, bytes], built_in: set[str]) -> list[str]:
    """MODULES, as far as they are not `built_in`, with what they depend on in front, as their own modinfo sections say.
    In the kernel - and _ are one."""
    files = {name.replace("-", "_"): name for name in drivers}
    order: list[str] = []

    def add(name: str) -> None:
        file = files[name.replace("-", "_")]
        if file in order:
            return
        depends = re.search(rb"\0depends=([^\0]*)\0", drivers[file])
        for each in depends[1].decode().split(",") if depends else ():
            if each:
                add(each)
        order.append(file)

    for name in MODULES:
        if name not in built_in:
            add(name)
    return order
