"""The local APIC: interrupts by vector and priority, its own timer, and the 8259 by virtual wire."""

from collections.abc import Callable
from typing import Any

from bt.clock.virtual_clock import VirtualClock
from bt.devices.apic.local_apic_native import (
    CURRENT_COUNT,
    DIVIDE,
    ESR,
    ICR_BITS,
    ISR,
    LOGICAL,
    MODE_SHIFT,
    SHORTHAND_SHIFT,
    SOFTWARE_ENABLED,
    SVR,
    VECTOR,
    VERSION_VALUE,
    LocalApicShared,
    read_register,
    write_register,
)
from bt.devices.apic.message import BROADCAST, LOWEST_LEGAL_VECTOR, RESERVED_MODE, DeliveryMode, Message
from bt.devices.apic.timer import MASKED, ApicTimer
from bt.devices.device import Device, Line
from bt.memory.native_registers import NativeRegister

LENGTH = 0x1000  # bytes; registers of 32 bits at multiples of 16
DEFAULT_ADDRESS = 0xFEE00000
BASE_ENABLED = 1 << 11  # of IA32_APIC_BASE

LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR = range(0x32, 0x38)
RESERVED = frozenset({0x00, 0x01, 0x04, 0x05, 0x06, 0x07, 0x0C, 0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x2F, 0x3A, 0x3B,
                      0x3C, 0x3D, 0x3F})  # fmt: skip

DFR_FLAT = 0xF
LEVEL, REMOTE_IRR = 1 << 15, 1 << 14
LVT_BITS = {
    LVT_TIMER: 0x0003_00FF, LVT_THERMAL: 0x0001_07FF, LVT_PERFORMANCE: 0x0001_07FF,
    LVT_LINT0: 0x0001_A7FF, LVT_LINT1: 0x0001_A7FF, LVT_ERROR: 0x0001_00FF,
}  # fmt: skip
VIRTUAL_WIRE = {  # what firmware leaves, as SeaBIOS does
    SVR: SOFTWARE_ENABLED | 0xFF,
    LVT_LINT0: DeliveryMode.EXTINT << MODE_SHIFT | LEVEL,
    LVT_LINT1: DeliveryMode.NMI << MODE_SHIFT | LEVEL,
}

SEND_ILLEGAL_VECTOR, RECEIVE_ILLEGAL_VECTOR, ILLEGAL_REGISTER = 1 << 5, 1 << 6, 1 << 7  # of the error status


