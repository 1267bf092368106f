"""The serial port: National Semiconductor PC16550D universal asynchronous receiver/transmitter."""

from collections import deque
from collections.abc import Callable
from typing import Any

from bt import arguments
from bt.devices.debug.output import Sender
from bt.devices.device import Device, Line
from bt.devices.serial.uart_native import UartShared, write_data
from bt.memory.bus import Mirror
from bt.memory.native_registers import NativeRegister

LENGTH = 8

# register offsets; 0 and 1 are the divisor latch while LCR.DLAB is set
RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)

IER_DATA, IER_THRE, IER_LINE, IER_MODEM = 1, 2, 4, 8

# interrupt identification, highest priority first
IIR_LINE, IIR_DATA, IIR_TIMEOUT, IIR_THRE, IIR_MODEM, IIR_NONE = 0b0110, 0b0100, 0b1100, 0b0010, 0b0000, 0b0001
IIR_FIFOS_ENABLED = 0b11 << 6

FCR_ENABLE, FCR_CLEAR_RECEIVER = 1 << 0, 1 << 1

LCR_WORD_LENGTH, LCR_DLAB = 0b11, 1 << 7

MCR_DTR, MCR_RTS, MCR_OUT1, MCR_OUT2, MCR_LOOP = 1, 2, 4, 8, 16

LSR_DATA_READY, LSR_OVERRUN, LSR_PARITY, LSR_FRAMING, LSR_BREAK = 1, 2, 4, 8, 16
LSR_THR_EMPTY, LSR_TRANSMITTER_EMPTY, LSR_FIFO_ERROR = 32, 64, 128
LSR_ERRORS = LSR_OVERRUN | LSR_PARITY | LSR_FRAMING | LSR_BREAK

MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 16, 32, 64, 128
MSR_DELTA_RI = 4  # set at the trailing edge of RI only, unlike the other three

FIFO_DEPTH = 16
TRIGGER_LEVELS = (1, 4, 8, 14)

TERMINAL_CONNECTED = MSR_CTS | MSR_DSR | MSR_DCD
SHOWN = (1, 2, 5, 6)  # offsets of IER, IIR, LSR and MSR, which engines read without asking
ASK = -1


