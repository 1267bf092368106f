"""Snapshots: a guest that goes on from one does what it did before, in every count, under either engine and across."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from random import Random

import pytest

from bt.clock.virtual_clock import VirtualClock
from bt.devices.chipset.pit8254 import Pit8254
from bt.devices.device import Device, Line
from bt.engine.library.library import Library, load_library
from bt.engine.vcpu import own_vcpu
from bt.errors import BadUsage, BtError, Closed
from bt.inspect.compare.registers import read_registers
from bt.machine import ClockMode, EngineName, Machine, MachineConfig
from bt.machine.snapshot import Snapshot
from bt.memory.bus import ByteCells
from bt.memory.native_registers import NativeRegister
from bt.x86.page import PAGE
from guest_images.assembler import Program, assemble
from tests.everyday import everyday, one_in
from tests.machine import snapshot_guest
from tests.machine.snapshot_guest import DATA, MEMORY, Recorded, Refusing

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
FLAT = 0x1_0000
STEP = 7
STEPS = [(number, *engines) for number, engines in enumerate(product(ENGINES, ENGINES))]
"""Instructions between snapshots, and where each pair of engines begins: the guest goes round three times."""


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    made = load_library()
    yield made
    made.close()


@pytest.fixture(scope="module")
def guest() -> Program:
    return snapshot_guest.program()


@dataclass(frozen=True)
class Outcome:
    """What there is to see of a machine that has ended."""

    reason: str
    instructions: int
    said: bytes
    exits: dict[str, int]
    registers: dict[str, int]
    now_ns: int
    ram: bytes
    devices: list[object]


def registers(recorded: Recorded) -> dict[str, int]:
    return read_registers(recorded.machine.cpu.state, recorded.machine.cpu.instructions)


def finish(recorded: Recorded) -> Outcome:
    machine = recorded.machine
    result = machine.run(max_insns=100_000)
    devices: list[object] = [r.device.state() for r in machine.ports.regions if isinstance(r.device, Device)]
    return Outcome(
        result.reason,
        result.instructions,
        bytes(recorded.said),
        result.exits,
        registers(recorded),
        machine.clock.now_ns,
        bytes(machine.ram.view),
        devices,
    )


def without_what_stops_cost(outcome: Outcome) -> Outcome:
    """A stop by `max_insns` is an exit more, and its own."""
    return replace(outcome, exits={name: count for name, count in outcome.exits.items() if name != "budget"})


@pytest.mark.parametrize(("first", "taken_under", "restored_under"), STEPS)
def test_between_any_two_instructions(
    library: Library, guest: Program, first: int, taken_under: EngineName, restored_under: EngineName
) -> None:
    """In the shadows of STI and MOV SS, before traps and breakpoints, within REP INS, with FP registers in use."""
    with snapshot_guest.make(library, "interp", guest) as recorded:
        expected = without_what_stops_cost(finish(recorded))
    assert expected.reason == "exit"
    assert len(expected.said) > 8
    with (
        snapshot_guest.make(library, taken_under, guest) as taken,
        snapshot_guest.make(library, restored_under, None) as other,
    ):
        taken.machine.run(max_insns=first)
        while taken.machine.cpu.instructions < expected.instructions - STEP:
            taken.machine.run(max_insns=STEP)
            with taken.machine.snapshot() as snapshot:
                assert snapshot.instructions == taken.machine.cpu.instructions
                other.said[:] = taken.said
                other.machine.restore(snapshot)
                at = snapshot.instructions
                assert registers(other) == registers(taken), f"after {at} instructions"
                assert without_what_stops_cost(finish(other)) == expected, f"from {at} instructions"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_machine_goes_back_time_and_again(library: Library, guest: Program, engine: EngineName) -> None:
    """The guest changes its own code, its page tables (A and D) and its FP registers; snapshots in any order."""
    with snapshot_guest.make(library, engine, guest) as recorded:
        taken: list[tuple[Snapshot, bytes]] = []
        for _ in range(8):
            taken.append((recorded.machine.snapshot(), bytes(recorded.said)))
            recorded.machine.run(max_insns=60)
        expected = without_what_stops_cost(finish(recorded))
        random = Random(engine)
        for _ in range(30):
            snapshot, said = random.choice(taken)
            recorded.machine.restore(snapshot)
            recorded.said[:] = said
            if random.random() < 0.5:
                recorded.machine.run(max_insns=random.randrange(expected.instructions - snapshot.instructions))
            assert without_what_stops_cost(finish(recorded)) == expected
        for snapshot, _ in taken:
            snapshot.close()


def attach(recorded: Recorded) -> Refusing:
    device = Refusing()
    recorded.machine.mmio.attach(device, snapshot_guest.DEVICES, PAGE)
    return device


@pytest.mark.parametrize(("restored_under", "taken_under"), one_in(2, ENGINES, ENGINES[::-1]))
def test_at_an_access_before_it_is_answered(
    library: Library, guest: Program, taken_under: EngineName, restored_under: EngineName
) -> None:
    """Also a later one of an instruction, and of an exception's frame: those before it must not be made again."""
    with snapshot_guest.make(library, "interp", guest) as recorded:
        whole = attach(recorded)
        expected = finish(recorded)
    assert whole.asked > 30
    for number in range(whole.asked):
        with (
            snapshot_guest.make(library, taken_under, guest) as taken,
            snapshot_guest.make(library, restored_under, None) as other,
        ):
            device, fresh = attach(taken), attach(other)
            device.raise_at = number
            with pytest.raises(InterruptedError):
                taken.machine.run()
            with taken.machine.snapshot() as snapshot:
                other.said[:] = taken.said
                other.machine.restore(snapshot)
                again = finish(other)
                assert (fresh.asked, fresh.heard) == (whole.asked, whole.heard)
                # the refused access was an exit, and comes once more
                assert again.exits.pop("mmio") == expected.exits["mmio"] + 1
                assert again.exits == {name: n for name, n in expected.exits.items() if name != "mmio"}
                assert (again.said, again.ram, again.registers) == (expected.said, expected.ram, expected.registers)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("restored_under", ENGINES)
