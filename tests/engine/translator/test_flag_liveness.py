"""Flags that the translator does not work out are flags that nobody sees.

A compare, an instance of every form of the table, and HLT are one block. Which flags the compare must leave is up to
the instruction behind it: what that writes always, sometimes (shifts by 0 or 32) or, where the manual calls flags
undefined, not at all on the processors bt is like (SDM vol. 2, MUL, DIV, BT).
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from functools import partial

import pytest

from bt.engine.library.library import load_library
from bt.x86 import cpu_model
from bt.x86.decode import decode
from bt.x86.opcodes import Form, Method, lookup
from bt.x86.opcodes.encoding import parse_encoding
from bt.x86.reset import read_eflags, write_eflags
from tests.cases.model import with_every_instruction
from tests.engines import factories
from tests.everyday import one_in
from tests.x86.instances import DATA, EXECUTED, data_for, encode, registers_for
from tests.x86.system.processor import Processor

CODE = 0x10000
OPERAND_SIZE, HLT = b"\x66", b"\xf4"
SHIFT_COUNTS = (0, 0, 1, 8, 16, 31, 32, 32, 33, 64, 255)  # by turns with operands of 16 and of 32 bits
Seen = tuple[str, int, int, list[int], bytes]


@pytest.fixture(scope="module")
def processors() -> Iterator[dict[str, Processor]]:
    model = cpu_model.parse(with_every_instruction())
    both = {name: Processor(load_library(), partial(factory, model=model)) for name, factory in factories().items()}
    yield both
    for processor in both.values():
        processor.vcpu.close()
        processor.close()


def _compare(edx: int, value: int) -> bytes:
    """CMP EDX, value."""
    return b"\x81\xfa" + struct.pack("<I", value & 0xFFFFFFFF)


def _instances(form: Form, rng: random.Random) -> Iterator[bytes]:
    has_count = form.meaning.startswith("shift.") and any(o.method is Method.IMMEDIATE for o in form.operands)
    encoding = parse_encoding(form.encoding)
    for number in range(len(SHIFT_COUNTS) if has_count else 8):
        code = encode(form, rng)  # with four bytes of immediate, whatever it needs
        if has_count:
            code = code[:-4] + bytes((SHIFT_COUNTS[number],))
        map_, opcode = encoding.opcode_map, encoding.opcodes[-1]
        modrm = code[bool(encoding.prefix) + len(encoding.escape) + 1]
        sized = lookup(map_, opcode, modrm, encoding.prefix or OPERAND_SIZE[0]) is form
        if sized and number % 2 == 0:
            code = OPERAND_SIZE + code
        yield code[: decode(code, bits=32).length]


def _run(processor: Processor, code: bytes, registers: list[int], data: bytes) -> Seen:
    processor.ram.write(DATA - 0x1000, data)
    processor.ram.write(CODE, code)
    cpu = processor.cpu
    for number, value in enumerate(registers):
        cpu["gpr", number] = value
    cpu["eip"], cpu["trap_vectors"] = CODE, (1 << 32) - 1
    write_eflags(cpu, 0)
    leave = processor.vcpu.run(100)
    after = [cpu["gpr", number] for number in range(8)]
    return leave.reason.name, cpu["eip"], read_eflags(cpu), after, processor.ram.read(DATA - 0x1000, len(data))


@pytest.mark.parametrize("form", one_in(3, EXECUTED), ids=lambda form: f"{form.encoding}: {form.name}")
def test_flags_kept_by_what_follows(processors: dict[str, Processor], form: Form) -> None:
    """After both, the translator's flags are those of the interpreter, which works out all of them always."""
    rng = random.Random(form.encoding)
    for processor in processors.values():
        processor.start()
    for code in _instances(form, rng):
        registers, data = registers_for(form, rng), data_for(form, rng)
        edx = registers[2]
        for value in (edx, edx + 1, 0x80000000, rng.randrange(1 << 32)):
            program = _compare(edx, value) + code + HLT
            results = {name: _run(processor, program, registers, data) for name, processor in processors.items()}
            first, *others = results.values()
            assert all(other == first for other in others), f"{program.hex(' ')}: " + ", ".join(
                f"{name} {result[0]} eip={result[1]:x} eflags={result[2]:x}" for name, result in results.items()
            )


def test_they_were_translated(processors: dict[str, Processor]) -> None:
    """Else the interpreter would have been compared with itself."""
    processor = processors["bt"]
    before = processor.vcpu.statistics()["fragments"]
    test_flags_kept_by_what_follows(processors, next(form for form in EXECUTED if form.meaning == "arith.mul"))
    assert processor.vcpu.statistics()["fragments"] - before == 32
