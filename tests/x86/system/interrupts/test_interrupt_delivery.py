"""Delivery through gates: every gate byte and target against SDM vol. 3A 6.12, and the frames that result."""

from __future__ import annotations

import itertools
import struct

import pytest

from bt.x86 import flags
from bt.x86.context import GP, NP, PF, SS_FAULT, TS
from bt.x86.reset import read_eflags, write_eflags
from bt.x86.services import INT_EXCEPTION, INT_EXTERNAL, INT_SOFTWARE
from bt.x86.state import CS, ESP, SS, TR
from tests.x86.system.processor import (
    CODE,
    CR0_PE,
    CR0_PG,
    DATA,
    DIRECTORY,
    SPARE,
    SPARE_2,
    STACKS,
    TABLE,
    TASK_SELECTOR,
    TSS,
    Processor,
    Trouble,
    code_selector,
    data_selector,
    descriptor,
)

VECTOR = 0x41
IDT_ERROR = VECTOR * 8 + 2
HANDLER = 0x0012_3456
RETURN = 0x7654_3210
TASK_GATE = 5
INTERRUPT_32, TRAP_32, INTERRUPT_16, TRAP_16 = 0x8E, 0x8F, 0x86, 0x87
ARITHMETIC = flags.CF | flags.ZF | flags.OF


def deliver(processor: Processor, kind: int = INT_SOFTWARE) -> Trouble | None:
    return processor.call("deliver_interrupt", VECTOR, kind, RETURN)


@pytest.mark.parametrize("kind", [INT_EXTERNAL, INT_SOFTWARE, INT_EXCEPTION])
@pytest.mark.parametrize("cpl", range(4))
def test_every_gate_byte(processor: Processor, cpl: int, kind: int) -> None:
    external = 0 if kind == INT_SOFTWARE else 1
    for byte in range(256):
        processor.enter_level(cpl)
        processor.gate(VECTOR, code_selector(0), HANDLER, byte)
        trouble = deliver(processor, kind)
        if byte & 0x1F not in (0x05, 0x06, 0x07, 0x0E, 0x0F) or (kind == INT_SOFTWARE and byte >> 5 & 3 < cpl):
            assert trouble == Trouble(GP, IDT_ERROR | external), hex(byte)
        elif not byte & 0x80:
            assert trouble == Trouble(NP, IDT_ERROR | external), hex(byte)
        elif byte & 0x1F == TASK_GATE:
            assert trouble == Trouble(GP, code_selector(0) | external), hex(byte)  # that is no TSS
        else:
            assert trouble is None, hex(byte)
            assert processor.cpu["eip"] == HANDLER & (0xFFFFFFFF if byte & 8 else 0xFFFF)
            assert processor.cpu["cpl"] == 0


@pytest.mark.parametrize("kind", [INT_EXTERNAL, INT_SOFTWARE])
@pytest.mark.parametrize("cpl", range(4))
def test_every_code_segment_behind_the_gate(processor: Processor, cpl: int, kind: int) -> None:
    external = 1 if kind == INT_EXTERNAL else 0
    for byte, rpl in itertools.product(range(256), (0, 3)):
        processor.enter_level(cpl)
        processor.describe(SPARE, descriptor(access=byte))
        processor.gate(VECTOR, SPARE | rpl, HANDLER, 0xEE)
        trouble = deliver(processor, kind)
        dpl, is_code, conforming = byte >> 5 & 3, byte & 0x18 == 0x18, bool(byte & 4)
        if not is_code or dpl > cpl:
            assert trouble == Trouble(GP, SPARE | external), hex(byte)
        elif not byte & 0x80:
            assert trouble == Trouble(NP, SPARE | external), hex(byte)
        else:
            assert trouble is None, hex(byte)
            level = cpl if conforming else dpl
            assert processor.cpu["cpl"] == level
            assert processor.cpu.segment(CS, "selector") == SPARE | level
            assert processor.cpu.segment(SS, "selector") == data_selector(level)


def test_idt_limit_and_null_selector(processor: Processor) -> None:
    processor.gate(VECTOR, 3, HANDLER, INTERRUPT_32)
    assert deliver(processor) == Trouble(GP, 0)
    assert deliver(processor, INT_EXTERNAL) == Trouble(GP, 1)
    processor.cpu["idtr_limit"] = VECTOR * 8 + 6
    assert deliver(processor) == Trouble(GP, IDT_ERROR)


