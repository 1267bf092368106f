"""Instructions for the end of a page: every form of the table, under every prefix, with every shape of ModRM."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from random import Random
from typing import Final

from bt.x86.decode import LENGTH_LIMIT, Instruction, InvalidInstruction, decode
from bt.x86.opcodes import PLAIN_FORMS, UNDEFINED_ENCODINGS, Form, InstructionClass, Method, eflags_mask
from bt.x86.opcodes import PREFIXES as NO_OPCODES
from bt.x86.opcodes.encoding import Encoding, parse_encoding
from tests.cases import layout
from tests.cases.model import DEFAULT_REGISTERS, Case, State, with_every_instruction
from tests.oracles.bulk.coverage import LEFT_OUT
from tests.oracles.host_child import CODE_16_SELECTOR
from tests.oracles.random_code import MEMORY_FORM_ONLY

ABSENT: Final = {16: layout.LOW_CODE.end, 32: layout.CODE.end}
"""By code size: where a page ends before one that is not there."""
MIDDLE: Final = {16: layout.LOW_CODE.start + 0x800, 32: layout.CODE.start + 0x800}
PRESENT: Final = layout.CODE.start + layout.PAGE_BYTES
"""Where a page of 32-bit code ends before another."""

# Each alone with every shape of ModRM; then the rest, with one in a register and one in memory.
_WITH_ALL_SHAPES: Final = tuple(map(bytes.fromhex, ("", "66", "67", "f2", "f3", "f0")))
_SEGMENTS_AND_PAIRS: Final = (
    *("26", "2e", "36", "3e", "64", "65", "66 67", "f0 66", "f0 67", "f3 66", "f2 66", "f3 67", "f2 f0", "f0 f3"),
    *("64 66", "64 67", "66 66"),
)
PREFIXES: Final = (*_WITH_ALL_SHAPES, *map(bytes.fromhex, _SEGMENTS_AND_PAIRS))

# Data and stack as other cases have them; addresses that are multiples of 16, a count, an index that is no address.
_EAX, _ECX, _EBX, _ESP = 0x20100, 0x40, 0x20300, DEFAULT_REGISTERS[4]
_REGISTERS: Final = (_EAX, _ECX, 0x20200, _EBX, _ESP, 0x20500, 0x20600, 0x20700)
# ModRM without reg, and what it asks for, by address size. Register 1 is no address of code that would go on there.
_IN_REGISTER: Final = 1
_ANY_REG: Final = 2
_IN_MEMORY: Final = {
    32: (
        "00",  # [eax]
        "05 00 01 02 00",  # [20100]
        "04 0b",  # [ebx + ecx]
        "04 8d 00 01 02 00",  # [ecx * 4 + 20100]
        "43 10",  # [ebx + 10]
        "44 0e 10",  # [esi + ecx + 10]
        "87 00 01 00 00",  # [edi + 100]
        "84 24 00 01 00 00",  # [esp + 100]
    ),
    16: ("07", "06 00 84", "42 10", "87 00 84"),  # [bx], [8400], [bp + si + 10], [bx + 8400]
}
_FAR_TARGETS: Final = {16: (layout.LOW_CODE, CODE_16_SELECTOR), 32: (layout.CODE, layout.CODE_SELECTOR)}
_NOT_HERE: Final = {
    "sysenter": LEFT_OUT["sysenter"],
    "sysexit": LEFT_OUT["sysexit"],
    "ud1": "AMD's takes no ModRM byte; the SDM's has one (vol. 2, UD)",
}
"""Mnemonics whose end the host cannot judge, and why."""
_IN_MEMORY_ONLY: Final = {
    MEMORY_FORM_ONLY: "#UD with a register on AMD processors, a reserved NOP by the SDM",
    "lds": "a VEX prefix, with a register",
    "les": "as above",
    "bound": "an EVEX prefix, with a register",
}
"""Mnemonics whose register forms the host cannot judge, and why."""
_PREFIXED_NOT_HERE: Final = {
    (0xF0, "verw"): "AMD processors take VERW with LOCK for VERW, where the SDM has #UD",
    (0xF0, "mov"): "AMD processors take MOV of CR0 with LOCK for that of CR8",
    (0xF3, "loopne"): "F3 makes LOOPE of it on AMD processors; the SDM reserves it (vol. 2 2.1.1)",
    (0xF2, "loope"): "F2 makes LOOPNE of it, as above",
    (0xF3, "bsf"): "TZCNT where the processor has it",
    (0xF3, "bsr"): "LZCNT where the processor has it",
}
"""A prefix and a mnemonic that the host cannot judge together, and why."""
_CHOSEN: Final = frozenset(("fnsave", "fnstenv", "lar"))
"""Mnemonics that store what a processor chooses."""
_ANY_ORDER: Final = frozenset(("cmps", "fxrstor", "fxsave"))
"""Any of the words may be accessed, and fault, first."""


class Judged(Enum):
    """How much of an outcome the host can judge."""

    WHOLE = "all of it"
    END = "where it ends and with which exception"
    FETCH = "whether it asks for more bytes"


@dataclass(frozen=True)
class Encoded:
    """One instruction's bytes, and what the table has them be."""

    code: bytes
    bits: int  # of the code segment

    @cached_property
    def verdict(self) -> Instruction | InvalidInstruction:
        """What the Python decoder says to the whole of it."""
        try:
            return decode(self.code, bits=self.bits)
        except InvalidInstruction as error:
            return error

    @property
    def undefined(self) -> bool:
        """Whether it is #UD."""
        return isinstance(self.verdict, InvalidInstruction)

    @property
    def unprefixed(self) -> bool:
        """Whether it has no prefix, not even one that makes another instruction of it."""
        return self.code[0] == 0x0F or self.code[0] not in NO_OPCODES

    @property
    def judged(self) -> Judged:
        """What of its outcome is compared."""
        if isinstance(self.verdict, InvalidInstruction):
            return Judged.WHOLE
        name = self.verdict.form.name
        if name in LEFT_OUT or name in _ANY_ORDER:
            return Judged.FETCH
        return Judged.END if name in _CHOSEN else Judged.WHOLE

    def at(self, address: int, length: int | None = None) -> Case:
        """A case that starts at `address` with the first `length` bytes, or all."""
        flags = 0
        if isinstance(self.verdict, Instruction):
            form = self.verdict.form
            flags = eflags_mask(form.undefines) | eflags_mask("c") * (form.name in ("shl", "shr"))
        code = self.code[:length]
        return Case(
            b"",
            State(_REGISTERS, address, memory={address: code}),
            bits=self.bits,
            cpu=with_every_instruction(),
            ignored_flags=flags,
            text=f"hex: {code.hex(' ')} | bits={self.bits} at {address:x}",
        )


