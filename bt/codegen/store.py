"""A per-user disk cache of named binary sections: what took LLVM a minute to make is loaded in milliseconds.

Nothing in it is ever needed: an entry that is missing, damaged, of another version or not ours to trust counts as
absent and is built again.

File: magic (8 bytes), CRC-32 of all that follows (u32: it is damage that is looked for, and a digest of 4 MB would be
4 ms of each start), key length and section count (u32 each), the key, then for each section name length, offset and
size (u32, u64, u64) followed by the name; offsets count from the start of the file.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import struct
import time
import warnings
import zlib
from _blake2 import blake2b  # where hashlib has it from, which loads OpenSSL besides: 4 ms of each start
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bt.host.own_files import map_own_file

if TYPE_CHECKING:
    from bt.codegen.objects import Objects

Sections = dict[str, memoryview]  # of the cache's own, writable memory, so that native code may be told where it is

_MAGIC = b"btstore\2"
_CRC = struct.Struct("<I")
_HEAD_SIZE = len(_MAGIC) + _CRC.size
_COUNTS = struct.Struct("<II")
_ENTRY = struct.Struct("<IQQ")
_SOURCE_BYTES = 1 << 16  # most have fewer
_ALIGN = 64  # sections start on cache lines
_KEPT_PER_NAME = 4  # two checkouts, with and without host features
_ABANDONED_S = 3600  # a temporary file this old belongs to no live writer
_NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")
_TEMPORARY = r"\..+-\d+-[0-9a-f]+\.tmp"
_FORMER = r"\.?object\.[a-z0-9_.]+(-[0-9a-f]{16}\.bin|\.lock|-\d+-[0-9a-f]{8}\.tmp)"


class Store:
    """Entries live in `directory`, by default $BT_CACHE_DIR, else $XDG_CACHE_HOME/bt, else ~/.cache/bt.

    A directory that cannot be written is warned of once; bt then works without a cache.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = _default_directory() if directory is None else directory
        self._warned = False

    def load(self, name: str, key: str) -> Sections | None:
        """The sections saved under `name` and `key`, mapped; None where there are none to trust.

        `name` consists of a-z 0-9 _ and dot; ValueError otherwise.
        """
        try:
            data = map_own_file(self._path(name, key))
        except (OSError, ValueError):
            return None
        return _decode(data, key)

    def objects(self) -> Objects:
        """The compiled modules in the same directory. Files of versions that had one for each of them go."""
        from bt.codegen.objects import Objects  # here, not on top: a warm start has no need of it

        with suppress(OSError), os.scandir(self.directory) as files:
            for file in files:
                if re.fullmatch(_FORMER, file.name):
                    os.unlink(file.path)
        return Objects(self.directory / "objects.bin", self._warn)

    def get(self, name: str, key: str, build: Callable[[], Mapping[str, bytes | memoryview]]) -> Sections:
        """Load the entry; where there is none, `build` it and save it, whole or not at all.

        The newest four of a name are kept. Of two processes that want the same entry, one builds and the other waits.
        """
        if (found := self.load(name, key)) is not None:
            return found
        with self._locked(name):
            if (found := self.load(name, key)) is not None:
                return found
            built = dict(build())
            self._write(name, key, built)
            return {name: memoryview(bytearray(section)) for name, section in built.items()}

    def _path(self, name: str, key: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"store name {name!r}: only a-z 0-9 _ and dot, and no dot first")
        return self.directory / f"{name}-{blake2b(key.encode(), digest_size=8).hexdigest()}.bin"

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Exclude other processes from building `name`; without effect where there can be no lock file."""
        fd = -1
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)  # the kernel drops it when we die
        except OSError as error:
            self._warn(error)
        try:
            yield
        finally:
            if fd >= 0:
                os.close(fd)

    def _write(self, name: str, key: str, sections: Mapping[str, bytes | memoryview]) -> None:
        path = self._path(name, key)
        temporary = self.directory / f".{name}-{os.getpid()}-{os.urandom(4).hex()}.tmp"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._warn(error)
            return
        try:
            with open(fd, "wb") as file:
                file.write(_encode(key, sections))
                file.flush()
                os.fsync(fd)  # else a power cut may leave the name without the contents
            os.replace(temporary, path)
        except OSError as error:
            self._warn(error)
            with suppress(OSError):
                os.unlink(temporary)
            return
        self._prune(name, path)

    def _prune(self, name: str, newest: Path) -> None:
        entry = re.compile(rf"{re.escape(name)}-[0-9a-f]{{16}}\.bin")
        older: list[tuple[int, str]] = []
        unwanted: list[str] = []
        with suppress(OSError), os.scandir(self.directory) as files:
            for file in files:
                written_ns = file.stat().st_mtime_ns
                if entry.fullmatch(file.name) and file.name != newest.name:
                    older.append((written_ns, file.path))
                elif re.fullmatch(_TEMPORARY, file.name) and time.time() - written_ns / 1e9 > _ABANDONED_S:
                    unwanted.append(file.path)
        older.sort(reverse=True)
        for path in [*unwanted, *(path for _, path in older[_KEPT_PER_NAME - 1 :])]:
            with suppress(OSError):
                os.unlink(path)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.directory}: no code cache ({error.strerror}), so every start compiles again; "
                "set BT_CACHE_DIR to a directory you can write",
                stacklevel=2,
            )


def source_key(packages: Iterable[Path]) -> str:
    """Hex digest of the given .py files and of all under the given directories: their relative paths and contents."""
    digest = blake2b(digest_size=16)
    for package in packages:
        single = package.suffix == ".py"
        found = [(package.name, str(package))] if single else sorted(_sources(str(package), package.name))
        for relative, path in found:
            content = _content(path)
            digest.update(f"{relative}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _content(path: str) -> bytes:
    """All of a source file, in half the time that `open` takes: there are two hundred at each start."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.read(descriptor, _SOURCE_BYTES)
        while len(found) % _SOURCE_BYTES == 0 and (more := os.read(descriptor, _SOURCE_BYTES)):
            found += more
        return found
    finally:
        os.close(descriptor)


