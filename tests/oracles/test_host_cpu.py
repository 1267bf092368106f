"""The host CPU oracle itself: isolation, recovery, and what the signal frame tells."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.cases import layout
from tests.cases.model import DEFAULT_REGISTERS, Case, ExecutorError, State, Trap
from tests.cases.parse import parse_line
from tests.oracles import host_child
from tests.oracles.host_cpu import HostCpu


@pytest.fixture
def cpu() -> Iterator[HostCpu]:
    if reason := HostCpu.unavailable():
        pytest.skip(reason)
    with HostCpu() as cpu:
        yield cpu


def _run(cpu: HostCpu, text: str) -> Trap | None:
    return cpu.run(parse_line(f"{text} => ?")).trap


def test_whole_state_comes_back(cpu: HostCpu) -> None:
    outcome = cpu.run(Case(b"\x90", State(DEFAULT_REGISTERS, layout.CODE.start, 0xCD7)))
    assert outcome.state.registers == DEFAULT_REGISTERS
    assert outcome.state.eip == layout.CODE.start + 1
    assert outcome.state.eflags == 0xED7 & ~0x100 | 0x202
    assert outcome.state.memory == Case(b"\x90").images()


@pytest.mark.parametrize(
    ("text", "trap"),
    [
        ("div ecx | ecx=0", Trap(0)),
        ("int3 |", Trap(3)),
        ("into | of=1", Trap(4)),
        ("bound eax, [ebx] | eax=1 ebx=20000", Trap(5)),
        ("hex: 0f 0b |", Trap(6)),
        ("hlt |", Trap(13, 0)),
        ("hex: cd 20 |", Trap(13, 0x20 * 8 + 2)),
        ("mov eax, [0x24000] |", Trap(14, 4, 0x24000)),
        ("mov [0x26000], eax |", Trap(14, 7, 0x26000)),
        ("jmp 0x50000 |", Trap(14, 4, 0x50000)),
        ("inc eax | tf=1", Trap(1)),
    ],
)
def test_exceptions(cpu: HostCpu, text: str, trap: Trap) -> None:
    assert _run(cpu, text) == trap


def test_a_case_that_does_not_end_is_an_error_and_the_next_one_runs(
    cpu: HostCpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.oracles.host_cpu.TIMEOUT_SECONDS", 0.1)
    with pytest.raises(ExecutorError, match="does not end"):
        _run(cpu, "hex: eb fe |")
    assert _run(cpu, "nop |") is None


@pytest.mark.parametrize("number", [1, 2, 20, 37, 102], ids=["exit", "fork", "getpid", "kill", "socketcall"])
def test_system_calls_end_the_child(cpu: HostCpu, number: int) -> None:
    with pytest.raises(ExecutorError, match="ends the child"):
        _run(cpu, f"hex: cd 80 | eax={number:x}")
    assert _run(cpu, "nop |") is None


def test_jumping_into_the_child_is_an_error(cpu: HostCpu) -> None:
    with pytest.raises(ExecutorError, match="own memory"):
        _run(cpu, f"mov byte ptr [eax], 0xcc; jmp eax | eax={host_child.CHILD_END - 16:x}")


def test_nothing_else_is_mapped(cpu: HostCpu) -> None:
    """Stack, vDSO and heap of the child are gone: a case sees only its layout."""
    addresses = range(0, 1 << 32, 0x40_0000)
    cases = [Case(b"\x8a\x00", State((address, *DEFAULT_REGISTERS[1:]))) for address in addresses]
    readable = [
        case.start.registers[0] for case, outcome in zip(cases, cpu.run_many(cases), strict=True) if not outcome.trap
    ]
    assert all(host_child.CHILD_BASE <= address < host_child.CHILD_END for address in readable)


def test_cases_do_not_see_each_other(cpu: HostCpu) -> None:
    dirty = parse_line("rep stosd | ecx=1000 edi=20000 => ?")
    clean = parse_line("mov eax, [0x20000] | => ?")
    first, second = cpu.run_many([dirty, clean])
    assert first.state.memory[layout.DATA.start].startswith(b"\x11" * 64)
    assert second.state.registers[0] == 0
    assert not any(second.state.memory[layout.DATA.start])


@pytest.mark.slow
def test_ten_thousand_cases_a_second(cpu: HostCpu) -> None:
    """Random comparison must be cheap.  An idle machine does 30,000; the best of five, because this one may be busy."""
    cases = [parse_line("add eax, ecx | eax=7fffffff ecx=1 => ?")] * 5_000
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        cpu.run_many(cases)
        seconds.append(time.perf_counter() - start)
    assert len(cases) / min(seconds) > 10_000
