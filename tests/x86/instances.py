"""Instances of the table's forms that can be executed one at a time, and registers they are good with."""

from __future__ import annotations

import random
import struct

from bt.x86.opcodes import PLAIN_FORMS, Form, InstructionClass, Method
from bt.x86.opcodes.encoding import parse_encoding

DATA = 0x8000
"""Where EBX, ESP, EBP, ESI and EDI point to, in the middle of 2000h bytes."""
# x87, MMX and SSE are judged elsewhere.
EXECUTED = [
    form
    for form in PLAIN_FORMS
    if form.cls in (InstructionClass.IDENTITY, InstructionClass.MEMORY)
    and form.meaning.split(".")[0] not in ("x87", "fp", "sse")
]


def encode(form: Form, rng: random.Random) -> bytes:
    """One instance of a form: operands ecx, edx or [ebx], random immediates but 0."""
    encoding = parse_encoding(form.encoding)
    memory = form.memory_only or (False in encoding.mods and rng.random() < 0.5)
    reg = 2 if 2 in encoding.regs else encoding.regs[0]
    modrm = bytes((reg << 3 | (3 if memory else 0xC0 | (1 if 1 in encoding.rms else encoding.rms[0])),))
    immediate = bytes(rng.randrange(1, 256) for _ in range(4))
    if form.name == "enter":
        immediate = bytes((16, 0, 0, 0))
    offset = struct.pack("<I", DATA) if any(operand.method is Method.OFFSET for operand in form.operands) else b""
    prefix = bytes((encoding.prefix,)) if encoding.prefix else b""
    opcode = encoding.escape + bytes((encoding.opcodes[-1],))
    return prefix + opcode + modrm * encoding.modrm + (offset or immediate)


def registers_for(form: Form, rng: random.Random) -> list[int]:
    """General registers in their order, with which an instance mostly does not fault."""
    registers = [rng.randrange(1 << 32) for _ in range(8)]
    registers[0] = rng.randrange(0x100) if form.name in ("div", "idiv", "xlat") else registers[0]
    registers[1] |= 0xC0000001  # a divisor above the dividend's high half, a shift count that is not zero
    registers[2] &= 0xFF if form.name not in ("div", "idiv") else 0
    registers[3] = registers[4] = registers[5] = registers[6] = registers[7] = DATA
    return registers


def data_for(form: Form, rng: random.Random) -> bytes:
    """The 2000h bytes from DATA - 1000h."""
    data = rng.randbytes(0x2000)
    if form.name == "bound":
        data = data[:0x1000] + struct.pack("<ii", 0, 0x1000) + data[0x1008:]
    return data
