"""Which stencils exist, and which of them make up each instruction form.

A *stencil* is one meaning with its operands settled as far as that pays: registers by number, immediates as holes, the
memory operand as the address in T. A *plan* says how a form is put together: first its address or source operand into
T, then one stencil picked by the register numbers (and, for shifts, the count). Forms without a plan are done by the
interpreter, one instruction at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from bt.codegen.abi import pinned
from bt.codegen.builder import Module
from bt.codegen.objectfile import CodePiece
from bt.engine.interp.handlers import Variant, variants
from bt.engine.meaning import meaning_function
from bt.engine.translator.stencils.context import (
    HoleImmediate,
    KnownMemory,
    ScratchMemory,
    ScratchValue,
    StencilContext,
)
from bt.engine.translator.stencils.raw import raw_pieces
from bt.x86 import flags
from bt.x86.opcodes import FORMS, Method
from bt.x86.operands import Constant, NamedRegister

_ARITHMETIC = ("arith.add", "arith.adc", "arith.sub", "arith.sbb", "arith.cmp", "logic.and_", "logic.or_", "logic.xor")
_SHIFTS = ("shift.shl", "shift.shr", "shift.sar", "shift.rol", "shift.ror")
MEANINGS = frozenset(
    (
        *_ARITHMETIC,
        *_SHIFTS,
        "logic.test",
        "logic.not_",
        "arith.inc",
        "arith.dec",
        "arith.neg",
        "arith.mul",
        "arith.imul",
        "arith.imul_truncated",
        "arith.div",
        "arith.idiv",
        "arith.xadd",
        "arith.cmpxchg",
        "shift.shld",
        "shift.shrd",
        "bits.bsf",
        "bits.bsr",
        "bits.popcnt",
        "move.mov",
        "move.movbe",
        "move.movzx",
        "move.movsx",
        "move.xchg",
        "move.lea",
        "move.cbw",
        "move.cwd",
        "move.bswap",
        "move.nop",
        "move.setcc",
        "move.cmovcc",
        "flags.clc",
        "flags.stc",
        "flags.cmc",
        "flags.cld",
        "flags.std",
        "flags.lahf",
        "flags.sahf",
        "flags.cli",
        "flags.pushf",
        "stack.push",
        "stack.pop",
        "stack.leave",
        "control.jcc",
        "control.jmp",
        "control.jmp_indirect",
        "control.call",
        "control.call_indirect",
        "control.ret",
        "control.loop",
        "control.loope",
        "control.loopne",
        "control.jcxz",
        "timestamp.rdtsc",
    )
)
# Two registers settled at once (64 stencils) where it is worth it; elsewhere the source goes through T (8 + 8).
_PAIRS_32 = frozenset(
    (*_ARITHMETIC, "logic.test", "move.mov", "move.movzx", "move.movsx", "arith.imul_truncated", "move.xchg")
)
_PAIRS_ALL_SIZES = frozenset(("move.xchg", "arith.xadd", "arith.cmpxchg"))
_KNOWN_COUNTS = frozenset(_SHIFTS)  # 32-bit: a count in a hole would have to go through CL
_CARRIES_OVER = frozenset(("arith.cmp", "logic.test"))  # compares fuse with Jcc in every shape
_ABSOLUTE_32 = frozenset(
    (*_ARITHMETIC, "logic.test", "move.mov", "move.movzx", "move.movsx", "arith.inc", "arith.dec")
)  # global variables
_FUSE_32 = frozenset(("arith.dec", "arith.inc"))
_FUSE_IMMEDIATE_32 = frozenset(("arith.sub", "arith.add", "logic.and_"))


class Pre(IntEnum):
    """What comes before the stencil itself."""

    NONE = 0
    ADDRESS = 1  # T = linear address of the memory operand
    GET_REG = 2  # T = register ModRM.reg
    GET_RM = 3  # T = register ModRM.rm
    LOAD = 4  # T = the memory operand itself (of an indirect transfer or PUSH)


class Linear(IntEnum):
    """Which linear address a stencil's memory access has, for its slow path."""

    NONE = 0
    T = 1
    PUSH = 2  # ESP - size
    POP = 3  # ESP
    FRAME = 4  # EBP (LEAVE)


