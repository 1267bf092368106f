"""PC16550D data sheet, and the sequences Linux's 8250 driver finds it with."""

import pytest

from bt.devices.device import Line
from bt.devices.serial.uart16550 import (
    FCR_ENABLE,
    IER,
    IER_DATA,
    IER_LINE,
    IER_MODEM,
    IER_THRE,
    IIR_DATA,
    IIR_FCR,
    IIR_LINE,
    IIR_MODEM,
    IIR_NONE,
    IIR_THRE,
    IIR_TIMEOUT,
    LCR,
    LCR_DLAB,
    LSR,
    MCR,
    MCR_LOOP,
    MCR_OUT2,
    MSR,
    RBR_THR,
    SCR,
    Uart16550,
)
from tests.devices.board import Edges, transplant

FIFOS = 0xC0  # IIR bits 7:6 with FIFOs enabled


class Port:
    """A UART, its wires, and shorthand for its registers."""

    def __init__(self) -> None:
        self.irq = Line("IRQ4")
        self.edges = Edges(self.irq)
        self.sent = bytearray()
        self.uart = Uart16550(self.irq, self.sent.append)

    def inb(self, offset: int) -> int:
        return self.uart.read(offset, 1)

    def outb(self, offset: int, value: int) -> None:
        self.uart.write(offset, 1, value)


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def driven(port: Port) -> Port:
    """As a driver sets it up: 8N1, OUT2 opens the interrupt gate."""
    port.outb(LCR, 3)
    port.outb(MCR, MCR_OUT2)
    return port


def test_registers_after_master_reset(port: Port) -> None:
    port.outb(SCR, 0x5A)
    for offset in (IER, LCR, MCR):
        port.outb(offset, 0x1F)
    port.uart.reset()
    assert [port.inb(offset) for offset in range(1, 8)] == [0, IIR_NONE, 0, 0, 0x60, 0xB0, 0x5A]


@pytest.mark.parametrize(
    ("offset", "writable"), [(IER, 0x0F), (LCR, 0xFF), (MCR, 0x1F), (SCR, 0xFF), (LSR, 0x00), (MSR, 0x00)]
)
def test_writable_bits(port: Port, offset: int, writable: int) -> None:
    before = port.inb(offset)
    port.outb(offset, 0xFF)
    if offset == LCR:
        assert port.inb(offset) == 0xFF
    else:
        port.outb(LCR, 0)
        assert port.inb(offset) == (writable if writable else before)


def test_divisor_latch_hides_behind_dlab(port: Port) -> None:
    port.outb(IER, 0x05)
    port.outb(LCR, LCR_DLAB)
    port.outb(0, 0x34)
    port.outb(1, 0x12)
    assert (port.inb(0), port.inb(1)) == (0x34, 0x12)
    port.outb(LCR, 0)
    assert port.inb(IER) == 0x05
    assert port.sent == b""


@pytest.mark.parametrize(("word_length", "sent"), [(0, 0x1F), (1, 0x3F), (2, 0x7F), (3, 0xFF)])
def test_transmits_as_many_bits_as_the_word_has(port: Port, word_length: int, sent: int) -> None:
    port.outb(LCR, word_length)
    port.outb(RBR_THR, 0xFF)
    assert port.sent == bytes([sent])
    assert port.inb(LSR) == 0x60


def test_received_characters_wait_their_turn(driven: Port) -> None:
    driven.uart.receive(b"abc")
    assert driven.inb(LSR) & 1
    assert bytes(driven.inb(RBR_THR) for _ in range(3)) == b"abc"
    assert driven.inb(LSR) == 0x60
    assert driven.inb(RBR_THR) == ord("c")  # the register keeps its last character


def test_interrupts_by_priority(driven: Port) -> None:
    driven.outb(IER, IER_DATA | IER_THRE | IER_LINE | IER_MODEM)
    driven.outb(MCR, MCR_OUT2 | MCR_LOOP)  # CTS DSR drop
    driven.outb(MCR, MCR_OUT2)  # and come back
    driven.uart.receive_break()
    identified = []
    for acknowledge in (LSR, RBR_THR, IIR_FCR, MSR):
        identified.append(driven.inb(IIR_FCR) if acknowledge != IIR_FCR else IIR_THRE)
        assert driven.irq.level
        driven.inb(acknowledge)
    assert identified == [IIR_LINE, IIR_DATA, IIR_THRE, IIR_MODEM]
    assert driven.inb(IIR_FCR) == IIR_NONE
    assert not driven.irq.level


