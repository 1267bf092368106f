"""Comparing what a program left behind: whole tables first, single records only where those differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bt.x86.opcodes import EFLAGS_BITS, Method, eflags_mask
from tests.cases import layout
from tests.cases.model import REGISTERS, Outcome
from tests.cases.undefined import COUNTED, undefined_by_count
from tests.oracles.bulk.batch import FX_BYTES, REGISTER_BYTES, Batch
from tests.oracles.bulk.program import SCRATCH, TABLE, Program
from tests.oracles.bulk.rules import rule_of
from tests.oracles.random_fp import IGNORED_IMAGE

_ORDER = ("eflags", "edi", "esi", "ebp", "esp", "ebx", "edx", "ecx", "eax")
_FLAG_BYTES = 4


@dataclass
class Verdict:
    """What came of one program on one engine."""

    cases: int
    compared: int = 0
    masked: int = 0  # of those, what the instruction leaves undefined is not
    free: int = 0  # of those, where engine and oracle differ in it
    translated: int = 0
    differing: int = 0
    reports: list[str] = field(default_factory=list)


def undefined(batch: Batch) -> list[int]:
    """EFLAGS bits that the instruction leaves undefined in each record."""
    variant = batch.variant
    form = variant.form
    if form.name not in COUNTED:
        return [eflags_mask(form.undefines)] * batch.count
    method = form.operands[-1].method
    if method is Method.FIXED_REGISTER:
        return [undefined_by_count(form, variant.width, count) for count in batch.part(1, 8)]
    count = variant.immediate if method is Method.IMMEDIATE else 1
    return [undefined_by_count(form, variant.width, count)] * batch.count


def mask(batch: Batch, flags: list[int]) -> bytes:
    """As long as the table: zero bits are not compared."""
    rest = bytearray(b"\xff" * (batch.record_bytes - _FLAG_BYTES))
    window = REGISTER_BYTES - _FLAG_BYTES
    if batch.variant.operand is not None:
        for offset in rule_of(batch.variant.form).pointers_of(batch.variant.operand_bits):
            rest[window + batch.variant.operand - batch.where.window + offset] = 0
    if batch.variant.operand_bits == 32:
        bits = ~rule_of(batch.variant.form).undefined_result & 0xFFFFFFFF
        place = REGISTER_BYTES - _FLAG_BYTES - 4 * (batch.variant.reg + 1)
        rest[place : place + 4] = bits.to_bytes(4, "little")
    if batch.fx:
        for offset in IGNORED_IMAGE:
            rest[window + batch.window_bytes + offset] = 0
    tail = bytes(rest)
    heads = {bits: (~bits & 0xFFFFFFFF).to_bytes(4, "little") + tail for bits in set(flags)}
    return b"".join(heads[bits] for bits in flags)


def compare(program: Program, wanted: Outcome, found: Outcome) -> Verdict:
    """Hold an engine's outcome against the oracle's."""
    batch, flags = program.batch, undefined(program.batch)
    verdict = Verdict(batch.count)
    if problem := _ended_differently(program, wanted, found):
        verdict.differing = 1
        verdict.reports.append(f"{_title(program)}: {problem}")
        return verdict
    undefined_result = rule_of(batch.variant.form).undefined_result
    verdict.compared, verdict.masked = batch.count, sum(bool(bits or undefined_result) for bits in flags)
    want, have = (outcome.state.memory[TABLE.start] for outcome in (wanted, found))
    if want == have:
        return verdict
    compared = mask(batch, flags)
    unlike = int.from_bytes(want, "little") ^ int.from_bytes(have, "little")
    seen = (unlike & int.from_bytes(compared, "little")).to_bytes(len(want), "little")
    everything = unlike.to_bytes(len(want), "little")
    size = batch.record_bytes
    for row in range(batch.count):
        place = slice(row * size, (row + 1) * size)
        if any(seen[place]):
            verdict.differing += 1
            verdict.reports.append(_report(program, row, want[place], have[place], compared[place]))
        elif (flags[row] or undefined_result) and any(everything[place][:REGISTER_BYTES]):
            verdict.free += 1
    return verdict


def _ended_differently(program: Program, wanted: Outcome, found: Outcome) -> str | None:
    """What went wrong with the program as a whole."""
    if wanted.trap is not None:
        return f"faults on the oracle, which it must not: {wanted.trap} at {wanted.state.eip:x}"
    if found.trap is not None:
        return f"raises {found.trap} at {found.state.eip:x}"
    if wanted.state.eip != found.state.eip:
        return "the loop around it goes wrong"
    for region in layout.REGIONS:
        want, have = (_outside(program.batch, outcome, region.start) for outcome in (wanted, found))
        if region is not TABLE and want != have:
            return f"writes outside its operands, in {region.name}"
    return None


def _outside(batch: Batch, outcome: Outcome, start: int) -> bytes:
    """A region without what records hold."""
    image = outcome.state.memory[start]
    for hole, size in ((batch.where.window, batch.window_bytes), (SCRATCH.start, len(SCRATCH))):
        if start <= hole < start + len(image):
            image = image[: hole - start] + image[hole - start + size :]
    return image


def _title(program: Program) -> str:
    variant = program.variant
    around = [part.hex(" ") for part in (variant.head, variant.code, variant.tail)]
    return f"{variant.form!r}: {' / '.join(filter(None, around))}"


def _report(program: Program, row: int, want: bytes, have: bytes, compared: bytes) -> str:
    """Form, operands, wanted, found."""
    batch = program.batch
    size = batch.record_bytes
    before = batch.table()[row * size : (row + 1) * size]
    lines = [f"{_title(program)}, record {row}", f"  before: {_registers(before)}"]
    lines.append(f"  [{batch.where.window:x}]={before[REGISTER_BYTES : REGISTER_BYTES + batch.window_bytes].hex()}")
    if batch.fx:
        lines.append(f"  image: {before[-FX_BYTES:].hex()}")
    lines += [f"  {line}" for line in _differences(batch, want, have, compared)]
    return "\n".join(lines)


def _registers(record: bytes) -> str:
    words = (int.from_bytes(record[place : place + 4], "little") for place in range(0, REGISTER_BYTES, 4))
    values = dict(zip(_ORDER, words, strict=True))
    return " ".join(f"{name}={values[name]:08x}" for name in (*REGISTERS, "eflags"))


def _differences(batch: Batch, want: bytes, have: bytes, compared: bytes) -> Iterator[str]:
    for number, name in enumerate(_ORDER):
        values = [int.from_bytes(record[4 * number :][:4], "little") for record in (want, have, compared)]
        if unlike := (values[0] ^ values[1]) & values[2]:
            yield f"{name}: wanted {_value(name, values[0], unlike)}, found {_value(name, values[1], unlike)}"
    for name, start, end in _parts(batch):
        bits = compared[start:end]
        parts = [bytes(a & b for a, b in zip(record[start:end], bits, strict=True)) for record in (want, have)]
        if parts[0] != parts[1]:
            yield f"{name}: wanted {parts[0].hex()}, found {parts[1].hex()}"


def _value(name: str, value: int, unlike: int) -> str:
    if name != "eflags":
        return f"{value:08x}"
    return " ".join(f"{letter}={int(bool(value & bit))}" for letter, bit in EFLAGS_BITS.items() if unlike & bit)


def _parts(batch: Batch) -> Iterator[tuple[str, int, int]]:
    """Names and places of what a record holds behind the registers."""
    image = REGISTER_BYTES + batch.window_bytes
    yield f"[{batch.where.window:x}]", REGISTER_BYTES, image
    if batch.fx:
        yield "control", image, image + 24
        yield "mxcsr", image + 24, image + 32
        for number in range(8):
            yield f"st{number}", image + 32 + 16 * number, image + 48 + 16 * number
        for number in range(8):
            yield f"xmm{number}", image + 160 + 16 * number, image + 176 + 16 * number
