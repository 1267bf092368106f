"""Random well-formed user-mode instructions out of the opcode table, the same ones for the same seed.

Every case starts with pointers into mapped memory in EBX, EBP, ESI and EDI and a stack full of return addresses, so
that most accesses succeed; what an instruction makes of them is left to chance, so some fault.  Jumps go forward only.
No instruction reads a flag that an earlier one may have left undefined.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from random import Random

from bt.x86.opcodes import PLAIN_FORMS, Form, InstructionClass, Method, Operand, Width, eflags_mask
from bt.x86.opcodes.encoding import Encoding, parse_encoding
from tests.cases import layout
from tests.cases.instruction import operand_bits
from tests.cases.model import EFLAGS_FIXED, FLAG_BITS, STATUS_FLAGS, STATUS_MASK, Case, State, with_every_instruction

LONGEST = 20
"""Instructions in the longest sequence."""

BOUNDARIES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
BYTE_BOUNDARIES = (0, 1, 2, 7, 8, 15, 16, 31, 32, 0x7F, 0x80, 0xFF)

_EAX, _ECX, _EDX, _EBX, _ESP, _EBP, _ESI, _EDI = range(8)
_POINTERS = (_EBX, _EBP, _ESI, _EDI)
_SCRATCH = (_EAX, _ECX, _EDX)

_SENSITIVE_BUT_SAFE = frozenset({"segment.store", "segment.push", "flags.pushf", "interrupts.into", "interrupts.int3"})
"""Sensitive instructions whose result at CPL 3 is the same on the host as in a flat guest."""
_LEFT_OUT = {
    "arpl": "Unicorn's writes, and faults, without a change as well",
    "jmp": "its register form would run data as code",
    "call": "likewise",
}
MEMORY_FORM_ONLY = "prefetchw"
"""Its register form is #UD on AMD processors and nothing on Intel's."""
_ENDS_A_SEQUENCE = frozenset({"bound", "div", "idiv", "into", "int3", "ret", "ud0", "ud1", "ud2", "popa", "leave"})
"""Chosen rarely, because what follows them seldom runs."""
_RARE = 0.1

_OPERAND_SIZE, _ADDRESS_SIZE, _LOCK, _REP, _REPNE = 0x66, 0x67, 0xF0, 0xF3, 0xF2
_OVERRIDES = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65)


@dataclass(frozen=True)
class _Choice:
    """A form that may be generated, with its encoding taken apart."""

    form: Form
    encoding: Encoding
    weight: float

    @property
    def relative(self) -> bool:
        """Whether it is a relative branch."""
        return any(operand.method is Method.RELATIVE for operand in self.form.operands)


@dataclass
class _Instruction:
    """One generated instruction: `code` without the displacement of a branch, which goes to instruction `target`."""

    code: bytes
    displacement_bytes: int = 0
    target: int = 0


@cache
def choices() -> tuple[_Choice, ...]:
    """The forms that are generated."""
    found = []
    for form in PLAIN_FORMS:
        safe = form.meaning in _SENSITIVE_BUT_SAFE
        if form.meaning.startswith(("fp.", "x87.", "sse.")):  # see random_fp.py
            continue
        if form.cls in (InstructionClass.PRIVILEGED, InstructionClass.SENSITIVE) and not safe:
            continue
        relative = any(operand.method is Method.RELATIVE for operand in form.operands)
        if form.name in _LEFT_OUT and not relative:
            continue
        found.append(_Choice(form, parse_encoding(form.encoding), _RARE if form.name in _ENDS_A_SEQUENCE else 1.0))
    return tuple(found)


def generate(seed: int, count: int) -> list[Case]:
    """`count` cases of 1 to LONGEST instructions; `ignored_flags` are those undefined if the case runs to its end."""
    return [generate_one(f"{seed}.{number}") for number in range(count)]


def generate_one(seed: str) -> Case:
    """The case with this seed, a name such as "7.123"."""
    return _Generator(Random(seed), seed).case()


