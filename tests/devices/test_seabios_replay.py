"""What SeaBIOS and its VGA BIOS do to the devices of QEMU's -M pc, done to ours: the same is read, the same is shown.

QEMU writes down each access to a device while it boots a GRUB rescue CD if there is one, else finds nothing to boot.
Not compared is what depends on time (retrace, clocks) and what is written down as it was before (fw_cfg's memory).
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest

from bt.devices.device import Device, Line
from bt.devices.display.registers import FIRST_PORT, PORTS
from bt.devices.display.render import image, text
from bt.devices.input.i8042 import I8042
from bt.devices.input.keyboard import Keyboard
from bt.devices.input.mouse import Mouse
from bt.devices.pci.piix4_pm import ApmPorts, PmRegisters
from bt.memory.bus import Bus
from tests.devices.display.modes import APERTURE, Ours
from tests.devices.pci.pc import Pc
from tests.devices.qtest import Qemu, needs_qemu

CD = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
pytestmark = [
    needs_qemu,
    pytest.mark.slow,
    pytest.mark.skipif(not SEABIOS.exists(), reason="SeaBIOS is not installed"),
]
QUIET_SECONDS, BOOT_SECONDS = 3, 60
ACCESS = re.compile(
    r"memory_region_ops_(read|write) cpu 0 mr \S+ addr (0x\w+) value (0x\w+) size (\d) name '([\w.-]+)'"
)
OURS = frozenset({"vga", "vbe", "vga-lowmem", "i8042-cmd", "i8042-data", "pci-conf-idx", "pci-conf-data", "apm-io",
                  "acpi-cnt", "acpi-evt"})  # fmt: skip
NOT_COMPARED = {  # bits, by port
    0x3DA: 0xFF,
    0x64: 0x0C,  # QEMU never clears the system flag, nor that the last byte written was a command
}
MEMORY_NAMES = frozenset({"vga-lowmem"})

Access = tuple[str, int, int, int, str]  # read or write, address, value, size, who


class Replay:
    """Our devices where SeaBIOS puts them."""

    def __init__(self) -> None:
        self.display = Ours()
        self.pc = Pc()
        vga = self.display.vga
        self.ports, self.memory = self.pc.bus, Bus("memory", 32)
        self.memory.attach(vga.memory, APERTURE, 0x20000)
        for start, length in PORTS:
            self.ports.attach(vga.registers, start, length, start - FIRST_PORT)
        self.ports.attach(vga.dispi, 0x1CE, 4)
        clock = self.pc.clock
        irqs = Line("IRQ1"), Line("IRQ12")
        keyboard = I8042(*irqs, lambda on: None, lambda: None, keyboard=Keyboard(clock), mouse=Mouse(clock))
        self.ports.attach(keyboard, 0x60, 1)
        self.ports.attach(keyboard, 0x64, 1, offset=1)
        pm: PmRegisters = self.pc.pm_registers
        apm: Device = ApmPorts(pm)
        self.ports.attach(apm, 0xB2, 2)
        self.ports.attach(pm, 0x600, 64)

    def run(self, accesses: Iterator[Access]) -> list[tuple[int, str, str, str]]:
        """Do all of them; what was read differently: number, who and where, ours, theirs."""
        differences = []
        for number, (kind, address, value, size, who) in enumerate(accesses):
            bus = self.memory if who in MEMORY_NAMES else self.ports
            if kind == "write":
                bus.write(address, size, value)
            elif ((found := bus.read(address, size)) ^ value) & ~NOT_COMPARED.get(address, 0):
                differences.append((number, f"{who} {address:x}", f"{found:x}", f"{value:x}"))
        return differences


def wait_for_quiet(log: Path) -> None:
    """Until nothing more happens to the display."""
    size, quiet = -1, 0
    for _ in range(BOOT_SECONDS):
        sleep(1)
        accesses = log.read_bytes().count(b"'vga-lowmem'")
        quiet = quiet + 1 if accesses == size and accesses else 0
        size = accesses
        if quiet == QUIET_SECONDS:
            return


def recorded(log: Path) -> Iterator[Access]:
    with log.open() as lines:
        for line in lines:
            match = ACCESS.match(line)
            if match and match[5] in OURS:
                size = int(match[4])
                yield match[1], int(match[2], 16), int(match[3], 16) & (1 << 8 * size) - 1, size, match[5]


def test_seabios(tmp_path: Path) -> None:
    log = tmp_path / "log"
    traces = ["-trace", "memory_region_ops_read", "-trace", "memory_region_ops_write", "-D", str(log)]
    disk = ["-cdrom", str(CD)] if CD.exists() else []
    with Qemu("-machine", "pc", "-vga", "std", "-nodefaults", "-m", "64", *disk, *traces, qmp=True) as qemu:
        qemu.qmp("cont")
        wait_for_quiet(log)
        qemu.qmp("stop")
        width, height, pixels = qemu.screendump()
    replay = Replay()
    differences = replay.run(recorded(log))
    assert differences[:10] == [], Counter(who for _, who, _, _ in differences)
    shown = text(replay.display.vga)
    assert shown
    lines = [characters.decode("cp437").rstrip("\0 ") for characters, _ in shown.rows]
    assert any("SeaBIOS" in line or "GRUB" in line for line in lines), lines
    replay.display.vga.registers.crtc[0x0A] |= 0x20  # it blinks by the host's clock there
    ours = image(replay.display.vga)
    assert (ours.width, ours.height) == (width, height)
    wrong = sum(abs(a - b) > 3 for a, b in zip(ours.rgb, pixels, strict=True))
    cursor = 3 * 9 * 16
    assert wrong <= cursor
