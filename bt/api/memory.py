"""A guest's memory as Python sees it: by physical and by linear address."""

from __future__ import annotations

from abc import ABC, abstractmethod

from bt import arguments
from bt.engine.linear import translate
from bt.engine.protocol import Engine
from bt.engine.vcpu import own_vcpu
from bt.errors import BtError
from bt.memory.map import PhysicalMap
from bt.x86.page import PAGE

MOST_TEXT = 65536
_4_GIB = 1 << 32


class NotMapped(BtError):
    """A linear address whose page is not in the guest's page tables."""


class Memory:
    """`mem.physical[0xB8000:0xB80A0]`, `mem.linear.u32[vm.reg.esp]`: bytes and little-endian numbers.

    Reading and writing leave no trace in the processor: no accessed or dirty bit, no fault. Devices are not asked:
    where nothing but a device answers OutsideRam is raised. What is written is executed from the next instruction on,
    and is written to ROM too.
    """

    def __init__(self, cpu: Engine, memory: PhysicalMap) -> None:
        self.physical: Space = PhysicalSpace(memory)
        self.linear: Space = LinearSpace(cpu, memory)


class Space(ABC):
    """Bytes by address: `space[address]` is a byte, `space[start:end]` bytes, `u8` to `u64` numbers, all assignable.

    Assigned bytes must be as many as the slice has. Raises OutsideRam where no memory is, NotMapped where no page is
    mapped, in both cases with nothing written.
    """

    bits = 32  # of an address

    def __init__(self) -> None:
        self.u8, self.u16, self.u32, self.u64 = (Numbers(self, size) for size in (1, 2, 4, 8))

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """`size` bytes from `address` on."""

    @abstractmethod
    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` from `address` on."""

    def string(self, address: int, most: int = MOST_TEXT, encoding: str = "latin-1") -> str:
        """The text there up to a zero byte, or `most` bytes of it."""
        found = bytearray()
        while len(found) < most:
            part = min(PAGE - (address + len(found)) % PAGE, most - len(found))
            piece, zero, _ = self.read(address + len(found), part).partition(b"\0")
            found += piece
            if zero:
                break
        return found.decode(encoding)

    def __getitem__(self, place: int | slice) -> int | bytes:
        if isinstance(place, slice):
            start, size = self._bounds(place)
            return self.read(start, size)
        return self.u8[place]

    def __setitem__(self, place: int | slice, value: int | bytes | bytearray | memoryview) -> None:
        if isinstance(place, slice):
            start, size = self._bounds(place)
            arguments.instance("value", value, (bytes, bytearray, memoryview), "bytes are wanted for a slice")
            assert not isinstance(value, int)
            arguments.require(len(value) == size, "value", value, f"{size} bytes are wanted")
            self.write(start, value)
        else:
            arguments.whole_number("value", value, "a byte is wanted", least=0, most=0xFF)
            assert isinstance(value, int)
            self.u8[place] = value

    def _bounds(self, place: slice) -> tuple[int, int]:
        good = isinstance(place.start, int) and isinstance(place.stop, int) and place.step is None
        arguments.require(good and 0 <= place.start <= place.stop, "slice", place, "start:end is wanted, without steps")
        return place.start, place.stop - place.start


class Numbers:
    """Little-endian numbers of 1, 2, 4 or 8 bytes by their address: `u32[address]`."""

    def __init__(self, space: Space, size: int) -> None:
        self._space, self._size = space, size

    def __getitem__(self, address: int) -> int:
        return int.from_bytes(self._space.read(address, self._size), "little")

    def __setitem__(self, address: int, value: int) -> None:
        bits = 8 * self._size
        arguments.whole_number("value", value, f"a number of {bits} bits is wanted", least=0, most=(1 << bits) - 1)
        self._space.write(address, value.to_bytes(self._size, "little"))


class PhysicalSpace(Space):
    """Physical addresses, of 36 bits: RAM, ROM and video memory, wherever they are mapped now."""

    def __init__(self, memory: PhysicalMap) -> None:
        super().__init__()
        self._memory = memory

    def read(self, address: int, size: int) -> bytes:
        _check(address, size, 1 << 36)
        return self._memory.read(address, size)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        _check(address, len(data), 1 << 36)
        self._memory.write(address, data)


class LinearSpace(Space):
    """Linear addresses, of 32 bits, through the guest's page tables as they are now."""

    def __init__(self, cpu: Engine, memory: PhysicalMap) -> None:
        super().__init__()
        self._cpu, self._memory = cpu, memory

    def read(self, address: int, size: int) -> bytes:
        return b"".join(self._memory.read(physical, part) for physical, part in self._parts(address, size))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        parts = self._parts(address, len(data))
        for physical, part in parts:
            self._memory.read(physical, part)  # raises before anything is written
        at = 0
        for physical, part in parts:
            self._memory.write(physical, data[at : at + part])
            at += part

    def physical(self, address: int) -> int:
        """The physical address of a linear one. Raises NotMapped."""
        _check(address, 1, _4_GIB)
        found = translate(own_vcpu(self._cpu), address).physical
        if found is None:
            raise NotMapped(f"linear address {address:#x}: its page is not mapped")
        return found

    def _parts(self, address: int, size: int) -> list[tuple[int, int]]:
        """Physical address and length of each page's part."""
        _check(address, size, _4_GIB)
        parts = []
        end = address + size
        while address < end:
            part = min(end - address, PAGE - address % PAGE)
            parts.append((self.physical(address), part))
            address += part
        return parts


def _check(address: int, size: int, most: int) -> None:
    arguments.whole_number("address", address, "an address is wanted", least=0, most=most - 1)
    arguments.whole_number("size", size, "a number of bytes is wanted", least=0, most=most - address)
