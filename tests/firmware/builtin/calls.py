"""Calls of BIOS services from outside: registers are set, INT n is executed, registers are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bt.end import End
from bt.machine.config import MachineConfig, MachineName
from bt.machine.machine import Machine
from bt.machine.media import Drive, Interface
from bt.x86 import reset
from bt.x86.state import CS, DS, ES, GPR_NAMES, SS
from bt.x86.system.segmentation import segment_cache

BOOT_SECTOR = bytes.fromhex("faf4ebfd").ljust(510, b"\0") + b"\x55\xaa"  # cli; hlt
MIB = 1 << 20
CODE, STACK = 0x0600, 0x7000
BUFFER = 0x9000  # for what services read and write
IF = 1 << 9
SEGMENTS = {"es": ES, "ds": DS}
LIMIT = 400_000_000  # instructions of a call


@dataclass(frozen=True)
class Answer:
    """Registers after a call, by name, `es` and `ds` among them; `flags` as INT has left them."""

    registers: dict[str, int]
    flags: int
    came_back: bool = True

    def __getattr__(self, name: str) -> int:
        registers = self.registers
        if name in registers:
            return registers[name]
        if len(name) == 2 and name[1] in "xip":
            return registers["e" + name] & 0xFFFF
        if len(name) == 2 and name[1] in "lh":
            return registers[f"e{name[0]}x"] >> (8 if name[1] == "h" else 0) & 0xFF
        raise AttributeError(name)

    @property
    def carry(self) -> int:
        return self.flags & 1


class Caller:
    """A machine that its firmware has started, up to a boot sector that halts."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.boot()
        result = machine.run(timeout=120)
        assert result.reason is End.HALTED, result

    def call(self, vector: int, *, limit: int = LIMIT, **registers: int) -> Answer:
        """INT `vector` with 32-bit registers, `ds` and `es`; what is not given is 0."""
        machine = self.machine
        cpu = machine.cpu.state
        machine.ram.write(CODE, bytes((0xFB, 0xCD, vector, 0xFA, 0xF4)))  # sti; int n; cli; hlt
        for name in GPR_NAMES:
            cpu["gpr", GPR_NAMES.index(name)] = registers.get(name, STACK if name == "esp" else 0)
        for number, selector in ((CS, 0), (SS, 0), (DS, registers.get("ds", 0)), (ES, registers.get("es", 0))):
            segment_cache.fill(cpu, number, selector=selector, base=selector << 4, limit=0xFFFF, access=0x93, big=False)
        cpu["eip"] = CODE
        reset.write_eflags(cpu, registers.get("flags", IF | 2))
        machine.cpu.flush()
        result = machine.run(max_insns=limit, timeout=60)
        came_back = result.reason is End.HALTED and cpu["eip"] == CODE + 5
        found = {name: cpu["gpr", number] for number, name in enumerate(GPR_NAMES)}
        found |= {name: cpu.segment(number, "selector") for name, number in SEGMENTS.items()}
        return Answer(found, reset.read_eflags(cpu), came_back)

    def read(self, address: int, n: int) -> bytes:
        return self.machine.memory.read(address, n)

    def write(self, address: int, data: bytes) -> None:
        self.machine.ram.write(address, data)


@contextmanager
def started(
    folder: Path,
    firmware: str | None,
    *drives: Drive,
    machine: MachineName = "pc",
    engine: str = "bt",
    mib: int = 16,
    interface: Interface = "ide",
) -> Iterator[Caller]:
    """With a first hard disk of 16 MiB, at `interface`, whose sectors begin with their number, and the `drives`."""
    disk = folder / "disk"
    if not disk.exists():
        sectors = [BOOT_SECTOR, *(number.to_bytes(4, "little") * 128 for number in range(1, 32768))]
        disk.write_bytes(b"".join(sectors))
    first = Drive(str(disk), interface, index=0, snapshot=True)
    config = MachineConfig(
        memory=mib * MIB,
        drives=(first, *drives),
        bios=firmware,
        machine=machine,
        engine="bt" if engine == "bt" else "interp",
    )
    with Machine(config) as made:
        yield Caller(made)
