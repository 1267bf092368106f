"""Hardware task switches: by far JMP and CALL, through task gates, and IRET with NT (SDM vol. 3A 7.3).

A switch has a commit point. Before it everything the switch needs is read, and a fault belongs to the old task, whose
instruction it restarts. After it (loading LDTR and the segment registers, pushing an error code) a fault belongs to the
new task: EIP is the new one, and `fault_in_new_task` tells the engine so.
"""

from __future__ import annotations

from dataclasses import dataclass

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import DB, FAULT, GP, NP, OK, SS_FAULT, TS, Context
from bt.x86.services import FLUSH_TLB, UPDATE_MODE
from bt.x86.state import CS, DS, ES, FS, GS, LDTR, SS, TR
from bt.x86.system.interrupts.breakpoints import report_debug_exception
from bt.x86.system.operating_mode import in_virtual_8086_mode, is_paging, system_linear
from bt.x86.system.paging.pae_paging import LOAD_PDPTES
from bt.x86.system.registers.control_registers import (
    CR0_TS,
    DR6_BT,
    DR7_LOCAL,
)
from bt.x86.system.segmentation.descriptor_table import (
    BUSY,
    LDT,
    SELECTOR_RPL,
    SELECTOR_TABLE,
    SET_NULL_SEGMENT,
    SET_SEGMENT,
    TSS_16,
    TSS_32,
    Descriptor,
    error_code,
    fetch,
    is_null,
    locate,
)
from bt.x86.system.segmentation.segment_8086 import LOAD_8086_SEGMENT
from bt.x86.system.segmentation.segment_load import current_privilege_level
from bt.x86.system.tasks.task_state import is_32_bit

# Selector of the TSS, why (TASK_*), EXT bit for error codes, EIP to save, EFLAGS bits to add to what is saved, 1 if an
# error code is pushed on the new stack, that error code. OK when the new task runs; EIP is its own.
SWITCH_TASK = native("switch_task", PTR, "i32", "i32", "i32", "i32", "i32", "i32", "i32")
TASK_JUMP, TASK_CALL, TASK_RETURN = 0, 1, 2  # interrupts and exceptions are calls

# What follows the commit point: EXT bit, 1 if an error code is pushed, that error code, 1 if T was set in the TSS.
_ENTER_TASK = native("enter_task", PTR, "i32", "i32", "i32", "i32")
_LOAD_TASK_LDTR = native("load_task_ldtr", PTR, "i32")
_LOAD_TASK_CODE = native("load_task_code", PTR, "i32")
_LOAD_TASK_STACK = native("load_task_stack", PTR, "i32")
# Segment register, EXT bit.
_LOAD_TASK_DATA = native("load_task_data", PTR, "i32", "i32")

BACK_LINK = 0
TSS_IS_32_BIT = 1 << 11  # in the high dword of its descriptor


@dataclass(frozen=True)
class Format:
    """Byte offsets in a TSS (SDM vol. 3A figures 7-2 and 7-10); registers and selectors lie `step` bytes apart."""

    bits: int
    last: int  # least limit
    eip: int
    eflags: int
    general: int  # eax, in the hardware numbering from there
    segments: int  # es, in the hardware numbering from there
    segment_count: int
    ldtr: int
    cr3: int | None = None
    trap: int | None = None

    @property
    def step(self) -> int:
        return self.bits // 8


FORMAT_16 = Format(16, last=43, eip=14, eflags=16, general=18, segments=34, segment_count=4, ldtr=42)
FORMAT_32 = Format(32, last=103, eip=32, eflags=36, general=40, segments=72, segment_count=6, ldtr=96, cr3=28, trap=100)


def _check_task(b: Context, selector: Value, reason: Value, external: Value) -> Descriptor:
    """The TSS descriptor, as far as table 7-1 of SDM vol. 3A has it checked by the old task."""
    error = error_code(selector, external)
    returns = reason == TASK_RETURN
    vector = b.select(returns, b.const(TS, 32), GP)
    with b.Unlikely((selector & SELECTOR_TABLE) != 0):
        b.fault(vector, error)
    task = fetch(b, selector, vector, external)
    # a task that is returned to is busy, any other must not be: tasks are not reentrant
    kind = task.system_type() ^ b.select(returns, b.const(BUSY >> 8, 32), 0)
    with b.Unlikely((kind != TSS_16) & (kind != TSS_32)):
        b.fault(vector, error)
    b.fault_if(~task.present(), NP, error)
    least = b.select(kind == TSS_32, b.const(FORMAT_32.last, 32), FORMAT_16.last)
    b.fault_if(task.limit().ult(least), TS, error)
    return task


