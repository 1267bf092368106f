"""Call gates: who may use them, where they lead, what is on the stack then (SDM vol. 3A 5.8.3 to 5.8.5)."""

from __future__ import annotations

import itertools
import struct

import pytest

from bt.x86.context import GP, NP, SS_FAULT, TS
from bt.x86.state import CS, ESP, SS
from tests.x86.system.processor import (
    CODE,
    DATA,
    SPARE,
    SPARE_2,
    STACKS,
    TSS,
    Processor,
    Trouble,
    code_selector,
    data_selector,
    descriptor,
)

TARGET, RETURN = 0x0012_3456, 0x7654_3210
GATE_16, GATE_32 = 0x84, 0x8C


def gate(selector: int, access: int, *, offset: int = TARGET, parameters: int = 0) -> bytes:
    return struct.pack("<HHBBH", offset & 0xFFFF, selector, parameters, access, offset >> 16)


def call(processor: Processor, selector: int, width: int = 32) -> Trouble | None:
    return processor.call("far_call", selector, 0xDEAD, RETURN, width)


@pytest.mark.parametrize("cpl", range(4))
@pytest.mark.parametrize("kind", [GATE_16, GATE_32])
def test_reach_of_the_gate(processor: Processor, cpl: int, kind: int) -> None:
    for dpl, rpl, present in itertools.product(range(4), range(4), (0x80, 0)):
        processor.enter_level(cpl)
        processor.describe(SPARE, gate(code_selector(cpl), kind & 0x7F | present | dpl << 5))
        trouble = call(processor, SPARE | rpl)
        if max(cpl, rpl) > dpl:
            assert trouble == Trouble(GP, SPARE)
        elif not present:
            assert trouble == Trouble(NP, SPARE)
        else:
            assert trouble is None
            assert processor.cpu["eip"] == TARGET & (0xFFFF if kind == GATE_16 else 0xFFFFFFFF)


@pytest.mark.parametrize("cpl", range(4))
@pytest.mark.parametrize("how", ["call", "jump"])
def test_every_code_segment_behind_the_gate(processor: Processor, cpl: int, how: str) -> None:
    for byte, rpl in itertools.product(range(256), (0, 3)):
        processor.enter_level(cpl)
        processor.describe(SPARE_2, descriptor(access=byte))
        processor.describe(SPARE, gate(SPARE_2 | rpl, GATE_32 | 0x60))
        trouble = call(processor, SPARE) if how == "call" else processor.call("far_jump", SPARE, 0xDEAD, RETURN)
        dpl, is_code, conforming = byte >> 5 & 3, byte & 0x18 == 0x18, bool(byte & 4)
        same_level_only = how == "jump" and not conforming
        if not is_code or dpl > cpl or (same_level_only and dpl != cpl):
            assert trouble == Trouble(GP, SPARE_2), (byte, rpl)
        elif not byte & 0x80:
            assert trouble == Trouble(NP, SPARE_2), (byte, rpl)
        else:
            level = cpl if conforming else dpl
            assert trouble is None, (byte, rpl)
            assert (processor.cpu["eip"], processor.cpu["cpl"]) == (TARGET, level)
            assert processor.cpu.segment(CS, "selector") == SPARE_2 | level
            assert processor.described(SPARE_2)[5] & 1


@pytest.mark.parametrize("parameters", [0, 1, 3, 31])
@pytest.mark.parametrize(("kind", "width"), [(GATE_16, 16), (GATE_32, 32)])
def test_inner_stack_and_parameters(processor: Processor, parameters: int, kind: int, width: int) -> None:
    processor.enter_level(3)
    processor.describe(SPARE, gate(code_selector(1), kind | 0x60, parameters=parameters))
    arguments = [0x1111_1111 * (n % 15 + 1) for n in range(parameters)]
    processor.push(*arguments, width=width)
    old = processor.cpu["gpr", ESP]
    assert call(processor, SPARE | 3) is None
    mask = (1 << width) - 1
    expected = [RETURN & mask, code_selector(3), *(a & mask for a in arguments), old & mask, data_selector(3)]
    assert processor.stack(len(expected), width) == tuple(expected)
    assert processor.cpu["gpr", ESP] == STACKS[1] - len(expected) * width // 8
    assert processor.cpu.segment(SS, "selector") == data_selector(1)


def test_same_level_pushes_onto_the_current_stack_by_the_gates_size(processor: Processor) -> None:
    processor.describe(SPARE, gate(code_selector(0), GATE_16, parameters=5))
    assert call(processor, SPARE, 32) is None
    assert processor.stack(2, 16) == (RETURN & 0xFFFF, code_selector(0))
    assert processor.cpu["gpr", ESP] == STACKS[0] - 4


@pytest.mark.parametrize(
    ("selector", "access", "trouble"),
    [
        (0, DATA, Trouble(TS, 0)),
        (SPARE_2 | 3, DATA, Trouble(TS, SPARE_2)),
        (SPARE_2, CODE, Trouble(TS, SPARE_2)),
        (SPARE_2, 0x91, Trouble(TS, SPARE_2)),
        (SPARE_2, 0x13, Trouble(SS_FAULT, SPARE_2)),
        (0x1008, DATA, Trouble(TS, 0x1008)),
    ],
)
def test_inner_stack_segment(processor: Processor, selector: int, access: int, trouble: Trouble) -> None:
    processor.enter_level(3)
    processor.describe(SPARE_2, descriptor(access=access))
    processor.ram.write(TSS + 8, struct.pack("<I", selector))
    processor.describe(SPARE, gate(code_selector(0), GATE_32 | 0x60))
    assert call(processor, SPARE) == trouble
    assert (processor.cpu["cpl"], processor.cpu["gpr", ESP]) == (3, STACKS[3])


def test_no_room_on_the_inner_stack(processor: Processor) -> None:
    processor.enter_level(3)
    processor.describe(SPARE_2, descriptor(limit=0x9FFF, access=DATA, flags=4))
    processor.ram.write(TSS + 4, struct.pack("<II", 12, SPARE_2))
    processor.describe(SPARE, gate(code_selector(0), GATE_32 | 0x60))
    assert call(processor, SPARE) == Trouble(SS_FAULT, SPARE_2)


@pytest.mark.parametrize("cpl", range(4))
def test_target_must_lie_in_its_segment(processor: Processor, cpl: int) -> None:
    """Whatever level the gate leads in from: the byte behind the limit is #GP(0), the one before that is good."""
    offset = 0x2_3456
    for limit, expected in ((offset - 1, Trouble(GP, 0)), (offset, None)):
        processor.enter_level(cpl)
        processor.describe(SPARE_2, descriptor(limit=limit, access=CODE, flags=4))
        processor.describe(SPARE, gate(SPARE_2, GATE_32 | 0x60, offset=offset))
        assert call(processor, SPARE) == expected
        assert (processor.cpu["cpl"], processor.cpu["gpr", ESP] == STACKS[cpl]) == (
            (cpl, True) if expected else (0, False)
        )


def test_target_beyond_the_limit_and_null_selector(processor: Processor) -> None:
    processor.describe(SPARE_2, descriptor(limit=TARGET - 1, access=CODE, flags=4))
    processor.describe(SPARE, gate(SPARE_2, GATE_32))
    assert call(processor, SPARE) == Trouble(GP, 0)
    assert processor.call("far_jump", SPARE, 0, 0) == Trouble(GP, 0)
    processor.describe(SPARE, gate(0, GATE_32))
    assert call(processor, SPARE) == Trouble(GP, 0)
