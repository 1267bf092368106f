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
    IMMEDIATE_WHOLE,
    IMMEDIATE_WORD,
    LONG_RECORD,
    LONG_VARIANTS,
    NO_REGISTER,
    NO_REGISTER_LONG,
    RECORD,
    SHAPE,
    SHAPE_BYTES,
    SHAPE_DEFAULT_64,
    SHAPE_FORCED_64,
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
from bt.x86.state import DS, FS, GS, SS

MAX_LENGTH = 15
# Bytes that decoding may look at, whatever they are: the most prefixes, then the longest instruction without any.
LOOK_AHEAD = 32

# state, code bytes, bytes readable there (at most MAX_LENGTH), EIP, record to fill. Answers the length, or DECODE_MORE
# (needs bytes beyond those readable).
DECODE = native("decode_instruction", PTR, PTR, "i32", "i32", PTR)
# The same for 64-bit code: RIP, and a LONG_RECORD to fill.
DECODE_LONG = native("decode_long_instruction", PTR, PTR, "i32", "i64", PTR)
DECODE_MORE = -1

_PREFIX_SEGMENTS = {0x26: 0, 0x2E: 1, 0x36: 2, 0x3E: 3, 0x64: 4, 0x65: 5}
_REX, _REX_W, _REX_R, _REX_X, _REX_B = 0x40, 8, 4, 2, 1
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
    """Builds `decode_instruction`, or with `long` `decode_long_instruction`; one method a stage."""

    def __init__(self, b: NativeContext, *, long: bool) -> None:
        self.b, self.long = b, long
        _, self.code, self.readable, self.eip, self.record = b.arguments
        self.control = b.get_pointer("engine")
        self.layout = LONG_RECORD if long else RECORD
        self.none = NO_REGISTER_LONG if long else NO_REGISTER
        self.width = 64 if long else 32  # of addresses and immediates

    def build(self) -> None:
        b = self.b
        self._prefixes()
        self._opcode()
        if self.long:
            self._long_sizes()
        else:
            code32 = (b.get("mode") & CODE_32) != 0
            self.operand32 = b.select(self.operand_override.get(), ~code32, code32)
            self.address32 = b.select(self.address_override.get(), ~code32, code32)
        self._operands()
        self._handler()
        b.ret(self.length)

    def _prefixes(self) -> None:
        b = self.b
        self.at = b.local(32, 0)
        self.operand_override, self.address_override = b.local(1, 0), b.local(1, 0)
        self.lock, self.rep = b.local(1, 0), b.local(32, 0)
        self.segment = b.local(32, 8)
        self.rex_byte = b.local(32, 0)
        with b.Loop() as loop:
            at = self.at.get()
            loop.break_if(at.uge(MAX_LENGTH) | at.uge(self.readable))
            byte = _byte(b, self.code, at)
            known = b.local(1, 1)
            if self.long:
                # it counts only right before the opcode (SDM vol. 2 2.2.1): another prefix behind it makes it void
                with b.If((byte & 0xF0) == _REX):
                    self.rex_byte.set(byte)
                    self.at.set(at + 1)
                    loop.continue_()
            with b.Switch(byte) as cases:
                for prefix, number in _PREFIX_SEGMENTS.items():
                    with cases.case(prefix):
                        if not self.long or number in (FS, GS):  # the others have no effect in 64-bit mode
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
            if self.long:
                self.rex_byte.set(0)
            self.at.set(at + 1)
        self.rex = self.rex_byte.get()

    def _opcode(self) -> None:
        """Find the form; `after` is where ModRM or the immediate begins."""
        b = self.b
        opcode_map = self._opcode_map()
        modrm = _byte(b, self.code, self.after)
        self.modrm = modrm
        dispatch = CONTROL.get_pointer(b, self.control, "long_dispatch" if self.long else "dispatch")
        rep = self.rep.get()
        row = b.select(
            rep == VARIANT_REPZ,
            b.const(2, 32),
            b.select(rep == VARIANT_REPNZ, b.const(3, 32), self.operand_override.get().zext(32)),
        )
        opcode = self.opcode
        if self.long:  # 90 is NOP only where it names no other register than EAX; but PAUSE looks at none
            other = (rep != VARIANT_REPZ) & ((self.rex & _REX_B) != 0)
            other = other & (opcode_map == 0) & (opcode == 0x90)
            opcode = b.select(other, b.const(0x91, 32), opcode)
        first = (opcode_map << 10) | (row << 8) | opcode
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
            handler = "long_length_handler" if self.long else "length_handler"
            self._put("handler", CONTROL.get(b, self.control, handler))
            self._put("form", UNDEFINED.id)
            self._put("variant", 0)
            self._put("eip", self.eip)
            if not self.long:
                self._put("next_eip", self.eip + 1)
            b.ret(MAX_LENGTH)
        self.length = end

    def _put(self, name: str, value: Value | int) -> None:
        self.layout.put(self.b, self.record, name, value)

    def _long_sizes(self) -> None:
        """Operand and address size of 64-bit code (SDM vol. 2 2.2.1.2, 2.2.1.7): `operand64` beats `operand32`."""
        wide = (self.rex & _REX_W) != 0
        override = self.operand_override.get()
        by_default = ((self.flags & SHAPE_DEFAULT_64) != 0) & ~override
        self.operand64 = wide | by_default | ((self.flags & SHAPE_FORCED_64) != 0)
        self.operand32 = self.operand64 | ~override
        self.address32 = self.address_override.get()

    # -- operands -------------------------------------------------------------------------------------------------

    def _extended(self, number: Value, bit: int) -> Value:
        """A register number with its fourth bit, which is in the REX prefix."""
        if not self.long:
            return number
        return number | ((self.rex & bit) << (4 - bit.bit_length()))

    def _register_slot(self, number: Value, byte: Value) -> Value:
        """Displacement of a register operand's slot (i32)."""
        is_high = number.uge(4) & (byte != 0)
        if self.long:
            is_high = is_high & (self.rex == 0)
        high = is_high.zext(32)
        return self._slot(number - (high << 2)) + high

    def _slot(self, number: Value) -> Value:
        """Displacement of a general register's slot (i32)."""
        slot = (number << 3) + state.offset("gpr")
        if self.long:
            slot = self.b.select(number.uge(8), slot + (state.offset("gpr", 8) - state.offset("gpr") - 64), slot)
        return slot

    def _operands(self) -> None:
        b, record = self.b, self.record
        self.memory = b.local(1, 0)
        base, index = b.local(32, self.none), b.local(32, self.none)
        scale, displacement = b.local(32, 0), b.local(self.width, 0)
        position = b.local(32, self.after)
        rm_number = b.local(32, self._extended(self.opcode & 7, _REX_B))
        self.relative = b.local(1, 0)
        with b.If((self.flags & SHAPE_MODRM) != 0):
            position.set(self.after + 1)
            rm_number.set(self._extended(self.modrm & 7, _REX_B))
            register_form = self.modrm.uge(0xC0) | ((self.flags & SHAPE_REGISTER_RM) != 0)
            with b.If(~register_form):
                self.memory.set(1)
                if self.long:
                    self._modrm32(position, base, index, scale, displacement)
                else:
                    with b.IfElse(self.address32) as arm:
                        with arm.then():
                            self._modrm32(position, base, index, scale, displacement)
                        with arm.otherwise():
                            self._modrm16(position, base, index, displacement)
        self._fetched(self._immediate(position.get(), displacement))
        if self.long:
            behind = self.eip + self.length.zext(64)
            displacement.set(displacement.get() + b.select(self.relative.get(), behind, b.const(0, 64)))
        base_number = base.get()
        stack = (base_number == state.ESP) | (base_number == state.EBP)
        default = b.select(stack, b.const(SS, 32), DS)
        segment = self.segment.get()
        reg_number = self._extended((self.modrm >> 3) & 7, _REX_R)
        for name, value in (
            ("eip", self.eip),
            *self._only_here(),
            ("displacement", displacement.get()),
            ("base", self._address_register(base_number)),
            ("index", self._address_register(index.get())),
            ("reg", self._register_slot(reg_number, SHAPE.get(b, self.shape, "reg_byte"))),
            ("rm", self._register_slot(rm_number.get(), SHAPE.get(b, self.shape, "rm_byte"))),
            ("form", self.form),
            ("scale", scale.get()),
            ("segment", b.select(segment == 8, default, segment)),
            ("length", self.length),
            ("reg_number", reg_number),
            ("rm_number", rm_number.get()),
            ("base_number", base_number),
            ("index_number", index.get()),
            ("modrm", self.modrm),
            ("thunk", b.const(0, 32)),
            ("flags_live", b.const(1, 8)),
        ):
            self.layout.put(b, record, name, value)

    def _only_here(self) -> tuple[tuple[str, Value], ...]:
        """Fields that the other kind of record has not."""
        b = self.b
        if self.long:
            return ("address_size_32", self.address32.zext(8)), ("rex", self.rex)
        return (
            # not cut to 16 bits: code that runs off the end meets the limit of CS (SDM vol. 3B, 8086 emulation)
            ("next_eip", self.eip + self.length),
            ("address_mask", b.select(self.address32, b.const(-1, 32), 0xFFFF)),
        )

    def _address_register(self, number: Value) -> Value:
        b = self.b
        return b.select(number == self.none, b.const(state.offset("zero"), 32), self._slot(number))

    def _displacement(self, at: Value, size: int) -> Value:
        raw = self.b.load(self.code + at.zext(64), 8 * size)
        return raw.sext(self.width)

    def _modrm32(self, position: Local, base: Local, index: Local, scale: Local, displacement: Local) -> None:
        """32-bit addressing forms (SDM vol. 2 tables 2-2 and 2-3), and those of 64-bit code (2.2.1.6)."""
        b = self.b
        mod, rm = self.modrm >> 6, self.modrm & 7
        base.set(rm)
        self.relative.set((mod == 0) & (rm == 5))
        with b.If(rm == 4):
            sib = _byte(b, self.code, self.after + 1)
            position.set(self.after + 2)
            base.set(sib & 7)
            number = self._extended((sib >> 3) & 7, _REX_X)
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
        base.set(b.select(only_displacement, b.const(self.none, 32), self._extended(base.get(), _REX_B)))

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
        immediate, second, end = b.local(self.width, 0), b.local(32, 0), b.local(32, at)
        pointer = self.code + at.zext(64)
        word = b.load(pointer, 16)
        word = word.sext(64) if self.long else word.zext(32)
        full = b.select(self.operand32, b.load(pointer, 32).sext(self.width), word)
        signed_byte = b.load(pointer, 8).sext(self.width)
        size = b.select(self.operand32, b.const(4, 32), 2)
        target_mask = b.const(-1, self.width)  # in 64-bit code near branches have 64 bits
        if not self.long:
            target_mask = b.select(self.operand32, target_mask, 0xFFFF)
        with b.Switch(SHAPE.get(b, self.shape, "immediate")) as kind:
            with kind.case(IMMEDIATE_BYTE):
                immediate.set(signed_byte & 0xFF)
                end.set(at + 1)
            with kind.case(IMMEDIATE_WORD):
                immediate.set(b.load(pointer, 16).zext(self.width))
                end.set(at + 2)
            with kind.case(IMMEDIATE_FULL):
                immediate.set(full)
                end.set(at + size)
            with kind.case(IMMEDIATE_WHOLE):
                immediate.set(full)
                end.set(at + size)
                if self.long:
                    with b.If(self.operand64):
                        immediate.set(b.load(pointer, 64))
                        end.set(at + 8)
            with kind.case(IMMEDIATE_SIGNED_BYTE):
                immediate.set(signed_byte)
                end.set(at + 1)
            with kind.case(IMMEDIATE_JUMP_BYTE):
                end.set(at + 1)
                immediate.set((self.eip + end.get().zext(self.width) + signed_byte) & target_mask)
            with kind.case(IMMEDIATE_JUMP):
                end.set(at + size)
                immediate.set((self.eip + end.get().zext(self.width) + full) & target_mask)
            with kind.case(IMMEDIATE_FAR):
                immediate.set(full)
                second.set(b.load(pointer + size.zext(64), 16).zext(32))
                end.set(at + size + 2)
            with kind.case(IMMEDIATE_OFFSET):
                dword = b.load(pointer, 32).zext(self.width)
                other, other_size = (b.load(pointer, 64), 8) if self.long else (b.load(pointer, 16).zext(32), 2)
                displacement.set(b.select(self.address32, dword, other))
                end.set(at + b.select(self.address32, b.const(4, 32), other_size))
                self.memory.set(1)
            with kind.case(IMMEDIATE_ENTER):
                immediate.set(b.load(pointer, 16).zext(self.width))
                second.set(b.load(pointer + 2, 8).zext(32))
                end.set(at + 3)
        self._put("immediate", immediate.get())
        self._put("immediate2", second.get())
        return end.get()

    def _handler(self) -> None:
        """Pick the interpreter handler: LOCK where it is not allowed is #UD (SDM vol. 2, LOCK)."""
        b = self.b
        memory = self.memory.get()
        repeat = b.select((self.flags & SHAPE_REP) != 0, self.rep.get(), 0)
        size = b.select(self.operand32, b.const(VARIANT_SIZE[32], 32), VARIANT_SIZE[16])
        if self.long:
            size = b.select(self.operand64, b.const(VARIANT_SIZE[64], 32), size)
        variant = size | (memory.zext(32) * VARIANT_MEMORY) | repeat
        legal = ~self.lock.get() | (memory & ((self.flags & SHAPE_LOCK) != 0))
        form = b.select(legal, self.form, UNDEFINED.id)
        variant = b.select(form == UNDEFINED.id, b.const(0, 32), variant)
        self._put("form", form)
        self._put("variant", variant)
        handlers = CONTROL.get_pointer(b, self.control, "long_handlers" if self.long else "handlers")
        place = (form * (LONG_VARIANTS if self.long else VARIANTS) + variant) << 3
        self._put("handler", b.load(handlers + place.zext(64), 64))


def emit_decode(b: NativeContext) -> None:
    """Body of `decode_instruction`."""
    _Decoder(b, long=False).build()


def emit_decode_long(b: NativeContext) -> None:
    """Body of `decode_long_instruction`."""
    _Decoder(b, long=True).build()