def test_a_processor_alone_at_an_exit(library: Library, engine: EngineName, restored_under: EngineName) -> None:
    """Vcpu.snapshot before `complete`: the exit's record is there too, and the instruction goes on once answered."""
    with (
        snapshot_guest.make(library, engine, None) as taken,
        snapshot_guest.make(library, restored_under, None) as other,
    ):
        code = assemble("mov dx, 0x1234\nin eax, dx\nadd eax, 1\nhlt", 32, FLAT)
        taken.machine.load(code, flat=FLAT)
        other.machine.ram.write(0, taken.machine.ram.view)
        leave = taken.machine.cpu.run(100)
        assert (leave.reason.name, leave.address, leave.size) == ("IO", 0x1234, 4)
        snapshot = own_vcpu(taken.machine.cpu).snapshot()
        for machine in (taken.machine, other.machine, taken.machine):
            cpu = own_vcpu(machine.cpu)
            cpu.restore(snapshot)
            assert cpu.state["exit_address"] == 0x1234
            cpu.complete(41)
            assert cpu.run(100).reason.name == "HLT"
            assert cpu.state["gpr", 0] == 42


def traffic(machine: Machine, random: Random, count: int) -> list[int]:
    """Reads and writes of all registers of all devices on the ports, with time that passes; what was read."""
    ports = [
        port
        for region in machine.ports.regions
        if not region.device.name.startswith("debug exit")
        for port in range(region.start, region.end)
    ]
    found = []
    for _ in range(count):
        port = random.choice(ports)
        if random.random() < 0.5:
            found.append(machine.ports.read(port, 1))
        else:
            machine.ports.write(port, 1, random.choice((random.getrandbits(8), random.getrandbits(4), 0x20)))
        if random.random() < 0.2 and machine.cpu.state["intr_pending"]:
            found.append(machine.board.pic.acknowledge())
        if random.random() < 0.1:
            machine.com1.receive(bytes([random.getrandbits(8)]))
        machine.clock.advance(random.choice((1, 1000, 1_000_000, 300_000_000)))
        machine.clock.run_due()
        found += [machine.clock.now_ns, machine.cpu.state["intr_pending"], machine.cpu.state["a20_mask"]]
    return found


