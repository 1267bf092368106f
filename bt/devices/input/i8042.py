"""The keyboard controller: Intel 8042 with the program of the PS/2, keyboard and mouse on its two ports."""

from collections.abc import Callable
from typing import Any

from bt.devices.device import Device, Line
from bt.devices.input.keyboard import Keyboard
from bt.devices.input.keys import BREAK, SET_1_BREAK, TRANSLATION
from bt.devices.input.mouse import Mouse
from bt.devices.input.ps2_device import RESEND
from bt.memory.bus import Mirror

DATA, COMMAND = 0, 1  # offsets (ports 0x60 and 0x64)

STATUS_OUTPUT_FULL, STATUS_SYSTEM, STATUS_COMMAND, STATUS_UNLOCKED = 1 << 0, 1 << 2, 1 << 3, 1 << 4
STATUS_AUX_DATA, STATUS_TIMEOUT = 1 << 5, 1 << 6

# command byte
KEYBOARD_INTERRUPT, AUX_INTERRUPT, SYSTEM_FLAG = 1 << 0, 1 << 1, 1 << 2
KEYBOARD_OFF, AUX_OFF, TRANSLATE = 1 << 4, 1 << 5, 1 << 6

# output port
NOT_RESET, A20_ENABLE = 1 << 0, 1 << 1
KEYBOARD, MOUSE, CONTROLLER = 0, 1, 2  # where the byte in the output buffer is from
NO_OUTPUT = -1
OUTPUT_PORT_AT_RESET = 0xCF  # an 8042 starts with its pins high: A20 enabled, no reset


