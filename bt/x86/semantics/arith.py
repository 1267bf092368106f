"""Addition, subtraction and comparison, with the exchanging forms; multiplication and division (SDM vol. 2).

Memory is written before flags are: a write that leaves for a device is followed by the whole instruction again, and
ADC must then see the carry it saw the first time.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import DE, GP, UD, Context, MemoryOperand, Operand
from bt.x86.features import has
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
    if b.long:  # a register that is not replaced keeps its upper half
        if dst.is_memory:
            dst.write(new)
        with b.IfElse(equal) as arm:
            with arm.then():
                if not dst.is_memory:
                    dst.write(replacement)
            with arm.otherwise():
                b.set_reg(EAX, current)
    elif dst.is_memory:
        dst.write(new)
        b.set_reg(EAX, b.select(equal, accumulator, current))
    else:  # the accumulator may be dst itself, which then gets src
        b.set_reg(EAX, b.select(equal, accumulator, current))
        dst.write(new)
    flags.sub(b, accumulator, current)


def cmpxchg8b(b: Context, dst: MemoryOperand) -> None:
    """CMPXCHG8B: if EDX:EAX = dst then dst = ECX:EBX, else EDX:EAX = dst. Only ZF changes.

    With REX.W it is CMPXCHG16B, a feature of its own: the same of 64-bit registers, and the operand must be aligned.
    """
    half = dst.width // 2
    if half == 64:
        b.fault_if(~has(b, "cx16"), UD)
        b.fault_if((b.segment_linear(b.source_segment(), dst.offset()) & 15) != 0, GP, 0)
    current = dst.read_for_update()
    low, high = b.reg(EAX, half), b.reg(EDX, half)
    equal = current == _pair(low, high)
    dst.write(b.select(equal, _pair(b.reg(EBX, half), b.reg(ECX, half)), current))
    if b.long:  # as above
        with b.If(~equal):
            b.set_reg(EAX, current.trunc(half))
            b.set_reg(EDX, (current >> half).trunc(half))
    else:
        b.set_reg(EAX, b.select(equal, low, current.trunc(half)))
        b.set_reg(EDX, b.select(equal, high, (current >> half).trunc(half)))
    flags.set_zero(b, equal)


# -- multiplication and division --------------------------------------------------------------------------------------


def _pair(low: Value, high: Value) -> Value:
    """high:low, twice as wide as either."""
    width = low.width
    return low.zext(2 * width) | (high.zext(2 * width) << width)


def _double_accumulator(b: Context, width: int) -> Value:
    """AX, DX:AX, EDX:EAX or RDX:RAX, twice `width`."""
    if width == 8:
        return b.reg(EAX, 16)
    return _pair(b.reg(EAX, width), b.reg(EDX, width))


def _set_halves(b: Context, low: Value, high: Value) -> None:
    """AH:AL, DX:AX, EDX:EAX or RDX:RAX = high:low."""
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
    _set_halves(b, *_divided(b, dividend, divisor))
    _set_quotient_flags(b)


def _divided(b: Context, dividend: Value, divisor: Value) -> tuple[Value, Value]:
    """Quotient, which fits, and remainder of unsigned numbers, the dividend twice as wide as all others."""
    width = divisor.width
    if width == 64:  # LLVM would call a function for it
        both = b.asm(
            "div $4",
            "={rax},={rdx},0,1,r,~{flags}",
            "{ i64, i64 }",
            dividend.trunc(width),
            (dividend >> width).trunc(width),
            divisor,
        )
        return (
            b.emit(f"extractvalue {both.ty} {both.ref}, 0", "i64"),
            b.emit(f"extractvalue {both.ty} {both.ref}, 1", "i64"),
        )
    divisor = divisor.zext(2 * width)
    return dividend.udiv(divisor).trunc(width), dividend.urem(divisor).trunc(width)


def idiv(b: Context, src: Operand) -> None:
    """IDIV: #DE if the quotient does not fit; the remainder has the dividend's sign."""
    width = src.width
    if width == 64:
        _idiv_64(b, src)
        return
    divisor = src.read().sext(2 * width)
    dividend = _double_accumulator(b, width)
    least = 1 << (2 * width - 1)
    # least / -1 would trap on the host too
    b.fault_if((divisor == 0) | ((dividend == least) & (divisor == -1)), DE)
    quotient, remainder = dividend.sdiv(divisor), dividend.srem(divisor)
    b.fault_if(quotient.trunc(width).sext(2 * width) != quotient, DE)
    _set_halves(b, quotient.trunc(width), remainder.trunc(width))
    _set_quotient_flags(b)


def _idiv_64(b: Context, src: Operand) -> None:
    """The same by magnitudes, as the host's IDIV would trap where the quotient does not fit."""
    divisor, dividend = src.read(), _double_accumulator(b, 64)
    negative = dividend.slt(0)
    opposite = negative ^ divisor.slt(0)
    magnitude = b.select(negative, -dividend, dividend)
    by = b.select(divisor.slt(0), -divisor, divisor)
    b.fault_if((magnitude >> 64).trunc(64).uge(by), DE)
    quotient, remainder = _divided(b, magnitude, by)
    b.fault_if(quotient.ugt(b.select(opposite, b.const(1 << 63, 64), (1 << 63) - 1)), DE)
    _set_halves(b, b.select(opposite, -quotient, quotient), b.select(negative, -remainder, remainder))
    _set_quotient_flags(b)


def _set_quotient_flags(b: Context) -> None:
    """All six are undefined; Zen sets AF, clears SF ZF PF and keeps CF and OF."""
    odd_and_positive = b.const(1, 32)
    flags.result_with(b, odd_and_positive, flags.carry(b), flags.overflow(b), b.const(1, 1))
