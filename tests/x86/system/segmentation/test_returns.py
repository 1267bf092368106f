"""IRET and far RET between and within levels, SYSENTER and SYSEXIT (SDM vol. 2)."""

from __future__ import annotations

import itertools

import pytest

from bt.x86 import flags
from bt.x86.context import GP, NP, SS_FAULT
from bt.x86.reset import read_eflags, write_eflags
from bt.x86.state import CS, DS, ECX, EDX, ES, ESP, FS, GS, SS, WHOLE_LIMIT
from tests.x86.system.processor import (
    DATA,
    SPARE,
    SPARE_2,
    STACKS,
    Processor,
    Trouble,
    code_selector,
    data_selector,
    descriptor,
)

TARGET = 0x0001_2345
ALL_FLAGS = 0x3F_7FD5
IOPL_3 = 3 << 12


def iret(processor: Processor, width: int = 32) -> Trouble | None:
    return processor.call("interrupt_return", width, 0)


@pytest.mark.parametrize("cpl", range(4))
def test_iret_to_every_code_segment(processor: Processor, cpl: int) -> None:
    for byte, rpl in itertools.product(range(256), range(4)):
        processor.enter_level(cpl)
        processor.describe(SPARE, descriptor(access=byte))
        processor.push(TARGET, SPARE | rpl, 2, 0x8000, data_selector(rpl))
        top = processor.cpu["gpr", ESP]
        trouble = iret(processor)
        dpl, is_code, conforming = byte >> 5 & 3, byte & 0x18 == 0x18, bool(byte & 4)
        fits = dpl <= rpl if conforming else dpl == rpl
        if not is_code or rpl < cpl or not fits:
            assert trouble == Trouble(GP, SPARE), (byte, rpl)
        elif not byte & 0x80:
            assert trouble == Trouble(NP, SPARE), (byte, rpl)
        else:
            assert trouble is None, (byte, rpl)
            assert (processor.cpu["eip"], processor.cpu["cpl"]) == (TARGET, rpl)
            assert processor.cpu.segment(CS, "selector") == SPARE | rpl
            assert processor.cpu["gpr", ESP] == (top + 12 if rpl == cpl else 0x8000)
            assert processor.described(SPARE)[5] & 1


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize(("cpl", "iopl"), [(0, 0), (0, 3), (1, 0), (1, 1), (3, 0), (3, 2), (3, 3)])
@pytest.mark.parametrize("image", [0, ALL_FLAGS & ~flags.VM])
def test_flags_iret_may_load(processor: Processor, cpl: int, iopl: int, width: int, image: int) -> None:
    """Never VM here; RF stays clear."""
    old = iopl << 12 | (flags.AC | flags.ID | flags.DF if image == 0 else 0)
    processor.enter_level(cpl)
    write_eflags(processor.cpu, old)
    processor.push(TARGET, code_selector(cpl), image, width=width)
    assert iret(processor, width) is None
    changeable = 0x4DD5  # CF PF AF ZF SF TF DF OF NT
    changeable |= flags.IF if cpl <= iopl else 0
    changeable |= IOPL_3 if cpl == 0 else 0
    changeable |= flags.AC | flags.ID if width == 32 else 0
    changeable |= flags.VIF | flags.VIP if width == 32 and cpl == 0 else 0
    assert read_eflags(processor.cpu) == (old & ~changeable) | (image & changeable) | 2
    assert processor.cpu["eip"] == TARGET & (1 << width) - 1


@pytest.mark.parametrize("cpl", [0, 1, 3])
def test_popf_and_iret_allow_the_same(processor: Processor, cpl: int) -> None:
    """Leaving level `cpl` for 3: what may change is decided by the level left."""
    processor.enter_level(cpl)
    write_eflags(processor.cpu, 0)
    processor.push(TARGET, code_selector(3), flags.IF | IOPL_3, 0x8000, data_selector(3))
    assert iret(processor) is None
    assert read_eflags(processor.cpu) == (flags.IF | IOPL_3 | 2 if cpl == 0 else 2)


