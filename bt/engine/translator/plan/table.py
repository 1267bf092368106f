"""The stencil library as tables for the emitter: code, relocations, index and plans, packed from compiled pieces."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property

from bt.codegen.errors import CodegenError
from bt.codegen.objectfile import CodePiece, RelocationKind
from bt.engine.interp.variants import variant_for
from bt.engine.structures import (
    FLAGS_CONDITION,
    FLAGS_KILLED,
    FLAGS_KILLED_BY_COUNT,
    FLAGS_READ,
    FLAGS_WRITTEN,
    NO_PLAN,
    PLAN,
    PLAN_BYTES,
    RELOCATION_ABS8,
    RELOCATION_ABS32,
    RELOCATION_ABS64,
    RELOCATION_PC32,
    SLOTS,
    STENCIL_COLD,
    STENCIL_IDENTITY,
    STENCIL_SERVICE,
    VARIANTS,
)
from bt.engine.translator.plan import choices
from bt.engine.translator.plan.plan import Gate, Plan, Pre
from bt.engine.translator.plan.plans import build_plans
from bt.engine.translator.stencils.catalogue import Catalogue
from bt.engine.translator.stencils.context import Segments
from bt.engine.translator.stencils.fp_stencils import (
    FP_HELPER_SIZES,
    FpHelpers,
    fp_helpers,
)
from bt.engine.translator.stencils.helper_stencils import (
    Helpers,
    helpers,
)
from bt.x86.capstone_layout import Handle
from bt.x86.opcodes import FORMS

PLAN_TABLES = {
    "flat_plans": Segments.FLAT,
    "real_plans": Segments.REAL,
    "other_plans": Segments.ANY,
}  # by CONTROL's name
_KINDS = {
    RelocationKind.ABS32: RELOCATION_ABS32,
    RelocationKind.ABS32S: RELOCATION_ABS32,
    RelocationKind.PC32: RELOCATION_PC32,
    RelocationKind.ABS64: RELOCATION_ABS64,
    RelocationKind.ABS8: RELOCATION_ABS8,
}
_SLOT_NUMBERS = {name: number for number, name in enumerate(SLOTS)}
_JUMP, _JUMP_BYTES = 0xE9, 5
_LONGEST_IDENTITY = 10  # bytes: REX, opcode, ModRM, immediate
_CODE_PADDING = 16  # the emitter copies 16 bytes at a time


def strip_continuation(piece: CodePiece) -> tuple[bytes, list[tuple[int, int, int, int]]]:
    """Code without its final jump to the next stencil, and relocations as (offset, kind, slot, addend)."""
    code = piece.code
    relocations = sorted(piece.relocations, key=lambda r: r.offset)
    if relocations:
        last = relocations[-1]
        ends = last.offset == len(code) - 4 and code[-_JUMP_BYTES] == _JUMP
        if last.symbol == "CONT" and ends:
            code, relocations = code[:-_JUMP_BYTES], relocations[:-1]
    return code, [(r.offset, _KINDS[r.kind], _SLOT_NUMBERS[r.symbol], r.addend) for r in relocations]


def all_stencils() -> tuple[Catalogue, dict[str, list[Plan]], tuple[Helpers, FpHelpers]]:
    """All stencils, the plans that use them by the name of their table, the names of those that belong to no form."""
    catalogue = Catalogue()
    plans = {name: build_plans(catalogue, segments=segments) for name, segments in PLAN_TABLES.items()}
    return catalogue, plans, (helpers(catalogue), fp_helpers(catalogue))


@dataclass
class StencilTables:
    """Packs everything; `sections()` is what goes into the library file."""

    catalogue: Catalogue
    plans: dict[str, list[Plan]]
    helpers: tuple[Helpers, FpHelpers]
    pieces: Mapping[str, CodePiece]

    def sections(self) -> dict[str, bytes]:
        self._numbers: dict[str, int] = {}
        self._leaving: set[str] = set()  # stencils that can fault: the flags must be right when they start
        table, code, relocations = bytearray(), bytearray(), bytearray()
        for name, piece in self._all_pieces():
            body, holes = strip_continuation(piece)
            if len(body) > 0xFFFF:
                raise CodegenError(f"stencil {name}: {len(body)} bytes are too many")
            self._numbers[name] = len(self._numbers)
            symbols = {slot for _, _, slot, _ in holes}
            bits = STENCIL_COLD * (_SLOT_NUMBERS["COLD"] in symbols)
            bits |= STENCIL_SERVICE * (_SLOT_NUMBERS["SERVICE"] in symbols)
            if bits:
                self._leaving.add(name)
            bits |= STENCIL_IDENTITY * self._is_identity(name, body)
            table += struct.pack("<IHHIB3x", len(code), len(body), len(holes), len(relocations) // 8, bits)
            code += body + bytes(-len(body) % _CODE_PADDING)
            for offset, kind, slot, addend in holes:
                relocations += struct.pack("<HBBi", offset, kind, slot, addend)
        code += bytes(2 * _CODE_PADDING)
        self._index: list[int] = []
        self._place_helpers()
        plans = {name: self._packed_plans(plans, PLAN_TABLES[name]) for name, plans in self.plans.items()}
        return {
            "stencils": bytes(table),
            "stencil_code": bytes(code),
            "stencil_relocations": bytes(relocations) + bytes(8),
            "stencil_index": struct.pack(f"<{len(self._index)}I", *self._index),
            **plans,
            "stencil_names": "\n".join(name for name, _ in self._all_pieces()).encode(),
        }

    @cached_property
    def _disassembler(self) -> Handle:
        return Handle(64, detail=False)

    def _is_identity(self, name: str, body: bytes) -> bool:
        """Whether a stencil is one host instruction of the guest instruction's own name."""
        if not 0 < len(body) <= _LONGEST_IDENTITY:
            return False
        lines = list(self._disassembler.disassemble(body))
        return len(lines) == 1 and lines[0].text.split()[0] in name.split("_")

    def _all_pieces(self) -> Iterator[tuple[str, CodePiece]]:
        yield from self.catalogue.raw.items()
        for name in self.catalogue.stencils:
            yield name, self.pieces[name]

    def _place(self, names: tuple[str, ...]) -> int:
        """Append stencils to the index; answers where they begin."""
        start = len(self._index)
        self._index.extend(self._numbers[name] for name in names)
        return start

    def _place_helpers(self) -> None:
        """The helpers come first in the index, in the order of their fields: `helper_offsets` relies on it."""
        for family in self.helpers:
            for item in fields(family):
                names = getattr(family, item.name)
                names = (names,) if isinstance(names, str) else names
                assert len(names) == _HELPER_SIZES[item.name]
                self._place(names)

    def _packed_plans(self, plans: list[Plan], segments: Segments) -> bytes:
        packed: dict[object, bytes] = {}
        for plan in plans:
            packed[plan.variant] = self._pack(plan)
        table = bytearray()
        for variant in (variant_for(form, number) for form in FORMS for number in range(VARIANTS)):
            table += packed.get(variant) or self._without_stencils(choices.gate(variant, segments))
        return bytes(table)

    @staticmethod
    def _without_stencils(gate: Gate) -> bytes:
        record = bytearray(PLAN_BYTES)
        struct.pack_into("<3I", record, 0, NO_PLAN, NO_PLAN, NO_PLAN)
        record[PLAN.offsets["gate"]] = gate
        return bytes(record)

    def _pack(self, plan: Plan) -> bytes:
        effect = FLAGS_READ * plan.reads_flags | FLAGS_WRITTEN * plan.changes_flags | FLAGS_KILLED * plan.kills_flags
        effect |= FLAGS_KILLED_BY_COUNT * plan.kills_flags_by_count | FLAGS_CONDITION * plan.is_conditional_jump
        stride_count = plan.stride_count
        if plan.is_conditional_jump:
            stride_count = plan.variant.form.condition or 0
        live = self._place(plan.live)
        values = {
            "live": live,
            "dead": self._place(plan.dead) if plan.dead else live,
            "fused": self._place(plan.fused) if plan.fused else NO_PLAN,
            "absolute": self._place(plan.absolute) - live if plan.absolute else 0,
            "stride_rm": plan.stride_rm,
            "stride_reg": plan.stride_reg,
            "stride_count": stride_count,
            "stride_address": plan.stride_address,
            "pre": plan.pre,
            "linear": plan.linear,
            "size": plan.size,
            "write": plan.write,
            "ending": plan.ending,
            "calls": plan.calls,
            "observes": plan.pre is Pre.LOAD or not self._leaving.isdisjoint(plan.live),
            "effect": effect,
            "gate": plan.gate,
        }
        record = bytearray(PLAN_BYTES)
        for name, value in values.items():
            width = PLAN.widths[name] // 8
            at = PLAN.offsets[name]
            record[at : at + width] = int(value).to_bytes(width, "little")
        return bytes(record)


# Number of stencils behind each field of Helpers.
_HELPER_SIZES = {
    "absolute": 1,
    "base": 8,
    "base_displaced": 8,
    "index": 32,
    "base_index": 256,
    "wrap": 1,
    "segment": 48,
    "segment_real": 24,
    "get": 8,
    "get_byte": 8,
    "load": 2,
    "head": 1,
    "far_exit": 1,
    "checked_exit": 1,
    "push_return": 1,
} | FP_HELPER_SIZES


def helper_offsets() -> dict[str, int]:
    """Where each helper begins in the stencil index."""
    offsets, at = {}, 0
    for item in (*fields(Helpers), *fields(FpHelpers)):
        offsets[item.name] = at
        at += _HELPER_SIZES[item.name]
    return offsets