class Uart16550(UartShared, Sender, Device):
    """PC16550D data sheet (National Semiconductor TL/C/8652), at the pins of a PC's COM port.

    `sink` receives each character sent, at the write of THR: the wire takes no time, so the transmitter is always
    empty when the guest looks. `receive()` queues characters; they enter the FIFO as the guest makes room, so
    input is never overrun. A terminal with CTS, DSR and DCD asserted is connected. As on the PC, OUT2 gates the
    interrupt. Sending a break, and parity, have no effect.
    """

    mirrors = frozenset(SHOWN)

    fields = (
        "_ier", "_fcr", "_lcr", "_mcr", "_scratch", "_divisor", "_line_errors", "_modem_deltas", "_thre_interrupt",
        "_last_read",
    )  # fmt: skip

    def __init__(self, irq: Line, sink: Callable[[int], None], name: str = "UART") -> None:
        super().__init__(name)
        self._irq = irq
        self.send_to(sink)
        # characters, each with the LSR error bits to show when it is the next to be read
        self._waiting: deque[tuple[int, int]] = deque()  # on the wire, not yet in the FIFO
        self._fifo: deque[tuple[int, int]] = deque()
        self._divisor = 12  # master reset leaves it alone; 9600 baud
        self._scratch = 0
        self._last_read = 0
        self._shown: tuple[int, ...] = ()
        self._clear()

    def receive(self, data: bytes) -> None:
        """Characters arrive from the other end. Raises BadUsage unless they are bytes."""
        arguments.instance("data", data, (bytes, bytearray, memoryview), "bytes are wanted")
        self._waiting.extend((character, 0) for character in data)
        self._refill()
        self._update_irq()

    def receive_break(self) -> None:
        """The other end holds the line low for longer than a character: Linux's console takes it for SysRq."""
        self._waiting.append((0, LSR_BREAK))
        self._refill()
        self._update_irq()

    def reset(self) -> None:
        """Master reset: scratch and divisor are not affected (data sheet, table I)."""
        self._clear()
        self._update_irq()

    def read(self, offset: int, size: int) -> int:
        value = self._read(offset)
        self._update_irq()
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        self._write(offset, value)
        self._update_irq()

    def native_registers(self) -> dict[int, NativeRegister]:
        return {RBR_THR: NativeRegister(self.block, write=write_data)}

    def adopt_mirror(self, offset: int, mirror: Mirror) -> None:
        super().adopt_mirror(offset, mirror)
        if self._shown:
            _show_in(mirror, self._shown[SHOWN.index(offset)])
        else:
            self._show()

    def state(self) -> dict[str, Any]:
        queues = {"waiting": self._waiting, "fifo": self._fifo}
        return super().state() | {name: [list(entry) for entry in queue] for name, queue in queues.items()}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._waiting = deque((character, errors) for character, errors in state["waiting"])
        self._fifo = deque((character, errors) for character, errors in state["fifo"])
        self._update_irq()

    def _clear(self) -> None:
        self._ier = self._fcr = self._lcr = self._mcr = 0
        self._line_errors = self._modem_deltas = 0
        self._thre_interrupt = False
        self._fifo.clear()

    def _read(self, offset: int) -> int:
        match offset:
            case 0 if self._lcr & LCR_DLAB:
                return self._divisor & 0xFF
            case 1 if self._lcr & LCR_DLAB:
                return self._divisor >> 8
            case 0:
                return self._take_character()
            case 1:
                return self._ier
            case 2:
                value = self._identification()
                if self._interrupt() == IIR_THRE:
                    self._thre_interrupt = False  # reading IIR acknowledges this source, and this one only
                return value
            case 3:
                return self._lcr
            case 4:
                return self._mcr
            case 5:
                return self._read_line_status()
            case 6:
                deltas, self._modem_deltas = self._modem_deltas, 0
                return self._modem_inputs() | deltas
            case _:
                return self._scratch

    def _write(self, offset: int, value: int) -> None:
        match offset:
            case 0 if self._lcr & LCR_DLAB:
                self._divisor = self._divisor & 0xFF00 | value
            case 1 if self._lcr & LCR_DLAB:
                self._divisor = self._divisor & 0x00FF | value << 8
            case 0:
                self._transmit(value)
            case 1:
                # enabling the interrupt with THR empty raises it once more: drivers start transmitting that way
                if value & ~self._ier & IER_THRE:
                    self._thre_interrupt = True
                self._ier = value & 0x0F
            case 2:
                self._write_fifo_control(value)
            case 3:
                self._lcr = value
            case 4:
                before = self._modem_inputs()
                self._mcr = value & 0x1F
                self._note_modem_changes(before)
                self._refill()
            case 7:
                self._scratch = value
            case _:
                pass  # LSR is for factory tests when written, MSR ignores it

    def _transmit(self, value: int) -> None:
        # the interrupt falls and rises again even though no time passes: an edge-triggered 8259 must see both
        self._thre_interrupt = False
        self._update_irq()
        character = value & self._character_mask()
        if self._mcr & MCR_LOOP:
            self._receive(character, 0)
        else:
            self._sink(character)
        self._thre_interrupt = True

    def _character_mask(self) -> int:
        return (1 << 5 + (self._lcr & LCR_WORD_LENGTH)) - 1

    def _write_fifo_control(self, value: int) -> None:
        if (value ^ self._fcr) & FCR_ENABLE or (value & FCR_ENABLE and value & FCR_CLEAR_RECEIVER):
            self._fifo.clear()
        # bit 0 must be set for the other bits to be programmed; the transmitter FIFO is always empty
        self._fcr = value & 0b1100_1001 if value & FCR_ENABLE else 0
        self._refill()

    def _depth(self) -> int:
        return FIFO_DEPTH if self._fcr & FCR_ENABLE else 1

    def _refill(self) -> None:
        while self._waiting and len(self._fifo) < self._depth() and not self._mcr & MCR_LOOP:
            self._receive(*self._waiting.popleft())

    def _receive(self, character: int, errors: int) -> None:
        if len(self._fifo) == self._depth():
            self._line_errors |= LSR_OVERRUN
            if self._fcr & FCR_ENABLE:
                return  # a full FIFO keeps what it has; the character in the shift register is lost
            self._fifo.clear()  # without FIFOs the newcomer overwrites RBR
        self._fifo.append((character, errors))
        self._show_errors_of_top()

    def _take_character(self) -> int:
        if self._fifo:
            self._last_read, _ = self._fifo.popleft()
            self._refill()
            self._show_errors_of_top()
        return self._last_read

    def _show_errors_of_top(self) -> None:
        """LSR reports a character's errors when it is the next to be read."""
        if self._fifo and self._fifo[0][1]:
            character, errors = self._fifo[0]
            self._line_errors |= errors
            self._fifo[0] = (character, 0)

    def _identification(self) -> int:
        return self._interrupt() | (IIR_FIFOS_ENABLED if self._fcr & FCR_ENABLE else 0)

    def _read_line_status(self) -> int:
        status = self._line_status()
        self._line_errors = 0
        return status

    def _line_status(self) -> int:
        status = self._line_errors | LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY
        if self._fifo:
            status |= LSR_DATA_READY
        if self._fcr & FCR_ENABLE and (self._line_errors & ~LSR_OVERRUN or any(errors for _, errors in self._fifo)):
            status |= LSR_FIFO_ERROR
        return status

    def _modem_inputs(self) -> int:
        if not self._mcr & MCR_LOOP:
            return TERMINAL_CONNECTED
        wires = ((MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD))
        return sum(into for out, into in wires if self._mcr & out)

    def _note_modem_changes(self, before: int) -> None:
        after = self._modem_inputs()
        deltas = (before ^ after) >> 4
        if after & MSR_RI:
            deltas &= ~MSR_DELTA_RI
        self._modem_deltas |= deltas

    def _interrupt(self) -> int:
        """IIR bits 3:0: the pending source of highest priority."""
        if self._ier & IER_LINE and self._line_errors:
            return IIR_LINE
        if self._ier & IER_DATA and self._fifo:
            if not self._fcr & FCR_ENABLE or len(self._fifo) >= TRIGGER_LEVELS[self._fcr >> 6]:
                return IIR_DATA
            # characters arrive in no time, so a FIFO below its trigger level has no more coming: timed out at once
            return IIR_TIMEOUT
        if self._ier & IER_THRE and self._thre_interrupt:
            return IIR_THRE
        if self._ier & IER_MODEM and self._modem_deltas:
            return IIR_MODEM
        return IIR_NONE

    def _update_irq(self) -> None:
        # loopback forces the OUT2 pin inactive, and with it the PC's interrupt gate
        gate_open = self._mcr & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2
        self._irq.set(gate_open and self._interrupt() != IIR_NONE)
        self._show()

    def _show(self) -> None:
        """What engines read, and may send, without asking; a register that reading changes they ask for."""
        sends = not self._lcr & LCR_DLAB and not self._mcr & MCR_LOOP and not self._ier & IER_THRE
        self._native_mask = self._character_mask() if sends else 0
        if not self._mirrors:
            self._shown = ()
            return
        shown = (
            ASK if self._lcr & LCR_DLAB else self._ier,
            ASK if self._interrupt() == IIR_THRE else self._identification(),
            ASK if self._line_errors else self._line_status(),
            ASK if self._modem_deltas else self._modem_inputs(),
        )
        if shown == self._shown:
            return
        self._shown = shown
        for offset, value in zip(SHOWN, shown, strict=True):
            if (mirror := self._mirrors.get(offset)) is not None:
                _show_in(mirror, value)


def _show_in(mirror: Mirror, value: int) -> None:
    if value == ASK:
        mirror.hide()
    else:
        mirror.show(value)
