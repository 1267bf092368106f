"""Guest bytes to decoded records, in generated code.

capstone says how long an instruction is; our own opcode table says what it means (capstone's groups and operands are
not reliable, DESIGN 10). Prefixes, ModRM and immediates are taken from the bytes. What capstone refuses though the
table knows it (reserved NOPs and the like) is decided in Python by bt/x86/decode.py, once per place.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.builder import Local, Signature
from bt.codegen.value import PTR, Value
from bt.engine.structures import (
    CONTROL,
    IMMEDIATE_BYTE,
    IMMEDIATE_ENTER,
    IMMEDIATE_FAR,
    IMMEDIATE_FULL,
    IMMEDIATE_JUMP,
    IMMEDIATE_JUMP_BYTE,
    IMMEDIATE_OFFSET,
    IMMEDIATE_SIGNED_BYTE,
    IMMEDIATE_WORD,
    NO_PAGE,
    NO_REGISTER,
    RECORD,
    SHAPE,
    SHAPE_BYTES,
    SHAPE_LOCK,
    SHAPE_MODRM,
    SHAPE_REGISTER_RM,
    SHAPE_REP,
    VARIANT_MEMORY,
    VARIANT_REPNZ,
    VARIANT_REPZ,
    VARIANTS,
)
from bt.memory.access import NativeContext
from bt.x86 import state
from bt.x86.mode import CODE_32
from bt.x86.opcodes import FORMS, Method
from bt.x86.opcodes.encoding import parse_encoding
from bt.x86.state import DS, SS
from bt.x86.system.fp_state import FP_UNLOAD

MAX_LENGTH = 15
INSN_SIZE_OFFSET = 16  # cs_insn.size; checked against capstone's own ctypes classes by bt/x86/capstone_layout.py

# state, code bytes, bytes readable there, EIP, guest physical address, record to fill. Answers the length, or
# DECODE_MORE (needs bytes beyond those readable) or DECODE_ASK (Python must decide).
DECODE = native("decode_instruction", PTR, PTR, "i32", "i32", "i64", PTR)
DECODE_MORE, DECODE_ASK = -1, -2

_PREFIX_SEGMENTS = {0x26: 0, 0x2E: 1, 0x36: 2, 0x3E: 3, 0x64: 4, 0x65: 5}
# Base and index of 16-bit addressing (SDM vol. 2 table 2-1), by ModRM.rm; 8 = none.
_BASES_16 = (3, 3, 5, 5, 6, 7, 5, 3)
_INDEXES_16 = (6, 7, 6, 7, 8, 8, 8, 8)


def _byte(b: NativeContext, pointer: Value, at: Value | int = 0) -> Value:
    return b.load(pointer + (at if isinstance(at, int) else at.zext(64)), 8).zext(32)


def _nibbles(b: NativeContext, values: tuple[int, ...], index: Value) -> Value:
    """values[index] for a table of eight values below 16, i32."""
    packed = sum(v << (4 * i) for i, v in enumerate(values))
    return (b.const(packed, 32) >> (index << 2)) & 15


def _opcodes_with_immediates() -> list[int]:
    """Opcodes of both maps (map << 8 | opcode) with forms that have an immediate."""
    found = set()
    for form in FORMS[1:]:
        if any(operand.method is Method.IMMEDIATE for operand in form.operands):
            encoding = parse_encoding(form.encoding)
            found |= {encoding.opcode_map << 8 | opcode for opcode in encoding.opcodes}
    return sorted(found)


class _Decoder:
    """Builds `decode_instruction`; one method a stage."""

    def __init__(self, b: NativeContext) -> None:
        self.b = b
        _, self.code, self.readable, self.eip, self.physical, self.record = b.arguments
        self.control = b.get_pointer("engine")
        self.code32 = (b.get("mode") & CODE_32) != 0

    def build(self) -> None:
        b = self.b
        self._prefixes()
        self._opcode()
        length = self._length()
        operand32 = b.select(self.operand_override.get(), ~self.code32, self.code32)
        self.address32 = b.select(self.address_override.get(), ~self.code32, self.code32)
        self.operand32 = operand32
        self._operands(length)
        self._handler()
        b.ret(length)

    def _prefixes(self) -> None:
        b = self.b
        self.at = b.local(32, 0)
        self.operand_override, self.address_override = b.local(1, 0), b.local(1, 0)
        self.lock, self.rep = b.local(1, 0), b.local(32, 0)
        self.segment = b.local(32, 8)
        with b.Loop() as loop:
            at = self.at.get()
            loop.break_if(at.uge(MAX_LENGTH) | at.uge(self.readable))
            byte = _byte(b, self.code, at)
            known = b.local(1, 1)
            with b.Switch(byte) as cases:
                for prefix, number in _PREFIX_SEGMENTS.items():
                    with cases.case(prefix):
                        self.segment.set(number)
                with cases.case(0x66):
                    self.operand_override.set(1)
                with cases.case(0x67):
                    self.address_override.set(1)
                with cases.case(0xF0):
                    self.lock.set(1)
                with cases.case(0xF3):
                    self.rep.set(VARIANT_REPZ)
                with cases.case(0xF2):
                    self.rep.set(VARIANT_REPNZ)
                with cases.otherwise():
                    known.set(0)
            loop.break_if(~known.get())
            self.at.set(at + 1)

    def _opcode(self) -> None:
        """Find the form; `after` is where ModRM or the immediate begins."""
        b = self.b
        at = self.at.get()
        opcode = _byte(b, self.code, at)
        escape = opcode == 0x0F
        self.escape = escape
        position = b.select(escape, at + 1, at)
        opcode = b.select(escape, _byte(b, self.code, at + 1), opcode)
        self.opcode = opcode
        self.after = position + 1
        modrm = _byte(b, self.code, self.after)
        self.modrm = modrm
        dispatch = CONTROL.get_pointer(b, self.control, "dispatch")
        rep = self.rep.get()
        row = b.select(
            rep == VARIANT_REPZ,
            b.const(2, 32),
            b.select(rep == VARIANT_REPNZ, b.const(3, 32), self.operand_override.get().zext(32)),
        )
        first = (escape.zext(32) << 10) | (row << 8) | opcode
        entry = b.local(32, b.load(dispatch + (first << 1).zext(64), 16).zext(32))
        grouped = (entry.get() & 0x8000) != 0
        self.looked_at = self.after + grouped.zext(32)  # bytes that the form depends on
        with b.If(grouped):
            mod3 = modrm.uge(0xC0).zext(32) << 3
            index = (entry.get() & 0x7FFF) + ((modrm >> 3) & 7) + mod3
            entry.set(b.load(dispatch + (index << 1).zext(64), 16).zext(32))
        with b.If((entry.get() & 0x8000) != 0):
            index = (entry.get() & 0x7FFF) + (modrm & 7)
            entry.set(b.load(dispatch + (index << 1).zext(64), 16).zext(32))
        self.form = entry.get()
        self.shape = CONTROL.get_pointer(b, self.control, "shapes") + (self.form * SHAPE_BYTES).zext(64)
        self.flags = SHAPE.get(b, self.shape, "flags").zext(32)

    def _length(self) -> Value:
        """The instruction's length by capstone or by Python's verdict. What is undefined or too long is as long as the
        bytes that make it so: when they change, the block must go.
        """
        b = self.b
        length = b.local(32, 0)
        code, size = b.local(PTR, self.code), b.local(64, self.readable.zext(64))
        address = b.local(64, self.eip.zext(64))
        handle = b.select(
            self.code32, CONTROL.get(b, self.control, "handle32"), CONTROL.get(b, self.control, "handle16")
        )
        insn = CONTROL.get_pointer(b, self.control, "insn")
        disasm = Signature("cs_disasm_iter", "i8", ("i64", PTR, PTR, PTR, PTR))
        pointers = [Value(b, variable.ref, PTR) for variable in (code, size, address)]
        b.call(FP_UNLOAD, b.cpu)  # capstone is compiled like any other library
        found = b.call_pointer(CONTROL.get_pointer(b, self.control, "disasm_iter"), disasm, handle, *pointers, insn)
        with b.IfElse(found != 0) as arm:
            with arm.then():
                length.set(b.load(insn + INSN_SIZE_OFFSET, 16).zext(32))
            with arm.otherwise():
                self._refused(length)
        return length.get()

    def _refused(self, length: Local) -> None:
        b = self.b
        judged = CONTROL.get(b, self.control, "override_physical") == self.physical
        with b.If(judged):
            verdict = CONTROL.get(b, self.control, "override_length").trunc(32)
            with b.If((verdict.ugt(self.readable)) & self.readable.ult(MAX_LENGTH)):
                b.ret(DECODE_MORE)
            # good once: other bytes may be there the next time
            CONTROL.put(b, self.control, "override_physical", NO_PAGE)
            with b.If(verdict.ugt(MAX_LENGTH)):
                RECORD.put(b, self.record, "handler", CONTROL.get(b, self.control, "length_handler"))
                RECORD.put(b, self.record, "form", 0)
                RECORD.put(b, self.record, "variant", 0)
                RECORD.put(b, self.record, "eip", self.eip)
                RECORD.put(b, self.record, "next_eip", self.eip + 1)
                b.ret(MAX_LENGTH)
            length.set(verdict)
        with b.If(~judged):
            undefined = (self.form == 0) & self.looked_at.ule(self.readable) & ~self._needs_immediate()
            with b.If(self.readable.ult(MAX_LENGTH) & ~undefined):
                b.ret(DECODE_MORE)
            with b.If((self.form != 0) | self.looked_at.ugt(MAX_LENGTH)):
                b.ret(DECODE_ASK)
            length.set(self.looked_at)

    def _needs_immediate(self) -> Value:
        """Whether an immediate follows the opcode, i1: processors fetch it before they look at ModRM."""
        needed = self.b.local(1, 0)
        with self.b.Switch((self.escape.zext(32) << 8) | self.opcode) as cases:
            for opcode in _opcodes_with_immediates():
                with cases.case(opcode):
                    needed.set(1)
        return needed.get()

    # -- operands -------------------------------------------------------------------------------------------------

    def _register_slot(self, number: Value, byte: Value) -> Value:
        """Displacement of a register operand's slot (i32)."""
        high = (number.uge(4) & (byte != 0)).zext(32)
        first = state.offset("gpr")
        return ((number - (high << 2)) << 3) + high + first

    def _operands(self, length: Value) -> None:
        b, record = self.b, self.record
        self.memory = b.local(1, 0)
        base, index = b.local(32, NO_REGISTER), b.local(32, NO_REGISTER)
        scale, displacement = b.local(32, 0), b.local(32, 0)
        position = b.local(32, self.after)
        rm_number = b.local(32, self.opcode & 7)
        with b.If((self.flags & SHAPE_MODRM) != 0):
            position.set(self.after + 1)
            rm_number.set(self.modrm & 7)
            register_form = self.modrm.uge(0xC0) | ((self.flags & SHAPE_REGISTER_RM) != 0)
            with b.If(~register_form):
                self.memory.set(1)
                with b.IfElse(self.address32) as arm:
                    with arm.then():
                        self._modrm32(position, base, index, scale, displacement)
                    with arm.otherwise():
                        self._modrm16(position, base, index, displacement)
        self._immediate(position.get(), displacement)
        base_number = base.get()
        stack = (base_number == state.ESP) | (base_number == state.EBP)
        default = b.select(stack, b.const(SS, 32), DS)
        segment = self.segment.get()
        for name, value in (
            ("eip", self.eip),
            # not cut to 16 bits: code that runs off the end meets the limit of CS (SDM vol. 3B, 8086 emulation)
            ("next_eip", self.eip + length),
            ("displacement", displacement.get()),
            ("address_mask", b.select(self.address32, b.const(-1, 32), 0xFFFF)),
            ("base", self._address_register(base_number)),
            ("index", self._address_register(index.get())),
            ("reg", self._register_slot((self.modrm >> 3) & 7, SHAPE.get(b, self.shape, "reg_byte"))),
            ("rm", self._register_slot(rm_number.get(), SHAPE.get(b, self.shape, "rm_byte"))),
            ("form", self.form),
            ("scale", scale.get()),
            ("segment", b.select(segment == 8, default, segment)),
            ("length", length),
            ("reg_number", (self.modrm >> 3) & 7),
            ("rm_number", rm_number.get()),
            ("base_number", base_number),
            ("index_number", index.get()),
            ("modrm", self.modrm),
            ("thunk", b.const(0, 32)),
            ("flags_live", b.const(1, 8)),
        ):
            RECORD.put(b, record, name, value)

    def _address_register(self, number: Value) -> Value:
        b = self.b
        slot = (number << 3) + state.offset("gpr")
        return b.select(number == NO_REGISTER, b.const(state.offset("zero"), 32), slot)

    def _displacement(self, at: Value, size: int) -> Value:
        raw = self.b.load(self.code + at.zext(64), 8 * size)
        return raw.sext(32)

    def _modrm32(self, position: Local, base: Local, index: Local, scale: Local, displacement: Local) -> None:
        """32-bit addressing forms (SDM vol. 2 tables 2-2 and 2-3)."""
        b = self.b
        mod, rm = self.modrm >> 6, self.modrm & 7
        base.set(rm)
        with b.If(rm == 4):
            sib = _byte(b, self.code, self.after + 1)
            position.set(self.after + 2)
            base.set(sib & 7)
            number = (sib >> 3) & 7
            with b.If(number != 4):
                index.set(number)
                scale.set(sib >> 6)
        at = position.get()
        only_displacement = (mod == 0) & (base.get() == 5)
        with b.If(mod == 1):
            displacement.set(self._displacement(at, 1))
            position.set(at + 1)
        with b.If((mod == 2) | only_displacement):
            displacement.set(self._displacement(at, 4))
            position.set(at + 4)
        with b.If(only_displacement):
            base.set(NO_REGISTER)

    def _modrm16(self, position: Local, base: Local, index: Local, displacement: Local) -> None:
        """16-bit addressing forms (SDM vol. 2 table 2-1)."""
        b = self.b
        mod, rm = self.modrm >> 6, self.modrm & 7
        base.set(_nibbles(b, _BASES_16, rm))
        index.set(_nibbles(b, _INDEXES_16, rm))
        at = position.get()
        only_displacement = (mod == 0) & (rm == 6)
        with b.If(mod == 1):
            displacement.set(self._displacement(at, 1))
            position.set(at + 1)
        with b.If((mod == 2) | only_displacement):
            displacement.set(self._displacement(at, 2))
            position.set(at + 2)
        with b.If(only_displacement):
            base.set(NO_REGISTER)

    def _immediate(self, at: Value, displacement: Local) -> None:
        """Immediate, relative target, far pointer or absolute offset at position `at`."""
        b = self.b
        immediate, second = b.local(32, 0), b.local(32, 0)
        pointer = self.code + at.zext(64)
        full = b.select(self.operand32, b.load(pointer, 32), b.load(pointer, 16).zext(32))
        signed_byte = b.load(pointer, 8).sext(32)
        size = b.select(self.operand32, b.const(4, 32), 2)
        target_mask = b.select(self.operand32, b.const(-1, 32), 0xFFFF)
        with b.Switch(SHAPE.get(b, self.shape, "immediate")) as kind:
            with kind.case(IMMEDIATE_BYTE):
                immediate.set(signed_byte & 0xFF)
            with kind.case(IMMEDIATE_WORD):
                immediate.set(b.load(pointer, 16).zext(32))
            with kind.case(IMMEDIATE_FULL):
                immediate.set(full)
            with kind.case(IMMEDIATE_SIGNED_BYTE):
                immediate.set(signed_byte)
            with kind.case(IMMEDIATE_JUMP_BYTE):
                immediate.set((self.eip + at + 1 + signed_byte) & target_mask)
            with kind.case(IMMEDIATE_JUMP):
                immediate.set((self.eip + at + size + full) & target_mask)
            with kind.case(IMMEDIATE_FAR):
                immediate.set(full)
                second.set(b.load(pointer + size.zext(64), 16).zext(32))
            with kind.case(IMMEDIATE_OFFSET):
                displacement.set(b.select(self.address32, b.load(pointer, 32), b.load(pointer, 16).zext(32)))
                self.memory.set(1)
            with kind.case(IMMEDIATE_ENTER):
                immediate.set(b.load(pointer, 16).zext(32))
                second.set(b.load(pointer + 2, 8).zext(32))
        RECORD.put(b, self.record, "immediate", immediate.get())
        RECORD.put(b, self.record, "immediate2", second.get())

    def _handler(self) -> None:
        """Pick the interpreter handler: LOCK where it is not allowed is #UD (SDM vol. 2, LOCK)."""
        b = self.b
        memory = self.memory.get()
        repeat = b.select((self.flags & SHAPE_REP) != 0, self.rep.get(), 0)
        variant = (~self.operand32).zext(32) | (memory.zext(32) * VARIANT_MEMORY) | repeat
        legal = ~self.lock.get() | (memory & ((self.flags & SHAPE_LOCK) != 0))
        form = b.select(legal, self.form, 0)
        variant = b.select(legal, variant, 0)
        RECORD.put(b, self.record, "form", form)
        RECORD.put(b, self.record, "variant", variant)
        handlers = CONTROL.get_pointer(b, self.control, "handlers")
        place = ((form * VARIANTS) | variant) << 3
        RECORD.put(b, self.record, "handler", b.load(handlers + place.zext(64), 64))


def emit_decode(b: NativeContext) -> None:
    """Body of `decode_instruction`."""
    _Decoder(b).build()
