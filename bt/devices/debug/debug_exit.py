"""A port to end the run from inside the guest: QEMU's isa-debug-exit."""

from collections.abc import Callable

from bt.devices.device import Device

DEFAULT_PORT = 0x501  # QEMU's default; test kernels mostly ask for 0xf4
LENGTH = 4


class DebugExit(Device):
    """Writing v, of 1, 2 or 4 bytes, at any offset ends the run with exit status (v << 1) | 1; reads give zero.

    The status is odd, so a guest cannot feign the success of a run that ended by itself. It is handed to `on_exit`
    whole; a POSIX process keeps its low eight bits.
    """

    widest_access = 4

    def __init__(self, on_exit: Callable[[int], None], name: str = "debug exit") -> None:
        super().__init__(name)
        self._on_exit = on_exit

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self._on_exit(value << 1 | 1)
