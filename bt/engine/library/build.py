"""Building the native library: IR from the semantics, objects from LLVM, one image and the translator's tables.

Modules are compiled in worker processes, and each object is kept on disk by the hash of its IR: whoever changes one
instruction compiles one module again, not sixty.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from hashlib import blake2b
from itertools import groupby
from typing import NamedTuple

from bt.codegen import host_fp
from bt.codegen.arena import Arena
from bt.codegen.builder import Module
from bt.codegen.linker import link
from bt.codegen.llvm import assemble_many, target_identity
from bt.codegen.objectfile import CodePiece, merge, read_object
from bt.codegen.objects import KEY_BYTES
from bt.codegen.store import Store
from bt.engine.identity.crossing_code import raw_crossings
from bt.engine.identity.gates import emit_unit_gates
from bt.engine.identity.long.handlers import emit_long_handlers
from bt.engine.identity.signals import FAULT_HANDLER
from bt.engine.interp.dispatch import emit_dispatch
from bt.engine.interp.handlers import emit_handler
from bt.engine.interp.variants import Variant, handler_names, variants
from bt.engine.library.abi_check import check_abi
from bt.engine.library.library import Part, Progress
from bt.engine.library.runtime import runtime_modules
from bt.engine.reencode.forms import fp_form_table
from bt.engine.shapes import shape_table
from bt.engine.translator.gates.gates import emit_gates, raw_gates
from bt.engine.translator.gates.signatures import FLAT_32_GATES
from bt.engine.translator.plan.table import (
    StencilTables,
    all_stencils,
)
from bt.engine.translator.stencils.catalogue import Catalogue
from bt.engine.translator.stencils.context import (
    EXTERNALS,
    HOLE_DECLARATIONS,
)
from bt.x86.opcodes import FORMS, dispatch_table

ARENA_BYTES = 16 << 20
STENCILS_PER_MODULE = 240
HANDLERS_PER_MODULE = 24


class Source(NamedTuple):
    """The IR of one module under a name that stays when others change."""

    name: str
    ir: str


def build_sections(store: Store, progress: Progress | None = None) -> dict[str, bytes]:
    """Compile everything that is not in the store yet; answers the sections of the library file."""
    check_abi()
    catalogue, plans, helpers = all_stencils()
    stencils, runtime = list(_stencil_modules(catalogue)), list(_runtime_modules())
    objects = _compile(store, [*stencils, *runtime], progress)
    stencil_pieces = _pieces(objects[source.name] for source in stencils)
    pieces = _pieces(objects[source.name] for source in runtime) | raw_gates(FLAT_32_GATES) | host_fp.PIECES
    pieces |= raw_crossings()
    handler = pieces[FAULT_HANDLER.name]
    assert not handler.relocations, "the signal handler is copied to where it stays: it refers to nothing"
    image, symbols = _linked(pieces)
    names = handler_names()
    wanted = {name: at for name, at in symbols.items() if not name.startswith("interp_op")}
    return {
        "image": image,
        "symbols": _lines(wanted.items()),
        "handlers": struct.pack(f"<{len(names)}Q", *(symbols[name] for name in names)),
        "dispatch": dispatch_table(),
        "long_dispatch": dispatch_table(long=True),
        "shapes": shape_table(),
        "fp_forms": fp_form_table(),
        "fault_handler": handler.code,
        "mnemonics": "\n".join(form.name for form in FORMS).encode(),
        "feature_forms": _lines((feature, *numbers) for feature, numbers in _feature_forms().items()),
        **StencilTables(catalogue, plans, helpers, stencil_pieces).sections(),
    }


def build_long_handlers(
    store: Store, symbols: Mapping[str, int], at: int, progress: Progress | None = None
) -> dict[str, bytes]:
    """The handlers of 64-bit code, for `at` bytes behind the library's image; `symbols`: how far behind it others are.

    Answers an image and the offsets of its handlers from the library's, in the order of CONTROL.long_handlers.
    """
    objects = _compile(store, list(_handler_modules(long=True)), progress)
    with Arena(ARENA_BYTES, name="bt-build") as arena:
        base = arena.exec_base - at
        found = link(arena, _pieces(iter(objects.values())), {name: base + offset for name, offset in symbols.items()})
        names = handler_names(long=True)
        offsets = struct.pack(f"<{len(names)}Q", *(found[name] - base for name in names))
        return {"image": bytes(arena.view[: arena.used]), "handlers": offsets}


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    """Words between spaces, which a start reads without importing anything."""
    return "\n".join(" ".join(map(str, row)) for row in rows).encode()


def _feature_forms() -> dict[str, list[int]]:
    """Numbers of the forms that ask for a CPUID feature."""
    found: dict[str, list[int]] = {}
    for form in FORMS:
        if form.cpuid is not None:
            found.setdefault(form.cpuid, []).append(form.id)
    return found


def build_part(store: Store, part: Part) -> dict[str, bytes]:
    """Compile a part that is not in the store yet; answers the sections of its file."""
    objects = _compile(store, [Source(f"part.{part.name}", part.module().text())], None)
    image, symbols = _linked(_pieces(iter(objects.values())))
    return {"image": image, "symbols": _lines(symbols.items())}


def _linked(pieces: Mapping[str, CodePiece]) -> tuple[bytes, dict[str, int]]:
    """Image that can be placed at any page, and the offsets of its symbols."""
    with Arena(ARENA_BYTES, name="bt-build") as arena:
        symbols = {name: address - arena.exec_base for name, address in link(arena, pieces, {}).items()}
        return bytes(arena.view[: arena.used]), symbols


def _pieces(objects: Iterator[bytes]) -> dict[str, CodePiece]:
    return merge(read_object(data) for data in objects)


def _compile(store: Store, sources: list[Source], progress: Progress | None) -> dict[str, bytes]:
    """Objects by module name, from the store where the IR is the same as last time."""
    identity = target_identity()
    names = {source.name for source in sources}
    assert len(names) == len(sources), "two modules of one name"
    keys = {s.name: blake2b((identity + s.ir).encode(), digest_size=KEY_BYTES).digest() for s in sources}
    with closing(store.objects()) as kept:
        found = {source.name: kept.get(keys[source.name]) for source in sources}
        objects = {name: data for name, data in found.items() if data is not None}
        # long ones first, so that the workers finish together
        missing = sorted((s for s in sources if s.name not in objects), key=lambda source: -len(source.ir))
        compiled = assemble_many([source.ir for source in missing], jobs=os.cpu_count() or 1, progress=progress)
        for source, data in zip(missing, compiled, strict=True):
            kept.add(keys[source.name], data)
            objects[source.name] = data
    return objects


def _stencil_modules(catalogue: Catalogue) -> Iterator[Source]:
    """Stencils of one meaning share modules."""

    def family(name: str) -> str:
        return "_".join(name.split("_")[:2]).lower()

    for title, group in groupby(sorted(catalogue.stencils, key=family), key=family):
        names = list(group)
        for start in range(0, len(names), STENCILS_PER_MODULE):
            name = f"stencils.{title}.{start // STENCILS_PER_MODULE}"
            module = Module(name, preamble=list(HOLE_DECLARATIONS))
            for external in EXTERNALS:
                module.need(catalogue.plan.signature(external))
            for stencil in names[start : start + STENCILS_PER_MODULE]:
                catalogue.emit(module, stencil)
            yield Source(name, module.text())


def _runtime_modules() -> Iterator[Source]:
    """Runtime functions, continuations, gates and the interpreter's handlers of 32-bit and 16-bit code."""
    others = dispatch, gates, unit_gates, long_unit_handlers = [
        Module(name) for name in ("dispatch", "gates", "unit_gates", "long_unit_handlers")
    ]
    emit_dispatch(dispatch)
    emit_gates(gates, FLAT_32_GATES)
    emit_unit_gates(unit_gates)
    emit_long_handlers(long_unit_handlers)
    for module in (*runtime_modules(), *others):
        yield Source(module.name, module.text())
    yield from _handler_modules(long=False)


def _handler_modules(*, long: bool) -> Iterator[Source]:
    """The interpreter's handlers: a module for some of a family of meanings."""
    every = (variant for form in FORMS for variant in variants(form, long=long))
    wanted = list({variant.name: variant for variant in every}.values())

    def family(variant: Variant) -> str:
        return ("long." if variant.long else "") + variant.form.meaning.split(".")[0]

    for title, group in groupby(sorted(wanted, key=family), key=family):
        chosen = list(group)
        for start in range(0, len(chosen), HANDLERS_PER_MODULE):
            module = Module(f"handlers.{title}.{start // HANDLERS_PER_MODULE}")
            for variant in chosen[start : start + HANDLERS_PER_MODULE]:
                emit_handler(module, variant)
            yield Source(module.name, module.text())
