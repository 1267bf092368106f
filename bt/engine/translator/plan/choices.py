"""What is worth stencils: the choices, made by measuring, that no meaning can answer.

More stencils are faster code, and a larger library that takes longer to build.
"""

from __future__ import annotations

from bt.engine.interp.variants import Variant
from bt.engine.translator.plan.plan import Gate
from bt.engine.translator.plan.shapes import Shape
from bt.engine.translator.stencils.context import Segments
from bt.engine.translator.stencils.recording import Effects
from bt.x86 import flags
from bt.x86.state import EDI, ESI

# Could be stencils, but hardly any code executes them often: the interpreter does.
_RARE = frozenset(
    (
        *(f"bcd.{name}" for name in ("aaa", "aad", "aam", "aas", "daa", "das")),
        "move.salc",
        "msr.rdpmc",
        "processor.invd",
        "processor.smsw",
        "processor.wbinvd",
        "shift.rcl",
        "shift.rcr",
        "sse.clflush",
    )
)
_ARITHMETIC = ("arith.add", "arith.adc", "arith.sub", "arith.sbb", "arith.cmp", "logic.and_", "logic.or_", "logic.xor")
# Two registers settled at once (64 stencils) where it is worth it; elsewhere the source goes through T (8 + 8).
_PAIRS_32 = frozenset(
    (*_ARITHMETIC, "logic.test", "move.mov", "move.movzx", "move.movsx", "arith.imul_truncated", "move.xchg")
)
_PAIRS_ALL_SIZES = frozenset(("move.xchg", "arith.xadd", "arith.cmpxchg", "processor.mov_from_cr"))
# Global variables.
_ABSOLUTE_32 = frozenset((*_ARITHMETIC, "logic.test", "move.mov", "move.movzx", "move.movsx", "arith.inc", "arith.dec"))
# Their counter is CX or ECX by the address size: stencils for either.
COUNTS = frozenset(("control.loop", "control.loope", "control.loopne", "control.jcxz"))
# Beside comparisons, what a Jcc often follows: counting down, and differences, sums and masks of constants.
_FUSE_32 = frozenset(("arith.dec", "arith.inc"))
_FUSE_IMMEDIATE_32 = frozenset(("arith.sub", "arith.add", "logic.and_"))
# What is no stencil, but is done without the interpreter in flat 32-bit code: what kernels execute all the time.
_GATES = {
    "interrupts.int_": Gate.INT,
    "interrupts.iret": Gate.IRET,
    "interrupts.sysenter": Gate.SYSENTER,
    "interrupts.sysexit": Gate.SYSEXIT,
    "processor.invlpg": Gate.INVLPG,
    "processor.mov_to_cr": Gate.LOAD_CR3,
}


def is_worth_stencils(variant: Variant, effects: Effects, segments: Segments) -> bool:
    """Whether a variant that can be stencils shall be."""
    if segments is not Segments.FLAT and any(access.register in (ESI, EDI) for access in effects.accesses):
        return False  # strings elsewhere than in flat segments
    if variant.operand_size == 16 and segments is Segments.FLAT:
        stack = any(access.register is not None for access in effects.accesses)
        if stack or not effects.goes_on:
            return False  # 16-bit pushes and transfers in flat 32-bit code
    return variant.form.meaning not in _RARE


def gate(variant: Variant, segments: Segments) -> Gate:
    """Who does what has no stencils."""
    if segments is not Segments.FLAT or variant.operand_size != 32:
        return Gate.SERVICE
    return _GATES.get(variant.form.meaning, Gate.SERVICE)


def has_pairs(variant: Variant, shapes: list[Shape]) -> bool:
    """Whether every pair of registers has a stencil of its own."""
    meaning = variant.form.meaning
    return meaning in _PAIRS_ALL_SIZES or (
        meaning in _PAIRS_32 and variant.operand_size == 32 and shapes[0].width == 32
    )


def has_known_counts(variant: Variant, shapes: list[Shape]) -> bool:
    """Whether every count of a shift or rotate has a stencil of its own: in a hole it would have to go through CL."""
    if not variant.form.may_keep_flags or variant.memory or len(shapes) < 2:
        return False
    return shapes[0].width == 32 and shapes[1].kind == "i"


def has_absolute(variant: Variant) -> bool:
    """Whether there are stencils for a memory operand at a known address."""
    return variant.operand_size == 32 and variant.form.meaning in _ABSOLUTE_32


def fuses(variant: Variant, shapes: list[Shape], effects: Effects) -> bool:
    """Whether a following Jcc shares the stencil."""
    form = variant.form
    alters = effects.sets_register or any(access.write for access in effects.accesses)
    compares = form.changes_mask & flags.ARITHMETIC == flags.ARITHMETIC and not alters
    if variant.operand_size == 16 and any(s.width == 16 for s in shapes):
        return compares and any(s.kind == "i" for s in shapes)
    if compares:
        return True
    wide = all(s.width == 32 for s in shapes) and not variant.memory
    constant = form.meaning in _FUSE_IMMEDIATE_32 and shapes[1].kind == "i"
    return wide and (form.meaning in _FUSE_32 or constant)
