"""System instructions of flat 32-bit code that are done without the interpreter, and exceptions that stencils raise.

Each function does its instruction by the same runtime functions that its meaning calls, where all is as it is nearly
always: CPL 0 for what is privileged, gates and descriptors as `flat_transfer.py` wants them. Otherwise it has changed
nothing, and the interpreter does the instruction (SERVICE_EXIT), with its faults in their order.
"""

from __future__ import annotations

from bt.codegen.abi import Signature
from bt.codegen.value import Value
from bt.engine.structures import RECORD, SITE
from bt.engine.translator.gates.gates import (
    INSTEAD_EXITS,
    SERVICE_EXIT,
    go_on,
    note_site,
    site_of,
)
from bt.engine.translator.gates.services import raise_fault
from bt.engine.translator.gates.signatures import NEXT_CODE
from bt.engine.translator.plan.plan import Gate
from bt.memory.access import Body, NativeContext
from bt.memory.soft_mmu.runtime import invalidate_page
from bt.x86 import flags
from bt.x86.context import DE, OK
from bt.x86.services import INT_SOFTWARE
from bt.x86.system.fast_system_call import SYSTEM_CALL_ENTER, SYSTEM_CALL_EXIT
from bt.x86.system.interrupts.interrupt_delivery import begin_delivery
from bt.x86.system.registers.control_register_write import WRITE_CONTROL_REGISTER
from bt.x86.system.segmentation.flat_transfer import ENTER_FLAT, NOT_TAKEN, RETURN_FLAT
from bt.x86.system.segmentation.segment_load import current_privilege_level

_CR3 = 3


def _interpreted_if(b: NativeContext, unusual: Value) -> None:
    """Leave the instruction to the interpreter on a condition."""
    with b.Unlikely(unusual):
        b.ret(b.call(SERVICE_EXIT, b.cpu, b.arguments[1]))


def _begin(b: NativeContext) -> tuple[Value, Value]:
    """The site and its record."""
    site = site_of(b)
    note_site(b, site)
    return site, SITE.get_pointer(b, site, "record")


def _divide_error(b: NativeContext) -> None:
    b.put("fault_vector", DE)
    b.put("fault_has_error", 0)
    raise_fault(b, site_of(b))


def _int(b: NativeContext) -> None:
    _, record = _begin(b)
    vector, return_eip = RECORD.get(b, record, "immediate"), RECORD.get(b, record, "next_eip").zext(64)
    resume_flag = b.get("pushed_resume_flag", width=32) * flags.RF
    taken = b.call(ENTER_FLAT, b.cpu, vector, INT_SOFTWARE, return_eip, 0, 0, resume_flag)
    _interpreted_if(b, taken == NOT_TAKEN)
    begin_delivery(b)
    go_on(b)


def _iret(b: NativeContext) -> None:
    _begin(b)
    _interpreted_if(b, b.call(RETURN_FLAT, b.cpu) == NOT_TAKEN)
    b.put("nmi_blocked", 0)
    go_on(b)


def _sysenter(b: NativeContext) -> None:
    _begin(b)
    _interpreted_if(b, b.call(SYSTEM_CALL_ENTER, b.cpu) != OK)
    go_on(b)


def _sysexit(b: NativeContext) -> None:
    _begin(b)
    _interpreted_if(b, b.call(SYSTEM_CALL_EXIT, b.cpu, 32) != OK)
    go_on(b)


def _load_cr3(b: NativeContext) -> None:
    """MOV CR3. What follows is never known: it may be other code now."""
    _, record = _begin(b)
    _interpreted_if(b, (RECORD.get(b, record, "reg_number") != _CR3) | (current_privilege_level(b) != 0))
    value = b.load(b.cpu + RECORD.get(b, record, "rm").sext(64), 32).zext(64)
    _interpreted_if(b, b.call(WRITE_CONTROL_REGISTER, b.cpu, _CR3, value) != OK)
    b.put("eip", RECORD.get(b, record, "next_eip"))
    b.ret(b.call(NEXT_CODE, b.cpu))


def _invlpg(b: NativeContext) -> None:
    """INVLPG: on behind it, unless code has been fetched from that page."""
    site, record = _begin(b)
    _interpreted_if(b, current_privilege_level(b) != 0)
    base, index = (b.load(b.cpu + RECORD.get(b, record, name).sext(64), 32) for name in ("base", "index"))
    offset = base + (index << RECORD.get(b, record, "scale").zext(32)) + RECORD.get(b, record, "displacement")
    offset = offset & RECORD.get(b, record, "address_mask")
    tag = b.get("code_tag")
    linear = b.segment_linear(RECORD.get(b, record, "segment").zext(64), offset)
    invalidate_page(b, linear.zext(64))
    with b.Likely(b.get("code_tag") == tag):
        b.ret(SITE.get(b, site, "retry"))
    b.put("eip", RECORD.get(b, record, "next_eip"))
    b.put("budget", b.get("budget") + (SITE.get(b, site, "refund").zext(64) - 1))
    b.ret(b.call(NEXT_CODE, b.cpu))


_BODIES = {
    Gate.DIVIDE_ERROR: _divide_error,
    Gate.INT: _int,
    Gate.IRET: _iret,
    Gate.SYSENTER: _sysenter,
    Gate.SYSEXIT: _sysexit,
    Gate.LOAD_CR3: _load_cr3,
    Gate.INVLPG: _invlpg,
}
RUNTIME: tuple[tuple[Signature, Body], ...] = tuple((INSTEAD_EXITS[gate], body) for gate, body in _BODIES.items())
