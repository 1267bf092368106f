"""The interrupt controllers of the PC/AT: two Intel 8259A, the slave's INT on the master's IR2, and the ELCR."""

from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

from bt.devices.chipset.pic8259_native import PicShared, read_chosen, read_mask, write_command, write_mask
from bt.devices.device import Device, Line
from bt.memory.native_registers import NativeRegister

CASCADE_INPUT = 2
SPURIOUS_INPUT = 7

ICW1, ICW1_NEEDS_ICW4, ICW1_SINGLE, ICW1_LEVEL_TRIGGERED = 1 << 4, 1 << 0, 1 << 1, 1 << 3
ICW4_AUTO_EOI, ICW4_SPECIAL_FULLY_NESTED = 1 << 1, 1 << 4
OCW3, OCW3_POLL, OCW3_READ_REGISTER, OCW3_READ_ISR = 1 << 3, 1 << 2, 1 << 1, 1 << 0
OCW3_SET_SPECIAL_MASK, OCW3_SPECIAL_MASK = 1 << 6, 1 << 5
POLL_INTERRUPT = 1 << 7


class Ocw2(IntEnum):
    """OCW2 bits 7:5: R, SL, EOI."""

    CLEAR_ROTATE_IN_AUTO_EOI = 0b000
    NON_SPECIFIC_EOI = 0b001
    NO_OPERATION = 0b010
    SPECIFIC_EOI = 0b011
    SET_ROTATE_IN_AUTO_EOI = 0b100
    ROTATE_ON_NON_SPECIFIC_EOI = 0b101
    SET_PRIORITY = 0b110
    ROTATE_ON_SPECIFIC_EOI = 0b111


class PicRegisters(NamedTuple):
    """What one chip holds, for who looks at it: `highest` is the input of highest priority, `base` its vectors'."""

    irr: int
    imr: int
    isr: int
    highest: int
    base: int
    reads_isr: bool
    elcr: int
    is_nested: bool  # special fully nested mode