def test_reading_iir_acknowledges_thre_only_when_it_shows_it(driven: Port) -> None:
    driven.outb(IER, IER_DATA | IER_THRE)
    driven.uart.receive(b"x")
    assert driven.inb(IIR_FCR) == IIR_DATA
    driven.inb(RBR_THR)
    assert driven.inb(IIR_FCR) == IIR_THRE
    assert driven.inb(IIR_FCR) == IIR_NONE


def test_thre_interrupt_rises_when_enabled_and_after_every_character(driven: Port) -> None:
    driven.outb(IER, IER_THRE)
    assert driven.irq.level
    driven.outb(RBR_THR, ord("a"))
    assert driven.edges.count == 2  # an edge-triggered controller must see it again
    assert driven.inb(IIR_FCR) == IIR_THRE
    assert not driven.irq.level
    driven.outb(IER, IER_THRE)  # already enabled: nothing new
    assert not driven.irq.level
    driven.outb(IER, 0)
    driven.outb(IER, IER_THRE)
    assert driven.irq.level


def test_linux_thre_test_finds_no_bug(driven: Port) -> None:
    """serial8250_do_startup(): THRI enabled twice must interrupt twice, or UART_BUG_THRE; then UART_BUG_TXEN."""
    driven.outb(IER, IER_THRE)
    first = driven.inb(IIR_FCR)
    driven.outb(IER, 0)
    driven.outb(IER, IER_THRE)
    second = driven.inb(IIR_FCR)
    driven.outb(IER, 0)
    assert (first & 1, second & 1) == (0, 0)
    driven.outb(IER, IER_THRE)
    lsr, iir = driven.inb(LSR), driven.inb(IIR_FCR)
    driven.outb(IER, 0)
    assert lsr & 0x40
    assert not iir & 1


def test_interrupt_pin_is_gated_by_out2(port: Port) -> None:
    port.outb(IER, IER_THRE)
    assert not port.irq.level
    port.outb(MCR, MCR_OUT2)
    assert port.irq.level
    port.outb(MCR, MCR_OUT2 | MCR_LOOP)  # loopback forces the OUT2 pin inactive
    assert not port.irq.level
    assert port.inb(IIR_FCR) == IIR_THRE  # but the interrupt exists


@pytest.mark.parametrize(("bits", "trigger"), [(0, 1), (1, 4), (2, 8), (3, 14)])
def test_fifo_trigger_levels_and_timeout(driven: Port, bits: int, trigger: int) -> None:
    driven.outb(IIR_FCR, bits << 6 | FCR_ENABLE)
    driven.outb(IER, IER_DATA)
    driven.uart.receive(bytes(trigger))
    assert driven.inb(IIR_FCR) == FIFOS | IIR_DATA
    driven.inb(RBR_THR)
    assert driven.inb(IIR_FCR) == FIFOS | (IIR_TIMEOUT if trigger > 1 else IIR_NONE)
    assert driven.irq.level == (trigger > 1)


def test_fifo_fills_up_again_from_the_wire_and_loses_nothing(driven: Port) -> None:
    driven.outb(IIR_FCR, FCR_ENABLE)
    data = bytes(range(100))
    driven.uart.receive(data)
    received = bytearray()
    while driven.inb(LSR) & 1:
        received.append(driven.inb(RBR_THR))
    assert received == data


def test_clearing_the_fifo_drops_what_it_holds(driven: Port) -> None:
    driven.outb(IIR_FCR, FCR_ENABLE)
    driven.uart.receive(bytes(range(20)))
    driven.outb(IIR_FCR, FCR_ENABLE | 2)
    assert driven.inb(RBR_THR) == 16
    driven.outb(IIR_FCR, 0)  # so does switching FIFOs off
    assert not driven.inb(LSR) & 1


def test_loopback_carries_data_and_modem_lines(port: Port) -> None:
    port.outb(LCR, 3)
    port.outb(MCR, MCR_LOOP)
    port.outb(RBR_THR, 0xA5)
    assert port.sent == b""
    assert port.inb(RBR_THR) == 0xA5
    for mcr, msr in ((0x1, 0x20), (0x2, 0x10), (0x4, 0x40), (0x8, 0x80), (0xA, 0x90), (0xF, 0xF0), (0x0, 0x00)):
        port.outb(MCR, MCR_LOOP | mcr)
        assert port.inb(MSR) & 0xF0 == msr


