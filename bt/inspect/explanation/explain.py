"""Blocks on request, to look at them: translated where they would be, else as the interpreter has them.

Nothing of the guest runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cached_property

from bt.engine.structures import NO_PAGE
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.errors import BtError
from bt.inspect.code import place_text
from bt.inspect.explanation.diary import Diary, Fragment
from bt.inspect.explanation.handlers import Handlers
from bt.inspect.explanation.interpreted import InterpretedBlock, interpreted_block
from bt.inspect.explanation.structure import Structure, find_block
from bt.inspect.modes import why_interpreted


class NotExplained(BtError):
    """There is no code to explain, or no room for its translation."""


class Explainer:
    """Decodes and translates blocks of one vCPU as on first execution, in its present mode and address space."""

    def __init__(self, cpu: TranslatingVcpu) -> None:
        self._cpu = cpu
        self._fragments: list[Fragment] = []
        cpu.flush()  # what is translated already would not be translated again
        self._diary = Diary(cpu, self._fragments.append)

    @cached_property
    def handlers(self) -> Handlers:
        """The interpreter's."""
        return Handlers(self._cpu.library)

    def block(self, eip: int) -> Fragment | InterpretedBlock:
        """The block at an offset in CS. Raises NotExplained where no code can be fetched."""
        cpu = self._cpu
        here = cpu.state["eip"]
        cpu.state["eip"] = eip
        block = find_block(cpu)
        cpu.state["eip"] = here
        if block is None:
            raise NotExplained(f"{place_text(cpu, eip)}: no code can be fetched there; give another --at")
        why = self._why_interpreted(block)
        return interpreted_block(cpu, block, why, self.handlers) if why else self._translated(block)

    def _why_interpreted(self, block: Structure) -> str:
        """The reason why a block will never be translated (gates.py); empty if it will."""
        if why := why_interpreted(block["mode"]):
            return why
        if block["physical2"] != NO_PAGE:
            return "one instruction across two pages"
        return "no memory there" if self._cpu.memory.at(block["physical"]) is None else ""

    def _translated(self, block: Structure) -> Fragment:
        cpu = self._cpu
        translate = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)
        if not translate(cpu.library.symbols["translate"])(cpu.state.pointer, block.address):
            raise NotExplained(f"{block['eip']:#x}: the translation cache is full; explain fewer blocks")
        self._diary.read()
        return self._fragments.pop()

    def blocks(
        self, eip: int, *, blocks: int | None = None, instructions: int | None = None
    ) -> Iterator[Fragment | InterpretedBlock]:
        """Blocks one behind the other in memory: so many, or until they make up so many instructions.

        Fewer where code ends; NotExplained if there is none at EIP.
        """
        made = seen = 0
        while (blocks is None or made < blocks) and (instructions is None or seen < instructions):
            try:
                block = self.block(eip)
            except NotExplained:
                if made:
                    return
                raise
            yield block
            made, seen = made + 1, seen + len(block.instructions)
            eip = (block.eip + block.guest_bytes) & 0xFFFFFFFF
