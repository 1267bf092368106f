"""The native library: every runtime function and interpreter handler, compiled once and cached on disk.

The modules are compiled in parallel worker processes, linked into one position-independent image and stored with the
offsets of its symbols; a warm start copies the image into an arena and is done. The cache key covers our own sources,
llvmlite and the host CPU, so nothing stale is ever used.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from bt.codegen.arena import Arena
from bt.codegen.llvm import target_identity
from bt.codegen.store import Store, source_key
from bt.engine.library.tables import ModelTables
from bt.x86.cpu_model import CpuModel

if TYPE_CHECKING:
    from bt.codegen.builder import Module

ARENA_BYTES = 512 << 20  # the image, and the code of all vCPUs: rel32 must reach from one to the other
# A vCPU takes room for code by so much at a time: enough for several of the longest blocks (52 KB each, cold stubs
# included), so that little is left over at its end, and small enough for a thousand machines.
PIECE_BYTES = 256 << 10
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


@dataclass
class Library:
    """The loaded library: addresses of runtime functions, handler table, opcode tables.

    Machines in any number of threads may share one; each takes pieces of the arena as it needs them, two at least:
    there is room for a thousand, and for 250 beside machines that take as much as they can get.
    """

    arena: Arena
    symbols: dict[str, int]  # runtime functions and continuations: host addresses
    handlers: bytes  # u64 host addresses, VARIANTS a form
    dispatch: bytes
    shapes: bytes
    fp_forms: bytes
    stencils: dict[str, bytes]  # the translator's tables, see translator/table.py
    stencil_names: bytes  # for people: in order of stencil numbers, one a line
    fault_handler: bytes  # machine code, see bt/host/faults.py
    # what a warm start wants to know of the instruction table, which takes 20 ms to import
    mnemonics: Sequence[str]  # by number of the form
    feature_forms: Mapping[str, Sequence[int]]  # numbers of the forms that ask for a CPUID feature
    piece_bytes: int = PIECE_BYTES
    reserved_bytes: int = RESERVED_BYTES
    key: str = ""  # of the cache
    # by what the model lacks; as long as a vCPU uses them
    _models: WeakValueDictionary[frozenset[int], ModelTables] = field(default_factory=WeakValueDictionary, init=False)
    _parts: dict[str, dict[str, int]] = field(default_factory=dict, init=False)  # their symbols by name
    _loading: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def closed(self) -> bool:
        return self.arena.closed

    def tables(self, model: CpuModel) -> ModelTables:
        """What native code reads for a vCPU of this model."""
        # models that lack the same have the same tables
        missing = self.forms_without(model)
        found = self._models.get(missing)
        if found is None:
            shared = {name: getattr(self, name) for name in ("handlers", "dispatch", "shapes", "fp_forms")}
            # another thread may have made them meanwhile
            made = ModelTables(shared | self.stencils, len(self.mnemonics), missing)
            found = self._models.setdefault(missing, made)
        return found

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
            symbols = {name: base + at for name, at in json.loads(bytes(sections["symbols"])).items()}
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
        self.stencils.clear()
        for table in fields(self):  # a closed machine may refer to them until it is collected
            if isinstance(getattr(self, table.name), bytes):
                setattr(self, table.name, b"")


def load_library(store: Store | None = None, progress: Progress | None = None) -> Library:
    """Load the library from the cache, building it first where needed (that takes half a minute).

    `progress(done, total)` counts compiled modules; it comes first with zeros, when there is something to build.
    """
    store = store or Store()
    key = f"{source_key([_PACKAGE / name for name in _SOURCES])}|{target_identity()}"
    sections = store.get("library", key, lambda: _build(store, progress))
    arena = Arena(ARENA_BYTES, name="bt-library")
    image = sections["image"]
    base = arena.exec_base + arena.keep(image)
    symbols = {name: base + at for name, at in json.loads(bytes(sections["symbols"])).items()}
    return Library(
        arena,
        symbols,
        _relocated(sections["handlers"], base),
        bytes(sections["dispatch"]),
        bytes(sections["shapes"]),
        bytes(sections["fp_forms"]),
        {name: bytes(sections[name]) for name in STENCIL_SECTIONS},
        bytes(sections["stencil_names"]),
        bytes(sections["fault_handler"]),
        bytes(sections["mnemonics"]).decode().split("\n"),
        json.loads(bytes(sections["feature_forms"])),
        key=key,
    )


def _relocated(offsets: bytes | memoryview, base: int) -> bytes:
    """Host addresses, 64 bits each, of what is at these offsets: as one long sum 0.1 ms, one by one 2 ms of a start."""
    size = len(offsets)
    bases = base.to_bytes(8, "little") * (size // 8)
    return (int.from_bytes(offsets, "little") + int.from_bytes(bases, "little")).to_bytes(size, "little")


def _build(store: Store, progress: Progress | None) -> dict[str, bytes]:
    from bt.engine.library.build import build_sections

    if progress is not None:
        progress(0, 0)
    return build_sections(store, progress)


def _build_part(store: Store, part: Part) -> dict[str, bytes]:
    from bt.engine.library.build import build_part

    return build_part(store, part)
