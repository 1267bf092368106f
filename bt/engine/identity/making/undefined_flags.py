"""Flags that the manual leaves undefined, as the host's processor leaves them.

bt's are those of AMD's Zen in every engine. A unit executes the host's own instructions, so the host is asked: each
sample below is executed. Meanings whose samples come out otherwise are *unlike*: in a unit their flags are repaired
(flag_repairs.py). Where that does not help either they may only be where nobody sees these flags.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bt.engine.identity.making.deadness import DIVISIONS, KEPT
from bt.engine.identity.making.flag_repairs import (
    DIVIDE,
    MULTIPLY,
    SHIFTS_BY_CL,
    Repair,
    late_of,
    rotate,
)
from bt.x86 import state
from bt.x86.flags import AF, ARITHMETIC, CF, OF
from bt.x86.state import EAX

# of a function that keeps rbx, r12 and r13, loads flags, eax, ecx and edx from [rdi], executes a sample and answers
# flags | eax << 32; r13 points so that what repairs note lies behind these
_GIVEN_BYTES = 32
_NOTES = ("noted_flags", "noted_result", "noted_count")
_STATE = (_GIVEN_BYTES - state.offset(_NOTES[0])).to_bytes(4, "little", signed=True)
_BEFORE = bytes.fromhex("53 4154 4155 4c8daf") + _STATE + bytes.fromhex("8b4708 8b4f10 8b5718 ff37 9d")
_AFTER = bytes.fromhex("9c 59 48c1e020 4809c8 415d 415c 5b c3")
_EAX = (0x12345678, 0x87654321, 0xC0000001, 0)
_OTHER = (0x9ABCDEF0, 0x00000003)  # ecx and edx
_FLAGS = (0, ARITHMETIC)
_TOP = 1 << 31

# what is undefined, from what there is afterwards and eax before
_Rule = Callable[[int, int, int], int]  # flags before, flags after, result (eax): the flags as they should be


class _Sample(NamedTuple):
    meaning: str
    code: bytes  # on eax, with ecx or edx; the first instruction alone is looked at
    wanted: _Rule
    repair: Repair | None = None

    @property
    def repaired(self) -> bytes:
        if self.repair is None:
            return b""
        before, after = self.repair.whole
        return before + self.code + after


def _xor_top(value: int) -> int:
    return OF * ((value ^ value << 1) >> 31 & 1)


def _left(before: int, after: int, result: int) -> int:
    return after & ~OF | OF * (bool(after & CF) ^ bool(result & _TOP))


def _right(before: int, after: int, result: int) -> int:
    return after & ~OF | _xor_top(result)


def _part(rule: _Rule, top: int) -> _Rule:
    """A rule for an operand whose highest bit is at `top`."""
    return lambda before, after, result: rule(before, after, result << 31 - top & 0xFFFFFFFF)


def _shifted(rule: _Rule) -> _Rule:
    return lambda before, after, result: rule(before, after, result) | AF


def _kept(mask: int) -> _Rule:
    return lambda before, after, result: after & ~mask | before & mask


def _quotient(before: int, after: int, result: int) -> int:
    return before & KEPT["arith.div"] | AF


def _late(meaning: str, count: int) -> Repair:
    return Repair(b"", b"", late_of(meaning, count) or 0)


def _samples() -> Iterator[_Sample]:
    def shifts(meaning: str, codes: str, wanted: _Rule) -> Iterator[_Sample]:
        """By 4, by 31 and by CL."""
        by_four, by_31, by_cl = (bytes.fromhex(code) for code in codes.split())
        for count, code in ((4, by_four), (31, by_31)):
            turned = rotate(meaning, EAX)
            late = _late(meaning, count) if late_of(meaning, count) is not None else turned
            yield _Sample(meaning, code, wanted, late)
        yield _Sample(meaning, by_cl, wanted, SHIFTS_BY_CL.get(meaning))

    def each(meaning: str, codes: str, wanted: _Rule, repair: Repair | None = None) -> Iterator[_Sample]:
        return (_Sample(meaning, bytes.fromhex(code), wanted, repair) for code in codes.split())

    yield from shifts("shift.shl", "c1e004 c1e01f d3e0", _shifted(_left))
    yield from shifts("shift.shr", "c1e804 c1e81f d3e8", _shifted(_right))
    yield from shifts("shift.sar", "c1f804 c1f81f d3f8", _shifted(lambda before, after, result: after & ~OF))
    yield from shifts("shift.rol", "c1c004 c1c01f d3c0", _left)
    yield from shifts("shift.ror", "c1c804 c1c81f d3c8", _right)
    for top, codes in ((15, "66c1c004 66c1c804"), (7, "c0c003 c0c803"), (15, "c0c403 c0cc03")):
        # of a word, of AL, of AH: what is above and below it in EAX does not matter
        for meaning, code in zip(("shift.rol", "shift.ror"), codes.split(), strict=True):
            rule = _part(_left if meaning == "shift.rol" else _right, top)
            yield _Sample(meaning, bytes.fromhex(code), rule, rotate(meaning, EAX, top))
    yield from shifts("shift.rcl", "c1d004 c1d01f d3d0", _left)
    yield from shifts("shift.rcr", "c1d804 c1d81f d3d8", _right)
    yield from shifts("shift.shld", "0fa4d004 0fa4d01f 0fa5d0", _shifted(_left))
    yield from shifts("shift.shrd", "0facd004 0facd01f 0fadd0", _shifted(_right))
    for meaning, codes in {
        "arith.mul": "f7e1 f6e1",
        "arith.imul": "f7e9 f6e9",
        "arith.imul_truncated": "0fafc1 69c001000100 6bc003",
    }.items():
        yield from each(meaning, codes, _kept(KEPT[meaning]), MULTIPLY)
    yield from each("arith.div", "f7f1", _quotient, DIVIDE)
    yield from each("arith.idiv", "f7f9", _quotient, DIVIDE)
    for meaning, code in {"bt": "a3", "bts": "ab", "btr": "b3", "btc": "bb"}.items():
        yield from each(f"bits.{meaning}", f"0f{code}c8", _kept(KEPT[f"bits.{meaning}"]))
    for meaning, code in {"and": "21", "or": "09", "xor": "31", "test": "85"}.items():
        yield from each(f"logic.{meaning}", f"{code}c8", lambda before, after, result: after & ~AF)


class HostFlags(NamedTuple):
    """Meanings that leave undefined flags otherwise than bt; those of them with which repairs do not help either."""

    unlike: frozenset[str] = frozenset()
    beyond_repair: frozenset[str] = frozenset()


def ask_host(write: Callable[[bytes], int]) -> HostFlags:
    """Execute the samples. `write` puts a few bytes of code somewhere and answers their host address."""
    samples = list(_samples())
    unlike = {sample.meaning for sample in samples if not _is_like(sample, sample.code, write)}
    beyond_repair = {
        sample.meaning
        for sample in samples
        if sample.meaning in unlike and sample.repair and not _is_like(sample, sample.repaired, write)
    }
    return HostFlags(frozenset(unlike), frozenset(beyond_repair))


def _is_like(sample: _Sample, code: bytes, write: Callable[[bytes], int]) -> bool:
    """Whether a sample's flags come out as bt has them."""
    execute = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(write(_BEFORE + code + _AFTER))
    for before, eax, other in ((f, a, o) for f in _FLAGS for a in _EAX for o in _OTHER):
        edx = other if sample.meaning not in DIVISIONS else 0
        given = (ctypes.c_uint64 * (_GIVEN_BYTES // 8 + len(_NOTES)))(before, eax, other, edx)
        answer = execute(given)
        found = answer & ARITHMETIC
        if found != sample.wanted(before, found, answer >> 32) & ARITHMETIC:
            return False
    return True
