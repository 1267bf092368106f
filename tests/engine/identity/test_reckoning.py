"""Whether views with paging are worth what opening pages takes (ways.reckon): the account, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.engine.identity.layout import (
    EAGER,
    LONGEST_REST,
    MOST_DEBT,
    MOST_EARNED,
    OPENING_COST,
    SHORTEST_REST,
    TRAP_COST,
)
from bt.engine.library.shared import shared_library
from bt.engine.translator import vcpu
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.machine import Machine, MachineConfig
from guest_images.assembler import assemble

CODE, MIB = 0x10_0000, 1 << 20
SOON = 3  # rounds that make a place hot
# A loop that reads and writes a page more each round, in an identity map of 4 MiB pages.
_PAGES = """
    mov edi, 0x200000
entries:
    mov eax, edi
    sub eax, 0x200000
    shl eax, 20
    or eax, 0x83
    mov [edi], eax
    add edi, 4
    cmp edi, 0x201000
    jne entries
    mov eax, 0x200000
    mov cr3, eax
    mov eax, cr4
    or eax, 0x10
    mov cr4, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov edx, {passes}
again:
    mov esi, 0x400000
touch:
    add dword ptr [esi], edx
    add esi, 4096
    cmp esi, 0x800000
    jne touch
    dec edx
    jnz again
    cli
    hlt
"""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with a view, whose guest has not begun."""
    monkeypatch.setitem(vcpu.HEAT_WANTED, "2", SOON)
    with Machine(MachineConfig(memory=16 * MIB, tier="2"), library=shared_library()) as machine:
        machine.load(assemble("mov ecx, 100\nagain:\ndec ecx\njnz again\ncli\nhlt", 32, CODE), flat=CODE)
        machine.run()
        assert machine.cpu.statistics()["units_made"] == 1
        yield machine


def _reckon(cpu: TranslatingVcpu, earned: int, retired: int) -> int:
    """Have it reckoned, with so much on the account and so many instructions in units since; the account then."""
    cpu.set_control("reckoned", cpu.control("unit_insns"))
    cpu.set_control("unit_insns", cpu.control("unit_insns") + retired)
    cpu.set_control("earned", earned & (1 << 64) - 1)
    cpu.call("forget_ways", 0)
    assert cpu.control("reckoned") == cpu.control("unit_insns")
    left = cpu.control("earned")
    return left - (left >> 63 << 64)


def test_instructions_in_units_are_earned_up_to_a_limit(made: Machine) -> None:
    cpu = made.cpu
    assert isinstance(cpu, TranslatingVcpu)
    assert _reckon(cpu, 1000, 234) == 1234
    assert _reckon(cpu, -5000, 234) == -4766
    cpu.set_control("next_rest", LONGEST_REST)
    assert _reckon(cpu, MOST_EARNED, 0) == MOST_EARNED
    assert cpu.control("next_rest") == LONGEST_REST
    assert _reckon(cpu, MOST_EARNED - 10, 11) == MOST_EARNED
    assert cpu.control("next_rest") == SHORTEST_REST  # the next debt is forgiven soon
    assert cpu.state["paged_view_rests"] == 0


def test_who_is_in_debt_rests_longer_each_time(made: Machine) -> None:
    cpu = made.cpu
    assert isinstance(cpu, TranslatingVcpu)
    now = cpu.state["icount_base"]
    assert _reckon(cpu, -MOST_DEBT, 0) == -MOST_DEBT
    assert cpu.state["paged_view_rests"] == 0
    rest = SHORTEST_REST
    for _ in range(8):
        assert _reckon(cpu, -MOST_DEBT - 100, 99) == 0
        assert cpu.state["paged_view_rests"] == now + rest
        rest = min(2 * rest, LONGEST_REST)


def test_nobody_rests_who_is_to_have_units_at_once(made: Machine) -> None:
    cpu = made.cpu
    assert isinstance(cpu, TranslatingVcpu)
    cpu.state["heat_wanted"] = EAGER
    assert _reckon(cpu, -MOST_DEBT - 1, 0) == -MOST_DEBT - 1
    assert cpu.state["paged_view_rests"] == 0


@pytest.mark.parametrize("passes", [200, 2])
def test_each_page_that_is_opened_is_paid_for(passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vcpu.HEAT_WANTED, "2", SOON)
    with Machine(MachineConfig(memory=16 * MIB, tier="2"), library=shared_library()) as made:
        made.load(assemble(_PAGES.format(passes=passes), 32, CODE), flat=CODE)
        cpu = made.cpu
        assert isinstance(cpu, TranslatingVcpu)
        for page in range(0x400, 0x800):  # found hot, as by its samples
            cpu._samples.map[page] = 0xFF
        cpu._samples.map[CODE >> 12] = 0xFF
        made.run()
        opened = cpu.statistics()["pages_opened"]
        earned = cpu.control("earned")
        earned -= earned >> 63 << 64
        assert opened > 400
        if cpu.state["paged_view_rests"]:
            assert opened > MOST_DEBT // (OPENING_COST + TRAP_COST)
        else:
            traps = cpu.statistics()["unit_faults"]
            assert traps >= opened
            assert earned == cpu.control("reckoned") - OPENING_COST * opened - TRAP_COST * traps