class LocalApic(LocalApicShared, Device):
    """Intel SDM vol. 3A, chapter "Advanced Programmable Interrupt Controller", of the only processor.

    `intr` is the processor's pin; it answers with `acknowledge`. The 8259's INT is `set_lint0`, whose acknowledge is
    `external`. `nmi()` is called for NMIs, `ended(vector)` at the end of a level-triggered interrupt. While
    IA32_APIC_BASE has it disabled the 8259 has the pin. INIT, start-up and SMI messages are ignored. After a reset
    LINT0 is masked: firmware, or who plays it, sets up the virtual wire. No focus, arbitration or x2APIC.
    """

    widest_access = 4
    fields = ("_id", "_tpr", "_ldr", "_dfr", "_svr", "_esr", "_errors", "_icr_low", "_icr_high", "_lint0", "_lint1",
              "_extint_message", "base_enabled")  # fmt: skip

    def __init__(
        self,
        clock: VirtualClock,
        intr: Line,
        external: Callable[[], int],
        nmi: Callable[[], None],
        ended: Callable[[int], None] = lambda vector: None,
        name: str = "local APIC",
    ) -> None:
        super().__init__(name)
        self._intr = intr
        self._external = external
        self._nmi = nmi
        self.ended = ended
        self._timer = ApicTimer(clock, self._timer_expired)
        self._lint0 = self._lint1 = False
        self._timer_block = self._timer.block
        self._isr = self._tmr = self._irr = 0
        self._id = self._tpr = self._ldr = self._dfr = self._svr = 0
        self._esr = self._errors = self._icr_low = self._icr_high = 0
        self._lvt: dict[int, int] = {}  # by register
        self._power_on()

    # the processor's side

    def acknowledge(self) -> int:
        """The vector of the interrupt taken; the spurious one if there is none any more."""
        vector = self._deliverable()
        if vector:
            self._irr &= ~(1 << vector)
            self._isr |= 1 << vector
        elif self._external_pending():
            self._extint_message = False
            vector = self._external()
        else:
            vector = self._svr & VECTOR
        self._drive()
        return vector

    def set_base(self, value: int) -> None:
        """IA32_APIC_BASE was written; where the registers are is the board's business."""
        self.base_enabled = bool(value & BASE_ENABLED)
        self._drive()

    def set_up_virtual_wire(self) -> None:
        """What firmware does before it starts an operating system: the 8259 interrupts through LINT0, NMIs LINT1."""
        for register, value in VIRTUAL_WIRE.items():
            self._write_register(register, value)

    # interrupts arriving

    def set_lint0(self, level: bool) -> None:
        rises, self._lint0 = level and not self._lint0, level
        self._local_input(LVT_LINT0, level, rises)

    def set_lint1(self, level: bool) -> None:
        rises, self._lint1 = level and not self._lint1, level
        self._local_input(LVT_LINT1, level, rises)

    def receive(self, message: Message) -> bool:
        """A message on the bus; False if it is for nobody here."""
        if not self._is_for_me(message.destination, message.logical):
            return False
        self._accept(message.vector, message.mode, message.level)
        return True

    def _is_for_me(self, destination: int, logical: bool) -> bool:
        if not logical:
            return destination in (self._id, BROADCAST)
        if self._dfr >> 28 == DFR_FLAT:
            return bool(destination & self._ldr)
        return destination >> 4 in (self._ldr >> 4, 0xF) and bool(destination & self._ldr & 0xF)

    def _accept(self, vector: int, mode: int, level: bool) -> None:
        match mode:
            case DeliveryMode.FIXED | DeliveryMode.LOWEST_PRIORITY:
                if vector < LOWEST_LEGAL_VECTOR:
                    self._error(RECEIVE_ILLEGAL_VECTOR)
                elif self._svr & SOFTWARE_ENABLED:
                    bit = 1 << vector
                    self._irr |= bit
                    self._tmr = self._tmr | bit if level else self._tmr & ~bit
                    self._drive()
            case DeliveryMode.NMI:
                self._nmi()
            case DeliveryMode.EXTINT:
                self._extint_message = True
                self._drive()

    def _local_input(self, register: int, level: bool, rises: bool) -> None:
        lvt = self._lvt[register]
        if not lvt & MASKED:
            mode = lvt >> MODE_SHIFT & 7
            if mode == DeliveryMode.FIXED and lvt & LEVEL:
                if level and not lvt & REMOTE_IRR:
                    self._lvt[register] |= REMOTE_IRR
                    self._accept(lvt & VECTOR, mode, True)
            elif rises and mode != DeliveryMode.EXTINT:
                self._accept(lvt & VECTOR, mode, False)
        self._drive()

    def _timer_expired(self) -> None:
        self._accept(self._lvt[LVT_TIMER] & VECTOR, DeliveryMode.FIXED, False)

    def _error(self, bit: int) -> None:
        new = bit & ~self._errors
        self._errors |= bit
        lvt = self._lvt[LVT_ERROR]
        # a vector that is illegal itself would be an error about an error
        if new and not lvt & MASKED and lvt & VECTOR >= LOWEST_LEGAL_VECTOR:
            self._accept(lvt & VECTOR, DeliveryMode.FIXED, False)

    # priorities

    def _processor_priority(self) -> int:
        in_service = self._isr.bit_length() - 1 & 0xF0 if self._isr else 0
        return self._tpr if self._tpr & 0xF0 >= in_service else in_service

    def _deliverable(self) -> int:
        """The vector that the processor would take, 0 for none."""
        if not self._irr or not self.base_enabled or not self._svr & SOFTWARE_ENABLED:
            return 0
        vector = self._irr.bit_length() - 1
        return vector if vector & 0xF0 > self._processor_priority() & 0xF0 else 0

    def _external_pending(self) -> bool:
        if not self.base_enabled:
            return self._lint0
        lvt = self._lvt[LVT_LINT0]
        wired = self._lint0 and not lvt & MASKED and lvt >> MODE_SHIFT & 7 == DeliveryMode.EXTINT
        return wired or self._extint_message

    def _drive(self) -> None:
        if self._raised:
            self._raised = False
            self._intr.raise_()
        self._intr.set(bool(self._deliverable()) or self._external_pending())

    # registers

    def native_window(self) -> NativeRegister:
        return NativeRegister(self.block, read_register, write_register)

    def read(self, offset: int, size: int) -> int:
        if offset & 0xF > 3:
            return 0  # between registers
        # in pieces, which the manual leaves undefined: bytes of the register
        return self._register(offset >> 4) >> 8 * (offset & 0xF) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        if not offset & 0xF and size == 4:
            self._write_register(offset >> 4, value)

    def _register(self, index: int) -> int:
        if index == CURRENT_COUNT:  # read in loops
            return self._timer.current
        if index in self._lvt:
            return self._lvt[index]
        if ISR <= index < ESR:
            bits = (self._isr, self._tmr, self._irr)[index - ISR >> 3]
            return bits >> 32 * (index & 7) & 0xFFFF_FFFF
        match index:
            case 0x02:
                return self._id << 24
            case 0x03:
                return VERSION_VALUE
            case 0x08:
                return self._tpr
            case 0x0A:
                return self._processor_priority()
            case 0x0D:
                return self._ldr << 24
            case 0x0E:
                return self._dfr
            case 0x0F:
                return self._svr
            case 0x28:
                return self._esr
            case 0x30:
                return self._icr_low
            case 0x31:
                return self._icr_high
            case 0x38:
                return self._timer.initial
            case 0x3E:
                return self._timer.configuration
        if index in RESERVED or index > DIVIDE:
            self._error(ILLEGAL_REGISTER)
        return 0

    def _write_register(self, index: int, value: int) -> None:
        if index in LVT_BITS:
            self._write_lvt(index, value)
            return
        match index:
            case 0x0B:
                self._end_of_interrupt()
            case 0x08:
                self._tpr = value & 0xFF
                self._drive()
            case 0x30:
                self._icr_low = value & ICR_BITS
                self._send()
            case 0x31:
                self._icr_high = value & 0xFF00_0000
            case 0x38:
                self._timer.set_initial(value)
            case 0x3E:
                self._timer.set_configuration(value)
            case 0x02:
                self._id = value >> 24
            case 0x0D:
                self._ldr = value >> 24
            case 0x0E:
                self._dfr = value | 0x0FFF_FFFF
            case 0x0F:
                self._write_spurious(value)
            case 0x28:
                self._esr, self._errors = self._errors, 0
            case _ if index in RESERVED or index > DIVIDE:
                self._error(ILLEGAL_REGISTER)

    def _write_lvt(self, index: int, value: int) -> None:
        value &= LVT_BITS[index]
        if not self._svr & SOFTWARE_ENABLED:
            value |= MASKED
        self._lvt[index] = value | self._lvt[index] & REMOTE_IRR
        if index == LVT_TIMER:
            self._timer.set_vector(value)
        elif index == LVT_LINT0:
            self._local_input(index, self._lint0, False)
        elif index == LVT_LINT1:
            self._local_input(index, self._lint1, False)

    def _write_spurious(self, value: int) -> None:
        self._svr = value & 0x3FF
        if not value & SOFTWARE_ENABLED:
            for index in self._lvt:
                self._lvt[index] |= MASKED
            self._timer.set_vector(self._lvt[LVT_TIMER])
        self._drive()

    def _end_of_interrupt(self) -> None:
        if not self._isr:
            return
        vector = self._isr.bit_length() - 1
        bit = 1 << vector
        self._isr &= ~bit
        if self._tmr & bit:
            self._end_of_level(vector)
        self._drive()

    def _end_of_level(self, vector: int) -> None:
        for index, level in ((LVT_LINT0, self._lint0), (LVT_LINT1, self._lint1)):
            if self._lvt[index] & REMOTE_IRR and self._lvt[index] & VECTOR == vector:
                self._lvt[index] &= ~REMOTE_IRR
                self._local_input(index, level, False)
        self.ended(vector)

    def _send(self) -> None:
        """An interrupt command; others than this processor there are none."""
        command = self._icr_low
        vector, mode = command & VECTOR, command >> MODE_SHIFT & 7
        fixed = mode in (DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY)
        if fixed and vector < LOWEST_LEGAL_VECTOR:
            self._error(SEND_ILLEGAL_VECTOR)
            return
        match command >> SHORTHAND_SHIFT & 3:
            case 0b01 | 0b10:
                mine = True
            case 0b11:
                mine = False
            case _:
                mine = self._is_for_me(self._icr_high >> 24, bool(command & LOGICAL))
        if mine and mode != RESERVED_MODE:
            self._accept(vector, mode, False)

    def reset(self) -> None:
        self._power_on()
        self._drive()

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "timer": self._timer.state(),
            "lvt": [self._lvt[index] for index in LVT_BITS],
            "requests": [f"{bits:x}" for bits in (self._isr, self._tmr, self._irr)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._lvt = dict(zip(LVT_BITS, state["lvt"], strict=True))
        self._isr, self._tmr, self._irr = (int(bits, 16) for bits in state["requests"])
        self._timer.restore(state["timer"])
        self._drive()

    def _power_on(self) -> None:
        self._isr = self._tmr = self._irr = 0
        self._id = self._tpr = self._ldr = self._esr = self._errors = self._icr_low = self._icr_high = 0
        self._dfr, self._svr = 0xFFFF_FFFF, 0xFF
        self._lvt = dict.fromkeys(LVT_BITS, MASKED)
        self._extint_message = False
        self.base_enabled = True
        self._timer.reset()
