"""PUSHF, POPF, CLI and STI: EFLAGS under CPL and IOPL (SDM vol. 2; vol. 3A 6.8.1). The virtual IF lives in the state.

Room for later: virtual-8086 mode and CR4.VME/PVI give these other meanings.
"""

from __future__ import annotations

from bt.x86 import flags
from bt.x86.context import GP, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.system.returns import load_flags, loadable_flags
from bt.x86.system.segment_load import current_privilege_level


def _require_iopl(b: Context) -> None:
    iopl = (b.get("eflags_system", width=32) & flags.IOPL) >> flags.IOPL_SHIFT
    b.fault_if(current_privilege_level(b).ugt(iopl), GP, 0)


def _go_on_afresh(b: Context) -> None:
    b.put("eip", b.next_eip())
    b.resume()


def pushf(b: Context) -> None:
    """PUSHF: RF and VM read as zero."""
    image = flags.read_eflags(b) & ~(flags.RF | flags.VM)
    b.push(image.trunc(b.operand_size))


def popf(b: Context) -> None:
    """POPF: what CPL and IOPL do not allow keeps its value without a fault, IF among it."""
    image = b.pop(b.operand_size).zext(32)
    before = b.get("eflags_system", width=32)
    load_flags(b, image, loadable_flags(b, b.const(b.operand_size, 32)))
    changed = before ^ b.get("eflags_system", width=32)
    with b.Unlikely((changed & (flags.TF | flags.IF | flags.AC)) != 0):
        b.attempt(UPDATE_MODE, b.cpu)
        _go_on_afresh(b)


def cli(b: Context) -> None:
    _require_iopl(b)
    b.put("eflags_system", b.get("eflags_system") & ~flags.IF)


def sti(b: Context) -> None:
    """STI: if IF was clear, no interrupt comes before the next instruction has run."""
    _require_iopl(b)
    system = b.get("eflags_system")
    with b.If((system & flags.IF) == 0):
        b.put("eflags_system", system | flags.IF)
        b.put("inhibit", b.icount())
        _go_on_afresh(b)
