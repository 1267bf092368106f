"""Re-encoding: the guest's FP instruction as the host executes it, with another memory operand and other registers.

The instruction's own bytes are not looked at again: prefix and opcode come from its form, ModRM from the decoded
record. In a thunk the operand in memory becomes [rdi] and a general register rax; in place, among other host code, the
register plan says where either is. Everything else stays: results, rounding, flags and tags are then the host
processor's. The registers that PCMPESTRI and its kin have for themselves are in their namesakes in place; a thunk is
given EAX and EDX as the halves of one word, and answers with ECX above the flags.
"""

from __future__ import annotations

from bt.codegen.abi import FLAT_32, RegisterPlan, Signature, native
from bt.codegen.builder import Local
from bt.codegen.value import PTR, Value
from bt.engine.reencode.forms import (
    COMPARES_INDEX,
    COMPARES_LENGTHS,
    FIELD_GPR,
    FIELD_GPR_WIDE,
    FIELD_LOW,
    FIELD_RECORD,
    FP_FORM,
    FP_FORM_BYTES,
)
from bt.engine.structures import CONTROL, RECORD, THUNK_BYTES, VARIANT_MEMORY, VARIANT_SIZE, VARIANT_SIZE_SHIFT
from bt.memory.access import Body, MemoryContext, NativeContext
from bt.x86.context import EXIT, OK
from bt.x86.exits import ExitReason
from bt.x86.opcodes.encoding import OPCODE_MAPS

# state, record, where to write, 1 for registers as the plan has them, displacement of the operand from the plan's free
# register; answers where the bytes end
FP_ENCODE = native("fp_encode", PTR, PTR, "i64", "i32", "i32", result="i64")
# state, record: have a thunk ready for the record; OK, or EXIT when the area for thunks is full
FP_MAKE_THUNK = native("fp_make_thunk", PTR, PTR)

_RDI, _SIB_FOLLOWS = 7, 4
_REX, _REX_W, _REX_R, _REX_B = 0x40, 8, 4, 1
_MOD_INDIRECT, _MOD_DISP8, _MOD_DISP32, _MOD_REGISTER = range(4)
_SIB_NO_INDEX = 4 << 3
_MOV_RAX_RSI, _TEST_ESI, _RETURN = bytes.fromhex("4889f0"), bytes.fromhex("85f6"), b"\xc3"
_FLAGS_TO_RAX = bytes.fromhex("9c58")  # pushfq; pop rax
_UPPER_RSI_TO_RDX = bytes.fromhex("4889f248c1ea20")  # mov rdx, rsi; shr rdx, 32
_RCX_TO_UPPER_RAX = bytes.fromhex("48c1e1204809c8")  # shl rcx, 32; or rax, rcx
_LONGER_ESCAPES = {number: longer.escape for number, longer in enumerate(OPCODE_MAPS) if len(longer.escape) > 1}


def fp_form(b: MemoryContext, record: Value) -> Value:
    """Pointer to the FP_FORM of a record."""
    control = b.get_pointer("engine")
    memory = (RECORD.get(b, record, "variant") & VARIANT_MEMORY) != 0
    number = (RECORD.get(b, record, "form").zext(64) << 1) | memory.zext(64)
    return CONTROL.get_pointer(b, control, "fp_forms") + (number * FP_FORM_BYTES)


