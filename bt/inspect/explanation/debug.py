"""BT_DEBUG=n: every fragment on stderr as it is translated, in more and more detail (docs/debugging.md)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cached_property

from bt.engine.translator.vcpu import TranslatingVcpu
from bt.errors import BadUsage
from bt.inspect.explanation import host_code
from bt.inspect.explanation.diary import Diary, Fragment, GuestInstruction, Piece
from bt.inspect.modes import describe_key
from bt.machine import Machine

VARIABLE = "BT_DEBUG"
FRAGMENTS, INSTRUCTIONS, STENCILS, HOST_CODE, IR = range(1, 6)

Print = Callable[[str], None]


def level(environment: dict[str, str] | os._Environ[str] = os.environ) -> int:
    """What BT_DEBUG asks for: 0 nothing, FRAGMENTS to IR. Raises BadUsage for anything else."""
    text = environment.get(VARIABLE, "") or "0"
    if not text.isdigit() or int(text) > IR:
        raise BadUsage(f"{VARIABLE}={text}: give 0 to {IR}, see docs/debugging.md")
    return int(text)


def attach(machine: Machine, detail: int, output: Print) -> None:
    """Have every fragment described that the machine makes from now on; those there are already stay unseen."""
    if not detail:
        return
    if not isinstance(machine.cpu, TranslatingVcpu):
        output(f"{VARIABLE}: engine {machine.cpu.name} translates nothing")
        return
    narrator = Narrator(machine.cpu, detail)

    def describe(fragment: Fragment) -> None:
        for line in narrator.lines(fragment):
            output(line)

    Diary(machine.cpu, describe)


class Narrator:
    """Puts fragments into words."""

    def __init__(self, cpu: TranslatingVcpu, detail: int) -> None:
        self._library = cpu.library
        self._detail = detail
        self._shown: set[str] = set()  # stencils whose IR has been printed

    def lines(self, fragment: Fragment) -> Iterator[str]:
        """What BT_DEBUG prints of a fragment."""
        yield (
            f"fragment {fragment.eip:08x} at {fragment.physical:#x} ({describe_key(fragment.mode)}): "
            f"{len(fragment.instructions)} instructions, "
            f"{fragment.guest_bytes} -> {fragment.host_bytes} bytes at {fragment.host:#x}"
        )
        if self._detail < INSTRUCTIONS:
            return
        labels = host_code.labels_of(fragment, self._library)
        yield from self._pieces(fragment.head, labels)
        for instruction in fragment.instructions:
            yield f"  {instruction.eip:08x}  {instruction.code.hex():<22} {instruction.text:<36} {_class(instruction)}"
            yield from self._pieces(instruction.hot, labels)
        yield from self._pieces(fragment.link, labels)
        yield from self._pieces(list(fragment.cold_pieces()), labels)

    def _pieces(self, pieces: list[Piece], labels: dict[int, str]) -> Iterator[str]:
        if self._detail < STENCILS:
            return
        for piece in pieces:
            name = piece.name if piece.kind == "stencil" else host_code.purpose(piece)
            yield f"    {piece.address:x}  {name}"
            if self._detail >= HOST_CODE:
                for line in host_code.disassemble(piece, labels):
                    yield f"      {line.code.hex():<22} {line.text}"
            if self._detail >= IR and piece.kind == "stencil" and piece.name not in self._shown:
                self._shown.add(piece.name)
                yield from (f"      | {line}" for line in self._ir.of(piece.name))

    @cached_property
    def _ir(self) -> _StencilIr:
        return _StencilIr()


class _StencilIr:
    """The LLVM IR that stencils are compiled from, made again from the semantics (that takes a moment)."""

    def __init__(self) -> None:
        # here, not on top: nothing else needs the semantics at run time
        from bt.engine.translator.plan.table import all_stencils

        self._catalogue, _, _ = all_stencils()

    def of(self, stencil: str) -> Iterator[str]:
        """Its function, line by line; nothing but a remark for the few that are encoded by hand."""
        if stencil in self._catalogue.raw:
            yield "encoded without LLVM, see bt/engine/translator/stencils/raw.py"
            return
        from bt.codegen.builder import Module  # here, as above

        module = Module(stencil)
        self._catalogue.emit(module, stencil)
        lines = iter(module.text().splitlines())
        for line in lines:
            if line.startswith("define "):
                yield line
                break
        for line in lines:
            yield line
            if line == "}":
                return


def _class(instruction: GuestInstruction) -> str:
    notes = [instruction.form.cls.value]
    notes += ["callout"] * instruction.is_callout
    notes += ["as it is"] * host_code.is_identity(instruction)
    notes += ["with the one before"] * (not instruction.hot)
    notes += ["flags unused"] * (not instruction.flags_live and bool(instruction.form.changes_mask))
    return ", ".join(notes)
