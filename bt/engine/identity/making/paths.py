"""From a recorded path to a trace: the instructions of a unit in a row, and where they lead in the end."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from bt.engine.identity.layout import REPEATED_INSNS
from bt.engine.identity.making.deadness import strictly_dead
from bt.engine.identity.making.flag_repairs import is_repairable, with_right_flags
from bt.engine.identity.making.mmx_guards import without_needless_guards
from bt.engine.identity.making.steps import Ending, Placed, Step, step
from bt.engine.identity.making.undefined_flags import HostFlags
from bt.engine.reencode.decoded import Decoded, decoded_records
from bt.engine.structures import BLOCK, BLOCK_BYTES, NO_PAGE, RECORD, RECORD_BYTES, UNIT_HEAD
from bt.x86.mode import PARAGRAPHS, USER
from bt.x86.opcodes import FORMS
from bt.x86.page import PAGE
from bt.x86.state import LIMIT_8086

UNROLLED_INSNS = 64  # about as many are in a unit that is a loop
LONGEST_TRACE = 128
FEW_INSNS = 24  # what is shorter and leads to floating point is better off in tier 1 as a whole


# BLOCK, as far as it is looked at
_BLOCK = struct.Struct("<QQQQ8xQI12xH2x?B")
assert [BLOCK.offsets[name] for name in ("eip", "mode", "count", "dead", "in_units")] == [40, 48, 64, 68, 69]


_END = struct.Struct(f"<{RECORD.offsets['next_eip']}xI{RECORD.offsets['form'] - RECORD.offsets['next_eip'] - 4}xH")
_CALLS, _RETURNS = (
    frozenset(number for number, form in enumerate(FORMS) if form.meaning == meaning)
    for meaning in ("control.call", "control.ret")
)
assert (RECORD.widths["next_eip"], RECORD.widths["form"]) == (32, 16)


class GuestBlock(NamedTuple):
    """A BLOCK as Python sees it."""

    address: int
    records: int
    host: int
    eip: int
    insns: int
    mode: int
    page: int  # physical
    in_units: int
    usable: bool

    @property
    def last_record(self) -> int:
        return self.records + (self.insns - 1) * RECORD_BYTES

    @property
    def end(self) -> tuple[int, int]:
        """Of the last instruction: the address behind it, its form."""
        next_eip, form = _END.unpack_from(ctypes.string_at(self.last_record, RECORD_BYTES))
        return next_eip, form

    @classmethod
    def at(cls, address: int) -> GuestBlock:
        fields = _BLOCK.unpack_from(ctypes.string_at(address, BLOCK_BYTES))
        physical, records, host, physical2, eip, mode, insns, is_dead, in_units = fields
        usable = not is_dead and host != 0 and physical2 == NO_PAGE
        return cls(address, records, host, eip, insns, mode, physical & -PAGE, in_units, usable)


class Choice(NamedTuple):
    """What instructions of a block may become."""

    paged: bool  # each page for itself: what lies where may change
    everything: bool  # have a unit even where that does not pay
    trapping: Mapping[int, int]  # EIPs at which units were given up because of traps, and how often
    wrapping: frozenset[int]  # and those of them with addresses that wrap
    beside: frozenset[int]  # and that store beside code
    missing: frozenset[int]  # forms that the guest's processor has not
    ready: int  # READY_* bits: which FP instructions may simply be executed
    host_flags: HostFlags
    code_base: int = 0  # of CS


class Trace:
    """What a unit is made of."""

    def __init__(self, head: GuestBlock, code_base: int, *, why: str = "") -> None:
        self.head, self.code_base = head, code_base
        self.steps: list[Placed] = []
        self.blocks: list[GuestBlock] = []
        self.closes = False  # it leads back to its own head
        self.exit: int | None = None  # else to this address, if not by its last instruction
        self.why = why  # it is no good

    @property
    def linear(self) -> int:
        """Address of the code."""
        return (self.head.eip + self.code_base) & 0xFFFF_FFFF

    @property
    def is_wide(self) -> bool:
        """It has code from several pages."""
        return len({block.page for block in self.blocks}) > 1

    def unroll(self) -> None:
        """Have it several times over, if it is a short loop; what one knows of those before it may be left out."""
        if self.closes:
            self.steps *= max(UNROLLED_INSNS // len(self.steps), 1)
        self.steps = without_needless_guards(self.steps)

    def open_windows(self, trapping: Mapping[int, int]) -> None:
        """Have accesses looked at once for several, in code that is looked at."""
        if self.head.mode & PARAGRAPHS:
            from bt.engine.identity.making.windows import with_windows

            self.steps = with_windows(self.steps, trapping)

    def repair(self, host_flags: HostFlags) -> None:
        """Have bt's undefined flags in it."""
        if host_flags.unlike:
            self.steps = with_right_flags(self.steps, host_flags.unlike)


