"""Interrupt controllers, PCI and what is at which address: `info pic`, `info lapic`, `info pci`, `info mtree`."""

from __future__ import annotations

from collections.abc import Callable

from bt.devices.apic.io_apic import REMOTE_IRR, IoApic
from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.function import INTERRUPT_LINE, ROM, SUBSYSTEM, VENDOR, PciFunction, Space
from bt.machine import Machine
from bt.memory.map import Use
from bt.monitor.command import Command, CommandError, lines

_CLASSES = {
    0x0100: "SCSI controller", 0x0101: "IDE controller", 0x0200: "Ethernet controller", 0x0300: "VGA controller",
    0x0600: "Host bridge", 0x0601: "ISA bridge", 0x0680: "Bridge", 0x0401: "Audio controller", 0x0C03: "USB controller",
}  # fmt: skip
_MODES = ("fixed", "lowest", "SMI", "...", "NMI", "INIT", "...", "extINT")  # delivery modes of the I/O APIC
_LOCAL_MODES = ("Fixed", "...", "SMI", "...", "NMI", "INIT", "...", "ExtINT")  # and of the local one
_NMI = 4
_SHORTHANDS = ("no-shorthand", "self", "all-self", "all")  # QEMU's words
# the registers by their numbers: address bits 4 to 11 (SDM vol. 3A table 11-1)
_LOCAL_VECTORS = (("LVT0", 0x35), ("LVT1", 0x36), ("LVTPC", 0x34), ("LVTERR", 0x37), ("LVTTHMR", 0x33), ("LVTT", 0x32))
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


def _lapic(pc: Machine, rest: str) -> str:
    apic = pc.board.local_apic
    if apic is None:
        raise CommandError("Error: this processor has no local APIC")

    def register(index: int) -> int:
        return apic.read(index << 4, 4)

    divide = register(0x3E)
    divisor = 1 << ((divide & 3 | divide >> 1 & 4) + 1 & 7)
    spurious, low, high = register(0x0F), register(0x30), register(0x31)
    shorthand = low >> 18 & 3
    found = ["dumping local APIC state for CPU 0 ", ""]
    found += [_local_vector(name, register(index), name == "LVTT") for name, index in _LOCAL_VECTORS]
    found += [
        f"Timer\t DCR={divide:#x} (divide by {divisor}) initial_count = {register(0x38)} "
        f"current_count = {register(0x39)}",
        f"SPIV\t {spurious:#010x} APIC {'enabled' if spurious & 1 << 8 else 'disabled'}, "
        f"focus={'on' if spurious & 1 << 9 else 'off'}, spurious vec {spurious & 0xFF}",
        f"ICR\t {low:#010x} {'logical' if low & 1 << 11 else 'physical'} {'level' if low & 1 << 15 else 'edge'} "
        f"{'assert' if low & 1 << 14 else 'de-assert'} {_SHORTHANDS[shorthand]}",
        f"ICR2\t {high:#010x}" + ("" if shorthand or low & 1 << 11 else f" cpu {high >> 24} (APIC ID)"),
        f"ESR\t {register(0x28):#010x}",
        f"ISR\t {_vectors(register, 0x10)}",
        f"IRR\t {_vectors(register, 0x20)}",
        "",
        f"APR 0x00 TPR {register(0x08):#04x} DFR {register(0x0E) >> 28:#04x} LDR {register(0x0D) >> 24:#04x} "
        f"PPR {register(0x0A):#04x}",
    ]
    return lines(found)


def _local_vector(name: str, entry: int, is_timer: bool) -> str:
    mode = entry >> 8 & 7
    timer = ("periodic" if entry & 1 << 17 else "one-shot") if is_timer else ""
    shown = f"{name}\t {entry:#010x} {'active-lo' if entry & 1 << 13 else 'active-hi'} "
    shown += f"{'level' if entry & 1 << 15 else 'edge':<5} {'masked' if entry & 1 << 16 else '':<6} "
    shown += f"{'pending' if entry & 1 << 12 else '':<7} {timer:<12} {_LOCAL_MODES[mode]:<6}"
    return shown if mode == _NMI else f"{shown} (vec {entry & 0xFF})"


def _vectors(register: Callable[[int], int], first: int) -> str:
    """Vectors whose bit is set in eight registers from `first` on, and whether they are level-triggered."""
    shown = [
        f"{vector}{'(level)' if register(0x18 + vector // 32) >> vector % 32 & 1 else ''} "
        for vector in range(256)
        if register(first + vector // 32) >> vector % 32 & 1
    ]
    return "".join(shown) or "(none)"


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
    Command(("lapic",), "", "show local apic state", _lapic),
    Command(("pci",), "", "show PCI info", _pci),
    Command(("mtree",), "", "show memory tree", _tree),
)
