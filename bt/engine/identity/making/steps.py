"""What each instruction of a unit becomes: itself, a few for what the stack and transfers do, or a service."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import memory_operand, move_immediate
from bt.engine.identity.crossing import NOTE_OPERAND, TABLE
from bt.engine.identity.making import segments, strings
from bt.engine.identity.making.offsets import EBX, FREE, VIEW, set_word, zero_extended
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.floating import encode_floating
from bt.engine.reencode.forms import Inline, fp_form_fields, inline
from bt.engine.reencode.integer import IntegerEncoder, NotEncodable, is_nothing
from bt.x86.opcodes import FORMS, Form, Method
from bt.x86.opcodes.fp import UNIT_MMX, fp_use, is_fp
from bt.x86.state import EBP, ECX, ESP

_T = FLAT_32.number("t")
_ENCODER = IntegerEncoder(FLAT_32, VIEW)
_ESP, _EBP = _ENCODER.host(ESP), _ENCODER.host(EBP)
_MOV_LOAD, _MOV_STORE, _MOV_IMMEDIATE, _LEA = b"\x8b", b"\x89", b"\xc7", b"\x8d"
_WORD = 4  # bytes that PUSH and POP move
TO_TABLE = bytes((0x42, 0xFF, 0x40 | 4 << 3 | 4, 3 << 6 | (_T & 7) << 3 | TABLE, 0))  # jmp [table + T * 8]
SHORT_JUMP, SHORT_JUMP_BYTES, JECXZ = 0xEB, 2, b"\x67\xe3"


class Ending(Enum):
    """How an instruction goes on."""

    NEXT = auto()
    JUMP = auto()  # to its immediate
    CONDITION = auto()  # there, or to what follows
    COUNT = auto()  # JCXZ and the LOOPs: the same, by ECX
    CALL = auto()  # to its immediate, as a call
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

    def as_service(self) -> Step:
        """The same done by the interpreter."""
        return Step(self.i, (), Ending.LEAVES if FORMS[self.i.form].ends_block else Ending.NEXT, service=True)

    @property
    def can_leave(self) -> bool:
        if self.service or self.ending not in (Ending.NEXT, Ending.JUMP):
            return True
        return any(faults for _, faults in (*self.check, *self.parts))


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


def step(i: Decoded) -> Step:
    """What an instruction becomes."""
    form = FORMS[i.form]
    try:
        if segments.is_based(form, i):
            flat, before = segments.without_base(_ENCODER, i)
            made = _step(form, flat)
            return made._replace(i=i, parts=(*before, *made.parts))
        return _step(form, i)
    except NotEncodable:
        return Step(i, ()).as_service()


def _step(form: Form, i: Decoded) -> Step:
    """Raises NotEncodable."""
    made = _special(form, i)
    if made is None and inline(form) is not Inline.NOT:
        made = _floating(form, i)
    if made is None:
        code = _ENCODER.encode(i)
        touches = i.is_memory and form.meaning != "move.lea"
        made = Step(i, ((code, touches or form.meaning in _DIVISIONS),))
    return made


_DIVISIONS = frozenset(("arith.div", "arith.idiv"))


def _special(form: Form, i: Decoded) -> Step | None:
    """Stack and control; None for what is encoded as it is. Raises NotEncodable."""
    if is_nothing(form):
        return Step(i, ())
    if form.meaning.startswith(("stack.", "control.")) and i.operand_size != 32:
        raise NotEncodable("16-bit operand")
    if form.meaning in strings.MEANINGS:
        return Step(i, strings.single_element(_ENCODER, form, i))
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
            return Step(i, (_into_t(i),), Ending.INDIRECT)
        case "control.call_indirect":
            return Step(i, (_into_t(i), *_push_constant(i.next_eip)), Ending.INDIRECT)
        case "control.ret":
            released = _WORD + (i.immediate if form.operands else 0)
            return Step(i, ((_ENCODER.at(_MOV_LOAD, _T, _ESP, 0), True), (_move_esp(released), False)), Ending.INDIRECT)
        case "stack.push":
            return Step(i, _push(form, i))
        case "stack.pop" if form.operands[0].method is Method.OPCODE_REGISTER:
            register = _ENCODER.host(i.rm_number)
            load = (_ENCODER.at(_MOV_LOAD, register, _ESP, 0), True)
            return Step(i, (load,) if register == _ESP else (load, (_move_esp(_WORD), False)))
        case "stack.leave":
            load = (_ENCODER.at(_MOV_LOAD, _T, _EBP, 0), True)
            return Step(i, (load, (_lea(_ESP, _EBP, _WORD), False), (_move(_EBP, _T), False)))
    return None


def _floating(form: Form, i: Decoded) -> Step:
    if i.is_memory and is_fp(form) and fp_use(form, memory=True).units & UNIT_MMX:
        # Intel's processors have the top of the x87 stack at 0 and all tags valid even if it faults
        raise NotEncodable("MMX and memory")
    fields = fp_form_fields(form, i.is_memory)
    needs, x87 = fields["ready"], bool(fields["pointers"])
    if inline(form) is Inline.NOTHING:
        return Step(i, (), needs=needs)
    if not (i.is_memory and x87):
        return Step(i, ((encode_floating(i, _ENCODER), i.is_memory),), needs=needs, x87=x87)
    where = (_ENCODER.operand_address(_T, i), False)
    return Step(i, (where, (encode_floating(i, _ENCODER, _T), True), (NOTE_OPERAND, False)), needs=needs, x87=True)


def _push(form: Form, i: Decoded) -> tuple[tuple[bytes, bool], ...]:
    match form.operands[0].method:
        case Method.OPCODE_REGISTER:
            return _push_register(_ENCODER.host(i.rm_number))
        case Method.IMMEDIATE:
            return _push_constant(i.immediate)
        case _ if not i.is_memory:
            return _push_register(_ENCODER.host(i.rm_number))
        case _:
            return (_into_t(i), *_push_register(_T))


def _push_register(register: int) -> tuple[tuple[bytes, bool], ...]:
    return (_ENCODER.at(_MOV_STORE, register, _ESP, -_WORD), True), (_move_esp(-_WORD), False)


def _push_constant(value: int) -> tuple[tuple[bytes, bool], ...]:
    store = _ENCODER.at(_MOV_IMMEDIATE, 0, _ESP, -_WORD) + (value & 0xFFFFFFFF).to_bytes(4, "little")
    return (store, True), (_move_esp(-_WORD), False)


def _into_t(i: Decoded) -> tuple[bytes, bool]:
    if i.is_memory:
        return _ENCODER.load(_T, i), True
    return _move(_T, _ENCODER.host(i.rm_number)), False


def _move_esp(amount: int) -> bytes:
    return _lea(_ESP, _ESP, amount)


def _lea(target: int, base: int, displacement: int) -> bytes:
    address, rex = memory_operand(target, base, None, 0, displacement)
    return (bytes((0x40 | rex,)) if rex else b"") + _LEA + address


def _move(target: int, source: int) -> bytes:
    rex = 0x40 | (source >> 3) << 2 | target >> 3
    return (bytes((rex,)) if rex != 0x40 else b"") + bytes((0x89, 0xC0 | (source & 7) << 3 | target & 7))


def count_down(i: Decoded) -> bytes:
    """ECX or CX, by the address size, less 1. Destroys EBX; no flag changes."""
    counter = _ENCODER.host(ECX)
    if i.address_mask == 0xFFFFFFFF:
        return _lea(counter, counter, -1)
    return _lea(EBX, counter, -1) + set_word(counter, EBX)


def counter_alone(i: Decoded) -> tuple[bytes, bytes]:
    """What makes ECX the counter and nothing else, for JECXZ, and what makes it whole again."""
    if i.address_mask == 0xFFFFFFFF:
        return b"", b""
    counter = _ENCODER.host(ECX)
    return _move(FREE, counter) + zero_extended(counter, counter), _move(counter, FREE)
