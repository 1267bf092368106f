"""The local APIC in native code: what is read in loops, ends of interrupts, task priority, interrupts to itself.

Whatever may take the INTR pin down, or reach others than this processor, is Python's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.apic.message import BROADCAST, LOWEST_LEGAL_VECTOR, DeliveryMode
from bt.devices.native import native_code
from bt.devices.shared import Bits, Flag, Shared, Word

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.devices.native_device import NativeDevice

# Registers of 32 bits at multiples of 16.
ID, VERSION, TPR, APR, PPR, EOI, LDR, DFR, SVR = 0x02, 0x03, 0x08, 0x09, 0x0A, 0x0B, 0x0D, 0x0E, 0x0F
ISR, TMR, IRR, ESR, ICR_LOW, ICR_HIGH = 0x10, 0x18, 0x20, 0x28, 0x30, 0x31
INITIAL_COUNT, CURRENT_COUNT, DIVIDE = 0x38, 0x39, 0x3E
VERSION_VALUE = 0x14 | 5 << 16  # six local vectors

VECTORS = 256
SOFTWARE_ENABLED = 1 << 8  # of the spurious vector register
VECTOR, MODE_SHIFT, LOGICAL = 0xFF, 8, 1 << 11
SHORTHAND_SHIFT, TO_SELF, TO_ALL, TO_OTHERS = 18, 0b01, 0b10, 0b11
ICR_BITS = 0x000CCFFF
PERIODIC = 1 << 17  # of the timer's local vector


class TimerShared(Shared):
    """See `ApicTimer`."""

    _initial, _configuration, _start_ns, _vector = Word(), Word(), Word(), Word()


class LocalApicShared(Shared):
    """See `LocalApic`. `_raised`: native code has raised INTR at the processor, and the wire does not know yet."""

    _isr, _tmr, _irr = Bits(VECTORS), Bits(VECTORS), Bits(VECTORS)  # a bit a vector
    _id, _tpr, _ldr, _dfr, _svr, _esr, _icr_low, _icr_high = (Word() for _ in range(8))
    base_enabled, _raised = Flag(), Flag()
    _timer_block = Word()


A = LocalApicShared


def _highest(b: NativeDevice, bits: Bits) -> Value:
    """The highest vector whose bit is set, i64; 0 for none, which is no legal vector."""
    found = b.const(0, 64)
    for place in range(bits.words):
        word = b.word(bits, place=place)
        leading = b.intrinsic("ctlz", "i64", word, "i1 false")
        found = b.select(word != 0, b.const(64 * place + 63, 64) - leading, found)
    return found


def _bit(b: NativeDevice, bits: Bits, vector: Value) -> tuple[Value, Value]:
    """Pointer to the word that has a vector's bit, and the bit (i64)."""
    return b.block + ((vector >> 6) << 3) + bits.offset, b.const(1, 64) << (vector & 63)


def _is_empty(b: NativeDevice, bits: Bits) -> Value:
    any_ = b.word(bits)
    for place in range(1, bits.words):
        any_ = any_ | b.word(bits, place=place)
    return any_ == 0


def _priority(b: NativeDevice) -> Value:
    """`LocalApic._processor_priority`."""
    in_service, tpr = _highest(b, A._isr) & 0xF0, b.word(A._tpr)
    return b.select((tpr & 0xF0).uge(in_service), tpr, in_service)


def _current_count(b: NativeDevice) -> Value:
    """`ApicTimer.current`."""
    timer = b.other_block(A._timer_block)
    initial, configuration = b.word(TimerShared._initial, timer), b.word(TimerShared._configuration, timer)
    code = ((configuration >> 1) & 4) | (configuration & 3)
    ticks = (b.now_ns() - b.word(TimerShared._start_ns, timer)) >> ((code + 1) & 7)
    some = b.select(initial == 0, b.const(1, 64), initial)
    periodic = (b.word(TimerShared._vector, timer) & PERIODIC) != 0
    left = b.select(periodic, some - ticks.urem(some), b.intrinsic("usub.sat", "i64", some, ticks))
    return b.select(initial == 0, b.const(0, 64), left)