@pytest.mark.parametrize("gate", [INTERRUPT_32, TRAP_32, INTERRUPT_16, TRAP_16])
def test_frame_of_the_same_level(processor: Processor, gate: int) -> None:
    width = 32 if gate & 8 else 16
    mask = (1 << width) - 1
    processor.gate(VECTOR, code_selector(0), HANDLER, gate)
    image = ARITHMETIC | flags.IF | flags.TF | flags.NT | flags.AC | 2
    write_eflags(processor.cpu, image)
    assert deliver(processor) is None
    assert processor.stack(3, width) == (RETURN & mask, code_selector(0), image & mask)
    assert processor.cpu["gpr", ESP] == STACKS[0] - 3 * width // 8
    expected = image & ~(flags.TF | flags.NT)
    assert read_eflags(processor.cpu) == (expected if gate & 1 else expected & ~flags.IF)


@pytest.mark.parametrize("gate", [0xEE, 0xE6])
@pytest.mark.parametrize("wide_tss", [True, False])
def test_frame_of_an_inner_level(processor: Processor, gate: int, wide_tss: bool) -> None:
    width = 32 if gate & 8 else 16
    mask = (1 << width) - 1
    if not wide_tss:
        processor.cpu.set_segment(TR, "attributes", 0x83)
        processor.ram.write(TSS + 2, struct.pack("<HH", STACKS[1], data_selector(0)))
    esp = STACKS[1] if not wide_tss else STACKS[0]
    processor.enter_level(3)
    processor.gate(VECTOR, code_selector(0), HANDLER, gate)
    write_eflags(processor.cpu, flags.IF)
    processor.cpu["gpr", ESP] = 0x1234_5678
    assert deliver(processor) is None
    assert processor.stack(5, width) == (
        RETURN & mask,
        code_selector(3),
        flags.IF | 2,
        0x1234_5678 & mask,
        data_selector(3),
    )
    assert processor.cpu["gpr", ESP] == esp - 5 * width // 8
    assert processor.cpu.segment(SS, "selector") == data_selector(0)


@pytest.mark.parametrize("level", [1, 2])
def test_each_level_has_its_stack(processor: Processor, level: int) -> None:
    processor.enter_level(3)
    processor.gate(VECTOR, code_selector(level), HANDLER, 0xEE)
    assert deliver(processor) is None
    assert processor.cpu["gpr", ESP] == STACKS[level] - 20
    assert processor.cpu["cpl"] == level


def test_error_codes_are_pushed_last(processor: Processor) -> None:
    for cpl, items in ((0, 4), (3, 6)):
        processor.enter_level(cpl)
        processor.gate(GP, code_selector(0), HANDLER, INTERRUPT_32)
        assert processor.call("deliver_event", GP, INT_EXCEPTION, RETURN, 1, 0xABCD, flags.RF) is None
        frame = processor.stack(items)
        assert frame[:3] == (0xABCD, RETURN, code_selector(cpl))
        assert frame[3] == flags.RF | 2


@pytest.mark.parametrize(
    ("name", "selector", "access", "trouble"),
    [
        ("null", 0, DATA, (TS, 1)),
        ("beyond the table", 0xFF8, DATA, (TS, 0xFF9)),
        ("RPL is not the new level", SPARE | 1, DATA, (TS, SPARE | 1)),
        ("DPL is not the new level", SPARE, DATA | 0x20, (TS, SPARE | 1)),
        ("read only", SPARE, 0x91, (TS, SPARE | 1)),
        ("code", SPARE, CODE, (TS, SPARE | 1)),
        ("not present", SPARE, 0x13, (SS_FAULT, SPARE | 1)),
    ],
)
def test_inner_stack_segment(
    processor: Processor, name: str, selector: int, access: int, trouble: tuple[int, int]
) -> None:
    processor.describe(SPARE, descriptor(access=access))
    processor.cpu["gdtr_limit"] = 0xFF7
    processor.ram.write(TSS + 8, struct.pack("<I", selector))
    processor.enter_level(3)
    processor.gate(VECTOR, code_selector(0), HANDLER, INTERRUPT_32)
    assert deliver(processor, INT_EXTERNAL) == Trouble(*trouble)
    assert processor.cpu["cpl"] == 3
    assert processor.cpu["gpr", ESP] == STACKS[3]


