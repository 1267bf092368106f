"""What is left uncompared is what processors are free in, and no more."""

from __future__ import annotations

import pytest

from tests.cases.check import expected_outcome
from tests.cases.model import STATUS_MASK, Case
from tests.cases.parse import parse_line
from tests.cases.undefined import undefined_flags
from tests.oracles.latitude import comparable, is_free


def _compared(text: str) -> Case | None:
    case = parse_line(text, undefined_flags=undefined_flags)
    return comparable(case, expected_outcome(case))


def test_a_run_to_its_end_is_compared_as_the_case_says() -> None:
    case = _compared("and eax, ecx; add eax, ecx | => ")
    assert case is not None
    assert case.ignored_flags == 0


def test_a_run_that_stops_early_may_leave_any_flag_undefined_that_was_on_the_way() -> None:
    case = _compared("and eax, ecx; add eax, [0x24000] | => #PF(4) cr2=24000 eip=10002")
    assert case is not None
    assert case.ignored_flags == 0x10


def test_what_multiple_stores_and_loads_did_before_a_fault() -> None:
    pusha = _compared("pusha | esp=30010 => #PF(6) cr2=2fffc")
    assert pusha is not None
    assert pusha.ignored_memory == ((0x30010 - 132, 132),)
    popa = _compared("popa | esp=31ff0 => #PF(4) cr2=32000")
    assert popa is not None
    assert popa.ignored_registers == (0, 1, 2, 3, 5, 6, 7)
    scas = _compared("repe scasb | edi=24000 => #PF(4) cr2=24000")
    assert scas is not None
    assert scas.ignored_flags == STATUS_MASK


@pytest.mark.parametrize(
    "text",
    [
        "push eax | esp=2 => #SS(0)",
        "mov eax, [ebx] | ebx=ffffffff => #GP(0)",
        "cmpsb | esi=24000 edi=24000 => #PF(4) cr2=24000",
        "jmp 0x20000 | => #UD eip=20000",
    ],
    ids=["wraps at the stack", "wraps", "either string first", "data as code"],
)
def test_what_is_not_compared_at_all(text: str) -> None:
    assert _compared(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "hlt | => #GP(0)",
        "hex: 2e 89 03 | ebx=20000 => #GP(0)",
        "jmp 0x50000 | => #PF(4) cr2=50000 eip=50000",
        "int3 | => #BP",
        "mov eax, [ebx] | ebx=24000 => #PF(4) cr2=24000",
    ],
)
def test_other_exceptions_are_compared(text: str) -> None:
    assert _compared(text) is not None


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("fld1; fnstenv [0x20010]; nop | =>", True),
        ("movups xmm0, [0x20001] | ac=1 => #AC(0)", True),
        ("movups xmm0, [0x20001] | =>", False),
        ("mov eax, [0x20001] | ac=1 => #AC(0)", False),
        ("hex: 1f | esp=31ffe => #PF(4) cr2=32000", True),
        ("hex: 1f | => esp=31004", False),
        ("pop eax | esp=32000 => #PF(4) cr2=32000", False),
    ],
)
def test_what_other_processors_may_do_otherwise(text: str, free: bool) -> None:
    assert is_free(parse_line(text, undefined_flags=undefined_flags)) is free
