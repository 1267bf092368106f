"""A guest that makes the accesses it is told, and what it saw: with native code answering, or Python alone.

The guest goes through a table of commands: an access to a port or to memory, and how long to work before the next. What
it reads it stores. Where Python is to answer, the engine finds tables in which native code serves nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from bt.devices.device import Device
from bt.end import End
from bt.engine.library.library import Library
from bt.host.area import Area
from bt.machine import ClockMode, EngineName, Machine, MachineConfig
from bt.memory.native_registers import WINDOW_BYTES, WINDOWS
from guest_images.assembler import assemble

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
CODE, TABLE, RESULTS, BUFFER = 0x1000, 0x20_0000, 0x30_0000, 0x10_0000
MEMORY = 4 << 20
KINDS = {
    "in8": "mov edx, [esi + 4]\nxor eax, eax\nin al, dx\nstosd",
    "in16": "mov edx, [esi + 4]\nxor eax, eax\nin ax, dx\nstosd",
    "in32": "mov edx, [esi + 4]\nin eax, dx\nstosd",
    "out8": "mov edx, [esi + 4]\nmov eax, [esi + 8]\nout dx, al",
    "out16": "mov edx, [esi + 4]\nmov eax, [esi + 8]\nout dx, ax",
    "out32": "mov edx, [esi + 4]\nmov eax, [esi + 8]\nout dx, eax",
    "rep_insw": "mov edx, [esi + 4]\nmov ecx, [esi + 8]\nrep insw",
    "rep_insd": "mov edx, [esi + 4]\nmov ecx, [esi + 8]\nrep insd",
    "rep_outsw": f"mov edx, [esi + 4]\nmov ecx, [esi + 8]\npush esi\nmov esi, {BUFFER}\nrep outsw\npop esi",
    "read8": "mov ebx, [esi + 4]\nmovzx eax, byte [ebx]\nstosd",
    "read16": "mov ebx, [esi + 4]\nmovzx eax, word [ebx]\nstosd",
    "read32": "mov ebx, [esi + 4]\nmov eax, [ebx]\nstosd",
    "write8": "mov ebx, [esi + 4]\nmov eax, [esi + 8]\nmov [ebx], al",
    "write16": "mov ebx, [esi + 4]\nmov eax, [esi + 8]\nmov [ebx], ax",
    "write32": "mov ebx, [esi + 4]\nmov eax, [esi + 8]\nmov [ebx], eax",
    "or32": "mov ebx, [esi + 4]\nmov eax, [esi + 8]\nor [ebx], eax",
    "xchg8": "mov ebx, [esi + 4]\nmov eax, [esi + 8]\nxchg al, [ebx]\nstosd",
    "cmpsd": "push esi\npush edi\nmov esi, [esi + 4]\nmov edi, esi\ncmpsd\npop edi\npop esi\npushfd\npop eax\nstosd",
    "rep_stosb": "mov eax, [esi + 8]\nmov ecx, eax\nand ecx, 63\npush edi\nmov edi, [esi + 4]\nrep stosb\npop edi",
    "rep_movsd": "mov ecx, [esi + 8]\npush esi\nmov esi, [esi + 4]\nrep movsd\npop esi",
    "end": "out 0xf4, al",
}


class Access(NamedTuple):
    kind: str
    address: int
    value: int = 0  # written, or elements
    loops: int = 0  # to work through afterwards: two instructions each


def program() -> bytes:
    arms = "\n".join(f".align 4\n{name}:\n{code}\njmp done" for name, code in KINDS.items())
    text = f"""
        mov esp, 0x9000
        mov esi, {TABLE}
        mov edi, {RESULTS}
    next:
        mov eax, [esi]
        jmp eax
    {arms}
    done:
        mov ecx, [esi + 12]
        add esi, 16
        test ecx, ecx
        jz next
    work:
        dec ecx
        jnz work
        jmp next
    """
    return assemble(text, 32, CODE)


def entries() -> dict[str, int]:
    """Where the code of each kind is."""
    found, listing, position = {}, program(), 0
    for name, code in KINDS.items():
        position = listing.index(assemble(code, 32, 0), position)
        found[name] = CODE + position
    return found


ENTRIES = entries()


@dataclass
class Run:
    """One machine on its way through the table."""

    machine: Machine
    sent: list[int]
    devices: Sequence[Device] = ()
    held: list[Area] = field(default_factory=list)
    edges: list[tuple[int, bool]] = field(default_factory=list)  # of INTR: when, and its level from then on

    @classmethod
    def of(
        cls,
        library: Library,
        engine: EngineName,
        accesses: Iterable[Access],
        *,
        native: bool,
        clock: ClockMode = "icount",
        attach: Callable[[Machine], Sequence[Device]] = lambda machine: (),
    ) -> Run:
        sent: list[int] = []
        config = MachineConfig(memory=MEMORY, engine=engine, clock=clock, cpu="pentium4,-apic")  # tests bring their own
        machine = Machine(config, serial=sent.append, console=lambda byte: sent.append(0x100 | byte), library=library)
        devices = [*machine.board.devices.values(), *attach(machine)]
        made = cls(machine, sent, devices)
        machine.board.intr.watch(lambda level: made.edges.append((machine.clock.now_ns, level)))
        if not native:
            nothing = Area(1 << 16), Area(WINDOWS * WINDOW_BYTES)
            made.held.extend(nothing)
            machine.cpu.state["port_access"], machine.cpu.state["native_windows"] = (each.address for each in nothing)
        machine.load(program(), flat=CODE)
        rows = [*accesses, Access("end", 0)]
        table = b"".join(struct.pack("<4I", ENTRIES[kind], *numbers) for kind, *numbers in rows)
        machine.ram.write(TABLE, table)
        machine.ram.write(BUFFER, Random(1).randbytes(0x1000))
        return made

    def go(self, max_insns: int | None = None) -> bool:
        """Whether the guest has come to the end of its table."""
        end = self.machine.run(max_insns=max_insns).reason
        assert end in (End.EXIT, End.MAX_INSNS), end
        return end is End.EXIT

    def seen(self) -> dict[str, Any]:
        """All that may not depend on who answers."""
        machine = self.machine
        return {
            "results": machine.ram.read(RESULTS, 0x8_0000),
            "instructions": machine.cpu.instructions,
            "now_ns": machine.clock.now_ns,
            "sent": list(self.sent),
            "intr": machine.cpu.state["intr_pending"],
            "edges": list(self.edges),
            "devices": {device.name: device.state() for device in self.devices},
        }

    def close(self) -> None:
        self.machine.close()
        for area in self.held:
            area.close()


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """What differs, in words; empty if nothing does."""
    found = []
    for name, value in one.items():
        if value != other[name]:
            if name == "results":
                at = next(n for n in range(0, len(value), 4) if value[n : n + 4] != other[name][n : n + 4])
                found.append(f"read number {at // 4}: {value[at : at + 4].hex()} not {other[name][at : at + 4].hex()}")
            elif name == "devices":
                found += [
                    f"{key}: {each} not {other[name][key]}" for key, each in value.items() if each != other[name][key]
                ]
            else:
                found.append(f"{name}: {value} not {other[name]}")
    return "\n".join(found)
