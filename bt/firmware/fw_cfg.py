"""QEMU's firmware configuration device: what the machine tells its firmware, by key or by file name."""

import struct
from typing import Any, Protocol

from bt.devices.device import Device
from bt.memory.ram import OutsideRam

FIRST_PORT = 0x510
REGIONS = ((0x510, 2), (0x514, 8))  # ports and their number: selector and data, DMA address
SELECTOR, DATA, DMA_HIGH, DMA_LOW = 0, 1, 4, 8  # offsets

SIGNATURE_KEY, ID_KEY, FILE_DIRECTORY_KEY, FIRST_FILE_KEY = 0x00, 0x01, 0x19, 0x20
WRITE_CHANNEL = 1 << 14  # of the selector; data-port writes are ignored all the same
ID_TRADITIONAL, ID_DMA = 1 << 0, 1 << 1
SIGNATURE = b"QEMU"
DMA_SIGNATURE = b"QEMU CFG"  # what the DMA address register reads as
NAME_BYTES = 56  # of a file in the directory, with the NUL that ends it

DMA_ERROR, DMA_READ, DMA_SKIP, DMA_SELECT, DMA_WRITE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
DESCRIPTOR = struct.Struct(">IIQ")  # control, length, address
CONTROL = struct.Struct(">I")
CHUNK = 1 << 16  # bytes copied at a time: a guest may ask for 4 GiB


class GuestMemory(Protocol):
    """RAM by guest-physical address; raises OutsideRam unless all of an access is RAM."""

    def read(self, paddr: int, n: int) -> bytes: ...
    def write(self, paddr: int, data: bytes | bytearray | memoryview) -> None: ...


class FwCfg(Device):
    """QEMU documentation, "QEMU Firmware Configuration (fw_cfg) Device" (docs/specs/fw_cfg.rst), x86 ports.

    Selector (16 bits) at offset 0, data (8 bits) at 1, DMA address (big-endian halves of 32 bits) at 4 and 8: writing
    the lower one does what the descriptor there says before the write is over. What is beyond an item reads as zeros;
    a descriptor outside RAM is not looked at, one that leads outside has its error bit set.
    """

    widest_access = 4
    fields = ("_key", "_offset", "_dma_high")

    def __init__(self, memory: GuestMemory, name: str = "fw_cfg") -> None:
        super().__init__(name)
        self._memory = memory
        self._items: dict[int, bytes | bytearray] = {
            SIGNATURE_KEY: SIGNATURE,
            ID_KEY: (ID_TRADITIONAL | ID_DMA).to_bytes(4, "little"),
        }
        self._files: dict[str, bytes | bytearray] = {}
        self._directory_is_old = True
        self._key = self._offset = self._dma_high = 0

    def add(self, key: int, data: bytes) -> None:
        """Have the item `key` hold `data`; ValueError if the device itself or a file has the key."""
        if key in (SIGNATURE_KEY, ID_KEY) or FILE_DIRECTORY_KEY <= key < 0x4000:
            raise ValueError(f"fw_cfg: key {key:#x} is not free: add a file instead")
        self._items[key] = data

    def add_file(self, path: str, data: bytes, writable: bool = False) -> None:
        """Have a file, at most 55 bytes of name; a `writable` one takes what the guest writes by DMA."""
        if len(path.encode()) >= NAME_BYTES:
            raise ValueError(f"fw_cfg: file name {path!r} is longer than {NAME_BYTES - 1} bytes")
        self._files[path] = bytearray(data) if writable else data
        self._directory_is_old = True

    def file(self, path: str) -> bytes:
        """What the file holds now; KeyError if there is none."""
        return bytes(self._files[path])

    def read(self, offset: int, size: int) -> int:
        if offset == DATA:
            data = self._take(1)
            return data[0] | (1 << 8 * size) - 0x100  # beyond the byte nobody answers
        if offset >= DMA_HIGH and offset + size <= DMA_LOW + 4:
            at = offset - DMA_HIGH
            return int.from_bytes(DMA_SIGNATURE[at : at + size], "little")
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == SELECTOR and size == 2:
            self._select(value)
        elif size == 4 and offset in (DMA_HIGH, DMA_LOW):
            half = int.from_bytes(value.to_bytes(4, "little"), "big")
            if offset == DMA_HIGH:
                self._dma_high = half
            else:
                address, self._dma_high = self._dma_high << 32 | half, 0
                self._dma(address)

    def reset(self) -> None:
        self._key = self._offset = self._dma_high = 0

    def state(self) -> dict[str, Any]:
        written = {path: data.hex() for path, data in self._files.items() if isinstance(data, bytearray)}
        return super().state() | {"written": written}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        for path, data in state["written"].items():
            self._files[path] = bytearray.fromhex(data)
        self._directory_is_old = True

    def _select(self, key: int) -> None:
        self._key, self._offset = key & ~WRITE_CHANNEL, 0

    def _item(self) -> bytes | bytearray:
        if self._directory_is_old:
            self._number_files()
        return self._items.get(self._key, b"")

    def _number_files(self) -> None:
        """Files have their keys in the order of their names."""
        for key in [key for key in self._items if FIRST_FILE_KEY <= key < WRITE_CHANNEL]:
            del self._items[key]
        paths = sorted(self._files)
        directory = struct.pack(">I", len(paths))
        for key, path in enumerate(paths, FIRST_FILE_KEY):
            self._items[key] = self._files[path]
            directory += struct.pack(f">IHH{NAME_BYTES}s", len(self._files[path]), key, 0, path.encode())
        self._items[FILE_DIRECTORY_KEY] = directory
        self._directory_is_old = False

    def _take(self, length: int) -> bytes:
        data = bytes(self._item()[self._offset : self._offset + length])
        self._offset += length
        return data.ljust(length, b"\0")

    def _dma(self, address: int) -> None:
        try:
            control, length, target = DESCRIPTOR.unpack(self._memory.read(address, DESCRIPTOR.size))
            if control & DMA_SELECT:
                self._select(control >> 16)
            done = self._transfer(control, length, target)
            self._memory.write(address, CONTROL.pack(0 if done else DMA_ERROR))
        except OutsideRam:
            return

    def _transfer(self, control: int, length: int, target: int) -> bool:
        """Do what `control` asks for; False if it cannot be done. The data offset moves in any case."""
        first = self._offset
        if control & (DMA_READ | DMA_WRITE | DMA_SKIP):
            self._offset = first + length
        item = self._item()
        if control & DMA_READ:
            return self._copy_out(item, first, length, target)
        if not control & DMA_WRITE or not length:
            return True
        return (
            isinstance(item, bytearray) and first + length <= len(item) and self._copy_in(item, first, length, target)
        )

    def _copy_out(self, item: bytes | bytearray, first: int, length: int, target: int) -> bool:
        try:
            for at in range(0, length, CHUNK):
                size = min(CHUNK, length - at)
                part = bytes(item[first + at : first + at + size])
                self._memory.write(target + at, part.ljust(size, b"\0"))
        except OutsideRam:
            return False
        return True

    def _copy_in(self, item: bytearray, first: int, length: int, target: int) -> bool:
        try:
            item[first : first + length] = self._memory.read(target, length)
        except OutsideRam:
            return False
        return True
