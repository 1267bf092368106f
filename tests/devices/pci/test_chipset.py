"""440FX, PIIX3 and PIIX4: regions below 1 MiB, interrupt routing, reset, power management."""

import pytest

from bt.clock.virtual_clock import NS_PER_SECOND
from bt.devices.device import Line
from bt.devices.pci.function import Identity, PciFunction
from bt.devices.pci.i440fx import HostBridge, Target
from bt.devices.pci.piix4_pm import ApmPorts, Gpe, PmFunction, SmBus
from tests.devices.board import pass_time, transplant
from tests.devices.pci.pc import Pc

RAM, PCI = Target.RAM, Target.PCI
NIC = Identity(0x8086, 0x100E, 0x020000, interrupt_pin=1)
STATUS, ENABLE, CONTROL, TIMER = 0, 2, 4, 8


@pytest.fixture
def pc() -> Pc:
    return Pc()


def test_pam_as_seabios_writes_it(pc: Pc) -> None:
    assert pc.regions == {}
    pc.put(0, 0, 0x58, 0x33333000)
    pc.put(0, 0, 0x5C, 0x33333333)
    assert pc.regions == {0xC0000 + n * 0x4000: (RAM, RAM) for n in range(16)}
    pc.put(0, 0, 0x58, 0x11111000)
    pc.put(0, 0, 0x5C, 0x33111111)
    assert pc.regions[0xF0000] == (RAM, PCI)  # read-only from now on
    assert pc.regions[0xC0000] == (RAM, PCI)
    assert pc.regions[0xEC000] == (RAM, RAM)
    pc.put(0, 0, 0x59, 0x20, 1)
    assert pc.regions[0xF0000] == (PCI, RAM)
    pc.host.reset()
    assert set(pc.regions.values()) == {(PCI, PCI)}


def test_neighbours_change_at_once() -> None:
    """Each change of the map costs the machine its TLBs: direct boots open all of it."""
    heard: list[tuple[int, int, Target, Target]] = []
    bridge = HostBridge(lambda *region: heard.append(region))
    bridge.write(0x58, 4, 0x31333000)
    assert heard == [(0xC0000, 0x8000, RAM, RAM), (0xC8000, 0x4000, RAM, PCI), (0xCC000, 0x4000, RAM, RAM),
                     (0xF0000, 0x10000, RAM, RAM)]  # fmt: skip
    heard.clear()
    bridge.write(0x5C, 4, 0x33333333)
    assert heard == [(0xD0000, 0x20000, RAM, RAM)]


def test_smram_opens_and_locks(pc: Pc) -> None:
    pc.put(0, 0, 0x72, 0x4A, 1)
    assert pc.regions[0xA0000] == (RAM, RAM)
    pc.put(0, 0, 0x72, 0x0A, 1)
    assert pc.regions[0xA0000] == (PCI, PCI)
    pc.put(0, 0, 0x72, 0x5D, 1)
    assert pc.get(0, 0, 0x72, 1) == 0x1A  # locked, closed; base segment fixed
    pc.put(0, 0, 0x70, 0x004A_0000)
    assert pc.get(0, 0, 0x72, 1) == 0x1A
    assert pc.regions[0xA0000] == (PCI, PCI)
    pc.host.reset()
    assert pc.get(0, 0, 0x72, 1) == 0x02


def test_pirqs_are_shared_and_routed(pc: Pc) -> None:
    cards = [PciFunction(f"nic {slot}", NIC) for slot in (2, 3, 6)]
    for card, slot in zip(cards, (2, 3, 6), strict=True):
        pc.isa.connect(card, slot)

    def high() -> list[int]:
        return [number for number, line in enumerate(pc.irqs) if line.level]

    cards[0].set_interrupt(True)  # slot 2, INTA#: PIRQB
    assert high() == []
    pc.put(1, 0, 0x60, 0x0B0A0B0A)
    assert high() == [11]
    cards[2].set_interrupt(True)  # slot 6: PIRQB too
    cards[0].set_interrupt(False)
    assert high() == [11]
    cards[2].set_interrupt(False)
    assert high() == []
    cards[1].set_interrupt(True)  # slot 3: PIRQC
    assert high() == [10]
    pc.put(1, 0, 0x62, 0x0D, 1)  # not an interrupt of PCI's
    assert high() == []
    pc.put(1, 0, 0x62, 0x05, 1)
    assert high() == [5]


def test_reset_control(pc: Pc) -> None:
    pc.port_out(0xCF9, 0x02, 1)
    assert (pc.port_in(0xCF9, 1), pc.resets) == (0x02, [])
    pc.port_out(0xCF9, 0x06, 1)
    pc.port_out(0xCF9, 0x04, 1)
    assert pc.resets == [True, False]