@native_code
def read_register(b: NativeDevice) -> None:
    """`LocalApic.read`."""
    b.ask_if((b.size != 4) | ((b.offset & 15) != 0))
    index = b.offset >> 4
    with b.If((index - ISR).ult(ESR - ISR)):
        b.answer(b.load(b.block + A._isr.offset + ((index - ISR).zext(64) << 2), 32))
    timer = b.other_block(A._timer_block)
    with b.Switch(index) as registers:
        with registers.case(CURRENT_COUNT):
            b.answer(_current_count(b))
        with registers.case(PPR):
            b.answer(_priority(b))
        with registers.case(VERSION):
            b.answer(VERSION_VALUE)
        for register, field in ((ID, A._id), (LDR, A._ldr)):
            with registers.case(register):
                b.answer(b.word(field) << 24)
        for register, field in (
            (TPR, A._tpr), (DFR, A._dfr), (SVR, A._svr), (ESR, A._esr), (ICR_LOW, A._icr_low), (ICR_HIGH, A._icr_high),
        ):  # fmt: skip
            with registers.case(register):
                b.answer(b.word(field))
        for register, field in ((INITIAL_COUNT, TimerShared._initial), (DIVIDE, TimerShared._configuration)):
            with registers.case(register):
                b.answer(b.word(field, timer))
    b.ask()


@native_code
def write_register(b: NativeDevice) -> None:
    """`LocalApic.write`."""
    b.ask_if((b.size != 4) | ((b.offset & 15) != 0))
    with b.Switch(b.offset >> 4) as registers:
        with registers.case(EOI):
            _end_of_interrupt(b)
        with registers.case(TPR):
            b.ask_if(~_is_empty(b, A._irr))
            b.set_word(A._tpr, b.written & 0xFF)
            b.done()
        with registers.case(ICR_HIGH):
            b.set_word(A._icr_high, b.written & 0xFF00_0000)
            b.done()
        with registers.case(ICR_LOW):
            _send(b)
    b.ask()


def _end_of_interrupt(b: NativeDevice) -> None:
    """Nothing else is requested, so the pin stays as it is; the end of a level is for others to hear."""
    vector = _highest(b, A._isr)
    with b.If(vector == 0):
        b.done()
    where, bit = _bit(b, A._isr, vector)
    level, _ = _bit(b, A._tmr, vector)
    b.ask_if(~_is_empty(b, A._irr) | ((b.load(level, 64) & bit) != 0))
    b.store(where, b.load(where, 64) & ~bit)
    b.done()


def _send(b: NativeDevice) -> None:
    """`LocalApic._send`: to this processor by shorthand or by its number, or to others, of which there are none."""
    command = b.written & ICR_BITS
    vector, shorthand = command & VECTOR, command >> SHORTHAND_SHIFT
    b.ask_if(((command >> MODE_SHIFT) & 7).ugt(DeliveryMode.LOWEST_PRIORITY) | vector.ult(LOWEST_LEGAL_VECTOR))
    b.ask_if((b.word(A._svr) & SOFTWARE_ENABLED) == 0)
    destination = b.word(A._icr_high) >> 24
    mine = (destination == b.word(A._id)) | (destination == BROADCAST)
    b.ask_if((shorthand == 0) & (((command & LOGICAL) != 0) | ~mine))
    b.set_word(A._icr_low, command)
    with b.If(shorthand == TO_OTHERS):
        b.done()
    for bits, is_set in ((A._irr, True), (A._tmr, False)):
        where, bit = _bit(b, bits, vector)
        word = b.load(where, 64)
        b.store(where, word | bit if is_set else word & ~bit)
    deliverable = (_highest(b, A._irr) & 0xF0).ugt(_priority(b) & 0xF0)
    with b.If(deliverable & b.is_set(A.base_enabled)):
        b.put("intr_pending", 1)
        b.set_word(A._raised, 1)
    b.done()
