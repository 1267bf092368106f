"""Compiled modules on disk by the digest of their source: one file for all, so that who changes one compiles one.

Nothing in it is ever needed: what is damaged counts as absent and is compiled again.

File: magic (8 bytes), then the objects, each with key (20 bytes), digest (16) of key, size and content, size (u32) and
content. They are appended under a lock on the file itself, which whoever rewrites it replaces under that lock. A writer
that is killed leaves a torn end: the next one cuts it off.
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from bt.host.own_files import NO_FOLLOWING, is_ours_alone

LIMIT_BYTES = 48 << 20  # a library's objects have 5 MiB: those of about nine versions
KEY_BYTES = 20

_MAGIC = b"btobjs\0\1"
_DIGEST_BYTES = 16
_HEAD = struct.Struct(f"<{KEY_BYTES}s{_DIGEST_BYTES}sI")


class _Place(NamedTuple):
    offset: int  # of the content
    size: int


class Objects:
    """The objects in the file `path`; several processes may use it at once. For one thread."""

    def __init__(self, path: Path, warn: Callable[[OSError], None], *, limit: int = LIMIT_BYTES) -> None:
        """Look through what is there. `warn` hears, instead of the caller, what the host refuses to write.

        The file stays below about `limit` bytes: what this object has neither got nor added goes first, oldest first.
        """
        self._path, self._warn, self._limit = path, warn, limit
        self._fd, self._writable = -1, False
        self._give_back: Callable[[], object] | None = None  # closes it, also for who forgets to
        self._end = 0  # of what is sound
        self._places: dict[bytes, _Place] = {}
        self._used: set[bytes] = set()
        with suppress(OSError):  # none yet, or none to be trusted
            self._open(os.O_RDONLY)

    def get(self, key: bytes) -> bytes | None:
        """The object that was added under the key; None where there is none."""
        place = self._places.get(key)
        if place is None:
            return None
        self._used.add(key)
        return os.pread(self._fd, place.size, place.offset)

    def add(self, key: bytes, content: bytes) -> None:
        """Keep an object; a process that ends at any moment spoils no other."""
        self._used.add(key)
        try:
            with self._locked():
                if self._end + _HEAD.size + len(content) > self._limit:
                    self._rewrite()
            with self._locked():  # of the file that has come in its place
                if key not in self._places:
                    self._append(key, content)
        except OSError as error:
            self._warn(error)

    def close(self) -> None:
        if self._give_back is not None:
            self._give_back()
        self._fd, self._give_back = -1, None
        self._writable, self._end, self._places = False, 0, {}

    def _open(self, flags: int) -> None:
        self.close()
        self._fd = os.open(self._path, flags | NO_FOLLOWING, 0o600)
        self._give_back = weakref.finalize(self, os.close, self._fd)
        if not is_ours_alone(os.fstat(self._fd)):
            self.close()
            raise PermissionError(f"{self._path} is not ours alone")
        self._look_through()

    def _open_to_write(self) -> None:
        try:
            self._open(os.O_RDWR | os.O_CREAT)
        except OSError:  # somebody else's, or no file: another comes in its place
            self._path.unlink(missing_ok=True)
            self._open(os.O_RDWR | os.O_CREAT)
        self._writable = True

    def _look_through(self) -> None:
        """Find the objects behind `_end`, which moves to the end of the last sound one."""
        if self._end == 0:
            if os.pread(self._fd, len(_MAGIC), 0) != _MAGIC:
                return
            self._end = len(_MAGIC)
        while len(head := os.pread(self._fd, _HEAD.size, self._end)) == _HEAD.size:
            key, digest, size = _HEAD.unpack(head)
            place = _Place(self._end + _HEAD.size, size)
            if place.offset + size > os.fstat(self._fd).st_size:
                return
            if _digest(key, os.pread(self._fd, size, place.offset)) != digest:
                return
            self._places[key] = place
            self._end = place.offset + size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else writes; the file is there, and what others have added meanwhile is known."""
        while True:
            if not self._writable:
                self._open_to_write()
            fcntl.flock(self._fd, fcntl.LOCK_EX)  # the kernel drops it when we die
            if self._is_current():
                break
            self.close()  # it has been replaced while we waited
        try:
            self._look_through()
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _append(self, key: bytes, content: bytes) -> None:
        os.ftruncate(self._fd, self._end)  # a torn end goes
        if self._end == 0:
            _write(self._fd, _MAGIC, 0)
            self._end = len(_MAGIC)
        _write(self._fd, _record(key, content), self._end)
        self._look_through()

    def _rewrite(self) -> None:
        """Have a file with about half the bytes come in place of this one: those used last, and those used here."""
        ordered = sorted(self._places.items(), key=lambda item: (item[0] in self._used, item[1].offset), reverse=True)
        kept: list[tuple[bytes, _Place]] = []
        size = 0
        for key, place in ordered:
            size += _HEAD.size + place.size
            if size > self._limit // 2:
                break
            kept.append((key, place))
        temporary = self._path.with_name(f".{self._path.name}-{os.getpid()}-{os.urandom(4).hex()}.tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(_MAGIC)
                for key, place in reversed(kept):
                    file.write(_record(key, os.pread(self._fd, place.size, place.offset)))
            os.replace(temporary, self._path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _record(key: bytes, content: bytes) -> bytes:
    return _HEAD.pack(key, _digest(key, content), len(content)) + content


def _digest(key: bytes, content: bytes) -> bytes:
    digest = blake2b(key + len(content).to_bytes(4, "little"), digest_size=_DIGEST_BYTES)
    digest.update(content)
    return digest.digest()


def _write(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
