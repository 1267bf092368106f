"""Instructions on the control and debug registers, caches and the processor as a whole (SDM vol. 2)."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86.context import UD, Context, MemoryOperand, Operand
from bt.x86.exits import ExitReason
from bt.x86.services import INVALIDATE_PAGE
from bt.x86.system.operands import NumberedRegister
from bt.x86.system.registers.control_register_write import (
    READ_DEBUG_REGISTER,
    WRITE_CONTROL_REGISTER,
    WRITE_DEBUG_REGISTER,
)
from bt.x86.system.registers.control_registers import (
    CR0_MACHINE_STATUS,
    CR0_PE,
    CR0_TS,
)
from bt.x86.system.registers.task_priority import read_task_priority
from bt.x86.system.segmentation.descriptor import require_cpl_0

# What is slow on every processor by design, at 1 GHz. Waiting loops are made of these: that each takes its time spares
# the host most of their iterations.
PAUSE_NS = 140  # Intel Optimization Reference Manual, "Pause Latency in Skylake"


def _number(b: Context, register: NumberedRegister) -> Value:
    number = register.number
    return b.const(number, 32) if isinstance(number, int) else number.trunc(32)


def _go_on_afresh(b: Context) -> None:
    b.put("eip", b.next_eip())
    b.resume()


def hlt(b: Context) -> None:
    """HLT: the interrupt that ends it returns to the next instruction."""
    require_cpl_0(b)
    b.put("eip", b.next_eip())
    b.put("exit_reason", ExitReason.HLT)
    b.resume()


def pause(b: Context) -> None:
    """PAUSE: nothing, for a while (SDM vol. 2)."""
    b.pass_time(PAUSE_NS)


def _require_control_register(b: Context, number: Value) -> None:
    """#UD for those that REX.R makes of others, but CR8."""
    b.fault_if(number.ugt(7) & (number != 8), UD)


def mov_from_cr(b: Context, dst: Operand, src: NumberedRegister) -> None:
    number = _number(b, src)
    if b.long:
        _require_control_register(b, number)
    require_cpl_0(b)
    value = b.get("cr0")
    for other in (2, 3, 4):
        value = b.select(number == other, b.get(f"cr{other}"), value)
    if b.long:
        with b.Unlikely(number == 8):
            b.put("memory_value", read_task_priority(b))
        value = b.select(number == 8, b.get("memory_value"), value)
    dst.write(value.trunc(dst.width))


def mov_to_cr(b: Context, dst: NumberedRegister, src: Operand) -> None:
    if b.long:
        _require_control_register(b, _number(b, dst))
    require_cpl_0(b)
    b.attempt(WRITE_CONTROL_REGISTER, b.cpu, _number(b, dst), src.read().zext(64))
    _go_on_afresh(b)


def mov_from_dr(b: Context, dst: Operand, src: NumberedRegister) -> None:
    b.attempt(READ_DEBUG_REGISTER, b.cpu, _number(b, src))
    dst.write(b.get("memory_value", width=dst.width))


def mov_to_dr(b: Context, dst: NumberedRegister, src: Operand) -> None:
    b.attempt(WRITE_DEBUG_REGISTER, b.cpu, _number(b, dst), src.read().zext(64))
    _go_on_afresh(b)


def smsw(b: Context, dst: Operand) -> None:
    """SMSW: allowed at every level; a larger register gets all of CR0, as on the P6 family."""
    dst.write(b.get("cr0", width=dst.width))


def lmsw(b: Context, src: Operand) -> None:
    """LMSW: PE MP EM TS from the source; PE can be set but not cleared."""
    require_cpl_0(b)
    old = b.get("cr0", width=32)
    kept = old & ~(CR0_MACHINE_STATUS & ~CR0_PE)
    b.attempt(WRITE_CONTROL_REGISTER, b.cpu, 0, (kept | (src.read().zext(32) & CR0_MACHINE_STATUS)).zext(64))
    _go_on_afresh(b)


def clts(b: Context) -> None:
    require_cpl_0(b)
    b.attempt(WRITE_CONTROL_REGISTER, b.cpu, 0, b.get("cr0") & ~CR0_TS)
    _go_on_afresh(b)


def invlpg(b: Context, address: MemoryOperand) -> None:
    """INVLPG: the linear address is not checked against the segment, nor for being canonical (SDM vol. 2)."""
    require_cpl_0(b)
    tag = b.get("code_tag")
    b.attempt(INVALIDATE_PAGE, b.cpu, b.segment_linear(b.source_segment(), address.offset()).zext(64))
    with b.Unlikely(b.get("code_tag") != tag):  # code may be another now, what follows too
        _go_on_afresh(b)


def invd(b: Context) -> None:
    """INVD: nothing but the privilege check, for guest memory has no caches."""
    require_cpl_0(b)


def wbinvd(b: Context) -> None:
    """WBINVD: as INVD."""
    require_cpl_0(b)
