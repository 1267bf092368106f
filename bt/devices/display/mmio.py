"""The VGA's registers in memory: the third region of the PCI function."""

from functools import cache

from bt.devices.device import Device
from bt.devices.display.dispi import DATA, INDEX, MEMORY_64K, WORD, Dispi
from bt.devices.display.edid import edid
from bt.devices.display.registers import VgaRegisters

LENGTH = 0x1000
EDID, PORTS, DISPI, EXTENSION = 0x000, 0x400, 0x500, 0x600  # offsets
PORTS_BYTES, DISPI_BYTES = 0x20, WORD * (MEMORY_64K + 1)
FIRST_MAPPED_PORT = 0x10  # VgaRegisters' offset of port 3C0h
# the extension's registers of 32 bits: how long it is, and in which order the framebuffer's bytes are: little-endian
EXTENSION_REGISTERS = (8).to_bytes(4, "little") + (0x1E1E1E1E).to_bytes(4, "little")


class VgaMmio(Device):
    """QEMU documentation, docs/specs/standard-vga.rst: EDID at 0, ports 3C0h-3DFh at 400h, DISPI registers at 500h.

    The framebuffer is little-endian: the extension's register for that takes nothing. Elsewhere reads give ones.
    """

    widest_access = 4

    def __init__(self, registers: VgaRegisters, dispi: Dispi, name: str = "VGA registers in memory") -> None:
        super().__init__(name)
        self._registers, self._dispi = registers, dispi

    def read(self, offset: int, size: int) -> int:
        if DISPI <= offset < DISPI + DISPI_BYTES:
            word = self._dispi_read(offset - DISPI >> 1)
            return word >> 8 * (offset & 1) & (1 << 8 * size) - 1
        value = 0
        for n in range(size):
            value |= self._byte(offset + n) << 8 * n
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        if DISPI <= offset < DISPI + DISPI_BYTES:
            if size == WORD:
                self._dispi.write(INDEX, WORD, offset - DISPI >> 1)
                self._dispi.write(DATA, WORD, value)
        elif PORTS <= offset < PORTS + PORTS_BYTES:
            for n in range(size):
                self._registers.write(offset - PORTS + FIRST_MAPPED_PORT + n, 1, value >> 8 * n & 0xFF)

    def _dispi_read(self, index: int) -> int:
        self._dispi.write(INDEX, WORD, index)
        return self._dispi.read(DATA, WORD)

    def _byte(self, offset: int) -> int:
        if offset < PORTS:
            return _shown_edid()[offset]
        if offset < PORTS + PORTS_BYTES:
            return self._registers.read(offset - PORTS + FIRST_MAPPED_PORT, 1)
        if EXTENSION <= offset < EXTENSION + len(EXTENSION_REGISTERS):
            return EXTENSION_REGISTERS[offset - EXTENSION]
        return 0xFF


@cache
def _shown_edid() -> bytes:
    return edid().ljust(PORTS, b"\0")