class Pic8259(PicShared):
    """One 8259A (data sheet 231468): eight inputs, the lowest-numbered first unless rotated.

    A request is remembered while masked but withdrawn if its input falls before it is acknowledged.
    `elcr` makes single inputs level-triggered, which ICW1 of the plain chip can only do for all.
    """

    fields = (
        "elcr", "_inputs", "_edges", "_isr", "imr", "_base", "_lowest", "_ready", "_next_icw", "_icw1", "_icw4",
        "_special_mask", "_rotate_in_auto_eoi", "_read_isr", "polled",
    )  # fmt: skip

    def __init__(self, is_master: bool) -> None:
        self._cascade = 1 << CASCADE_INPUT if is_master else 0
        self._inputs = 0  # levels of IR7..IR0: wires, which no reset changes
        self.polled = False  # the next read is a poll
        self.reset()

    def reset(self) -> None:
        """Power-on: no interrupts before the guest has sent the initialization command words."""
        self.elcr = 0
        self._base = 0
        self._begin_initialization(ICW1_NEEDS_ICW4)
        self._next_icw = 0  # no ICW is awaited either: OCWs are obeyed
        self.settle()

    def settle(self) -> None:
        """Whatever has changed: derive what native code goes by."""
        self._requests = self.irr
        special = self._special_mask or self.polled or self._icw4 & ICW4_SPECIAL_FULLY_NESTED
        self._is_plain = self._lowest == 7 and not (special or self._next_icw)

    @property
    def irr(self) -> int:
        """Interrupt request register."""
        levels = 0xFF if self._icw1 & ICW1_LEVEL_TRIGGERED else self.elcr
        return self._inputs & (levels | self._edges)

    def registers(self) -> PicRegisters:
        """All of them, without the effects of reading."""
        nested = bool(self._icw4 & ICW4_SPECIAL_FULLY_NESTED)
        highest = self._lowest + 1 & 7
        return PicRegisters(self.irr, self.imr, self._isr, highest, self._base, bool(self._read_isr), self.elcr, nested)

    @property
    def interrupt(self) -> bool:
        """The INT pin."""
        return self._ready and self._winner() is not None

    def set_input(self, number: int, level: bool) -> None:
        bit = 1 << number
        if level:
            self._edges |= bit & ~self._inputs
            self._inputs |= bit
        else:
            self._inputs &= ~bit
            self._edges &= ~bit

    def acknowledge(self) -> tuple[int, int]:
        """The INTA sequence: the input served and its vector; IR7's, with no bit in service, if the request is gone."""
        number = self._winner()
        if number is None:
            number = SPURIOUS_INPUT
        else:
            self._serve(number)
        return number, self._base | number

    def poll(self) -> int:
        """The read, at either address, that follows a poll command (data sheet 231468, "Poll Command")."""
        self.polled = False
        number = self._winner()
        if number is None:
            return 0
        self._serve(number)
        return POLL_INTERRUPT | number

    def read_register(self) -> int:
        """ISR or IRR, as OCW3 chose."""
        return self._isr if self._read_isr else self.irr

    def write(self, a0: int, value: int) -> None:
        if a0:
            if self._next_icw:
                self._write_icw(value)
            else:
                self.imr = value
        elif value & ICW1:
            self._begin_initialization(value)
        elif value & OCW3:
            self._write_ocw3(value)
        else:
            self._write_ocw2(Ocw2(value >> 5), value & 7)

    def _begin_initialization(self, icw1: int) -> None:
        self._icw1 = icw1
        self._icw4 = 0
        self._next_icw = 2
        self._ready = False
        self.imr = self._isr = 0
        self._edges = 0  # the edge sense circuit is reset: an input must rise again to request
        self._lowest = 7
        self._special_mask = False
        self._rotate_in_auto_eoi = False
        self._read_isr = False
        self.polled = False

    def _write_icw(self, value: int) -> None:
        match self._next_icw:
            case 2:
                self._base = value & 0xF8
                self._next_icw = 4 if self._icw1 & ICW1_SINGLE else 3
            case 3:
                # which input has the slave, or which slave this is: on this board the wiring has settled it
                self._next_icw = 4
            case _:
                self._icw4 = value
                self._next_icw = 0
        if self._next_icw == 4 and not self._icw1 & ICW1_NEEDS_ICW4:
            self._next_icw = 0
        self._ready = self._next_icw == 0

    def _write_ocw2(self, command: Ocw2, number: int) -> None:
        if command in (Ocw2.NON_SPECIFIC_EOI, Ocw2.ROTATE_ON_NON_SPECIFIC_EOI):
            # in special mask mode a masked level in service is passed over
            served = self._first(self._isr & ~self.imr if self._special_mask else self._isr)
            if served is None:
                return
            number = served
        match command:
            case Ocw2.CLEAR_ROTATE_IN_AUTO_EOI:
                self._rotate_in_auto_eoi = False
            case Ocw2.SET_ROTATE_IN_AUTO_EOI:
                self._rotate_in_auto_eoi = True
            case Ocw2.SET_PRIORITY:
                self._lowest = number
            case Ocw2.NON_SPECIFIC_EOI | Ocw2.SPECIFIC_EOI:
                self._isr &= ~(1 << number)
            case Ocw2.ROTATE_ON_NON_SPECIFIC_EOI | Ocw2.ROTATE_ON_SPECIFIC_EOI:
                self._isr &= ~(1 << number)
                self._lowest = number

    def _write_ocw3(self, value: int) -> None:
        if value & OCW3_SET_SPECIAL_MASK:
            self._special_mask = bool(value & OCW3_SPECIAL_MASK)
        if value & OCW3_POLL:
            self.polled = True
        elif value & OCW3_READ_REGISTER:
            self._read_isr = bool(value & OCW3_READ_ISR)

    def _serve(self, number: int) -> None:
        bit = 1 << number
        self._edges &= ~bit
        if not self._icw4 & ICW4_AUTO_EOI:
            self._isr |= bit
        elif self._rotate_in_auto_eoi:
            self._lowest = number

    def _rank(self, number: int | None) -> int:
        """0 for the input of highest priority; 8 for none at all."""
        return 8 if number is None else (number - self._lowest - 1) & 7

    def _first(self, bits: int) -> int | None:
        """The input of highest priority among `bits`."""
        return min((number for number in range(8) if bits >> number & 1), key=self._rank, default=None)

    def _winner(self) -> int | None:
        """The unmasked request of highest priority, if it may interrupt what is in service."""
        requests = self.irr & ~self.imr
        if not requests:
            return None
        blocking = self._isr
        if self._special_mask:
            blocking &= ~self.imr
        if self._icw4 & ICW4_SPECIAL_FULLY_NESTED:
            blocking &= ~self._cascade  # the slave resolves priorities among its own
        number = self._first(requests)
        return number if self._rank(number) < self._rank(self._first(blocking)) else None


