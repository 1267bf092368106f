"""Real mode: reset, segment caches, the A20 line, the end of a segment, exceptions without a table (SDM vol. 3A 10.1).

Single instructions are judged by tests/vectors and by the guest real-mode-matrix; here is what neither can see.
"""

from __future__ import annotations

import pytest

from bt.x86 import reset
from bt.x86.exits import ExitReason
from bt.x86.mode import EPOCH_BITS
from bt.x86.state import CS, DS, EAX, EBX, ECX, ES
from guest_images.assembler import assemble
from tests.x86.system.processor import Processor

START, ELSEWHERE = 0x1000, 0x2000  # segments
IP = 0x100
HLT = b"\xf4"
ALL_ONES = (1 << 64) - 1


@pytest.fixture
def real(engine: Processor) -> Processor:
    """A processor after reset."""
    reset.power_on(engine.cpu)
    engine.cpu["a20_mask"] = ALL_ONES
    return engine


def place(processor: Processor, segment: int, code: str) -> None:
    processor.ram.write(segment * 16 + IP, assemble(code.replace("; ", "\n"), 16, IP))


def run(processor: Processor, instructions: int = 1000) -> ExitReason:
    """From START:IP on, until something happens."""
    assert processor.call("far_jump", START, IP) is None
    processor.vcpu.flush()
    return processor.vcpu.run(instructions).reason


def test_reset_is_below_4_gib_until_the_first_far_transfer(real: Processor) -> None:
    cpu = real.cpu
    assert (cpu.segment(CS, "selector"), cpu.segment(CS, "base"), cpu["eip"]) == (0xF000, 0xFFFF0000, 0xFFF0)
    assert real.call("far_jump", 0xF000, 0xE05B) is None
    assert (cpu.segment(CS, "base"), cpu["eip"]) == (0xF0000, 0xE05B)


@pytest.mark.parametrize("segment", [CS, DS])
def test_all_segments_can_be_written_after_reset(real: Processor, segment: int) -> None:
    assert (real.cpu.segment(segment, "write_low"), real.cpu.segment(segment, "write_high")) == (0, 0xFFFF)


def test_the_same_offset_in_another_segment_is_other_code(real: Processor) -> None:
    """Branch caches go by EIP alone."""
    place(real, START, f"mov cx, 3; again: loop again; inc ax; jmp {ELSEWHERE}:{IP}")
    place(real, ELSEWHERE, f"mov cx, 2; again: loop again; inc bx; cmp bx, 4; je done; jmp {START}:{IP}; done: hlt")
    assert run(real) is ExitReason.HLT
    assert (real.cpu["gpr", EAX], real.cpu["gpr", EBX], real.cpu["gpr", ECX]) == (4, 4, 0)


def test_epochs_whose_numbers_look_the_same_do_not_mix(real: Processor) -> None:
    place(real, START, "again: inc ax; cmp ax, 9; jb again; hlt")
    place(real, ELSEWHERE, "again: inc bx; cmp bx, 9; jb again; hlt")
    cpu = real.cpu
    assert run(real) is ExitReason.HLT
    assert real.call("far_jump", START, IP) is None
    cpu["epoch"] = (2 << EPOCH_BITS) - 1
    real.status("begin_epoch")
    real.status("update_mode")
    cpu["gpr", EAX] = 0
    assert real.vcpu.run(100).reason is ExitReason.HLT
    cpu["epoch"] = (3 << EPOCH_BITS) - 1
    assert real.call("far_jump", ELSEWHERE, IP) is None
    assert real.vcpu.run(100).reason is ExitReason.HLT
    assert (cpu["gpr", EAX], cpu["gpr", EBX]) == (9, 9)


def test_a_segment_that_comes_back_has_its_epoch_unless_mappings_have_changed(real: Processor) -> None:
    """A BIOS and who calls it do not lose what branch caches know of either."""

    def tag(segment: int) -> int:
        assert real.call("far_jump", segment, IP) is None
        return real.cpu["code_tag"]

    first, other = tag(START), tag(ELSEWHERE)
    assert first != other
    assert (tag(START), tag(ELSEWHERE)) == (first, other)
    real.status("begin_epoch")
    real.status("update_mode")
    assert not {tag(START), tag(ELSEWHERE)} & {first, other}


def test_a20_disabled_wraps_at_1_mib(real: Processor) -> None:
    """FFFF:0010 is 0, as on the 8086."""
    place(real, START, "mov ax, 0xffff; mov ds, ax; mov bl, [0x10]; hlt")
    real.ram.write(0, b"\x11")
    real.cpu["a20_mask"] = ALL_ONES & ~(1 << 20)
    assert run(real) is ExitReason.HLT
    assert real.cpu["gpr", EBX] == 0x11


def test_a20_enabled_reaches_beyond_1_mib(real: Processor) -> None:
    """There is no memory up there: the access leaves for the bus."""
    place(real, START, "mov ax, 0xffff; mov ds, ax; mov bl, [0x10]; hlt")
    assert real.ram.size == 1 << 20
    assert run(real) is ExitReason.MMIO
    assert real.cpu["exit_address"] == 1 << 20


def test_code_ends_with_its_segment(real: Processor) -> None:
    """The instruction behind offset FFFF is #GP, not the one at 0."""
    real.ram.write(START * 16, HLT)
    real.ram.write(START * 16 + 0xFFFE, b"\x90\x90")
    real.cpu["trap_vectors"] = 1 << 13
    assert real.call("far_jump", START, 0xFFFE) is None
    real.vcpu.flush()
    assert real.vcpu.run(100).reason is ExitReason.EXCEPTION
    assert real.cpu["eip"] == 0x10000


def test_no_table_is_a_shutdown(real: Processor) -> None:
    """#GP, then #DF, then nothing is left."""
    place(real, START, "int3")
    real.cpu["idtr_limit"] = 0
    assert run(real) is ExitReason.SHUTDOWN


def test_limits_outlast_protected_mode(real: Processor) -> None:
    place(real, START, "mov es, ax; mov ebx, 0x12345; mov al, es:[ebx]; hlt")
    real.ram.write(0x12345, b"\x77")
    real.cpu.set_segment(ES, "limit", 0xFFFF_FFFF)
    assert run(real) is ExitReason.HLT
    assert real.cpu["gpr", EAX] == 0x77