def _sources(directory: str, prefix: str) -> Iterator[tuple[str, str]]:
    with os.scandir(directory) as entries:  # pathlib's glob takes five times as long
        for entry in entries:
            if entry.name.endswith(".py"):
                yield f"{prefix}/{entry.name}", entry.path
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _sources(entry.path, f"{prefix}/{entry.name}")


def _default_directory() -> Path:
    if chosen := os.environ.get("BT_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the XDG specification has relative ones ignored
        return Path(base, "bt")
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        return Path(home, ".cache", "bt")
    return Path(f"/tmp/bt-{os.geteuid()}")  # a container's anonymous user has no home


def _encode(key: str, sections: Mapping[str, bytes | memoryview]) -> bytes:
    encoded_key = key.encode()
    names = [name.encode() for name in sections]
    head_size = _HEAD_SIZE + _COUNTS.size + len(encoded_key)
    offset = head_size + sum(_ENTRY.size + len(name) for name in names)
    table = bytearray(_COUNTS.pack(len(encoded_key), len(names)) + encoded_key)
    content = bytearray()
    padding = -offset % _ALIGN
    for name, section in zip(names, sections.values(), strict=True):
        content += bytes(padding)
        size = memoryview(section).nbytes
        table += _ENTRY.pack(len(name), offset + len(content), size) + name
        content += section
        padding = -size % _ALIGN
    return b"".join((_MAGIC, _CRC.pack(zlib.crc32(content, zlib.crc32(table))), table, content))


def _decode(data: mmap.mmap, key: str) -> Sections | None:
    view = memoryview(data)
    body = view[_HEAD_SIZE:]
    if view[:_HEAD_SIZE] != _MAGIC + _CRC.pack(zlib.crc32(body)):
        return None
    # whatever passes the check is what _encode wrote: no need to doubt its numbers
    key_size, count = _COUNTS.unpack_from(body)
    position = _COUNTS.size + key_size
    if body[_COUNTS.size : position] != key.encode():
        return None
    sections: Sections = {}
    for _ in range(count):
        name_size, offset, size = _ENTRY.unpack_from(body, position)
        position += _ENTRY.size + name_size
        name = bytes(body[position - name_size : position]).decode()
        sections[name] = view[offset : offset + size]
    return sections
