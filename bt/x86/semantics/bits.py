"""Bit tests and bit scans (SDM vol. 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import Context, MemoryOperand, Operand


def _is_memory(operand: Operand) -> TypeGuard[MemoryOperand]:
    return operand.is_memory


def _select_bit(b: Context, base: Operand, offset: Operand) -> tuple[Operand, Value]:
    """The operand that holds the bit, and the bit's position in it.

    A register offset reaches up to 2**31 bits to either side of a memory operand, in 64-bit mode 2**63; an immediate
    one, and any offset into a register, is taken modulo the width.
    """
    index = offset.read()
    if _is_memory(base) and offset.width != 8:  # an immediate is a byte
        words = index.sext(b.address_width).sar(base.width.bit_length() - 1)
        base = base.displaced(words * (base.width // 8))
    return base, index.resize(base.width) & (base.width - 1)


def bt(b: Context, base: Operand, offset: Operand) -> None:
    holder, position = _select_bit(b, base, offset)
    flags.set_carry(b, (holder.read() >> position).trunc(1))


def bts(b: Context, base: Operand, offset: Operand) -> None:
    _change_bit(b, base, offset, lambda value, bit: value | bit)


def btr(b: Context, base: Operand, offset: Operand) -> None:
    _change_bit(b, base, offset, lambda value, bit: value & ~bit)


def btc(b: Context, base: Operand, offset: Operand) -> None:
    _change_bit(b, base, offset, lambda value, bit: value ^ bit)


def _change_bit(b: Context, base: Operand, offset: Operand, change: Callable[[Value, Value], Value]) -> None:
    """CF = the bit as it was; the other flags are undefined but ZF: kept, as on all AMD and Intel processors."""
    holder, position = _select_bit(b, base, offset)
    value = holder.read_for_update()
    holder.write(change(value, b.const(1, value.ty) << position))
    flags.set_carry(b, (value >> position).trunc(1))


def popcnt(b: Context, dst: Operand, src: Operand) -> None:
    """POPCNT: ZF tells whether there was a bit; the other five flags are cleared, PF too (SDM vol. 2)."""
    value = src.read()
    dst.write(b.intrinsic("ctpop", value.ty, value))
    flags.only_zero(b, value == 0)


def crc32(b: Context, dst: Operand, src: Operand) -> None:
    """CRC32: a byte, word, doubleword or quadword more to the CRC by polynomial 11EDC6F41h in 32 bits (SDM vol. 2)."""
    value = src.read()
    wide = value.width == 64
    suffix, checksum = {8: "b", 16: "w", 32: "l", 64: "q"}[value.width], dst.read().resize(64 if wide else 32)
    added = b.asm(f"crc32{suffix} $2, $0", "=r,0,r", checksum.ty, checksum, value)
    dst.write(added.resize(dst.width))


def bsf(b: Context, dst: Operand, src: Operand) -> None:
    value = src.read()
    _finish_scan(b, dst, value, b.intrinsic("cttz", value.ty, value, "i1 1"))


def bsr(b: Context, dst: Operand, src: Operand) -> None:
    value = src.read()
    leading = b.intrinsic("ctlz", value.ty, value, "i1 1")
    _finish_scan(b, dst, value, leading ^ (value.width - 1))


def _finish_scan(b: Context, dst: Operand, value: Value, index: Value) -> None:
    """ZF = nothing found, which leaves dst alone (documented by AMD, true everywhere). The other flags are undefined;
    on Zen PF is the index's and the rest is clear."""
    nothing = value == 0
    if b.long:  # its upper half too
        with b.If(~nothing):
            dst.write(index)
    else:
        dst.write(b.select(nothing, dst.read(), index))
    # any result with this ZF and PF and no sign: 0 if nothing was found, else the index with a bit above its byte
    shown = b.select(nothing, b.const(0, 32), index.resize(32) | 0x100)
    flags.result_with(b, shown, b.const(0, 1), b.const(0, 1))
