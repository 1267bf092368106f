"""Interrupts and IRET in long mode (SDM vol. 3A 6.14; vol. 2, IRET): gates, stacks, frames, faults in their order."""

from __future__ import annotations

import struct

import pytest

from bt.x86 import flags, reset
from bt.x86.context import GP, NP, SS_FAULT, TS
from bt.x86.services import INT_EXTERNAL, INT_SOFTWARE
from bt.x86.state import CS, ESP, FS, SS
from tests.x86.system.long_mode.long_processor import LONG_CODE, LongProcessor
from tests.x86.system.processor import IDT, STACKS, Trouble, code_selector, data_selector, descriptor

VECTOR, HANDLER, RETURN = 0x40, 0xFFFF_8000_1234_5678, 0x1_2345
HOLE = 1 << 47  # not canonical
MODE_64 = 1 << 12
ERROR = VECTOR * 8 + 2


def deliver(processor: LongProcessor, kind: int = INT_EXTERNAL) -> Trouble | None:
    return processor.call("deliver_interrupt", VECTOR, kind, RETURN)


@pytest.mark.parametrize("misaligned", range(0, 16, 4))
def test_frame_at_the_same_level(processor: LongProcessor, misaligned: int) -> None:
    cpu = processor.cpu
    reset.write_eflags(cpu, flags.IF | flags.CF)
    cpu["gpr", ESP] = STACKS[0] - misaligned
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER)
    assert deliver(processor) is None
    assert cpu["eip"] == HANDLER
    assert cpu["gpr", ESP] == ((STACKS[0] - misaligned) & ~15) - 40
    frame = (RETURN, LONG_CODE[0], flags.IF | flags.CF | 2, STACKS[0] - misaligned, data_selector(0))
    assert processor.quadwords(5) == frame
    assert not cpu["eflags_system"] & flags.IF
    assert processor.selectors == (LONG_CODE[0], data_selector(0))
    assert cpu["mode"] & MODE_64


def test_trap_gate_leaves_if(processor: LongProcessor) -> None:
    reset.write_eflags(processor.cpu, flags.IF)
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER, access=0x8F)
    assert deliver(processor) is None
    assert processor.cpu["eflags_system"] & flags.IF


@pytest.mark.parametrize("from_64_bit_code", [True, False])
def test_inner_level_takes_its_stack_from_the_tss_and_has_no_segment(
    processor: LongProcessor, from_64_bit_code: bool
) -> None:
    processor.enter_long(3)
    selector = LONG_CODE[3] if from_64_bit_code else code_selector(3)
    processor.code(selector, 3, flags=0xA if from_64_bit_code else 0xC)
    processor.task_stack(4, STACKS[0])
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER)
    assert deliver(processor) is None
    assert processor.selectors == (LONG_CODE[0], 0)
    assert processor.cpu["cpl"] == 0
    assert processor.cpu["gpr", ESP] == STACKS[0] - 40
    assert processor.quadwords(5) == (RETURN, selector, 2, STACKS[3], data_selector(3))


@pytest.mark.parametrize("level", [0, 3])
def test_interrupt_stack_table(processor: LongProcessor, level: int) -> None:
    """Whatever the level; SS stays where that does."""
    processor.enter_long(level)
    processor.task_stack(4, STACKS[1])
    processor.task_stack(36 + 8 * 4, STACKS[2] + 8)
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER, ist=5)
    assert deliver(processor) is None
    assert processor.cpu["gpr", ESP] == STACKS[2] - 40
    assert processor.selectors == (LONG_CODE[0], 0 if level else data_selector(0))


@pytest.mark.parametrize(
    ("access", "kind", "expected"),
    [
        (0x86, INT_EXTERNAL, Trouble(GP, ERROR | 1)),  # a 16-bit gate
        (0x85, INT_SOFTWARE, Trouble(GP, ERROR)),  # a task gate
        (0x8C, INT_SOFTWARE, Trouble(GP, ERROR)),
        (0x0E, INT_EXTERNAL, Trouble(NP, ERROR | 1)),
        (0x0E, INT_SOFTWARE, Trouble(NP, ERROR)),
    ],
)
def test_gates_that_are_none(processor: LongProcessor, access: int, kind: int, expected: Trouble) -> None:
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER, access=access)
    assert deliver(processor, kind) == expected


