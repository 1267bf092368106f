"""Addition, subtraction and comparison, with the exchanging forms; multiplication and division (SDM vol. 2).

Memory is written before flags are: a write that leaves for a device is followed by the whole instruction again, and
ADC must then see the carry it saw the first time.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import DE, Context, Operand
from bt.x86.state import EAX, EBX, ECX, EDX


def _sum(a: Value, c: Value | int, carry_in: Value | None = None) -> Value:
    """a + c (+ carry_in), spelt as flags.add spells it, so that LLVM makes one addition of the two."""
    c = a.b.coerce(c, a.ty)
    wide = a.zext(64) + c.zext(64)
    return (wide if carry_in is None else wide + carry_in.zext(64)).trunc(a.width)


def _difference(a: Value, c: Value | int, borrow_in: Value | None = None) -> Value:
    c = a.b.coerce(c, a.ty)
    wide = a.zext(64) - c.zext(64)
    return (wide if borrow_in is None else wide - borrow_in.zext(64)).trunc(a.width)


def add(b: Context, dst: Operand, src: Operand) -> None:
    c = src.read()
    a = dst.read_for_update()
    dst.write(_sum(a, c))
    flags.add(b, a, c)


def adc(b: Context, dst: Operand, src: Operand) -> None:
    c = src.read()
    a = dst.read_for_update()
    carry = flags.carry(b)
    dst.write(_sum(a, c, carry))
    flags.add(b, a, c, carry)


def sub(b: Context, dst: Operand, src: Operand) -> None:
    c = src.read()
    a = dst.read_for_update()
    dst.write(_difference(a, c))
    flags.sub(b, a, c)


def sbb(b: Context, dst: Operand, src: Operand) -> None:
    c = src.read()
    a = dst.read_for_update()
    borrow = flags.carry(b)
    dst.write(_difference(a, c, borrow))
    flags.sub(b, a, c, borrow)


def cmp(b: Context, dst: Operand, src: Operand) -> None:
    c = src.read()
    flags.sub(b, dst.read(), c)


def inc(b: Context, dst: Operand) -> None:
    a = dst.read_for_update()
    dst.write(_sum(a, 1))
    flags.add(b, a, b.const(1, a.ty), keep_carry=True)


def dec(b: Context, dst: Operand) -> None:
    a = dst.read_for_update()
    dst.write(_difference(a, 1))
    flags.sub(b, a, b.const(1, a.ty), keep_carry=True)


def neg(b: Context, dst: Operand) -> None:
    a = dst.read_for_update()
    zero = b.const(0, a.ty)
    dst.write(_difference(zero, a))
    flags.sub(b, zero, a)


def xadd(b: Context, dst: Operand, src: Operand) -> None:
    """XADD: src = dst, dst = dst + src. With one register as both, the sum stays."""
    c = src.read()
    a = dst.read_for_update()
    if dst.is_memory:
        dst.write(_sum(a, c))
        src.write(a)
    else:
        src.write(a)
        dst.write(_sum(a, c))
    flags.add(b, a, c)


def cmpxchg(b: Context, dst: Operand, src: Operand) -> None:
    """CMPXCHG: if AL/AX/EAX = dst then dst = src, else the accumulator = dst. Memory is written either way."""
    replacement = src.read()
    current = dst.read_for_update()
    accumulator = b.reg(EAX, dst.width)
    equal = accumulator == current
    new = b.select(equal, replacement, current)
    if dst.is_memory:
        dst.write(new)
        b.set_reg(EAX, b.select(equal, accumulator, current))
    else:  # the accumulator may be dst itself, which then gets src
        b.set_reg(EAX, b.select(equal, accumulator, current))
        dst.write(new)
    flags.sub(b, accumulator, current)


def cmpxchg8b(b: Context, dst: Operand) -> None:
    """CMPXCHG8B: if EDX:EAX = dst then dst = ECX:EBX, else EDX:EAX = dst. Only ZF changes."""
    current = dst.read_for_update()
    low, high = b.reg(EAX), b.reg(EDX)
    equal = current == _pair(low, high)
    dst.write(b.select(equal, _pair(b.reg(EBX), b.reg(ECX)), current))
    b.set_reg(EAX, b.select(equal, low, current.trunc(32)))
    b.set_reg(EDX, b.select(equal, high, (current >> 32).trunc(32)))
    flags.set_zero(b, equal)


# -- multiplication and division --------------------------------------------------------------------------------------


def _pair(low: Value, high: Value) -> Value:
    """high:low, twice as wide as either."""
    width = low.width
    return low.zext(2 * width) | (high.zext(2 * width) << width)


def _double_accumulator(b: Context, width: int) -> Value:
    """AX, DX:AX or EDX:EAX, twice `width`."""
    if width == 8:
        return b.reg(EAX, 16)
    return _pair(b.reg(EAX, width), b.reg(EDX, width))


def _set_halves(b: Context, low: Value, high: Value) -> None:
    """AH:AL, DX:AX or EDX:EAX = high:low."""
    if low.width == 8:
        b.set_reg(EAX, _pair(low, high))
    else:
        b.set_reg(EAX, low)
        b.set_reg(EDX, high)


def mul(b: Context, src: Operand) -> None:
    width = src.width
    product = b.reg(EAX, width).zext(2 * width) * src.read().zext(2 * width)
    high = (product >> width).trunc(width)
    _set_halves(b, product.trunc(width), high)
    _set_product_flags(b, high != 0)


def imul(b: Context, src: Operand) -> None:
    """IMUL with one operand: the whole product."""
    width = src.width
    product = b.reg(EAX, width).sext(2 * width) * src.read().sext(2 * width)
    low = product.trunc(width)
    _set_halves(b, low, (product >> width).trunc(width))
    _set_product_flags(b, low.sext(2 * width) != product)


def imul_truncated(b: Context, dst: Operand, src: Operand, factor: Operand | None = None) -> None:
    """IMUL with two or three operands: dst = low half of src * factor; without a factor of dst * src."""
    width = dst.width
    a, c = src.read(), (factor or dst).read()
    product = a.sext(2 * width) * c.sext(2 * width)
    low = product.trunc(width)
    dst.write(low)
    _set_product_flags(b, low.sext(2 * width) != product)


def _set_product_flags(b: Context, truncated: Value) -> None:
    """CF = OF = the low half alone is not the product. SF ZF AF PF are undefined: kept, as AMD's Zen does."""
    flags.set_carry_and_overflow(b, truncated, truncated)


