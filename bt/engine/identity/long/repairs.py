"""bt's undefined flags behind host instructions that leave others, in units of 64-bit code.

As in making/flag_repairs.py: shifts by a constant are repaired late, when the flags are saved; what takes the count,
the result or the flags of before is repaired at once, in the saved flags.
"""

from __future__ import annotations

from bt.engine.identity.layout import LATE_AF, LATE_CARRIED_OF, LATE_NO_OF
from bt.engine.identity.long.decoded import Essence, LongDecoded
from bt.engine.identity.long.encoding import (
    FLAGS,
    HOST,
    RAX,
    RESIDENT,
    S1,
    SAVE_BEGIN,
    SAVE_END,
    TEMPORARY,
    gpr,
    instruction,
    load,
    move,
)
from bt.engine.identity.making.deadness import DIVISIONS
from bt.engine.identity.making.flag_repairs import late_of
from bt.engine.interp.variants import variant_for
from bt.x86.opcodes import Method

_OR_AF, _NO_OF = bytes.fromhex("80cc10"), bytes.fromhex("b000")  # or ah, AF; mov al, 0
_CARRIED_OF = bytes.fromhex("88e0 c0e807 30e0 2401")  # mov al, ah; shr al, 7; xor al, ah; and al, 1: SF ^ CF
_NOTE_COUNT = instruction(b"\x88", 1, TEMPORARY)  # mov memory, cl
_TEST_COUNT = instruction(b"\xf6", 0, TEMPORARY)  # test byte memory, imm8
_SHIFTS = frozenset(("shift.shl", "shift.shr", "shift.sar", "shift.shld"))


def save_with(due: int) -> bytes:
    """Save the flags with what is due (LATE_* bits)."""
    code = SAVE_BEGIN
    for bit, part in ((LATE_AF, _OR_AF), (LATE_CARRIED_OF, _CARRIED_OF), (LATE_NO_OF, _NO_OF)):
        code += part if due & bit else b""
    return code + SAVE_END


def count_of(i: LongDecoded | Essence) -> int | None:
    """A count that is given, cut as the processor does."""
    methods = {operand.method for operand in i.its_form.operands}
    if Method.ONE in methods:
        return 1
    return i.immediate & (63 if i.operand_size == 64 and _is_whole(i) else 31) if Method.IMMEDIATE in methods else None


def late(i: LongDecoded | Essence) -> int | None:
    """LATE_* bits that are due behind an instruction; None: that is not how it is repaired."""
    count = count_of(i)
    return None if count is None else late_of(i.its_form.meaning, min(count, 2))


def at_once(i: LongDecoded) -> tuple[bytes, bytes] | None:
    """Code in front of an instruction, behind the saved and loaded flags, and behind it, which saves right ones."""
    meaning = i.its_form.meaning
    if meaning in DIVISIONS:
        # CF and OF what they were, AF set, the others clear; and ah, CF; or ah, AF
        return b"", move(S1, RAX) + load(RAX, FLAGS) + bytes.fromhex("80e401 80cc10") + SAVE_END
    if meaning in _SHIFTS and count_of(i) is None:
        return _NOTE_COUNT, _shifted_by_cl(i)
    if meaning in ("shift.rol", "shift.ror") and count_of(i):
        rotated = _rotated(i)
        return None if rotated is None else (b"", rotated)
    return None


def save_product() -> bytes:
    """Code that makes CF and OF of the saved flags CF, as multiplications leave it; the others stay what they were."""
    # mov r11, rax; setc al; and byte saved flags, ~CF; or it, al; mov byte saved OF, al; mov rax, r11
    lahf = FLAGS._replace(displacement=FLAGS.displacement + 1)
    code = move(S1, RAX) + bytes.fromhex("0f92c0")
    code += instruction(b"\x80", 4, lahf) + bytes((0xFE,)) + instruction(b"\x08", RAX, lahf)
    return code + instruction(b"\x88", RAX, FLAGS) + move(RAX, S1)


def _shifted_by_cl(i: LongDecoded) -> bytes:
    size = i.operand_size if _is_whole(i) else 32
    mask = 63 if size == 64 else 31
    match i.its_form.meaning:
        case "shift.shr":  # by 1 it is defined: the host has it
            overflow = _TEST_COUNT + bytes((mask & ~1,)) + b"\x74\x02" + _NO_OF
        case "shift.sar":
            overflow = b""
        case _:
            overflow = _CARRIED_OF
    body = _OR_AF + overflow
    return SAVE_BEGIN + _TEST_COUNT + bytes((mask,)) + b"\x74" + bytes((len(body),)) + body + SAVE_END


def _is_whole(i: LongDecoded | Essence) -> bool:
    """Whether its first operand has the operand size."""
    variant = variant_for(i.its_form, i.variant, long=True)
    return variant.width_of(i.its_form.operands[0]) == i.operand_size


def _rotated(i: LongDecoded) -> bytes | None:
    """OF by the rule for 1: after ROL the highest bit and the lowest, after ROR the two highest."""
    if i.is_memory or not _is_whole(i):
        return None

    def bit_to_cf(number: int) -> bytes:
        if i.rm_number in RESIDENT:
            code = instruction(b"\x0f\xba", 4, gpr(i.rm_number), wide=True)
        else:
            host = HOST[i.rm_number]
            code = instruction(b"\x0f\xba", 4, S1 if host == RAX else host, wide=True)
        return code + bytes((number,))

    top = i.operand_size - 1
    code = SAVE_BEGIN + bit_to_cf(top) + bytes.fromhex("0f92c0")  # bt; setc al
    if i.its_form.meaning == "shift.rol":
        code += bytes.fromhex("30e0 2401")  # xor al, ah; and al, 1: CF is the lowest bit
    else:
        code += bit_to_cf(top - 1) + bytes.fromhex("410f92c2 4430d0")  # bt; setc r10b; xor al, r10b
    return code + SAVE_END
