"""A port to print from inside the guest: Bochs's 0xe9."""

from collections.abc import Callable

from bt.devices.device import Device

DEFAULT_PORT = 0xE9


class DebugConsole(Device):
    """Every byte written goes to `sink`; a read gives 0xe9, which is how guests find out that it is there."""

    def __init__(self, sink: Callable[[int], None], name: str = "debug console") -> None:
        super().__init__(name)
        self._sink = sink

    def read(self, offset: int, size: int) -> int:
        return 0xE9

    def write(self, offset: int, size: int, value: int) -> None:
        self._sink(value)
