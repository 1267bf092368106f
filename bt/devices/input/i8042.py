"""The keyboard controller: Intel 8042 with the PC/AT's program and a silent keyboard on it."""

from collections import deque
from collections.abc import Callable
from typing import Any

from bt.devices.device import Device, Line

DATA, COMMAND = 0, 1  # offsets (ports 0x60 and 0x64)

STATUS_OUTPUT_FULL, STATUS_SYSTEM, STATUS_COMMAND, STATUS_UNLOCKED = 1 << 0, 1 << 2, 1 << 3, 1 << 4
STATUS_AUX_DATA, STATUS_TIMEOUT = 1 << 5, 1 << 6

# command byte
KEYBOARD_INTERRUPT, AUX_INTERRUPT, SYSTEM_FLAG = 1 << 0, 1 << 1, 1 << 2
KEYBOARD_OFF, AUX_OFF, TRANSLATE = 1 << 4, 1 << 5, 1 << 6

# output port
NOT_RESET, A20_ENABLE = 1 << 0, 1 << 1
OUTPUT_PORT_AT_RESET = 0xCF  # an 8042 starts with its pins high: A20 enabled, no reset

# keyboard
KEYBOARD_BUFFER = 16  # bytes
ACKNOWLEDGE, RESEND, SELF_TEST_PASSED = 0xFA, 0xFE, 0xAA
KEYBOARD_ID = (0xAB, 0x83)
ID_LOW_TRANSLATED = 0x41  # scan set 2 to 1 changes this one byte among the answers
ARGUMENT_OF = frozenset({0xED, 0xF0, 0xF3})  # LEDs, scan code set, typematic rate


class Keyboard:
    """A PS/2 keyboard on which nobody types (IBM PS/2 Hardware Interface Technical Reference, "Keyboard")."""

    def __init__(self) -> None:
        self.awaiting_argument_of = 0
        self.scan_code_set = 2
        self.last: tuple[int, ...] = (SELF_TEST_PASSED,)

    def command(self, value: int) -> tuple[int, ...]:
        """The bytes it answers to `value`."""
        if value == RESEND:
            return self.last
        self.last = self._answer(value)
        return self.last

    def _answer(self, value: int) -> tuple[int, ...]:
        command, self.awaiting_argument_of = self.awaiting_argument_of, 0
        if command and value < 0x80:
            if command == 0xF0 and value == 0:
                return ACKNOWLEDGE, self.scan_code_set
            if command == 0xF0:
                self.scan_code_set = value
            return (ACKNOWLEDGE,)
        if value in ARGUMENT_OF:
            self.awaiting_argument_of = value
            return (ACKNOWLEDGE,)
        match value:
            case 0xFF:  # reset
                self.scan_code_set = 2
                return ACKNOWLEDGE, SELF_TEST_PASSED
            case 0xF2:
                return ACKNOWLEDGE, *KEYBOARD_ID
            case 0xEE:
                return (0xEE,)
            case _ if 0xF4 <= value <= 0xFA:  # enable, disable, defaults, key types
                return (ACKNOWLEDGE,)
            case _:
                return (RESEND,)


class I8042(Device):
    """IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".

    Data at offset 0, status and command at offset 1. Commands and bytes to the keyboard are executed at once, so the
    input buffer is always free. Output port bit 1 drives `set_a20(enabled)`, bit 0 falling calls `reset_cpu()`.
    A command to the absent mouse times out, again at once. An answer of the controller pushes a byte of the keyboard
    back and replaces an answer not yet read.
    """

    fields = (
        "_command_byte", "_output_port", "_awaiting_data_of", "_status_bits",
        "_output", "_output_status", "_output_from_keyboard",
    )  # fmt: skip

    def __init__(
        self,
        irq1: Line,
        irq12: Line,
        set_a20: Callable[[bool], None],
        reset_cpu: Callable[[], None],
        name: str = "keyboard controller",
    ) -> None:
        super().__init__(name)
        self._irq1, self._irq12 = irq1, irq12
        self._set_a20 = set_a20
        self._reset_cpu = reset_cpu
        self._keyboard = Keyboard()
        self._command_byte = 0
        self._output_port = 0
        self._awaiting_data_of = 0
        self._status_bits = 0  # STATUS_SYSTEM, STATUS_COMMAND
        self._output = 0  # the output buffer
        self._output_status = 0  # STATUS_OUTPUT_FULL if it has not been read, and where the byte is from
        self._output_from_keyboard = False
        self._from_keyboard: deque[int] = deque()  # held back while the interface is off or the buffer full
        self._power_on()

    def read(self, offset: int, size: int) -> int:
        if offset == COMMAND:
            return self._output_status | self._status_bits | STATUS_UNLOCKED
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

    def reset(self) -> None:
        self._power_on()
        self._set_a20(True)
        self._update()

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "from_keyboard": list(self._from_keyboard),
            "keyboard": {
                "awaiting_argument_of": self._keyboard.awaiting_argument_of,
                "scan_code_set": self._keyboard.scan_code_set,
                "last": list(self._keyboard.last),
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._from_keyboard = deque(state["from_keyboard"])
        keyboard = state["keyboard"]
        self._keyboard.awaiting_argument_of = keyboard["awaiting_argument_of"]
        self._keyboard.scan_code_set = keyboard["scan_code_set"]
        self._keyboard.last = tuple(keyboard["last"])
        self._update()

    def _power_on(self) -> None:
        self._keyboard = Keyboard()
        self._command_byte = KEYBOARD_OFF | AUX_OFF
        self._output_port = OUTPUT_PORT_AT_RESET
        self._awaiting_data_of = self._status_bits = self._output = self._output_status = 0
        self._output_from_keyboard = False
        self._from_keyboard.clear()

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
                self._answer(RESEND, STATUS_AUX_DATA | STATUS_TIMEOUT)
            case _:
                self._command_byte &= ~KEYBOARD_OFF  # sending to the keyboard enables its interface
                room = KEYBOARD_BUFFER - len(self._from_keyboard)
                self._from_keyboard.extend(self._keyboard.command(value)[:room])

    def _write_output_port(self, value: int) -> None:
        self._output_port = value
        self._set_a20(bool(value & A20_ENABLE))
        if not value & NOT_RESET:
            self._reset_cpu()

    def _answer(self, value: int, source: int = 0) -> None:
        if self._output_from_keyboard and self._output_status:
            self._from_keyboard.appendleft(self._output)
        self._output, self._output_status = value, STATUS_OUTPUT_FULL | source
        self._output_from_keyboard = False

    def _update(self) -> None:
        if not self._output_status and self._from_keyboard and not self._command_byte & KEYBOARD_OFF:
            value = self._from_keyboard.popleft()
            if self._command_byte & TRANSLATE and value == KEYBOARD_ID[1]:
                value = ID_LOW_TRANSLATED
            self._output, self._output_status = value, STATUS_OUTPUT_FULL
            self._output_from_keyboard = True
        is_aux = bool(self._output_status & STATUS_AUX_DATA)
        is_keyboard = bool(self._output_status) and not is_aux
        self._irq1.set(is_keyboard and bool(self._command_byte & KEYBOARD_INTERRUPT))
        self._irq12.set(is_aux and bool(self._command_byte & AUX_INTERRUPT))