class Ending(IntEnum):
    """What follows the stencil of a block's last instruction."""

    NEXT = 0  # the next instruction, or the fall-through exit
    JUMP = 1  # a direct exit to the target
    INDIRECT = 2  # nothing: the stencil itself goes through the branch cache


@dataclass(frozen=True)
class Plan:
    """How one variant of a form is translated; `live` etc. are stencil names in index order (rm, reg, count)."""

    variant: Variant
    live: tuple[str, ...]
    dead: tuple[str, ...] = ()  # without the flags; empty when the form has none
    fused: tuple[str, ...] = ()  # with each Jcc that may follow: 16 a stencil
    absolute: tuple[str, ...] = ()  # all these again, for a memory operand without registers in its address
    stride_rm: int = 0
    stride_reg: int = 0
    stride_count: int = 0
    pre: Pre = Pre.NONE
    linear: Linear = Linear.NONE
    size: int = 0  # bytes of the memory access
    write: bool = False
    ending: Ending = Ending.NEXT
    calls: bool = False  # predict the return first


Emit = Callable[[StencilContext], None]


@dataclass
class Catalogue:
    """All stencils by name, and all plans."""

    stencils: dict[str, tuple[Emit, dict[str, Any]]] = field(default_factory=dict)
    raw: dict[str, CodePiece] = field(default_factory=lambda: dict(raw_pieces()))  # encoded by us, not by LLVM
    plans: list[Plan] = field(default_factory=list)

    def add(self, name: str, emit: Emit, **attributes: Any) -> str:
        if name not in self.raw:
            self.stencils.setdefault(name, (emit, attributes))
        return name

    def emit(self, module: Module, name: str) -> None:
        """Add one stencil to a module."""
        emit, attributes = self.stencils[name]
        b = StencilContext(module, pinned(name), **attributes)
        emit(b)
        b.proceed()
        b.finish()


@dataclass(frozen=True)
class _Shape:
    """How one operand of a plan's stencils is given, and which.

    Kinds: r (register), m (memory), a (memory at a known address), i (immediate), k (known immediate), t, j (target).
    """

    kind: str
    width: int
    source: str = ""  # "rm", "reg" or "fixed" for a register
    number: int = 0

    def name(self, rm: int, reg: int, count: int) -> str:
        number = {"rm": rm, "reg": reg}.get(self.source, self.number)
        return f"{self.kind}{self.width}" + (
            f"_{count if self.kind == 'k' and not self.number else number}" * (self.kind in "rk")
        )

    def operand(self, b: StencilContext, rm: int, reg: int, count: int) -> Any:
        match self.kind:
            case "r":
                return NamedRegister(b, self.width, {"rm": rm, "reg": reg}.get(self.source, self.number))
            case "m":
                return ScratchMemory(b, self.width)
            case "a":
                return KnownMemory(b, self.width)
            case "t":
                return ScratchValue(b, self.width)
            case "k":
                return Constant(b, self.width, self.number or count)
            case "j":
                return HoleImmediate(b, 32, "TARGET")
            case _:
                return HoleImmediate(b, self.width)


def _shapes(variant: Variant) -> list[_Shape] | None:
    """Shapes of a variant's operands; None when one of them has none."""
    shapes = []
    for operand in variant.form.operands:
        width = variant.width_of(operand)
        match operand.method:
            case Method.REGISTER_OR_MEMORY if not variant.memory:
                shapes.append(_Shape("r", width, "rm"))
            case Method.REGISTER_OR_MEMORY | Method.MEMORY_ONLY | Method.OFFSET:
                shapes.append(_Shape("m", width))
            case Method.OPCODE_REGISTER:
                shapes.append(_Shape("r", width, "rm"))
            case Method.REGISTER:
                shapes.append(_Shape("r", width, "reg"))
            case Method.FIXED_REGISTER:
                shapes.append(_Shape("r", width, "fixed", operand.number))
            case Method.ONE:
                shapes.append(_Shape("k", width, "", 1))
            case Method.RELATIVE:
                shapes.append(_Shape("j", 32))
            case Method.IMMEDIATE:
                shapes.append(_Shape("i", width))
            case _:
                return None
    return shapes


