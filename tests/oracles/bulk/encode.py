"""Encodings of a form, chosen at random: registers, operand and address size, addressing, prefixes, immediates."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from bt.x86.opcodes import CONDITIONS, Form, InstructionClass, Method, Width, eflags_mask
from bt.x86.opcodes.encoding import Encoding, parse_encoding
from bt.x86.opcodes.fp import is_fp
from tests.cases import layout
from tests.oracles.bulk.address import encode_address
from tests.oracles.bulk.rules import Rule
from tests.oracles.bulk.variant import Address, Variant, Where
from tests.oracles.random_code import BOUNDARIES, BYTE_BOUNDARIES, MEMORY_FORM_ONLY

_OPERAND_SIZE, _ADDRESS_SIZE, _LOCK = b"\x66", b"\x67", b"\xf0"
_REPEATS = (b"\xf2", b"\xf3")
_OVERRIDES = (b"\x26", b"\x36", b"\x3e", b"\x64", b"\x65")  # not CS, which cannot be written through
_SIZED = frozenset((Width.V, Width.Z, Width.VW, Width.A, Width.BS, Width.P))
_SIZED_LAYOUTS = frozenset((Width.ENVIRONMENT, Width.SAVE))
_SIZED_BY_CLASS = (InstructionClass.MEMORY, InstructionClass.CONTROL, InstructionClass.SENSITIVE)
_IN_MEMORY = frozenset(
    (Method.REGISTER_OR_MEMORY, Method.MEMORY_ONLY, Method.XMM_OR_MEMORY, Method.MMX_OR_MEMORY, Method.OFFSET)
)
_IMPLICIT_ADDRESS = frozenset(("string", "xlat", "loop", "masked"))
_BYTES = {
    Width.B: 1,
    Width.DB: 1,
    Width.W: 2,
    Width.DW: 2,
    Width.VW: 2,
    Width.D: 4,
    Width.Y: 4,
    Width.Q: 8,
    Width.QX: 8,
    Width.T: 10,
    Width.X: 16,
    Width.U: 16,
}
_LAYOUT_BYTES = {Width.ENVIRONMENT: 28, Width.SAVE: 108, Width.FX: 512, Width.NONE: 0}
_EAX, _ECX, _EDX, _ESP = 0, 1, 2, 4


@dataclass
class Encoder:
    """Encodes forms whose memory operands are to be at the place given."""

    random: Random
    rule: Rule
    where: Where
    origin: int  # of the instruction itself
    prefixes: list[bytes] = field(default_factory=list)

    def encode(self, form: Form) -> Variant:
        """One of its encodings."""
        random, encoding = self.random, parse_encoding(form.encoding)
        mod3 = encoding.modrm and self._register_form(form, encoding)
        in_memory = encoding.modrm and not mod3
        has_memory = in_memory or any(operand.method is Method.OFFSET for operand in form.operands)
        self.prefixes = []
        operand_bits = 32
        if _sized(form, encoding) and self.rule.operand_sizes and self._chance(0.3):
            self.prefixes.append(_OPERAND_SIZE)
            operand_bits = 16
        address_bits = 32
        if (has_memory or self.rule.kind in _IMPLICIT_ADDRESS) and self._chance(0.1):
            self.prefixes.append(_ADDRESS_SIZE)
            address_bits = 16
        if has_memory and form.lock and self._chance(0.2):
            self.prefixes.append(_LOCK)
        if (has_memory or self.rule.kind in ("string", "xlat")) and self._chance(0.1):
            self.prefixes.append(random.choice(_OVERRIDES))
        repeated = form.rep is not None and self._chance(0.6)
        if repeated:
            self.prefixes.append(random.choice(_REPEATS))
        random.shuffle(self.prefixes)
        if encoding.prefix:
            self.prefixes.append(bytes([encoding.prefix]))
        opcode = random.choice(encoding.opcodes)
        code = b"".join(self.prefixes) + encoding.escape + bytes([opcode])
        reg, rm = random.choice(encoding.regs), opcode & 7
        address: Address | None = None
        operand: int | None = None
        if mod3:
            rm = random.choice([number for number in encoding.rms if number not in self._barred(form)])
            code += bytes([0xC0 | reg << 3 | rm])
        elif in_memory:
            operand = self._target(form, operand_bits)
            busy = (*self.rule.busy, reg) if self.rule.register_busy else self.rule.busy
            tail, address = encode_address(random, reg, operand, address_bits, busy, self.rule.fixed(self.where))
            code += tail
            operand = None if self.rule.anywhere else operand
        elif has_memory:
            operand = self.where.pick(random, operand_bytes(form, operand_bits))
            code += (operand & (1 << address_bits) - 1).to_bytes(address_bits // 8, "little")
        immediates = self._immediates(form, operand_bits, len(code))
        return Variant(
            form,
            code + immediates,
            operand_bits,
            address_bits,
            repeated,
            address,
            operand,
            reg,
            rm,
            immediates[-1] if immediates else 0,
            self._head(form),
            self._tail(form),
        )

    def _target(self, form: Form, operand_bits: int) -> int:
        if self.rule.anywhere:
            return self.random.getrandbits(32)
        return self.where.pick(self.random, operand_bytes(form, operand_bits))

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _register_form(self, form: Form, encoding: Encoding) -> bool:
        if False not in encoding.mods or form.memory_only or form.name == MEMORY_FORM_ONLY:
            return False not in encoding.mods
        return True in encoding.mods and self._chance(0.5)

    def _barred(self, form: Form) -> tuple[int, ...]:
        """Registers that ModRM.rm must not name, because the instruction gives them another meaning."""
        if self.rule.kind == "divide":  # half of the dividend: AX is AL and AH
            return (_EAX, _ESP) if form.operands[0].width is Width.B else (_EAX, _EDX)
        return (_ESP,) if self.rule.kind == "control" else ()

    def _immediates(self, form: Form, operand_bits: int, before: int) -> bytes:
        """What follows opcode and ModRM; `before`: bytes of the instruction until there."""
        code = b""
        for operand in form.operands:
            if operand.method is Method.RELATIVE:
                size = 1 if operand.width is Width.B else operand_bits // 8
                distance = self.random.choice(self.where.pads) - (self.origin + before + size)
                code += (distance & (1 << 8 * size) - 1).to_bytes(size, "little")
            elif operand.method is Method.FAR_POINTER:
                code += self.random.choice(self.where.pads).to_bytes(operand_bits // 8, "little")
                code += layout.CODE_SELECTOR.to_bytes(2, "little")
            elif operand.method is Method.IMMEDIATE:
                size = {Width.B: 1, Width.BS: 1, Width.W: 2}.get(operand.width, operand_bits // 8)
                code += (self._immediate(size, operand_bits) & (1 << 8 * size) - 1).to_bytes(size, "little")
        return code

    def _immediate(self, size: int, operand_bits: int) -> int:
        if self.rule.immediates:
            return self.random.choice(self.rule.immediates)
        if self.rule.shift and operand_bits == 16:
            return self.random.getrandbits(3) << 5 | self.random.randint(0, 16)
        if self._chance(0.5):
            return self.random.choice(BYTE_BOUNDARIES if size == 1 else BOUNDARIES)
        return self.random.getrandbits(32)

    def _head(self, form: Form) -> bytes:
        """Mostly nothing, else an instruction that changes flags only, so that they are not yet worked out."""
        if is_fp(form) or self.rule.alone or self.rule.kind == "control" or self._chance(0.7):
            return b""
        opcode = self.random.choice((0x38, 0x39, 0x3A, 0x3B))  # CMP
        return bytes([opcode, 0xC0 | self.random.getrandbits(6)])

    def _tail(self, form: Form) -> bytes:
        """Mostly nothing, else a Jcc or SETcc that nobody else saw coming."""
        if self.rule.kind in ("control", "segment") or self._chance(0.6):
            return b""
        undefined = eflags_mask(form.undefines) | eflags_mask("c") * (form.name in ("shl", "shr"))
        usable = [n for n, (_, reads) in enumerate(CONDITIONS) if not eflags_mask(reads) & undefined]
        if not usable:
            return b""
        condition, marker = self.random.choice(usable), self.where.marker.to_bytes(4, "little")
        if self._chance(0.5):
            return bytes((0x0F, 0x90 | condition, 0x05)) + marker
        return bytes((0x70 | condition, 6, 0xF6, 0x15)) + marker  # over NOT of the marker


def _sized(form: Form, encoding: Encoding) -> bool:
    """Whether 66 does something to the form, or nothing; not where it makes another of it."""
    widths = {operand.width for operand in form.operands}
    if encoding.prefix:
        return Width.V in widths  # POPCNT, CRC32
    if form.chosen_by_prefix or is_fp(form):
        return False
    if widths & (_SIZED | _SIZED_LAYOUTS) or form.cls in _SIZED_BY_CLASS:
        return True
    return encoding.opcode_map == 0 and not form.meaning.startswith("x87.")


def operand_bytes(form: Form, operand_bits: int) -> int:
    """Size of the memory operand, 0 if it is not accessed."""
    width = next((operand.width for operand in form.operands if operand.method in _IN_MEMORY), Width.NONE)
    if width is Width.A:
        return operand_bits // 4
    if width is Width.P:
        return operand_bits // 8 + 2
    return (_BYTES | _LAYOUT_BYTES).get(width, operand_bits // 8)
