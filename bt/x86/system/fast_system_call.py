"""SYSENTER and SYSEXIT: flat segments made from nothing but SYSENTER_CS (SDM vol. 3A 5.8.7)."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CS, ECX, EDX, ESP, SS
from bt.x86.system.registers.control_registers import CR0_PE
from bt.x86.system.segmentation.descriptor_table import (
    DPL_SHIFT,
    SET_SEGMENT,
    is_null,
)
from bt.x86.system.segmentation.segment_load import current_privilege_level

SYSTEM_CALL_ENTER = native("system_call_enter", PTR)
SYSTEM_CALL_EXIT = native("system_call_exit", PTR)

# Descriptors with base 0, limit 4 GiB, 32-bit, present, accessed, DPL 0
FLAT_LOW = 0x0000_FFFF
FLAT_CODE_HIGH, FLAT_STACK_HIGH = 0x00CF_9B00, 0x00CF_9300

# Selectors relative to SYSENTER_CS
STACK_0, CODE_3, STACK_3 = 8, 16, 24


def _enter_level(b: Context, level: int, code: Value, stack: Value, eip: Value, esp: Value) -> None:
    dpl = level << DPL_SHIFT
    b.attempt(SET_SEGMENT, b.cpu, CS, code | level, FLAT_LOW, FLAT_CODE_HIGH | dpl)
    b.attempt(SET_SEGMENT, b.cpu, SS, stack | level, FLAT_LOW, FLAT_STACK_HIGH | dpl)
    b.set_reg(ESP, esp)
    b.put("eip", eip)
    b.put("cpl", level)
    b.attempt(UPDATE_MODE, b.cpu)


def _system_call_enter(b: Context) -> None:
    selector = b.get("sysenter_cs", width=32) & 0xFFFF
    b.fault_if(((b.get("cr0", width=32) & CR0_PE) == 0) | is_null(selector), GP, 0)
    selector = selector & 0xFFFC
    b.put("eflags_system", b.get("eflags_system", width=32) & ~(flags.IF | flags.VM | flags.RF))
    eip, esp = b.get("sysenter_eip", width=32), b.get("sysenter_esp", width=32)
    _enter_level(b, 0, selector, (selector + STACK_0) & 0xFFFF, eip, esp)


def _system_call_exit(b: Context) -> None:
    selector = b.get("sysenter_cs", width=32) & 0xFFFF
    refused = ((b.get("cr0", width=32) & CR0_PE) == 0) | is_null(selector) | (current_privilege_level(b) != 0)
    b.fault_if(refused, GP, 0)
    selector = selector & 0xFFFC
    code, stack = (selector + CODE_3) & 0xFFFF, (selector + STACK_3) & 0xFFFF
    _enter_level(b, 3, code, stack, b.reg(EDX), b.reg(ECX))


RUNTIME = ((SYSTEM_CALL_ENTER, _system_call_enter), (SYSTEM_CALL_EXIT, _system_call_exit))
