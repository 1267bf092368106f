"""Decimal adjustment (SDM vol. 2, vol. 1 7.3.4).

Undefined flags are AMD's (Zen, all inputs tried): those of the addition or subtraction that the adjustment is.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import DE, Context, Operand
from bt.x86.state import EAX

_AH = 4  # as an 8-bit register number


def daa(b: Context) -> None:
    al = b.reg(EAX, 8)
    low, high, correction = _decimal_correction(b, al)
    result = al + correction
    b.set_reg(EAX, result)
    overflow = ((al ^ result) & (correction ^ result)).bit(7)
    flags.result_with(b, result, high, overflow, low)


def das(b: Context) -> None:
    al = b.reg(EAX, 8)
    low, high, correction = _decimal_correction(b, al)
    result = al - correction
    b.set_reg(EAX, result)
    overflow = ((al ^ correction) & (al ^ result)).bit(7)
    flags.result_with(b, result, high | (low & al.ult(6)), overflow, low)


def _decimal_correction(b: Context, al: Value) -> tuple[Value, Value, Value]:
    """Whether the low and the high digit of AL need correcting, and the correction."""
    low = (al & 15).ugt(9) | flags.adjust(b)
    high = al.ugt(0x99) | flags.carry(b)
    return low, high, b.select(low, b.const(0x06, 8), 0) | b.select(high, b.const(0x60, 8), 0)


def aaa(b: Context) -> None:
    ax = b.reg(EAX, 16)
    adjusted, correction = _ascii_correction(b, ax)
    result = ax + correction
    b.set_reg(EAX, result & 0xFF0F)
    flags.result_with(b, result, adjusted, (~ax & result).bit(15), adjusted)


def aas(b: Context) -> None:
    ax = b.reg(EAX, 16)
    adjusted, correction = _ascii_correction(b, ax)
    result = ax - correction
    b.set_reg(EAX, result & 0xFF0F)
    flags.result_with(b, result, adjusted, (ax & ~result).bit(15), adjusted)


def _ascii_correction(b: Context, ax: Value) -> tuple[Value, Value]:
    """Whether AL needs correcting, and what to add to or subtract from AX: 6 below and the carry above."""
    adjusted = (ax & 15).ugt(9) | flags.adjust(b)
    return adjusted, b.select(adjusted, b.const(0x106, 16), 0)


def aam(b: Context, base: Operand) -> None:
    """AAM: AH, AL = AL divided by the immediate, remainder. #DE for 0."""
    divisor = base.read()
    b.fault_if(divisor == 0, DE)
    al = b.reg(EAX, 8)
    remainder = al.urem(divisor)
    b.set_reg(_AH, al.udiv(divisor))
    b.set_reg(EAX, remainder)
    flags.logic(b, remainder)


def aad(b: Context, base: Operand) -> None:
    """AAD: AL = AL + AH * immediate, AH = 0."""
    al, tens = b.reg(EAX, 8), b.reg(_AH, 8) * base.read()
    result = flags.add(b, al, tens)
    b.set_reg(EAX, result.zext(16))
