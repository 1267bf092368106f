"""Stencils around FP instructions, which themselves are re-encoded (engine/reencode/encode.py) and not compiled."""

from __future__ import annotations

from dataclasses import dataclass

from bt.engine.translator.stencils.catalogue import (
    Catalogue,
    Emit,
)
from bt.engine.translator.stencils.context import (
    COLD,
    CONT,
    SERVICE,
    StencilContext,
)
from bt.x86 import flags
from bt.x86.fp.control import CONTROL_FIXED, CONTROL_WRITABLE, MXCSR_DEFINED, MXCSR_MASKS, X87_MASKS
from bt.x86.opcodes import CONDITIONS
from bt.x86.state import CS, DS, ES, SS

# Sizes of operands in bytes, and whether they must be aligned: the order of FpHelpers.operand.
VECTOR_BYTES = 16
OPERAND_SIZES = (
    (1, False),
    (2, False),
    (4, False),
    (8, False),
    (10, False),
    (VECTOR_BYTES, False),
    (VECTOR_BYTES, True),
)
_OVERFLOW_BIT = flags.OF.bit_length() - 1
POINTER_SEGMENTS = (ES, CS, SS, DS)


@dataclass(frozen=True)
class FpHelpers:
    """Their names in index order."""

    fp_ready: tuple[str, ...]  # [READY_* bits - 1]: leave unless these may simply be executed
    fp_operand: tuple[str, ...]  # [write * sizes + size]: host pointer of the operand at T into the free argument
    fp_run: tuple[str, ...]  # [aligned]: the same for OFFSET + 1 bytes (fp_run.py); the host pointer is T's
    fp_condition: tuple[str, ...]  # [condition code]: whether it holds, into the free argument
    fp_flags: str  # arithmetic flags of a comparison from the free argument, as LAHF has them
    fp_flags_any: str  # arithmetic flags from bits 8 to 15 of the free argument, as LAHF has them, OF from bit 0
    fp_flags_jump: tuple[str, ...]  # [condition code]: the same, and the Jcc behind it
    fp_pointers: tuple[str, ...]  # [segment + 1, or 0 without an operand]: last x87 instruction at EIP = TARGET
    fp_load_control: str  # x87 control word at T into the state, if it masks all exceptions
    fp_load_mxcsr: str  # the same for MXCSR


FP_HELPER_SIZES = {
    "fp_ready": 3,
    "fp_operand": 2 * len(OPERAND_SIZES),
    "fp_run": 2,
    "fp_condition": len(CONDITIONS),
    "fp_flags": 1,
    "fp_flags_any": 1,
    "fp_flags_jump": len(CONDITIONS),
    "fp_pointers": 1 + len(POINTER_SEGMENTS),
    "fp_load_control": 1,
    "fp_load_mxcsr": 1,
}


def _ready(bits: int) -> Emit:
    def emit(b: StencilContext) -> None:
        with b.Unlikely((b.get("fp_ready", width=8) & bits) != bits):
            b.go(COLD, original=True)

    return emit


def _operand(size: int, aligned: bool) -> Emit:
    def emit(b: StencilContext) -> None:
        linear = b.t.trunc(32)
        if aligned:
            with b.Unlikely((linear & (size - 1)) != 0):
                b.go(SERVICE, original=True)
        b.go(CONT, free=b.host_pointer(linear, size).zext(64))

    return emit


def _run(aligned: bool) -> Emit:
    def emit(b: StencilContext) -> None:
        linear = b.t.trunc(32)
        if aligned:
            with b.Unlikely((linear & (VECTOR_BYTES - 1)) != 0):
                b.go(COLD, original=True)
        size = (b.hole("OFFSET", 64) + 1).trunc(32)
        b.go(CONT, free=b.host_pointer(linear, size).zext(64))

    return emit


def _condition(code: int) -> Emit:
    return lambda b: b.go(CONT, free=flags.condition(b, code).zext(64))


def _flags(b: StencilContext) -> None:
    flags.write_comparison(b, b.argument("free"))


def _flags_any(b: StencilContext) -> None:
    free = b.argument("free")
    flags.write_arithmetic(b, (free >> 8) | ((free & 1) << _OVERFLOW_BIT))


def _flags_jump(code: int) -> Emit:
    """OF, SF and AF are clear after a comparison, so that each condition is a test of ZF, PF and CF."""
    tested = {"b": flags.CF, "e": flags.ZF, "be": flags.CF | flags.ZF, "p": flags.PF, "le": flags.ZF}
    mask = tested.get(CONDITIONS[code & ~1][0], 0)

    def emit(b: StencilContext) -> None:
        _flags(b)
        holds = (b.argument("free") & mask) != 0
        with b.If(~holds if code & 1 else holds):
            b.jump(b.hole("TARGET"))

    return emit


def _pointers(segment: int | None) -> Emit:
    def emit(b: StencilContext) -> None:
        b.put("fpu_ip", b.hole("IMMEDIATE"))
        b.put("fpu_cs", b.get_segment(CS, "selector"))
        if segment is not None:
            b.put("fpu_ds", b.get_segment(segment, "selector"))

    return emit


def _load_control(b: StencilContext) -> None:
    control = b.read_linear(b.t.trunc(32), 16).zext(32)
    with b.Unlikely((control & X87_MASKS) != X87_MASKS):
        b.go(SERVICE, original=True)
    b.put("fpu_control", (control & CONTROL_WRITABLE) | CONTROL_FIXED)


def _load_mxcsr(b: StencilContext) -> None:
    value = b.read_linear(b.t.trunc(32), 32)
    with b.Unlikely((value & (~MXCSR_DEFINED | MXCSR_MASKS)) != MXCSR_MASKS):
        b.go(SERVICE, original=True)
    b.put("fp_scratch", value)


def fp_helpers(catalogue: Catalogue) -> FpHelpers:
    """Add the stencils."""
    add = catalogue.add
    return FpHelpers(
        fp_ready=tuple(add(f"fp_ready{bits}", _ready(bits)) for bits in (1, 2, 3)),
        fp_operand=tuple(
            add(f"fp_operand_{'w' if write else 'r'}{size}{'a' * aligned}", _operand(size, aligned))
            for write in (False, True)
            for size, aligned in OPERAND_SIZES
        ),
        fp_run=tuple(add(f"fp_run{'a' * aligned}", _run(aligned)) for aligned in (False, True)),
        fp_condition=tuple(add(f"fp_condition{code:x}", _condition(code)) for code in range(len(CONDITIONS))),
        fp_flags=add("fp_flags", _flags),
        fp_flags_any=add("fp_flags_any", _flags_any),
        fp_flags_jump=tuple(add(f"fp_flags_j{code:x}", _flags_jump(code)) for code in range(len(CONDITIONS))),
        fp_pointers=(
            add("fp_pointers", _pointers(None)),
            *(add(f"fp_pointers_{segment}", _pointers(segment)) for segment in POINTER_SEGMENTS),
        ),
        fp_load_control=add("fp_load_control", _load_control),
        fp_load_mxcsr=add("fp_load_mxcsr", _load_mxcsr),
    )
