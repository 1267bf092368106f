"""PUSHF, POPF, CLI and STI: EFLAGS under CPL and IOPL (SDM vol. 2; vol. 3A 6.8.1). The virtual IF lives in the state.

Where IOPL forbids, CR4.VME and CR4.PVI let CLI and STI act on VIF; VME has PUSHF and POPF see it too.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import GP, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.system.interrupts.virtual_8086 import (
    lacks_iopl,
    load_virtual_flags,
    require_virtual_interrupts,
    virtual_image,
)
from bt.x86.system.operating_mode import in_protected_mode, in_virtual_8086_mode
from bt.x86.system.registers.control_registers import (
    CR4_PVI,
    CR4_VME,
)
from bt.x86.system.registers.eflags import (
    has_iopl,
    load_flags,
    loadable_flags,
)
from bt.x86.system.segmentation.segment_load import current_privilege_level


def _acts_on_vif(b: Context) -> Value:
    """Whether CLI and STI below IOPL change VIF instead of raising #GP(0), i1."""
    cr4 = b.get("cr4", width=32)
    program = in_protected_mode(b) & (current_privilege_level(b) == 3) & ((cr4 & CR4_PVI) != 0)
    return program | (in_virtual_8086_mode(b) & ((cr4 & CR4_VME) != 0))


def _go_on_afresh(b: Context) -> None:
    b.put("eip", b.next_eip())
    b.resume()


def pushf(b: Context) -> None:
    """PUSHF: RF and VM read as zero."""
    image = b.local(32, flags.read_eflags(b) & ~(flags.RF | flags.VM))
    with b.Unlikely(lacks_iopl(b)):
        require_virtual_interrupts(b, b.operand_size)
        image.set(virtual_image(b, image.get()))
    b.push(image.get().resize(b.operand_size))


def popf(b: Context) -> None:
    """POPF: what CPL and IOPL do not allow keeps its value without a fault, IF among it."""
    virtual = lacks_iopl(b)
    with b.Unlikely(virtual):
        require_virtual_interrupts(b, b.operand_size)
    image = b.stack_read(0, b.operand_size).resize(32)
    before = b.get("eflags_system", width=32)
    mask = loadable_flags(b, b.const(min(b.operand_size, 32), 32))
    with b.IfElse(virtual) as owner:
        with owner.then():
            load_virtual_flags(b, image, mask)
        with owner.otherwise():
            load_flags(b, image, mask)
    b.set_stack_pointer(b.stack_pointer() + b.operand_size // 8)
    changed = before ^ b.get("eflags_system", width=32)
    with b.Unlikely((changed & (flags.TF | flags.IF | flags.AC)) != 0):
        b.attempt(UPDATE_MODE, b.cpu)
        _go_on_afresh(b)


def cli(b: Context) -> None:
    owner = has_iopl(b)
    with b.Unlikely(~owner):
        b.fault_if(~_acts_on_vif(b), GP, 0)
    cleared = b.select(owner, b.const(flags.IF, 64), flags.VIF)
    b.put("eflags_system", b.get("eflags_system") & ~cleared)


def sti(b: Context) -> None:
    """STI: if IF was clear, no interrupt comes before the next instruction has run."""
    system = b.get("eflags_system")
    with b.IfElse(has_iopl(b)) as owner:
        with owner.then(), b.If((system & flags.IF) == 0):
            b.put("eflags_system", system | flags.IF)
            b.put("inhibit", b.icount())
            _go_on_afresh(b)
        with owner.otherwise():
            b.fault_if(~_acts_on_vif(b) | ((system & flags.VIP) != 0), GP, 0)
            b.put("eflags_system", system | flags.VIF)
