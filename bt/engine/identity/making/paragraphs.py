"""What each instruction of 16-bit code in real and virtual-8086 mode becomes (`mode.REAL_16`), as steps.py has it for
flat code: itself, with the effective address made first (offsets.py); a few instructions for stack, transfers and
segment registers; or a service.

Loading a segment register changes selector and base there and nothing else, the mode key neither. With CS the table of
ways changes, too, so that a trace ends; whoever leaves units has its epoch looked up (`_settle` in gates.py). SS keeps
interrupts out, and is a service.
"""

from __future__ import annotations

from bt.codegen.host_bytes import move
from bt.engine.identity.making import paragraph_strings
from bt.engine.identity.making.deadness import DIVISIONS
from bt.engine.identity.making.offsets import (
    EBX,
    ENCODER,
    FREE,
    LEA,
    MOV_LOAD,
    MOVZX_BYTE,
    Parts,
    Place,
    T,
    at_offset,
    base_of,
    effective_address,
    place_of,
    plain,
    probe,
    set_word,
    zero_extended,
)
from bt.engine.identity.making.paragraph_interrupts import (
    FRAME_BYTES,
    changed,
    flags_image,
    interrupt_return,
    load_flags,
    pop_flags,
    returned,
    settled,
    software_interrupt,
)
from bt.engine.identity.making.paragraph_segments import (
    SELECTOR,
    constant,
    enter_code,
    load_segment,
    rotated,
    selector_of,
)
from bt.engine.identity.making.sequences import exchange
from bt.engine.identity.making.steps import Ending, Step, with_exits
from bt.engine.identity.making.strings import require_host
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.forms import Inline, inline
from bt.engine.reencode.integer import SCRATCH_NUMBER, NotEncodable, is_nothing
from bt.engine.structures import NO_REGISTER
from bt.x86.opcodes import FORMS, Form, Method, Width
from bt.x86.state import CS, DS, EAX, EBP, ES, ESP, FS, GS, LIMIT_8086, SS
from bt.x86.state import EBX as GUEST_EBX

_ESP, _EBP, _GUEST_EBX = (ENCODER.host(number) for number in (ESP, EBP, GUEST_EBX))
_MOV_IMMEDIATE = b"\xc7"
# BH is the host's where EBX is, and the low byte of T where that has EBX turned by eight bits
_IN_EBX, _IN_T = ENCODER.with_register(GUEST_EBX, EBX), ENCODER.with_register(GUEST_EBX, T)
_BH = 7
_INTERRUPTS = frozenset(("interrupts.int_", "interrupts.iret"))
_SYSTEM_FLAGS = frozenset(("flags.pushf", "flags.popf", "flags.cli", "flags.cld", "flags.std"))
_WIDTHS = {Width.B: 1, Width.W: 2, Width.VW: 2}  # bytes; else those of the operand size
_SIZED = frozenset((Width.V, Width.Z))
_LOADED = {"segment.les": ES, "segment.lds": DS, "segment.lfs": FS, "segment.lgs": GS}
_MEMORY = frozenset((Method.REGISTER_OR_MEMORY, Method.MEMORY_ONLY, Method.OFFSET))


def step(i: Decoded, known: frozenset[int] = frozenset(), *, real: bool = False) -> Step:
    """What an instruction becomes. `known`: guest registers with a window (windows.py); `real`: in real mode."""
    form = FORMS[i.form]
    maker = _Maker(known)
    try:
        if real and form.meaning in _INTERRUPTS:
            return Step(i, _interrupt(form, i), Ending.INDIRECT)
        if real and form.meaning in _SYSTEM_FLAGS:
            return with_exits(Step(i, maker._system_flags(form.meaning, i)))
        return with_exits(maker._special(form, i) or maker._itself(form, i))
    except NotEncodable:
        return Step(i, ()).as_service()


