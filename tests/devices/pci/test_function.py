"""Configuration space: sizing and moving regions, what reaches whom, interrupts, capabilities."""

import random

import pytest

from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.function import ROM, Bar, Identity, PciFunction, Space
from tests.devices.board import transplant
from tests.devices.pci.pc import Pc

IDENTITY = Identity(0x1AF4, 0x1000, 0x020000, interrupt_pin=1)


@pytest.fixture
def pc() -> Pc:
    return Pc()


def test_regions_are_sized_and_moved(pc: Pc) -> None:
    pc.put(2, 0, 0x10, 0xFFFF_FFFF)
    assert pc.get(2, 0, 0x10) == 0xFF00_0008
    pc.put(2, 0, 0x10, 0xFD00_0000)
    assert pc.moves == []  # memory is off
    pc.put(2, 0, 4, 0x0002, 2)
    pc.put(2, 0, 0x10, 0xFFFF_FFFF)
    pc.put(2, 0, 0x10, 0xE012_3456)
    pc.put(2, 0, 4, 0, 2)
    assert pc.moves == [("vga", 0, 0xFD00_0000), ("vga", 0, None), ("vga", 0, 0xE000_0000), ("vga", 0, None)]


def test_a_rom_answers_only_while_it_is_enabled(pc: Pc) -> None:
    pc.put(2, 0, 0x30, 0xFFFF_FFFE)
    assert pc.get(2, 0, 0x30) == 0xFFFF_0000
    pc.put(2, 0, 4, 0x0002, 2)
    pc.put(2, 0, 0x30, 0xFEB0_0000)
    assert pc.vga.address_of(ROM) is None
    pc.put(2, 0, 0x30, 0xFEB0_0001)
    assert pc.moves == [("vga", ROM, 0xFEB0_0000)]


def test_io_regions(pc: Pc) -> None:
    pc.put(1, 1, 4, 0x0001, 2)
    pc.put(1, 1, 0x20, 0xFFFF_FFFF)
    assert (pc.get(1, 1, 0x20), pc.moves) == (0xFFFF_FFF1, [])
    pc.put(1, 1, 0x20, 0xC041, 2)
    pc.put(1, 1, 0x22, 0, 2)
    assert pc.moves == [("ide", 4, 0xC040)]


@pytest.mark.parametrize(
    ("address", "port", "size", "value"),
    [
        (0x80000000, 0xCFC, 4, 0x12378086),
        (0x80000000, 0xCFD, 1, 0x80),
        (0x80000000, 0xCFE, 2, 0x1237),
        (0x00000000, 0xCFC, 4, 0xFFFFFFFF),  # not enabled
        (0x80010000, 0xCFC, 4, 0xFFFFFFFF),  # bus 1
        (0x80001800, 0xCFC, 2, 0xFFFF),  # nobody there
    ],
)
def test_configuration_mechanism_1(pc: Pc, address: int, port: int, size: int, value: int) -> None:
    pc.port_out(0xCF8, address, 4)
    assert pc.port_in(port, size) == value
    pc.port_out(0xCF8, 0x11, 1)  # not for the address register
    pc.port_out(0xCFA, 0x2222, 2)
    assert pc.port_in(0xCF8, 4) == address


def test_two_functions_cannot_be_in_one_place(pc: Pc) -> None:
    with pytest.raises(ValueError, match=r"00:01\.3: PM function is there"):
        pc.ports.attach(PciFunction("x", IDENTITY), 1, 3)
    assert list(pc.ports.functions) == [(0, 0), (1, 0), (1, 1), (1, 3), (2, 0)]


def test_interrupts_can_be_switched_off() -> None:
    function = PciFunction("nic", IDENTITY)
    function.set_interrupt(True)
    assert (function.intx.level, function.read(6, 2) & 8) == (True, 8)
    function.write(4, 2, 0x0400)
    assert (function.intx.level, function.read(6, 2) & 8) == (False, 8)
    function.write(4, 2, 0)
    assert function.intx.level
    function.reset()
    assert (function.intx.level, function.read(6, 2) & 8) == (False, 0)


def test_capabilities_are_a_list() -> None:
    function = PciFunction("virtio", IDENTITY, {0: Bar(32, Space.IO)})
    first = function.add_capability(0x09, b"\x10\x01\x04", writable=b"\x00\xff")
    second = function.add_capability(0x11, bytes(10))
    assert (first, second) == (0x40, 0x48)
    assert function.read(6, 2) & 0x10
    at = function.read(0x34, 1)
    assert (at, function.read(at, 2)) == (second, first << 8 | 0x11)
    assert function.read(first, 4) == 0x01100009
    function.write(first, 4, 0xFFFF_FFFF)
    assert function.read(first, 4) == 0xFF100009
    function.reset()
    assert function.read(first, 4) == 0x01100009


@pytest.mark.parametrize("seed", range(5))
def test_any_traffic_is_harmless_and_survives_a_snapshot(seed: int) -> None:
    def step(pc: Pc, rng: random.Random) -> int:
        device, number = rng.choice([(0, 0), (1, 0), (1, 1), (1, 3), (2, 0), (7, 7)])
        register, size = rng.randrange(256), rng.choice([1, 2, 4])
        register &= -size
        match rng.randrange(6):
            case 0:
                pc.port_out(0xCF8 + rng.randrange(8), rng.getrandbits(32), rng.choice([1, 2, 4]))
                return pc.port_in(0xCF8 + rng.randrange(8), rng.choice([1, 2, 4]))
            case 1 | 2 | 3:
                pc.put(device, number, register, rng.choice([0, rng.getrandbits(32), 0xFFFF_FFFF, 3]), size)
                return 0
            case 4:
                pc.vga.set_interrupt(bool(rng.randrange(2)))
                return 0
        return pc.get(device, number, register, size)

    pc, copy = Pc(), Pc()
    for each in (pc, copy):
        each.isa.connect(each.vga, 2)
    rng = random.Random(seed)
    for _ in range(1000):
        step(pc, rng)
    transplant(pc.ports, copy.ports)
    transplant(pc.reset_control, copy.reset_control)
    for (source, *_), (target, *_) in zip(pc.functions, copy.functions, strict=True):
        transplant(source, target)
    assert [line.level for line in pc.irqs] == [line.level for line in copy.irqs]
    assert [pc.vga.address_of(n) for n in pc.vga.bars] == [copy.vga.address_of(n) for n in copy.vga.bars]
    assert pc.regions.items() >= copy.regions.items()
    pc.moves.clear()
    copy.moves.clear()
    one, other = random.Random(seed), random.Random(seed)
    assert [step(pc, one) for _ in range(800)] == [step(copy, other) for _ in range(800)]
    assert pc.moves == copy.moves


def test_an_empty_bus_reads_as_ones() -> None:
    ports = ConfigPorts()
    ports.write(0, 4, 0x8000_0000)
    assert ports.read(4, 4) == 0xFFFF_FFFF
    assert ports.read(1, 1) == 0xFF