def native_ports(machine: Machine) -> dict[int, tuple[int, int]]:
    """What native code may do at ports, and the value it reads there."""
    access, values = bytes(own_vcpu(machine.cpu).port_access.map), bytes(own_vcpu(machine.cpu).port_values.map)
    return {port: (allowed, values[port]) for port, allowed in enumerate(access) if allowed}


@pytest.mark.parametrize("seed", everyday(range(25), range(3)))
def test_every_device_comes_back(library: Library, seed: int) -> None:
    """Two machines with different pasts: what is restored answers as the other one from then on, natively too."""
    random = Random(seed)
    with (
        snapshot_guest.make(library, "interp", None) as taken,
        snapshot_guest.make(library, "bt", None) as other,
    ):
        traffic(taken.machine, random, 300)
        traffic(other.machine, random, 300)
        with taken.machine.snapshot() as snapshot:
            other.machine.restore(snapshot)
            a, b = taken.machine, other.machine
            assert native_ports(a) == native_ports(b)
            follow = random.getrandbits(32)
            expected = traffic(a, Random(follow), 300)
            assert traffic(b, Random(follow), 300) == expected
            a.restore(snapshot)
            assert traffic(a, Random(follow), 300) == expected


def test_what_a_device_saves_is_json_with_a_version(library: Library) -> None:
    with snapshot_guest.make(library, "interp", None) as recorded:
        traffic(recorded.machine, Random(1), 100)
        devices = [r.device for r in recorded.machine.ports.regions if isinstance(r.device, Device)]
        assert len(devices) == len(recorded.machine.ports.regions)
        for device in devices:
            saved = json.loads(json.dumps(device.save()))
            assert saved["version"] >= 1
            device.load(saved)
            assert json.loads(json.dumps(device.save())) == saved


class LaterPit(Pit8254):
    """As a later bt may have it."""

    version = Pit8254.version + 1


def test_another_version_of_a_device_is_refused() -> None:
    clock = VirtualClock()
    later, now = LaterPit(clock, Line("IRQ0")), Pit8254(clock, Line("IRQ0"))
    with pytest.raises(BadUsage, match=f"version {LaterPit.version}, here it is version {Pit8254.version}"):
        now.load(later.save())


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (MachineConfig(memory=2 * MEMORY), "bytes of memory"),
        (MachineConfig(memory=MEMORY, cpu="pentium3"), "CPU"),
        (MachineConfig(memory=MEMORY, cpu="pentium4,-sse2"), "CPU"),
        (MachineConfig(memory=MEMORY, clock="host"), "clock"),
    ],
)
def test_a_machine_of_another_shape_is_refused(library: Library, config: MachineConfig, what: str) -> None:
    with snapshot_guest.make(library, "interp", None) as recorded, Machine(config, library=library) as other:
        before = own_vcpu(other.cpu).snapshot(), other.clock.state()["insns"], bytes(other.ram.view)
        with recorded.machine.snapshot() as snapshot, pytest.raises(BadUsage, match=what):
            other.restore(snapshot)
        assert before == (own_vcpu(other.cpu).snapshot(), other.clock.state()["insns"], bytes(other.ram.view))


