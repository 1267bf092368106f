"""What each instruction of 16-bit code in real and virtual-8086 mode becomes (`mode.REAL_16`), as steps.py has it for
flat code: itself, with the effective address made first (offsets.py); a few instructions for stack, transfers and
segment registers; or a service.

Loading a segment register changes selector and base there and nothing else, the mode key neither. With CS the table of
ways changes, too, so that a trace ends; whoever leaves units has its epoch looked up (`_settle` in gates.py). SS keeps
interrupts out, and is a service.
"""

from __future__ import annotations

from bt.codegen.host_bytes import based, memory_operand, move, move_immediate
from bt.engine.identity.crossing import TABLE
from bt.engine.identity.making import paragraph_strings
from bt.engine.identity.making.offsets import (
    EBX,
    ENCODER,
    FREE,
    LEA,
    MOV_LOAD,
    MOV_STORE,
    MOVZX_BYTE,
    STATE,
    Parts,
    Place,
    T,
    at_offset,
    effective_address,
    place_of,
    plain,
    probe,
    set_word,
    zero_extended,
)
from bt.engine.identity.making.steps import Ending, Step
from bt.engine.identity.making.strings import require_host
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.forms import Inline, inline
from bt.engine.reencode.integer import NotEncodable, is_nothing
from bt.engine.structures import NO_REGISTER
from bt.x86 import state
from bt.x86.opcodes import FORMS, Form, Method, Width
from bt.x86.state import CS, DS, EAX, EBP, ES, ESP, FS, GS, LIMIT_8086, SS, segment_offset
from bt.x86.state import EBX as GUEST_EBX

_ESP, _EBP, _GUEST_EBX = (ENCODER.host(number) for number in (ESP, EBP, GUEST_EBX))
_MOV_IMMEDIATE = b"\xc7"
_SELECTOR = 10  # r10, which is nobody's
# BH is the host's where EBX is, and the low byte of T where that has EBX turned by eight bits
_IN_EBX, _IN_T = ENCODER.with_register(GUEST_EBX, EBX), ENCODER.with_register(GUEST_EBX, T)
_BH = 7
_DIVISIONS = frozenset(("arith.div", "arith.idiv"))
_WIDTHS = {Width.B: 1, Width.W: 2, Width.VW: 2}  # bytes; else those of the operand size
_SIZED = frozenset((Width.V, Width.Z))
_LOADED = {"segment.les": ES, "segment.lds": DS, "segment.lfs": FS, "segment.lgs": GS}
_STORED = frozenset((ES, DS, FS, GS))
_MEMORY = frozenset((Method.REGISTER_OR_MEMORY, Method.MEMORY_ONLY, Method.OFFSET))


def step(i: Decoded) -> Step:
    """What an instruction becomes."""
    form = FORMS[i.form]
    try:
        return _special(form, i) or _itself(form, i)
    except NotEncodable:
        return Step(i, ()).as_service()


def _special(form: Form, i: Decoded) -> Step | None:
    """Stack, control, segments and strings; None for what is encoded as it is. Raises NotEncodable."""
    if is_nothing(form):
        return Step(i, ())
    if inline(form) is not Inline.NOT:
        raise NotEncodable("floating point")
    size = i.operand_size // 8
    group, _, name = form.meaning.partition(".")
    match group:
        case "control":
            return _control(name, form, i, size)
        case "stack":
            return _stack(name, form, i, size)
        case "segment":
            return _far(form, i) or Step(i, _segment(form, i, size))
        case "string":
            return Step(i, paragraph_strings.single_element(form, i))
    if form.meaning == "move.xlat":
        return Step(i, _xlat(i))
    return None


# -- the instruction itself --------------------------------------------------------------------------------------------


def _itself(form: Form, i: Decoded) -> Step:
    if form.meaning == "move.lea":
        return Step(i, _lea(i))
    if i.is_memory:
        return Step(i, _on_memory(form, i))
    faults = form.meaning in _DIVISIONS
    try:
        return Step(i, ((ENCODER.encode(i), faults),))
    except NotEncodable:
        # BH, or a high byte register beside one that takes REX: with EBX where the host's is, none does
        code = _IN_EBX.encode(i)
        into, back = (move(EBX, _GUEST_EBX), False), (move(_GUEST_EBX, EBX), False)
        return Step(i, (into, (code, faults), back))


