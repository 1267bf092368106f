"""Files of a guest, held in memory: out of Debian packages, changed, written as an initial RAM disk or a directory."""

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from guest_images.apt import FetchError
from guest_images.debian_packages import DebianPackage
from guest_images.third_party import directory

MERGED = ("bin", "sbin", "lib")  # links into usr, as on every Debian 12
TIME = 1_700_000_000  # of all files: the bytes of a disk depend on what is in it only


@dataclass
class Node:
    """A file, directory or symbolic link; `data` is a link's target."""

    mode: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0


@dataclass
class Tree:
    """Nodes by path, without a slash in front."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def directory(self, path: str, mode: int = 0o755) -> None:
        """A directory, with those above it."""
        if "/" in path and path.rpartition("/")[0] not in self.nodes:
            self.directory(path.rpartition("/")[0])
        self.nodes.setdefault(path, Node(stat.S_IFDIR | mode))

    def file(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        self._add(path, Node(stat.S_IFREG | mode, data.encode() if isinstance(data, str) else data))

    def link(self, path: str, target: str) -> None:
        self._add(path, Node(stat.S_IFLNK | 0o777, target.encode()))

    def merge_usr(self) -> None:
        """Links from / into /usr, which files out of packages then follow."""
        for name in MERGED:
            self.directory(f"usr/{name}")
            self.link(name, f"usr/{name}")

    def unpack(self, packages: Iterable[DebianPackage], wanted: Callable[[str], bool] = lambda path: True) -> None:
        """The files of fetched packages, as far as they are wanted. Raises FetchError if one is missing."""
        for archive in archives(packages):
            command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
            content = subprocess.run(command, capture_output=True, check=True).stdout
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                for member in tar:
                    path = member.name.removeprefix("./").removeprefix(".")
                    if path and (member.isdir() or wanted(path)):
                        self._unpack_member(tar, member, self._real(path))

    def _unpack_member(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if member.isdir():
            self.nodes.setdefault(path, Node(stat.S_IFDIR | member.mode, b"", member.uid, member.gid))
        elif member.issym():
            self.link(path, member.linkname)
        elif member.islnk():
            self._add(path, self.nodes[self._real(member.linkname.removeprefix("./"))])
        elif content := tar.extractfile(member):
            self._add(path, Node(stat.S_IFREG | member.mode, content.read(), member.uid, member.gid))

    def _real(self, path: str) -> str:
        """The path with a link from / into /usr followed."""
        top, slash, rest = path.partition("/")
        if slash and top in self.nodes and stat.S_ISLNK(self.nodes[top].mode):
            return f"{self.nodes[top].data.decode()}/{rest}"
        return f"usr/{path}" if not slash and top in self.nodes and stat.S_ISLNK(self.nodes[top].mode) else path

    def _add(self, path: str, node: Node) -> None:
        if "/" in path:
            self.directory(path.rpartition("/")[0])
        self.nodes[path] = node

    def ordered(self) -> list[tuple[str, Node]]:
        """Directories before what is in them."""
        return sorted(self.nodes.items())

    def cpio(self) -> bytes:
        """As an initial RAM disk: the "newc" format of cpio(5)."""
        out = bytearray()
        for number, (path, node) in enumerate([*self.ordered(), ("TRAILER!!!", Node(0))], 1):
            name = path.encode() + b"\0"
            fields = (number, node.mode, node.uid, node.gid, 1, TIME, len(node.data), 0, 0, 0, 0, len(name), 0)
            out += b"070701" + b"".join(b"%08X" % value for value in fields) + name
            out += bytes(-len(out) % 4) + node.data
            out += bytes(-len(out) % 4)
        return bytes(out)

    def write(self, into: Path) -> None:
        """As files of whoever runs this; owners other than that are for the builder of the file system to set."""
        for path, node in self.ordered():
            target = into / path
            if stat.S_ISDIR(node.mode):
                target.mkdir(parents=True)
            elif stat.S_ISLNK(node.mode):
                target.symlink_to(node.data.decode())
            else:
                target.write_bytes(node.data)
                target.chmod(stat.S_IMODE(node.mode))
        for path, node in reversed(self.ordered()):
            if stat.S_ISDIR(node.mode):
                (into / path).chmod(stat.S_IMODE(node.mode) | 0o700)
            os.utime(into / path, (TIME, TIME), follow_symlinks=False)


def archives(packages: Iterable[DebianPackage]) -> list[Path]:
    """Where fetched packages lie. Raises FetchError if one is not there."""
    paths = [package.archive(directory()) for package in packages]
    for path in paths:
        if not path.is_file():
            raise FetchError(f"{path}: not here; run `make guests`")
    return paths
