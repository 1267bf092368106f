"""The native library: every runtime function and interpreter handler, compiled once and cached on disk.

The modules are compiled in parallel worker processes, linked into one position-independent image and stored with the
offsets of its symbols; a warm start copies the image into an arena and is done. The cache key covers our own sources,
llvmlite and the host CPU, so nothing stale is ever used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from bt.codegen.arena import Arena, ArenaFull
from bt.codegen.llvm import target_identity
from bt.codegen.store import Sections, Store, source_key
from bt.engine.library.tables import ModelTables
from bt.record import Record
from bt.x86.cpu_model import CpuModel
from bt.x86.page import PAGE

if TYPE_CHECKING:
    from bt.codegen.builder import Module

ARENA_BYTES = 512 << 20  # the image, and the code of all vCPUs: rel32 must reach from one to the other
# A vCPU takes room for code by so much at a time: enough for several of the longest blocks (52 KB each, cold stubs
# included), so that little is left over at its end, and small enough for a thousand machines.
PIECE_BYTES = 256 << 10
LONG_BYTES = 4 << 20  # room for the handlers of 64-bit code, at a known distance from the image that they call into
RESERVED_BYTES = ARENA_BYTES // 4  # for the first pieces of machines to come, whatever code those that run may have
_PACKAGE = Path(__file__).parents[2]
_SOURCES = ("codegen", "x86", "memory", "engine")

STENCIL_SECTIONS = (
    "stencils",
    "stencil_code",
    "stencil_relocations",
    "stencil_index",
    "flat_plans",
    "real_plans",
    "other_plans",
)
Progress = Callable[[int, int], None]


class Part(Protocol):
    """Native code of a later layer, such as the registers of a device, beside the library and kept in the same way.

    Nothing here knows the later layers: whoever puts the machine together hands the parts in. So a change of a device
    compiles a part again, not the library. A part calls nothing but what it has itself.
    """

    @property
    def name(self) -> str:
        """Of its module, a-z 0-9 _; parts of one library have different ones."""

    @property
    def sources(self) -> Sequence[Path]:
        """.py files, or folders of them, that its code comes from beside the layers below: part of the cache's key."""

    def module(self) -> Module:
        """Its functions; asked for only when they are compiled."""


