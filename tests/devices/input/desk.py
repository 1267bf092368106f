"""A keyboard controller with keyboard and mouse on it, as a polling driver sees it."""

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Line
from bt.devices.input.i8042 import I8042
from bt.devices.input.keyboard import Keyboard
from bt.devices.input.mouse import Mouse
from tests.devices.board import Edges

OBF, AUX = 0x01, 0x20


class Driver:
    """Ports 60h and 64h, and what drivers do with them."""

    def inb(self, port: int) -> int:
        raise NotImplementedError

    def outb(self, port: int, value: int) -> None:
        raise NotImplementedError

    def command(self, value: int, *data: int) -> None:
        self.outb(0x64, value)
        for byte in data:
            self.outb(0x60, byte)

    def receive(self) -> str:
        """Everything there is to read, in hexadecimal."""
        received = bytearray()
        while self.inb(0x64) & OBF:
            received.append(self.inb(0x60))
        return received.hex()

    def ask_keyboard(self, *values: int) -> str:
        """All it answers to one byte after the other."""
        answers = ""
        for value in values:
            self.outb(0x60, value)
            answers += self.receive()
        return answers

    def ask_mouse(self, *values: int) -> str:
        answers = ""
        for value in values:
            self.command(0xD4, value)
            answers += self.receive()
        return answers


class Desk(Driver):
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.leds: list[int] = []
        self.keyboard = Keyboard(self.clock, self.leds.append)
        self.mouse = Mouse(self.clock)
        self.irq1, self.irq12 = Line("IRQ1"), Line("IRQ12")
        self.mouse_edges = Edges(self.irq12)
        self.controller = I8042(
            self.irq1, self.irq12, lambda enabled: None, lambda: None, keyboard=self.keyboard, mouse=self.mouse
        )
        self.command(0x60, 0x03)

    def inb(self, port: int) -> int:
        return self.controller.read((port - 0x60) // 4, 1)

    def outb(self, port: int, value: int) -> None:
        self.controller.write((port - 0x60) // 4, 1, value)