class _Maker:
    """Makes one instruction. `known`: as for `step`."""

    def __init__(self, known: frozenset[int]) -> None:
        self._known = known

    def _place(self, i: Decoded, size: int) -> Place:
        return place_of(i, size, self._known)

    def _special(self, form: Form, i: Decoded) -> Step | None:
        """Stack, control, segments and strings; None for what is encoded as it is. Raises NotEncodable."""
        if is_nothing(form):
            return Step(i, ())
        if inline(form) is not Inline.NOT:
            raise NotEncodable("floating point")
        size = i.operand_size // 8
        group, _, name = form.meaning.partition(".")
        match group:
            case "control":
                return self._control(name, form, i, size)
            case "stack":
                return self._stack(name, form, i, size)
            case "segment":
                return self._far(form, i) or Step(i, self._segment(form, i, size))
            case "string":
                return Step(i, paragraph_strings.single_element(form, i))
        if form.meaning == "move.xlat":
            return Step(i, _xlat(i))
        return None

    def _itself(self, form: Form, i: Decoded) -> Step:
        if form.meaning == "move.lea":
            return Step(i, _lea(i))
        if i.is_memory:
            return Step(i, self._on_memory(form, i))
        faults = form.meaning in DIVISIONS
        try:
            return Step(i, ((ENCODER.encode(i), faults),))
        except NotEncodable:
            # BH, or a high byte register beside one that takes REX: with EBX where the host's is, none does
            code = _IN_EBX.encode(i)
            into, back = (move(EBX, _GUEST_EBX), False), (move(_GUEST_EBX, EBX), False)
            return Step(i, (into, (code, faults), back))

    def _on_memory(self, form: Form, i: Decoded) -> Parts:
        size = operand_bytes(form, i)
        place = self._place(i, size)
        there = place.of(i)
        if form.meaning == "move.xchg" and size > 1:
            return (*place.before, *exchange(ENCODER, there, FREE))
        try:
            return (*place.before, (ENCODER.encode(there), True))
        except NotEncodable:
            pass
        # a high byte register, and the address takes REX: the sum into EBX
        before = (*place.before, place.sum)
        there = Place((), SCRATCH_NUMBER).of(i)._replace(index_number=NO_REGISTER)
        if there.reg_number != _BH:
            return (*before, (ENCODER.encode(there), True))
        require_host()
        turned = rotated(T, _GUEST_EBX, 8), False
        code = _IN_T.encode(there._replace(reg_number=GUEST_EBX)), True
        return (*before, turned, code, (rotated(_GUEST_EBX, T, 24), False))

    def _top(self, delta: int, size: int) -> Place:
        """`size` bytes of the stack, `delta` from SP."""
        if ESP in self._known:
            return Place((base_of(SS),), ESP, delta)
        return _frame(_ESP, delta, size)

    def _move_sp(self, by: int, at: int) -> Parts:
        """SP += by, behind an access to `_top(at, ...)`."""
        if ESP in self._known:
            return ((plain(LEA, _ESP, _ESP, displacement=by), False),)
        return _set_sp(by - at)

    def _push_register(self, register: int, size: int) -> Parts:
        place = self._top(-size, size)
        return (*place.before, place.store(register, size), *self._move_sp(-size, -size))

    def _pushconstant(self, value: int, size: int) -> Parts:
        place = self._top(-size, size)
        code, faults = place.access(_MOV_IMMEDIATE, 0, size=size)
        constant = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        return (*place.before, (code + constant, faults), *self._move_sp(-size, -size))

    def _pop(self, target: int, size: int) -> Parts:
        """Into a whole host register that is nobody's."""
        place = self._top(0, size)
        return (*place.before, place.load(target, size), *self._move_sp(size, 0))

    def _stack(self, name: str, form: Form, i: Decoded, size: int) -> Step:
        match name:
            case "push":
                method = form.operands[0].method
                if method is Method.IMMEDIATE:
                    return Step(i, self._pushconstant(i.immediate, size))
                if i.is_memory:
                    place = self._place(i, size)
                    return Step(i, (*place.before, place.load(FREE, size), *self._push_register(FREE, size)))
                return Step(i, self._push_register(ENCODER.host(i.rm_number), size))
            case "pop" if not i.is_memory and i.rm_number != ESP:
                place = self._top(0, size)
                register = ENCODER.host(i.rm_number)
                return Step(i, (*place.before, place.access(MOV_LOAD, register, size=size), *self._move_sp(size, 0)))
            case "leave":
                place = _frame(_EBP, 0, size)
                return Step(i, (*place.before, place.load(FREE, size), *_set_sp(size), _write(_EBP, FREE, size)))
            case "enter" if not i.immediate2 and size == 2:
                return Step(i, _enter(i.immediate))
        raise NotEncodable(name)

    def _system_flags(self, meaning: str, i: Decoded) -> Parts:
        if meaning not in ("flags.pushf", "flags.popf"):
            return changed(meaning)
        if i.operand_size != 16:
            raise NotEncodable("the upper half of EFLAGS")
        require_host()
        if meaning == "flags.pushf":
            return (flags_image(), *self._push_register(FREE, 2))
        moved = (plain(LEA, EBX, _ESP, displacement=2), False), (set_word(_ESP, EBX), False)
        return (*pop_flags(_frame(_ESP, 0, 2)), *moved, load_flags())

    def _control(self, name: str, form: Form, i: Decoded, size: int) -> Step:
        match name:
            case "jcc" | "jmp" | "call" | "jcxz" | "loop" | "loope" | "loopne" if i.immediate > LIMIT_8086:
                raise NotEncodable("beyond CS")
            case "jcc":
                return Step(i, (), Ending.CONDITION)
            case "jmp":
                return Step(i, (), Ending.JUMP)
            case "jcxz" | "loop" | "loope" | "loopne":
                return Step(i, (), Ending.COUNT)
            case "call":
                return Step(i, self._pushconstant(i.next_eip, size), Ending.CALL)
            case "jmp_indirect":
                return Step(i, (*self._target(i, size), (move(T, FREE), False)), Ending.INDIRECT)
            case "call_indirect":
                pushed = self._pushconstant(i.next_eip, size)
                return Step(i, (*self._target(i, size), *pushed, (move(T, FREE), False)), Ending.INDIRECT)
            case "ret":
                place = self._top(0, size)
                released = self._move_sp(size + (i.immediate if form.operands else 0), 0)
                load = (*place.before, place.load(FREE, size), *_within_code(size))
                return Step(i, (*load, *released, (move(T, FREE), False)), Ending.RETURN)
        raise NotEncodable(name)

    def _target(self, i: Decoded, size: int) -> Parts:
        """FREE = where an indirect transfer leads, within CS."""
        if i.is_memory:
            place = self._place(i, size)
            return (*place.before, place.load(FREE, size), *_within_code(size))
        register = ENCODER.host(i.rm_number)
        return ((zero_extended if size == 2 else move)(FREE, register), False), *_within_code(size)

    def _segment(self, form: Form, i: Decoded, size: int) -> Parts:
        meaning = form.meaning
        if meaning in _LOADED:
            place = self._place(i, operand_bytes(form, i))
            both = place.load(FREE, size), place.load(EBX, 2, further=size)
            offset = _write(ENCODER.host(i.reg_number), FREE, size)
            return (*place.before, *both, offset, *load_segment(_LOADED[meaning], EBX))
        match meaning:
            case "segment.push":
                selector = selector_of(form.operands[0].number)
                return (selector, *self._push_register(FREE, size))
            case "segment.pop":
                popped = *self._pop(FREE, size), (zero_extended(FREE, FREE), False)
                return (*popped, *load_segment(form.operands[0].number, FREE))
            case "segment.load":
                if i.is_memory:
                    place = self._place(i, 2)
                    return (*place.before, place.load(FREE, 2), *load_segment(i.reg_number, FREE))
                return ((zero_extended(FREE, ENCODER.host(i.rm_number)), False), *load_segment(i.reg_number, FREE))
            case "segment.store":
                selector = selector_of(i.reg_number)
                if i.is_memory:
                    place = self._place(i, 2)
                    return (selector, *place.before, place.store(FREE, 2))
                return selector, _write(ENCODER.host(i.rm_number), FREE, size)
        raise NotEncodable(meaning)

    def _far(self, form: Form, i: Decoded) -> Step | None:
        """Far transfers of 16 bits; None for other instructions."""
        name = form.meaning.removeprefix("segment.")
        if name not in ("call_far", "jmp_far", "ret_far"):
            return None
        if i.operand_size != 16 or i.is_memory:
            raise NotEncodable("far")
        require_host()
        if name == "ret_far":
            place = self._top(0, 4)
            released = self._move_sp(4 + (i.immediate if form.operands else 0), 0)
            load = (*place.before, place.load(FREE, 2), place.load(SELECTOR, 2, further=2))
            return Step(i, (*load, *released, *enter_code()), Ending.INDIRECT)
        pushed: Parts = ()
        if name == "call_far":
            place = self._top(-4, 4)
            selector = selector_of(CS)
            code, faults = place.access(_MOV_IMMEDIATE, 0, size=2)
            back = code + (i.next_eip & 0xFFFF).to_bytes(2, "little"), faults
            pushed = (*place.before, selector, place.store_at(FREE, 2), back, *self._move_sp(-4, -4))
        target = (constant(FREE, i.immediate), False), (constant(SELECTOR, i.immediate2), False)
        return Step(i, (*pushed, *target, *enter_code()), Ending.INDIRECT)