def recorded_path(addresses: Sequence[int], code_base: int, *, paged: bool) -> list[GuestBlock]:
    """The blocks of a path as far as a unit may have them, and where it goes on; not all that was noted is read."""
    path: list[GuestBlock] = []
    calls: list[int] = []
    returned_to, beyond = 0, 0
    for address in addresses:
        block = GuestBlock.at(address)
        path.append(block)
        if not _stays(path[0], block, code_base, paged=paged) or not block.usable or beyond > REPEATED_INSNS:
            break
        is_head = len(path) > 1 and block.in_units & UNIT_HEAD
        if beyond or (is_head and not calls and block.eip != returned_to):
            beyond += block.insns
        next_eip, form = block.end
        returned_to = 0
        if form in _CALLS:
            calls.append(next_eip)
        elif form in _RETURNS and calls:
            returned_to = calls.pop()
    return path


def trace_of(path: list[GuestBlock], choice: Choice) -> Trace:
    """The trace along a path whose last block is only where it went on."""
    trace, cut_short = Trace(path[0], choice.code_base), False
    calls: list[int] = []  # where those on the trace return to, innermost last
    blocks, after = _divided(path, choice)
    for block, following in zip(blocks, [*blocks[1:], after], strict=True):
        if not _stays(trace.head, block, choice.code_base, paged=choice.paged):
            trace.exit = block.eip
            break
        steps = _steps(block, choice)
        if steps is None or len(trace.steps) + len(steps) > LONGEST_TRACE:
            trace.exit, cut_short = block.eip, steps is None
            break
        trace.blocks.append(block)
        trace.steps += [Placed(each, each.i.next_eip) for each in steps[:-1]]
        onward = _onward(steps[-1], None if following is None else following.eip, calls)
        trace.steps.append(Placed(steps[-1], onward))
        if onward is None:
            break
        if onward == trace.head.eip:
            trace.closes = True
            break
        if following is None or following is after or not following.usable:
            trace.exit = onward
            break
    if not trace.steps:
        trace.why = "its first block is none for tier 2"
    elif cut_short and len(trace.steps) < FEW_INSNS and not choice.everything:
        trace.why = "too little of the path is for tier 2"
    return trace


def _divided(path: list[GuestBlock], choice: Choice) -> tuple[list[GuestBlock], GuestBlock | None]:
    """What of a path a unit may have: up to the first head of another one, which is the second of what is answered,
    or through it where it leads to an indirect jump at once. Each copy of such a jump is predicted for itself.
    Through what is called as well, if it returns on the path: a call in a loop is part of the loop."""
    heads = [number for number, block in enumerate(path) if number and block.in_units & UNIT_HEAD]
    whole = _called(path) if heads else ()
    first = next((number for number in heads if number not in whole), None)
    if first is None:
        return (path[:-1], path[-1]) if len(path) > 1 else (path, None)
    insns = 0
    for number, block in enumerate(path[first:], first):
        insns += block.insns
        if not block.usable or insns > REPEATED_INSNS:
            break
        ending = _made(block, decoded_records(block.last_record, 1), choice)[0].ending
        if ending in (Ending.RETURN, Ending.INDIRECT):
            return path[: number + 1], None
        if ending is Ending.CALL:
            break  # what it leads to is its own return
    return path[:first], path[first]


