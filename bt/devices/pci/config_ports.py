"""Ports CF8h-CFFh: configuration mechanism 1."""

from bt.devices.device import Device
from bt.devices.pci.function import PciFunction

FIRST_PORT, PORT_COUNT = 0xCF8, 8
ADDRESS, RESET_CONTROL, DATA = 0, 1, 4  # offsets
ENABLED = 1 << 31
BUS_NUMBER = 0xFF << 16


class ConfigPorts(Device):
    """PCI Local Bus Specification 2.1, section 3.7.4.1; one bus, number 0.

    The address is a double word at offset 0: smaller accesses there are not for it, and the byte at offset 1 is given
    to `reset_control`. Data of 8, 16 and 32 bits are at offsets 4 to 7. Nobody at an address: ones.
    """

    widest_access = 4
    fields = ("_address",)

    def __init__(self, reset_control: Device | None = None, name: str = "PCI configuration") -> None:
        super().__init__(name)
        self._reset_control = reset_control
        self._functions: dict[int, PciFunction] = {}  # by bits 15:8 of the address
        self._address = 0

    @property
    def functions(self) -> dict[tuple[int, int], PciFunction]:
        """What was attached, by device and function number."""
        return {(place >> 3, place & 7): function for place, function in sorted(self._functions.items())}

    def attach(self, function: PciFunction, device: int, number: int = 0) -> None:
        """Put `function` at `device` (0 to 31) as `number` (0 to 7); ValueError if the place is taken."""
        place = device << 3 | number
        if place in self._functions:
            raise ValueError(f"PCI 00:{device:02x}.{number}: {self._functions[place].name} is there already")
        self._functions[place] = function

    def read(self, offset: int, size: int) -> int:
        ones = (1 << 8 * size) - 1
        if offset >= DATA:
            function = self._selected()
            if function is None:
                return ones
            return function.read(self._address & 0xFC | offset & 3, size)
        if size == 4 and offset == ADDRESS:
            return self._address
        if offset == RESET_CONTROL and size == 1 and self._reset_control is not None:
            return self._reset_control.read(0, 1)
        return ones

    def write(self, offset: int, size: int, value: int) -> None:
        if offset >= DATA:
            function = self._selected()
            if function is not None:
                function.write(self._address & 0xFC | offset & 3, size, value)
        elif size == 4 and offset == ADDRESS:
            self._address = value
        elif offset == RESET_CONTROL and size == 1 and self._reset_control is not None:
            self._reset_control.write(0, 1, value)

    def reset(self) -> None:
        self._address = 0

    def _selected(self) -> PciFunction | None:
        address = self._address
        if not address & ENABLED or address & BUS_NUMBER:
            return None
        return self._functions.get(address >> 8 & 0xFF)
