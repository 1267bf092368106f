"""A port through which the guest's kernel says that it has panicked: QEMU's pvpanic."""

from collections.abc import Callable

from bt.devices.device import Device

DEFAULT_PORT = 0x505
PANICKED, CRASH_LOADED = 1 << 0, 1 << 1


class Pvpanic(Device):
    """QEMU documentation, docs/specs/pvpanic.rst: one byte; reading it tells which events are `understood`.

    One that is not says nothing to anybody; of two at a time the panic counts.
    """

    def __init__(
        self,
        panicked: Callable[[], None],
        crash_loaded: Callable[[], None] = lambda: None,
        understood: int = PANICKED | CRASH_LOADED,
        name: str = "pvpanic",
    ) -> None:
        """`panicked()` ends the guest; `crash_loaded()`: a crash kernel takes over, the guest goes on."""
        super().__init__(name)
        self._understood = understood
        self._panicked = panicked
        self._crash_loaded = crash_loaded

    def read(self, offset: int, size: int) -> int:
        return self._understood

    def write(self, offset: int, size: int, value: int) -> None:
        events = value & self._understood
        if events & PANICKED:
            self._panicked()
        elif events & CRASH_LOADED:
            self._crash_loaded()