def test_pm_blocks_are_where_the_guest_puts_them(pc: Pc) -> None:
    pc.put(1, 3, 0x40, 0x601)
    pc.put(1, 3, 0x80, 1, 1)
    pc.put(1, 3, 0x90, 0x701)
    pc.put(1, 3, 0x40, 0xB001)
    pc.put(1, 3, 0x80, 0, 1)
    assert pc.moves == [
        ("pm", 0, 0x600), ("pm", 1, 0x700), ("pm", 0, 0xB000), ("pm", 0, None),
    ]  # fmt: skip


def test_pm_timer_counts_and_overflows(pc: Pc) -> None:
    pm = pc.pm_registers
    pass_time(pc.clock, NS_PER_SECOND)
    assert pm.read(TIMER, 4) == 3_579_545
    assert pm.read(TIMER + 1, 1) == 3_579_545 >> 8 & 0xFF
    pm.write(CONTROL, 2, 1)
    pm.write(ENABLE, 2, 1)
    assert (pm.read(STATUS, 2), pc.sci.level) == (0, False)
    pass_time(pc.clock, 2 * NS_PER_SECOND)  # 2^23 ticks are 2.34 s
    assert (pm.read(STATUS, 2), pc.sci.level) == (1, True)
    pm.write(STATUS, 2, 1)
    assert (pm.read(STATUS, 2), pc.sci.level) == (0, False)
    pass_time(pc.clock, 2 * NS_PER_SECOND)
    assert pc.sci.level
    assert pm.read(TIMER, 4) == 5 * 3_579_545 & 0xFFFFFF


def test_overflow_is_noticed_without_interrupts(pc: Pc) -> None:
    pass_time(pc.clock, 3 * NS_PER_SECOND)
    assert pc.pm_registers.read(STATUS, 4) == 1


def test_power_button(pc: Pc) -> None:
    pm = pc.pm_registers
    pm.write(ENABLE, 2, 0x0100)
    pm.press_power_button()
    assert (pm.read(STATUS, 2), pc.sci.level) == (0x100, False)  # nobody has ACPI on
    apm = ApmPorts(pm)
    apm.write(0, 1, 0xF1)
    assert (pm.read(CONTROL, 2), pc.sci.level, apm.read(0, 1)) == (1, True, 0xF1)
    pm.write(STATUS + 1, 1, 1)
    assert not pc.sci.level
    apm.write(0, 1, 0xF0)
    assert pm.read(CONTROL, 2) == 0


@pytest.mark.parametrize(("value", "off"), [(0x2000, 1), (0x2001, 1), (0x3401, 0), (0x0001, 0)])
def test_soft_off(pc: Pc, value: int, off: int) -> None:
    pc.pm_registers.write(CONTROL, 2, value)
    assert pc.powered_off == off
    assert pc.pm_registers.read(CONTROL, 2) == value & ~0x2000


def test_pm_state(pc: Pc) -> None:
    pm = pc.pm_registers
    pm.write(CONTROL, 2, 1)
    pm.write(ENABLE, 2, 1)
    pass_time(pc.clock, NS_PER_SECOND)
    copy = Pc()
    copy.clock.restore(pc.clock.state())
    transplant(pm, copy.pm_registers)
    for each in (pc, copy):
        pass_time(each.clock, NS_PER_SECOND)
        assert not each.sci.level
        pass_time(each.clock, NS_PER_SECOND // 2)
        assert each.sci.level


def test_firmware_finds_its_handler_installed() -> None:
    assert PmFunction().read(0x58, 4) == 1 << 25
    assert PmFunction(apmc_enabled=False).read(0x58, 4) == 0


def test_general_purpose_events() -> None:
    sci = Line("SCI")
    gpe = Gpe(sci)
    gpe.trigger(9)
    assert not sci.level
    gpe.write(3, 1, 0x02)
    assert sci.level
    assert [gpe.read(n, 1) for n in range(4)] == [0, 2, 0, 2]
    gpe.write(1, 1, 0x02)
    assert not sci.level


def test_nobody_is_on_the_smbus() -> None:
    bus = SmBus()
    bus.write(4, 1, 0xA1)
    bus.write(2, 1, 0x48)
    assert (bus.read(0, 1), bus.read(2, 1), bus.read(4, 1)) == (0x04, 0x08, 0xA1)
    bus.write(0, 1, 0xFF)
    assert bus.read(0, 1) == 0
