"""PUSH POP PUSHA POPA ENTER LEAVE (SDM vol. 2, vol. 1 chapter 6).

Every one of them restarts after a fault: the stack pointer changes when all accesses have succeeded. Offsets into the
stack wrap at 64 KiB when SS.B = 0, whatever the operand size.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86.context import GP, Context, Operand
from bt.x86.state import EAX, EBP, EBX, ECX, EDI, EDX, ESI, ESP, SS
from bt.x86.system.operating_mode import has_8086_segments

_ALL_PUSHED = (EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI)
_MAX_NESTING = 31


def push(b: Context, src: Operand) -> None:
    """PUSH: PUSH ESP pushes the value ESP had before."""
    b.push(src.read())


def pop(b: Context, dst: Operand) -> None:
    """POP: an address with ESP as its base sees ESP already incremented; POP ESP is not incremented afterwards."""
    size = b.operand_size // 8
    value = b.stack_read(0, b.operand_size)
    top = b.stack_pointer() + size
    if dst.is_memory:
        b.stack_bias = size
        dst.write(value)
        b.stack_bias = 0
        b.set_stack_pointer(top)
    else:
        b.set_stack_pointer(top)
        dst.write(value)


def _write_below(b: Context, top: Value, mask: Value, number: int, value: Value) -> None:
    """Store the `number`-th element of the value's width (from 1) below `top`."""
    b.write_memory(SS, (top - number * value.width // 8) & mask, value)


def pusha(b: Context) -> None:
    """PUSHA, PUSHAD: the ESP pushed is the one before."""
    width, mask, top = b.operand_size, b.stack_mask(), b.reg(ESP)
    with b.Unlikely(has_8086_segments(b)):
        # no room, and the one place where that is #GP and not #SS (SDM vol. 2 PUSHA, the exceptions of these modes)
        pointer = top & mask
        b.fault_if(((pointer & 1) != 0) & (pointer - 7).ule(15 - 7), GP, 0)
    for number, register in enumerate(_ALL_PUSHED, 1):
        _write_below(b, top, mask, number, b.reg(register, width))
    b.set_stack_pointer(top - len(_ALL_PUSHED) * width // 8)


def popa(b: Context) -> None:
    """POPA, POPAD: the ESP on the stack is skipped."""
    width, top = b.operand_size, b.reg(ESP)
    values = {
        register: b.stack_read(place * width // 8, width)
        for place, register in enumerate(reversed(_ALL_PUSHED))
        if register != ESP
    }
    for register, value in values.items():
        b.set_reg(register, value)
    b.set_stack_pointer(top + len(_ALL_PUSHED) * width // 8)


def enter(b: Context, allocation: Operand, nesting: Operand) -> None:
    """ENTER: push EBP, copy the frame pointers of the enclosing procedures, make a frame of `allocation` bytes."""
    width, mask, top = b.operand_size, b.stack_mask(), b.stack_pointer()
    size = width // 8
    level = nesting.read().zext(b.address_width) & _MAX_NESTING
    _write_below(b, top, mask, 1, b.reg(EBP, width))
    frame = ((top - size) & mask) | (top & ~mask)

    pushed = b.local(b.address_width, size)  # bytes below the old top
    with b.If(level != 0):
        with b.Range(level, 1) as outer:
            distance = outer * size  # below EBP, and one more below the top
            pointer = b.read_memory(SS, (b.reg(EBP, b.address_width) - distance) & mask, width)
            b.write_memory(SS, (top - distance - size) & mask, pointer)
        pushed.set((level + 1) * size)
        b.write_memory(SS, (top - pushed.get()) & mask, frame.trunc(width))

    new_top = top - pushed.get() - allocation.read().zext(b.address_width)
    # ENTER faults where a write to the new top of the stack would, without writing (SDM vol. 2, ENTER)
    b.commit_update(b.update_pointer(SS, new_top & mask, width))
    b.set_stack_pointer(new_top)
    b.set_reg(EBP, frame.trunc(width))


def leave(b: Context) -> None:
    """LEAVE: the stack pointer goes back to the frame, then the caller's frame pointer is popped."""
    frame = b.reg(EBP, b.address_width)
    caller = b.read_memory(SS, frame & b.stack_mask(), b.operand_size)
    b.set_stack_pointer(frame + b.operand_size // 8)
    b.set_reg(EBP, caller)