def _on_memory(form: Form, i: Decoded) -> Parts:
    operand = next((operand for operand in form.operands if operand.method in _MEMORY), None)
    if operand is None or not (operand.width in _WIDTHS or operand.width in _SIZED):
        raise NotEncodable("operand")
    place = place_of(i, _WIDTHS.get(operand.width, i.operand_size // 8))
    there = place.of(i)
    try:
        return (*place.before, (ENCODER.encode(there), True))
    except NotEncodable:
        pass
    # a high byte register, and the address takes REX: the sum into EBX
    before = (*place.before, place.sum)
    there = Place((), EBX).of(i)._replace(index_number=NO_REGISTER)
    if there.reg_number != _BH:
        return (*before, (ENCODER.encode(there), True))
    require_host()
    turned = _rotated(T, _GUEST_EBX, 8), False
    code = _IN_T.encode(there._replace(reg_number=GUEST_EBX)), True
    return (*before, turned, code, (_rotated(_GUEST_EBX, T, 24), False))


def _rotated(target: int, source: int, count: int, *, wide: bool = False) -> bytes:
    """rorx target, source, count (BMI2), of 32 or 64 bits: no flag changes."""
    vex = bytes((0xC4, (~target >> 3 & 1) << 7 | 0x40 | (~source >> 3 & 1) << 5 | 3, 0xFB if wide else 0x7B, 0xF0))
    return vex + bytes((0xC0 | (target & 7) << 3 | source & 7, count))


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


# -- stack -------------------------------------------------------------------------------------------------------------


def _top(delta: int, size: int, base: int = _ESP) -> Place:
    """`size` bytes of the stack, `delta` from where a host register points."""
    if delta:
        offset: Parts = ((plain(LEA, EBX, base, displacement=delta), False), (zero_extended(EBX, EBX), False))
    else:
        offset = ((zero_extended(EBX, base), False),)
    return at_offset(offset, SS, size, wraps=True)


def _set_sp(further: int = 0) -> Parts:
    """SP = EBX + further"""
    add = ((plain(LEA, EBX, EBX, displacement=further), False),) if further else ()
    return (*add, (set_word(_ESP, EBX), False))


def _push_register(register: int, size: int) -> Parts:
    place = _top(-size, size)
    return (*place.before, place.store(register, size), *_set_sp())


def _push_constant(value: int, size: int) -> Parts:
    place = _top(-size, size)
    code, faults = place.access(_MOV_IMMEDIATE, 0, size=size)
    constant = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return (*place.before, (code + constant, faults), *_set_sp())


def _pop(target: int, size: int) -> Parts:
    """Into a whole host register that is nobody's."""
    place = _top(0, size)
    return (*place.before, place.load(target, size), *_set_sp(size))


def _write(register: int, source: int, size: int) -> tuple[bytes, bool]:
    return (set_word if size == 2 else move)(register, source), False


def _stack(name: str, form: Form, i: Decoded, size: int) -> Step:
    match name:
        case "push":
            method = form.operands[0].method
            if method is Method.IMMEDIATE:
                return Step(i, _push_constant(i.immediate, size))
            if i.is_memory:
                place = place_of(i, size)
                return Step(i, (*place.before, place.load(FREE, size), *_push_register(FREE, size)))
            return Step(i, _push_register(ENCODER.host(i.rm_number), size))
        case "pop" if not i.is_memory and i.rm_number != ESP:
            place = _top(0, size)
            register = ENCODER.host(i.rm_number)
            return Step(i, (*place.before, place.access(MOV_LOAD, register, size=size), *_set_sp(size)))
        case "leave":
            place = _top(0, size, _EBP)
            return Step(i, (*place.before, place.load(FREE, size), *_set_sp(size), _write(_EBP, FREE, size)))
        case "enter" if not i.immediate2 and size == 2:
            return Step(i, _enter(i.immediate))
    raise NotEncodable(name)


def _enter(allocated: int) -> Parts:
    """What PUSH BP; MOV BP, SP; SUB SP does, and a write to the new top that changes nothing."""
    push, top = _top(-2, 2), _top(-2 - allocated, 2)
    check = (*top.before, top.load(FREE, 2), top.store(FREE, 2))
    frame = (plain(LEA, FREE, EBX, displacement=allocated), False), (set_word(_EBP, FREE), False)
    return (*push.before, push.store(_EBP, 2), *check, *frame, *_set_sp())


# -- transfers ---------------------------------------------------------------------------------------------------------


def _control(name: str, form: Form, i: Decoded, size: int) -> Step:
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
            return Step(i, _push_constant(i.next_eip, size), Ending.CALL)
        case "jmp_indirect":
            return Step(i, (*_target(i, size), (move(T, FREE), False)), Ending.INDIRECT)
        case "call_indirect":
            pushed = _push_constant(i.next_eip, size)
            return Step(i, (*_target(i, size), *pushed, (move(T, FREE), False)), Ending.INDIRECT)
        case "ret":
            place = _top(0, size)
            released = _set_sp(size + (i.immediate if form.operands else 0))
            load = (*place.before, place.load(FREE, size), *_within_code(size))
            return Step(i, (*load, *released, (move(T, FREE), False)), Ending.INDIRECT)
    raise NotEncodable(name)


def _target(i: Decoded, size: int) -> Parts:
    """FREE = where an indirect transfer leads, within CS."""
    if i.is_memory:
        place = place_of(i, size)
        return (*place.before, place.load(FREE, size), *_within_code(size))
    register = ENCODER.host(i.rm_number)
    return ((zero_extended if size == 2 else move)(FREE, register), False), *_within_code(size)


def _within_code(size: int) -> Parts:
    """Trap if FREE is beyond the limit of CS. T is destroyed."""
    if size == 2:
        return ()
    return probe(FREE, 1, wraps=False)


# -- segment registers -------------------------------------------------------------------------------------------------


def _segment(form: Form, i: Decoded, size: int) -> Parts:
    meaning = form.meaning
    if meaning in _LOADED:
        place = place_of(i, size + 2)
        both = place.load(FREE, size), place.load(EBX, 2, further=size)
        return (*place.before, *both, _write(ENCODER.host(i.reg_number), FREE, size), *_load(_LOADED[meaning], EBX))
    match meaning:
        case "segment.push":
            selector = based(MOV_LOAD, FREE, STATE, segment_offset(form.operands[0].number, "selector")), False
            return (selector, *_push_register(FREE, size))
        case "segment.pop":
            return (*_pop(FREE, size), (zero_extended(FREE, FREE), False), *_load(form.operands[0].number, FREE))
        case "segment.load":
            if i.is_memory:
                place = place_of(i, 2)
                return (*place.before, place.load(FREE, 2), *_load(i.reg_number, FREE))
            return ((zero_extended(FREE, ENCODER.host(i.rm_number)), False), *_load(i.reg_number, FREE))
        case "segment.store":
            selector = based(MOV_LOAD, FREE, STATE, segment_offset(i.reg_number, "selector")), False
            if i.is_memory:
                place = place_of(i, 2)
                return (selector, *place.before, place.store(FREE, 2))
            return selector, _write(ENCODER.host(i.rm_number), FREE, size)
    raise NotEncodable(meaning)


def _far(form: Form, i: Decoded) -> Step | None:
    """Far transfers of 16 bits; None for other instructions."""
    name = form.meaning.removeprefix("segment.")
    if name not in ("call_far", "jmp_far", "ret_far"):
        return None
    if i.operand_size != 16 or i.is_memory:
        raise NotEncodable("far")
    require_host()
    if name == "ret_far":
        place = _top(0, 4)
        released = _set_sp(4 + (i.immediate if form.operands else 0))
        load = (*place.before, place.load(FREE, 2), place.load(_SELECTOR, 2, further=2))
        return Step(i, (*load, *released, *_enter_code()), Ending.INDIRECT)
    pushed: Parts = ()
    if name == "call_far":
        place = _top(-4, 4)
        selector = based(MOV_LOAD, FREE, STATE, segment_offset(CS, "selector")), False
        code, faults = place.access(_MOV_IMMEDIATE, 0, size=2)
        back = code + (i.next_eip & 0xFFFF).to_bytes(2, "little"), faults
        pushed = (*place.before, selector, place.access(MOV_STORE, FREE, further=2, size=2), back, *_set_sp())
    target = (_constant(FREE, i.immediate), False), (_constant(_SELECTOR, i.immediate2), False)
    return Step(i, (*pushed, *target, *_enter_code()), Ending.INDIRECT)


def _enter_code() -> Parts:
    """CS = the selector in _SELECTOR, T = FREE; the table is that of the segment."""
    table = state.offset("branch_tables", 2)
    slots = _rotated(TABLE, _SELECTOR, 64 - 16 - 3, wide=True), False
    return (
        *_put_selector(CS, _SELECTOR),
        slots,
        (_wide(MOV_LOAD, T, table), False),
        (_wide_sum(TABLE, TABLE, T), False),
        (_wide(MOV_STORE, TABLE, state.offset("branch_table")), False),
        *_put_base(CS, _SELECTOR),
        (move(T, FREE), False),
    )


def _load(segment: int, source: int) -> Parts:
    """A segment register = selector in a host register, which is destroyed."""
    if segment not in _STORED:
        raise NotEncodable("SS or CS")
    return (*_put_selector(segment, source), *_put_base(segment, source))


def _put_selector(segment: int, source: int) -> Parts:
    return ((_wide(MOV_STORE, source, segment_offset(segment, "selector")), False),)


def _put_base(segment: int, source: int) -> Parts:
    base = _wide(MOV_STORE, source, segment_offset(segment, "base")), False
    return (_times(source, 3), False), (plain(LEA, source, source, source), False), base


def _wide(opcode: bytes, reg: int, displacement: int) -> bytes:
    """An instruction on 64 bits of the state."""
    code = based(opcode, reg, STATE, displacement)
    return bytes((code[0] | 8,)) + code[1:]


def _wide_sum(target: int, base: int, index: int) -> bytes:
    """lea r64, [r64 + r64]"""
    address, bits = memory_operand(target, base, index, 0, 0)
    return bytes((0x48 | bits,)) + LEA + address


def _constant(target: int, value: int) -> bytes:
    return move_immediate(target) + value.to_bytes(4, "little")


def _times(register: int, shift: int) -> bytes:
    """lea r32, [r64 << shift]"""
    prefix = 0x40 | (register >> 3) << 2 | (register >> 3) << 1
    modrm, sib = (register & 7) << 3 | 4, shift << 6 | (register & 7) << 3 | 5
    return (bytes((prefix,)) if prefix != 0x40 else b"") + LEA + bytes((modrm, sib)) + bytes(4)
