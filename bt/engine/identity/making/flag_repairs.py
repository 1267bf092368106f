"""Undefined flags made bt's behind host instructions that leave others.

*Late* repairs follow from the flags themselves, so they cost nothing while nobody looks: what leaves a unit meanwhile
(a site, a stub) is told which are due, and their code stands only in front of what reads the flags or goes on with
them. Repairs *at once* need the count, the result or the flags of before, and stand where the flags are not dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import move
from bt.engine.identity.crossing import LOAD_FLAGS, SAVE_FLAGS
from bt.engine.identity.layout import LATE_AF, LATE_CARRIED_OF, LATE_NO_OF
from bt.engine.identity.making.deadness import overwritten, strictly_dead
from bt.engine.identity.making.steps import Placed
from bt.engine.reencode.decoded import Decoded
from bt.x86.flags import AF, ARITHMETIC, CF, OF, SF
from bt.x86.opcodes import FORMS, Method, Width
from bt.x86.state import EAX, ECX, FS, GS

_FREE, _RBX = FLAT_32.number("free"), 3
assert _FREE == 12, "in r12, by the bytes below"
_OR_AF, _NO_OF = bytes.fromhex("80cc10"), bytes.fromhex("b000")  # or ah, AF; mov al, 0
_CARRIED_OF = bytes.fromhex("88e0 c0e807 30e0 2401")  # mov al, ah; shr al, 7; xor al, ah; and al, 1: SF ^ CF
_RESTORE = bytes.fromhex("4889d8")  # mov rax, rbx


class Repair(NamedTuple):
    """Host code around an instruction."""

    before: bytes
    after: bytes


def late_repair(due: int) -> bytes:
    """Host code that does what is due (LATE_* bits); doing it twice changes nothing."""
    if not due:
        return b""
    code = SAVE_FLAGS
    for bit, part in ((LATE_AF, _OR_AF), (LATE_CARRIED_OF, _CARRIED_OF), (LATE_NO_OF, _NO_OF)):
        code += part if due & bit else b""
    return code + LOAD_FLAGS


_NOTHING = Repair(b"", b"")
_FIRST_HIGH = 4  # byte registers from here on are ah ch dh bh
_NOTE_FLAGS = SAVE_FLAGS + move(_FREE, EAX) + _RESTORE  # LAHF and OF into r12

# MUL and IMUL: CF and OF are theirs, the others what they were.
# save; and ah, CF; and r12d, all of AH but CF; or eax, r12d; load
MULTIPLY = Repair(_NOTE_FLAGS, SAVE_FLAGS + bytes.fromhex("80e401 4181e400fe0000 4409e0") + LOAD_FLAGS)

# DIV and IDIV: CF and OF what they were, AF set, the others clear.
# mov rbx, rax; mov eax, r12d; and ah, CF; or ah, AF; load
DIVIDE = Repair(_NOTE_FLAGS, bytes.fromhex("4889c3 4489e0 80e401 80cc10") + LOAD_FLAGS)


def _by_cl(overflow: bytes) -> Repair:
    """Shifts by CL: nothing if that is 0, else AF is set; `overflow` makes OF in AL."""
    body = _OR_AF + overflow
    skip = bytes.fromhex("41f6c41f 74") + bytes((len(body),))  # test r12b, 31; jz beyond
    return Repair(move(_FREE, ECX), SAVE_FLAGS + skip + body + LOAD_FLAGS)


# OF by the rule for 1, by which the host has it already: test r12b, 30; jz beyond; mov al, 0
SHIFTS_BY_CL = {
    "shift.shl": _by_cl(_CARRIED_OF),
    "shift.shr": _by_cl(bytes.fromhex("41f6c41e 7402") + _NO_OF),
    "shift.sar": _by_cl(b""),
    "shift.shld": _by_cl(_CARRIED_OF),
}


def rotate(meaning: str, register: int, top: int = 31) -> Repair | None:
    """ROL and ROR of a host register by a count other than 0: OF by the rule for 1. `top`: the operand's highest bit in
    it."""
    result = _RBX if register == EAX else register  # while the flags are in AX
    highest = bytes.fromhex("41c1ec") + bytes((top,))  # shr r12d, top
    match meaning:
        case "shift.rol":  # its lowest bit, which is CF, and its highest
            # mov r12d, result; shr r12d, top; mov al, ah; xor al, r12b; and al, 1
            code = move(_FREE, result) + highest + bytes.fromhex("88e0 4430e0 2401")
        case "shift.ror":  # its two highest
            # mov r12d, result; add r12d, r12d; xor r12d, result; shr r12d, top; mov al, r12b; and al, 1
            exclusive = bytes((0x44 | result >> 3, 0x31 | 2, 0xC0 | (_FREE & 7) << 3 | result & 7))
            code = move(_FREE, result) + bytes.fromhex("4501e4") + exclusive + highest + bytes.fromhex("4488e0 2401")
        case _:
            return None
    return Repair(b"", SAVE_FLAGS + code + LOAD_FLAGS)


_LATE = {
    "shift.shl": LATE_AF | LATE_CARRIED_OF,
    "shift.shld": LATE_AF | LATE_CARRIED_OF,
    "shift.shr": LATE_AF | LATE_NO_OF,
    "shift.sar": LATE_AF | LATE_NO_OF,
}
_AT_ONCE = {
    **dict.fromkeys(("arith.mul", "arith.imul", "arith.imul_truncated"), MULTIPLY),
    **dict.fromkeys(("arith.div", "arith.idiv"), DIVIDE),
}


def late_of(meaning: str, count: int) -> int | None:
    """LATE_* bits that are due behind a shift by a count that is given; None: no such repair."""
    if meaning not in _LATE:
        return None
    if not count & 31:
        return 0
    # by 1 SHR's OF is defined, and may be set
    return LATE_AF if count & 31 == 1 and meaning == "shift.shr" else _LATE[meaning]


def _count(i: Decoded) -> int | None:
    """A count that is given."""
    methods = {operand.method for operand in FORMS[i.form].operands}
    if Method.ONE in methods:
        return 1
    return i.immediate & 31 if Method.IMMEDIATE in methods else None


def _late(i: Decoded) -> int | None:
    count = _count(i)
    return None if count is None else late_of(FORMS[i.form].meaning, count)


def _at_once(i: Decoded) -> Repair | None:
    meaning, count = FORMS[i.form].meaning, _count(i)
    if i.is_memory and i.segment in (FS, GS):
        return None  # its address takes the registers (segments.py)
    if meaning in _AT_ONCE:
        return _AT_ONCE[meaning]
    if meaning in ("shift.rol", "shift.ror"):
        return _rotate(meaning, i, count)
    return SHIFTS_BY_CL.get(meaning) if count is None else None


def _rotate(meaning: str, i: Decoded, count: int | None) -> Repair | None:
    if count == 1:
        return _NOTHING  # which leaves no flag undefined
    if i.is_memory or not count:
        return None
    if FORMS[i.form].operands[0].width is not Width.B:
        return rotate(meaning, FLAT_32.guest_numbers[i.rm_number], i.operand_size - 1)
    is_high = i.rm_number >= _FIRST_HIGH
    return rotate(meaning, FLAT_32.guest_numbers[i.rm_number & 3], 15 if is_high else 7)


def is_repairable(i: Decoded) -> bool:
    """Whether bt's flags can be made behind what the host makes of an instruction."""
    return _late(i) is not None or _at_once(i) is not None


