"""Registers of devices that native code answers for: what buses enter, and what native code finds there.

An engine looks here before it leaves to Python: by the number that the bus keeps for a port (bt/memory/bus.py), and by
address among the windows, of which there are few. Which device that is, and what its code does, is nobody's business
but the device's (bt/devices/native.py).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from mmap import mmap
from typing import NamedTuple, Protocol

from bt.codegen.abi import native
from bt.codegen.layout import Layout
from bt.codegen.value import PTR

# One access: state, the device's block, offset, size in bytes, value if it is a write. Answers OK, a value read being
# in memory_value, or ASK, with nothing changed.
SERVE = native("serve_register", PTR, PTR, "i32", "i32", "i64")
ASK = 3  # beside OK, FAULT and EXIT of bt/x86/context.py

REGISTER_BYTES, REGISTERS = 32, 256
REGISTER = Layout(
    (
        ("read", 64),  # host address of the code, 0: ask Python
        ("write", 64),
        ("block", 64),  # host address of what the device shares
        ("offset", 64),
    ),
    REGISTER_BYTES,
)
WINDOW_BYTES, WINDOWS = 64, 16
WINDOW = Layout(
    (
        ("start", 64),  # physical addresses, the last exclusive; the table ends with one that ends at 0
        ("end", 64),
        *((name, 64) for name in REGISTER.offsets),
    ),
    WINDOW_BYTES,
)
_ROW = struct.Struct("<4Q")  # of REGISTER
Memory = bytearray | mmap
"""Where the tables are: the map of an Area, or the interpreter's own."""


class Code(Protocol):
    """Native code of a device, by the name of its symbol."""

    @property
    def name(self) -> str: ...


class NativeRegister(NamedTuple):
    """What answers for registers: code for reads, for writes, and the host address of the block handed to them."""

    block: int
    read: Code | None = None
    write: Code | None = None


class NativeRegisters:
    """The tables of one engine."""

    def __init__(self, registers: Memory | None = None, windows: Memory | None = None) -> None:
        """`registers` and `windows`: REGISTERS and WINDOWS of them, all zeros; without, for engines that look nowhere.

        Nothing is served before `symbols` are known.
        """
        self.symbols: Mapping[str, int] = {}
        self._registers: Memory = bytearray(REGISTERS * REGISTER_BYTES) if registers is None else registers
        self._window_table: Memory = bytearray(WINDOWS * WINDOW_BYTES) if windows is None else windows
        self._free = list(range(REGISTERS - 1, 0, -1))
        self._windows: list[_Window] = []

    def add(self, register: NativeRegister, offset: int) -> int:
        """Serve a register, which its device sees at `offset`: its number, 0 if there is no code or no room for it."""
        if not self._free or not (fields := self._fields(register, offset)):
            return 0
        number = self._free.pop()
        _ROW.pack_into(self._registers, number * REGISTER_BYTES, *fields)
        return number

    def remove(self, number: int) -> None:
        _ROW.pack_into(self._registers, number * REGISTER_BYTES, 0, 0, 0, 0)
        self._free.append(number)

    def add_window(self, register: NativeRegister, start: int, length: int, offset: int) -> None:
        """Serve physical addresses, which the device sees from `offset` on, unless there is no code or no room."""
        if len(self._windows) < WINDOWS - 1 and (fields := self._fields(register, offset)):
            self._windows.append(_Window(start, start + length, _ROW.pack(*fields)))
            self._store_windows()

    def remove_window(self, start: int) -> None:
        """Serve those from `start` on no more, if they were."""
        self._windows = [each for each in self._windows if each.start != start]
        self._store_windows()

    def _fields(self, register: NativeRegister, offset: int) -> tuple[int, int, int, int] | None:
        """A row of REGISTER; None if there is no code."""
        block, reading, writing = register
        read = self.symbols.get(reading.name, 0) if reading is not None else 0
        write = self.symbols.get(writing.name, 0) if writing is not None else 0
        return (read, write, block, offset) if read | write else None

    def _store_windows(self) -> None:
        rows = (
            each.start.to_bytes(8, "little") + each.end.to_bytes(8, "little") + each.fields for each in self._windows
        )
        table = b"".join(row.ljust(WINDOW_BYTES, b"\0") for row in rows)
        self._window_table[0 : WINDOWS * WINDOW_BYTES] = table.ljust(WINDOWS * WINDOW_BYTES, b"\0")


class _Window(NamedTuple):
    start: int
    end: int
    fields: bytes