def test_modem_deltas(port: Port) -> None:
    port.outb(MCR, MCR_LOOP)
    assert port.inb(MSR) == 0x0B  # CTS, DSR, DCD fell
    assert port.inb(MSR) == 0x00
    port.outb(MCR, MCR_LOOP | 0x4)
    assert port.inb(MSR) == 0x40  # RI: its leading edge is not reported
    port.outb(MCR, MCR_LOOP)
    assert port.inb(MSR) == 0x04


def test_loopback_overrun(port: Port) -> None:
    port.outb(LCR, 3)
    port.outb(MCR, MCR_LOOP)
    port.outb(RBR_THR, 1)
    port.outb(RBR_THR, 2)
    assert port.inb(LSR) == 0x63
    assert port.inb(LSR) == 0x61  # reading clears the error
    assert port.inb(RBR_THR) == 2  # overwritten
    port.outb(IIR_FCR, FCR_ENABLE)
    for value in range(17):
        port.outb(RBR_THR, value)
    assert port.inb(LSR) & 2
    assert [port.inb(RBR_THR) for _ in range(16)] == list(range(16))  # the newcomer was lost


def test_break_is_reported_with_its_character(driven: Port) -> None:
    driven.outb(IIR_FCR, FCR_ENABLE)
    driven.uart.receive(b"a")
    driven.uart.receive_break()
    assert driven.inb(LSR) == 0xE1  # somewhere in the FIFO is an error
    assert driven.inb(RBR_THR) == ord("a")
    assert driven.inb(LSR) == 0xF1
    assert driven.inb(LSR) == 0x61
    assert driven.inb(RBR_THR) == 0


def test_linux_autoconfig_finds_a_16550a(port: Port) -> None:
    """autoconfig() and autoconfig_16550a() of drivers/tty/serial/8250/8250_port.c, in their order."""
    ier = port.inb(IER)
    port.outb(IER, 0)
    assert port.inb(IER) & 0x0F == 0
    port.outb(IER, 0x0F)
    assert port.inb(IER) & 0x0F == 0x0F
    port.outb(IER, ier)
    mcr, lcr = port.inb(MCR), port.inb(LCR)
    port.outb(MCR, MCR_LOOP | 0x0A)
    assert port.inb(MSR) & 0xF0 == 0x90
    port.outb(MCR, mcr)
    port.outb(LCR, 0xBF)
    port.outb(2, 0)  # EFR, had it one
    port.outb(LCR, 0)
    port.outb(IIR_FCR, FCR_ENABLE)
    assert port.inb(IIR_FCR) >> 6 == 3  # 16550A
    port.outb(LCR, 0x80)
    assert port.inb(2) != 0  # no 16650
    port.outb(LCR, 0xBF)
    assert port.inb(2) != 0  # no 16650V2
    port.outb(LCR, 0)
    status1 = port.inb(MCR)
    port.outb(LCR, 0xE0)
    assert not (port.inb(2) ^ status1) & MCR_LOOP
    port.outb(LCR, 0)
    port.outb(MCR, status1 ^ MCR_LOOP)
    port.outb(LCR, 0xE0)
    assert not (port.inb(2) ^ status1) & MCR_LOOP  # no NS16550A with high-speed extensions
    port.outb(LCR, 0)
    port.outb(MCR, status1)
    port.outb(IIR_FCR, FCR_ENABLE)
    small = port.inb(IIR_FCR) >> 5
    port.outb(IIR_FCR, 0)
    port.outb(LCR, 0x80)
    port.outb(IIR_FCR, FCR_ENABLE | 0x20)
    large = port.inb(IIR_FCR) >> 5
    port.outb(IIR_FCR, 0)
    port.outb(LCR, 0)
    assert (small, large) == (6, 6)  # no 16750
    port.outb(IER, port.inb(IER) | 0x40)
    assert not port.inb(IER) & 0x40  # no XScale
    port.outb(LCR, lcr)


def test_state_carries_everything(driven: Port) -> None:
    driven.outb(IIR_FCR, 0x80 | FCR_ENABLE)
    driven.outb(IER, IER_DATA | IER_LINE)
    driven.outb(SCR, 0x42)
    driven.uart.receive(bytes(range(30)))
    driven.uart.receive_break()
    other = Port()
    transplant(driven.uart, other.uart)
    assert other.irq.level
    for offset in (IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR, *[RBR_THR] * 31, LSR):
        assert other.inb(offset) == driven.inb(offset)
    assert other.irq.level == driven.irq.level
