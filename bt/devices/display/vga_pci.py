"""The VGA as a PCI function: where its framebuffer, registers and ROM are."""

from collections.abc import Callable

from bt.devices.pci.function import Bar, Identity, PciFunction, Space

IDENTITY = Identity(0x1234, 0x1111, 0x030000, revision=0x02)
FRAMEBUFFER, REGISTERS = 0, 2  # numbers of its regions, the ROM besides
REGISTERS_BYTES = 4096


def vga_function(
    memory_bytes: int, rom_bytes: int, moved: Callable[[int, int | None], None], name: str = "VGA function"
) -> PciFunction:
    """QEMU's std VGA (docs/specs/standard-vga.rst): 1234:1111, memory prefetchable; no interrupt."""
    bars = {FRAMEBUFFER: Bar(memory_bytes, Space.PREFETCHABLE), REGISTERS: Bar(REGISTERS_BYTES, Space.MEMORY)}
    return PciFunction(name, IDENTITY, bars, rom_bytes, moved)
