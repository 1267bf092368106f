"""From the heads of blocks along a recorded path to runs of instructions, each of which may become a unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bt.engine.identity.long.decoded import LongBlock, LongDecoded, decoded_at
from bt.engine.identity.long.surroundings import Step
from bt.x86.mode import ALIGNMENT_FREE, BREAKPOINT_FREE, CODE_64, USER
from bt.x86.page import PAGE

LONGEST_RUN = 128
UNROLLED_INSNS = 64  # about as many are in a unit that is a loop
_PLAIN = CODE_64 | ALIGNMENT_FREE | BREAKPOINT_FREE


class Run(NamedTuple):
    """Instructions that follow each other, and the block that each is from."""

    steps: list[Step]
    blocks: list[LongBlock]
    closes: bool  # it leads back to its own head
    exit: int | None  # else to this address, if not by its last instruction


def runs_of(path: Sequence[LongBlock], following: int | None, is_head: Callable[[LongBlock], bool]) -> list[Run]:
    """`following`: the address at which the path goes on behind its last block. `is_head`: a unit begins there."""
    found: list[Run] = []
    steps: list[Step] = []
    blocks: list[LongBlock] = []

    def end(*, closes: bool = False, exit: int | None = None) -> None:
        if steps:
            found.append(Run(list(steps), list(blocks), closes, exit))
        steps.clear()
        blocks.clear()

    for block, after in zip(path, [*path[1:], None], strict=True):
        if not block.usable or block.mode & ~USER != _PLAIN:
            end()
            continue
        following_now = after.eip if after is not None else following
        instructions = block.instructions()
        steps += [Step(i, i.next_eip) for i in instructions[:-1]]
        blocks += [block] * len(instructions)
        last = instructions[-1]
        onward, goes_by_itself = _onward(Step(last, None), following_now)
        if _leads_back(last, (steps or [Step(last, None)])[0].i, onward, after):
            onward = last.target
        closes = onward is not None and onward == steps[0].i.eip if steps else onward == last.eip
        head = blocks[0]
        goes_on = closes or (
            after is not None
            and onward == after.eip
            and after.usable
            and _stays(head, after)
            and len(steps) + after.insns < LONGEST_RUN
            and not is_head(after)
        )
        steps.append(Step(last, onward if goes_on or not goes_by_itself else None))
        if closes:
            end(closes=True)
        elif not goes_on:
            end(exit=None if goes_by_itself else onward)
    end()
    return found


def _stays(head: LongBlock, block: LongBlock) -> bool:
    """Whether a unit that begins with `head` may go on with `block`: not beyond its page."""
    return block.mode == head.mode and block.page == head.page and block.eip // PAGE == head.eip // PAGE


def _leads_back(last: LongDecoded, head: LongDecoded, onward: int | None, after: LongBlock | None) -> bool:
    """Whether a branch to the unit's own head is taken more often than not, though just now it was not: the block on
    the other side has been come to less often."""
    if last.its_form.meaning != "control.jcc" or last.target != head.eip:
        return False
    return onward is None or after is None or 2 * decoded_at(after.records).heat < head.heat


def _onward(last: Step, following: int | None) -> tuple[int | None, bool]:
    """Where the path goes on behind the last instruction of a block, and whether that is a transfer of control."""
    i = last.i
    match i.its_form.meaning:
        case "control.jmp" | "control.call":
            return i.target, True
        case "control.jcc":
            return (following if following in (i.target, i.next_eip) else None), True
        case "control.jcxz":
            return (following if following == i.next_eip else None), True
        case "control.loop":
            return (following if following == i.target else None), True
        case "control.ret" | "control.jmp_indirect" | "control.call_indirect":
            return following, True
        case meaning if meaning.startswith("control."):
            return None, True
    return i.next_eip, False
