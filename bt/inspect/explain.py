"""Translating blocks on request, to look at them: nothing of the guest runs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from bt.engine.structures import NO_PAGE
from bt.engine.translator.gates import TRANSLATABLE
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.errors import BtError
from bt.inspect.diary import Diary, Unit
from bt.inspect.structure import find_block


class NotTranslated(BtError):
    """There is no translation to show."""


class Explainer:
    """Translates blocks of one vCPU as it would on first execution, in its present mode and address space."""

    def __init__(self, cpu: TranslatingVcpu) -> None:
        self._cpu = cpu
        self._units: list[Unit] = []
        cpu.flush()  # what is translated already would not be translated again
        self._diary = Diary(cpu, self._units.append)

    def unit(self, eip: int) -> Unit:
        """The block at an offset in CS. Raises NotTranslated where the interpreter would do the work."""
        cpu = self._cpu
        if cpu.state["mode"] & TRANSLATABLE != TRANSLATABLE:
            raise NotTranslated(
                f"{eip:#x}: the processor is not in flat 32-bit code, which is interpreted; "
                "`--after N` runs the guest to where it is"
            )
        here = cpu.state["eip"]
        cpu.state["eip"] = eip
        block = find_block(cpu)
        cpu.state["eip"] = here
        if block is None:
            raise NotTranslated(f"{eip:#x}: no code can be fetched there; give another --at")
        if block["physical2"] != NO_PAGE:
            raise NotTranslated(f"{eip:#x}: one instruction across two pages, which is interpreted")
        if block["physical"] >= cpu.ram.size:
            raise NotTranslated(f"{eip:#x}: outside of RAM; give another --at")
        translate = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)
        if not translate(cpu.library.symbols["translate"])(cpu.state.pointer, block.address):
            raise NotTranslated(f"{eip:#x}: the translation cache is full; explain fewer blocks")
        self._diary.read()
        return self._units.pop()

    def units(self, eip: int, *, blocks: int | None = None, instructions: int | None = None) -> Iterator[Unit]:
        """Blocks one behind the other in memory: so many, or until they make up so many instructions."""
        made = seen = 0
        while (blocks is None or made < blocks) and (instructions is None or seen < instructions):
            unit = self.unit(eip)
            yield unit
            made, seen = made + 1, seen + len(unit.instructions)
            eip = (unit.eip + unit.guest_bytes) & 0xFFFFFFFF
