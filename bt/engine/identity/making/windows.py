"""Windows: registers from which all that a stretch of a trace accesses is known to be within 64 KiB, wherever in it.

Before the first access it is found out once for all of them, by probes of the lowest and the highest offset from the
whole register (offsets.py). Behind that the accesses need neither an effective address of their own nor a probe: the
sum in 32 bits is the one in 16. What is added to the register on the way may be counted; anything else that writes it
ends the stretch, as do services. A push costs three host instructions so, and it was six that wait for each other.

A window that is not there, because the segment's end is near or the upper half of the register is not zero, makes the
guest leave the unit. Where that has happened time and again the next one has no windows.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from bt.engine.identity.making import paragraphs
from bt.engine.identity.making.offsets import ENCODER, lone_base, near, probe_window
from bt.engine.identity.making.steps import Placed, Step, with_exits
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.integer import NotEncodable
from bt.engine.structures import NO_REGISTER
from bt.x86.opcodes import FORMS, Form, Method, Width
from bt.x86.state import EBP, EBX, EDI, ESI, ESP, LIMIT_8086

_REGISTERS = (ESP, EBP, EBX, ESI, EDI)
_WIDEST = 0x8000  # bytes
_FEWEST = 2  # accesses that a window is worth it for
_EXCHANGES = frozenset(("move.xchg", "arith.xadd", "arith.cmpxchg"))
_READ = frozenset(("arith.cmp", "logic.test", "stack.push", "control.jmp_indirect", "control.call_indirect"))
_STRING_INDEXES = {"movs": (ESI, EDI), "cmps": (ESI, EDI), "lods": (ESI,), "stos": (EDI,), "scas": (EDI,)}
_FRAMES = frozenset(("stack.leave", "stack.enter"))


class _Use(NamedTuple):
    """What an instruction does with a register: `accessed` (offset from it, bytes) and `moved`; None: it is written
    somehow."""

    accessed: tuple[int, int] | None
    moved: int | None


def with_windows(steps: Sequence[Placed], trapping: Container[int]) -> list[Placed]:
    """The steps of a trace of `mode.REAL_16`; `trapping`: EIPs where units were left time and again."""
    if any(placed.step.i.eip in trapping for placed in steps):
        return list(steps)
    known: list[set[int]] = [set() for _ in steps]
    checks: list[list[tuple[int, int, int]]] = [[] for _ in steps]
    for register in _REGISTERS:
        for places, low, high in _stretches(steps, register):
            checks[places[0]].append((register, low, high))
            for place in places:
                known[place].add(register)
    return [
        placed._replace(step=_made(placed.step, frozenset(registers), found)) if registers else placed
        for placed, registers, found in zip(steps, known, checks, strict=True)
    ]


def _made(step: Step, known: frozenset[int], checks: Sequence[tuple[int, int, int]]) -> Step:
    probes = (probe_window(ENCODER.host(register), low, high) for register, low, high in checks)
    return with_exits(paragraphs.step(step.i, known)._replace(check=tuple(part for parts in probes for part in parts)))


def _stretches(steps: Sequence[Placed], register: int) -> Iterator[tuple[list[int], int, int]]:
    """Places that access by a register, and the lowest and highest offset from what it is at the first."""
    places: list[int] = []
    low = high = at = 0
    for place, placed in enumerate(steps):
        use = _Use(None, None) if placed.step.service else _use(placed.step.i, register)
        if use.accessed is not None:
            offset, size = use.accessed
            if not places:
                low = high = at = 0
            after = at + (use.moved or 0)
            lower, higher = min(low, at, at + offset, after), max(high, at, at + offset + size - 1, after)
            if higher - lower >= _WIDEST:
                if len(places) >= _FEWEST:
                    yield places, low, high
                places, at, after = [], 0, use.moved or 0
                lower, higher = min(0, offset, after), max(0, offset + size - 1, after)
            if higher - lower < _WIDEST:
                places.append(place)
                low, high = lower, higher
        if use.moved is None:
            if len(places) >= _FEWEST:
                yield places, low, high
            places = []
        else:
            at += use.moved
    if len(places) >= _FEWEST:
        yield places, low, high


def _use(i: Decoded, register: int) -> _Use:
    form = FORMS[i.form]
    accessed = _accessed(form, i, register)
    if register == ESP and (stack := _on_stack(form, i)) is not None:
        return stack
    return _Use(accessed, None if _writes(form, i, register) else _moved(form, i, register))


def _on_stack(form: Form, i: Decoded) -> _Use | None:
    """What pushes and pops do with SP."""
    size = i.operand_size // 8
    match form.meaning:
        case "stack.push" | "segment.push" | "control.call" | "control.call_indirect":
            return _Use((-size, size), -size)
        case "stack.pop" | "segment.pop":
            return _Use((0, size), size)
        case "control.ret":
            return _Use((0, size), size + (i.immediate if form.operands else 0))
    return None


def _accessed(form: Form, i: Decoded, register: int) -> tuple[int, int] | None:
    if not i.is_memory or lone_base(i) != register or form.meaning == "move.lea":
        return None
    try:
        return near(i.displacement), paragraphs.operand_bytes(form, i)
    except NotEncodable:
        return None


def _moved(form: Form, i: Decoded, register: int) -> int:
    """What an instruction that may add a constant to a register adds."""
    if not _is_sum(form, i, register):
        return 0
    match form.meaning:
        case "arith.inc":
            return 1
        case "arith.dec":
            return -1
    amount = i.immediate & LIMIT_8086
    amount -= (amount & 0x8000) << 1
    return amount if form.meaning == "arith.add" else -amount


def _is_sum(form: Form, i: Decoded, register: int) -> bool:
    """Whether it is that: of 16 bits, so that nothing is carried beyond."""
    operands = form.operands
    if (
        i.operand_size != 16
        or not operands
        or operands[0].width is Width.B
        or _register(operands[0].method, i) != register
    ):
        return False
    constant = form.meaning in ("arith.add", "arith.sub") and operands[1].method is Method.IMMEDIATE
    return constant or form.meaning in ("arith.inc", "arith.dec")


def _writes(form: Form, i: Decoded, register: int) -> bool:
    """Whether an instruction may write a register otherwise."""
    group, _, name = form.meaning.partition(".")
    if group == "string":
        return register in _STRING_INDEXES.get(name, _REGISTERS)
    if form.meaning in _FRAMES:
        return register in (ESP, EBP)
    if register == ESP and group in ("segment", "interrupts", "flags"):
        return group == "interrupts" or name.endswith(("_far", "pushf", "popf"))
    if form.meaning in _READ or _is_sum(form, i, register):
        return False
    written = form.operands if form.meaning in _EXCHANGES else form.operands[:1]
    for operand in written:
        number = operand.number if operand.method is Method.FIXED_REGISTER else _register(operand.method, i)
        is_byte = operand.width is Width.B
        if number == register or (is_byte and number != NO_REGISTER and number & 3 == register):
            return True
    return False


def _register(method: Method, i: Decoded) -> int:
    """Number of the general register that an operand is, or NO_REGISTER."""
    match method:
        case Method.REGISTER:
            return i.reg_number
        case Method.REGISTER_OR_MEMORY | Method.REGISTER_RM | Method.OPCODE_REGISTER if not i.is_memory:
            return i.rm_number
    return NO_REGISTER
