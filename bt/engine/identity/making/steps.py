"""What each instruction of a unit becomes: itself, a few for what the stack and transfers do, or a service."""

from __future__ import annotations

from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import based, memory_operand, move, move_immediate, rex
from bt.engine.identity.crossing import TABLE
from bt.engine.identity.making import segments, strings
from bt.engine.identity.making.beside_code import Look, look_and_store
from bt.engine.identity.making.deadness import DIVISIONS
from bt.engine.identity.making.mmx_guards import guards_of
from bt.engine.identity.making.offsets import EBX, FREE, set_word, zero_extended
from bt.engine.identity.making.operand_forms import near, wrapping
from bt.engine.identity.making.repeated_strings import repeated
from bt.engine.identity.making.sequences import sequence
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.floating import encode_floating
from bt.engine.reencode.forms import Inline, fp_form_fields, inline
from bt.engine.reencode.integer import IntegerEncoder, NotEncodable, is_nothing
from bt.x86.opcodes import FORMS, Form, Method
from bt.x86.state import EBP, ECX, ESP

_T = FLAT_32.number("t")
_NEAR, _WRAPPING = IntegerEncoder(FLAT_32, near), IntegerEncoder(FLAT_32, wrapping)
_ESP, _EBP, _ECX = (FLAT_32.guest_numbers[number] for number in (ESP, EBP, ECX))
_MOV_LOAD, _MOV_STORE, _MOV_IMMEDIATE, _LEA = b"\x8b", b"\x89", b"\xc7", b"\x8d"
_WORD = 4  # bytes that PUSH and POP move
TO_TABLE = bytes((0x42, 0xFF, 0x40 | 4 << 3 | 4, 3 << 6 | (_T & 7) << 3 | TABLE, 0))  # jmp [table + T * 8]
SHORT_JUMP, SHORT_JUMP_BYTES, JECXZ = 0xEB, 2, b"\x67\xe3"
NOT_EQUAL = 5  # condition code


class Ending(Enum):
    """How an instruction goes on."""

    NEXT = auto()
    JUMP = auto()  # to its immediate
    CONDITION = auto()  # there, or to what follows
    COUNT = auto()  # JCXZ and the LOOPs: the same, by ECX
    CALL = auto()  # to its immediate, as a call
    RETURN = auto()  # to T, which is what a call has pushed
    INDIRECT = auto()  # to T
    LEAVES = auto()  # the interpreter says where


class Step(NamedTuple):
    """One guest instruction in a unit. `parts`: its host instructions, those that can fault with True. `check`: others
    before them; where those fault the unit is left."""

    i: Decoded
    parts: tuple[tuple[bytes, bool], ...]
    ending: Ending = Ending.NEXT
    service: bool = False
    needs: int = 0  # READY_* bits of the FP instruction that it is
    x87: bool = False  # it becomes the last x87 instruction that FNSTENV shows
    check: tuple[tuple[bytes, bool], ...] = ()
    look: Look | None = None  # before what stores beside code, and repeated strings
    can_leave: bool = True
    guards: int = 0  # of `parts`, those that only try what an MMX instruction accesses (mmx_guards.py)

    @property
    def stores(self) -> bool:
        """It loads from where it stores to, perhaps by an instruction of its own."""
        return FORMS[self.i.form].meaning == "move.xchg" or self.guards > 1

    def as_service(self) -> Step:
        """The same done by the interpreter."""
        return Step(self.i, (), Ending.LEAVES if FORMS[self.i.form].ends_block else Ending.NEXT, service=True)

    def beside_code(self) -> Step:
        """The same with a store that no view lets through (beside_code.py); else done by the interpreter."""
        form = FORMS[self.i.form]
        try:
            if not self.i.is_memory or form.meaning.startswith(("control.", "stack.", "string.")):
                raise NotEncodable("no operand of its own")
            look, parts = look_and_store(_NEAR.operand_address(_T, self.i), form, self.i)
        except NotEncodable:
            return self.as_service()
        return self._replace(parts=parts, look=look, guards=0)


class Placed(NamedTuple):
    """A step on a trace. `onward`: where the trace goes on behind it; None where it ends. See flag_repairs.py:"""

    step: Step
    onward: int | None
    first: bytes = b""  # host code in front of it, which makes flags right
    due: int = 0  # LATE_* bits while it is executed
    due_after: int = 0