@pytest.mark.parametrize(
    ("selector", "access", "trouble"),
    [
        (0, DATA, (GP, 0)),
        (0xFF8 | 3, DATA, (GP, 0xFF8)),
        (SPARE | 2, DATA | 0x60, (GP, SPARE)),
        (SPARE | 3, DATA | 0x40, (GP, SPARE)),
        (SPARE | 3, 0xF1, (GP, SPARE)),
        (SPARE | 3, 0x73, (SS_FAULT, SPARE)),
        (SPARE | 3, DATA | 0x60, None),
    ],
)
@pytest.mark.parametrize("far", [False, True])
def test_outer_stack_segment(
    processor: Processor, selector: int, access: int, trouble: tuple[int, int] | None, far: bool
) -> None:
    processor.cpu["gdtr_limit"] = 0xFF7
    processor.describe(SPARE, descriptor(access=access))
    frame = (TARGET, code_selector(3)) if far else (TARGET, code_selector(3), 2)
    processor.push(*frame, 0x8000, selector)
    top = processor.cpu["gpr", ESP]
    got = processor.call("far_return", 32, 0) if far else iret(processor)
    assert got == (None if trouble is None else Trouble(*trouble))
    if trouble is not None:
        assert (processor.cpu["cpl"], processor.cpu["gpr", ESP]) == (0, top)
        assert processor.cpu.segment(CS, "selector") == code_selector(0)


@pytest.mark.parametrize("far", [False, True])
def test_descriptors_of_the_outer_level_are_marked(processor: Processor, far: bool) -> None:
    """Accessed, in memory: those of code and of the stack (SDM vol. 3A 3.4.5.1)."""
    processor.describe(SPARE, descriptor(access=0xF2))
    processor.describe(SPARE_2, descriptor(access=0xFA))
    frame = (TARGET, SPARE_2 | 3) if far else (TARGET, SPARE_2 | 3, 2)
    processor.push(*frame, 0x8000, SPARE | 3)
    assert (processor.call("far_return", 32, 0) if far else iret(processor)) is None
    assert [processor.described(selector)[5] for selector in (SPARE, SPARE_2)] == [0xF3, 0xFB]


def test_eip_beyond_the_limit(processor: Processor) -> None:
    processor.describe(SPARE, descriptor(limit=0xFFF, access=0xFB, flags=4))
    processor.describe(SPARE_2, descriptor(limit=0xFFF, access=0x9B, flags=4))
    for selector in (SPARE | 3, SPARE_2):
        processor.push(0x1000, selector, 2, 0x8000, data_selector(3))
        assert iret(processor) == Trouble(GP, 0)
        processor.push(0x1000, selector, 0x8000, data_selector(3))
        assert processor.call("far_return", 32, 0) == Trouble(GP, 0)


def test_data_segments_the_outer_level_may_not_use_are_dropped(processor: Processor) -> None:
    processor.describe(SPARE, descriptor(access=0x9F))  # conforming code stays
    assert processor.call("load_segment", FS, SPARE) is None
    assert processor.call("load_segment", GS, data_selector(3)) is None
    assert processor.call("load_segment", ES, 2) is None
    processor.push(TARGET, code_selector(3), 2, 0x8000, data_selector(3))
    assert iret(processor) is None
    selectors = {n: processor.cpu.segment(n, "selector") for n in (DS, ES, FS, GS)}
    assert selectors == {DS: 0, ES: 2, FS: SPARE, GS: data_selector(3)}
    assert processor.cpu.segment(DS, "read_low") > processor.cpu.segment(DS, "read_high")
    assert processor.cpu.segment(GS, "read_high") == WHOLE_LIMIT


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(("inner", "outer"), list(itertools.combinations(range(4), 2)))
def test_each_data_segment_register_is_looked_at(processor: Processor, inner: int, outer: int, far: bool) -> None:
    """One register alone may stay, or must be dropped, with all levels of segment it can hold (SDM vol. 2, IRET)."""
    for changed, dpl in itertools.product((ES, DS, FS, GS), range(inner, 4)):
        processor.enter_level(inner)
        for number in (ES, DS, FS, GS):
            selector = data_selector(dpl if number == changed else 3)
            assert processor.call("load_segment", number, selector) is None
        frame = (TARGET, code_selector(outer)) if far else (TARGET, code_selector(outer), 2)
        processor.push(*frame, 0x8000, data_selector(outer))
        assert (processor.call("far_return", 32, 0) if far else iret(processor)) is None
        for number in (ES, DS, FS, GS):
            dropped = number == changed and dpl < outer
            wanted = 0 if dropped else data_selector(dpl if number == changed else 3)
            assert processor.cpu.segment(number, "selector") == wanted, (changed, dpl)
            readable = processor.cpu.segment(number, "read_low") <= processor.cpu.segment(number, "read_high")
            assert readable != dropped, (changed, dpl)