def _save(b: Context, layout: Format, base: Value, eip: Value, eflags: Value) -> None:
    """Write the outgoing task's registers to its TSS. A fault half way does no harm: nobody reads them before they
    are written again."""

    def store(at: int, value: Value, bits: int = layout.bits) -> None:
        b.write_linear(base + at, value.trunc(bits), system=True)

    store(layout.eip, eip)
    store(layout.eflags, eflags)
    for number in range(8):
        store(layout.general + layout.step * number, b.reg(number))
    for number in range(layout.segment_count):
        store(layout.segments + layout.step * number, b.get_segment(number, "selector", width=32), 16)


@dataclass
class _Image:
    """Everything a TSS holds for its task, read before the commit point."""

    b: Context

    def __post_init__(self) -> None:
        b = self.b
        self.eip, self.eflags, self.cr3, self.ldtr = (b.local(32, 0) for _ in range(4))
        self.trap = b.local(32, 0)
        self.general = [b.local(32) for _ in range(8)]
        self.segments = [b.local(32, 0) for _ in range(6)]

    def read(self, layout: Format, base: Value) -> None:
        """Fill everything. A 16-bit TSS leaves FS and GS null and the upper halves of the registers ones."""
        b = self.b
        upper = 0 if layout.bits == 32 else 0xFFFF_0000

        def field(at: int, bits: int = layout.bits) -> Value:
            return b.read_linear(base + at, bits, system=True).zext(32)

        self.eip.set(field(layout.eip))
        self.eflags.set(field(layout.eflags))
        for number, register in enumerate(self.general):
            register.set(field(layout.general + layout.step * number) | upper)
        for number, register in enumerate(self.segments[: layout.segment_count]):
            register.set(field(layout.segments + layout.step * number, 16))
        self.ldtr.set(field(layout.ldtr, 16))
        if layout.cr3 is not None:
            self.cr3.set(field(layout.cr3))
        if layout.trap is not None:
            self.trap.set(field(layout.trap, 16) & 1)


def _in_format(b: Context, wide: Value, action: object) -> None:
    assert callable(action)
    with b.IfElse(wide) as arm:
        with arm.then():
            action(FORMAT_32)
        with arm.otherwise():
            action(FORMAT_16)


def _access_byte(b: Context, selector: Value) -> Value:
    """Linear address of the byte of a TSS descriptor that says whether the task is busy."""
    linear, _ = locate(b, selector)
    return system_linear(b, linear + 5)


def _switch_task(b: Context) -> None:
    cpu, selector, reason, external, eip, more_flags, has_error, error_value = b.arguments
    b.put("fault_in_new_task", 0)
    task = _check_task(b, selector, reason, external)
    base = task.base()
    old_selector, old_base = b.get_segment(TR, "selector", width=32), b.get_segment(TR, "base", width=32)
    calls, returns = reason == TASK_CALL, reason == TASK_RETURN
    wide = (task.high & TSS_IS_32_BIT) != 0

    image = _Image(b)
    _in_format(b, wide, lambda layout: image.read(layout, base))
    eflags = (flags.read_eflags(b) & b.select(returns, b.const(~flags.NT, 32), -1)) | more_flags
    _in_format(b, is_32_bit(b), lambda layout: _save(b, layout, old_base, eip, eflags))
    with b.If(calls):
        b.write_linear(base + BACK_LINK, old_selector.trunc(16), system=True)
    # both descriptors are proved writable before either changes
    old_access, new_access = _access_byte(b, old_selector), _access_byte(b, selector)
    busy = (BUSY >> 8) & 0xFF
    access = b.read_linear(new_access, 8, system=True)
    b.write_linear(new_access, access, system=True)
    with b.If(~calls):
        left = b.read_linear(old_access, 8, system=True)
        b.write_linear(old_access, left & ~busy, system=True)
    b.write_linear(new_access, b.read_linear(new_access, 8, system=True) | busy, system=True)

    # the commit point: from here on it is the new task that runs
    b.attempt(SET_SEGMENT, cpu, TR, selector, task.low, task.high | BUSY)
    b.put("cr0", b.get("cr0", width=32) | CR0_TS)
    b.put("dr", b.get("dr", 7) & ~DR7_LOCAL, 7)
    with b.If(wide & is_paging(b)):
        b.put("cr3", image.cr3.get())
        b.attempt(FLUSH_TLB, cpu, 0)
    for number, register in enumerate(image.general):
        b.set_reg(number, register.get())
    loaded = image.eflags.get() | b.select(calls, b.const(flags.NT, 32), 0)
    flags.write_arithmetic(b, loaded)
    b.put("eflags_system", loaded & (flags.DEFINED & ~flags.ARITHMETIC & ~flags.RF))
    b.put("eip", image.eip.get())
    b.put("inhibit", 0)
    b.put("loaded_resume_flag", (loaded & flags.RF) != 0)
    # all selectors are in place but unusable until their descriptors have been checked
    b.attempt(SET_NULL_SEGMENT, cpu, LDTR, image.ldtr.get())
    for number, register in enumerate(image.segments):
        b.attempt(SET_NULL_SEGMENT, cpu, number, register.get())
    virtual = (loaded & flags.VM) != 0
    code_level = image.segments[CS].get() & SELECTOR_RPL
    b.put("cpl", b.select(virtual, b.const(3, 32), code_level))
    status = b.call(_ENTER_TASK, cpu, external, has_error, error_value, image.trap.get())
    b.put("fault_in_new_task", (status == FAULT).zext(64))
    b.call(UPDATE_MODE, cpu)
    b.ret(status)


