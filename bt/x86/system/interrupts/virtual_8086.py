"""Virtual-8086 mode: the ways in and around, and CR4.VME's virtual interrupt flag (SDM vol. 3B, 8086 emulation).

With IOPL 3 the program owns IF. Below that CLI, STI, PUSHF, POPF, INT n and IRET are #GP(0) for the monitor to emulate;
unless CR4.VME is set: then they act on VIF, in their 16-bit forms, and the TSS has a bitmap that says which INT n go
through the program's own vector table. The way out is interrupt_delivery.py's.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, OK, Context
from bt.x86.services import DELIVER_INTERRUPT, INT_SOFTWARE, UPDATE_MODE
from bt.x86.state import CS, DS, ES, ESP, FS, GS, LIMIT_8086, SS, TR
from bt.x86.system.interrupts.real_mode import (
    CLEARED,
    VECTOR_TABLE_INTERRUPT,
)
from bt.x86.system.operating_mode import in_virtual_8086_mode
from bt.x86.system.registers.control_registers import CR4_VME
from bt.x86.system.registers.eflags import (
    has_iopl,
    load_flags,
    loadable_flags,
)
from bt.x86.system.segmentation.segment_8086 import (
    LOAD_8086_SEGMENT,
    check_offset,
)
from bt.x86.system.segmentation.stack import stack_value
from bt.x86.system.tasks.task_state import (
    IO_MAP_BASE,
    is_32_bit,
)

# INT n in protected and virtual-8086 mode: vector, EIP to return to.
SOFTWARE_INTERRUPT = native("software_interrupt", PTR, "i32", "i64")
# IRET to virtual-8086 mode, from level 0 with a 32-bit operand and VM in the image.
ENTER_VIRTUAL_8086 = native("enter_virtual_8086", PTR)
# IRET in real and virtual-8086 mode: operand size in bits.
INTERRUPT_RETURN_8086 = native("interrupt_return_8086", PTR, "i32")

REDIRECTION_MAP_BYTES = 32  # a bit for each vector, right below the I/O permission bitmap
VECTOR_TABLE_LAST = 0x3FF
_SYSTEM_FLAGS = flags.DEFINED & ~flags.ARITHMETIC & ~flags.RF


def lacks_iopl(b: Context) -> Value:
    """Virtual-8086 mode with IOPL below 3, i1."""
    return in_virtual_8086_mode(b) & ~has_iopl(b)


def require_virtual_interrupts(b: Context, width: Value | int) -> None:
    """#GP(0) where `lacks_iopl`, unless CR4.VME makes the 16-bit form of the instruction act on VIF."""
    available = (b.get("cr4", width=32) & CR4_VME) != 0
    if isinstance(width, int):
        b.fault_if(b.const(1, 1) if width == 32 else ~available, GP, 0)
    else:
        b.fault_if((width == 32) | ~available, GP, 0)


def virtual_image(b: Context, image: Value) -> Value:
    """The EFLAGS image that the program sees: IOPL 3, and VIF in the place of IF."""
    virtual_if = b.select((image & flags.VIF) != 0, b.const(flags.IF, 32), 0)
    return (image & ~flags.IF) | flags.IOPL | virtual_if


def load_virtual_flags(b: Context, image: Value, mask: Value) -> None:
    """Load a 16-bit image with IF going to VIF; `mask` as for `load_flags`. Refused: #GP(0), nothing changed."""
    check_virtual_flags(b, image)
    load_flags(b, image, mask & ~flags.IF)
    set_virtual_interrupt_flag(b, (image & flags.IF) != 0)


def check_virtual_flags(b: Context, image: Value) -> None:
    """The monitor wants to hear of TF, and of interrupts enabled while one is pending."""
    pending = (b.get("eflags_system", width=32) & flags.VIP) != 0
    b.fault_if(((image & flags.TF) != 0) | (pending & ((image & flags.IF) != 0)), GP, 0)