@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("width", [16, 32])
def test_far_return_releases_parameters_of_both_stacks(processor: Processor, level: int, width: int) -> None:
    size = width // 8
    parameters = (0x11,) * (8 // size)
    processor.push(TARGET & 0xFFFF, code_selector(level), *parameters, 0x8000, data_selector(level), width=width)
    top = processor.cpu["gpr", ESP]
    assert processor.call("far_return", width, 8) is None
    assert (processor.cpu["cpl"], processor.cpu["eip"]) == (level, TARGET & 0xFFFF)
    assert processor.cpu["gpr", ESP] == (top + 2 * size + 8 if level == 0 else 0x8008)


def test_16_bit_outer_stack_gets_sp_only(processor: Processor) -> None:
    """The upper half of ESP is the inner level's: what Linux calls espfix."""
    processor.describe(SPARE, descriptor(access=0xF3, flags=0, limit=0xFFFF))
    processor.cpu["gpr", ESP] = 0x4_9000
    processor.push(TARGET, code_selector(3), 2, 0xABCD_8000, SPARE | 3)
    assert iret(processor) is None
    assert processor.cpu["gpr", ESP] == 0x4_8000
    assert processor.cpu.segment(SS, "selector") == SPARE | 3


def test_vm_in_the_image_is_ignored_outside_level_0(processor: Processor) -> None:
    processor.enter_level(3)
    processor.push(TARGET, code_selector(3), flags.VM | 2)
    assert iret(processor) is None
    assert read_eflags(processor.cpu) == 2


def test_sysenter_and_sysexit(processor: Processor) -> None:
    cpu = processor.cpu
    cpu["sysenter_cs"], cpu["sysenter_esp"], cpu["sysenter_eip"] = code_selector(0), STACKS[0], TARGET
    processor.enter_level(3)
    write_eflags(cpu, flags.IF | flags.DF | flags.CF)
    assert processor.call("system_call_enter") is None
    assert (cpu["cpl"], cpu["eip"], cpu["gpr", ESP]) == (0, TARGET, STACKS[0])
    assert (cpu.segment(CS, "selector"), cpu.segment(SS, "selector")) == (code_selector(0), data_selector(0))
    assert (cpu.segment(CS, "attributes"), cpu.segment(SS, "attributes")) == (0xC09B, 0xC093)
    assert read_eflags(cpu) == flags.DF | flags.CF | 2
    cpu["gpr", ECX], cpu["gpr", EDX] = 0x8000, 0x4444
    assert processor.call("system_call_exit") is None
    assert (cpu["cpl"], cpu["eip"], cpu["gpr", ESP]) == (3, 0x4444, 0x8000)
    assert (cpu.segment(CS, "selector"), cpu.segment(SS, "selector")) == (
        code_selector(0) + 16 | 3,
        code_selector(0) + 24 | 3,
    )
    assert (cpu.segment(CS, "attributes"), cpu.segment(SS, "attributes")) == (0xC0FB, 0xC0F3)
    assert processor.call("system_call_exit") == Trouble(GP, 0), "not from level 3"
    cpu["sysenter_cs"] = 3
    assert processor.call("system_call_enter") == Trouble(GP, 0)
