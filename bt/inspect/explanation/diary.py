"""Reading the translator's diary: each fragment with its guest instructions and the pieces of host code they became."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bt.engine.library.library import Library
from bt.engine.structures import (
    BLOCK,
    RECORD,
    RECORD_BYTES,
    SITE,
    SITE_BYTES,
    STENCIL,
    TRACE,
    TRACE_BEGIN,
    TRACE_COPY,
    TRACE_END,
    TRACE_JUMP,
    TRACE_LINK,
    TRACE_RECORD,
    TRACE_STENCIL,
    TRACE_STUB,
)
from bt.engine.translator.gates.signatures import FLAT_32_GATES
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.inspect.code import code_bits, text_of
from bt.inspect.explanation.structure import Structure
from bt.x86.opcodes import FORMS, Form

DIARY_BYTES = 64 << 20  # of address space: pages appear when touched
COPY = "copy"  # several instructions once more, each with its own check
EXIT, LANDING = "exit", "landing"  # jumps at the end of a fragment, and where a call inside it will return to
_STUB_BYTES, _JUMP_BYTES = 11, 5
_SITE_PIECES = (TRACE_STUB, TRACE_JUMP)


@dataclass(frozen=True)
class Site:
    """What a stub tells its gate."""

    eip: int
    size: int  # bytes of the memory access that may have missed, 0 = none
    write: bool


@dataclass(frozen=True)
class Piece:
    """Host code that belongs together: a copied stencil, a stub, a patchable jump, or (kind "") what joins them."""

    kind: str  # "stencil", "stub", "jump", "copy" or ""
    name: str  # of the stencil, or of the gate that the stub leads to; EXIT or LANDING for a jump; COPY
    address: int  # host
    code: bytes
    site: Site | None = None

    @property
    def end(self) -> int:
        return self.address + len(self.code)


@dataclass
class GuestInstruction:
    """One instruction of a fragment. Without hot code it shares the stencil of the one before it."""

    eip: int
    code: bytes
    text: str
    form: Form
    flags_live: bool
    hot: list[Piece] = field(default_factory=list)
    cold: list[Piece] = field(default_factory=list)

    @property
    def is_callout(self) -> bool:
        """Whether the interpreter always does it."""
        return bool(self.hot) and self.hot[0].kind == "stub" and self.hot[0].name == "service_gate"


@dataclass
class Fragment:
    """One translated block."""

    eip: int
    physical: int
    mode: int
    host: int
    instructions: list[GuestInstruction]
    head: list[Piece] = field(default_factory=list)  # charges the budget
    link: list[Piece] = field(default_factory=list)  # goes on to the next block
    cold: list[Piece] = field(default_factory=list)  # of head and link

    @property
    def guest_bytes(self) -> int:
        return sum(len(instruction.code) for instruction in self.instructions)

    @property
    def host_bytes(self) -> int:
        return sum(len(piece.code) for piece in self.hot_pieces())

    def hot_pieces(self) -> Iterator[Piece]:
        """In order of address."""
        yield from self.head
        for instruction in self.instructions:
            yield from instruction.hot
        yield from self.link

    def cold_pieces(self) -> Iterator[Piece]:
        """In the order they were made."""
        yield from self.cold
        for instruction in self.instructions:
            yield from instruction.cold


@dataclass(frozen=True)
class _Entry:
    kind: int
    subject: int
    hot: int


class Diary:
    """Has the translator of one vCPU keep a diary, and hands over the fragments in it to `listen`."""

    def __init__(self, cpu: TranslatingVcpu, listen: Callable[[Fragment], None]) -> None:
        self._cpu, self._listen = cpu, listen
        self._area = cpu.area(DIARY_BYTES)
        self._names = cpu.library.lines("stencil_names")
        self._gates = runtime_names(cpu.library)
        cpu.keep_diary(self._area, self.read)

    def read(self) -> None:
        """Hand over what is in the diary, and empty it."""
        next_entry = self._cpu.control("trace_next") or self._cpu.control("trace_end")
        at = self._area.address
        while at < next_entry:
            at, fragment = self._fragment(at)
            self._listen(fragment)
        self._cpu.set_control("trace_next", self._area.address)
        self._cpu.set_control("trace_end", self._area.address + self._area.size)

    def _fragment(self, at: int) -> tuple[int, Fragment]:
        """The fragment whose entries begin at a host address, and where the next one's do."""
        begin = Structure(TRACE, at)
        assert begin["kind"] == TRACE_BEGIN, "the diary is out of step with the translator"
        block = Structure(BLOCK, begin["subject"])
        code = ctypes.string_at(at + TRACE.size, block["bytes"])
        at += TRACE.size + -(-len(code) // TRACE.size) * TRACE.size
        entries = []
        while True:
            entry = Structure(TRACE, at)
            at += TRACE.size
            entries.append(_Entry(entry["kind"], entry["subject"], entry["hot"]))
            if entry["kind"] == TRACE_END:
                break
        fragment = Fragment(
            block["eip"],
            block["physical"],
            block["mode"],
            begin["hot"],
            list(_instructions(block, code)),
        )
        self._distribute(fragment, block, entries)
        return at, fragment

    def _distribute(self, fragment: Fragment, block: Structure, entries: list[_Entry]) -> None:
        """Give every piece to the instruction it was made for."""
        ends = _hot_ends(entries, fragment.host)
        hot, cold = fragment.head, fragment.cold
        position = fragment.host
        for entry, end in zip(entries, ends, strict=True):
            if entry.kind in (TRACE_RECORD, TRACE_LINK, TRACE_END):
                if position < entry.hot:  # code that no stencil, stub or jump accounts for
                    hot.append(_plain(position, entry.hot))
                position = entry.hot
                if entry.kind == TRACE_RECORD:
                    instruction = fragment.instructions[(entry.subject - block["records"]) // RECORD_BYTES]
                    hot, cold = instruction.hot, instruction.cold
                elif entry.kind == TRACE_LINK:
                    hot, cold = fragment.link, fragment.cold
            elif end is None:
                cold.append(self._piece(entry, None))
            else:
                piece = self._piece(entry, end)
                hot.append(piece)
                if piece.end < end:
                    hot.append(_plain(piece.end, end))
                position = end

    def _piece(self, entry: _Entry, end: int | None) -> Piece:
        """The piece of an entry; `end` is known of hot code."""
        if entry.kind == TRACE_STENCIL:
            stencil = Structure(STENCIL, self._cpu.control("stencils") + entry.subject * STENCIL.size)
            size = stencil["length"]
            jump = FLAT_32_GATES.jump_free_code
            if ctypes.string_at(entry.hot + size, len(jump)) == jump:
                size += len(jump)
            if end is not None:
                size = min(size, end - entry.hot)
            code = ctypes.string_at(entry.hot, size)
            return Piece("stencil", self._names[entry.subject], entry.hot, code)
        if entry.kind == TRACE_COPY:
            return Piece("copy", COPY, entry.hot, ctypes.string_at(entry.hot, entry.subject))
        assert entry.kind in _SITE_PIECES, f"entry of kind {entry.kind} in the translator's diary"
        record = Structure(SITE, self._cpu.control("sites") + entry.subject * SITE_BYTES)
        site = Site(record["eip"], record["size"], bool(record["write"]))
        if entry.kind == TRACE_JUMP:
            name = LANDING if end is None else EXIT
            return Piece("jump", name, entry.hot, ctypes.string_at(entry.hot, _JUMP_BYTES), site=site)
        code = ctypes.string_at(entry.hot, _STUB_BYTES)
        target = entry.hot + _STUB_BYTES + int.from_bytes(code[-4:], "little", signed=True)
        return Piece("stub", self._gates.get(target, f"{target:#x}"), entry.hot, code, site=site)


def _plain(start: int, end: int) -> Piece:
    """Code that no stencil, stub or jump accounts for: FP instructions are themselves."""
    return Piece("", "", start, ctypes.string_at(start, end - start))


def _hot_ends(entries: list[_Entry], start: int) -> list[int | None]:
    """Where the code of each entry ends: where the next hot one begins. None for what is among the cold stubs."""
    end = entries[-1].hot
    ends: list[int | None] = []
    for entry in reversed(entries):
        if start <= entry.hot <= end:
            ends.append(end)
            end = entry.hot
        else:
            ends.append(None)
    return ends[::-1]


def _instructions(block: Structure, code: bytes) -> Iterator[GuestInstruction]:
    bits = code_bits(block["mode"])
    for number in range(block["count"]):
        record = Structure(RECORD, block["records"] + number * RECORD_BYTES)
        at = record["eip"] - block["eip"]
        own = code[at : at + record["length"]]
        form = FORMS[record["form"]]
        text = text_of(own, record["eip"], bits) or form.name
        yield GuestInstruction(record["eip"], own, text, form, bool(record["flags_live"]))


def runtime_names(library: Library) -> dict[int, str]:
    """Names of runtime functions by host address."""
    return {address: name for name, address in library.symbols.items()}