class I8042(Device):
    """IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".

    Data at offset 0, status and command at offset 1. Commands and bytes to keyboard and mouse are executed at once, so
    the input buffer is always free. Output port bit 1 drives `set_a20(enabled)`, bit 0 falling calls `reset_cpu()`.
    A command to an absent mouse times out, again at once. An answer of the controller pushes a byte of keyboard or
    mouse back and replaces an answer not yet read. The keyboard's bytes go before the mouse's.
    """

    version = 2
    mirrors = frozenset({COMMAND})
    fields = (
        "_command_byte", "_output_port", "_awaiting_data_of", "_status_bits",
        "_output", "_output_status", "_output_source", "_pushed_back", "_break",
    )  # fmt: skip

    def __init__(
        self,
        irq1: Line,
        irq12: Line,
        set_a20: Callable[[bool], None],
        reset_cpu: Callable[[], None],
        name: str = "keyboard controller",
        keyboard: Keyboard | None = None,
        mouse: Mouse | None = None,
    ) -> None:
        """Without `keyboard` there is one on which nobody types, without `mouse` there is none."""
        super().__init__(name)
        self._irq1, self._irq12 = irq1, irq12
        self._set_a20 = set_a20
        self._reset_cpu = reset_cpu
        self.keyboard = Keyboard() if keyboard is None else keyboard
        self.mouse = mouse
        self._command_byte = 0
        self._output_port = 0
        self._awaiting_data_of = 0
        self._status_bits = 0  # STATUS_SYSTEM, STATUS_COMMAND
        self._output = 0  # the output buffer
        self._output_status = 0  # STATUS_OUTPUT_FULL if it has not been read, and where the byte is from
        self._output_source = CONTROLLER
        self._pushed_back = [NO_OUTPUT, NO_OUTPUT]  # a byte of keyboard, of mouse that had to leave the output buffer
        self._break = 0  # SET_1_BREAK after a break prefix that translation has swallowed
        self._power_on()
        self.keyboard.wants_to_send = self._update
        if mouse is not None:
            mouse.wants_to_send = self._update

    def read(self, offset: int, size: int) -> int:
        if offset == COMMAND:
            return self._status()
        value = self._output
        self._output_status = 0
        # the interrupt falls even if another byte takes the place at once
        self._irq1.lower()
        self._irq12.lower()
        self._update()
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == COMMAND:
            self._status_bits |= STATUS_COMMAND
            self._awaiting_data_of = 0
            self._command(value)
        else:
            self._status_bits &= ~STATUS_COMMAND
            command, self._awaiting_data_of = self._awaiting_data_of, 0
            self._data(command, value)
        self._update()

    def adopt_mirror(self, offset: int, mirror: Mirror) -> None:
        super().adopt_mirror(offset, mirror)
        mirror.show(self._status())

    def _status(self) -> int:
        return self._output_status | self._status_bits | STATUS_UNLOCKED

    def reset(self) -> None:
        self._power_on()
        self._set_a20(True)
        self._update()

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "_pushed_back": list(self._pushed_back),
            "keyboard": self.keyboard.state(),
            "mouse": self.mouse.state() if self.mouse else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._pushed_back = list(state["_pushed_back"])
        self.keyboard.restore(state["keyboard"])
        if self.mouse is not None:
            self.mouse.restore(state["mouse"])
        self._drive_interrupts()

    def _power_on(self) -> None:
        self._command_byte = KEYBOARD_OFF | AUX_OFF
        self._output_port = OUTPUT_PORT_AT_RESET
        self._awaiting_data_of = self._status_bits = self._output = self._output_status = self._break = 0
        self._output_source = CONTROLLER
        self._pushed_back = [NO_OUTPUT, NO_OUTPUT]
        self.keyboard.power_on()
        if self.mouse is not None:
            self.mouse.power_on()

    def _command(self, value: int) -> None:
        match value:
            case 0x20:
                self._answer(self._command_byte)
            case 0x60 | 0xD1 | 0xD2 | 0xD3 | 0xD4:
                self._awaiting_data_of = value
            case 0xA7:
                self._command_byte |= AUX_OFF
            case 0xA8:
                self._command_byte &= ~AUX_OFF
            case 0xA9 | 0xAB:  # interface tests: no error
                self._answer(0x00)
            case 0xAA:
                self._status_bits |= STATUS_SYSTEM
                self._answer(0x55)
            case 0xAD:
                self._command_byte |= KEYBOARD_OFF
            case 0xAE:
                self._command_byte &= ~KEYBOARD_OFF
            case 0xC0:
                self._answer(0x80)  # input port: keyboard not inhibited
            case 0xD0:
                self._answer(self._output_port)
            case 0xDD | 0xDF:  # a common addition: A20 in one command
                self._write_output_port(self._output_port & ~A20_ENABLE | (value & A20_ENABLE))
            case 0xE0:
                self._answer(0x00)  # test inputs
            case _ if value >= 0xF0:
                if not value & NOT_RESET:  # pulses the output port bits that are clear: FE is the PC's reset
                    self._reset_cpu()
            case _:
                pass  # the 8042's program ignores what it does not know

    def _data(self, command: int, value: int) -> None:
        match command:
            case 0x60:
                self._command_byte = value
                self._status_bits = self._status_bits & ~STATUS_SYSTEM | (STATUS_SYSTEM if value & SYSTEM_FLAG else 0)
            case 0xD1:
                self._write_output_port(value)
            case 0xD2:
                self._answer(value)
            case 0xD3:
                self._answer(value, STATUS_AUX_DATA)
            case 0xD4:
                if self.mouse is None:
                    self._answer(RESEND, STATUS_AUX_DATA | STATUS_TIMEOUT)
                else:
                    self.mouse.receive(value)
            case _:
                self._command_byte &= ~KEYBOARD_OFF  # sending to the keyboard enables its interface
                self.keyboard.receive(value)

    def _write_output_port(self, value: int) -> None:
        self._output_port = value
        self._set_a20(bool(value & A20_ENABLE))
        if not value & NOT_RESET:
            self._reset_cpu()

    def _answer(self, value: int, source: int = 0) -> None:
        if self._output_status and self._output_source != CONTROLLER:
            self._pushed_back[self._output_source] = self._output
        self._output, self._output_status = value, STATUS_OUTPUT_FULL | source
        self._output_source = CONTROLLER

    def _update(self) -> None:
        """Fill the output buffer if it is empty and there is something for it."""
        if not self._output_status and not self._command_byte & KEYBOARD_OFF:
            self._fill_from_keyboard()
        if not self._output_status and self.mouse is not None and not self._command_byte & AUX_OFF:
            if self._pushed_back[MOUSE] != NO_OUTPUT:
                self._fill(self._pushed_back[MOUSE], MOUSE)
            elif self.mouse.has_data:
                self._output_status = STATUS_OUTPUT_FULL  # it is taken: the mouse may have more to say at once
                self._fill(self.mouse.take(), MOUSE)
        self._drive_interrupts()

    def _fill_from_keyboard(self) -> None:
        if self._pushed_back[KEYBOARD] != NO_OUTPUT:
            self._fill(self._pushed_back[KEYBOARD], KEYBOARD)
            return
        while self.keyboard.has_data:
            value = self.keyboard.take()
            if self._command_byte & TRANSLATE:
                if value == BREAK:
                    self._break = SET_1_BREAK
                    continue
                value = TRANSLATION[value] | self._break
                self._break = 0
            self._fill(value, KEYBOARD)
            return

    def _fill(self, value: int, source: int) -> None:
        self._pushed_back[source] = NO_OUTPUT
        self._output, self._output_source = value, source
        self._output_status = STATUS_OUTPUT_FULL | (STATUS_AUX_DATA if source == MOUSE else 0)

    def _drive_interrupts(self) -> None:
        is_aux = bool(self._output_status & STATUS_AUX_DATA)
        is_keyboard = bool(self._output_status) and not is_aux
        self._irq1.set(is_keyboard and bool(self._command_byte & KEYBOARD_INTERRUPT))
        self._irq12.set(is_aux and bool(self._command_byte & AUX_INTERRUPT))
        for mirror in self._mirrors.values():
            mirror.show(self._status())