def test_software_interrupts_need_the_gates_level(processor: LongProcessor) -> None:
    processor.enter_long(3)
    processor.task_stack(4, STACKS[0])
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER)
    assert deliver(processor, INT_SOFTWARE) == Trouble(GP, ERROR)
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER, access=0xEE)
    assert deliver(processor, INT_SOFTWARE) is None


def test_gate_beyond_the_table(processor: LongProcessor) -> None:
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER)
    processor.cpu["idtr_limit"] = 16 * VECTOR + 14
    assert deliver(processor) == Trouble(GP, ERROR | 1)
    processor.cpu["idtr_limit"] = 16 * VECTOR + 15
    assert deliver(processor) is None


@pytest.mark.parametrize("flags_of_code", [0xC, 0x8, 0xE])
def test_handlers_are_64_bit_code(processor: LongProcessor, flags_of_code: int) -> None:
    selector = 0x80
    processor.describe(selector, descriptor(access=0x9B, flags=flags_of_code))
    processor.long_gate(VECTOR, selector, HANDLER)
    assert deliver(processor) == Trouble(GP, selector | 1)


def test_addresses_that_are_not_canonical(processor: LongProcessor) -> None:
    processor.long_gate(VECTOR, LONG_CODE[0], HOLE)
    assert deliver(processor) == Trouble(GP, 1)
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER, ist=1)
    processor.task_stack(36, HOLE + 0x1000)
    assert deliver(processor) == Trouble(SS_FAULT, 1)
    processor.task_stack(36, HOLE)  # what is pushed lies below
    assert deliver(processor) == Trouble(14, 2)


def test_stack_pointer_beyond_the_tss(processor: LongProcessor) -> None:
    from bt.x86.state import TR

    processor.cpu.set_segment(TR, "limit", 42)
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER, ist=1)
    assert deliver(processor) == Trouble(TS, processor.cpu.segment(TR, "selector") & ~3 | 1)


# -- IRET ------------------------------------------------------------------------------------------------------------


def iret(processor: LongProcessor, width: int = 64) -> Trouble | None:
    return processor.call("interrupt_return", width, 0)


def test_there_and_back(processor: LongProcessor) -> None:
    """From level 3, by each kind of code."""
    for selector, code_flags in ((LONG_CODE[3], 0xA), (code_selector(3), 0xC)):
        processor.start()
        processor.enter_long(3)
        processor.code(selector, 3, flags=code_flags)
        processor.task_stack(4, STACKS[0])
        processor.long_gate(VECTOR, LONG_CODE[0], HANDLER)
        before = (processor.selectors, processor.cpu["gpr", ESP], processor.cpu["mode"], processor.cpu["cpl"])
        assert deliver(processor) is None
        assert iret(processor) is None
        assert (processor.selectors, processor.cpu["gpr", ESP], processor.cpu["mode"], processor.cpu["cpl"]) == before
        assert processor.cpu["eip"] == RETURN


def test_iret_takes_the_stack_at_the_same_level_too(processor: LongProcessor) -> None:
    processor.push_quadwords(HANDLER, LONG_CODE[0], 2, 0x7_0000_1000, 0)
    assert iret(processor) is None
    assert processor.cpu["gpr", ESP] == 0x7_0000_1000
    assert processor.selectors == (LONG_CODE[0], 0)
    assert processor.cpu["eip"] == HANDLER


