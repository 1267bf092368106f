"""Port 0x80 and its neighbours: where firmware shows how far it has come, and kernels waste a microsecond."""

from bt.devices.device import Device

LENGTH = 16


class PostPort(Device):
    """The DMA page registers of the PC/AT (74LS612, IBM PC/AT Technical Reference 1-24) at 0x80-0x8f.

    No DMA controller reads them here: they are sixteen bytes of storage. The one at offset 0 serves no channel, so the
    power-on self test leaves its progress code there.
    """

    latches = frozenset(range(LENGTH))

    def __init__(self, name: str = "POST port") -> None:
        super().__init__(name)

    @property
    def code(self) -> int:
        """The last progress code written."""
        return self.latch(0)

    def read(self, offset: int, size: int) -> int:
        return self.latch(offset)

    def write(self, offset: int, size: int, value: int) -> None:
        self.set_latch(offset, value)

    def reset(self) -> None:
        for offset in self.latches:
            self.set_latch(offset, 0)
