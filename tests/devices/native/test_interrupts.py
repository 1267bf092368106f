"""Interrupts that native code raises are taken where they would be if Python had raised them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from bt.devices.apic.local_apic import LocalApic
from bt.end import End
from bt.engine.library.library import Library, load_library
from bt.host.area import Area
from bt.machine import EngineName, Machine, MachineConfig
from bt.machine.config import TierName
from bt.memory.native_registers import WINDOW_BYTES, WINDOWS
from guest_images.assembler import assemble
from tests.devices.native.rig import ENGINES

APIC = 0xFEE0_0000
CODE, GDT, IDT, LOG = 0x1000, 0x8000, 0x9000, 0x20_0000
VECTORS = (0x31, 0x45, 0x46, 0x62)
TO_SELF, PERIODIC_TIMER = 0x40000, 0x20000 | VECTORS[1]


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    loaded = load_library()
    yield loaded
    loaded.close()


# how a program sends: in translated code the second is the interpreter's
SEND = {
    "a move": "mov dword [{at}], {value}",
    "a string": "mov dword [0x6000], {value}\nmov esi, 0x6000\nmov edi, {at}\nmovsd",
}


def program(seed: int, by: str) -> tuple[bytes, int]:
    """Code, and where its handlers begin: they note their vector and how far the main program has come."""
    random = Random(seed)
    steps = []
    for n in range(120):
        send = SEND[by].format(at=APIC + 0x300, value=TO_SELF | random.choice(VECTORS))
        priority = f"mov dword [{APIC + 0x80}], {random.choice((0, 0, 0x40, 0x50))}"
        timer = f"mov dword [{APIC + 0x380}], {random.choice((0, 700, 3000))}"
        halt = f"mov dword [{APIC + 0x80}], 0\nmov dword [{APIC + 0x380}], 3000\nhlt"
        late = f"cli\n{send}\n{send}\nnop\nsti"
        step = random.choice((send, send, send, late, priority, timer, halt, f"sti\n{send}"))
        steps.append(f"{step}\nmov ebp, {n}\ninc ecx")
    text = f"""
        mov esp, 0x7000
        lgdt [{GDT + 0x100}]
        lidt [{GDT + 0x108}]
        mov edx, {LOG}
        mov dword [{APIC + 0xF0}], 0x1ff
        mov dword [{APIC + 0x3E0}], 0xb
        mov dword [{APIC + 0x320}], {PERIODIC_TIMER}
        mov dword [{APIC + 0x380}], 5000
        sti
        {chr(10).join(steps)}
        cli
        out 0xf4, al
    """
    code = assemble(text, 32, CODE)
    at = CODE + len(code) + 15 & -16
    handlers = "\n".join(
        f".align 64\nmov dword [edx], {vector}\nmov [edx + 4], ebp\nmov [edx + 8], ecx\nadd edx, 12\n"
        f"mov eax, [{APIC + 0x390}]\nadd ebx, eax\nmov dword [{APIC + 0xB0}], 0\niretd"
        for vector in VECTORS
    )
    at = at + 63 & -64
    return code.ljust(at - CODE, b"\x90") + assemble(handlers, 32, at), at


def seen(
    library: Library, engine: EngineName, seed: int, by: str, *, native: bool, tier: TierName = "auto"
) -> dict[str, Any]:
    nothing = Area(WINDOWS * WINDOW_BYTES)
    with Machine(MachineConfig(memory=4 << 20, engine=engine, tier=tier), library=library) as machine:
        apic, intr = machine.board.part("local APIC", LocalApic), machine.board.intr
        if not native:
            machine.cpu.state["native_windows"] = nothing.address
        code, handlers = program(seed, by)
        machine.load(code, flat=CODE)
        for n, vector in enumerate(VECTORS):
            at = handlers + 64 * n
            machine.ram.write(IDT + 8 * vector, struct.pack("<4H", at & 0xFFFF, 8, 0x8E00, at >> 16))
        machine.ram.write(GDT, struct.pack("<3Q", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF))
        machine.ram.write(GDT + 0x100, struct.pack("<HIxxHI", 0x17, GDT, 0x7FF, IDT))
        result = machine.run(max_insns=1_000_000, timeout=60)
        assert result.reason is End.EXIT
        state = machine.cpu.state
        found = {
            "log": machine.ram.read(LOG, 0x4000),
            "registers": [state["gpr", n] for n in range(8)],
            "instructions": result.instructions,
            "now_ns": machine.clock.now_ns,
            "apic": apic.state(),
            "intr": (intr.level, state["intr_pending"]),
            "interrupts": result.exits["interrupt_window"],
        }
        found["mmio"] = result.exits.get("mmio", 0)
    nothing.close()
    return found


@pytest.mark.parametrize("by", SEND)
@pytest.mark.parametrize("seed", range(8))
def test_interrupts_come_where_they_would(library: Library, seed: int, by: str) -> None:
    python = seen(library, "bt", seed, by, native=False)
    exits = python.pop("mmio")
    assert python["interrupts"] > 60
    for engine in ENGINES:
        native = seen(library, engine, seed, by, native=True)
        assert native.pop("mmio") < exits / 3
        assert native == python
    in_units = seen(library, "bt", seed, by, native=True, tier="2")
    del in_units["mmio"]
    assert in_units == python