def covered(due: int) -> int:
    """The flags that are not right yet."""
    return (AF if due & LATE_AF else 0) | (OF if due & (LATE_CARRIED_OF | LATE_NO_OF) else 0)


@cache
def _effects(form: int) -> tuple[int, int]:
    """Flags read, and flags that may change."""
    each = FORMS[form]
    return each.reads_mask & ARITHMETIC, each.changes_mask & ARITHMETIC


def _must_be_right(i: Decoded, due: int, gone: int) -> bool:
    """Whether late repairs have to be done in front of an instruction, which certainly overwrites the flags `gone`."""
    reads, changes = _effects(i.form)
    wrong = covered(due)
    sources = CF | SF if due & LATE_CARRIED_OF and not gone & OF else 0
    return bool(reads & wrong or changes & ~gone & wrong or changes & sources)


def _remaining(due: int, gone: int) -> int:
    due &= ~(LATE_AF if gone & AF else 0)
    return due & ~(LATE_CARRIED_OF | LATE_NO_OF if gone & OF else 0)


def with_right_flags(steps: Sequence[Placed], unlike: frozenset[str]) -> list[Placed]:
    """The steps of a trace that begins with right flags; `unlike`: meanings with flags to repair."""
    due, done = 0, []
    leaves = [(placed.step.i, placed.step.can_leave) for placed in steps]
    for index, placed in enumerate(steps):
        step, i = placed.step, placed.step.i
        is_unlike = FORMS[i.form].meaning in unlike
        if not (due or is_unlike):
            done.append(placed)
            continue
        first = b""
        gone = 0 if step.service else overwritten(i) or 0
        if due and not step.service and _must_be_right(i, due, gone):
            first, due = late_repair(due), 0
        here, due = due, 0 if step.service else _remaining(due, gone)
        if is_unlike and not step.service:
            late = _late(i)
            if late is not None:
                due |= late
            elif (repair := _at_once(i)) is not None and not strictly_dead(leaves[index + 1 :], len(leaves)):
                step = step._replace(parts=((repair.before, False), *step.parts, (repair.after, False)))
        done.append(Placed(step, placed.onward, first, here, due))
    return done
