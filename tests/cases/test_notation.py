"""The notation of cases: what is read, what is refused and how, what is written, what counts as a difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cases import layout
from tests.cases.check import differences, expected_outcome, right_hand_side
from tests.cases.model import DEFAULT_REGISTERS, EFLAGS_FIXED, Case, Outcome, Trap
from tests.cases.parse import CaseSyntaxError, parse_file, parse_line
from tests.cases.record import record_file
from tests.cases.undefined import undefined_flags


def test_both_sides() -> None:
    case = parse_line("add eax, ecx | eax=7fffffff cl=1 [20000]=0102 zf=1 => eax=80000000 of=1 zf=0 [20001]=ff", "f:3")
    assert case.code == bytes.fromhex("01c8")
    assert case.start.registers == (0x7FFFFFFF, 0x22222201, *DEFAULT_REGISTERS[2:])
    assert case.start.eflags == EFLAGS_FIXED | 0x40
    wanted = expected_outcome(case)
    assert wanted.trap is None
    assert wanted.state.registers[0] == 0x80000000
    assert wanted.state.eip == layout.CODE.start + 2
    assert wanted.state.eflags == EFLAGS_FIXED | 0x800
    assert wanted.state.memory[layout.DATA.start].startswith(b"\x01\xff\x00")


@pytest.mark.parametrize(
    ("text", "eip", "trap"),
    [
        ("hex: 90 f4 | => #GP(0) eip=10001", 0x10001, Trap(13, 0)),
        ("div ecx | => #DE", 0x10000, Trap(0)),
        ("int3 | => #BP", 0x10001, Trap(3)),
        ("nop | => #PF(6) cr2=24000", 0x10000, Trap(14, 6, 0x24000)),
        ("hex: 90 | bits=16 => ", 0xC001, None),
    ],
)
def test_exceptions_and_where_they_leave_eip(text: str, eip: int, trap: Trap | None) -> None:
    outcome = expected_outcome(parse_line(text))
    assert (outcome.state.eip, outcome.trap) == (eip, trap)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nop", "a case is"),
        ("nop | eax=1", "a case is"),
        ("frob eax | => ", "frob"),
        ("hex: 9 | => ", "hexadecimal"),
        ("hex: | => ", "no code"),
        ("nop | eax=123456789 => ", "does not fit"),
        ("nop | al=100 => ", "does not fit"),
        ("nop | eax=xyz => ", "not a number"),
        ("nop | eax=1 al=2 => ", "given twice"),
        ("nop | cf=1 cf=1 => ", "given twice"),
        ("nop | cf=2 => ", "is a flag"),
        ("nop | cf=? => ", "behind"),
        ("nop | rax=1 => ", "unknown name"),
        ("nop | eax => ", "neither"),
        ("nop | [24000]=00 => ", "not inside one mapped region"),
        ("nop | [23fff]=0000 => ", "not inside one mapped region"),
        ("nop | [20000]=0 => ", "neither|unknown name"),
        ("nop | #DE => ", "behind"),
        ("nop | eip=1 => ", "does not belong"),
        ("nop | => steps=3", "does not belong"),
        ("nop | cpl=0 => ", "cpl must be 3"),
        ("nop | bits=8 => ", "16, 32 or 64"),
        ("nop | => #XX", "unknown exception"),
        ("nop | => #GP", "needs error code"),
        ("nop | => #DE(0)", "has no error code"),
        ("nop | => #PF(4)", "goes with #PF"),
        ("nop | => cr2=5", "goes with #PF"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(CaseSyntaxError, match=f"^arith.case:7: .*({message})"):
        parse_line(text, "arith.case:7")


def _undefined(text: str) -> int:
    return parse_line(f"{text} => ?", undefined_flags=undefined_flags).ignored_flags


def test_undefined_flags_come_from_the_opcode_table() -> None:
    """AF after logic; OF only for shifts by more than one bit, nothing for none; cleared by what defines them again."""
    assert _undefined("and eax, ecx |") == 0x10
    assert _undefined("shl eax, 3 |") == 0x810
    assert _undefined("shl eax, cl | ecx=1") == 0x10
    assert _undefined("shl eax, cl | ecx=20") == 0
    assert _undefined("shl al, cl | ecx=9") == 0x811
    assert _undefined("and eax, ecx; add eax, ecx |") == 0
    assert (
        parse_line("mul byte ptr [0x24000] | => #PF(4) cr2=24000", undefined_flags=undefined_flags).ignored_flags == 0
    )


def test_differences_are_complete_and_readable() -> None:
    case = parse_line("nop | => ")
    wanted = expected_outcome(case)
    data = bytearray(wanted.state.memory[layout.DATA.start])
    data[5], data[7], data[20] = 1, 2, 3
    state = replace(
        wanted.state,
        registers=(0, *DEFAULT_REGISTERS[1:]),
        eip=5,
        eflags=EFLAGS_FIXED | 0x41,
        memory={**wanted.state.memory, layout.DATA.start: bytes(data)},
    )
    assert differences(case, wanted, wanted) == []
    assert differences(case, wanted, Outcome(state, Trap(14, 6, 0x24000))) == [
        "exception: wanted none, got #PF(6) cr2=00024000",
        "eip: wanted 00010001, got 00000005",
        "eax: wanted 11111111, got 00000000",
        "flags: wanted cf=0 zf=0, got cf=1 zf=1",
        "[20005]: wanted 000000, got 010002",
        "[20014]: wanted 00, got 03",
    ]
    lenient = parse_line("nop | => eax=? cf=? zf=? [20005]=?????? [20014]=??")
    assert differences(lenient, wanted, replace(Outcome(state), state=replace(state, eip=0x10001))) == []


class _Always:
    """An executor that answers every case with one outcome."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def run(self, case: Case) -> Outcome:
        return self.outcome

    def run_many(self, cases: Iterable[Case]) -> list[Outcome]:
        return [self.run(case) for case in cases]


def test_recording_fills_in_only_what_waits(tmp_path: Path) -> None:
    """What is recorded reads back as the outcome it was recorded from; other lines stay as they are."""
    target = parse_line("mul ecx | => eax=5 of=1 [20010]=0a0b #PF(7) cr2=26000 eip=10001")
    path = tmp_path / "new.case"
    path.write_text("# comment\n\nnop | => eax=1\nmul ecx | => ? [20011]=??\n")
    assert record_file(path, _Always(expected_outcome(target))) == 1
    lines = path.read_text().splitlines()
    assert lines[:3] == ["# comment", "", "nop | => eax=1"]
    assert lines[3] == "mul ecx | => #PF(7) cr2=00026000 eax=00000005 eip=00010001 of=1 [20010]=0a [20011]=??"
    _, again = parse_file(path)
    assert differences(again, expected_outcome(again), expected_outcome(target)) == []


def test_a_recorded_outcome_reads_back() -> None:
    case = parse_line("inc byte ptr [0x20000] | [20000]=7f => ?", undefined_flags=undefined_flags)
    wanted = expected_outcome(parse_line("inc byte ptr [0x20000] | [20000]=7f => of=1 af=1 sf=1 [20000]=80"))
    assert right_hand_side(case, wanted) == "af=1 sf=1 of=1 [20000]=80"