@pytest.mark.parametrize("width", [16, 32])
def test_narrow_iret(processor: LongProcessor, width: int) -> None:
    processor.push(0x1234, LONG_CODE[0], flags.CF | 2, 0x5678, data_selector(0), width=width)
    assert iret(processor, width) is None
    assert (processor.cpu["eip"], processor.cpu["gpr", ESP]) == (0x1234, 0x5678)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((HOLE, LONG_CODE[0], 2, 0x1000, 0), Trouble(GP, 0)),
        ((RETURN, 0, 2, 0x1000, 0), Trouble(GP, 0)),
        ((RETURN, LONG_CODE[3], 2, 0x1000, 0), Trouble(GP, 0)),  # level 3 wants a stack segment
        ((RETURN, code_selector(0), 2, 0x1000, 0), Trouble(GP, 0)),  # and so does 32-bit code
        ((1 << 32, code_selector(0), 2, 0x1000, data_selector(0)), Trouble(GP, 0)),  # beyond its limit
        ((RETURN, LONG_CODE[0], 2, 0x1000, data_selector(3)), Trouble(GP, data_selector(3) & ~3)),
    ],
)
def test_frames_that_lead_nowhere(processor: LongProcessor, frame: tuple[int, ...], expected: Trouble) -> None:
    processor.push_quadwords(*frame)
    before = processor.cpu["gpr", ESP]
    assert iret(processor) == expected
    assert processor.cpu["gpr", ESP] == before


def test_nested_task_is_refused(processor: LongProcessor) -> None:
    reset.write_eflags(processor.cpu, flags.NT)
    processor.push_quadwords(HANDLER, LONG_CODE[0], 2, 0x1000, 0)
    assert iret(processor) == Trouble(GP, 0)


def test_segments_of_the_inner_level_are_given_up(processor: LongProcessor) -> None:
    """But for a base without a segment: of FS and GS, as system software loads it."""
    cpu = processor.cpu
    for part in ("selector", "attributes"):
        cpu.set_segment(FS, part, 0)
    cpu.set_segment(FS, "base", 0x7FFF_0000_1000)
    processor.push_quadwords(RETURN, LONG_CODE[3], 2, 0x1000, data_selector(3))
    assert iret(processor) is None
    assert cpu.segment(FS, "base") == 0x7FFF_0000_1000
    assert [cpu.segment(number, "selector") for number in (0, 3, 5)] == [0, 0, 0]


def test_stack_read_that_is_not_canonical(processor: LongProcessor) -> None:
    processor.cpu["gpr", ESP] = HOLE - 4
    assert iret(processor) == Trouble(SS_FAULT, 0)


def test_far_return_to_compatibility_mode(processor: LongProcessor) -> None:
    processor.push_quadwords(0x1234, code_selector(3), 0, 0, 0x1_0000_4000, data_selector(3))
    assert processor.call("far_return", 64, 16) is None
    cpu = processor.cpu
    assert (cpu["eip"], cpu["cpl"]) == (0x1234, 3)
    assert not cpu["mode"] & MODE_64
    assert processor.selectors == (code_selector(3), data_selector(3))


def test_far_return_at_the_same_level_leaves_the_stack_segment(processor: LongProcessor) -> None:
    processor.push(0x1234, LONG_CODE[0], 0, width=32)
    assert processor.call("far_return", 32, 4) is None
    assert processor.cpu["gpr", ESP] == STACKS[0]
    assert processor.selectors == (LONG_CODE[0], data_selector(0))


# -- far transfers ---------------------------------------------------------------------------------------------------


def test_far_call_and_jump_between_kinds_of_code(processor: LongProcessor) -> None:
    cpu = processor.cpu
    assert processor.call("far_call", code_selector(0), 0x4000, RETURN, 64) is None
    assert processor.quadwords(2) == (RETURN, LONG_CODE[0])
    assert not cpu["mode"] & MODE_64
    assert processor.call("far_jump", LONG_CODE[0], 0x4000, 0) is None
    assert cpu["mode"] & MODE_64
    assert processor.call("far_jump", LONG_CODE[0], HOLE, 0) == Trouble(GP, 0)
    assert processor.call("far_jump", code_selector(0), 1 << 32, 0) == Trouble(GP, 0)


def _call_gate(processor: LongProcessor, selector: int, target: int, offset: int, access: int = 0xEC) -> None:
    low = struct.pack("<HHBBH", offset & 0xFFFF, target, 0, access, offset >> 16 & 0xFFFF)
    processor.describe(selector, low)
    processor.describe(selector + 8, struct.pack("<II", offset >> 32, 0))


