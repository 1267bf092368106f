"""SYSENTER and SYSEXIT: flat segments made from nothing but SYSENTER_CS (SDM vol. 3A 5.8.7)."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, OK, Context
from bt.x86.services import SWITCH_LEVEL, UPDATE_MODE
from bt.x86.state import CS, ECX, EDX, ESP, SS
from bt.x86.system.long_mode.system_call import LONG_SYSENTER, LONG_SYSEXIT
from bt.x86.system.operating_mode import is_long_mode
from bt.x86.system.registers.control_registers import CR0_PE
from bt.x86.system.segmentation.descriptor_table import (
    DPL_SHIFT,
    SET_SEGMENT,
    is_null,
)
from bt.x86.system.segmentation.flat_transfer import (
    FLAT_CODE_HIGH,
    FLAT_DATA_HIGH,
    FLAT_LOW,
    is_checked_for_users,
    is_flat,
    set_flat,
)
from bt.x86.system.segmentation.segment_load import current_privilege_level

SYSTEM_CALL_ENTER = native("system_call_enter", PTR)
SYSTEM_CALL_EXIT = native("system_call_exit", PTR, "i32")  # operand size in bits

# Selectors relative to SYSENTER_CS
STACK_0, CODE_3, STACK_3 = 8, 16, 24


def _enter_level(b: Context, level: int, code: Value, stack: Value, eip: Value, esp: Value) -> None:
    b.set_reg(ESP, esp)
    b.put("eip", eip)
    plain = is_flat(b)
    if level:
        plain = plain & ~is_checked_for_users(b, b.get("eflags_system", width=32))
    with b.If(plain):
        set_flat(b, CS, code | level, level)
        set_flat(b, SS, stack | level, level)
        b.put("cpl", level)
        b.attempt(SWITCH_LEVEL, b.cpu)
        b.ret(OK)
    dpl = level << DPL_SHIFT
    b.attempt(SET_SEGMENT, b.cpu, CS, code | level, FLAT_LOW, FLAT_CODE_HIGH | dpl)
    b.attempt(SET_SEGMENT, b.cpu, SS, stack | level, FLAT_LOW, FLAT_DATA_HIGH | dpl)
    b.put("cpl", level)
    b.attempt(UPDATE_MODE, b.cpu)


def _system_call_enter(b: Context) -> None:
    selector = b.get("sysenter_cs", width=32) & 0xFFFF
    b.fault_if(((b.get("cr0", width=32) & CR0_PE) == 0) | is_null(selector), GP, 0)
    selector = selector & 0xFFFC
    with b.If(is_long_mode(b)):
        b.ret(b.call(LONG_SYSENTER, b.cpu))
    b.put("eflags_system", b.get("eflags_system", width=32) & ~(flags.IF | flags.VM | flags.RF))
    eip, esp = b.get("sysenter_eip", width=32), b.get("sysenter_esp", width=32)
    _enter_level(b, 0, selector, (selector + STACK_0) & 0xFFFF, eip, esp)


def _system_call_exit(b: Context) -> None:
    selector = b.get("sysenter_cs", width=32) & 0xFFFF
    refused = ((b.get("cr0", width=32) & CR0_PE) == 0) | is_null(selector) | (current_privilege_level(b) != 0)
    b.fault_if(refused, GP, 0)
    selector = selector & 0xFFFC
    with b.If(is_long_mode(b)):
        b.ret(b.call(LONG_SYSEXIT, *b.arguments))
    code, stack = (selector + CODE_3) & 0xFFFF, (selector + STACK_3) & 0xFFFF
    _enter_level(b, 3, code, stack, b.reg(EDX), b.reg(ECX))


RUNTIME = ((SYSTEM_CALL_ENTER, _system_call_enter), (SYSTEM_CALL_EXIT, _system_call_exit))
