"""RDFSBASE and its like, SWAPGS, RDTSCP, as instructions: behind their bits of CPUID and CR4 (SDM vol. 2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.engine.library.library import Library
from bt.engine.vcpu import Vcpu
from bt.x86 import cpu_model
from bt.x86.context import GP, UD
from bt.x86.state import EAX, ECX, FS, GS
from bt.x86.system.registers.control_registers import CR4_FSGSBASE
from tests.x86.system.long_mode.long_processor import LONG_CODE, LongProcessor
from tests.x86.system.processor import CODE_AREA, STACKS

RDFSBASE_RAX, RDGSBASE_EAX = b"\xf3\x48\x0f\xae\xc0", b"\xf3\x0f\xae\xc8"
WRFSBASE_RAX, WRGSBASE_EAX = b"\xf3\x48\x0f\xae\xd0", b"\xf3\x0f\xae\xd8"
SWAPGS, RDTSCP = b"\x0f\x01\xf8", b"\x0f\x01\xf9"
BASE, HOLE = 0xFFFF_8000_1234_5678, 1 << 47
HANDLER, VECTORS = 0x1_8000, 32


@pytest.fixture
def everything(library: Library) -> Iterator[LongProcessor]:
    """A processor that has them; exceptions lead to a HLT each."""
    model = cpu_model.parse("qemu64,+fsgsbase,+rdtscp")
    processor = LongProcessor(library, lambda library, memory: Vcpu(library, memory, model))
    processor.cpu["cr4"] |= CR4_FSGSBASE
    for vector in range(VECTORS):
        processor.long_gate(vector, LONG_CODE[0], HANDLER + vector)
    processor.ram.write(HANDLER, b"\xf4" * VECTORS)
    yield processor
    processor.close()


def execute(processor: LongProcessor, code: bytes) -> int | None:
    """The vector of the exception that an instruction raises."""
    processor.ram.write(CODE_AREA, code + b"\x90")
    processor.cpu["eip"], processor.cpu["gpr", 4] = CODE_AREA, STACKS[0]
    processor.vcpu.flush()
    processor.vcpu.run(1)
    eip = processor.cpu["eip"]
    return eip - HANDLER if HANDLER <= eip < HANDLER + VECTORS else None


def test_bases_are_read_and_written(everything: LongProcessor) -> None:
    cpu = everything.cpu
    cpu["gpr", EAX] = BASE
    assert execute(everything, WRFSBASE_RAX) is None
    assert execute(everything, WRGSBASE_EAX) is None
    assert (cpu.segment(FS, "base"), cpu.segment(GS, "base")) == (BASE, BASE & 0xFFFF_FFFF)
    cpu.set_segment(GS, "base", BASE)
    assert execute(everything, RDGSBASE_EAX) is None
    assert cpu["gpr", EAX] == BASE & 0xFFFF_FFFF
    assert execute(everything, RDFSBASE_RAX) is None
    assert cpu["gpr", EAX] == BASE
    cpu["gpr", EAX] = HOLE
    assert execute(everything, WRFSBASE_RAX) == GP


def test_they_are_undefined_without_the_bit_of_cr4(everything: LongProcessor) -> None:
    everything.cpu["cr4"] &= ~CR4_FSGSBASE
    for code in (RDFSBASE_RAX, RDGSBASE_EAX, WRFSBASE_RAX, WRGSBASE_EAX):
        assert execute(everything, code) == UD


def test_swapgs(everything: LongProcessor) -> None:
    cpu = everything.cpu
    cpu.set_segment(GS, "base", 1)
    cpu["kernel_gs_base"] = BASE
    assert execute(everything, SWAPGS) is None
    assert (cpu.segment(GS, "base"), cpu["kernel_gs_base"]) == (BASE, 1)


def test_rdtscp(everything: LongProcessor) -> None:
    everything.cpu["tsc_aux"] = 0x1234_5678
    everything.cpu["gpr", ECX] = BASE
    assert execute(everything, RDTSCP) is None
    assert everything.cpu["gpr", ECX] == 0x1234_5678