@pytest.mark.parametrize(("attributes", "last"), [(0x8B, 9), (0x83, 5)])
def test_tss_limit(processor: Processor, attributes: int, last: int) -> None:
    processor.cpu.set_segment(TR, "attributes", attributes)
    processor.ram.write(TSS + 2, struct.pack("<HH", STACKS[0], data_selector(0)))
    if attributes == 0x8B:
        processor.ram.write(TSS + 4, struct.pack("<II", STACKS[0], data_selector(0)))
    processor.gate(VECTOR, code_selector(0), HANDLER, 0xEE)
    for limit, ok in ((last, True), (last - 1, False)):
        processor.enter_level(3)
        processor.cpu.set_segment(TR, "limit", limit)
        assert deliver(processor) == (None if ok else Trouble(TS, TASK_SELECTOR))


def test_room_on_the_stack(processor: Processor) -> None:
    """#SS(EXT) on the same stack, #SS(selector) on an inner one; nothing has changed."""
    processor.describe(SPARE, descriptor(limit=0xFFF, access=DATA, flags=0x4))
    processor.gate(VECTOR, code_selector(0), HANDLER, 0xEE)
    assert processor.call("load_segment", SS, SPARE) is None
    for esp, ok in ((12, True), (11, False), (0, False), (0x1000, True), (0x1004, False)):
        processor.cpu["gpr", ESP] = esp
        assert deliver(processor) == (None if ok else Trouble(SS_FAULT, 0)), esp
        assert processor.cpu["gpr", ESP] == (esp - 12 if ok else esp)
    processor.ram.write(TSS + 4, struct.pack("<II", 19, SPARE))
    processor.enter_level(3)
    assert deliver(processor, INT_EXTERNAL) == Trouble(SS_FAULT, SPARE | 1)


def test_16_bit_stack_wraps_and_keeps_the_upper_half(processor: Processor) -> None:
    processor.describe(SPARE, descriptor(limit=0xFFFF, access=DATA, flags=0))
    processor.gate(VECTOR, code_selector(0), HANDLER, INTERRUPT_32)
    assert processor.call("load_segment", SS, SPARE) is None
    processor.cpu["gpr", ESP] = 0xAAAA_0004
    assert deliver(processor) is None
    assert processor.cpu["gpr", ESP] == 0xAAAA_FFF8
    assert struct.unpack("<I", processor.ram.read(0, 4)) == (2,)
    assert struct.unpack("<II", processor.ram.read(0xFFF8, 8)) == (RETURN, code_selector(0))


def test_handler_must_lie_in_its_segment(processor: Processor) -> None:
    processor.describe(SPARE_2, descriptor(limit=0x1FF, access=CODE, flags=4))
    processor.gate(VECTOR, SPARE_2, 0x200, INTERRUPT_32)
    assert deliver(processor) == Trouble(GP, 0)
    assert deliver(processor, INT_EXCEPTION) == Trouble(GP, 1)


@pytest.mark.parametrize("level", [0, 3])
def test_a_page_fault_on_the_stack_changes_nothing(processor: Processor, level: int) -> None:
    """The supervisor's stack page is missing or is read with the rights of the new level."""
    cpu = processor.cpu
    processor.gate(VECTOR, code_selector(0), HANDLER, 0xEE)
    processor.enter_level(3)
    for page in range(16):
        processor.ram.write(TABLE + 4 * page, struct.pack("<I", page << 12 | 3))  # supervisor pages
    processor.ram.write(DIRECTORY, struct.pack("<I", TABLE | 7))
    cpu["cr0"], cpu["cr3"] = CR0_PE | CR0_PG, DIRECTORY
    if level == 0:
        assert deliver(processor) is None, "the new level is supervisor, so it may use its stack"
        return
    missing = STACKS[0] - 1 >> 12
    processor.ram.write(TABLE + 4 * missing, struct.pack("<I", 0))
    before = [cpu["gpr", n] for n in range(8)], cpu["eip"], cpu["eflags_system"], cpu.segment(CS, "selector")
    processor.vcpu.flush()
    assert deliver(processor) == Trouble(PF, 2), "a supervisor write to a missing page"
    assert cpu["cr2"] == STACKS[0] - 4
    after = [cpu["gpr", n] for n in range(8)], cpu["eip"], cpu["eflags_system"], cpu.segment(CS, "selector")
    assert (cpu["cpl"], after) == (3, before)
