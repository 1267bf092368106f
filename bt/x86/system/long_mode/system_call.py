"""SYSCALL and SYSRET, and what SYSENTER and SYSEXIT are in long mode (SDM vol. 3A 5.8.7, 5.8.8; vol. 2).

As on Intel's processors: SYSCALL and SYSRET are #UD outside 64-bit mode, SYSRET to an address that is not canonical is
#GP(0) at level 0.
"""

from __future__ import annotations

from typing import Literal

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, OK, UD, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CS, ECX, EDX, ESP, SS
from bt.x86.system.long_mode.canonical import is_canonical
from bt.x86.system.operating_mode import in_64_bit_mode
from bt.x86.system.registers.control_registers import EFER_SCE
from bt.x86.system.registers.eflags import load_flags
from bt.x86.system.segmentation.descriptor_table import BIG, DPL_SHIFT, LONG, SET_SEGMENT
from bt.x86.system.segmentation.segment_load import current_privilege_level

SYSCALL = native("syscall", PTR, "i64")  # RIP to return to
SYSRET = native("sysret", PTR, "i32")  # operand size in bits
# SYSENTER_CS has been checked.
LONG_SYSENTER = native("long_sysenter", PTR)
LONG_SYSEXIT = native("long_sysexit", PTR, "i32")  # operand size in bits

_R11 = 11
# Flat descriptors of level 0 that no table has: present, accessed, readable code, writable data (high dwords)
_LOW, _DATA = 0x0000_FFFF, 0x00CF_9300
_CODE_32, _CODE_64 = 0x00CF_9B00, 0x00CF_9B00 & ~BIG | LONG
_LOADED_BY_SYSRET = 0x3C_7FD7


def _enter(b: Context, code: Value, stack: Value, rip: Value, level: int, *, is_long: Value | Literal[True]) -> None:
    """Load CS and SS (selectors i32), level and RIP."""
    dpl = level << DPL_SHIFT
    wide = b.const(1, 1) if is_long is True else is_long
    kind = b.select(wide, b.const(_CODE_64, 32), _CODE_32)
    b.attempt(SET_SEGMENT, b.cpu, CS, code & 0xFFFF, _LOW, kind | dpl)
    b.attempt(SET_SEGMENT, b.cpu, SS, stack & 0xFFFF, _LOW, _DATA | dpl)
    b.put("cpl", level)
    b.put("eip", rip)
    b.attempt(UPDATE_MODE, b.cpu)


def _require_enabled(b: Context) -> None:
    b.fault_if(~in_64_bit_mode(b) | ((b.get("efer", width=32) & EFER_SCE) == 0), UD)


def _syscall(b: Context) -> None:
    _, return_rip = b.arguments
    _require_enabled(b)
    image = flags.read_eflags(b) & ~flags.RF
    b.set_reg(ECX, return_rip)
    b.set_reg(_R11, image.zext(64))
    cleared = image & ~b.get("sfmask", width=32)
    load_flags(b, cleared, b.const(flags.DEFINED, 32))
    selector = (b.get("star") >> 32).trunc(32) & 0xFFFC
    _enter(b, selector, selector + 8, b.get("lstar"), 0, is_long=True)


def _sysret(b: Context) -> None:
    _, width = b.arguments
    _require_enabled(b)
    b.fault_if(current_privilege_level(b) != 0, GP, 0)
    wide, rcx = width == 64, b.reg(ECX, 64)
    b.fault_if(wide & ~is_canonical(rcx), GP, 0)
    image = b.reg(_R11, 64).trunc(32) & _LOADED_BY_SYSRET
    load_flags(b, image, b.const(flags.DEFINED, 32))
    base = (b.get("star") >> 48).trunc(32)
    code = b.select(wide, base + 16, base) | 3
    _enter(b, code, (base + 8) | 3, b.select(wide, rcx, rcx & 0xFFFF_FFFF), 3, is_long=wide)


def _long_sysenter(b: Context) -> None:
    selector = b.get("sysenter_cs", width=32) & 0xFFFC
    b.put("eflags_system", b.get("eflags_system", width=32) & ~(flags.IF | flags.VM | flags.RF))
    b.set_reg(ESP, b.get("sysenter_esp"))
    _enter(b, selector, selector + 8, b.get("sysenter_eip"), 0, is_long=True)


def _long_sysexit(b: Context) -> None:
    _, width = b.arguments
    wide, rip, rsp = width == 64, b.reg(EDX, 64), b.reg(ECX, 64)
    b.fault_if(wide & ~(is_canonical(rip) & is_canonical(rsp)), GP, 0)
    selector = b.get("sysenter_cs", width=32) & 0xFFFC
    code = selector + b.select(wide, b.const(32, 32), 16)
    mask = b.select(wide, b.const(-1, 64), 0xFFFF_FFFF)
    b.set_reg(ESP, rsp & mask)
    _enter(b, code | 3, (code + 8) | 3, rip & mask, 3, is_long=wide)
    b.ret(OK)


RUNTIME = (
    (SYSCALL, _syscall),
    (SYSRET, _sysret),
    (LONG_SYSENTER, _long_sysenter),
    (LONG_SYSEXIT, _long_sysexit),
)