def _tail(form: Form | None, bits: int) -> bytes:
    """More bytes than any immediate has: branches lead to where code could be, offsets to data, numbers are small."""
    methods = {operand.method for operand in form.operands} if form else set()
    if Method.RELATIVE in methods:
        return b"\xc0" + b"\xff" * 5
    if Method.FAR_POINTER in methods:
        region, selector = _FAR_TARGETS[bits]
        return region.start.to_bytes(bits // 8, "little") + selector.to_bytes(4, "little")
    if Method.OFFSET in methods:
        return bytes.fromhex("00 01 02 00 00 00" if bits == 32 else "00 84 00 00 00 00")
    return bytes.fromhex("10 02 03 04 05 06")


def _modrms(encoding: Encoding, form: Form | None, reg: int, address_bits: int, shapes: int | None) -> Iterator[bytes]:
    """ModRM and what it asks for: a register, and so many shapes of memory operands, or all."""
    if not encoding.modrm:
        yield b""
        return
    if True in encoding.mods and not (form and form.name in _IN_MEMORY_ONLY):
        rm = _IN_REGISTER if _IN_REGISTER in encoding.rms else encoding.rms[0]
        yield bytes((0xC0 | reg << 3 | rm,))
    if False in encoding.mods:
        for text in _IN_MEMORY[address_bits][:shapes]:
            modrm, *rest = bytes.fromhex(text)
            yield bytes((modrm | reg << 3, *rest))


def _encodings() -> Iterator[tuple[Encoding, Form | None]]:
    """Those of all forms that the host can judge, those reserved for no later extension, and all three-byte opcodes."""
    for form in PLAIN_FORMS:
        if form.name not in _NOT_HERE:
            yield parse_encoding(form.encoding), form
    for text, reason in UNDEFINED_ENCODINGS.items():
        encoding = parse_encoding(text)
        if encoding.opcode_map > 1 or reason.startswith(("reserved", "no such")):
            yield encoding, None


def _is_left_out(prefixes: bytes, form: Form) -> bool:
    """MOV is only left out where it is one of control registers."""
    if form.name == "mov" and form.cls is not InstructionClass.PRIVILEGED:
        return False
    return any((prefix, form.name) in _PREFIXED_NOT_HERE for prefix in prefixes)


def _unfinished() -> Iterator[tuple[bytes, int]]:
    """All instructions, each with bytes behind it, and the code size."""
    for (encoding, form), bits, prefixes in itertools.product(list(_encodings()), (32, 16), PREFIXES):
        mandatory = bytes((encoding.prefix,)) if encoding.prefix else b""
        if form and _is_left_out(prefixes, form):
            continue
        address_bits = bits ^ 48 if 0x67 in prefixes else bits
        shapes = None if prefixes in _WITH_ALL_SHAPES else 1
        regs = encoding.regs if len(encoding.regs) < 8 else (_ANY_REG,)
        for opcode, reg in itertools.product(sorted({encoding.opcodes[0], encoding.opcodes[-1]}), regs):
            start = prefixes + mandatory + encoding.escape + bytes((opcode,))
            for modrm in _modrms(encoding, form, reg, address_bits, shapes):
                yield (start + modrm + _tail(form, bits))[:LENGTH_LIMIT], bits


def instructions(random: Random, share: float) -> Iterator[Encoded]:
    """About this share of all instructions, whole, none twice."""
    seen = set()
    for code, bits in _unfinished():
        if random.random() < share:
            whole = code[: Encoded(code, bits).verdict.length]
            if (whole, bits) not in seen:
                seen.add((whole, bits))
                yield Encoded(whole, bits)
