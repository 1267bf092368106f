"""Near control transfer and BOUND (SDM vol. 2).

A transfer beyond the limit of CS raises #GP(0) at the transferring instruction, so what commits more than EIP checks
the target first.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import BR, Context, MemoryOperand, Operand
from bt.x86.state import ECX, SS


def jmp(b: Context, target: Operand) -> None:
    b.jump(target.read())


def jmp_indirect(b: Context, target: Operand) -> None:
    b.jump(target.read().zext(b.address_width))


def jcc(b: Context, target: Operand) -> None:
    with b.If(flags.condition(b, b.condition_code)):
        b.jump(target.read())


def call(b: Context, target: Operand) -> None:
    _call(b, target.read())


def call_indirect(b: Context, target: Operand) -> None:
    _call(b, target.read().zext(b.address_width))


def _call(b: Context, target: Value) -> None:
    if b.long:  # Intel's processors store the address of return before they look where they go
        top = b.stack_pointer() - b.operand_size // 8
        b.write_memory(SS, top, b.next_eip())
        b.check_target(target)
        b.set_stack_pointer(top)
    else:
        b.check_target(target)
        b.push(b.next_eip().trunc(b.operand_size))
    b.jump(target)


def ret(b: Context, release: Operand | None = None) -> None:
    """RET, RET imm16: `release` bytes of arguments are dropped as well."""
    target = b.stack_read(0, b.operand_size).zext(b.address_width)
    b.check_target(target)
    top = b.stack_pointer() + b.operand_size // 8
    b.set_stack_pointer(top if release is None else top + release.read().zext(b.address_width))
    b.jump(target)


def loop(b: Context, target: Operand) -> None:
    _loop(b, target, None)


def loope(b: Context, target: Operand) -> None:
    _loop(b, target, flags.zero(b))


def loopne(b: Context, target: Operand) -> None:
    _loop(b, target, ~flags.zero(b))


def _loop(b: Context, target: Operand, condition: Value | None) -> None:
    """Count CX, ECX or RCX (by address size) down; jump if it is not 0 yet and the condition holds. No flag changes."""
    mask = b.address_mask()
    old = b.reg(ECX, b.address_width)
    left = (old - 1) & mask
    new = b.merged(old, left)
    taken = left != 0
    if condition is not None:
        taken = taken & condition
    with b.If(taken):
        where = target.read()
        b.check_target(where)
        b.set_reg(ECX, new)
        b.jump(where)
    b.set_reg(ECX, new)


def jcxz(b: Context, target: Operand) -> None:
    """JCXZ, JECXZ, JRCXZ by address size."""
    with b.If((b.reg(ECX, b.address_width) & b.address_mask()) == 0):
        b.jump(target.read())


def bound(b: Context, index: Operand, bounds: MemoryOperand) -> None:
    """BOUND: #BR unless lower bound <= index <= upper bound, signed; the bounds lie one after the other."""
    width = index.width
    value = index.read()
    lower, upper = bounds.read_at(0, width), bounds.read_at(width // 8, width)
    b.fault_if(value.slt(lower) | value.sgt(upper), BR)