class _Encoder:
    """Builds `fp_encode`."""

    def __init__(self, b: NativeContext, plan: RegisterPlan) -> None:
        self.b = b
        self.plan = plan
        _, self.record, start, self.in_place, self.displacement = b.arguments
        self.form = fp_form(b, self.record)
        self.at: Local = b.local(64, start)
        self.memory = (RECORD.get(b, self.record, "variant") & VARIANT_MEMORY) != 0

    def _byte(self, value: Value) -> None:
        b = self.b
        b.store(self.at.get().to_pointer(), value.resize(8))
        self.at.set(self.at.get() + 1)

    def _field(self, name: str) -> Value:
        return FP_FORM.get(self.b, self.form, name).zext(32)

    def _renamed(self, number: Value) -> Value:
        """Host number of a general register: the plan's, or rax."""
        packed = sum(host << (4 * guest) for guest, host in enumerate(self.plan.guest_numbers))
        host = (self.b.const(packed, 32) >> (number << 2)) & 15
        return self.b.select(self.in_place != 0, host, 0)

    def _register(self, role: Value, number: Value) -> Value:
        """What goes into a field of ModRM, bit 3 (for REX) included."""
        b = self.b
        is_general = (role == FIELD_GPR) | (role == FIELD_GPR_WIDE)
        renamed = b.select(is_general, self._renamed(number), b.select(role == FIELD_LOW, number & 7, number))
        return b.select(role.ult(FIELD_RECORD), role, renamed)

    def build(self) -> None:
        b = self.b
        in_place = self.in_place != 0
        reg_role, rm_role = self._field("reg"), self._field("rm")
        reg = self._register(reg_role, RECORD.get(b, self.record, "reg_number").zext(32))
        rm = self._register(rm_role, RECORD.get(b, self.record, "rm_number").zext(32))
        size = RECORD.get(b, self.record, "variant") >> VARIANT_SIZE_SHIFT << VARIANT_SIZE_SHIFT
        wide = ((reg_role == FIELD_GPR_WIDE) | (rm_role == FIELD_GPR_WIDE)) & (size == VARIANT_SIZE[64])
        operand = self.plan.number("free")
        base = b.select(in_place, b.const(_SIB_FOLLOWS | operand & 8, 32), _RDI)
        rm = b.select(self.memory, base, rm)
        with b.If(self._field("prefix") != 0):
            self._byte(self._field("prefix"))
        rex = (wide.zext(32) * _REX_W) | ((reg >> 3) * _REX_R) | ((rm >> 3) * _REX_B)
        with b.If(rex != 0):
            self._byte(rex | _REX)
        with b.If(self._field("escape") != 0):
            self._byte(b.const(0x0F, 8))
            for opcode_map, (*_, last) in _LONGER_ESCAPES.items():
                with b.Unlikely(self._field("escape") == opcode_map):
                    self._byte(b.const(last, 8))
        self._byte(self._field("opcode"))
        with b.If(self._field("modrm") != 0):
            short = self.displacement == self.displacement.trunc(8).sext(32)
            displaced = b.select(short, b.const(_MOD_DISP8, 32), _MOD_DISP32)
            mod = b.select(self.displacement == 0, b.const(_MOD_INDIRECT, 32), displaced)
            mod = b.select(self.memory, mod, _MOD_REGISTER)
            self._byte((mod << 6) | ((reg & 7) << 3) | (rm & 7))
            with b.If(self.memory & in_place):
                self._byte(b.const(_SIB_NO_INDEX | operand & 7, 8))
                with b.If(self.displacement != 0):
                    self._byte(self.displacement)
                with b.If(mod == _MOD_DISP32):
                    for shift in (8, 16, 24):
                        self._byte(self.displacement >> shift)
        with b.If(self._field("immediate") != 0):
            self._byte(RECORD.get(b, self.record, "immediate").trunc(8))
        b.ret(self.at.get())


def _emit_bytes(b: NativeContext, at: Local, code: bytes) -> None:
    where = at.get().to_pointer()
    for offset, byte in enumerate(code):
        b.store(where + offset, b.const(byte, 8))
    at.set(at.get() + len(code))


def _make_thunk(b: NativeContext) -> None:
    """Thunks are made when a record is first executed by the interpreter, which most never are."""
    _, record = b.arguments
    control = b.get_pointer("engine")
    here = CONTROL.get(b, control, "thunks_next")
    with b.Unlikely((here + THUNK_BYTES).ugt(CONTROL.get(b, control, "thunks_end"))):
        b.put("exit_reason", int(ExitReason.CACHE_FULL))
        b.ret(EXIT)
    form = fp_form(b, record)
    at = b.local(64, here + CONTROL.get(b, control, "write_delta"))
    is_condition = FP_FORM.get(b, form, "condition") != 0
    with b.If(is_condition):
        _emit_bytes(b, at, _TEST_ESI)
    with b.If(~is_condition):
        _emit_bytes(b, at, _MOV_RAX_RSI)
    compares = FP_FORM.get(b, form, "compares")
    with b.If((compares & COMPARES_LENGTHS) != 0):
        _emit_bytes(b, at, _UPPER_RSI_TO_RDX)
    at.set(b.call(FP_ENCODE, b.cpu, record, at.get(), 0, 0))
    with b.If(compares != 0):
        _emit_bytes(b, at, _FLAGS_TO_RAX)
    with b.If((compares & COMPARES_INDEX) != 0):
        _emit_bytes(b, at, _RCX_TO_UPPER_RAX)
    _emit_bytes(b, at, _RETURN)
    RECORD.put(b, record, "thunk", (here - CONTROL.get(b, control, "thunks")).trunc(32))
    CONTROL.put(b, control, "thunks_next", here + THUNK_BYTES)
    b.ret(OK)


RUNTIME: tuple[tuple[Signature, Body], ...] = (
    (FP_ENCODE, lambda b: _Encoder(b, FLAT_32).build()),
    (FP_MAKE_THUNK, _make_thunk),
)