def go_to_table(target: int) -> bytes:
    """Go on at a guest address, through the branch table."""
    return move_immediate(_T) + target.to_bytes(4, "little") + TO_TABLE


def step(i: Decoded, *, wraps: bool = False, opened: str = "") -> Step:
    """What an instruction becomes. `wraps`: its memory operand may be at an address that wraps (operand_forms.py).
    `opened`: see repeated_strings.py."""
    return Step._make((i, *_made(_regardless_of_place(i), wraps, opened if i.is_repeated else "")[1:]))


def _regardless_of_place(i: Decoded) -> Decoded:
    """The same instruction elsewhere, unless it pushes where it is: what the fields that are 0 matter for."""
    next_eip = i.next_eip if i.form in _CALLS else 0
    return Decoded._make((0, 0, next_eip, *i[3:_NUMBER], 0, 0, *i[_NUMBER + 2 : _FLAGS_LIVE], 0, 0))


_CALLS = frozenset(
    number for number, form in enumerate(FORMS) if form.meaning in ("control.call", "control.call_indirect")
)
_NUMBER, _FLAGS_LIVE = Decoded._fields.index("number"), Decoded._fields.index("flags_live")
assert Decoded._fields[:3] == ("handler", "eip", "next_eip")
assert Decoded._fields[_NUMBER + 1] == "thunk"
assert Decoded._fields[_FLAGS_LIVE + 1 :] == ("record",)


@lru_cache(maxsize=1 << 13)  # paths overlap, and compilers repeat themselves
def _made(i: Decoded, wraps: bool, opened: str) -> Step:
    form, encoder = FORMS[i.form], _WRAPPING if wraps else _NEAR
    try:
        if i.is_repeated and form.meaning.startswith("string."):
            look, parts = repeated(form, i, opened)
            made = Step(i, parts, look=look)
        elif segments.is_based(form, i):
            flat, before = segments.without_base(encoder, i)
            made = _step(encoder, form, flat)
            made = made._replace(parts=(*before, *made.parts))
        else:
            made = _step(encoder, form, i)
    except NotEncodable:
        return Step(i, ()).as_service()
    return with_exits(made)


def with_exits(made: Step) -> Step:
    """A step that is no service, and says whether it can leave the unit."""
    faults = any(faults for _, faults in (*made.check, *made.parts))
    return made._replace(can_leave=faults or made.ending not in (Ending.NEXT, Ending.JUMP))


def _step(encoder: IntegerEncoder, form: Form, i: Decoded) -> Step:
    """Raises NotEncodable."""
    made = _special(encoder, form, i)
    if made is None and inline(form) is not Inline.NOT:
        made = _floating(encoder, form, i)
    if made is None:
        code = encoder.encode(i)
        touches = i.is_memory and form.meaning != "move.lea"
        made = Step(i, ((code, touches or form.meaning in DIVISIONS),))
    return made


def _special(encoder: IntegerEncoder, form: Form, i: Decoded) -> Step | None:
    """Stack and control; None for what is encoded as it is. Raises NotEncodable."""
    if is_nothing(form):
        return Step(i, ())
    if form.meaning.startswith(("stack.", "control.")) and i.operand_size != 32:
        raise NotEncodable("16-bit operand")
    if form.meaning in strings.MEANINGS:
        return Step(i, strings.single_element(encoder, form, i))
    if (parts := sequence(encoder, form, i)) is not None:
        return Step(i, parts, needs=fp_form_fields(form, i.is_memory).get("ready", 0))
    match form.meaning:
        case "control.jcc":
            return Step(i, (), Ending.CONDITION)
        case "control.jmp":
            return Step(i, (), Ending.JUMP)
        case "control.jcxz" | "control.loop" | "control.loope" | "control.loopne":
            if i.address_mask != 0xFFFFFFFF:
                raise NotEncodable("CX")
            return Step(i, (), Ending.COUNT)
        case "control.call":
            return Step(i, _push_constant(i.next_eip), Ending.CALL)
        case "control.jmp_indirect":
            return Step(i, (_into_t(encoder, i),), Ending.INDIRECT)
        case "control.call_indirect":
            return Step(i, (_into_t(encoder, i), *_push_constant(i.next_eip)), Ending.INDIRECT)
        case "control.ret":
            released = _WORD + (i.immediate if form.operands else 0)
            return Step(i, ((_NEAR.at(_MOV_LOAD, _T, _ESP, 0), True), (_move_esp(released), False)), Ending.RETURN)
        case "stack.push":
            return Step(i, _push(encoder, form, i))
        case "stack.pop" if form.operands[0].method is Method.OPCODE_REGISTER:
            register = _NEAR.host(i.rm_number)
            load = (_NEAR.at(_MOV_LOAD, register, _ESP, 0), True)
            return Step(i, (load,) if register == _ESP else (load, (_move_esp(_WORD), False)))
        case "stack.leave":
            load = (_NEAR.at(_MOV_LOAD, _T, _EBP, 0), True)
            return Step(i, (load, (_lea(_ESP, _EBP, _WORD), False), (move(_EBP, _T), False)))
    return None


