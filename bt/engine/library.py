"""The native library: every runtime function and interpreter handler, compiled once and cached on disk.

The modules are compiled in parallel worker processes, linked into one position-independent image and stored with the
offsets of its symbols; a warm start copies the image into an arena and is done. The cache key covers our own sources,
llvmlite and the host CPU, so nothing stale is ever used.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bt.codegen.arena import Arena, link
from bt.codegen.llvm import target_identity
from bt.codegen.objectfile import read_object
from bt.codegen.store import Store, source_key

ARENA_BYTES = 512 << 20  # the image, and a code cache for each translating vCPU: rel32 must reach from one to the other
BUILD_ARENA_BYTES = 16 << 20
STENCILS_PER_MODULE = 240
HANDLERS_PER_MODULE = 24
if TYPE_CHECKING:
    from bt.engine.translator.catalogue import Catalogue

_PACKAGE = Path(__file__).parent.parent
_SOURCES = ("codegen", "x86", "memory", "engine")

STENCIL_SECTIONS = ("stencils", "stencil_code", "stencil_relocations", "stencil_index", "plans")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Library:
    """The loaded library: addresses of runtime functions, handler table, opcode tables."""

    arena: Arena
    symbols: dict[str, int]  # runtime functions and continuations: host addresses
    handlers: bytes  # u64 host addresses, VARIANTS a form
    dispatch: bytes
    shapes: bytes
    stencils: dict[str, bytes]  # the translator's tables, see translator/table.py
    stencil_names: bytes  # for people: in order of stencil numbers, one a line


def load_library(store: Store | None = None, progress: Progress | None = None) -> Library:
    """Load the library from the cache, building it first where needed (that takes half a minute).

    `progress(done, total)` counts compiled modules.
    """
    key = source_key([_PACKAGE / name for name in _SOURCES]) + "|" + target_identity()
    sections = (store or Store()).get("library", key, lambda: build_sections(progress))
    arena = Arena(ARENA_BYTES, name="bt-library")
    image = sections["image"]
    offset = arena.allocate(len(image), 4096)
    arena.write(offset, image)
    base = arena.exec_base + offset
    symbols = {name: base + at for name, at in json.loads(bytes(sections["symbols"])).items()}
    offsets = memoryview(sections["handlers"]).cast("I")
    handlers = struct.pack(f"<{len(offsets)}Q", *(base + at for at in offsets))
    return Library(
        arena,
        symbols,
        handlers,
        bytes(sections["dispatch"]),
        bytes(sections["shapes"]),
        {name: bytes(sections[name]) for name in STENCIL_SECTIONS},
        bytes(sections["stencil_names"]),
    )


def build_sections(progress: Progress | None = None) -> dict[str, bytes]:
    """Compile everything from nothing."""
    # here, not on top: a warm start never needs the semantics or LLVM
    from bt.codegen.llvm import assemble_many
    from bt.codegen.objectfile import merge
    from bt.engine.interp.handlers import handler_names
    from bt.engine.shapes import shape_table
    from bt.engine.translator.catalogue import build_catalogue
    from bt.engine.translator.gates import RAW_PIECES
    from bt.engine.translator.table import StencilTables
    from bt.x86.opcodes import dispatch_table

    catalogue, common = build_catalogue()
    texts = [*_stencil_modules(catalogue), *_modules()]
    objects = [read_object(data) for data in assemble_many(texts, jobs=os.cpu_count() or 1, progress=progress)]
    stencil_modules = sum(1 for _ in _stencil_modules(catalogue))
    stencil_pieces = merge(objects[:stencil_modules])
    pieces = merge(objects[stencil_modules:]) | RAW_PIECES
    with Arena(BUILD_ARENA_BYTES, name="bt-build") as arena:
        symbols = {name: address - arena.exec_base for name, address in link(arena, pieces, {}).items()}
        image = bytes(arena.view[: arena.used])
    names = handler_names()
    wanted = {name: at for name, at in symbols.items() if not name.startswith("interp_op")}
    return {
        "image": image,
        "symbols": json.dumps(wanted).encode(),
        "handlers": struct.pack(f"<{len(names)}I", *(symbols[name] for name in names)),
        "dispatch": dispatch_table(),
        "shapes": shape_table(),
        **StencilTables(catalogue, common, stencil_pieces).sections(),
    }


def _stencil_modules(catalogue: Catalogue) -> Iterator[str]:
    from bt.codegen.builder import Module
    from bt.engine.translator.context import EXTERNALS, HOLE_DECLARATIONS

    names = list(catalogue.stencils)
    for start in range(0, len(names), STENCILS_PER_MODULE):
        module = Module(f"stencils{start}", preamble=list(HOLE_DECLARATIONS))
        for external in EXTERNALS:
            module.need(external)
        for name in names[start : start + STENCILS_PER_MODULE]:
            catalogue.emit(module, name)
        yield module.text()


def _modules() -> Iterator[str]:
    """The IR of each module. Large ones first, so that the workers finish together."""
    from bt.codegen.builder import Module
    from bt.engine.interp.dispatch import emit_dispatch
    from bt.engine.interp.handlers import emit_handler, variants
    from bt.engine.runtime import emit_runtime
    from bt.engine.translator.gates import emit_gates
    from bt.x86.opcodes import FORMS

    yield from emit_runtime()
    dispatch = Module("dispatch")
    emit_dispatch(dispatch)
    yield dispatch.text()
    gates = Module("gates")
    emit_gates(gates)
    yield gates.text()
    wanted = [variant for form in FORMS for variant in variants(form)]
    for start in range(0, len(wanted), HANDLERS_PER_MODULE):
        module = Module(f"handlers{start}")
        for variant in wanted[start : start + HANDLERS_PER_MODULE]:
            emit_handler(module, variant)
        yield module.text()
