"""What goes on beside units, or interrupts them: other machines, breakpoints, signals, devices, a bound on memory."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import guest_images
from bt.api.stops import Address
from bt.end import End
from bt.engine.library.shared import shared_library
from bt.engine.translator import vcpu
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from bt.x86.exits import ExitReason
from bt.x86.state import EAX, EBX
from guest_images.assembler import assemble
from tests.engine.identity.test_guests import GUESTS, MIB, machine, run, units
from tests.engines import TIER_2
from tests.smc.guest import DONE, PROGRAM, Mode, Paging, guest

FLAT = Mode(Paging.OFF, 0)


def translator(made: Machine) -> TranslatingVcpu:
    assert isinstance(made.cpu, TranslatingVcpu)
    return made.cpu


def test_machines_in_threads() -> None:
    """Each with a view and a table of its own; all of them fault, in one process with one signal handler."""
    names = [*GUESTS] * 2
    wanted = {name: run("interp", "1", name) for name in GUESTS}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: run("bt", "2", name), names))
    assert found == [wanted[name] for name in names]


def _stops(engine: EngineName, tier: TierName, eips: list[int]) -> list[tuple[int, int]]:
    """Where the run stops, and after how many instructions, when it is to stop at these again and again."""
    with machine(shared_library(), engine, tier, "crc", bytearray()) as made:
        made.run(max_insns=40_000)
        found = []
        for _ in range(3):
            for eip in eips:
                result = made.run(until=Address(eip), max_insns=5000)
                found.append((made.cpu.state["eip"], result.instructions))
        return found


def test_a_run_until_an_address_in_a_unit() -> None:
    with machine(shared_library(), "bt", "2", "crc", bytearray()) as made:
        made.run(max_insns=40_000)
        identity = translator(made).identity
        assert identity is not None
        eips = [*identity.places][-4:]
    assert _stops("bt", "2", eips) == _stops("interp", "1", eips)


def test_the_memory_of_the_branch_table_is_bounded() -> None:
    out = bytearray()
    with machine(shared_library(), "bt", "2", "quicksort", out) as made:
        cpu = translator(made)
        cpu.set_control("table_limit", 2)
        result = made.run()
        assert cpu.statistics()["table_bytes"] <= 4 * 4096
    assert (bytes(out), result.instructions, []) == run("interp", "1", "quicksort")


def test_units_that_lead_to_tier_1_at_once_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short stretches of integers between floating point: each crossing costs more than they do."""
    monkeypatch.setattr(vcpu, "PATIENCE", 0)
    monkeypatch.setitem(vcpu.HEAT_WANTED, "auto", 1000)  # also where all others are promoted at once
    with Machine(MachineConfig(memory=32 * MIB, tier="auto"), library=shared_library()) as made:
        made.load(guest_images.image("mandel-x87").path, append="n=3")
        made.run()
        counts = made.cpu.statistics()
    assert counts["units_made"]
    assert counts["unit_misses"] < 10_000


def test_an_interrupt_from_the_keyboard() -> None:
    """Ctrl-C comes while a unit runs, which has no end."""
    with Machine(MachineConfig(memory=32 * MIB, tier="2"), library=shared_library()) as made:
        made.load(guest_images.image("fib-calls").path, append="n=100000")
        timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        assert made.run(timeout=60).reason is End.INTERRUPTED
        timer.join()
        assert units(made)


def played(engine: str, program: str) -> tuple[list[tuple[int, ...]], int, int, Vcpu]:
    """The accesses that devices would answer, instructions before each; EAX and EBX in the end."""
    cpu = guest(engine).start(FLAT, {PROGRAM: assemble(f"{program}\nint {DONE}", 32, PROGRAM)})
    began = cpu.instructions
    found: list[tuple[int, ...]] = []
    while (leave := cpu.run(100_000)).reason is ExitReason.MMIO:
        found.append((cpu.instructions - began, leave.address, leave.size, leave.write, leave.value))
        cpu.complete(0xA5A5A5A5)
    assert leave.reason is ExitReason.HLT
    return found, cpu.state["gpr", EAX], cpu.state["gpr", EBX], cpu


@pytest.mark.parametrize(
    "program",
    [
        "mov eax, [0xFFFFFFFE]\nmov ebx, [0xFFFFFFFF]",
        "mov ecx, 0xFFFFFFFF\nmov dword ptr [ecx], 0x12345678\nmov eax, [0]\nmov ebx, [0xFFFFFFFF]",
        "mov esi, esp\nmov esp, 2\npush 0x55667788\nmov eax, [0]\nmov ebx, esp\nmov esp, esi",
        "mov ecx, 0x80000000\nmov edx, 0x80000004\nmov dword ptr [8], 77\nmov eax, [ecx + edx + 4]",
        "mov ecx, -8\nmov dword ptr [0x1000000 - 8], 99\nmov eax, [ecx * 2 + 0x1000000 + 8]",
        "add dword ptr [0xFFFFFFFD], 5\nmov eax, [1]\nmov bl, [0]",
    ],
)
def test_addresses_wrap_as_the_guests_do(program: str) -> None:
    wanted = played("interp", program)[:3]
    for _ in range(2):
        assert played(TIER_2, program)[:3] == wanted


def test_code_from_where_no_memory_is() -> None:
    """It is all ones, an invalid opcode; reading there is still a device's affair, in this program and later ones."""
    read = "mov eax, [0x7000FF0]"
    for program in (read, "mov eax, 0x7000FF0\njmp eax", read):
        wanted = played("interp", program)[:3]
        assert played(TIER_2, program)[:3] == wanted
        assert bool(wanted[0]) == (program == read)


@pytest.mark.parametrize("keeps", ["imul esi, edx", "bt esi, 3", "imul esi, edx, 7"])
def test_undefined_flags_that_are_kept_are_not_dead(keeps: str) -> None:
    """A unit begins with one that leaves them as they were: its charge must not come in between."""
    program = f"mov ecx, 300\nagain:\n{keeps}\nlahf\nadd ebx, eax\nror ebx, 3\ndec ecx\njnz again"
    assert played(TIER_2, program)[:3] == played("interp", program)[:3]


def test_a_store_that_keeps_missing_its_view_becomes_a_service() -> None:
    """To a device: a fault of the host's each would be dear."""
    program = "mov ecx, 3000\nagain:\nmov [0x7000000], ecx\nadd eax, ecx\ndec ecx\njnz again"
    before = guest(TIER_2).cpu.statistics()["unit_faults"]
    *found, cpu = played(TIER_2, program)
    assert found == [*played("interp", program)[:3]]
    assert cpu.statistics()["unit_faults"] - before < 20
