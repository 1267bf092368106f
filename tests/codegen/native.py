"""From IR to something Python can call: what most tests here start with."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

from bt.codegen.arena import Arena
from bt.codegen.linker import link
from bt.codegen.llvm import assemble
from bt.codegen.objectfile import merge, read_object


def load(arena: Arena, *irs: str, externals: Mapping[str, int] | None = None) -> dict[str, int]:
    """Compile the modules, link them together; the address of each symbol."""
    return link(arena, merge(read_object(assemble(ir)) for ir in irs), externals or {})


def callable_at(address: int, arguments: int = 0) -> Callable[..., int]:
    """The C function at `address`: 64-bit unsigned arguments and result."""
    function: Callable[..., int] = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * arguments)(address)
    return function