def _called(path: Sequence[GuestBlock]) -> set[int]:
    """Numbers of the blocks of a path that were called from it and returned, and of those that were returned to."""
    found: set[int] = set()
    calls: list[tuple[int, int]] = []  # the block behind each, and where it returns to
    for number, (block, following) in enumerate(pairwise(path), 1):
        if not block.usable:
            break
        next_eip, form = block.end
        if form in _CALLS:
            calls.append((number, next_eip))
        elif form in _RETURNS:
            if not calls or calls[-1][1] != following.eip:
                break
            found.update(range(calls.pop()[0], number + 1))
    return found


def _stays(head: GuestBlock, block: GuestBlock, code_base: int, *, paged: bool) -> bool:
    """Whether a unit that begins with `head` may go on with `block`."""
    same_page = (block.eip + code_base) // PAGE == (head.eip + code_base) // PAGE
    same_page = same_page and block.page == head.page
    return block.mode == head.mode and (same_page or not paged)


def _steps(block: GuestBlock, choice: Choice) -> list[Step] | None:
    """None: a block that tier 1 does better."""
    if not block.usable:
        return None
    instructions = decoded_records(block.records, block.insns)
    wraps = bool(choice.wrapping) and any(i.eip in choice.wrapping for i in instructions)  # the others soon will
    found = _made(block, instructions, choice, wraps=wraps)
    if block.mode & PARAGRAPHS and found[-1].i.next_eip > LIMIT_8086:
        return None  # the interpreter knows what follows
    for index, each in enumerate(found):
        # the next unit goes without windows, or has the form of addresses that wrap
        most = 2 if block.mode & PARAGRAPHS or each.i.eip in choice.wrapping else 1
        if each.i.eip in choice.beside and not block.mode & PARAGRAPHS:
            found[index] = each.beside_code()
        elif choice.trapping.get(each.i.eip, 0) >= most or each.i.form in choice.missing:
            found[index] = each.as_service()
        elif _better_in_tier_1(found, index, choice):
            if not choice.everything:
                return None
            found[index] = each.as_service()
    return found


def _made(block: GuestBlock, instructions: Sequence[Decoded], choice: Choice, *, wraps: bool = False) -> list[Step]:
    """What instructions of the block become."""
    if block.mode & PARAGRAPHS:
        from bt.engine.identity.making import paragraphs  # not for those who never run 16-bit code: it takes 50 ms

        return [paragraphs.step(i, real=not block.mode & USER) for i in instructions]
    opened = ("user_view" if block.mode & USER else "paged_views") if choice.paged else ""
    return [step(i, wraps=wraps, opened=opened) for i in instructions]


def _better_in_tier_1(steps: Sequence[Step], index: int, choice: Choice) -> bool:
    """Services are, though tier 1 may do no better: leaving a unit and coming back takes as long as sixty instructions.
    Repeated strings take long themselves."""
    each = steps[index]
    is_slower = each.needs & ~choice.ready or (each.service and not each.i.is_repeated)
    return bool(is_slower) or _shows_others(steps, index, choice)


def _shows_others(steps: Sequence[Step], index: int, choice: Choice) -> bool:
    """Whether somebody might see undefined flags that are not bt's behind the step at `index`."""
    i, meaning, host_flags = steps[index].i, FORMS[steps[index].i.form].meaning, choice.host_flags
    if meaning not in host_flags.unlike or steps[index].service:
        return False
    if meaning not in host_flags.beyond_repair and is_repairable(i):
        return False
    return not strictly_dead([(following.i, following.can_leave) for following in steps[index + 1 :]], LONGEST_TRACE)


def _onward(last: Step, following: int | None, calls: list[int]) -> int | None:
    """Where the trace goes on behind the last step of a block, if that is known and a unit may go on there. `calls`:
    where those before it return to."""
    match last.ending:
        case Ending.NEXT:
            return last.i.next_eip
        case Ending.CALL:
            calls.append(last.i.next_eip)
            return last.i.immediate
        case Ending.JUMP:
            return last.i.immediate
        case Ending.RETURN:
            return following if calls and following == calls.pop() else None
        case Ending.CONDITION:
            return following if following in (last.i.immediate, last.i.next_eip) else None
        case Ending.COUNT:
            # traces go on where ECX is not zero
            stays = last.i.next_eip if FORMS[last.i.form].meaning == "control.jcxz" else last.i.immediate
            return following if following == stays else None
    return None
