"""Debian's installer kernel, unmodified: decompresses itself, prints its banner, and with its initrd runs a shell.

Needs `make guests`, as CI does; elsewhere the test says what is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pytest

from bt.end import End
from bt.engine.identity.code_space import CodeSpace
from bt.inspect.compare.registers import read_registers
from bt.machine import ClockMode, EngineName, Machine, MachineConfig
from tests.engine.identity.operands import check_operands
from tests.guests.images import required

APPEND = "earlyprintk=ttyS0 console=ttyS0"
BANNER = "Linux version 6.1"
BANNER_LIMIT = 2_500_000_000  # instructions: the banner comes after 2.36 G, nearly all of them decompression
COMPARED = 2_600_000_000


SHELL = "rdinit=/bin/sh"
PROMPT = b"~ # "
SHELL_SECONDS = 300  # of the host, in which the prompt must come
NAP_SECONDS = 5
SNAPSHOT_FROM, SNAPSHOT_INSNS = 2_365_000_000, 40_000_000  # the first snapshot, and from one to the next


@pytest.fixture(scope="module")
def kernel() -> Path:
    return required("debian-12-linux")


def boot(kernel: Path, engine: EngineName, limit: int) -> tuple[str, int]:
    """Console output and instructions run, up to a limit."""
    output = bytearray()
    machine = Machine(MachineConfig(memory=128 << 20, engine=engine), serial=output.append)
    machine.load(kernel, append=APPEND)
    result = machine.run(max_insns=limit)
    machine.close()
    return output.decode(errors="replace"), result.instructions


def test_the_banner_appears_under_translation(kernel: Path) -> None:
    output, instructions = boot(kernel, "bt", BANNER_LIMIT)
    assert BANNER in output
    assert instructions == BANNER_LIMIT


@pytest.mark.slow
def test_both_engines_print_the_same(kernel: Path) -> None:
    assert boot(kernel, "bt", COMPARED) == boot(kernel, "interp", COMPARED)


@pytest.mark.slow
def test_memory_on_both_sides_of_the_device_hole(kernel: Path) -> None:
    """5 GiB: 3.5 below the hole, which this kernel without PAE uses; the rest from 4 GiB up, which it is told of."""
    output = bytearray()
    with Machine(MachineConfig(memory=5 << 30), serial=output.append) as machine:
        machine.load(kernel, append=APPEND)
        machine.run(max_insns=3_100_000_000)
    text = output.decode(errors="replace")
    assert "BIOS-e820: [mem 0x0000000000100000-0x00000000dfffffff] usable" in text
    assert "BIOS-e820: [mem 0x0000000100000000-0x000000015fffffff] usable" in text
    memory = re.search(r"Memory: (\d+)K/(\d+)K available", text)
    assert memory is not None, text[-500:]
    assert int(memory[2]) > 3.49 * (1 << 20)  # KiB: the whole of what is below the hole


class Shell:
    """BusyBox in the installer's initrd, spoken to over the serial port."""

    def __init__(self, kernel: Path, clock: ClockMode = "icount", *, no_reboot: bool = False) -> None:
        self.output = bytearray()
        config = MachineConfig(memory=512 << 20, clock=clock, no_reboot=no_reboot)
        self.machine = Machine(config, serial=self._sent)
        self.machine.input_open = True
        self.machine.load(kernel, initrd=required("debian-12-initrd"), append=f"{APPEND} {SHELL}")
        self._wait()

    def _sent(self, byte: int) -> None:
        self.output.append(byte)
        if self.output.endswith(PROMPT):
            self.machine.stop()

    def _wait(self) -> None:
        self.result = self.machine.run(timeout=SHELL_SECONDS)
        assert self.result.reason == "interrupted", self.output[-500:].decode(errors="replace")

    def run(self, command: str) -> list[str]:
        """The lines that a command prints."""
        before = len(self.output)
        self.machine.com1.receive(command.encode() + b"\n")
        self._wait()
        return self.output[before:].decode().replace("\r", "").split("\n")[1:-1]


@pytest.mark.slow
def test_a_shell_answers(kernel: Path) -> None:
    """User space under translation: BusyBox from the initrd reads a line from the serial port and does what it says."""
    shell = Shell(kernel)
    assert shell.run("echo $((6 * 7)) is the answer") == ["42 is the answer"]
    shell.machine.close()