def _enter_task(b: Context) -> None:
    """LDTR, CS, SS, then the data segments: each is checked as the new task's (SDM vol. 3A table 7-1)."""
    cpu, external, has_error, error_value, trap = b.arguments
    with b.If(is_32_bit(b)):
        b.attempt(LOAD_PDPTES, cpu, b.get("cr3"), b.get("cr0", width=32), b.get("cr4", width=32))
    b.attempt(_LOAD_TASK_LDTR, cpu, external)
    with b.IfElse(in_virtual_8086_mode(b)) as kind:
        with kind.then():
            for number in range(6):
                b.attempt(LOAD_8086_SEGMENT, cpu, number, b.get_segment(number, "selector", width=32))
        with kind.otherwise():
            b.attempt(_LOAD_TASK_CODE, cpu, external)
            b.attempt(_LOAD_TASK_STACK, cpu, external)
            for number in (ES, DS, FS, GS):
                b.attempt(_LOAD_TASK_DATA, cpu, number, external)
    b.attempt(UPDATE_MODE, cpu)
    b.fault_if(b.get("eip").ugt(b.get_segment(CS, "limit")), GP, external)
    with b.If(has_error != 0), b.IfElse(is_32_bit(b)) as size:
        with size.then():
            b.push(error_value)
        with size.otherwise():
            b.push(error_value.trunc(16))
    with b.If(trap != 0):
        report_debug_exception(b, DR6_BT)
        b.put("pushed_resume_flag", b.get("loaded_resume_flag"))  # no instruction has cleared RF yet
        b.fault(DB)


def _load_task_ldtr(b: Context) -> None:
    _, external = b.arguments
    selector = b.get_segment(LDTR, "selector", width=32)
    with b.If(is_null(selector)):
        b.ret(OK)
    error = error_code(selector, external)
    b.fault_if((selector & SELECTOR_TABLE) != 0, TS, error)
    table = fetch(b, selector, TS, external)
    b.fault_if((table.system_type() != LDT) | ~table.present(), TS, error)
    table.load_into(LDTR, selector)


def _load_task_code(b: Context) -> None:
    _, external = b.arguments
    selector = b.get_segment(CS, "selector", width=32)
    error = error_code(selector, external)
    b.fault_if(is_null(selector), TS, error)
    code = fetch(b, selector, TS, external)
    level, dpl = selector & SELECTOR_RPL, code.dpl()
    wrong_level = b.select(code.is_conforming_code(), dpl.ugt(level), dpl != level)
    b.fault_if(~code.is_code() | wrong_level, TS, error)
    b.fault_if(~code.present(), NP, error)
    code.mark_accessed(selector).load_into(CS, selector)


def _load_task_stack(b: Context) -> None:
    _, external = b.arguments
    selector = b.get_segment(SS, "selector", width=32)
    error = error_code(selector, external)
    b.fault_if(is_null(selector), TS, error)
    stack = fetch(b, selector, TS, external)
    level = current_privilege_level(b)
    b.fault_if(~stack.is_writable_data(), TS, error)
    b.fault_if(~stack.present(), SS_FAULT, error)
    b.fault_if((stack.dpl() != level) | ((selector & SELECTOR_RPL) != level), TS, error)
    stack.mark_accessed(selector).load_into(SS, selector)


def _load_task_data(b: Context) -> None:
    _, segment, external = b.arguments
    selector = b.get_segment(segment, "selector", width=32)
    with b.If(is_null(selector)):
        b.ret(OK)
    error = error_code(selector, external)
    data = fetch(b, selector, TS, external)
    dpl, rpl = data.dpl(), selector & SELECTOR_RPL
    out_of_reach = ~data.is_conforming_code() & (rpl.ugt(dpl) | current_privilege_level(b).ugt(dpl))
    b.fault_if(~data.is_readable() | out_of_reach, TS, error)
    b.fault_if(~data.present(), NP, error)
    data.mark_accessed(selector).load_into(segment, selector)


RUNTIME = (
    (SWITCH_TASK, _switch_task),
    (_ENTER_TASK, _enter_task),
    (_LOAD_TASK_LDTR, _load_task_ldtr),
    (_LOAD_TASK_CODE, _load_task_code),
    (_LOAD_TASK_STACK, _load_task_stack),
    (_LOAD_TASK_DATA, _load_task_data),
)
