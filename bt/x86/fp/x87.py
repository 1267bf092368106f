"""x87 control instructions (SDM vol. 2; vol. 1 8.1): words, environment and registers as the guest sees them.

Instruction and operand pointers are the guest's own, kept in the state: the host's would show addresses of bt.
"""

from __future__ import annotations

from bt.codegen import host_fp
from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import NM, Context, MemoryOperand, Operand
from bt.x86.fp.control import STATUS_SUMMARY, X87_MASKS
from bt.x86.fp.fp_state import FP_PREPARE, UNIT_WAIT, UNIT_X87_NO_WAIT, guest_status, set_control
from bt.x86.opcodes.fp import UNIT_X87
from bt.x86.system.registers.control_registers import (
    CR0_MP,
    CR0_PE,
    CR0_TS,
)

INITIAL_CONTROL = 0x037F
POINTERS = ("fpu_ip", "fpu_cs", "fpu_dp", "fpu_ds", "fpu_opcode")
_OPCODE_BITS = 0x7FF
_WORDS_32, _WORDS_16 = 4, 2  # bytes from one word of an environment to the next
_ENVIRONMENT_WORDS = 7
_HOST_ENVIRONMENT_BYTES, _REGISTER_BYTES = 28, 80
# Upper halves of the words that have only 16 bits in the 32-bit layout
_RESERVED = 0xFFFF_0000


def wait(b: Context) -> None:
    both = CR0_MP | CR0_TS
    b.fault_if((b.get("cr0", width=32) & both) == both, NM)
    b.attempt(FP_PREPARE, b.cpu, UNIT_WAIT)


def fninit(b: Context) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87_NO_WAIT)
    b.call(host_fp.FNINIT)
    _initialise(b)


def _initialise(b: Context) -> None:
    """The part of initialisation that is not in the host's registers."""
    set_control(b, b.const(INITIAL_CONTROL, 32))
    for name in POINTERS:
        b.put(name, 0)


def fnclex(b: Context) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87_NO_WAIT)
    b.call(host_fp.FNCLEX)


def fldcw(b: Context, src: Operand) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87)
    set_control(b, src.read().zext(32))


def fnstcw(b: Context, dst: Operand) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87_NO_WAIT)
    dst.write(b.get("fpu_control", width=16))


def fnstsw(b: Context, dst: Operand) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87_NO_WAIT)
    dst.write(guest_status(b).trunc(16))


# -- environments (SDM vol. 1 figures 8-9 to 8-12) ------------------------------------------------------------------


def _is_protected(b: Context) -> Value:
    """Pointers are selector and offset; else linear addresses, as in real and virtual-8086 mode."""
    return ((b.get("cr0") & CR0_PE) != 0) & ((b.get("eflags_system") & flags.VM) == 0)


def _linear(b: Context, selector: str, offset: str) -> Value:
    return (b.get(selector, width=32) << 4) + b.get(offset, width=32)


def _store_environment(b: Context, where: Value, status: Value, tags: Value) -> None:
    """Write an environment of b.operand_size at a host pointer."""
    wide = b.operand_size == 32
    step = _WORDS_32 if wide else _WORDS_16
    reserved = _RESERVED if wide else 0
    protected = _is_protected(b)
    opcode = b.get("fpu_opcode", width=32) & _OPCODE_BITS
    ip, dp = _linear(b, "fpu_cs", "fpu_ip"), _linear(b, "fpu_ds", "fpu_dp")
    if wide:
        code = b.get("fpu_cs", width=32) | (opcode << 16)
        real = (ip & 0xFFFF | _RESERVED, (ip >> 16) << 12 | opcode, dp & 0xFFFF | _RESERVED, (dp >> 16) << 12)
        data = b.get("fpu_ds", width=32) | _RESERVED
    else:
        code = b.get("fpu_cs", width=32)
        real = (ip, ((ip >> 16) & 15) << 12 | opcode, dp, ((dp >> 16) & 15) << 12)
        data = b.get("fpu_ds", width=32)
    segmented = (b.get("fpu_ip", width=32), code, b.get("fpu_dp", width=32), data)
    words = [b.get("fpu_control", width=32) | reserved, status | reserved, tags | reserved]
    words += [b.select(protected, new, old) for new, old in zip(segmented, real, strict=True)]
    for number, word in enumerate(words):
        b.store(where + number * step, word.trunc(8 * step))