@pytest.mark.slow
def test_what_is_emitted_stays_in_its_view(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All units of the boot and of some work at the shell, those forgotten since included."""
    emitted = []

    def add(space: CodeSpace, start: int, code: bytes) -> None:
        emitted.append((start, code))
        put(space, start, code)

    put = CodeSpace.add
    monkeypatch.setattr(CodeSpace, "add", add)
    shell = Shell(kernel)
    shell.run("seq 1 60000 | gzip -c | sha256sum")
    shell.run("i=0; while [ $i -lt 9000 ]; do i=$((i+1)); done")
    shell.machine.close()
    assert len(emitted) > 100
    assert check_operands(emitted) > 2000


@pytest.mark.slow
@pytest.mark.parametrize("clock", ["icount", "host"])
def test_a_second_of_sleep_is_a_second_on_every_clock(kernel: Path, clock: ClockMode) -> None:
    """Linux takes the time from the TSC, the tick that ends the sleep from the PIT; uptime and RTC must agree on it."""
    shell = Shell(kernel, clock)
    shell.run("mount -t proc proc /proc; mount -t sysfs sysfs /sys")

    def clocks() -> tuple[float, int]:
        uptime, epoch = shell.run("cut -d ' ' -f 1 /proc/uptime; cat /sys/class/rtc/rtc0/since_epoch")
        return float(uptime), int(epoch)

    (uptime, epoch), guest_ns, insns = clocks(), shell.machine.clock.now_ns, shell.machine.clock.insns
    shell.run(f"sleep {NAP_SECONDS}")
    slept = (shell.machine.clock.now_ns - guest_ns) / 1e9
    assert shell.machine.clock.insns - insns < 100_000_000, "idle time is skipped or slept through"
    new_uptime, new_epoch = clocks()
    late = {"icount": 0.3, "host": 5.0}[clock]  # a busy host takes its time with the commands
    assert NAP_SECONDS - 0.3 < slept < NAP_SECONDS + late
    assert NAP_SECONDS - 0.5 < new_uptime - uptime < NAP_SECONDS + late + 0.2
    assert NAP_SECONDS <= new_epoch - epoch <= NAP_SECONDS + late + 1
    shell.machine.close()


@pytest.mark.slow
def test_reboot_starts_linux_again(kernel: Path) -> None:
    """What the first Linux has written to the RAM disk of its shell is gone, and the second one answers."""
    shell = Shell(kernel)
    assert shell.run("echo kept > /tmp/note; cat /tmp/note") == ["kept"]
    shell.run("reboot -f")
    assert shell.result.resets == 1
    assert shell.output.count(BANNER.encode()) == 2
    assert shell.run("cat /tmp/note 2>/dev/null || echo forgotten") == ["forgotten"]
    assert shell.run("echo $((6 * 7))") == ["42"]
    shell.machine.close()


@pytest.mark.slow
def test_reboot_ends_a_run_that_wants_no_reboot(kernel: Path) -> None:
    shell = Shell(kernel, no_reboot=True)
    shell.machine.com1.receive(b"reboot -f\n")
    result = shell.machine.run(timeout=SHELL_SECONDS)
    assert (result.reason, result.status, result.resets) == (End.RESET, 0, 0), shell.output[-500:]
    assert shell.output.count(BANNER.encode()) == 1
    shell.machine.close()


@dataclass
class Boot:
    """A boot without an initrd, up to where it cannot go on."""

    machine: Machine
    output: bytearray

    @classmethod
    def begin(cls, engine: EngineName, kernel: Path | None) -> Boot:
        output = bytearray()
        machine = Machine(MachineConfig(memory=128 << 20, engine=engine), serial=output.append)
        if kernel is not None:
            machine.load(kernel, append=APPEND)
        return cls(machine, output)

    def go_on(self, instructions: int) -> tuple[bytes, int, int, dict[str, int], bytes]:
        """Console output, counts, registers and RAM after so many instructions more."""
        result = self.machine.run(max_insns=instructions)
        registers = read_registers(self.machine.cpu.state, result.instructions)
        digest = blake2b(self.machine.ram.view).digest()
        return bytes(self.output), result.instructions, self.machine.clock.now_ns, registers, digest


@pytest.mark.slow
def test_a_snapshot_in_the_middle_of_the_boot(kernel: Path) -> None:
    """Gone back to in the machine it was taken in, in another one, and under the other engine, it boots on alike."""
    boot = Boot.begin("bt", kernel)
    boot.machine.run(max_insns=SNAPSHOT_FROM)
    snapshots = []
    for _ in range(3):
        snapshots.append((boot.machine.snapshot(), bytes(boot.output)))
        boot.machine.run(max_insns=SNAPSHOT_INSNS)
    assert len(boot.output) > len(snapshots[0][1]), "the kernel has said nothing meanwhile"
    others = [Boot.begin("bt", None), Boot.begin("interp", None)]
    for snapshot, output in reversed(snapshots):
        boot.machine.restore(snapshot)
        boot.output[:] = output
        expected = boot.go_on(SNAPSHOT_INSNS)
        for other in (boot, *others):
            other.machine.restore(snapshot)
            other.output[:] = output
            assert other.go_on(SNAPSHOT_INSNS) == expected
        snapshot.close()
    for one in (boot, *others):
        one.machine.close()
