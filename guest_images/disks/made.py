"""Built disks by name, kept beside the fetched guests until what they are made of changes.

`python -m guest_images.disks.made [NAME...]` builds them and says where they lie.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bt.errors import BtError
from guest_images.debian_packages import package_sets
from guest_images.disks import initramfs
from guest_images.disks.bootable import root_disk
from guest_images.disks.own import DISK_SECTORS, FLOPPY_SECTORS, grub_cd, isolinux_cd, services
from guest_images.disks.root import cloud, systemd, sysvinit
from guest_images.third_party import directory, manifest

HERE = Path(__file__).parent
SUFFIX_LENGTH = 12  # of a hash, in hexadecimal digits

MAKERS: Mapping[str, Callable[[], bytes]] = {
    "initramfs.gz": initramfs.build,
    "services-floppy.img": lambda: services(FLOPPY_SECTORS),
    "services-disk.img": lambda: services(DISK_SECTORS),
    "grub.iso": grub_cd,
    "isolinux.iso": isolinux_cd,
    "debian-sysvinit.img": lambda: root_disk(sysvinit()),
    "debian-systemd.img": lambda: root_disk(systemd()),
    "debian-cloud.img": lambda: root_disk(cloud()),
}


def made(name: str) -> Path:
    """The built disk of that name, built now if it is not there. Raises FetchError if what it needs is not fetched."""
    path = directory() / "made" / f"{_inputs()}-{name}"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    content = MAKERS[name]()
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".making-", delete=False) as file:
        _write_sparse(file.fileno(), content)
    for old in path.parent.glob(f"{'?' * SUFFIX_LENGTH}-{name}"):
        old.unlink(missing_ok=True)
    os.replace(file.name, path)
    return path


def _inputs() -> str:
    """What every disk depends on: the packages and images by their hashes, and how disks are built."""
    digest = hashlib.sha256()
    for path in sorted([*HERE.glob("*.py"), *(HERE.parent / "sources").rglob("*.asm")]):
        digest.update(path.read_bytes())
    for members in package_sets().values():
        digest.update("".join(package.sha256 for package in members).encode())
    for image in manifest().values():
        digest.update("".join(image.sha256.values()).encode())
    return digest.hexdigest()[:SUFFIX_LENGTH]


def _write_sparse(descriptor: int, content: bytes, block: int = 1 << 16) -> None:
    """Most of a disk is empty."""
    os.truncate(descriptor, len(content))
    empty = bytes(block)
    for at in range(0, len(content), block):
        part = content[at : at + block]
        if part != empty[: len(part)]:
            os.pwrite(descriptor, part, at)


def main() -> int:
    try:
        for name in sys.argv[1:] or MAKERS:
            if name not in MAKERS:
                print(f"no disk is called {name!r}; there are {', '.join(MAKERS)}", file=sys.stderr)
                return 2
            print(made(name))
    except BtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
