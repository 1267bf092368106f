"""State that a device shares with native code: attributes in a block of memory, which both read and write.

There is one truth: what a class declares here is nowhere else. In Python it is an attribute like any other, only slower
(0.15 us instead of 0.02), so registers that no native code looks at stay plain attributes.
"""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar, Self, overload


class Shared:
    """Base of what has such attributes; `block` is the host address of the block, for as long as the object lives."""

    shared_bytes: ClassVar[int] = 0
    block: int
    _bytes: bytearray
    _words: memoryview  # the same by 64 bits

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        memory = bytearray(cls.shared_bytes)  # at a multiple of 16, as malloc has it
        self.block = address_of(memory)
        self._bytes = memory
        self._words = memoryview(memory).cast("q")
        return self


def address_of(buffer: bytearray | memoryview) -> int:
    """Host address of the first byte of what will keep its place and size as long as it lives."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Field:
    """So many words of 64 bits of the block, from byte `offset` on."""

    words = 1
    offset: int

    def __set_name__(self, owner: type[Shared], name: str) -> None:
        self.offset = owner.shared_bytes
        self.place = self.offset // 8
        owner.shared_bytes += 8 * self.words


class Word(Field):
    """A whole number, below 2**63."""

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Shared, owner: type) -> int: ...
    def __get__(self, instance: Shared | None, owner: type) -> Self | int:
        return self if instance is None else instance._words[self.place]

    def __set__(self, instance: Shared, value: int) -> None:
        instance._words[self.place] = value


class Flag(Field):
    """True or False: 1 or 0."""

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Shared, owner: type) -> bool: ...
    def __get__(self, instance: Shared | None, owner: type) -> Self | bool:
        return self if instance is None else bool(instance._words[self.place])

    def __set__(self, instance: Shared, value: bool) -> None:
        instance._words[self.place] = value


class OptionalWord(Field):
    """A whole number of 0 or more, or None: -1."""

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Shared, owner: type) -> int | None: ...
    def __get__(self, instance: Shared | None, owner: type) -> Self | int | None:
        if instance is None:
            return self
        value = instance._words[self.place]
        return None if value < 0 else value

    def __set__(self, instance: Shared, value: int | None) -> None:
        instance._words[self.place] = -1 if value is None else value


class Bytes(Field):
    """Eight bytes, to be read and written in place; assigned to as a whole."""

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Shared, owner: type) -> memoryview: ...
    def __get__(self, instance: Shared | None, owner: type) -> Self | memoryview:
        return self if instance is None else memoryview(instance._bytes)[self.offset : self.offset + 8]

    def __set__(self, instance: Shared, value: bytes) -> None:
        instance._bytes[self.offset : self.offset + 8] = value


class Bits(Field):
    """A whole number of so many bits, the low 64 first."""

    def __init__(self, width: int) -> None:
        self.words = width // 64

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Shared, owner: type) -> int: ...
    def __get__(self, instance: Shared | None, owner: type) -> Self | int:
        if instance is None:
            return self
        return int.from_bytes(instance._bytes[self.offset : self.offset + 8 * self.words], "little")

    def __set__(self, instance: Shared, value: int) -> None:
        size = 8 * self.words
        instance._bytes[self.offset : self.offset + size] = value.to_bytes(size, "little")
