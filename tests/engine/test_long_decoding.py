"""The two decoders of 64-bit code agree, on instructions and on bytes that are none; and capstone on the lengths."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import capstone
import pytest

from bt.engine.library.library import load_library
from bt.engine.structures import LONG_RECORD, NO_REGISTER_LONG, VARIANT_MEMORY, operand_size_of
from bt.engine.vcpu import Vcpu
from bt.inspect.explanation.structure import Structure, find_block
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import cpu_model
from bt.x86.decode import RIP, Instruction, InstructionTooLong, InvalidInstruction, TruncatedInstruction, decode
from bt.x86.opcodes import FORMS, UNDEFINED, Method, Width
from bt.x86.state import OFFSETS, register_offset
from tests import long_engine
from tests.cases import layout
from tests.cases.model import LONG_CPU, with_every_instruction
from tests.oracles.long_code import Maker, forms

RANDOM = 12_000
PREFIXES = (0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x2E, 0x36, 0x64, 0x65)
ORIGIN = layout.CODE.start + 0x100
LONGEST = 15
_MASK = (1 << 64) - 1


@pytest.fixture(scope="module")
def cpu() -> Iterator[Vcpu]:
    ram = GuestRam(long_engine.REGIONS + sum(region.size for region in layout.REGIONS))
    cpu = Vcpu(load_library(), PhysicalMap(ram), cpu_model.parse(with_every_instruction(LONG_CPU)))
    long_engine.boot(cpu)
    yield cpu
    cpu.close()
    ram.close()


def _native(cpu: Vcpu, code: bytes) -> Structure:
    """The record of the instruction at ORIGIN."""
    at = long_engine.REGIONS + ORIGIN - layout.CODE.start
    for region in layout.REGIONS[: layout.REGIONS.index(layout.CODE)]:
        at += region.size
    cpu.ram.write(at, code.ljust(2 * LONGEST, b"\xcc"))
    cpu.state["eip"] = ORIGIN
    block = find_block(cpu)
    assert block is not None
    return Structure(LONG_RECORD, block["records"])


def random_code(random: Random) -> bytes:
    """Bytes that are often an instruction."""
    code = bytes(random.choices(PREFIXES, k=random.choice((0, 0, 0, 1, 1, 2, 3))))
    if random.random() < 0.7:
        code += bytes((0x40 | random.getrandbits(4),))
    if random.random() < 0.05:
        code += bytes((random.choice(PREFIXES),))
    code += random.choice((b"", b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a"))
    return (code + random.randbytes(24))[:24]


def compare(cpu: Vcpu, code: bytes) -> None:
    """What both say of the instruction at the start of the bytes."""
    record = _native(cpu, code)
    try:
        found = decode(code, bits=64)
    except InstructionTooLong:
        assert record["handler"] == cpu.control("long_length_handler"), code.hex(" ")
        return
    except InvalidInstruction as wrong:
        fetched = wrong.length
    else:
        fetched = 0
    if fetched:
        assert (FORMS[record["form"]], record["length"]) == (UNDEFINED, fetched), code.hex(" ")
        return
    assert (FORMS[record["form"]], record["length"]) == (found.form, found.length), code.hex(" ")
    assert _fields(record, found) == _wanted(found), code.hex(" ")


def _fields(record: Structure, found: Instruction) -> dict[str, int | None]:
    fields: dict[str, int | None] = {"memory": record["variant"] & VARIANT_MEMORY, "rm": record["rm_number"]}
    if found.modrm is not None:
        fields["reg"] = record["reg_number"]
    if found.form.fixed_operand_size is None:
        fields["size"] = operand_size_of(record["variant"])
    if found.memory is not None:
        fields |= {
            "address": 32 if record["address_size_32"] else 64,
            "displacement": record["displacement"],
            "base": record["base_number"] if record["base_number"] != NO_REGISTER_LONG else None,
            "index": record["index_number"] if record["index_number"] != NO_REGISTER_LONG else None,
            "segment": record["segment"],
        }
    if found.immediates:
        bits = found.operand_size if found.form.operands[-1].width not in (Width.B, Width.W) else 16
        fields["immediate"] = record["immediate"] & (1 << bits) - 1
    if found.relative is not None:
        fields["target"] = record["immediate"]
    return fields


def _wanted(found: Instruction) -> dict[str, int | None]:
    behind = ORIGIN + found.length
    opcode_register = any(operand.method is Method.OPCODE_REGISTER for operand in found.form.operands)
    named = found.opcode_register if found.modrm is None or opcode_register else found.rm
    fields: dict[str, int | None] = {"memory": int(found.memory is not None), "rm": named}
    if found.modrm is not None:
        fields["reg"] = found.reg
    if found.form.fixed_operand_size is None:
        fields["size"] = found.operand_size
    if found.memory is not None:
        place = found.memory
        relative = place.base == RIP
        fields |= {
            "address": found.address_size,
            "displacement": (place.displacement + behind * relative) & _MASK,
            "base": None if relative else place.base,
            "index": place.index,
            "segment": place.segment,
        }
    if found.immediates:
        fields["immediate"] = found.immediates[0]
    if found.relative is not None:
        fields["target"] = found.target(behind)
    return fields


@pytest.mark.parametrize("seed", range(3))
def test_both_decoders_agree_on_random_bytes(cpu: Vcpu, seed: int) -> None:
    random = Random(seed)
    for _ in range(RANDOM // 3):
        compare(cpu, random_code(random))


def test_both_decoders_agree_on_every_form(cpu: Vcpu) -> None:
    maker = Maker("decoding")
    for form in forms():
        for _ in range(3):
            code = bytes.fromhex(maker.case(form).text.removeprefix("hex: "))
            compare(cpu, code.ljust(LONGEST, b"\x90"))


def test_lengths_are_capstone_s() -> None:
    """Of instructions, where it knows them."""
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    maker = Maker("lengths")
    known = 0
    for form in forms():
        for _ in range(3):
            code = bytes.fromhex(maker.case(form).text.removeprefix("hex: "))
            found = next(disassembler.disasm_lite(code, ORIGIN), None)
            assert decode(code, bits=64).length == len(code)
            known += found is not None and found[1] == len(code)
    assert known > 1900


def test_byte_registers_lie_where_rex_says(cpu: Vcpu) -> None:
    """AH to BH without it, SPL to DIL with it, and the low bytes of R8 to R15 (SDM vol. 1 3.4.1.1)."""
    gpr = OFFSETS["gpr"]
    for code, offset in (
        ("88 e0", gpr + 1),
        ("40 88 e0", gpr + 8 * 4),
        ("44 88 e0", register_offset(12, 8)),
        ("88 c8", gpr + 8),
        ("44 88 c0", register_offset(8, 8)),
    ):
        found = _native(cpu, bytes.fromhex(code))["reg"]
        assert found - (found >> 15 << 16) == offset


def test_bytes_that_end_too_early_ask_for_more() -> None:
    for code in ("48", "48 b8 00 00 00 00", "48 8b 05 00 00", "67 a1 00 00 00", "48 a1 00 00 00 00"):
        with pytest.raises(TruncatedInstruction):
            decode(bytes.fromhex(code), bits=64)