def div(b: Context, src: Operand) -> None:
    """DIV: #DE if the quotient does not fit. Checked before dividing: the host must not trap."""
    width = src.width
    divisor = src.read()
    dividend = _double_accumulator(b, width)
    # the quotient fits exactly when the high half is below the divisor; a divisor of 0 never passes
    b.fault_if((dividend >> width).trunc(width).uge(divisor), DE)
    divisor = divisor.zext(2 * width)
    quotient, remainder = dividend.udiv(divisor), dividend.urem(divisor)
    _set_halves(b, quotient.trunc(width), remainder.trunc(width))
    _set_quotient_flags(b)


def idiv(b: Context, src: Operand) -> None:
    """IDIV: #DE if the quotient does not fit; the remainder has the dividend's sign."""
    width = src.width
    divisor = src.read().sext(2 * width)
    dividend = _double_accumulator(b, width)
    least = 1 << (2 * width - 1)
    # least / -1 would trap on the host too
    b.fault_if((divisor == 0) | ((dividend == least) & (divisor == -1)), DE)
    quotient, remainder = dividend.sdiv(divisor), dividend.srem(divisor)
    b.fault_if(quotient.trunc(width).sext(2 * width) != quotient, DE)
    _set_halves(b, quotient.trunc(width), remainder.trunc(width))
    _set_quotient_flags(b)


def _set_quotient_flags(b: Context) -> None:
    """All six are undefined; Zen sets AF, clears SF ZF PF and keeps CF and OF."""
    odd_and_positive = b.const(1, 32)
    flags.result_with(b, odd_and_positive, flags.carry(b), flags.overflow(b), b.const(1, 1))
