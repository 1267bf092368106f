"""Guest bytes to decoded records, in generated code.

Everything comes from the bytes and our own opcode table, the length too: no byte is fetched that the processor would
not fetch, so an instruction that ends with its page runs whatever lies behind. bt/x86/decode.py is the same in Python.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.builder import Local
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
    VARIANT_SIZE,
    VARIANTS,
)
from bt.memory.access import NativeContext
from bt.x86 import state
from bt.x86.mode import CODE_32
from bt.x86.opcodes import FORMS, UNDEFINED
from bt.x86.opcodes.encoding import ESCAPES
from bt.x86.state import DS, SS

MAX_LENGTH = 15
# Bytes that decoding may look at, whatever they are: the most prefixes, then the longest instruction without any.
LOOK_AHEAD = 32

# state, code bytes, bytes readable there (at most MAX_LENGTH), EIP, record to fill. Answers the length, or DECODE_MORE
# (needs bytes beyond those readable).
DECODE = native("decode_instruction", PTR, PTR, "i32", "i32", PTR)
DECODE_MORE = -1

_PREFIX_SEGMENTS = {0x26: 0, 0x2E: 1, 0x36: 2, 0x3E: 3, 0x64: 4, 0x65: 5}
# Base and index of 16-bit addressing (SDM vol. 2 table 2-1), by ModRM.rm; 8 = none.
_BASES_16 = (3, 3, 5, 5, 6, 7, 5, 3)
_INDEXES_16 = (6, 7, 6, 7, 8, 8, 8, 8)


def _byte(b: NativeContext, pointer: Value, at: Value | int = 0) -> Value:
    return b.load(pointer + (at if isinstance(at, int) else at.zext(64)), 8).zext(32)


def nibbles(b: NativeContext, values: tuple[int, ...], index: Value) -> Value:
    """values[index] (i32) of eight values below 16, i32."""
    packed = sum(v << (4 * i) for i, v in enumerate(values))
    return (b.const(packed, 32) >> (index << 2)) & 15


class _Decoder:
    """Builds `decode_instruction`; one method a stage."""

    def __init__(self, b: NativeContext) -> None:
        self.b = b
        _, self.code, self.readable, self.eip, self.record = b.arguments
        self.control = b.get_pointer("engine")
        self.code32 = (b.get("mode") & CODE_32) != 0

    def build(self) -> None:
        b = self.b
        self._prefixes()
        self._opcode()
        self.operand32 = b.select(self.operand_override.get(), ~self.code32, self.code32)
        self.address32 = b.select(self.address_override.get(), ~self.code32, self.code32)
        self._operands()
        self._handler()
        b.ret(self.length)

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
        opcode_map = self._opcode_map()
        modrm = _byte(b, self.code, self.after)
        self.modrm = modrm
        dispatch = CONTROL.get_pointer(b, self.control, "dispatch")
        rep = self.rep.get()
        row = b.select(
            rep == VARIANT_REPZ,
            b.const(2, 32),
            b.select(rep == VARIANT_REPNZ, b.const(3, 32), self.operand_override.get().zext(32)),
        )
        first = (opcode_map << 10) | (row << 8) | self.opcode
        entry = b.local(32, b.load(dispatch + (first << 1).zext(64), 16).zext(32))
        grouped = (entry.get() & 0x8000) != 0
        with b.If(grouped):
            mod3 = modrm.uge(0xC0).zext(32) << 3
            index = (entry.get() & 0x7FFF) + ((modrm >> 3) & 7) + mod3
            entry.set(b.load(dispatch + (index << 1).zext(64), 16).zext(32))
        with b.If((entry.get() & 0x8000) != 0):
            index = (entry.get() & 0x7FFF) + (modrm & 7)
            entry.set(b.load(dispatch + (index << 1).zext(64), 16).zext(32))
        self.form = entry.get()
        undefined = (opcode_map << 8) + self.opcode + len(FORMS)
        number = b.select(self.form == UNDEFINED.id, undefined, self.form)
        self.shape = CONTROL.get_pointer(b, self.control, "shapes") + (number * SHAPE_BYTES).zext(64)
        self.flags = SHAPE.get(b, self.shape, "flags").zext(32)

    def _opcode_map(self) -> Value:
        """Find map and opcode; answers the former."""
        b, at = self.b, self.at.get()
        first, second = _byte(b, self.code, at), _byte(b, self.code, at + 1)
        opcode_map, position, opcode = b.local(32, 0), b.local(32, at), b.local(32, first)
        for (from_map, byte), to_map in ESCAPES.items():
            if not from_map:  # common enough to do without a branch
                escape = first == byte
                opcode_map.set(b.select(escape, b.const(to_map, 32), 0))
                position.set(b.select(escape, at + 1, at))
                opcode.set(b.select(escape, second, first))
            else:
                with b.Unlikely((opcode_map.get() == from_map) & (second == byte)):
                    opcode_map.set(to_map)
                    position.set(at + 2)
                    opcode.set(_byte(b, self.code, at + 2))
        self.opcode = opcode.get()
        self.after = position.get() + 1
        return opcode_map.get()

    def _fetched(self, end: Value) -> None:
        """Leave unless the instruction's `end` bytes are readable and not too many; set `length`.

        Where they are not all readable `end` was worked out from bytes that mean nothing. But the readable ones ask for
        the first of these, so that `end` lies beyond the readable ones in any case.
        """
        b = self.b
        with b.Unlikely(end.ugt(self.readable)):
            # what is too long is only found out when 15 bytes have been fetched
            with b.If(self.readable.ult(MAX_LENGTH)):
                b.ret(DECODE_MORE)
            RECORD.put(b, self.record, "handler", CONTROL.get(b, self.control, "length_handler"))
            RECORD.put(b, self.record, "form", UNDEFINED.id)
            RECORD.put(b, self.record, "variant", 0)
            RECORD.put(b, self.record, "eip", self.eip)
            RECORD.put(b, self.record, "next_eip", self.eip + 1)
            b.ret(MAX_LENGTH)
        self.length = end

    # -- operands -------------------------------------------------------------------------------------------------

    def _register_slot(self, number: Value, byte: Value) -> Value:
        """Displacement of a register operand's slot (i32)."""
        high = (number.uge(4) & (byte != 0)).zext(32)
        first = state.offset("gpr")
        return ((number - (high << 2)) << 3) + high + first

    def _operands(self) -> None:
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
        self._fetched(self._immediate(position.get(), displacement))
        base_number = base.get()
        stack = (base_number == state.ESP) | (base_number == state.EBP)
        default = b.select(stack, b.const(SS, 32), DS)
        segment = self.segment.get()
        for name, value in (
            ("eip", self.eip),
            # not cut to 16 bits: code that runs off the end meets the limit of CS (SDM vol. 3B, 8086 emulation)
            ("next_eip", self.eip + self.length),
            ("displacement", displacement.get()),
            ("address_mask", b.select(self.address32, b.const(-1, 32), 0xFFFF)),
            ("base", self._address_register(base_number)),
            ("index", self._address_register(index.get())),
            ("reg", self._register_slot((self.modrm >> 3) & 7, SHAPE.get(b, self.shape, "reg_byte"))),
            ("rm", self._register_slot(rm_number.get(), SHAPE.get(b, self.shape, "rm_byte"))),
            ("form", self.form),
            ("scale", scale.get()),
            ("segment", b.select(segment == 8, default, segment)),
            ("length", self.length),
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
        base.set(nibbles(b, _BASES_16, rm))
        index.set(nibbles(b, _INDEXES_16, rm))
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

    def _immediate(self, at: Value, displacement: Local) -> Value:
        """Immediate, relative target, far pointer or absolute offset at position `at`; answers the position behind."""
        b = self.b
        immediate, second, end = b.local(32, 0), b.local(32, 0), b.local(32, at)
        pointer = self.code + at.zext(64)
        full = b.select(self.operand32, b.load(pointer, 32), b.load(pointer, 16).zext(32))
        signed_byte = b.load(pointer, 8).sext(32)
        size = b.select(self.operand32, b.const(4, 32), 2)
        target_mask = b.select(self.operand32, b.const(-1, 32), 0xFFFF)
        with b.Switch(SHAPE.get(b, self.shape, "immediate")) as kind:
            with kind.case(IMMEDIATE_BYTE):
                immediate.set(signed_byte & 0xFF)
                end.set(at + 1)
            with kind.case(IMMEDIATE_WORD):
                immediate.set(b.load(pointer, 16).zext(32))
                end.set(at + 2)
            with kind.case(IMMEDIATE_FULL):
                immediate.set(full)
                end.set(at + size)
            with kind.case(IMMEDIATE_SIGNED_BYTE):
                immediate.set(signed_byte)
                end.set(at + 1)
            with kind.case(IMMEDIATE_JUMP_BYTE):
                end.set(at + 1)
                immediate.set((self.eip + end.get() + signed_byte) & target_mask)
            with kind.case(IMMEDIATE_JUMP):
                end.set(at + size)
                immediate.set((self.eip + end.get() + full) & target_mask)
            with kind.case(IMMEDIATE_FAR):
                immediate.set(full)
                second.set(b.load(pointer + size.zext(64), 16).zext(32))
                end.set(at + size + 2)
            with kind.case(IMMEDIATE_OFFSET):
                displacement.set(b.select(self.address32, b.load(pointer, 32), b.load(pointer, 16).zext(32)))
                end.set(at + b.select(self.address32, b.const(4, 32), 2))
                self.memory.set(1)
            with kind.case(IMMEDIATE_ENTER):
                immediate.set(b.load(pointer, 16).zext(32))
                second.set(b.load(pointer + 2, 8).zext(32))
                end.set(at + 3)
        RECORD.put(b, self.record, "immediate", immediate.get())
        RECORD.put(b, self.record, "immediate2", second.get())
        return end.get()

    def _handler(self) -> None:
        """Pick the interpreter handler: LOCK where it is not allowed is #UD (SDM vol. 2, LOCK)."""
        b = self.b
        memory = self.memory.get()
        repeat = b.select((self.flags & SHAPE_REP) != 0, self.rep.get(), 0)
        size = b.select(self.operand32, b.const(VARIANT_SIZE[32], 32), VARIANT_SIZE[16])
        variant = size | (memory.zext(32) * VARIANT_MEMORY) | repeat
        legal = ~self.lock.get() | (memory & ((self.flags & SHAPE_LOCK) != 0))
        form = b.select(legal, self.form, UNDEFINED.id)
        variant = b.select(form == UNDEFINED.id, b.const(0, 32), variant)
        RECORD.put(b, self.record, "form", form)
        RECORD.put(b, self.record, "variant", variant)
        handlers = CONTROL.get_pointer(b, self.control, "handlers")
        place = (form * VARIANTS + variant) << 3
        RECORD.put(b, self.record, "handler", b.load(handlers + place.zext(64), 64))


def emit_decode(b: NativeContext) -> None:
    """Body of `decode_instruction`."""
    _Decoder(b).build()
