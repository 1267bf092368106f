"""IA32_APIC_BASE: the board's local APIC is where it says, and CPUID shows one only where there is one."""

from __future__ import annotations

import pytest

from bt.devices.apic.local_apic import LocalApic
from bt.end import End
from bt.engine.library.library import Library, load_library
from bt.errors import BadUsage
from bt.machine import EngineName, Machine, MachineConfig
from guest_images.assembler import assemble

CODE, VERSION, NOBODY = 0x1000, 0x0005_0014, 0xFFFF_FFFF
PROGRAM = """
    mov edi, 0x200000
    mov ecx, 0x1b
    rdmsr
    stosd
    mov eax, [0xfee00030]
    stosd
    mov ecx, 0x1b
    mov eax, 0xfed00900
    xor edx, edx
    wrmsr
    mov eax, [0xfee00030]
    stosd
    mov eax, [0xfed00030]
    stosd
    mov eax, 0xfed00100
    xor edx, edx
    wrmsr
    mov eax, [0xfed00030]
    stosd
    rdmsr
    stosd
    out 0xf4, al
"""


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


@pytest.mark.parametrize("engine", ["interp", "bt"])
@pytest.mark.parametrize("kind", ["pc", "isapc"])
def test_it_moves_and_goes(library: Library, engine: EngineName, kind: str) -> None:
    config = MachineConfig(memory=4 << 20, engine=engine, machine="pc" if kind == "pc" else "isapc")
    with Machine(config, library=library) as machine:
        machine.load(assemble(PROGRAM, 32, CODE), flat=CODE)
        result = machine.run(max_insns=1000)
        assert result.reason is End.EXIT
        found = [int.from_bytes(machine.ram.read(0x20_0000 + 4 * n, 4), "little") for n in range(6)]
        assert found == [0xFEE0_0900, VERSION, NOBODY, VERSION, NOBODY, 0xFED0_0100]
        assert result.exits["msr"] == 2
        machine.reset()
        assert machine.cpu.state["apic_base"] == 0xFEE0_0900
        assert machine.mmio.read(0xFEE0_0030, 4) == VERSION


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_cpuid_shows_one_while_it_is_enabled(library: Library, engine: EngineName) -> None:
    """SDM vol. 3A, "Local APIC Status and Location"; other bits stay."""
    ask = "mov eax, 1\ncpuid\nmov eax, edx\nstosd\n"
    switch = "mov ecx, 0x1b\nrdmsr\nxor eax, 0x800\nwrmsr\n"
    with Machine(MachineConfig(memory=4 << 20, engine=engine), library=library) as machine:
        machine.load(assemble(f"mov edi, 0x200000\n{ask}{switch}{ask}{switch}{ask}cli\nhlt", 32, CODE), flat=CODE)
        assert machine.run(max_insns=1000).reason is End.HALTED
        on, off, again = (int.from_bytes(machine.ram.read(0x20_0000 + 4 * n, 4), "little") for n in range(3))
    assert (on & 1 << 9, off, again) == (1 << 9, on & ~(1 << 9), on)


def test_without_one() -> None:
    with Machine(MachineConfig(memory=4 << 20, cpu="pentium4,-apic")) as machine:
        machine.load(assemble("hlt", 32, CODE), flat=CODE)
        assert machine.cpu.state["apic_base"] == 0xFEE0_0100
        assert machine.mmio.read(0xFEE0_0030, 4) == NOBODY
        with pytest.raises(BadUsage, match="no LocalApic"):
            machine.board.part("local APIC", LocalApic)