def _load_environment(b: Context, where: Value) -> Value:
    """Take over an environment, its tags excepted, from a host pointer; answers the control word (i32).

    What the host has to load is left in `fp_scratch`, in the host's own layout.
    """
    step = _WORDS_32 if b.operand_size == 32 else _WORDS_16
    words = [b.load(where + number * step, 8 * step).zext(32) for number in range(_ENVIRONMENT_WORDS)]
    control, status, tags, ip, code, dp, data = words
    protected = _is_protected(b)
    if b.operand_size == 32:
        opcode_protected = code >> 16
        ip_linear, dp_linear = (ip & 0xFFFF) | (code >> 12) << 16, (dp & 0xFFFF) | (data >> 12) << 16
    else:
        opcode_protected = b.const(0, 32)
        ip_linear, dp_linear = ip | (code >> 12) << 16, dp | (data >> 12) << 16
    b.put("fpu_ip", b.select(protected, ip, ip_linear))
    b.put("fpu_cs", b.select(protected, code & 0xFFFF, 0))
    b.put("fpu_dp", b.select(protected, dp, dp_linear))
    b.put("fpu_ds", b.select(protected, data & 0xFFFF, 0))
    b.put("fpu_opcode", b.select(protected, opcode_protected, code) & _OPCODE_BITS)
    scratch = b.slot("fp_scratch")
    host_words = [control | X87_MASKS, status & ~STATUS_SUMMARY, tags, *[b.const(0, 32)] * 4]
    for number, word in enumerate(host_words):
        b.store(scratch + number * _WORDS_32, word & 0xFFFF)
    return control


def _copy_registers(b: Context, target: Value, source: Value) -> None:
    for at in range(0, _REGISTER_BYTES, 8):
        b.store(target + at, b.load(source + at, 64))


def _environment_bytes(b: Context) -> int:
    return _ENVIRONMENT_WORDS * (_WORDS_32 if b.operand_size == 32 else _WORDS_16)


def fnstenv(b: Context, dst: MemoryOperand) -> None:
    """FNSTENV: also masks all exceptions."""
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87_NO_WAIT)
    where = b.operand_pointer(b.source_segment(), dst.offset(), _environment_bytes(b), write=True)
    status = guest_status(b)
    b.call(host_fp.FNSTENV, b.slot("fp_scratch"))
    tags = b.load(b.slot("fp_scratch") + 2 * _WORDS_32, 16).zext(32)
    _store_environment(b, where, status, tags)
    b.commit_operand(where)
    set_control(b, b.get("fpu_control", width=32) | X87_MASKS)


def fldenv(b: Context, src: MemoryOperand) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87)
    where = b.operand_pointer(b.source_segment(), src.offset(), _environment_bytes(b))
    control = _load_environment(b, where)
    b.call(host_fp.FLDENV, b.slot("fp_scratch"))
    set_control(b, control)


def fnsave(b: Context, dst: MemoryOperand) -> None:
    """FNSAVE: environment and registers, then as FNINIT."""
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87_NO_WAIT)
    size = _environment_bytes(b)
    where = b.operand_pointer(b.source_segment(), dst.offset(), size + _REGISTER_BYTES, write=True)
    status = guest_status(b)
    scratch = b.slot("fp_scratch")
    b.call(host_fp.FNSAVE, scratch)
    tags = b.load(scratch + 2 * _WORDS_32, 16).zext(32)
    _store_environment(b, where, status, tags)
    _copy_registers(b, where + size, scratch + _HOST_ENVIRONMENT_BYTES)
    b.commit_operand(where)
    _initialise(b)


def frstor(b: Context, src: MemoryOperand) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87)
    size = _environment_bytes(b)
    where = b.operand_pointer(b.source_segment(), src.offset(), size + _REGISTER_BYTES)
    control = _load_environment(b, where)
    scratch = b.slot("fp_scratch")
    _copy_registers(b, scratch + _HOST_ENVIRONMENT_BYTES, where + size)
    b.call(host_fp.FRSTOR, scratch)
    set_control(b, control)