def _interrupt(form: Form, i: Decoded) -> Parts:
    """INT n and IRET. Raises NotEncodable."""
    require_host()
    below, frame = _frame(_ESP, -FRAME_BYTES, FRAME_BYTES), _frame(_ESP, 0, FRAME_BYTES)
    if form.meaning == "interrupts.int_":
        return (*software_interrupt(i, below), *_set_sp(), *settled())
    if i.operand_size != 16:
        raise NotEncodable("a frame of 32 bits")
    moved = (plain(LEA, EBX, _ESP, displacement=FRAME_BYTES), False), (set_word(_ESP, EBX), False)
    return (*interrupt_return(frame), *moved, *returned())


def operand_bytes(form: Form, i: Decoded) -> int:
    """Of the memory operand. Raises NotEncodable."""
    if form.meaning in _LOADED:
        return i.operand_size // 8 + 2
    operand = next((operand for operand in form.operands if operand.method in _MEMORY), None)
    if operand is None or not (operand.width in _WIDTHS or operand.width in _SIZED):
        raise NotEncodable("operand")
    return _WIDTHS.get(operand.width, i.operand_size // 8)


def _lea(i: Decoded) -> Parts:
    if i.operand_size == 16 or i.address_mask != LIMIT_8086:
        return ((ENCODER.encode(i._replace(address_mask=0xFFFF_FFFF)), False),)
    return (*effective_address(i), (move(ENCODER.host(i.reg_number), EBX), False))


def _xlat(i: Decoded) -> Parts:
    wraps = i.address_mask == LIMIT_8086
    number = MOVZX_BYTE + bytes((0xC0 | EBX << 3 | ENCODER.host(EAX),))
    offset = (number, False), (plain(LEA, EBX, _GUEST_EBX, EBX), False)
    cut = ((zero_extended(EBX, EBX), False),) if wraps else ()
    place = at_offset((*offset, *cut), i.segment, 1, wraps=wraps)
    return (*place.before, place.access(b"\x8a", ENCODER.host(EAX)))


def _frame(base: int, delta: int, size: int) -> Place:
    """`size` bytes of the stack, `delta` from the 16 bits of a host register."""
    if delta:
        offset: Parts = ((plain(LEA, EBX, base, displacement=delta), False), (zero_extended(EBX, EBX), False))
    else:
        offset = ((zero_extended(EBX, base), False),)
    return at_offset(offset, SS, size, wraps=True)


def _set_sp(further: int = 0) -> Parts:
    """SP = EBX + further"""
    add = ((plain(LEA, EBX, EBX, displacement=further), False),) if further else ()
    return (*add, (set_word(_ESP, EBX), False))


def _enter(allocated: int) -> Parts:
    """What PUSH BP; MOV BP, SP; SUB SP does, and a write to the new top that changes nothing."""
    push, top = _frame(_ESP, -2, 2), _frame(_ESP, -2 - allocated, 2)
    check = (*top.before, top.load(FREE, 2), top.store(FREE, 2))
    frame = (plain(LEA, FREE, EBX, displacement=allocated), False), (set_word(_EBP, FREE), False)
    return (*push.before, push.store(_EBP, 2), *check, *frame, *_set_sp())


def _write(register: int, source: int, size: int) -> tuple[bytes, bool]:
    return (set_word if size == 2 else move)(register, source), False


def _within_code(size: int) -> Parts:
    """Trap if FREE is beyond the limit of CS. T is destroyed."""
    if size == 2:
        return ()
    return probe(FREE, 1, wraps=False)