def _floating(encoder: IntegerEncoder, form: Form, i: Decoded) -> Step:
    fields = fp_form_fields(form, i.is_memory)
    needs, x87 = fields["ready"], bool(fields["pointers"])
    if inline(form) is Inline.NOTHING:
        return Step(i, (), needs=needs)
    if x87:  # which fall into two micro-operations where there is an index, and were no faster without
        encoder = _WRAPPING
    guards = guards_of(encoder, i)
    itself = (encode_floating(i, encoder), i.is_memory)
    return Step(i, (*guards, itself), needs=needs, x87=x87, guards=len(guards))


def _push(encoder: IntegerEncoder, form: Form, i: Decoded) -> tuple[tuple[bytes, bool], ...]:
    match form.operands[0].method:
        case Method.OPCODE_REGISTER:
            return _push_register(_NEAR.host(i.rm_number))
        case Method.IMMEDIATE:
            return _push_constant(i.immediate)
        case _ if not i.is_memory:
            return _push_register(_NEAR.host(i.rm_number))
        case _:
            return (_into_t(encoder, i), *_push_register(_T))


def _push_register(register: int) -> tuple[tuple[bytes, bool], ...]:
    return (_NEAR.at(_MOV_STORE, register, _ESP, -_WORD), True), (_move_esp(-_WORD), False)


def _push_constant(value: int) -> tuple[tuple[bytes, bool], ...]:
    store = _NEAR.at(_MOV_IMMEDIATE, 0, _ESP, -_WORD) + (value & 0xFFFFFFFF).to_bytes(4, "little")
    return (store, True), (_move_esp(-_WORD), False)


def _into_t(encoder: IntegerEncoder, i: Decoded) -> tuple[bytes, bool]:
    if i.is_memory:
        return encoder.load(_T, i), True
    return move(_T, _NEAR.host(i.rm_number)), False


def _move_esp(amount: int) -> bytes:
    return _lea(_ESP, _ESP, amount)


def _lea(target: int, base: int, displacement: int) -> bytes:
    address, bits = memory_operand(target, base, None, 0, displacement)
    return (bytes((0x40 | bits,)) if bits else b"") + _LEA + address


SAVE_ECX, RESTORE_ECX = move(EBX, _ECX), move(_ECX, EBX)


def compare_t(value: int) -> bytes:
    """cmp T, value (32 bits)"""
    return bytes((rex(base=_T), 0x81, 0xC0 | 7 << 3 | _T & 7)) + value.to_bytes(4, "little")


def difference_from_t(value: int) -> bytes:
    """ECX = T - value, without a flag changed; mod 2**32"""
    displacement = -value & 0xFFFF_FFFF
    return based(bytes((_LEA[0],)), _ECX, _T, displacement - ((displacement & 1 << 31) << 1))


def address_of_x87(i: Decoded) -> bytes:
    """What is to be noted of the operand of an x87 instruction, its offset, to where NOTE_OPERAND takes it from."""
    return _NEAR.operand_address(FREE, i)


def count_down(i: Decoded) -> bytes:
    """ECX or CX, by the address size, less 1. Destroys EBX; no flag changes."""
    if i.address_mask == 0xFFFFFFFF:
        return _lea(_ECX, _ECX, -1)
    return _lea(EBX, _ECX, -1) + set_word(_ECX, EBX)


def counter_alone(i: Decoded) -> tuple[bytes, bytes]:
    """What makes ECX the counter and nothing else, for JECXZ, and what makes it whole again."""
    if i.address_mask == 0xFFFFFFFF:
        return b"", b""
    return move(FREE, _ECX) + zero_extended(_ECX, _ECX), move(_ECX, FREE)
