"""Segment register loads against a model written from the MOV, LLDT and LTR pages of SDM vol. 2 and vol. 3A 5.3."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from bt.x86.context import GP, NP, SS_FAULT
from bt.x86.state import CS, DS, ES, FS, GS, LDTR, SEGMENT_FIELDS, SS, TR, WHOLE_LIMIT
from tests.x86.system.processor import (
    CODE,
    DATA,
    LDT_SELECTOR,
    SPARE,
    Processor,
    Trouble,
    code_selector,
    data_selector,
    descriptor,
)

LOCAL = 0x0C  # a selector of the LDT


def parts(processor: Processor, number: int) -> dict[str, int]:
    return {part: processor.cpu.segment(number, part) for part in SEGMENT_FIELDS}


@dataclass(frozen=True)
class Access:
    """An access byte, taken apart."""

    byte: int

    @property
    def dpl(self) -> int:
        return self.byte >> 5 & 3

    @property
    def is_data(self) -> bool:
        return self.byte & 0x18 == 0x10

    @property
    def is_code(self) -> bool:
        return self.byte & 0x18 == 0x18

    @property
    def is_conforming(self) -> bool:
        return self.is_code and bool(self.byte & 4)

    @property
    def may_read(self) -> bool:
        return self.is_data or (self.is_code and bool(self.byte & 2))

    @property
    def may_write(self) -> bool:
        return self.is_data and bool(self.byte & 2)

    def fault_of_load(self, number: int, rpl: int, cpl: int) -> int | None:
        """Vector that loading a register raises; its error code is the selector."""
        if number == SS:
            if rpl != cpl or self.dpl != cpl or not self.may_write:
                return GP
            return None if self.byte & 0x80 else SS_FAULT
        if not self.may_read:
            return GP
        if not self.is_conforming and (rpl > self.dpl or cpl > self.dpl):
            return GP
        return None if self.byte & 0x80 else NP


@pytest.mark.parametrize("number", [ES, SS, DS, GS])
@pytest.mark.parametrize("cpl", range(4))
def test_every_access_byte(processor: Processor, number: int, cpl: int) -> None:
    processor.enter_level(cpl)
    before = parts(processor, number)
    for byte, rpl in itertools.product(range(256), range(4)):
        access = Access(byte)
        entry = descriptor(0x00123000, 0x00FFF, byte, 0)
        processor.describe(SPARE, entry)
        trouble = processor.call("load_segment", number, SPARE | rpl)
        vector = access.fault_of_load(number, rpl, cpl)
        if vector is not None:
            assert trouble == Trouble(vector, SPARE), (byte, rpl)
            assert parts(processor, number) == before, "a refused load changed the register"
            assert processor.described(SPARE) == entry
            continue
        assert trouble is None, (byte, rpl)
        assert processor.cpu.segment(number, "selector") == SPARE | rpl
        assert processor.cpu.segment(number, "attributes") == byte | 1
        assert processor.described(SPARE)[5] == byte | 1, "the accessed bit"
        assert processor.call("load_segment", number, data_selector(cpl)) is None
        before = parts(processor, number)


RANGES = {
    # access, flags, raw limit: (limit, read range, write range); None is an empty one
    "flat": (0x93, 0xC, 0xFFFFF, (0xFFFFFFFF, (0, WHOLE_LIMIT), (0, WHOLE_LIMIT))),
    "byte granular": (0x93, 0x4, 0x12345, (0x12345, (0, 0x12345), (0, 0x12345))),
    "page granular": (0x93, 0xC, 0x00012, (0x12FFF, (0, 0x12FFF), (0, 0x12FFF))),
    "read only": (0x91, 0x4, 0xFFF, (0xFFF, (0, 0xFFF), None)),
    "readable code": (0x9B, 0x4, 0xFFF, (0xFFF, (0, 0xFFF), None)),
    "expand-down 32": (0x97, 0x4, 0xFFF, (0xFFF, (0x1000, 0xFFFFFFFF), (0x1000, 0xFFFFFFFF))),
    "expand-down 16": (0x97, 0x0, 0xFFF, (0xFFF, (0x1000, 0xFFFF), (0x1000, 0xFFFF))),
    "expand-down read only": (0x95, 0x0, 0xFFF, (0xFFF, (0x1000, 0xFFFF), None)),
    "expand-down nothing": (0x97, 0xC, 0xFFFFF, (0xFFFFFFFF, None, None)),
    "conforming code": (0x9F, 0x4, 0xFFF, (0xFFF, (0, 0xFFF), None)),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_of_the_hidden_part(processor: Processor, name: str) -> None:
    access, flags, raw, (limit, read, write) = RANGES[name]
    processor.describe(SPARE, descriptor(0xABCDE123, raw, access, flags))
    assert processor.call("load_segment", DS, SPARE) is None
    found = parts(processor, DS)
    assert found["base"] == 0xABCDE123
    assert found["limit"] == limit
    for kind, expected in (("read", read), ("write", write)):
        low, high = found[f"{kind}_low"], found[f"{kind}_high"]
        assert (low > high) if expected is None else ((low, high) == expected)


def test_execute_only_code_in_cs_cannot_be_read(processor: Processor) -> None:
    processor.describe(SPARE, descriptor(access=0x99))
    assert processor.call("far_jump", SPARE, 0x1234, 0) is None
    assert processor.cpu.segment(CS, "read_low") > processor.cpu.segment(CS, "read_high")


@pytest.mark.parametrize("selector", range(4))
def test_null_selectors(processor: Processor, selector: int) -> None:
    for number in (ES, DS, FS, GS):
        assert processor.call("load_segment", number, selector) is None
        found = parts(processor, number)
        assert found["selector"] == selector
        assert found["read_low"] > found["read_high"]
        assert found["write_low"] > found["write_high"]
    assert processor.call("load_segment", SS, selector) == Trouble(GP, 0)


@pytest.mark.parametrize(
    ("selector", "ok"), [(SPARE, True), (SPARE + 8, False), (0xFFF8, False), (LOCAL, True), (0x14, False)]
)
def test_table_limits(processor: Processor, selector: int, ok: bool) -> None:
    processor.cpu["gdtr_limit"] = SPARE + 7
    processor.cpu.set_segment(LDTR, "limit", LOCAL | 7)
    processor.describe(selector & 0xFFF, descriptor())
    assert processor.call("load_segment", DS, selector) == (None if ok else Trouble(GP, selector))


@pytest.mark.parametrize("selector", [SPARE, LOCAL])
def test_last_byte_of_a_descriptor_must_be_inside(processor: Processor, selector: int) -> None:
    """One that is good otherwise."""
    processor.describe(selector, descriptor())
    for last, expected in ((6, Trouble(GP, selector)), (7, None)):
        processor.cpu["gdtr_limit"] = (SPARE & ~7) + last
        processor.cpu.set_segment(LDTR, "limit", (LOCAL & ~7) + last)
        assert processor.call("load_segment", DS, selector) == expected


def test_no_ldt(processor: Processor) -> None:
    assert processor.call("load_ldtr", 0) is None
    assert processor.call("load_segment", DS, LOCAL | 3) == Trouble(GP, LOCAL)


@pytest.mark.parametrize(("name", "types"), [("load_ldtr", (0x02,)), ("load_tr", (0x01, 0x09))])
def test_lldt_and_ltr_take_their_own_types_only(processor: Processor, name: str, types: tuple[int, ...]) -> None:
    for byte in range(256):
        processor.describe(SPARE, descriptor(0x3000, 0x67, byte, 0))
        trouble = processor.call(name, SPARE)
        if byte & 0x1F not in types:
            assert trouble == Trouble(GP, SPARE)
        elif not byte & 0x80:
            assert trouble == Trouble(NP, SPARE)
        else:
            assert trouble is None


def test_ltr_makes_the_tss_busy(processor: Processor) -> None:
    processor.describe(SPARE, descriptor(0x3000, 0x67, 0x89, 0))
    assert processor.call("load_tr", SPARE) is None
    assert processor.described(SPARE)[5] == 0x8B
    assert processor.cpu.segment(TR, "attributes") == 0x8B
    assert (processor.cpu.segment(TR, "base"), processor.cpu.segment(TR, "limit")) == (0x3000, 0x67)
    assert processor.call("load_tr", SPARE) == Trouble(GP, SPARE), "busy now"


def test_lldt_and_ltr_want_the_gdt(processor: Processor) -> None:
    assert processor.call("load_ldtr", LOCAL) == Trouble(GP, LOCAL)
    assert processor.call("load_tr", LOCAL) == Trouble(GP, LOCAL)
    assert processor.call("load_tr", 3) == Trouble(GP, 0)


def test_lldt(processor: Processor) -> None:
    assert processor.call("load_ldtr", LDT_SELECTOR) is None
    assert processor.cpu.segment(LDTR, "base") == 0x3800


def test_mode_follows_flatness(processor: Processor) -> None:
    """A load that changes base or limit changes the translation mode, and back."""
    flat = processor.cpu["mode"]
    processor.describe(SPARE, descriptor(limit=0x1FFFF, flags=0x4))
    assert processor.call("load_segment", DS, SPARE) is None
    assert processor.cpu["mode"] != flat
    assert processor.call("load_segment", DS, data_selector(0)) is None
    assert processor.cpu["mode"] == flat


@pytest.mark.parametrize("cpl", range(4))
def test_inspect_selector(processor: Processor, cpl: int) -> None:
    """What LAR, LSL, VERR and VERW see: the descriptor if DPL >= CPL and RPL, or it is conforming code."""
    processor.enter_level(cpl)
    for byte, rpl in itertools.product(range(256), range(4)):
        entry = descriptor(access=byte)
        processor.describe(SPARE, entry)
        access = Access(byte)
        visible = access.is_conforming or access.dpl >= max(cpl, rpl)
        assert processor.call("inspect_selector", SPARE | rpl) is None
        assert processor.cpu["memory_value"] == (int.from_bytes(entry, "little") if visible else 0)
    for selector in (0, 3, 0xFFF8):
        assert processor.call("inspect_selector", selector) is None
        assert processor.cpu["memory_value"] == 0


@pytest.mark.parametrize("cpl", range(4))
def test_far_jump_to_every_access_byte(processor: Processor, cpl: int) -> None:
    gates_and_tasks = {1, 4, 5, 9, 12}  # see test_call_gates.py and test_tasks.py
    for byte, rpl in itertools.product(range(256), range(4)):
        if byte & 0x1F in gates_and_tasks:
            continue
        processor.enter_level(cpl)
        processor.describe(SPARE, descriptor(access=byte))
        trouble = processor.call("far_jump", SPARE | rpl, 0x4321, 0)
        access = Access(byte)
        same_level = access.dpl == cpl and rpl <= cpl
        allowed = access.dpl <= cpl if access.is_conforming else access.is_code and same_level
        if not allowed:
            assert trouble == Trouble(GP, SPARE), (byte, rpl)
        elif not byte & 0x80:
            assert trouble == Trouble(NP, SPARE), (byte, rpl)
        else:
            assert trouble is None
            assert processor.cpu["eip"] == 0x4321
            assert processor.cpu.segment(CS, "selector") == SPARE | cpl
            assert processor.cpu["cpl"] == cpl
            assert processor.described(SPARE)[5] & 1


def test_far_jump_checks_the_limit(processor: Processor) -> None:
    processor.describe(SPARE, descriptor(limit=0x1234, access=CODE, flags=0x4))
    assert processor.call("far_jump", SPARE, 0x1235, 0) == Trouble(GP, 0)
    assert processor.call("far_jump", 2, 0, 0) == Trouble(GP, 0)
    assert processor.call("far_jump", SPARE, 0x1234, 0) is None


@pytest.mark.parametrize("width", [16, 32])
def test_far_call_pushes_cs_and_eip(processor: Processor, width: int) -> None:
    processor.enter_level(3)
    top = processor.cpu["gpr", 4]
    assert processor.call("far_call", code_selector(3), 0x9000, 0x1234567, width) is None
    assert processor.stack(2, width) == (0x1234567 & (1 << width) - 1, code_selector(3))
    assert processor.cpu["gpr", 4] == top - width // 4
    assert processor.cpu["eip"] == 0x9000


def test_far_call_needs_room_for_both(processor: Processor) -> None:
    processor.describe(SPARE, descriptor(limit=0xFFF, access=DATA | 4, flags=0x4))  # expand-down: 0x1000 and up
    assert processor.call("load_segment", SS, SPARE) is None
    processor.cpu["gpr", 4] = 0x1004
    assert processor.call("far_call", code_selector(0), 0x9000, 0, 32) == Trouble(SS_FAULT, 0)
    assert processor.cpu["gpr", 4] == 0x1004
    assert processor.call("far_call", code_selector(0), 0x9000, 0, 16) is None