class Library(Record):
    """The loaded library: addresses of runtime functions, handler table, opcode tables.

    Machines in any number of threads may share one; each takes pieces of the arena as it needs them, two at least:
    there is room for a thousand, and for 250 beside machines that take as much as they can get.
    """

    arena: Arena
    symbols: dict[str, int]  # runtime functions and continuations: host addresses
    sections: Sections  # the tables of `build_sections`; of "handlers" the host addresses
    image_at: int = 0  # offsets in the arena: of the image, and of the room for the handlers of 64-bit code
    long_at: int = 0
    piece_bytes: int = PIECE_BYTES
    reserved_bytes: int = RESERVED_BYTES
    key: str = ""  # of the cache

    def __post_init__(self) -> None:
        # what a warm start wants to know of the instruction table, which takes 20 ms to import
        self.mnemonics = self.lines("mnemonics")  # by number of the form
        rows = [line.split() for line in self.lines("feature_forms")]
        # numbers of the forms that ask for a CPUID feature
        self.feature_forms = {feature: [int(number) for number in numbers] for feature, *numbers in rows}
        # by what the model lacks; as long as a vCPU uses them
        self._models: WeakValueDictionary[tuple[frozenset[int], bool], ModelTables] = WeakValueDictionary()
        self._long_handlers: memoryview | None = None
        self._parts: dict[str, dict[str, int]] = {}  # their symbols by name
        self._loading = threading.Lock()

    def lines(self, name: str) -> list[str]:
        """A section that is text, such as "stencil_names": in order of stencil numbers."""
        return str(self.sections[name], "utf-8").split("\n")

    @property
    def closed(self) -> bool:
        return self.arena.closed

    def tables(self, model: CpuModel) -> ModelTables:
        """What native code reads for a vCPU of this model."""
        # models that lack the same have the same tables
        missing, is_long = self.forms_without(model), not model.lacks("lm")
        found = self._models.get((missing, is_long))
        if found is None:
            sections = self.sections | ({"long_handlers": self.long_handlers()} if is_long else {})
            made = ModelTables(sections, len(self.mnemonics), missing)
            # another thread may have made them meanwhile
            found = self._models.setdefault((missing, is_long), made)
        return found

    def long_handlers(self, store: Store | None = None, progress: Progress | None = None) -> memoryview:
        """The handler table of 64-bit code (host addresses), from the cache, compiled first where needed.

        Apart from the others, because they are a third of all, and who has no processor with long mode does not wait
        for them. They call into the library's image: they have their place at a fixed distance behind it.
        """
        with self._loading:
            if self._long_handlers is None:
                store = store or Store()
                base = self.arena.exec_base + self.image_at
                offsets = {name: address - base for name, address in self.symbols.items()}
                distance = self.long_at - self.image_at
                sections = store.get(
                    "long_handlers", self.key, lambda: _build_long_handlers(store, offsets, distance, progress)
                )
                if len(sections["image"]) > LONG_BYTES:
                    raise ArenaFull(f"the handlers of 64-bit code have {len(sections['image'])} bytes")
                self.arena.write(self.long_at, sections["image"])
                self._long_handlers = _relocated(sections["handlers"], base)
            return self._long_handlers

    def forms_without(self, model: CpuModel) -> frozenset[int]:
        """Numbers of the forms that a vCPU of this model lacks."""
        lacking = (numbers for feature, numbers in self.feature_forms.items() if model.lacks(feature))
        return frozenset(number for numbers in lacking for number in numbers)

    def part(self, part: Part, store: Store | None = None) -> Mapping[str, int]:
        """Host addresses of the functions of a later layer, from the cache, compiled first where needed."""
        with self._loading:
            if (found := self._parts.get(part.name)) is not None:
                return found
            store = store or Store()
            key = "|".join((self.key, part.name, source_key(part.sources)))
            sections = store.get(f"part.{part.name}", key, lambda: _build_part(store, part))
            base = self.arena.exec_base + self.arena.keep(sections["image"])
            symbols = _addresses(sections["symbols"], base)
            self._parts[part.name] = symbols
            return symbols

    def claim(self, *, first: bool) -> int:
        """A piece of the arena for one vCPU's code, `piece_bytes` long; answers its host address.

        `first`: one that the vCPU cannot do without. Raises ArenaFull when none are left, Closed after `close`.
        """
        leaving = 0 if first else self.reserved_bytes
        return self.arena.exec_base + self.arena.claim(self.piece_bytes, leaving=leaving)

    def release(self, address: int) -> None:
        """Give back what `claim` gave; nothing may run there any more."""
        self.arena.release(address - self.arena.exec_base, self.piece_bytes)

    def trim(self) -> None:
        """Give the host the memory of pieces that nobody has claimed."""
        self.arena.trim()

    def close(self) -> None:
        """Unmap the code and drop the tables; twice is fine. Raises BadUsage while a vCPU uses it."""
        self.arena.close()
        self.symbols.clear()
        self._parts.clear()
        self.sections.clear()  # a closed machine may refer to the library until it is collected


def load_library(store: Store | None = None, progress: Progress | None = None) -> Library:
    """Load the library from the cache, building it first where needed (that takes half a minute).

    `progress(done, total)` counts compiled modules; it comes first with zeros, when there is something to build.
    """
    store = store or Store()
    key = f"{source_key([_PACKAGE / name for name in _SOURCES])}|{target_identity()}"
    sections = store.get("library", key, lambda: _build(store, progress))
    arena = Arena(ARENA_BYTES, name="bt-library")
    image_at = arena.keep(sections.pop("image"))
    long_at = arena.allocate(LONG_BYTES, PAGE)
    base = arena.exec_base + image_at
    sections["handlers"] = _relocated(sections["handlers"], base)
    symbols = _addresses(sections.pop("symbols"), base)
    return Library(arena, symbols, sections, image_at, long_at, key=key)


def _addresses(symbols: memoryview, base: int) -> dict[str, int]:
    """Host addresses by name: a line has a name and how far behind `base` it is."""
    words = str(symbols, "utf-8").split()
    return {name: base + int(offset) for name, offset in zip(words[::2], words[1::2], strict=True)}


def _relocated(offsets: memoryview, base: int) -> memoryview:
    """Host addresses, 64 bits each, of what is at these offsets: as one long sum 0.1 ms, one by one 2 ms of a start."""
    size = len(offsets)
    bases = base.to_bytes(8, "little") * (size // 8)
    addresses = (int.from_bytes(offsets, "little") + int.from_bytes(bases, "little")).to_bytes(size, "little")
    return memoryview(bytearray(addresses))


def _build(store: Store, progress: Progress | None) -> dict[str, bytes]:
    from bt.engine.library.build import build_sections

    if progress is not None:
        progress(0, 0)
    return build_sections(store, progress)


def _build_long_handlers(
    store: Store, symbols: Mapping[str, int], at: int, progress: Progress | None
) -> dict[str, bytes]:
    from bt.engine.library.build import build_long_handlers

    return build_long_handlers(store, symbols, at, progress)


def _build_part(store: Store, part: Part) -> dict[str, bytes]:
    from bt.engine.library.build import build_part

    return build_part(store, part)
