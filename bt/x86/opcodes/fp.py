"""What executing an FP instruction on the host takes, read off its form: units, memory operand, general register.

A meaning of the family `fp` says what is special: `fp.store` writes its memory operand, `fp.compare` sets ZF, PF and
CF, `fp.test` any flags, `fp.fcmovcc` reads flags, `fp.masked_store` has a memory operand that ModRM does not show.
`fp.test_index` answers in ECX as well, and `fp.test_lengths` takes the lengths of two strings from EAX and EDX.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from .encoding import parse_encoding
from .form import Form, Method, Width

# Units an instruction uses: which rules for #UD, #NM and #MF hold (SDM vol. 3A 12.5, 13.1; vol. 2 2.5)
UNIT_X87: Final = 1
UNIT_MMX: Final = 2
UNIT_SSE: Final = 4

# Bits of state's `fp_ready`: instructions of these units can simply be executed.
READY_X87: Final = 1  # x87 and MMX
READY_SSE: Final = 2

_XMM = frozenset((Method.XMM_REGISTER, Method.XMM_OR_MEMORY, Method.XMM_RM))
_MMX = frozenset((Method.MMX_REGISTER, Method.MMX_OR_MEMORY, Method.MMX_RM))
_MEMORY = frozenset((Method.MEMORY_ONLY, Method.REGISTER_OR_MEMORY, Method.XMM_OR_MEMORY, Method.MMX_OR_MEMORY))
_TESTS = ("fp.test", "fp.test_index", "fp.test_lengths", "fp.test_lengths_index")
# fmt: off
_BYTES = {
    Width.B: 1, Width.DB: 1, Width.W: 2, Width.DW: 2, Width.D: 4, Width.Y: 4, Width.Q: 8, Width.T: 10, Width.X: 16,
    Width.U: 16,
}
# fmt: on


class FpUse(NamedTuple):
    """One way to execute an FP instruction; forms with equal uses share an interpreter handler."""

    units: int
    memory: int = 0  # bytes of the memory operand
    store: bool = False
    aligned: bool = False  # #GP(0) unless the operand is aligned to its size
    masked: bool = False  # the operand is at DS:(E)DI, and some of its bytes are written
    gpr: Literal["", "reg", "rm"] = ""  # which field of ModRM names a general register
    gpr_written: bool = False
    gpr_width: Literal[32, 64] = 32
    compares: bool = False  # OF, SF and AF are clear, ZF, PF and CF the result
    tests: bool = False  # all six flags are the result
    lengths: bool = False  # EAX and EDX are operands, of `gpr_width`
    indexes: bool = False  # ECX is a result
    condition: int | None = None

    @property
    def ready(self) -> int:
        """READY_* bits that make executing it a simple matter."""
        return READY_X87 * bool(self.units & (UNIT_X87 | UNIT_MMX)) | READY_SSE * bool(self.units & UNIT_SSE)

    @property
    def name(self) -> str:
        """For symbols."""
        memory = f"{'w' if self.store else 'r'}{self.memory}" if self.memory else ""
        registers = f"{self.gpr}{'w' * self.gpr_written}{'l' * self.lengths}{'q' if self.gpr_width == 64 else ''}"
        extra = f"{'a' * self.aligned}{'k' * self.masked}{'f' * self.compares}{'t' * self.tests}{'i' * self.indexes}"
        condition = "" if self.condition is None else f"cc{self.condition}"
        return "_".join(part for part in (f"fp{self.units}", memory, registers, extra, condition) if part)


def is_fp(form: Form) -> bool:
    """True if the host executes it: of the family `fp`."""
    return form.meaning.startswith("fp.")


def has_wide_operand(form: Form) -> bool:
    """Whether an operand of an FP form has 64 bits with REX.W."""
    return "lengths" in form.meaning or any(operand.width is Width.Y for operand in form.operands)


def fp_use(form: Form, memory: bool, *, wide: bool = False) -> FpUse:
    """How a form of the family `fp` is executed; `memory`: its ModRM operand is in memory; `wide`: with REX.W."""
    methods = {operand.method for operand in form.operands}
    units = UNIT_SSE * bool(methods & _XMM) | UNIT_MMX * bool(methods & _MMX)
    if memory and units == UNIT_SSE | UNIT_MMX and Method.MMX_OR_MEMORY in methods:
        units = UNIT_SSE  # CVTPI2PS and CVTPI2PD of memory use no MMX register (SDM vol. 2 CVTPI2PD)
    if not units:
        units = UNIT_MMX if parse_encoding(form.encoding).opcode_map else UNIT_X87
    masked = form.meaning == "fp.masked_store"
    size, aligned = 0, False
    gpr: Literal["", "reg", "rm"] = ""
    written = False
    for place, operand in enumerate(form.operands):
        if memory and operand.method in _MEMORY:
            size, aligned = _BYTES[operand.width], operand.width is Width.X
            if wide and operand.width is Width.Y:
                size = 8
        elif operand.method in (Method.REGISTER, Method.REGISTER_OR_MEMORY):
            gpr = "reg" if operand.method is Method.REGISTER else "rm"
            written = place == 0
    if masked:
        size = 16 if units & UNIT_SSE else 8
    return FpUse(
        units,
        memory=size,
        store=bool(size) and form.meaning in ("fp.store", "fp.masked_store"),
        aligned=aligned,
        masked=masked,
        gpr=gpr,
        gpr_written=written,
        gpr_width=64 if wide and (gpr or "lengths" in form.meaning) else 32,
        compares=form.meaning == "fp.compare",
        tests=form.meaning in _TESTS,
        lengths="lengths" in form.meaning,
        indexes=form.meaning.endswith("index"),
        condition=form.condition,
    )
