"""Undefined flags made bt's behind host instructions that leave others.

*Late* repairs cost nothing while nobody looks, or a store of what they take: the flags of before, the result, the
count (`noted_*` in the state). What leaves a unit meanwhile (a site, a stub) is told which are due, and their code
stands only in front of what reads the flags or goes on with them, unless nobody sees them then. Repairs *at once* stand
where the flags are not dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import move
from bt.engine.identity.crossing import LOAD_FLAGS, SAVE_FLAGS, slot
from bt.engine.identity.layout import (
    LATE_AF,
    LATE_BY_COUNT,
    LATE_CARRIED_OF,
    LATE_KEPT,
    LATE_KEPT_AF,
    LATE_NO_OF,
    LATE_ROL,
    LATE_ROR,
)
from bt.engine.identity.making.deadness import DIVISIONS, KEPT, MULTIPLICATIONS, reads_and_overwrites, strictly_dead
from bt.engine.identity.making.steps import Placed
from bt.engine.reencode.decoded import Decoded
from bt.x86 import state
from bt.x86.flags import AF, ARITHMETIC, CF, OF, PF, SF, ZF
from bt.x86.opcodes import FORMS, Method, Width
from bt.x86.state import EAX, ECX, FS, GS

_FREE, _RBX = FLAT_32.number("free"), 3
assert _FREE == 12, "in r12, by the bytes below"
_OR_AF, _NO_OF = bytes.fromhex("80cc10"), bytes.fromhex("b000")  # or ah, AF; mov al, 0
_CARRIED_OF = bytes.fromhex("88e0 c0e807 30e0 2401")  # mov al, ah; shr al, 7; xor al, ah; and al, 1: SF ^ CF
_RESTORE = bytes.fromhex("4889d8")  # mov rax, rbx

# -- what is noted, without a flag changed -----------------------------------------------------------------------------

_NOTE_FLAGS = bytes.fromhex("4889c3 9f") + slot(b"\x89", EAX, "noted_flags") + _RESTORE  # mov rbx, rax; lahf
_NOTE_COUNT = slot(b"\x89", ECX, "noted_count")
_NOTED_KEPT = (SF | ZF | AF | PF) << 8  # in EAX


def _highest_byte(opcode: bytes, number: int) -> bytes:
    """An instruction with bits 24 to 31 of the noted result as its memory operand."""
    code = slot(opcode, number, "noted_result")
    return code[:-4] + (state.offset("noted_result") + 3).to_bytes(4, "little", signed=True)


# and ah, CF; mov r12d, noted; and r12d, SF ZF AF PF; or eax, r12d
_AS_NOTED = bytes.fromhex("80e401") + slot(b"\x8b", _FREE, "noted_flags")
_AS_NOTED += bytes.fromhex("4181e4") + _NOTED_KEPT.to_bytes(4, "little") + bytes.fromhex("4409e0")
# mov al, noted; shr al, 7; xor al, ah; and al, 1: CF is the lowest bit
_ROL_OF = _highest_byte(b"\x8a", EAX) + bytes.fromhex("c0e807 30e0 2401")
# mov al, noted; add al, al; xor al, noted; shr al, 7
_ROR_OF = _highest_byte(b"\x8a", EAX) + bytes.fromhex("00c0") + _highest_byte(b"\x32", EAX) + bytes.fromhex("c0e807")
_LATE_PARTS = (
    (LATE_KEPT, _AS_NOTED),
    (LATE_AF | LATE_KEPT_AF, _OR_AF),
    (LATE_CARRIED_OF, _CARRIED_OF),
    (LATE_NO_OF, _NO_OF),
    (LATE_ROL, _ROL_OF),
    (LATE_ROR, _ROR_OF),
)


class Repair(NamedTuple):
    """Host code around an instruction, behind which `due` (LATE_* bits) is due."""

    before: bytes
    after: bytes
    due: int = 0

    @property
    def whole(self) -> tuple[bytes, bytes]:
        """Before and after, with what is due done."""
        return self.before, self.after + late_repair(self.due)


def late_repair(due: int) -> bytes:
    """Host code that does what is due (LATE_* bits); doing it twice changes nothing."""
    if not due:
        return b""
    code, body = SAVE_FLAGS, b""
    for bits, part in _LATE_PARTS:
        if due & bits:
            body += _unless_counted(30, part) if due & LATE_BY_COUNT and bits == LATE_NO_OF else part
    if due & LATE_BY_COUNT:
        body = _unless_counted(31, body)
    return code + body + LOAD_FLAGS


def _unless_counted(mask: int, code: bytes) -> bytes:
    """Past it unless the noted count has one of these bits: test byte, mask; jz beyond."""
    return slot(b"\xf6", 0, "noted_count") + bytes((mask, 0x74, len(code))) + code


_NOTHING = Repair(b"", b"")
_FIRST_HIGH = 4  # byte registers from here on are ah ch dh bh
_SAVED_IN_FREE = SAVE_FLAGS + move(_FREE, EAX) + _RESTORE  # LAHF and OF into r12

# MUL and IMUL: CF and OF are theirs, the others what they were.
MULTIPLY = Repair(_NOTE_FLAGS, b"", LATE_KEPT)

# DIV and IDIV: CF and OF what they were, AF set, the others clear.
# mov rbx, rax; mov eax, r12d; and ah, CF; or ah, AF; load
DIVIDE = Repair(_SAVED_IN_FREE, bytes.fromhex("4889c3 4489e0 80e401 80cc10") + LOAD_FLAGS)

# Shifts by CL: nothing if that is 0, else as by a constant.
SHIFTS_BY_CL = {
    meaning: Repair(_NOTE_COUNT, b"", LATE_BY_COUNT | LATE_AF | overflow)
    for meaning, overflow in {
        "shift.shl": LATE_CARRIED_OF,
        "shift.shr": LATE_NO_OF,
        "shift.sar": 0,
        "shift.shld": LATE_CARRIED_OF,
    }.items()
}


def rotate(meaning: str, register: int, top: int = 31) -> Repair | None:
    """ROL and ROR of a host register by a count other than 0: OF by the rule for 1. `top`: the operand's highest bit in
    it."""
    if top == 31 and meaning in _LATE_ROTATES:
        return Repair(b"", slot(b"\x89", register, "noted_result"), _LATE_ROTATES[meaning])
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
_LATE_ROTATES = {"shift.rol": LATE_ROL, "shift.ror": LATE_ROR}
_AROUND = {
    **dict.fromkeys(MULTIPLICATIONS, MULTIPLY),
    **dict.fromkeys(DIVISIONS, DIVIDE),
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


def _around(i: Decoded) -> Repair | None:
    meaning, count = FORMS[i.form].meaning, _count(i)
    if i.is_memory and i.segment in (FS, GS):
        return None  # its address takes the registers (segments.py)
    if meaning in _AROUND:
        return _AROUND[meaning]
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
    return _late(i) is not None or _around(i) is not None


def covered(due: int) -> int:
    """The flags that are not right yet."""
    kept = KEPT["arith.mul"] if due & LATE_KEPT else 0
    return kept | (AF if due & LATE_AF else 0) | (OF if due & _LATE_OF else 0)


_LATE_OF = LATE_CARRIED_OF | LATE_NO_OF | LATE_ROL | LATE_ROR


@cache
def _changes(form: int) -> int:
    """Arithmetic flags that may change."""
    return FORMS[form].changes_mask & ARITHMETIC


def _must_be_right(i: Decoded, due: int, reads: int, gone: int) -> bool:
    """Whether late repairs have to be done in front of an instruction, which certainly overwrites the flags `gone`."""
    changes, wrong = _changes(i.form), covered(due)
    whole = KEPT["arith.mul"] if due & LATE_KEPT else wrong if due & LATE_BY_COUNT else 0  # repaired all together
    sources = 0
    if not gone & OF:
        sources = CF | SF if due & LATE_CARRIED_OF else CF if due & LATE_ROL else 0
    return bool(reads & wrong or changes & ~gone & wrong or changes & sources or 0 < whole & gone < whole)


def _remaining(due: int, gone: int) -> int:
    if gone & AF:
        due &= ~(LATE_AF | LATE_KEPT | LATE_KEPT_AF)
    if gone & OF:
        due &= ~_LATE_OF
    return due if due & ~LATE_BY_COUNT else 0


def _with_repair(i: Decoded, due: int, following: Sequence[tuple[Decoded, bool]]) -> tuple[Repair, int]:
    """What stands around an instruction of an unlike meaning, and what is due behind it; `due`: and was so before, as
    far as it is not overwritten."""
    meaning = FORMS[i.form].meaning
    if (late := _late(i)) is not None:
        return _NOTHING, due | late
    repair = _around(i)
    if strictly_dead(following, len(following)):
        return _NOTHING, 0
    if repair is None:
        return _NOTHING, due
    if repair is MULTIPLY:
        if strictly_dead(following, len(following), KEPT[meaning]):
            return _NOTHING, 0
        repair = MULTIPLY if not due & LATE_KEPT else _NOTHING  # else it is still the flags of before
        due = LATE_KEPT | (LATE_KEPT_AF if due & (LATE_AF | LATE_KEPT_AF) else 0)
        return repair, due
    if repair.due and strictly_dead(following, len(following), covered(repair.due)):
        return _NOTHING, due
    return repair, due | repair.due


def with_right_flags(steps: Sequence[Placed], unlike: frozenset[str]) -> list[Placed]:
    """The steps of a trace that begins with right flags; `unlike`: meanings with flags to repair."""
    due, done = 0, []
    leaves = [(placed.step.i, placed.step.can_leave) for placed in steps]
    for index, placed in enumerate(steps):
        step, i = placed.step, placed.step.i
        is_unlike = FORMS[i.form].meaning in unlike
        if step.service or not (due or is_unlike):
            done.append(placed._replace(due=due))
            due = 0
            continue
        first, following = b"", leaves[index + 1 :]
        reads, gone = reads_and_overwrites(i)
        here = due
        # a multiplication takes its note of the flags of before as they are
        goes_on = is_unlike and _around(i) is MULTIPLY and not due & LATE_BY_COUNT
        stays_counted = is_unlike and due & LATE_BY_COUNT and _remaining(due, gone)  # what is due next is not
        if due and not goes_on and (stays_counted or _must_be_right(i, due, reads, gone)):
            if reads & covered(due) or not strictly_dead(following, len(following), covered(due)):
                first, here = late_repair(due), 0
            due = 0
        due = _remaining(due, gone)
        if is_unlike:
            repair, due = _with_repair(i, due, following)
            if repair is not _NOTHING:
                step = step._replace(parts=((repair.before, False), *step.parts, (repair.after, False)))
        done.append(Placed(step, placed.onward, first, here, due))
    return done
