"""What memory offers an engine: the interface of a back-end.

A back-end turns linear addresses into host memory. The engines ask it in three voices, and know nothing else of it:
`AccessCode` is what it puts into generated code, `AccessHoles` what the translator fills in there, and `Mmu` what a
virtual CPU's Python half asks. The native entries below are its slow ones. `soft_mmu` is the first back-end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import Context

# One linear address: linear, write, flags. In exit_address its physical address, in memory_value the host pointer, or 0
# if no memory is there. `probe` finds from then on what may be accessed directly. A write goes into the dirty log.
# `flags`: ACCESS_SYSTEM = with supervisor rights. ACCESS_FETCH = an instruction fetch.
RESOLVE = native("resolve", PTR, "i64", "i32", "i32")
ACCESS_SYSTEM, ACCESS_FETCH = 1, 2
# linear, write, bytes up to the end of the page at most: null when they are not plain RAM, or code to be written
DIRECT = native("direct_pointer", PTR, "i64", "i32", "i64", result=PTR)
# What is known of a linear address, with the rights of the current privilege level and without any walk: its physical
# page, and WALKED_* bits (bt/x86/services.py), WALKED_WRITABLE if it may be written directly. NOT_KNOWN: nothing.
KNOWN_TRANSLATION = native("known_translation", PTR, "i64", result="i64")
NOT_KNOWN = -1
# Let the next store to any of these pages come by the slow path: physical address, bytes. They hold code now, or their
# dirty log begins anew.
PROTECT = native("protect", PTR, "i64", "i64")

# Slow accesses of a register's width (bt/memory/slow.py).
SLOW_READ = native("slow_read", PTR, "i64", "i32", "i32")  # linear, bytes, ACCESS_SYSTEM; value in memory_value
SLOW_WRITE = native("slow_write", PTR, "i64", "i32", "i64", "i32")  # linear, bytes, value, ACCESS_SYSTEM
UPDATE_BEGIN = native("update_begin", PTR, "i64", "i32")  # linear, bytes; operand pointer in memory_value
UPDATE_COMMIT = native("update_commit", PTR)
# Operands of any size (bt/memory/wide.py): linear, bytes, OPERAND_* bits; operand pointer in memory_value.
OPERAND_BEGIN = native("operand_begin", PTR, "i64", "i32", "i32")
OPERAND_COMMIT = native("operand_commit", PTR)
OPERAND_COMMIT_MASKED = native("operand_commit_masked", PTR, PTR)  # thunk of an instruction that writes some bytes only
OPERAND_WRITE, OPERAND_FILL = 1, 2  # FILL: what is written may be less than the whole


class Probe(NamedTuple):
    """A look for memory that may be accessed directly: whether it is there (i1), and code for its host pointer then."""

    hit: Value
    pointer: Callable[[], Value]


class HoleContext(Context):
    """Code with constants that are filled in later: a stencil."""

    @abstractmethod
    def hole(self, name: str, width: int = 32) -> Value:
        """A constant that the emitter fills in."""


class AccessHoles(ABC):
    """Fills in the holes of memory accesses, for one block under translation."""

    @abstractmethod
    def access(self, write: Value | int) -> None:
        """The `pointer` that follows is for a write (not 0) or a read."""

    @abstractmethod
    def known(self, linear: Value, write: Value) -> None:
        """The `known_pointer` that follows is for this address (i32), for a write (i1) or a read."""


class AccessCode(ABC):
    """What the back-end puts into generated code: how an access finds out that it may be made directly."""

    holes: Mapping[str, bool]  # of its stencils; True: sign-extended 32 bits, False: zero-extended

    @abstractmethod
    def probe(
        self, b: Context, linear: Value, size: int | Value, *, write: bool | Value, system: bool = False
    ) -> Probe:
        """Look for `size` bytes at a linear address with the rights of the current privilege level, or as `system`."""

    @abstractmethod
    def pointer(self, b: HoleContext, linear: Value, size: int | Value, miss: Callable[[], None]) -> Value:
        """Host pointer of an access in a stencil; `miss` emits the way out."""

    @abstractmethod
    def known_pointer(self, b: HoleContext, linear: Value, miss: Callable[[], None]) -> Value:
        """The same where the address is known when the stencil is emitted, and the access lies within one page."""

    @abstractmethod
    def begin_block(self, b: Context, fill: Callable[[str, Value], None]) -> AccessHoles:
        """For a block in the CPU's present mode; `fill` gives a hole its value."""

    @abstractmethod
    def choose_rights(self, b: Context, user: Value, checked: Value, watched: Value) -> None:
        """From now on accesses are those of CPL 3 (`user`). `checked`: all of them come by the slow path, because their
        alignment matters; `watched`: those of the processor itself too, because of breakpoints (i1 each).
        """

    @abstractmethod
    def switch_rights(self, b: Context, user: Value) -> None:
        """The same where nothing else has changed, nothing is checked or watched, and there is no long mode."""
