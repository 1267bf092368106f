"""Shifts, rotates and double shifts (SDM vol. 2).

Counts are taken modulo 32, but for 64-bit operands, modulo 64; a count of zero changes nothing. Everything is computed
in 64 bits, or 128, where no count is too large and the last bit shifted out is simply the neighbour of the result.

Undefined flags are what AMD's Zen makes of them: AF set by shifts, OF for counts above 1 by the rule for 1.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import Context, Operand


def _room(dst: Operand) -> int:
    """Bits in which everything is computed."""
    return 128 if dst.width == 64 else 64


def _count(dst: Operand, count: Operand) -> Value:
    return count.read().zext(_room(dst)) & (63 if dst.width == 64 else 31)


def _top_bits_differ(result: Value) -> Value:
    return (result ^ (result << 1)).bit(result.width - 1)


def _finish_shift(b: Context, dst: Operand, count: Value, result: Value, carry: Value, overflow: Value) -> None:
    dst.write(result)
    with b.If(count != 0):
        flags.result_with(b, result, carry, overflow, b.const(1, 1))


def _finish_rotate(b: Context, dst: Operand, count: Value, result: Value, carry: Value, overflow: Value) -> None:
    dst.write(result)
    with b.If(count != 0):
        flags.set_carry_and_overflow(b, carry, overflow)


def shl(b: Context, dst: Operand, count: Operand) -> None:
    n = _count(dst, count)
    wide = dst.read_for_update().zext(_room(dst)) << n
    result, carry = wide.trunc(dst.width), wide.bit(dst.width)
    _finish_shift(b, dst, n, result, carry, result.bit(dst.width - 1) ^ carry)


def shr(b: Context, dst: Operand, count: Operand) -> None:
    n = _count(dst, count)
    below = (dst.read_for_update().zext(_room(dst)) << 1) >> n  # bit 0 is the last one out
    result = (below >> 1).trunc(dst.width)
    _finish_shift(b, dst, n, result, below.bit(0), _top_bits_differ(result))


def sar(b: Context, dst: Operand, count: Operand) -> None:
    n = _count(dst, count)
    below = (dst.read_for_update().sext(_room(dst)) << 1).sar(n)
    _finish_shift(b, dst, n, below.sar(1).trunc(dst.width), below.bit(0), b.const(0, 1))


def rol(b: Context, dst: Operand, count: Operand) -> None:
    n = _count(dst, count)
    a = dst.read_for_update()
    result = b.intrinsic("fshl", a.ty, a, a, n.trunc(dst.width))  # modulo the width
    carry = result.bit(0)
    _finish_rotate(b, dst, n, result, carry, result.bit(dst.width - 1) ^ carry)


def ror(b: Context, dst: Operand, count: Operand) -> None:
    n = _count(dst, count)
    a = dst.read_for_update()
    result = b.intrinsic("fshr", a.ty, a, a, n.trunc(dst.width))
    _finish_rotate(b, dst, n, result, result.bit(dst.width - 1), _top_bits_differ(result))


def rcl(b: Context, dst: Operand, count: Operand) -> None:
    n = _count(dst, count)
    ring = _with_carry(b, dst)
    turns = _turns(dst, n)
    rotated = (ring << turns) | (ring >> (b.const(dst.width + 1, ring.ty) - turns))
    result, carry = rotated.trunc(dst.width), rotated.bit(dst.width)
    _finish_rotate(b, dst, n, result, carry, result.bit(dst.width - 1) ^ carry)


def rcr(b: Context, dst: Operand, count: Operand) -> None:
    n = _count(dst, count)
    ring = _with_carry(b, dst)
    turns = _turns(dst, n)
    rotated = (ring >> turns) | (ring << (b.const(dst.width + 1, ring.ty) - turns))
    result = rotated.trunc(dst.width)
    _finish_rotate(b, dst, n, result, rotated.bit(dst.width), _top_bits_differ(result))


def _with_carry(b: Context, dst: Operand) -> Value:
    """CF:dst, the ring of width + 1 bits that RCL and RCR turn."""
    return dst.read_for_update().zext(_room(dst)) | (flags.carry(b).zext(_room(dst)) << dst.width)


def _turns(dst: Operand, count: Value) -> Value:
    """By how many bits it turns: a count modulo 32 or 64 can be more than it has, but for the widest."""
    return count if dst.width == 64 else count.urem(dst.width + 1)


def shld(b: Context, dst: Operand, src: Operand, count: Operand) -> None:
    """SHLD: dst = high half of (dst:src) << count.

    With 16-bit operands a count above 16 is undefined: as on Zen, src follows itself and CF and OF come from dst alone.
    """
    n = _count(dst, count)
    width = dst.width
    room = _room(dst)
    c, a = src.read().zext(room), dst.read_for_update().zext(room)
    shifted = _chain(c, c, a) << n if width == 16 else _chain(c, a) << n
    out = a << n
    carry = out.bit(width)
    result = (shifted >> room // 2).trunc(width)
    _finish_shift(b, dst, n, result, carry, carry ^ out.bit(width - 1))


def shrd(b: Context, dst: Operand, src: Operand, count: Operand) -> None:
    """SHRD: dst = low half of (src:dst) >> count. 16-bit operands and counts above 16: as SHLD."""
    n = _count(dst, count)
    width = dst.width
    c, a = src.read().zext(_room(dst)), dst.read_for_update().zext(_room(dst))
    result = ((_chain(a, c, c) if width == 16 else _chain(a, c)) >> n).trunc(width)
    carry = ((a << 1) >> n).bit(0)
    _finish_shift(b, dst, n, result, carry, _top_bits_differ(result))


def _chain(*parts: Value) -> Value:
    """Values (zero-extended to the width of the result), the first lowest: three of 16 bits, or two of half of it."""
    width = 16 if len(parts) == 3 else parts[0].width // 2
    result = parts[0]
    for place, part in enumerate(parts[1:], 1):
        result = result | (part << (place * width))
    return result
