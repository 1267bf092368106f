"""Random x87, MMX and SSE programs out of the opcode table, the same ones for the same seed.

Each loads a whole FP state with FXRSTOR - registers, tags, rounding, precision, exception masks and flags -, executes
some instructions, and stores the state with FXSAVE, which looks at no pending exception. Registers and operands are
values that arithmetic finds difficult (fp_values.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache
from random import Random

from bt.x86.opcodes import PLAIN_FORMS, Form, Method
from bt.x86.opcodes.encoding import Encoding, parse_encoding
from bt.x86.opcodes.fp import FpUse, fp_use, is_fp
from tests.cases import layout
from tests.cases.model import EFLAGS_FIXED, FLAG_BITS, STATUS_FLAGS, Case, Outcome, State, with_every_instruction
from tests.oracles.fp_values import FpValues

LONGEST = 8
"""FP instructions in the longest program."""

# Where things are in the data region.
OPERANDS = layout.DATA.start + 0x800
_IMAGE = layout.DATA.start + 0x1000
_RESULT = layout.DATA.start + 0x2000
_ENVIRONMENTS = layout.DATA.start + 0x2400
_ENVIRONMENT_ROOM = 128
_CROSSING = layout.DATA.start + 0x1000 - 8
_LAST_BYTES = layout.DATA.end - 8

_EAX, _ECX, _EDX, _EBX, _ESP, _EBP, _ESI, _EDI = range(8)
_SCRATCH = (_EAX, _ECX, _EDX)
_CONTROL = frozenset(("x87.fldcw", "x87.fnstcw", "x87.fnstsw", "x87.fnclex", "x87.fninit", "x87.wait"))
_STORED = frozenset(("x87.fnstenv", "x87.fnsave"))
_MXCSR = frozenset(("sse.ldmxcsr", "sse.stmxcsr"))
_FXRSTOR, _FXSAVE = 0x0D, 0x05  # ModRM: /1 and /0 with an absolute address
IGNORED_POINTERS = (6, 18)
"""Bytes of an FXSAVE image that processors fill in by different rules: FOP, FIP, FCS, FDP, FDS."""
_IGNORED_MASK = (28, 4)  # MXCSR_MASK: the host's own
IGNORED_IMAGE = tuple(start + i for start, size in (IGNORED_POINTERS, _IGNORED_MASK) for i in range(size))
"""All of them."""


@dataclass(frozen=True)
class _Choice:
    form: Form
    encoding: Encoding
    weight: float


def _weight(form: Form) -> float:
    if is_fp(form):
        return 1.0
    if form.meaning in _CONTROL or form.meaning in _MXCSR:
        return 0.5
    return 0.3 if form.meaning in _STORED else 0.0


@cache
def choices() -> tuple[_Choice, ...]:
    """The forms that are generated."""
    weighted = ((form, _weight(form)) for form in PLAIN_FORMS)
    return tuple(_Choice(form, parse_encoding(form.encoding), weight) for form, weight in weighted if weight)


def generate(seed: int, count: int) -> list[Case]:
    """`count` programs of 1 to LONGEST instructions."""
    return [generate_one(f"{seed}.{number}") for number in range(count)]


def generate_one(seed: str) -> Case:
    """The program with this seed, a name such as "7.123"."""
    return _Generator(Random(seed), seed).case()


def stored_pointers(outcome: Outcome) -> tuple[int, int, int, int]:
    """FIP, FCS, FDP and FDS as a program stored them at its end."""
    image = bytes(outcome.state.byte(_RESULT + offset) for offset in range(24))
    ip, cs, dp, ds = struct.unpack_from("<IHxxIH", image, 8)
    return ip, cs, dp, ds


@dataclass
class _Generator:
    random: Random
    seed: str
    code: bytes = b""
    environments: int = 0
    values: FpValues = field(init=False)
    ignored: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = FpValues(self.random)

    def case(self) -> Case:
        """Load, compute, store."""
        self.ignored += [(_RESULT + IGNORED_POINTERS[0], IGNORED_POINTERS[1]), (_RESULT + _IGNORED_MASK[0], 4)]
        self.code = b"\x0f\xae" + bytes([_FXRSTOR]) + struct.pack("<I", _IMAGE)
        for _ in range(1 if self._chance(0.5) else self.random.randint(2, LONGEST)):
            self._add()
        self.code += b"\x0f\xae" + bytes([_FXSAVE]) + struct.pack("<I", _RESULT)
        return Case(
            self.code,
            start=self._start(),
            cpu=with_every_instruction(),
            ignored_memory=tuple(self.ignored),
            text=f"seed {self.seed}: hex: {self.code.hex(' ')}",
            where="random_fp",
        )

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # -- instructions -----------------------------------------------------------------------------------------------

    def _add(self) -> None:
        choice = self._choice()
        form, encoding = choice.form, choice.encoding
        prefix = bytes([encoding.prefix]) if encoding.prefix else b""
        if form.meaning in _STORED and self._chance(0.3):
            prefix = b"\x66"  # the 16-bit layout
        elif not encoding.prefix and not encoding.opcode_map and self._chance(0.02):
            prefix = self.random.choice((b"\xf2", b"\xf3", b"\x3e"))
        opcode = encoding.escape + bytes([encoding.opcodes[0]])
        self.code += prefix + opcode + (self._modrm(form, encoding) if encoding.modrm else b"")
        if any(operand.method is Method.IMMEDIATE for operand in form.operands):
            self.code += self.random.randbytes(1)
        if form.meaning == "fp.compare" or form.meaning.startswith("fp.test"):
            self._use_flags()

    def _use_flags(self) -> None:
        """Mostly, have somebody look at the result of a comparison: a Jcc over INC ECX, or SETcc DL."""
        condition = self.random.randrange(16)
        if self._chance(0.6):
            self.code += bytes((0x70 | condition, 1, 0x41))
        elif self._chance(0.6):
            self.code += bytes((0x0F, 0x90 | condition, 0xC2))

    def _choice(self) -> _Choice:
        while True:
            choice = self.random.choice(choices())
            if self._chance(choice.weight):
                return choice

    def _modrm(self, form: Form, encoding: Encoding) -> bytes:
        mod3 = self.random.choice(encoding.mods) and not form.memory_only
        reg, rm = self.random.choice(encoding.regs), self.random.choice(encoding.rms)
        use = fp_use(form, not mod3) if is_fp(form) else FpUse(0)
        if use.gpr_written:  # pointers stay
            number = self.random.choice(_SCRATCH)
            reg, rm = (number, rm) if use.gpr == "reg" else (reg, number)
        if mod3:
            return bytes([0xC0 | reg << 3 | rm])
        if form.meaning in _STORED:
            return self._environment(reg)
        kind = self.random.random()
        if kind < 0.9:
            step = 16 if use.aligned and self._chance(0.95) else 1
            return bytes([0x40 | reg << 3 | _EBX, self.random.randrange(-128, 112, step) & 0xFF])
        return bytes([0x40 | reg << 3 | (_EBP if kind < 0.97 else _ESI), 0])

    def _environment(self, reg: int) -> bytes:
        """An operand nobody else reads: it holds pointers that processors fill in by different rules."""
        where = _ENVIRONMENTS + self.environments * _ENVIRONMENT_ROOM
        self.environments += 1
        self.ignored += [(where + 6, 22)]
        return bytes([reg << 3 | 5]) + struct.pack("<I", where)

    # -- state ------------------------------------------------------------------------------------------------------

    def _start(self) -> State:
        random = self.random
        registers = [
            random.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, random.getrandbits(32))) for _ in range(8)
        ]
        registers[_EBX], registers[_EBP], registers[_ESI] = OPERANDS, _CROSSING, _LAST_BYTES
        registers[_EDI] = random.choice((OPERANDS + random.randrange(64), _CROSSING + random.randrange(8)))
        registers[_ESP] = layout.STACK_TOP
        flags = sum(FLAG_BITS[name] for name in STATUS_FLAGS if self._chance(0.5))
        memory = {
            OPERANDS - 0x100: b"".join(self.values.lane() for _ in range(0x20)),
            _CROSSING - 8: self.values.lane() + self._image(),
            _LAST_BYTES: random.randbytes(8),
        }
        return State(tuple(registers), layout.CODE.start, EFLAGS_FIXED | flags, memory)

    def _image(self) -> bytes:
        """An FXSAVE image; what follows `_CROSSING` is its beginning, so an operand there gets some of it."""
        random = self.random
        masks = 0x3F if self._chance(0.7) else random.getrandbits(6)
        control = random.getrandbits(16) & 0x0F00 | masks
        status = random.getrandbits(16) & 0x7F00 | (random.getrandbits(7) if self._chance(0.3) else 0)
        tags = 0xFF if self._chance(0.5) else random.getrandbits(8)
        mxcsr_masks = 0x1F80 if self._chance(0.7) else random.getrandbits(6) << 7
        mxcsr = random.getrandbits(16) & 0xE07F & (0xFFFF if self._chance(0.3) else 0x6000) | mxcsr_masks
        head = struct.pack("<HHBxH16xII", control, status, tags, 0, mxcsr, 0)
        stack = b"".join(self.values.extended() + bytes(6) for _ in range(8))
        xmm = b"".join(self.values.lane() for _ in range(8))
        return (head + stack + xmm).ljust(512, b"\0")
