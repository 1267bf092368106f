"""The short way between levels 0 and 3 where all segments are flat: interrupts, exceptions and IRET of most systems.

Each function asks whether everything on the way is as it is nearly always, and can be accessed directly: gate, flat
descriptors already accessed, the stack within a page. Then nothing can fault, and CS and SS change in nothing but
selector and DPL. Otherwise it answers NOT_TAKEN, has changed nothing, and the long way that follows does all of it
(bt/x86/system/interrupts/interrupt_delivery.py, returns.py), with its faults in their order.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags, mode
from bt.x86.context import Context
from bt.x86.services import INT_SOFTWARE, SWITCH_LEVEL
from bt.x86.state import ATTR_DPL_SHIFT, CS, DS, ES, ESP, FS, GS, SS, TR
from bt.x86.system.operating_mode import is_long_mode
from bt.x86.system.registers.control_registers import CR0_AM, CR0_PE
from bt.x86.system.registers.eflags import (
    LOADED_ALWAYS,
    LOADED_AT_CPL_0,
    LOADED_BY_IRET_AT_CPL_0,
    LOADED_WITH_IOPL,
    load_flags,
)
from bt.x86.system.segmentation.descriptor_table import (
    DPL_SHIFT,
    SELECTOR_RPL,
    SELECTOR_TABLE,
    is_null,
)
from bt.x86.system.segmentation.segment_load import current_privilege_level
from bt.x86.system.tasks.task_state import ESP0_32, STACK_BYTES_32, is_32_bit

# An event, with the arguments of DELIVER_EVENT (interrupt_delivery.py); a 32-bit IRET. Answers TAKEN or NOT_TAKEN.
ENTER_FLAT = native("enter_flat", PTR, "i32", "i32", "i64", "i32", "i32", "i32")
RETURN_FLAT = native("return_flat", PTR)
NOT_TAKEN, TAKEN = 0, 1

# Descriptors with base 0, limit 4 GiB, 32-bit, present, accessed, DPL 0: readable code, writable data (high dwords)
FLAT_LOW = 0x0000_FFFF
FLAT_CODE_HIGH, FLAT_DATA_HIGH = 0x00CF_9B00, 0x00CF_9300
_HIGH = {CS: FLAT_CODE_HIGH, SS: FLAT_DATA_HIGH}
_USER = 3

# Of a gate's high dword: present, 32-bit, interrupt or trap gate; the bit that says which is not asked for
_GATE_BITS, _GATE, GATE_TRAP = 0x9E00, 0x8E00, 1 << 8
_FLAT_MODE = mode.CODE_32 | mode.STACK_32 | mode.FLAT_CS | mode.FLAT_SS | mode.BREAKPOINT_FREE
# EFLAGS bits that any event clears on its way in
CLEARED_BY_EVENTS = flags.TF | flags.NT | flags.RF | flags.VM
_LOADED = LOADED_ALWAYS | LOADED_WITH_IOPL | LOADED_AT_CPL_0 | LOADED_BY_IRET_AT_CPL_0
_SAME_LEVEL_BYTES, _OUTER_BYTES = 12, 20  # of a frame: EIP, CS and EFLAGS; ESP and SS behind them


def is_flat(b: Context) -> Value:
    """CS and SS are flat and of 32 bits, nobody watches addresses, and it is protected mode, not long mode, i1.

    That goes without saying in no case: when PE is cleared, segments stay as they are (SDM vol. 3A 10.9.2).
    """
    return ((b.get("mode") & _FLAT_MODE) == _FLAT_MODE) & ((b.get("cr0") & CR0_PE) != 0) & ~is_long_mode(b)


def is_checked_for_users(b: Context, eflags: Value) -> Value:
    """Whether accesses would be checked for alignment at CPL 3 with these EFLAGS (i32), i1."""
    return ((b.get("cr0", width=32) & CR0_AM) != 0) & ((eflags & flags.AC) != 0)


def set_flat(b: Context, segment: int, selector: Value, level: int) -> None:
    """Load CS or SS, which is flat, with another flat segment, of that DPL."""
    b.put_segment(segment, "selector", selector)
    b.put_segment(segment, "attributes", ((_HIGH[segment] | level << DPL_SHIFT) >> 8) & 0xF0FF)


def _require(b: Context, condition: Value) -> None:
    with b.Unlikely(~condition):
        b.ret(NOT_TAKEN)


def _read(b: Context, linear: Value, size: int = 8) -> Value:
    """Host pointer to what is to be read as the processor itself reads its tables."""
    hit, pointer = b.look_up(linear, size, write=False, system=True)
    _require(b, hit)
    return pointer()


def _require_flat(b: Context, segment: int, selector: Value, level: int | Value) -> None:
    """The selector (i32) must be of a flat segment of that DPL in the GDT."""
    _require(b, ~is_null(selector) & ((selector & SELECTOR_TABLE) == 0))
    _require(b, (selector | 7).zext(64).ule(b.get("gdtr_limit")))
    found = b.load(_read(b, b.get("gdtr_base", width=32) + (selector & 0xFFF8)), 64)
    wanted = _HIGH[segment] << 32 | FLAT_LOW
    dpl = level.zext(64) << (32 + DPL_SHIFT) if isinstance(level, Value) else level << (32 + DPL_SHIFT)
    _require(b, found == (b.const(wanted, 64) | dpl))


def _enter_flat(b: Context) -> None:
    _, vector, kind, return_eip, has_error, error_value, pushed_flags = b.arguments
    cpl = current_privilege_level(b)
    inner = cpl == _USER
    _require(b, is_flat(b) & (inner | (cpl == 0)))
    offset = vector << 3
    _require(b, (offset | 7).zext(64).ule(b.get("idtr_limit")))
    gate = b.load(_read(b, b.get("idtr_base", width=32) + offset), 64)
    low, high = gate.trunc(32), (gate >> 32).trunc(32)
    _require(b, (high & _GATE_BITS) == _GATE)
    _require(b, (kind != INT_SOFTWARE) | ((high >> DPL_SHIFT) & 3).uge(cpl))
    selector = low >> 16
    _require_flat(b, CS, selector, 0)

    pointer, stack = b.local(32, b.reg(ESP)), b.local(32)
    with b.If(inner):
        _require(b, is_32_bit(b) & b.get_segment(TR, "limit").uge(ESP0_32 + STACK_BYTES_32 - 1))
        found = b.load(_read(b, b.get_segment(TR, "base", width=32) + ESP0_32), 64)
        pointer.set(found.trunc(32))
        stack.set((found >> 32).trunc(32) & 0xFFFF)
        _require(b, (stack.get() & SELECTOR_RPL) == 0)
        _require_flat(b, SS, stack.get(), 0)
    outer_bytes = b.select(inner, b.const(_OUTER_BYTES - _SAME_LEVEL_BYTES, 32), 0)
    size = outer_bytes + (has_error << 2) + _SAME_LEVEL_BYTES
    top = pointer.get() - size
    hit, host = b.look_up(top, size, write=True, system=True)
    _require(b, hit)

    frame = b.local(PTR, host())
    with b.If(has_error != 0):
        b.store(frame.get(), error_value)
        frame.set(frame.get() + 4)
    items = [return_eip.trunc(32), b.get_segment(CS, "selector", width=32), flags.read_eflags(b) | pushed_flags]
    for place, item in enumerate(items):
        b.store(frame.get() + 4 * place, item)
    system = b.get("eflags_system", width=32) & ~CLEARED_BY_EVENTS
    b.put("eflags_system", b.select((high & GATE_TRAP) != 0, system, system & ~flags.IF))
    b.put("eip", (low & 0xFFFF) | (high & 0xFFFF_0000))
    b.put("inhibit", 0)
    set_flat(b, CS, selector & ~SELECTOR_RPL, 0)
    with b.If(inner):
        b.store(frame.get() + _SAME_LEVEL_BYTES, b.reg(ESP))
        b.store(frame.get() + _SAME_LEVEL_BYTES + 4, b.get_segment(SS, "selector", width=32))
        set_flat(b, SS, stack.get(), 0)
        b.put("cpl", 0)
        b.attempt(SWITCH_LEVEL, b.cpu)
    b.set_reg(ESP, top)
    b.ret(TAKEN)


def _return_flat(b: Context) -> None:
    system = b.get("eflags_system", width=32)
    _require(b, is_flat(b) & (current_privilege_level(b) == 0) & ((system & flags.NT) == 0))
    top = b.reg(ESP)
    frame = _read(b, top, _SAME_LEVEL_BYTES)
    eip, selector, image = (b.load(frame + 4 * place, 32) for place in range(3))
    selector = selector & 0xFFFF
    level = selector & SELECTOR_RPL
    outer = level == _USER
    _require(b, ((image & flags.VM) == 0) & (outer | (level == 0)))
    _require_flat(b, CS, selector, level)
    with b.IfElse(outer) as arm:
        with arm.then():
            outer_frame = _read(b, top, _OUTER_BYTES) + _SAME_LEVEL_BYTES
            esp, stack = (b.load(outer_frame + 4 * place, 32) for place in range(2))
            stack = stack & 0xFFFF
            _require(b, ((stack & SELECTOR_RPL) == _USER) & ~is_checked_for_users(b, image))
            _require_flat(b, SS, stack, _USER)
            for segment in (ES, FS, GS, DS):  # the others are given up
                attributes = b.get_segment(segment, "attributes", width=32)
                of_users = _USER << ATTR_DPL_SHIFT
                _require(b, (attributes == 0) | ((attributes & of_users) == of_users))
            set_flat(b, CS, selector, _USER)
            set_flat(b, SS, stack, _USER)
            b.set_reg(ESP, esp)
            b.put("cpl", _USER)
            b.attempt(SWITCH_LEVEL, b.cpu)
        with arm.otherwise():
            set_flat(b, CS, selector, 0)
            b.set_reg(ESP, top + _SAME_LEVEL_BYTES)
    b.put("eip", eip)
    load_flags(b, image, b.const(_LOADED, 32))
    b.put("loaded_resume_flag", (image & flags.RF) != 0)
    b.ret(TAKEN)


RUNTIME = ((ENTER_FLAT, _enter_flat), (RETURN_FLAT, _return_flat))
