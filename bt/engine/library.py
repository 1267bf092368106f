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

from bt.codegen.arena import Arena, link
from bt.codegen.llvm import target_identity
from bt.codegen.objectfile import read_object
from bt.codegen.store import Store, source_key

ARENA_BYTES = 16 << 20
HANDLERS_PER_MODULE = 24
_PACKAGE = Path(__file__).parent.parent
_SOURCES = ("codegen", "x86", "memory", "engine")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Library:
    """The loaded library: addresses of runtime functions, handler table, opcode tables."""

    arena: Arena
    symbols: dict[str, int]  # runtime functions and continuations: host addresses
    handlers: bytes  # u64 host addresses, VARIANTS a form
    dispatch: bytes
    shapes: bytes


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
    return Library(arena, symbols, handlers, bytes(sections["dispatch"]), bytes(sections["shapes"]))


def build_sections(progress: Progress | None = None) -> dict[str, bytes]:
    """Compile everything from nothing."""
    # here, not on top: a warm start never needs the semantics or LLVM
    from bt.codegen.llvm import assemble_many
    from bt.codegen.objectfile import merge
    from bt.engine.interp.handlers import handler_names
    from bt.engine.shapes import shape_table
    from bt.x86.opcodes import dispatch_table

    objects = assemble_many(list(_modules()), jobs=os.cpu_count() or 1, progress=progress)
    pieces = merge(read_object(data) for data in objects)
    with Arena(ARENA_BYTES, name="bt-build") as arena:
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
    }


def _modules() -> Iterator[str]:
    """The IR of each module. Large ones first, so that the workers finish together."""
    from bt.codegen.builder import Module
    from bt.engine.interp.dispatch import emit_dispatch
    from bt.engine.interp.handlers import emit_handler, variants
    from bt.engine.runtime import emit_runtime
    from bt.x86.opcodes import FORMS

    yield from emit_runtime()
    dispatch = Module("dispatch")
    emit_dispatch(dispatch)
    yield dispatch.text()
    wanted = [variant for form in FORMS for variant in variants(form)]
    for start in range(0, len(wanted), HANDLERS_PER_MODULE):
        module = Module(f"handlers{start}")
        for variant in wanted[start : start + HANDLERS_PER_MODULE]:
            emit_handler(module, variant)
        yield module.text()
