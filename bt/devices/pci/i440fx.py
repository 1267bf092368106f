"""The host bridge of the 440FX: who answers below 1 MiB."""

from collections.abc import Callable
from enum import Enum

from bt.devices.pci.function import Identity, PciFunction

IDENTITY = Identity(0x8086, 0x1237, 0x060000, revision=0x02)
FIRST_PAM, LAST_PAM, SMRAM = 0x59, 0x5F, 0x72
READ_ENABLE, WRITE_ENABLE = 1 << 0, 1 << 1  # of a nibble of a PAM register
ALL_RAM = 0x33  # both nibbles
SMRAM_COMPATIBLE = 0x02  # bits 2:0: A0000h-BFFFFh, the only choice
SMRAM_WRITABLE, SMRAM_ENABLED, SMRAM_LOCKED, SMRAM_OPEN = 0x78, 1 << 3, 1 << 4, 1 << 6
SMRAM_RANGE = (0xA0000, 0x20000)  # start and length
DEFAULTS = {0x57: 0x08, SMRAM: SMRAM_COMPATIBLE}


class Target(Enum):
    """Who answers at an address below 1 MiB."""

    RAM = "RAM"
    PCI = "PCI"  # and ISA behind it: ROM, adapters


Region = tuple[int, int]  # start and length
# The programmable attribute map: what a register's lower and upper nibble are about.
PAM: tuple[tuple[Region, Region], ...] = (
    ((0, 0), (0xF0000, 0x10000)),
    ((0xC0000, 0x4000), (0xC4000, 0x4000)),
    ((0xC8000, 0x4000), (0xCC000, 0x4000)),
    ((0xD0000, 0x4000), (0xD4000, 0x4000)),
    ((0xD8000, 0x4000), (0xDC000, 0x4000)),
    ((0xE0000, 0x4000), (0xE4000, 0x4000)),
    ((0xE8000, 0x4000), (0xEC000, 0x4000)),
)


_PARTS = (SMRAM_RANGE, *(part for pair in PAM for part in pair if part[1]))


class HostBridge(PciFunction):
    """Intel 440FX PCIset, 82441FX PMC (data sheet 290549): PAM registers 59h-5Fh, SMRAM 72h.

    `set_region(start, length, reads, writes)` is called where the owner has changed, once for neighbours that have the
    same from then on: after reset, reads and writes of all of them are for PCI. Other registers (DRAM rows, timing,
    errors) are storage without effect; the processor never is in system management mode, so that closed SMRAM is
    nobody's.
    """

    def __init__(self, set_region: Callable[[int, int, Target, Target], None], name: str = "host bridge") -> None:
        self._set_region = set_region
        super().__init__(name, IDENTITY, defaults=DEFAULTS)
        self._owners = dict.fromkeys(_PARTS, (Target.PCI, Target.PCI))

    def write(self, offset: int, size: int, value: int) -> None:
        before = self._config[SMRAM]
        super().write(offset, size, value)
        if offset <= SMRAM < offset + size:
            if before & SMRAM_LOCKED:  # until the next reset
                self._config[SMRAM] = before
            else:
                smram = self._config[SMRAM] & SMRAM_WRITABLE | SMRAM_COMPATIBLE
                self._config[SMRAM] = smram & ~SMRAM_OPEN if smram & SMRAM_LOCKED else smram
            self._show_regions()

    def written(self, offset: int, size: int) -> None:
        if (offset <= LAST_PAM and offset + size > FIRST_PAM) or size > 4:
            self._show_regions()

    def _show_regions(self) -> None:
        start = end = 0  # of changed neighbours
        owners = Target.PCI, Target.PCI
        for part, now in sorted(self._owners_now().items()):
            if self._owners[part] == now:
                continue
            self._owners[part] = now
            if part[0] != end or now != owners:
                if end:
                    self._set_region(start, end - start, *owners)
                start, owners = part[0], now
            end = sum(part)
        if end:
            self._set_region(start, end - start, *owners)

    def _owners_now(self) -> dict[Region, tuple[Target, Target]]:
        """What the registers say: who gets reads and writes of each part."""
        smram = self._config[SMRAM]
        owner = _target(smram & SMRAM_OPEN and smram & SMRAM_ENABLED)
        found = {SMRAM_RANGE: (owner, owner)}
        for register, pair in enumerate(PAM, FIRST_PAM):
            for half, part in enumerate(pair):
                bits = self._config[register] >> 4 * half
                if part[1]:
                    found[part] = _target(bits & READ_ENABLE), _target(bits & WRITE_ENABLE)
        return found


def _target(is_ram: int) -> Target:
    return Target.RAM if is_ram else Target.PCI
