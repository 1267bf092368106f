"""Areas for decoded and translated code that are full: everything is forgotten, and the guest does not notice."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.engine.structures import BYTES_PER_BLOCK, BYTES_PER_INSN, MAX_BLOCK_INSNS, RECORD_BYTES, THUNK_BYTES
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from bt.memory.map import PhysicalMap
from guest_images.assembler import assemble
from tests.engines import EngineFactory
from tests.smc.guest import DONE, PROGRAM, Mode, Paging, SmcGuest

FUNCTIONS, ROUNDS = 120, 3
FLAT = Mode(Paging.OFF, 0)


class _Small(Vcpu):
    """Has little room for the things `small` names; counts how often it began afresh."""

    small, room = "", 0
    begun = 0

    def _flush(self) -> None:
        super()._flush()
        self.begun += 1
        if self.small:
            end, start = AREAS[self.small]
            self.set_control(end, (self.control(start) if start else 0) + self.room)

    def _grow(self) -> bool:
        return False


class _SmallTranslating(_Small, TranslatingVcpu):
    """The same for the translator."""


# name of an area: the field of the control block that says where it ends, and the one that says where it begins
AREAS = {
    "records": ("records_end", "records_next"),
    "blocks": ("blocks_end", ""),
    "thunks": ("thunks_end", "thunks_next"),
    "code": ("cold_next", "hot_next"),
    "sites": ("sites_end", ""),
}
# room for some fifteen of the program's 360 blocks, each time
ROOM = {
    "records": (MAX_BLOCK_INSNS + 1 + 60) * RECORD_BYTES,
    "blocks": 16,
    "thunks": 12 * THUNK_BYTES,
    "code": 2 * (2 * 5 * BYTES_PER_INSN + 2 * BYTES_PER_BLOCK),
    "sites": 100,
}
KINDS = [
    *(("interp", area) for area in ("records", "blocks", "thunks")),
    *(("bt", area) for area in ("records", "blocks", "code", "sites")),
]


def _factory(engine: str, area: str) -> EngineFactory:
    kind = _SmallTranslating if engine == "bt" else _Small

    def make(library: Library, memory: PhysicalMap) -> Vcpu:
        cpu = kind(library, memory)
        cpu.small, cpu.room = area, ROOM[area]
        return cpu

    return make


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]} {kind[1]}")
def small(request: pytest.FixtureRequest) -> Iterator[SmcGuest]:
    machine = SmcGuest(_factory(*request.param), load_library())
    yield machine
    machine.cpu.close()
    machine.ram.close()


@cache
def _many_functions() -> bytes:
    """Functions of two blocks each, some of them in other pages, that add their number to EBX and to an x87 sum."""
    functions = "\n".join(
        f"f{n}:\nadd ebx, {n}\nfadd dword ptr [one]\ncmp ebx, 0\njne g{n}\nint3\ng{n}:\nfst dword ptr [sum]\nret\n"
        + ("nop\n" * 100 if n % 3 == 0 else "")
        for n in range(FUNCTIONS)
    )
    calls = "\n".join(f"call f{n}" for n in range(FUNCTIONS))
    program = f"""
        mov dword ptr [one], 0x3F800000
        fninit
        fldz
        mov ebp, {ROUNDS}
        inc ebx
    again:
        {calls}
        dec ebp
        jnz again
        fistp dword ptr [sum]
        mov eax, [sum]
        int {DONE}
        {functions}
    """
    return assemble(f"one = 0x20000\nsum = 0x20004\n{program}", 32, PROGRAM)


def test_everything_begins_afresh(small: SmcGuest) -> None:
    """As often as it must: results are as ever, and nothing is forgotten for each block."""
    cpu = small.cpu
    assert isinstance(cpu, _Small)
    before = cpu.begun
    expected = (ROUNDS * FUNCTIONS, 1 + ROUNDS * sum(range(FUNCTIONS)))
    assert small.run(FLAT, {PROGRAM: _many_functions()}) == expected
    assert 10 < cpu.begun - before < ROUNDS * FUNCTIONS
