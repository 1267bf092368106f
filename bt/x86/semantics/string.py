"""String instructions and their repetition (SDM vol. 2 MOVS CMPS STOS LODS SCAS REP; vol. 1 7.3.9).

A repeated instruction commits ESI, EDI, ECX and flags after every iteration, so a fault or an exit to a device in the
middle leaves it restartable, and stops for interrupts every ITERATIONS. (After a fault, flags are those of the last
comparison, as on AMD; Intel has those from before the instruction, SDM vol. 2, REP. Restarted, it reads neither.)

Runs inside one page of RAM go past the checks of each element ("directly"), upwards only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bt.codegen.builder import Local
from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import Context, Operand
from bt.x86.flags import DF, TF
from bt.x86.page import PAGE
from bt.x86.repetition import ITERATIONS
from bt.x86.state import ECX, EDI, ES, ESI
from bt.x86.system.long_mode.canonical import is_canonical

_HOST_SUFFIX = {8: "b", 16: "w", 32: "l", 64: "q"}
_HOST_ACCUMULATOR = {8: "al", 16: "ax", 32: "eax", 64: "rax"}


@dataclass(frozen=True)
class _Place:
    """One of the strings: segment, index register, and whether it is written."""

    segment: int | Value
    register: int
    write: bool = False


# -- what INS and OUTS share ------------------------------------------------------------------------------------------


def index(b: Context, register: int) -> Value:
    """SI, DI, CX or ESI, EDI, ECX by address size, i32; or RSI, RDI, RCX, i64."""
    return b.reg(register, b.address_width) & b.address_mask()


def advance(b: Context, register: int, by: Value) -> None:
    """Add `by` (i32) to the index register, of the address size: the upper half of ESI stays when SI is used."""
    old = b.reg(register, b.address_width)
    b.set_reg(register, b.merged(old, (old + by) & b.address_mask()))


def goes_down(b: Context) -> Value:
    return (b.get("eflags_system", width=32) & DF) != 0


def step(b: Context, width: int) -> Value:
    """Bytes from one element to the next, i32: negative when DF is set."""
    return b.select(goes_down(b), b.const(-width // 8, b.address_width), width // 8)


def repeat_elements(b: Context, element: Callable[[], None]) -> None:
    """Run `element` once, or with a REP prefix CX or ECX times. It commits its index registers after its accesses."""
    if b.rep is None:
        element()
        return

    def portion(_: Value) -> Value:
        element()
        return b.const(1, b.address_width)

    _repeat(b, portion)


def _repeat(
    b: Context, portion: Callable[[Value], Value], stop: Local | None = None, places: Sequence[_Place] = ()
) -> None:
    """Run `portion` until CX or ECX is 0 or `stop` (i1) is set; every ITERATIONS leave and come back.

    After an access to a device too: it takes as long as hundreds of instructions, and what is due meanwhile comes then.
    With TF or breakpoints every iteration is followed by its trap (SDM vol. 3B 18.3.1.1, 18.3.1.4).

    portion(most) does at least one and at most `most` iterations, commits index registers and answers how many.

    In 64-bit mode with 32-bit addresses ECX is written, and so zero-extended, even if nothing is done; and so are the
    index registers of `places` (as Intel's processors do it, for MOVS and STOS).
    """
    if b.long:
        for register in (ECX, *(place.register for place in places)):
            b.set_reg(register, index(b, register))
    stepping = ((b.get("eflags_system", width=32) & TF) | b.get("debugging", width=32)) != 0
    limit = b.select(stepping, b.const(1, b.address_width), ITERATIONS)
    done = b.local(b.address_width, 0)
    with b.Loop() as loop:
        left = index(b, ECX)
        loop.break_if(left == 0)
        did = portion(_least(b, left, limit - done.get()))
        advance(b, ECX, -did)
        done.set(done.get() + did)
        accessed = b.get("mmio_count") != 0
        b.retire_accesses()
        if stop is not None:
            loop.break_if(stop.get())
        loop.break_if(accessed)
        loop.break_if(done.get() == limit)
    unfinished = index(b, ECX) != 0
    if stop is not None:
        unfinished = unfinished & ~stop.get()
    with b.Unlikely(unfinished):
        b.repeat()


def _least(b: Context, a: Value, c: Value) -> Value:
    return b.intrinsic("umin", a.ty, a, c)


# -- going past the checks --------------------------------------------------------------------------------------------


def _source(b: Context) -> _Place:
    return _Place(b.source_segment(), ESI)


def _destination(*, write: bool = False) -> _Place:
    return _Place(ES, EDI, write)


def _portion(
    b: Context,
    width: int,
    most: Value,
    places: Sequence[_Place],
    run: Callable[[Sequence[Value], Value], Value],
    element: Callable[[], None],
) -> Value:
    """run(host pointers, elements) on what lies in RAM up to the end of a page, else `element` once.

    `run` answers how many elements it did, at least one; the index registers are advanced here. `element` advances
    them itself.
    """
    did = b.local(b.address_width, 0)
    elements = most
    for place in places:
        elements = _least(b, elements, _room(b, place, width))
    possible = (elements != 0) & ~goes_down(b)
    for place in places:
        possible = possible & _within_limits(b, place, elements, width)
    with b.If(possible):
        size = elements * (width // 8)
        pointers = [
            b.direct_pointer(b.segment_linear(place.segment, index(b, place.register)), size, write=place.write)
            for place in places
        ]
        reachable = b.const(1, 1)
        for pointer in pointers:
            reachable = reachable & (pointer != 0)
        with b.If(reachable):
            did.set(run(pointers, elements))
            for place in places:
                advance(b, place.register, did.get() * (width // 8))
    with b.If(did.get() == 0):
        element()
        did.set(1)
    return did.get()


def _room(b: Context, place: _Place, width: int) -> Value:
    """Whole elements to the end of the page, or (one less) to where the index wraps."""
    log2_size = width.bit_length() - 4
    offset = index(b, place.register)
    linear = b.segment_linear(place.segment, offset)
    in_page = (b.const(PAGE, linear.ty) - (linear & (PAGE - 1))) >> log2_size
    return _least(b, in_page, (b.address_mask() - offset) >> log2_size)


def _within_limits(b: Context, place: _Place, elements: Value, width: int) -> Value:
    if b.long:  # there are none, but what is not canonical is nowhere
        return is_canonical(b.segment_linear(place.segment, index(b, place.register)))
    kind = "write" if place.write else "read"
    first = index(b, place.register).zext(64)
    last = first + elements.zext(64) * (width // 8) - 1
    low, high = (b.get_segment(place.segment, f"{kind}_{end}") for end in ("low", "high"))
    return first.uge(low) & last.ule(high)


# -- the instructions -------------------------------------------------------------------------------------------------


def movs(b: Context, dst: Operand, src: Operand) -> None:
    width = dst.width

    def element() -> None:
        value = b.read_memory(b.source_segment(), index(b, ESI), width)
        b.write_memory(ES, index(b, EDI), value)
        by = step(b, width)
        advance(b, ESI, by)
        advance(b, EDI, by)

    def run(pointers: Sequence[Value], elements: Value) -> Value:
        """The host's own REP MOVS: overlapping strings come out as on the guest's processor."""
        source, destination = pointers
        b.asm(
            f"rep movs{_HOST_SUFFIX[width]}",
            "={rdi},={rsi},={rcx},0,1,2,~{memory},~{dirflag},~{flags}",
            "{ i64, i64, i64 }",
            destination.zext(64),
            source.zext(64),
            elements.zext(64),
        )
        return elements

    if b.rep is None:
        element()
    else:
        places = (_source(b), _destination(write=True))
        _repeat(b, lambda most: _portion(b, width, most, places, run, element), places=places)


def stos(b: Context, dst: Operand, src: Operand) -> None:
    width = dst.width
    value = src.read()

    def element() -> None:
        b.write_memory(ES, index(b, EDI), value)
        advance(b, EDI, step(b, width))

    def run(pointers: Sequence[Value], elements: Value) -> Value:
        b.asm(
            f"rep stos{_HOST_SUFFIX[width]}",
            f"={{rdi}},={{rcx}},0,1,{{{_HOST_ACCUMULATOR[width]}}},~{{memory}},~{{dirflag}},~{{flags}}",
            "{ i64, i64 }",
            pointers[0].zext(64),
            elements.zext(64),
            value,
        )
        return elements

    if b.rep is None:
        element()
    else:
        places = (_destination(write=True),)
        _repeat(b, lambda most: _portion(b, width, most, places, run, element), places=places)


def lods(b: Context, dst: Operand, src: Operand) -> None:
    width = dst.width

    def element() -> None:
        dst.write(b.read_memory(b.source_segment(), index(b, ESI), width))
        advance(b, ESI, step(b, width))

    repeat_elements(b, element)


def cmps(b: Context, first: Operand, second: Operand) -> None:
    """CMPS: DS:[ESI] - ES:[EDI], both of which move."""
    places = (_source(b), _destination())
    _compare(b, first.width, places, lambda: b.read_memory(b.source_segment(), index(b, ESI), first.width))


def scas(b: Context, accumulator: Operand, string: Operand) -> None:
    """SCAS: accumulator - ES:[EDI]."""
    _compare(b, string.width, (_destination(),), accumulator.read)


def _compare(b: Context, width: int, places: Sequence[_Place], minuend: Callable[[], Value]) -> None:
    """CMPS and SCAS: the subtrahend is ES:[EDI]. REPZ goes on while they are equal, REPNZ while they differ."""

    def subtrahend() -> Value:
        return b.read_memory(ES, index(b, EDI), width)

    def read_pair() -> tuple[Value, Value]:
        # where both would fault, the order shows: this is Zen's in the first iteration
        if b.rep == "repz":
            a = minuend()
            c = subtrahend()
        else:
            c = subtrahend()
            a = minuend()
        by = step(b, width)
        for place in places:
            advance(b, place.register, by)
        return a, c

    if b.rep is None:
        flags.sub(b, *read_pair())
        return

    stop = b.local(1, 0)

    def compare(a: Value, c: Value) -> None:
        flags.sub(b, a, c)
        b.captured = None  # the operands are not known outside the loop
        stop.set(a != c if b.rep == "repz" else a == c)

    def skip_words(pointers: Sequence[Value], elements: Value, at: Local) -> None:
        """Advance `at` to the element that stops it, or near the last one, by words of 64 bits."""
        lanes = 64 // width
        if lanes == 1:
            return
        lowest = sum(1 << width * lane for lane in range(lanes))
        everywhere = None if len(pointers) == 2 else minuend().zext(64) * lowest
        with b.Loop() as words:
            words.break_if((at.get() + lanes).uge(elements))
            displacement = at.get() * (width // 8)
            a = b.load(pointers[0] + displacement, 64) if everywhere is None else everywhere
            unlike = a ^ b.load(pointers[-1] + displacement, 64)
            # or the highest bit of elements that are zero, which is right up to the first one
            stops = unlike if b.rep == "repz" else (unlike - lowest) & ~unlike & (lowest << width - 1)
            with b.If(stops != 0):
                lane = b.intrinsic("cttz", "i64", stops, "i1 true") >> (width.bit_length() - 1)
                at.set(at.get() + (lane if b.address_width == 64 else lane.trunc(32)))
                words.break_()
            at.set(at.get() + lanes)

    def run(pointers: Sequence[Value], elements: Value) -> Value:
        at = b.local(b.address_width, 0)
        skip_words(pointers, elements, at)
        last_a, last_c = b.local(width), b.local(width)
        with b.Loop() as scan:
            displacement = at.get() * (width // 8)
            a = b.load(pointers[0] + displacement, width) if len(pointers) == 2 else minuend()
            c = b.load(pointers[-1] + displacement, width)
            last_a.set(a)
            last_c.set(c)
            at.set(at.get() + 1)
            scan.break_if(a != c if b.rep == "repz" else a == c)
            scan.break_if(at.get() == elements)
        compare(last_a.get(), last_c.get())
        return at.get()

    _repeat(b, lambda most: _portion(b, width, most, places, run, lambda: compare(*read_pair())), stop)
