"""Data movement: MOV and its relatives, exchanges, conversions, conditional moves, LEA, XLAT, NOP (SDM vol. 2)."""

from __future__ import annotations

from bt.x86 import flags
from bt.x86.context import Context, MemoryOperand, Operand
from bt.x86.state import EAX, EBX, EDX


def mov(b: Context, dst: Operand, src: Operand) -> None:
    dst.write(src.read())


def movbe(b: Context, dst: Operand, src: Operand) -> None:
    """MOVBE: the bytes in the other order; a register's upper half stays with 16-bit operand size."""
    value = src.read()
    dst.write(b.intrinsic("bswap", value.ty, value))


def movzx(b: Context, dst: Operand, src: Operand) -> None:
    dst.write(src.read().zext(dst.width))


def movsx(b: Context, dst: Operand, src: Operand) -> None:
    dst.write(src.read().sext(dst.width))


def xchg(b: Context, dst: Operand, src: Operand) -> None:
    incoming = src.read()
    outgoing = dst.read_for_update()
    dst.write(incoming)  # memory, where there is any
    src.write(outgoing)


def lea(b: Context, dst: Operand, src: MemoryOperand) -> None:
    """LEA: the offset cut to or extended to the operand size, whatever the address size."""
    dst.write(src.offset().resize(dst.width))


def cbw(b: Context) -> None:
    """CBW, CWDE, CDQE: sign-extend AL to AX, AX to EAX, EAX to RAX."""
    b.set_reg(EAX, b.reg(EAX, b.operand_size // 2).sext(b.operand_size))


def cwd(b: Context) -> None:
    """CWD, CDQ, CQO: DX, EDX or RDX = the sign of AX, EAX or RAX."""
    b.set_reg(EDX, b.reg(EAX, b.operand_size).sar(b.operand_size - 1))


def bswap(b: Context, dst: Operand) -> None:
    """BSWAP: undefined with 16-bit operand size, where processors clear the register."""
    if dst.width == 16:
        dst.write(b.const(0, 16))
        return
    value = dst.read()
    dst.write(b.intrinsic("bswap", value.ty, value))


def xlat(b: Context) -> None:
    """XLAT: AL = byte at DS:[(E)BX + AL]; DS may be overridden."""
    offset = (b.reg(EBX, b.address_width) + b.reg(EAX, 8).zext(b.address_width)) & b.address_mask()
    b.set_reg(EAX, b.read_memory(b.source_segment(), offset, 8))


def salc(b: Context) -> None:
    """SALC (undocumented): AL = CF ? FF : 0."""
    b.set_reg(EAX, flags.carry(b).sext(8))


def setcc(b: Context, dst: Operand) -> None:
    dst.write(flags.condition(b, b.condition_code).zext(8))


def cmovcc(b: Context, dst: Operand, src: Operand) -> None:
    """CMOVcc: the source is read, and may fault, whatever the condition."""
    value = src.read()
    dst.write(b.select(flags.condition(b, b.condition_code), value, dst.read()))


def nop(b: Context, *operands: Operand) -> None:
    """NOP, prefetches, fences, reserved hints: operands are not accessed."""
