"""Interrupt controllers, PCI and what is at which address: `info pic`, `info pci`, `info mtree`."""

from __future__ import annotations

from bt.devices.apic.io_apic import REMOTE_IRR, IoApic
from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.function import INTERRUPT_LINE, ROM, SUBSYSTEM, VENDOR, PciFunction, Space
from bt.machine import Machine
from bt.memory.map import Use
from bt.monitor.command import Command, lines

_CLASSES = {
    0x0100: "SCSI controller", 0x0101: "IDE controller", 0x0200: "Ethernet controller", 0x0300: "VGA controller",
    0x0600: "Host bridge", 0x0601: "ISA bridge", 0x0680: "Bridge", 0x0401: "Audio controller", 0x0C03: "USB controller",
}  # fmt: skip
_MODES = ("fixed", "lowest", "SMI", "...", "NMI", "INIT", "...", "extINT")  # delivery modes of the I/O APIC
_USES = {Use.RAM: "ram", Use.ROM: "rom", Use.ROM_OVER_RAM: "rom", Use.WINDOW: "ram"}


def _pic(pc: Machine, rest: str) -> str:
    found: list[str] = []
    if "I/O APIC" in pc.board.devices:
        found += _io_apic(pc.board.part("I/O APIC", IoApic))
    master, slave = pc.board.pic.chips
    for name, chip in (("pic1", slave), ("pic0", master)):
        state = chip.registers()
        found.append(
            f"{name}: irr={state.irr:02x} imr={state.imr:02x} isr={state.isr:02x} hprio={state.highest} "
            f"irq_base={state.base:02x} rr_sel={int(state.reads_isr)} elcr={state.elcr:02x} fnm={int(state.is_nested)}"
        )
    return lines(found)


def _io_apic(device: IoApic) -> list[str]:
    state = device.registers()
    found = [f"ioapic0: ver={state.version:#x} id={state.identification:#04x} sel={state.selected:#04x}"]
    remote = sum(1 << pin for pin, entry in enumerate(state.entries) if entry & REMOTE_IRR)
    for pin, entry in enumerate(state.entries):
        destination = entry >> 56 & (0xFF if entry & 1 << 11 else 0xF)
        found.append(
            f"  pin {pin:<2} {entry:#018x} dest={destination:x} vec={entry & 0xFF:<3} "
            f"{'active-lo' if entry & 1 << 13 else 'active-hi'} {'level' if entry & 1 << 15 else 'edge':<5} "
            f"{'masked' if entry & 1 << 16 else '':<6} {_MODES[entry >> 8 & 7]:<6} "
            f"{'logical' if entry & 1 << 11 else 'physical'}"
        )
    for name, pins in (("IRR     ", state.inputs), ("Remote IRR", remote)):
        shown = " ".join(str(pin) for pin in range(len(state.entries)) if pins >> pin & 1)
        found.append(f"  {name} {shown or '(none)'}")
    return found


def _pci(pc: Machine, rest: str) -> str:
    if "PCI ports" not in pc.board.devices:
        return "PCI devices not supported\n"
    found: list[str] = []
    for (device, number), function in pc.board.part("PCI ports", ConfigPorts).functions.items():
        found.append(f"  Bus  0, device {device:3}, function {number}:")
        found += _function(function)
    return lines(found)


def _function(function: PciFunction) -> list[str]:
    class_code = function.read(0x0A, 2)
    name = _CLASSES.get(class_code, f"Class {class_code:04x}")
    found = [f"    {name}: PCI device {function.read(VENDOR, 2):04x}:{function.read(VENDOR + 2, 2):04x}"]
    if vendor := function.read(SUBSYSTEM, 2):
        found.append(f"      PCI subsystem {vendor:04x}:{function.read(SUBSYSTEM + 2, 2):04x}")
    if function.interrupt_pin:
        found.append(f"      IRQ {function.read(INTERRUPT_LINE, 1)}, pin {'ABCD'[function.interrupt_pin - 1]}")
    for number, bar in sorted(function.bars.items()):
        address = function.address_of(number)
        start = (1 << 64) - 1 if address is None else address
        end = (start + bar.size - 1) & ((1 << 64) - 1)
        if bar.space is Space.IO:
            where = f"I/O at {start:#06x} [{end:#06x}]"
        else:
            kind = " prefetchable" if bar.space is Space.PREFETCHABLE else ""
            where = f"32 bit{kind} memory at {start:#010x} [{end:#010x}]"
        found.append(f"      BAR{6 if number == ROM else number}: {where}.")
    return [*found, '      id ""']


def _tree(pc: Machine, rest: str) -> str:
    """Flat: what answers, with no aliases, for there are none."""
    found = ["address-space: memory"]
    entries = [(each.start, each.end, _USES[each.use], _name(pc, each.memory)) for each in pc.memory]
    entries += [(start, end, "i/o", name) for start, end, name in pc.mmio.places()]
    found += [_line(*entry) for entry in sorted(entries)]
    found += ["", "address-space: I/O"]
    found += [_line(start, end, "i/o", name) for start, end, name in pc.ports.places()]
    return lines(found)


def _line(start: int, end: int, kind: str, name: str) -> str:
    return f"  {start:016x}-{end - 1:016x} (prio 0, {kind}): {name}"


def _name(pc: Machine, memory: object) -> str:
    if memory is pc.ram:
        return "pc.ram"
    return "vga.vram" if memory is pc.board.memory.video else "pc.rom"


INFO = (
    Command(("pic",), "", "show PIC state", _pic),
    Command(("pci",), "", "show PCI info", _pci),
    Command(("mtree",), "", "show memory tree", _tree),
)
