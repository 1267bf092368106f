"""AND OR XOR TEST NOT (SDM vol. 2)."""

from __future__ import annotations

from bt.x86 import flags
from bt.x86.context import Context, Operand


def and_(b: Context, dst: Operand, src: Operand) -> None:
    c = src.read()
    result = dst.read_for_update() & c
    dst.write(result)
    flags.logic(b, result)


def or_(b: Context, dst: Operand, src: Operand) -> None:
    c = src.read()
    result = dst.read_for_update() | c
    dst.write(result)
    flags.logic(b, result)


def xor(b: Context, dst: Operand, src: Operand) -> None:
    c = src.read()
    result = dst.read_for_update() ^ c
    dst.write(result)
    flags.logic(b, result)


def test(b: Context, dst: Operand, src: Operand) -> None:
    c = src.read()
    flags.logic(b, dst.read() & c)


def not_(b: Context, dst: Operand) -> None:
    """NOT: no flag changes."""
    dst.write(~dst.read_for_update())
