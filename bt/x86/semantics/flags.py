"""Unprivileged flag instructions (SDM vol. 2). PUSHF, POPF, CLI and STI are the system's: system/registers/flags.py."""

from __future__ import annotations

from bt.x86 import flags
from bt.x86.context import UD, Context
from bt.x86.features import has
from bt.x86.flags import AF, ALWAYS_ONE, CF, DF, OF, PF, SF, ZF

_AH = 4  # as an 8-bit register number
_IN_AH = SF | ZF | AF | PF | CF


def _require_feature(b: Context) -> None:
    """In 64-bit mode LAHF and SAHF came later than everything else (SDM vol. 2)."""
    if b.long:
        b.fault_if(~has(b, "lahf-lm"), UD)


def lahf(b: Context) -> None:
    _require_feature(b)
    image = (flags.read_arithmetic(b) & _IN_AH) | ALWAYS_ONE
    b.set_reg(_AH, image.trunc(8))


def sahf(b: Context) -> None:
    """SAHF: OF stays."""
    _require_feature(b)
    image = b.reg(_AH, 8).zext(32) & _IN_AH
    flags.write_arithmetic(b, image | (flags.read_arithmetic(b) & OF))


def clc(b: Context) -> None:
    flags.set_carry(b, b.const(0, 1))


def stc(b: Context) -> None:
    flags.set_carry(b, b.const(1, 1))


def cmc(b: Context) -> None:
    flags.set_carry(b, ~flags.carry(b))


def cld(b: Context) -> None:
    b.put("eflags_system", b.get("eflags_system") & ~DF)


def std(b: Context) -> None:
    b.put("eflags_system", b.get("eflags_system") | DF)