def _split_pair(variant: Variant, shapes: list[_Shape]) -> Pre:
    """Move the source of a register pair into T unless the pair gets stencils of its own."""
    meaning = variant.form.meaning
    places = [n for n, s in enumerate(shapes) if s.source in ("rm", "reg")]
    whole = meaning in _PAIRS_ALL_SIZES or (
        meaning in _PAIRS_32 and variant.operand_size == 32 and shapes[0].width == 32
    )
    if len(places) < 2 or whole:
        return Pre.NONE
    source = shapes[places[1]]
    shapes[places[1]] = _Shape("t", source.width)
    return Pre.GET_REG if source.source == "reg" else Pre.GET_RM


def _indexes(shapes: list[_Shape]) -> Iterator[tuple[int, int, int]]:
    """All (rm, reg, count) that select different stencils, in index order."""
    uses = {s.source for s in shapes}
    counts = range(32) if any(s.kind == "k" and not s.number for s in shapes) else range(1)
    for count in counts:
        for rm in range(8) if "rm" in uses else range(1):
            for reg in range(8) if "reg" in uses else range(1):
                yield rm, reg, count


def _fuses(variant: Variant, shapes: list[_Shape]) -> bool:
    """Whether a following Jcc shares the stencil."""
    meaning = variant.form.meaning
    if variant.operand_size == 16 and any(s.width == 16 for s in shapes):
        return meaning in _CARRIES_OVER and any(s.kind == "i" for s in shapes)
    if meaning in _CARRIES_OVER:
        return True
    wide = all(s.width == 32 for s in shapes) and not variant.memory
    return wide and (meaning in _FUSE_32 or (meaning in _FUSE_IMMEDIATE_32 and shapes[1].kind == "i"))


_LINEARS = {
    "stack.push": Linear.PUSH,
    "flags.pushf": Linear.PUSH,
    "stack.pop": Linear.POP,
    "control.ret": Linear.POP,
    "stack.leave": Linear.FRAME,
}
_WRITES = frozenset(("stack.push", "flags.pushf", "control.call", "control.call_indirect"))
_READ_ONLY = frozenset(
    ("arith.cmp", "logic.test", "arith.mul", "arith.imul", "arith.div", "arith.idiv", "control.jmp_indirect")
)


def _memory_access(variant: Variant, shapes: list[_Shape]) -> tuple[Linear, int, bool]:
    """(address, bytes, is a write) of the one access the stencil makes."""
    meaning = variant.form.meaning
    size = variant.operand_size // 8
    if meaning in ("control.call", "control.call_indirect"):
        return Linear.PUSH, size, True
    if meaning in _LINEARS:
        return _LINEARS[meaning], size, meaning in _WRITES
    place = next((n for n, s in enumerate(shapes) if s.kind == "m"), None)
    if place is None or meaning in ("move.lea", "move.nop"):
        return Linear.NONE, 0, False
    write = meaning not in _READ_ONLY and (place == 0 or meaning == "move.xchg")
    return Linear.T, shapes[place].width // 8, write


_ENDINGS = {
    "control.jmp": Ending.JUMP,
    "control.call": Ending.JUMP,
    "control.jmp_indirect": Ending.INDIRECT,
    "control.call_indirect": Ending.INDIRECT,
    "control.ret": Ending.INDIRECT,
}