def test_other_devices_are_refused(library: Library) -> None:
    with snapshot_guest.make(library, "bt", None) as one, snapshot_guest.make(library, "bt", None) as other:
        attach(other)
        with one.machine.snapshot() as snapshot, pytest.raises(BadUsage, match="devices"):
            other.machine.restore(snapshot)


class Mute:
    """A device of the bus's own kind, which cannot say what its state is."""

    name, widest_access = "mute", 1
    latches: frozenset[int] = frozenset()
    mirrors: frozenset[int] = frozenset()

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        pass

    def adopt_latch(self, offset: int, cells: ByteCells, index: int) -> None:
        pass

    def release_latch(self, offset: int) -> None:
        pass

    def adopt_mirror(self, offset: int, mirror: object) -> None:
        pass

    def release_mirror(self, offset: int) -> None:
        pass

    def native_registers(self) -> dict[int, NativeRegister]:
        return {}

    def native_window(self) -> None:
        return None


def test_a_device_without_state_is_refused(library: Library) -> None:
    with snapshot_guest.make(library, "bt", None) as recorded:
        recorded.machine.ports.attach(Mute(), 0x300, 1)
        with pytest.raises(BadUsage, match="mute: no snapshots with it"):
            recorded.machine.snapshot()


def test_not_from_inside_of_a_run(library: Library) -> None:
    """Neither from a device nor from what was posted, and not from another thread."""
    errors: list[BtError] = []

    def attempt(*_: int) -> None:
        for action in (machine.snapshot, own_vcpu(machine.cpu).snapshot, lambda: machine.restore(snapshot)):
            with pytest.raises(BadUsage, match="the guest is running") as caught:
                action()
            errors.append(caught.value)

    with Machine(MachineConfig(memory=MEMORY), library=library, console=attempt) as machine:
        machine.load(assemble("out 0xE9, al\ncli\nhlt", 32, FLAT), flat=FLAT)
        with machine.snapshot() as snapshot:
            machine.post(attempt)
            assert machine.run().reason == "halted"
            assert len(errors) == 6
            machine.restore(snapshot)


@pytest.mark.parametrize("clock", ["icount", "host"])
def test_closed_and_wrong_ones(library: Library, clock: ClockMode) -> None:
    machine = Machine(MachineConfig(memory=MEMORY, clock=clock), library=library)
    with machine.snapshot() as snapshot:
        machine.restore(snapshot)
    snapshot.close()
    with pytest.raises(Closed, match="this snapshot is closed"):
        machine.restore(snapshot)
    with pytest.raises(BadUsage, match=r"what Machine\.snapshot returned"):
        machine.restore(b"")  # type: ignore[arg-type]
    other = machine.snapshot()
    machine.close()
    with pytest.raises(Closed):
        machine.restore(other)
    with pytest.raises(Closed):
        machine.snapshot()
    other.close()


def test_time_does_not_stand_still_on_the_hosts_clock(library: Library) -> None:
    """What the guest saw last of the host's time goes back with the snapshot."""

    def seen(machine: Machine) -> int:
        return int.from_bytes(machine.ram.read(DATA, 8), "little")

    with Machine(MachineConfig(memory=MEMORY, clock="host"), library=library) as machine:
        machine.load(
            assemble(f"again: rdtsc\nmov [{DATA}], eax\nmov [{DATA + 4}], edx\njmp again", 32, FLAT), flat=FLAT
        )
        start = time.monotonic_ns()
        machine.run(timeout=0.05)
        with machine.snapshot() as snapshot:
            before, until_snapshot_ns = seen(machine), time.monotonic_ns() - start
            machine.run(timeout=1)
            start = time.monotonic_ns()
            machine.restore(snapshot)
            for _ in range(100):  # a busy host may leave it no time at all in one of them
                machine.run(timeout=0.02)
                if seen(machine) - before > 5_000_000:
                    break
            since_restore_ns = time.monotonic_ns() - start
            assert 5_000_000 < seen(machine) - before < 1.01 * (until_snapshot_ns + since_restore_ns)
