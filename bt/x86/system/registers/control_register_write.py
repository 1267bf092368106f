"""Writes of control and debug registers: what is refused, what must be forgotten after (SDM vol. 3A 2.5, 4.10.4)."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import DB, GP, OK, UD, Context
from bt.x86.mode_update import forget_branches
from bt.x86.services import FLUSH_TLB, UPDATE_MODE
from bt.x86.state import ATTR_LONG, CS
from bt.x86.system.interrupts.breakpoints import report_debug_exception
from bt.x86.system.operating_mode import in_64_bit_mode, is_long_mode
from bt.x86.system.paging.pae_paging import (
    LOAD_PAGE_DIRECTORY_BASE,
    LOAD_PDPTES,
)
from bt.x86.system.registers import control_registers as cr
from bt.x86.system.registers.task_priority import write_task_priority
from bt.x86.system.segmentation.descriptor import require_cpl_0

# number, value
WRITE_CONTROL_REGISTER = native("write_control_register", PTR, "i32", "i64")
# number, value
WRITE_DEBUG_REGISTER = native("write_debug_register", PTR, "i32", "i64")
# number; answers in memory_value
READ_DEBUG_REGISTER = native("read_debug_register", PTR, "i32")


def _write_cr0(b: Context, value: Value) -> None:
    """Setting and clearing PE leaves all segment registers as they are (SDM vol. 3A 10.9).

    With EFER.LME paging is long mode, which is entered and left by PG (SDM vol. 3A 10.8.5).
    """
    b.fault_if((value >> 32) != 0, GP, 0)
    value = value.trunc(32)
    paging_unprotected = (value & (cr.CR0_PG | cr.CR0_PE)) == cr.CR0_PG
    write_through_uncached = (value & (cr.CR0_NW | cr.CR0_CD)) == cr.CR0_NW
    b.fault_if(paging_unprotected | write_through_uncached, GP, 0)
    old = b.get("cr0", width=32)
    new = (value & cr.CR0_DEFINED) | cr.CR0_ET  # reserved bits are ignored, ET is wired to 1
    with b.Unlikely((((old ^ new) & cr.CR0_PG) != 0) & ((b.get("efer", width=32) & cr.EFER_LME) != 0)):
        _change_long_mode(b, new)
    with b.If(((old ^ new) & cr.CR0_RELOADING) != 0):
        b.attempt(LOAD_PDPTES, b.cpu, b.get("cr3"), new, b.get("cr4", width=32))
    b.put("cr0", new)
    with b.If(((old ^ new) & cr.CR0_PAGING) != 0):
        b.attempt(FLUSH_TLB, b.cpu, 1)
    b.attempt(UPDATE_MODE, b.cpu)


def _change_long_mode(b: Context, new: Value) -> None:
    """CR0 becomes `new` (i32), whose PG is another, with EFER.LME set."""
    is_64_bit_code = (b.get_segment(CS, "attributes", width=32) & ATTR_LONG) != 0
    without_pae = (b.get("cr4", width=32) & cr.CR4_PAE) == 0
    with b.IfElse((new & cr.CR0_PG) != 0) as way:
        with way.then():
            b.fault_if(without_pae | is_64_bit_code, GP, 0)
            b.put("efer", b.get("efer") | cr.EFER_LMA)
            forget_branches(b)
        with way.otherwise():
            b.fault_if(in_64_bit_mode(b), GP, 0)
            b.attempt(FLUSH_TLB, b.cpu, 1)  # the tables of 64-bit mode too
            b.put("efer", b.get("efer") & ~cr.EFER_LMA)


def _write_cr4(b: Context, value: Value) -> None:
    """PAE stays set in long mode (SDM vol. 3A 2.5)."""
    b.fault_if((value & ~b.get("cr4_allowed")) != 0, GP, 0)
    value = value.trunc(32)
    b.fault_if(is_long_mode(b) & ((value & cr.CR4_PAE) == 0), GP, 0)
    old = b.get("cr4", width=32)
    with b.If(((old ^ value) & cr.CR4_PAGING) != 0):
        b.attempt(LOAD_PDPTES, b.cpu, b.get("cr3"), b.get("cr0", width=32), value)
    b.put("cr4", value)
    with b.If(((old ^ value) & cr.CR4_PAGING) != 0):
        b.attempt(FLUSH_TLB, b.cpu, 1)
    b.attempt(UPDATE_MODE, b.cpu)


def _write_control_register(b: Context) -> None:
    cpu, number, value = b.arguments
    with b.Switch(number) as which:
        with which.case(0):
            _write_cr0(b, value)
        with which.case(2):
            b.put("cr2", value)
        with which.case(3):
            b.attempt(LOAD_PAGE_DIRECTORY_BASE, cpu, value)
            b.attempt(FLUSH_TLB, cpu, 0)
        with which.case(4):
            _write_cr4(b, value)
        with which.case(8):
            write_task_priority(b, value)


def _debug_register(b: Context, number: Value) -> Value:
    """The register that `number` names, i32: 4 and 5 are aliases of 6 and 7 unless CR4.DE makes them #UD.

    That comes before #GP(0) outside level 0, and last: with DR7.GD set any access is a debug exception (SDM vol. 3B
    17.2.4).
    """
    is_alias = (number & 6) == 4
    b.fault_if(is_alias & ((b.get("cr4", width=32) & cr.CR4_DE) != 0), UD)
    require_cpl_0(b)
    with b.Unlikely((b.get("dr", 7, width=32) & cr.DR7_GD) != 0):
        report_debug_exception(b, cr.DR6_BD)
        b.put("pushed_resume_flag", 1)  # it is a fault, unlike other #DB
        b.fault(DB)
    return number | b.select(is_alias, b.const(2, 32), 0)


def _debug_slot(b: Context, number: Value) -> Value:
    return b.slot("dr") + (number << 3)


def _read_debug_register(b: Context) -> None:
    _, number = b.arguments
    b.put("memory_value", b.load(_debug_slot(b, _debug_register(b, number)), 64))


def _write_debug_register(b: Context) -> None:
    _, number, value = b.arguments
    number = _debug_register(b, number)
    slot = _debug_slot(b, number)
    with b.If(number.ult(6)):
        b.store(slot, value)  # canonical or not (SDM vol. 3B 18.2.6)
        b.ret(OK)
    b.fault_if((value >> 32) != 0, GP, 0)
    value = value.trunc(32)
    status = (value & cr.DR6_WRITABLE) | cr.DR6_FIXED
    control = (value & cr.DR7_WRITABLE) | cr.DR7_FIXED
    b.store(slot, b.select(number == 6, status, control).zext(64))
    b.attempt(UPDATE_MODE, b.cpu)


RUNTIME = (
    (WRITE_CONTROL_REGISTER, _write_control_register),
    (WRITE_DEBUG_REGISTER, _write_debug_register),
    (READ_DEBUG_REGISTER, _read_debug_register),
)