class Pic8259Pair(Device):
    """Offsets 0-1 the master (ports 0x20-0x21), 2-3 the slave (0xa0-0xa1), 4-5 the ELCR (0x4d0-0x4d1).

    `intr` is the processor's INTR pin; the processor answers it with `acknowledge()`. Devices request through
    `line(irq)`. ELCR: 82371AB (PIIX4) data sheet 290562, section 4.2.3.
    """

    def __init__(self, intr: Line, name: str = "PIC") -> None:
        super().__init__(name)
        self._intr = intr
        self._master = Pic8259(is_master=True)
        self._slave = Pic8259(is_master=False)
        self._lines = {irq: Line(f"IRQ{irq}") for irq in range(16) if irq != CASCADE_INPUT}
        changed = self._input_changed
        for irq, line in self._lines.items():
            line.watch(partial(changed, irq))

    def native_registers(self) -> dict[int, NativeRegister]:
        found = {}
        for offset, chip in ((0, self._master), (2, self._slave)):
            found[offset] = NativeRegister(chip.block, read_chosen, write_command)
            found[offset + 1] = NativeRegister(chip.block, read_mask, write_mask)
        return found

    @property
    def chips(self) -> tuple[Pic8259, Pic8259]:
        """Master and slave."""
        return self._master, self._slave

    def line(self, irq: int) -> Line:
        """The request wire of ISA interrupt `irq`, 0-15 but not 2, which is the cascade."""
        return self._lines[irq]

    def acknowledge(self) -> int:
        """INTA cycles: the vector (0-255) of the interrupt to take, or of a spurious one if nothing is requested."""
        number, vector = self._master.acknowledge()
        if number == CASCADE_INPUT:
            _, vector = self._slave.acknowledge()
            # INT drops during INTA, so what else the slave has makes a new edge at the master
            self._master.set_input(CASCADE_INPUT, False)
        self._update()
        return vector

    def read(self, offset: int, size: int) -> int:
        if offset >= 4:
            return self._master.elcr if offset == 4 else self._slave.elcr
        chip = self._master if offset < 2 else self._slave
        if not chip.polled:
            return chip.imr if offset & 1 else chip.read_register()
        value = chip.poll()
        self._update()  # a poll is an acknowledgement
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        match offset:
            case 0 | 1:
                self._master.write(offset, value)
            case 2 | 3:
                self._slave.write(offset - 2, value)
            case 4:
                self._master.elcr = value & 0b1111_1000  # IRQ 0, 1 and 2 are always edge-triggered
            case _:
                self._slave.elcr = value & 0b1101_1110  # and so are 8 and 13
        self._update()

    def reset(self) -> None:
        self._master.reset()
        self._slave.reset()
        self._update()

    def state(self) -> dict[str, Any]:
        chips = {"master": self._master, "slave": self._slave}
        return {role: {name: getattr(chip, name) for name in chip.fields} for role, chip in chips.items()}

    def restore(self, state: dict[str, Any]) -> None:
        for role, chip in (("master", self._master), ("slave", self._slave)):
            for name in chip.fields:
                setattr(chip, name, state[role][name])
        self._update()

    def _input_changed(self, irq: int, level: bool) -> None:
        chip = self._master if irq < 8 else self._slave
        chip.set_input(irq & 7, level)
        if chip.imr >> (irq & 7) & 1:
            chip.settle()  # which is all: neither INT depends on it
        elif irq < 8:
            self._update_master()
        else:
            self._update()

    def _update(self) -> None:
        self._slave.settle()
        self._master.set_input(CASCADE_INPUT, self._slave.interrupt)
        self._update_master()

    def _update_master(self) -> None:
        self._master.settle()
        self._intr.set(self._master.interrupt)