@dataclass
class _Generator:
    """One case in the making."""

    random: Random
    seed: str
    bits: int = 32
    undefined: int = 0
    skipped_until: int = 0
    instructions: list[_Instruction] = field(default_factory=list)

    def case(self) -> Case:
        """Choose a length, then instructions, then the state they start in."""
        self.bits = 16 if self._chance(0.1) else 32
        length = 1 if self._chance(0.3) else self.random.randint(2, LONGEST)
        while len(self.instructions) < length:
            self._add(length)
        code = self._link()
        case = Case(code, bits=self.bits)
        return Case(
            code,
            start=self._start(case.origin),
            bits=self.bits,
            cpu=with_every_instruction(),
            ignored_flags=self.undefined,
            text=f"seed {self.seed}: hex: {code.hex(' ')}",
            where="random_code",
        )

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _add(self, length: int) -> None:
        choice = self.random.choice(choices())
        form, here = choice.form, len(self.instructions)
        if not self._chance(choice.weight) or (form.reads and eflags_mask(form.reads) & self.undefined & STATUS_MASK):
            return
        instruction = self._branch(choice, here, length) if choice.relative else _Instruction(self._encode(choice))
        if _is_undefined(form, instruction.code, self.bits):
            return
        self.instructions.append(instruction)
        certain = not form.may_keep_flags and not form.rep and here >= self.skipped_until
        if certain:
            self.undefined &= ~eflags_mask(form.writes)
        self.undefined |= (eflags_mask(form.undefines) | _carry_lost(form, instruction.code, self.bits)) & STATUS_MASK

    def _branch(self, choice: _Choice, here: int, length: int) -> _Instruction:
        """A relative branch over some of the following instructions."""
        target = self.random.randint(here + 1, min(length, here + 4))
        self.skipped_until = max(self.skipped_until, target)
        width = choice.form.operands[0].width
        size = 1 if width is Width.B else self.bits // 8
        code = bytes([self.random.choice(choice.encoding.opcodes)])
        return _Instruction(choice.encoding.escape + code, size, target)

    def _link(self) -> bytes:
        """All code, displacements filled in."""
        sizes = [len(item.code) + item.displacement_bytes for item in self.instructions]
        code = b""
        for number, item in enumerate(self.instructions):
            distance = sum(sizes[number + 1 : item.target])
            code += item.code + distance.to_bytes(item.displacement_bytes, "little")
        return code

    def _encode(self, choice: _Choice) -> bytes:
        """Prefixes, opcode, ModRM, immediates; memory operands where the form allows them."""
        form, encoding, random = choice.form, choice.encoding, self.random
        wide = any(operand.width in (Width.V, Width.Z, Width.VW, Width.A, Width.BS) for operand in form.operands)
        stack_or_string = form.cls is InstructionClass.MEMORY
        prefixes = []
        operand_bytes = self.bits // 8
        if (wide or stack_or_string) and form.cls is not InstructionClass.CONTROL and self._chance(0.25):
            prefixes.append(_OPERAND_SIZE)
            operand_bytes = 6 - operand_bytes
        address_bits = self.bits
        in_memory = encoding.modrm and (
            form.memory_only or form.name == MEMORY_FORM_ONLY or (False in encoding.mods and self._chance(0.5))
        )
        if (in_memory or form.rep) and self._chance(0.04):
            prefixes.append(_ADDRESS_SIZE)
            address_bits = 48 - address_bits
        if in_memory and self._chance(0.15 if form.lock else 0.005):
            prefixes.append(_LOCK)
        if self._chance(0.03):
            prefixes.append(random.choice(_OVERRIDES))
        if form.rep and self._chance(0.6):
            prefixes.append(random.choice((_REP, _REPNE)))
        random.shuffle(prefixes)
        if encoding.prefix:
            prefixes.append(encoding.prefix)
        code = bytes(prefixes) + encoding.escape
        if len(encoding.opcodes) == 8:
            code += bytes([encoding.opcodes[self._register()]])
        else:
            code += bytes([random.choice(encoding.opcodes)])
        if encoding.modrm:
            code += self._modrm(choice, in_memory, address_bits)
        for operand in form.operands:
            code += self._immediate(form, operand, operand_bytes, address_bits)
        return code

    def _register(self) -> int:
        """A register to work on: mostly not a pointer, seldom ESP."""
        if self._chance(0.85):
            return self.random.choice(_SCRATCH)
        return _ESP if self._chance(0.1) else self.random.choice(_POINTERS)

    def _modrm(self, choice: _Choice, in_memory: bool, address_bits: int) -> bytes:
        encoding = choice.encoding
        free = any(operand.method is Method.REGISTER for operand in choice.form.operands)
        reg = self._register() if free else self.random.choice(encoding.regs)
        if not in_memory:
            whole = len(encoding.rms) == 8
            return bytes([0xC0 | reg << 3 | (self._register() if whole else self.random.choice(encoding.rms))])
        return self._memory(reg << 3, address_bits)

    def _memory(self, reg: int, address_bits: int) -> bytes:
        """A ModRM byte with what follows it, for an address that is probably mapped."""
        random = self.random
        signed_byte = random.randrange(256)
        if address_bits == 16:
            if self._chance(0.3):
                return bytes([reg | 6]) + self._low_address().to_bytes(2, "little")
            return bytes([0x40 | reg | random.choice((4, 5, 6, 7)), signed_byte])
        kind = random.random()
        if kind < 0.3:
            address = random.randrange(layout.DATA.start, layout.DATA.end)
            return bytes([reg | 5]) + address.to_bytes(4, "little")
        if kind < 0.8:
            return bytes([0x40 | reg | random.choice(_POINTERS), signed_byte])
        if kind < 0.87:
            return bytes([0x44 | reg, 0x24, signed_byte & 0x3F])
        # base and index as they come: an index is only small by luck
        sib = random.randrange(4) << 6 | random.choice(_SCRATCH) << 3 | random.choice(_POINTERS)
        return bytes([0x44 | reg, sib, signed_byte])

    def _low_address(self) -> int:
        return self.random.randrange(layout.LOW_DATA.start, layout.LOW_DATA.end)

    def _immediate(self, form: Form, operand: Operand, operand_bytes: int, address_bits: int) -> bytes:
        if operand.method is Method.OFFSET:
            region = layout.LOW_DATA if address_bits == 16 else layout.DATA
            return self.random.randrange(region.start, region.end).to_bytes(address_bits // 8, "little")
        if operand.method is not Method.IMMEDIATE:
            return b""
        if operand.width in (Width.B, Width.BS):
            return bytes([self.random.choice((*BYTE_BOUNDARIES, self.random.randrange(256)))])
        size = 2 if operand.width is Width.W else operand_bytes
        # a word immediate is what RET and ENTER take off the stack
        value = self.random.randrange(64) if operand.width is Width.W else self._value()
        return (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def _value(self) -> int:
        if self._chance(0.4):
            return self.random.choice(BOUNDARIES)
        return self.random.randrange(64) if self._chance(0.3) else self.random.getrandbits(32)

    def _start(self, origin: int) -> State:
        """Random flags, values and memory; pointers into the middle of the data region, the low one for 16-bit code."""
        random = self.random
        region = layout.LOW_DATA if self.bits == 16 else layout.DATA
        registers = [self._value() for _ in range(8)]
        for pointer in _POINTERS:
            high = random.getrandbits(16) << 16 if self.bits == 16 and self._chance(0.5) else 0
            registers[pointer] = high | region.start + 0x100 + random.randrange(region.size - 0x200)
        registers[_ESP] = layout.STACK_TOP + random.randrange(-64, 64) * (4 if self._chance(0.8) else 1)
        if self._chance(0.5):
            registers[_ECX] = random.randrange(24)
        flags = sum(FLAG_BITS[name] for name in STATUS_FLAGS if self._chance(0.5)) | FLAG_BITS["df"] * self._chance(0.2)
        filler = layout.LOW_CODE if self.bits == 16 else layout.CODE
        # where a RET goes: filler behind any sequence, so that the run ends there
        returns = (random.randrange(filler.start + 0x800, filler.end).to_bytes(4, "little") for _ in range(256))
        memory = {
            region.start: random.randbytes(region.size),
            layout.READ_ONLY.start: random.randbytes(64),
            layout.STACK_TOP - 512: b"".join(returns),
        }
        return State(tuple(registers), origin, EFLAGS_FIXED | flags, memory)


def _is_undefined(form: Form, code: bytes, bits: int) -> bool:
    """Whether the result, not just flags, is undefined: BSWAP of 16 bits, double shifts of 16 bits by more than 16."""
    if form.name == "bswap":
        return (_OPERAND_SIZE in code[:4]) != (bits == 16)
    if form.name in ("shld", "shrd") and operand_bits(bits, code, form) == 16:
        return form.operands[-1].method is not Method.IMMEDIATE or code[-1] & 31 > 16
    return False


def _carry_lost(form: Form, code: bytes, bits: int) -> int:
    """CF is undefined after SHL and SHR by as many bits as the operand has, which 8 and 16-bit operands allow."""
    if form.name not in ("shl", "shr") or form.operands[-1].method is Method.ONE:
        return 0
    width = operand_bits(bits, code, form)
    if width == 32 or (form.operands[-1].method is Method.IMMEDIATE and code[-1] & 31 < width):
        return 0
    return FLAG_BITS["cf"]
