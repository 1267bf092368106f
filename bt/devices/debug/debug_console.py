"""A port to print from inside the guest: Bochs's 0xe9."""

from collections.abc import Callable

from bt.devices.debug.output import Sender
from bt.devices.debug.output_native import write_console
from bt.devices.device import Device
from bt.memory.native_registers import NativeRegister

DEFAULT_PORT = 0xE9


class DebugConsole(Sender, Device):
    """Every byte written goes to `sink`; a read gives 0xe9, which is how guests find out that it is there."""

    def __init__(self, sink: Callable[[int], None], name: str = "debug console") -> None:
        super().__init__(name)
        self.send_to(sink)

    def read(self, offset: int, size: int) -> int:
        return 0xE9

    def write(self, offset: int, size: int, value: int) -> None:
        self._sink(value)

    def native_registers(self) -> dict[int, NativeRegister]:
        return {0: NativeRegister(self.block, write=write_console)}