@pytest.mark.parametrize("level", [0, 3])
def test_call_gates(processor: LongProcessor, level: int) -> None:
    gate = 0x90
    processor.enter_long(level)
    processor.task_stack(4, STACKS[1])
    _call_gate(processor, gate, LONG_CODE[0], HANDLER)
    assert processor.call("far_call", gate, 0, RETURN, 64) is None
    assert (processor.cpu["eip"], processor.cpu["cpl"]) == (HANDLER, 0)
    if level:
        assert processor.quadwords(4) == (RETURN, LONG_CODE[3], STACKS[3], data_selector(3))
        assert processor.selectors == (LONG_CODE[0], 0)
    else:
        assert processor.quadwords(2) == (RETURN, LONG_CODE[0])


def test_call_gates_that_are_none(processor: LongProcessor) -> None:
    gate = 0x90
    _call_gate(processor, gate, code_selector(0), 0x4000)
    assert processor.call("far_call", gate, 0, RETURN, 64) == Trouble(GP, code_selector(0))
    _call_gate(processor, gate, LONG_CODE[0], HOLE)
    assert processor.call("far_jump", gate, 0, 0) == Trouble(GP, 0)
    _call_gate(processor, gate, LONG_CODE[0], 0, access=0xE4)
    assert processor.call("far_call", gate, 0, RETURN, 64) == Trouble(GP, gate)
    _call_gate(processor, gate, LONG_CODE[0], 0)
    processor.describe(gate + 8, struct.pack("<II", 0, 0x100))
    assert processor.call("far_call", gate, 0, RETURN, 64) == Trouble(GP, gate)


# -- LTR, LLDT, null selectors ---------------------------------------------------------------------------------------


def test_system_segments_have_sixteen_bytes(processor: LongProcessor) -> None:
    from bt.x86.state import LDTR, TR

    processor.describe(0x90, descriptor(0x1234_5000, 0x67, 0x89, 0))
    processor.describe(0x98, struct.pack("<II", 0xFFFF_8000, 0))
    assert processor.call("load_tr", 0x90) is None
    assert processor.cpu.segment(TR, "base") == 0xFFFF_8000_1234_5000
    assert processor.described(0x90)[5] == 0x8B
    processor.describe(0x90, descriptor(0x1234_5000, 0x67, 0x82, 0))
    assert processor.call("load_ldtr", 0x90) is None
    assert processor.cpu.segment(LDTR, "base") == 0xFFFF_8000_1234_5000
    processor.describe(0x98, struct.pack("<II", 0x8000, 0))
    assert processor.call("load_ldtr", 0x90) == Trouble(GP, 0x90)
    processor.describe(0x90, descriptor(0, 0x67, 0x81, 0))
    assert processor.call("load_tr", 0x90) == Trouble(GP, 0x90)
    processor.cpu["gdtr_limit"] = 0x9E
    assert processor.call("load_tr", 0x90) == Trouble(GP, 0x90)


def test_null_stack_segments(processor: LongProcessor) -> None:
    assert processor.call("load_segment", SS, 0) is None
    assert processor.call("load_segment", SS, 3) == Trouble(GP, 0)
    processor.code(code_selector(0), 0, flags=0xC)
    assert processor.call("load_segment", SS, 0) == Trouble(GP, 0)
    processor.enter_long(3)
    assert processor.call("load_segment", SS, 3) == Trouble(GP, 0)


def test_idt_may_be_anywhere(processor: LongProcessor) -> None:
    processor.cpu["idtr_base"] = 0xFFFF_8000_0000_0000 + IDT
    processor.long_gate(VECTOR, LONG_CODE[0], HANDLER)
    assert deliver(processor) == Trouble(14, 0)
    assert processor.cpu["cr2"] == 0xFFFF_8000_0000_0000 + IDT + 16 * VECTOR
    top = processor.ram.read(0x20000, 8)
    processor.ram.write(0x20000 + 8 * 256, top)
    assert deliver(processor) is None
    assert processor.cpu.segment(CS, "selector") == LONG_CODE[0]
