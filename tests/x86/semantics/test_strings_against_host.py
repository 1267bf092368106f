"""Random string instructions against the host CPU: overlaps, page ends, faults, wrapping 16-bit indices."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.cases import layout
from tests.cases.check import differences
from tests.cases.model import DEFAULT_REGISTERS, EFLAGS_FIXED, FLAG_BITS, STATUS_MASK, Case, State
from tests.everyday import everyday
from tests.oracles.host_cpu import HostCpu
from tests.x86.semantics.executor import SemanticsExecutor

EVERYDAY_CASES, SLOW_CASES = 20, 60  # of each instruction and prefix
_OPCODES = {"movs": 0xA4, "cmps": 0xA6, "stos": 0xAA, "lods": 0xAC, "scas": 0xAE}
_ECX, _ESI, _EDI = 1, 6, 7


def _case(opcode: int, repeat: bytes, generator: random.Random) -> Case:
    narrow = generator.random() < 0.25  # 16-bit addresses
    prefixes = [repeat, b"\x66" * generator.randrange(2), b"\x67" * narrow]
    code = b"".join(prefixes) + bytes([opcode | generator.randrange(2)])
    regions = [layout.LOW_DATA] if narrow else [layout.DATA, layout.DATA, layout.READ_ONLY, layout.STACK]
    source = _place(generator.choice(regions), generator)
    near = source + generator.randrange(-9, 10)  # overlapping
    destination = near if generator.random() < 0.4 else _place(generator.choice(regions), generator)
    registers = list(DEFAULT_REGISTERS)
    upper = generator.getrandbits(16) << 16 if narrow else 0
    count = generator.choice((0, 1, 3, generator.randrange(40), generator.randrange(5000)))
    registers[_ECX], registers[_ESI], registers[_EDI] = upper | count, upper | source, upper | destination
    flags = generator.getrandbits(32) & (STATUS_MASK | FLAG_BITS["df"] * generator.randrange(2))
    memory = {}
    for region in (layout.LOW_DATA, layout.DATA, layout.READ_ONLY):
        # two long runs and something else between them: comparisons go on for a while and then end
        image = bytearray(generator.choice((b"\x11", b"\x12")) * region.size)
        for _ in range(generator.randrange(4)):
            image[generator.randrange(region.size)] = generator.randrange(256)
        memory[region.start] = bytes(image)
    return Case(code, State(tuple(registers), eflags=EFLAGS_FIXED | flags, memory=memory), text=f"hex: {code.hex(' ')}")


def _place(region: layout.Region, generator: random.Random) -> int:
    page = generator.randrange(region.start, region.end + 1, layout.PAGE_BYTES)
    return page + generator.choice((generator.randrange(-20, 20), generator.randrange(layout.PAGE_BYTES)))


@pytest.mark.skipif(HostCpu.unavailable() is not None, reason="the host CPU cannot run 32-bit code")
@pytest.mark.parametrize("directly", [True, False], ids=["directly", "element by element"])
@pytest.mark.parametrize("repeat", [b"", b"\xf3", b"\xf2"], ids=["once", "repz", "repnz"])
@pytest.mark.parametrize("name", list(_OPCODES))
@pytest.mark.parametrize("count", everyday((EVERYDAY_CASES, SLOW_CASES), {EVERYDAY_CASES}))
def test_string(name: str, repeat: bytes, directly: bool, count: int, host: HostCpu) -> None:
    generator = random.Random(f"{name} {repeat.hex()}")
    cases = [_case(_OPCODES[name], repeat, generator) for _ in range(count)]
    semantics = SemanticsExecutor(directly=directly)
    failures = []
    for case, wanted in zip(cases, host.run_many(cases), strict=True):
        found = differences(case, wanted, semantics.run(case))
        if repeat and wanted.trap is not None and HostCpu.unlike():
            continue  # Intel's restore the flags from before the instruction (SDM vol. 2B, REP)
        if name == "cmps" and len(found) == 1 and found[0].startswith("exception: wanted #PF(4)"):
            continue  # both strings fault: which of them first differs even between iterations of the host
        if found:
            registers = [f"{case.start.registers[number]:x}" for number in (_ECX, _ESI, _EDI)]
            failures.append(f"{case} ecx, esi, edi = {registers}: {'; '.join(found)}")
    assert not failures


@pytest.fixture(scope="module")
def host() -> Iterator[HostCpu]:
    with HostCpu() as cpu:
        yield cpu
