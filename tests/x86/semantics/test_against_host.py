"""Every integer form of the opcode table on random operands, against the host CPU executing the same bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from bt.engine.meaning import meaning_function
from bt.x86.opcodes import PLAIN_FORMS, Form, Method, Width
from bt.x86.opcodes.encoding import parse_encoding
from bt.x86.opcodes.fp import is_fp
from tests.cases import layout
from tests.cases.check import differences
from tests.cases.model import EFLAGS_FIXED, REGISTERS, STATUS_MASK, Case, State
from tests.cases.undefined import undefined_flags
from tests.oracles.host_cpu import HostCpu
from tests.x86.semantics.executor import SemanticsExecutor

STATES = 12  # operand values tried on each encoding
_ESP = REGISTERS.index("esp")
_EDGES = (
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    17,
    31,
    32,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)
_IMMEDIATE_BYTES = {Width.B: 1, Width.BS: 1, Width.W: 2}
_SIZED = {Width.V, Width.Z, Width.BS}
# Their operands are addresses or places in the code: the case files have them.
_PLACED = {"control", "string", "stack"}


def _integer_forms() -> list[Form]:
    return [
        form
        for form in PLAIN_FORMS
        if not is_fp(form)
        and meaning_function(form.meaning).__module__.startswith("bt.x86.semantics.")
        and form.meaning.partition(".")[0] not in _PLACED
        and form.meaning not in ("move.xlat", "move.nop")
    ]


def _encodings(form: Form, generator: random.Random) -> Iterator[bytes]:
    """The form with random registers or a data address, in both operand sizes, with random immediates."""
    encoding = parse_encoding(form.encoding)
    sized = not form.operands or any(operand.width in _SIZED for operand in form.operands)
    for operand_size in (32, 16) if sized else (32,):
        head = b"\x66" * (operand_size == 16) + encoding.escape
        if encoding.prefix:
            head = bytes([encoding.prefix]) + head
        tail = b""
        for operand in form.operands:
            if operand.method is Method.IMMEDIATE:
                tail += generator.randbytes(_IMMEDIATE_BYTES.get(operand.width, operand_size // 8))
            elif operand.method is Method.OFFSET:
                tail += _address(generator).to_bytes(4, "little")
        opcode = bytes([generator.choice(encoding.opcodes)])
        if not form.has_modrm:
            yield head + opcode + tail
            continue
        reg = generator.choice(encoding.regs) << 3
        if True in encoding.mods and not form.memory_only:
            yield head + opcode + bytes([0xC0 | reg | generator.choice(encoding.rms)]) + tail
        if False in encoding.mods:
            place = _address(generator).to_bytes(4, "little")
            yield head + opcode + bytes([0x05 | reg]) + place + tail


def _address(generator: random.Random) -> int:
    return generator.randrange(layout.DATA.start + 0x1000, layout.DATA.start + 0x1010)


def _value(generator: random.Random) -> int:
    return generator.choice(_EDGES) if generator.random() < 0.4 else generator.getrandbits(32)


def _state(form: Form, generator: random.Random) -> State:
    registers = [_value(generator) for _ in REGISTERS]
    if form.meaning.startswith("bits.bt"):  # bit offsets that stay within the data
        registers = [generator.randrange(-0x4000, 0x4000) & 0xFFFFFFFF for _ in REGISTERS]
    registers[_ESP] &= 0xFFFF_FFFC  # the host refuses nothing here, but its signal frames are elsewhere
    data = b"".join(_value(generator).to_bytes(4, "little") for _ in range(8))
    flags = generator.getrandbits(32) & STATUS_MASK
    return State(tuple(registers), eflags=EFLAGS_FIXED | flags, memory={layout.DATA.start + 0x1000: data})


@pytest.mark.slow
@pytest.mark.skipif(HostCpu.unavailable() is not None, reason="the host CPU cannot run 32-bit code")
@pytest.mark.parametrize("form", _integer_forms(), ids=lambda form: f"{form.encoding} {form.name}".replace(" ", "_"))
def test_form(form: Form, semantics: SemanticsExecutor, host: HostCpu) -> None:
    if form.name in ("shld", "shrd") and (other := HostCpu.unlike()):
        pytest.skip(f"{other}, also of 16 bits shifted by more than 16")
    generator = random.Random(form.id)
    cases = [
        Case(code, _state(form, generator), text=f"{form!r}: {code.hex(' ')}")
        for code in _encodings(form, generator)
        for _ in range(STATES)
    ]
    failures = []
    for case, wanted in zip(cases, host.run_many(cases), strict=True):
        masked = Case(case.code, case.start, ignored_flags=undefined_flags(case), text=case.text)
        if found := differences(masked, wanted, semantics.run(masked)):
            failures.append(f"{case} {case.start}: {'; '.join(found)}")
    assert not failures


@pytest.fixture(scope="module")
def semantics() -> SemanticsExecutor:
    return SemanticsExecutor(directly=True)


@pytest.fixture(scope="module")
def host() -> Iterator[HostCpu]:
    with HostCpu() as cpu:
        yield cpu
