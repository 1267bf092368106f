"""The machine uses of an engine what bt/engine/protocol.py says: it runs with one that has nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bt.end import End
from bt.engine.protocol import Engine, Exit
from bt.errors import BadUsage
from bt.inspect.fault_report import describe_triple_fault
from bt.machine import Machine, MachineConfig, machine
from bt.symbols.elf_symbols import Symbols
from bt.x86 import flags
from bt.x86.exits import ExitReason
from tests.machine.fake_engine import INSNS_AN_EXIT, FakeEngine, inp, out

HLT, FP_ERROR, SHUTDOWN = Exit(ExitReason.HLT), Exit(ExitReason.FP_ERROR), Exit(ExitReason.SHUTDOWN)
# 8259s with vectors 20 and 28, and of the requests the timer's, the cascade and the FPU's let through
PICS = [
    *(out(port, value) for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xFA))),
    *(out(port, value) for port, value in ((0xA0, 0x11), (0xA1, 0x28), (0xA1, 2), (0xA1, 1), (0xA1, 0xDF))),
]


def made(monkeypatch: pytest.MonkeyPatch, script: Sequence[Exit]) -> tuple[Machine, FakeEngine]:
    engine = FakeEngine(script)
    judged_by_mypy: Engine = engine
    monkeypatch.setattr(machine, "make_engine", lambda *_: judged_by_mypy)
    return Machine(MachineConfig(memory=4 << 20, cpu="486")), engine  # which has no APIC that firmware would set up


def test_accesses_are_answered_and_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    engine = FakeEngine([out(0x3F8, 0x41), inp(0x3FD), out(0x80, 7), Exit(ExitReason.MMIO, address=0xFED40000, size=4)])
    monkeypatch.setattr(machine, "make_engine", lambda *_: engine)
    with Machine(MachineConfig(memory=4 << 20), serial=sent.append) as pc:
        entry = pc.load(b"\xf4", flat=0x1000)
        assert engine.state["eip"] == entry.eip == 0x1000
        result = pc.run(max_insns=1000)
        assert (result.reason, result.instructions, result.statistics) == (End.MAX_INSNS, 1000, {"played": 1000})
        assert result.exits == {"io": 3, "mmio": 1, "budget": 1}
        assert engine.answers == [0x41, 0x60, 7, 0xFFFFFFFF]
        assert sent == [0x41]
        assert pc.clock.now_ns == 1000 + 3 * 1000 + 250
        with pytest.raises(BadUsage, match="engine fake: not one of bt's own"):
            describe_triple_fault(pc.cpu, (), Symbols(b""))
    assert engine.closed


def test_interrupts_end_a_halt_and_are_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    script = [*PICS, out(0x43, 0x34), out(0x40, 0x00), out(0x40, 0x10), out(0x20, 0x20), HLT]
    pc, engine = made(monkeypatch, script)
    with pc:
        engine.state["eflags_system"] = flags.IF
        assert pc.run(max_insns=len(script) * INSNS_AN_EXIT + 1).reason is End.MAX_INSNS
        assert engine.vectors == [0x20, 0x20], "at the mode's setting, and when counter 0 has gone around"
        assert pc.clock.now_ns > 0x1000 * 838


def test_a_halt_that_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with made(monkeypatch, [HLT])[0] as pc:
        assert pc.run().reason is End.HALTED


def test_an_nmi_ends_a_halt(monkeypatch: pytest.MonkeyPatch) -> None:
    pc, engine = made(monkeypatch, [HLT])
    with pc:
        pc.cpu.nmi()
        assert pc.run(max_insns=100).reason is End.MAX_INSNS
        assert engine.instructions == 100


def test_an_x87_exception_is_irq_13(monkeypatch: pytest.MonkeyPatch) -> None:
    pc, engine = made(monkeypatch, [*PICS, FP_ERROR, out(0xF0, 0)])
    with pc:
        engine.state["eflags_system"] = flags.IF
        pc.run(max_insns=(len(PICS) + 2) * INSNS_AN_EXIT)
        assert engine.vectors == [0x2D]
        assert engine.fp_errors_ignored


def test_the_a20_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    pc, engine = made(monkeypatch, [out(0x92, 0)])
    with pc:
        pc.run(max_insns=INSNS_AN_EXIT)
        assert not engine.a20


def test_a_triple_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with made(monkeypatch, [SHUTDOWN])[0] as pc:
        result = pc.run()
        assert (result.reason, result.fault_chain) == (End.TRIPLE_FAULT, ())


def test_the_host_s_clock_asks_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(machine, "make_engine", lambda *_: engine)
    cycles = iter(range(0, 1 << 40, 1_000_000))
    monkeypatch.setattr(engine, "host_cycles", lambda: next(cycles))
    with Machine(MachineConfig(memory=4 << 20, clock="host")) as pc:
        assert pc.run(max_insns=100).reason is End.MAX_INSNS
        assert next(cycles) >= 2_000_000
