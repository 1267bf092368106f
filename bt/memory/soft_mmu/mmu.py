"""The soft MMU as Python sees it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from weakref import WeakMethod

from bt.memory.mmu import Mmu
from bt.x86.state import FLUSH_FOR_PYTHON, CpuState

_ALL_LINES = (1 << 64) - 1
_A20 = 1 << 20
_PROTECT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)
_PAGE, _FEW_PAGES = 4096, 16  # one page takes 0.5 us, all of them 2 us


class SoftMmu(Mmu):
    """The soft MMU of the processor with this state; `call` calls a runtime function with one argument,
    `symbols` are the addresses of all."""

    def __init__(self, state: CpuState, call: Callable[[str, int], object], symbols: Mapping[str, int]) -> None:
        self._state = state
        self._protect = _PROTECT(symbols["protect"])
        self._native = WeakMethod(call)  # the processor has us: one that is forgotten shall not wait for the collector
        state["a20_mask"] = _ALL_LINES

    def _call(self, name: str, argument: int) -> None:
        call = self._native()
        assert call is not None, "the processor has gone"
        call(name, argument)

    def invalidate_all(self) -> None:
        self._call("flush_tlb", FLUSH_FOR_PYTHON)

    def invalidate_user(self) -> None:
        self._call("flush_tlb", 0)

    def invalidate_page(self, linear: int) -> None:
        self._call("invalidate_page", linear)

    def invalidate_range(self, linear: int, size: int) -> None:
        if size > _FEW_PAGES * _PAGE:
            self.invalidate_all()
            return
        for page in range(linear & -_PAGE, linear + size, _PAGE):
            self.invalidate_page(page)

    def remapped(self, physical: int, size: int) -> None:
        self.invalidate_all()

    def protect(self, physical: int, size: int) -> None:
        self._protect(self._state.pointer, physical, size)

    def set_a20(self, enabled: bool) -> None:
        self._state["a20_mask"] = _ALL_LINES if enabled else _ALL_LINES & ~_A20
        self.invalidate_all()
