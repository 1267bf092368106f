"""The one list of what is in a vCPU's block: each field has a class, and the class is true."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest

from bt.engine.library.library import Library, load_library
from bt.engine.vcpu import Vcpu
from bt.inspect.compare.registers import read_registers
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import reset
from bt.x86.exits import ExitReason
from bt.x86.state import (
    EXACTLY,
    FIELDS,
    HOST,
    SAVED_KINDS,
    TLB_TABLES,
    WHILE_NOW,
    Compared,
    CpuState,
    Kind,
    slot_number,
)
from guest_images.assembler import assemble
from tests import tables
from tests.engines import factories

MEMORY, CODE, DATA = 1 << 20, 0x8000, 0x20000
# Caches that a run searches by what another put there: anything else in them would mean something.
_CACHES = {"branch_cache", "record_cache", "return_stack", "return_top", "fetched_pages", "fetched_slots"}
_CACHES |= {*TLB_TABLES, "tlb_filled", "tlb_filled_slots", "tlb_filled_rows", "large_regions"}
_OVER = {"fp_loaded", "fp_ready", "service", "deferred", "step_trap", "mmio_used"}  # always 0 after a run
_GUEST = f"""
    mov esi, {DATA}
    mov ecx, 50
    fninit
    fld1
again:
    fadd st(0)
    add [esi + 4 * ecx], ecx
    call far_away
    in al, 0x10
    loop again
    fstp dword [esi]
    hlt
far_away:
    rdtsc
    adc ebx, eax
    ret
"""


def test_each_field_has_a_class() -> None:
    for field in FIELDS:
        assert isinstance(field.kind, Kind), field.name
        assert isinstance(field.comparison, Compared), field.name
    names = [field.name for field in FIELDS]
    assert len(names) == len(set(names))


def test_only_what_is_saved_has_something_to_be_reset_to() -> None:
    assert not [field.name for field in FIELDS if field.kind not in SAVED_KINDS and field.reset != 0]


def test_a_saved_state_is_complete_and_has_nothing_else() -> None:
    random, state, other = Random(1), CpuState(), CpuState()
    for field in FIELDS:
        for place in range(min(field.slots, 64)):
            state.slots[slot_number(field.name) + place] = random.getrandbits(64) | 1
    other.restore(state.save())
    for field in FIELDS:
        at = slot_number(field.name)
        same = state.slots[at] == other.slots[at]
        assert same == (field.kind in SAVED_KINDS), field.name
    state.close()
    other.close()


def test_reset_sets_all_that_is_saved_but_what_is_exempt() -> None:
    """Two processors with different pasts are the same after a reset."""
    random, states = Random(2), (CpuState(), CpuState())
    for state in states:
        for field in FIELDS:
            if field.kind in SAVED_KINDS and field.reset is not None:
                state.fill(field, random.getrandbits(64))
        reset.power_on(state)
    assert states[0].save() == states[1].save()
    assert read_registers(states[0], 0) == read_registers(states[1], 0)
    for state in states:
        state.close()


def test_what_is_compared_is_shown_by_name() -> None:
    """A register that an engine may get wrong must be in what lock step compares."""
    state = CpuState()
    before = read_registers(state, 7)
    for field in FIELDS:
        if field.comparison in (EXACTLY, WHILE_NOW):
            was = state.slots[slot_number(field.name)]
            state.slots[slot_number(field.name)] = 7
            assert read_registers(state, 7) != before, field.name
            state.slots[slot_number(field.name)] = was
    state.close()


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    made = load_library()
    yield made
    made.close()


def _run(library: Library, engine: str, disturb: bool) -> tuple[dict[str, int], bytes]:
    """The guest with a stop at each port access and every seven instructions, where all that is derived is lost."""
    with GuestRam(MEMORY) as ram, closing(factories()[engine](library, PhysicalMap(ram))) as cpu:
        ram.write(CODE, assemble(_GUEST, 32, CODE))
        reset.power_on(cpu.state)
        tables.flat_segments(cpu.state, 0x08, 0x10)
        cpu.state["eip"], cpu.state["cr0"] = CODE, 0x11
        cpu.state["gpr", 4] = DATA
        cpu.flush()
        random, leave = Random(3), cpu.run(7)
        while leave.reason is not ExitReason.HLT:
            if disturb:
                _lose_what_is_derived(cpu, random)
            if leave.reason is ExitReason.IO:
                cpu.complete(0x5A)
            leave = cpu.run(7)
        return read_registers(cpu.state, cpu.instructions), bytes(ram.view)


def _lose_what_is_derived(cpu: Vcpu, random: Random) -> None:
    for field in FIELDS:
        if field.kind not in SAVED_KINDS and field.kind is not HOST and field.name not in _CACHES:
            # an epoch may be any, but no earlier one
            value = cpu.state["epoch"] + 1 if field.name == "epoch" else random.getrandbits(8)
            cpu.state.fill(field, 0 if field.name in _OVER else value)
    cpu.flush()


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_what_is_derived_is_worth_nothing_after_a_run(library: Library, engine: str) -> None:
    assert _run(library, engine, disturb=True) == _run(library, engine, disturb=False)