def set_virtual_interrupt_flag(b: Context, value: Value) -> None:
    system = b.get("eflags_system", width=32) & ~flags.VIF
    b.put("eflags_system", system | b.select(value, b.const(flags.VIF, 32), 0))


def _is_redirected(b: Context, vector: Value) -> Value:
    """Whether the bitmap sends INT n to the program's own handler, i1."""
    base, limit = b.get_segment(TR, "base", width=32), b.get_segment(TR, "limit")
    b.fault_if(~is_32_bit(b) | limit.ult(IO_MAP_BASE + 1), GP, 0)
    at = b.read_linear(base + IO_MAP_BASE, 16, system=True).zext(32) - REDIRECTION_MAP_BYTES + (vector >> 3)
    b.fault_if(at.zext(64).ugt(limit), GP, 0)
    return ((b.read_linear(base + at, 8, system=True).zext(32) >> (vector & 7)) & 1) == 0


def _software_interrupt(b: Context) -> None:
    cpu, vector, return_eip = b.arguments
    with b.If(in_virtual_8086_mode(b)):
        owner = has_iopl(b)
        with b.If((b.get("cr4", width=32) & CR4_VME) != 0), b.If(_is_redirected(b, vector)):
            image = flags.read_eflags(b)
            shown = b.select(owner, image, virtual_image(b, image))
            cleared = b.select(owner, b.const(CLEARED, 32), CLEARED & ~flags.IF | flags.VIF)
            table = b.const(0, 32)
            last = b.const(VECTOR_TABLE_LAST, 64)
            b.ret(b.call(VECTOR_TABLE_INTERRUPT, cpu, vector, table, last, return_eip.trunc(32), shown, cleared))
        b.fault_if(~owner, GP, 0)
    b.attempt(DELIVER_INTERRUPT, cpu, vector, INT_SOFTWARE, return_eip)


def _enter_virtual_8086(b: Context) -> None:
    (cpu,) = b.arguments
    dword = b.const(32, 32)
    eip, cs, image, esp, *selectors = (stack_value(b, b.const(4 * place, 32), dword) for place in range(9))
    b.fault_if(eip.ugt(LIMIT_8086), GP, 0)
    flags.write_arithmetic(b, image)
    b.put("eflags_system", image & _SYSTEM_FLAGS)
    b.put("loaded_resume_flag", (image & flags.RF) != 0)
    b.put("cpl", 3)
    b.put("eip", eip)
    for segment, selector in zip((CS, SS, ES, DS, FS, GS), (cs, *selectors), strict=True):
        b.attempt(LOAD_8086_SEGMENT, cpu, segment, selector & 0xFFFF)
    b.set_reg(ESP, esp)
    b.attempt(UPDATE_MODE, cpu)


def _interrupt_return_8086(b: Context) -> None:
    cpu, width = b.arguments
    virtual = lacks_iopl(b)
    with b.If(virtual):
        require_virtual_interrupts(b, width)
    size = width >> 3
    eip, selector, image = (stack_value(b, size * place, width) for place in range(3))
    check_offset(b, eip)
    mask = loadable_flags(b, width)
    with b.IfElse(virtual) as owner:
        with owner.then():
            load_virtual_flags(b, image, mask)
        with owner.otherwise():
            load_flags(b, image, mask)
    b.set_stack_pointer(b.reg(ESP) + size * 3)
    b.attempt(LOAD_8086_SEGMENT, cpu, CS, selector & 0xFFFF)
    b.put("eip", eip)
    b.put("loaded_resume_flag", (width == 32) & ((image & flags.RF) != 0))
    b.attempt(UPDATE_MODE, cpu)
    b.ret(OK)


RUNTIME = (
    (SOFTWARE_INTERRUPT, _software_interrupt),
    (ENTER_VIRTUAL_8086, _enter_virtual_8086),
    (INTERRUPT_RETURN_8086, _interrupt_return_8086),
)