def _plan(catalogue: Catalogue, variant: Variant) -> Plan | None:
    form = variant.form
    if form.meaning not in MEANINGS or variant.rep is not None:
        return None
    shapes = _shapes(variant)
    if shapes is None:
        return None
    if variant.operand_size == 16 and form.meaning.startswith(
        ("control.call", "control.ret", "control.jmp", "stack.", "flags.pushf")
    ):
        return None  # rare: 16-bit transfers in 32-bit code
    if form.meaning == "stack.pop" and variant.memory:
        return None  # two accesses
    if form.meaning in _KNOWN_COUNTS and not variant.memory and shapes[0].width == 32 and shapes[1].kind == "i":
        shapes[1] = _Shape("k", shapes[1].width)
    pre = _split_pair(variant, shapes)
    linear, size, write = _memory_access(variant, shapes)
    if any(s.kind == "m" for s in shapes):
        pre = Pre.ADDRESS
    if variant.memory and form.meaning in ("stack.push", "control.call_indirect", "control.jmp_indirect"):
        pre = Pre.LOAD
        shapes = [_Shape("t", 32)]
    if form.meaning == "control.call_indirect" and not variant.memory:
        pre, shapes = Pre.GET_RM, [_Shape("t", 32)]
    strides = _strides(shapes)
    live, dead, fused = _Family(catalogue, variant, shapes).all()
    absolute: tuple[str, ...] = ()
    if pre is Pre.ADDRESS and variant.operand_size == 32 and form.meaning in _ABSOLUTE_32:
        known = [replace(s, kind="a") if s.kind == "m" else s for s in shapes]
        absolute = sum(_Family(catalogue, variant, known).all(), ())
    return Plan(
        variant,
        live=live,
        dead=dead,
        fused=fused,
        absolute=absolute,
        stride_rm=strides[0],
        stride_reg=strides[1],
        stride_count=strides[2],
        pre=pre,
        linear=linear,
        size=size,
        write=write,
        ending=_ENDINGS.get(form.meaning, Ending.NEXT),
        calls=form.meaning in ("control.call", "control.call_indirect"),
    )


def _strides(shapes: list[_Shape]) -> tuple[int, int, int]:
    uses = {s.source for s in shapes}
    reg = 1 if "reg" in uses else 0
    rm = (8 if "reg" in uses else 1) if "rm" in uses else 0
    counts = any(s.kind == "k" and not s.number for s in shapes)
    return rm, reg, (8 if "rm" in uses else 1) if counts else 0


@dataclass
class _Family:
    """Names and builds the stencils of one plan."""

    catalogue: Catalogue
    variant: Variant
    shapes: list[_Shape]

    def all(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """The stencils: with flags, without (none where there are no flags), fused with each Jcc."""
        indexes = list(_indexes(self.shapes))
        has_flags = bool(self.variant.form.changes_mask & flags.ARITHMETIC)
        fuses = _fuses(self.variant, self.shapes)
        return (
            tuple(self.stencil(i, live=True) for i in indexes),
            tuple(self.stencil(i, live=False) for i in indexes) if has_flags else (),
            tuple(self.fused(i, code) for i in indexes for code in range(16)) if fuses else (),
        )

    def _base(self, index: tuple[int, int, int]) -> str:
        form = self.variant.form
        code = "" if form.condition is None else f"{form.condition:x}"
        parts = [form.meaning.replace(".", "_") + code, str(self.variant.operand_size)]
        return "_".join([*parts, *(s.name(*index) for s in self.shapes)])

    def _attributes(self, live: bool) -> dict[str, Any]:
        form = self.variant.form
        return {
            "operand_size": self.variant.operand_size,
            "condition_code": form.condition or 0,
            "flags_live": live,
            "returns": form.meaning == "control.ret",
        }

    def _emit(self, b: StencilContext, index: tuple[int, int, int]) -> None:
        form = self.variant.form
        if form.meaning == "control.call":
            b.push(b.next_eip())  # the transfer itself is a direct exit
            return
        if form.meaning == "control.jmp":
            return
        meaning_function(form.meaning)(b, *(s.operand(b, *index) for s in self.shapes))

    def stencil(self, index: tuple[int, int, int], *, live: bool) -> str:
        name = self._base(index) + ("" if live else "_dead")
        return self.catalogue.add(name, lambda b: self._emit(b, index), **self._attributes(live))

    def fused(self, index: tuple[int, int, int], code: int) -> str:
        def emit(b: StencilContext) -> None:
            self._emit(b, index)
            with b.If(flags.condition(b, code)):
                b.jump(b.hole("TARGET"))

        return self.catalogue.add(f"{self._base(index)}_j{code:x}", emit, **self._attributes(True))


def build_catalogue() -> Catalogue:
    """Every plan, and the stencils in them."""
    catalogue = Catalogue()
    for form in FORMS:
        for variant in variants(form):
            plan = _plan(catalogue, variant)
            if plan is not None:
                catalogue.plans.append(plan)
    return catalogue
