"""fw_cfg by its documentation, and against QEMU's."""

import random
import struct
from collections.abc import Iterator

import pytest

from bt.firmware.e820 import MemoryRange, MemoryType
from bt.firmware.fw_cfg import CHUNK, FwCfg
from bt.firmware.pc_items import describe_pc
from bt.memory.bus import Bus
from bt.memory.ram import GuestRam
from tests.devices.board import transplant
from tests.devices.qtest import Qemu, needs_qemu

RAM_BYTES = 2 << 20  # beyond the BIOS
DESCRIPTOR, BUFFER = 0x1000, 0x2000


class Ours:
    """The device at its ports, with RAM."""

    def __init__(self) -> None:
        self.ram = GuestRam(RAM_BYTES)
        self.config = FwCfg(self.ram)
        self.ports = Bus("ports", 16)
        self.ports.attach(self.config, 0x510, 2)
        self.ports.attach(self.config, 0x514, 8, offset=4)

    def port_in(self, port: int, size: int = 1) -> int:
        return self.ports.read(port, size)

    def port_out(self, port: int, value: int, size: int = 1) -> None:
        self.ports.write(port, size, value)

    def read_bytes(self, address: int, length: int) -> bytes:
        return self.ram.read(address, length)

    def write_bytes(self, address: int, data: bytes) -> None:
        self.ram.write(address, data)


Machine = Ours | Qemu


@pytest.fixture
def ours() -> Iterator[Ours]:
    ours = Ours()
    yield ours
    ours.ram.close()


def select(machine: Machine, key: int) -> None:
    machine.port_out(0x510, key, 2)


def take(machine: Machine, length: int) -> bytes:
    return bytes(machine.port_in(0x511) for _ in range(length))


def dma(machine: Machine, control: int, length: int, address: int, at: int = DESCRIPTOR) -> int:
    """What the control word is afterwards."""
    machine.write_bytes(at, struct.pack(">IIQ", control, length, address))
    machine.port_out(0x514, 0, 4)
    machine.port_out(0x518, int.from_bytes(struct.pack(">I", at), "little"), 4)
    return int.from_bytes(machine.read_bytes(at, 4), "big")


def files(machine: Machine) -> dict[str, tuple[int, int]]:
    """Key and size by name."""
    select(machine, 0x19)
    found = {}
    for _ in range(int.from_bytes(take(machine, 4), "big")):
        size, key, _, name = struct.unpack(">IHH56s", take(machine, 64))
        found[name.rstrip(b"\0").decode()] = (key, size)
    return found


def test_files_have_keys_in_the_order_of_their_names(ours: Ours) -> None:
    ours.config.add_file("etc/b", b"second")
    ours.config.add_file("etc/a", b"first")
    assert files(ours) == {"etc/a": (0x20, 5), "etc/b": (0x21, 6)}
    ours.config.add_file("bootorder", b"x")
    assert files(ours) == {"bootorder": (0x20, 1), "etc/a": (0x21, 5), "etc/b": (0x22, 6)}
    select(ours, 0x22)
    assert take(ours, 8) == b"second\0\0"


def test_writing_needs_a_writable_file(ours: Ours) -> None:
    ours.config.add_file("etc/pointer", bytes(8), writable=True)
    ours.config.add_file("etc/read-only", bytes(8))
    ours.write_bytes(BUFFER, b"abcd")
    assert dma(ours, 0x20 << 16 | 8 | 4, 2, 0) == 0
    assert dma(ours, 0x10, 4, BUFFER) == 0
    assert ours.config.file("etc/pointer") == b"\0\0abcd\0\0"
    assert dma(ours, 0x10, 4, BUFFER) == 1  # two bytes are left
    assert dma(ours, 0x21 << 16 | 8 | 0x10, 4, BUFFER) == 1
    copy = Ours()
    copy.config.add_file("etc/pointer", bytes(8), writable=True)
    copy.config.add_file("etc/read-only", bytes(8))
    transplant(ours.config, copy.config)
    assert copy.config.file("etc/pointer") == b"\0\0abcd\0\0"
    copy.ram.close()


@pytest.mark.parametrize("length", [0xFFFF_FFFF, RAM_BYTES - BUFFER + 1])
def test_dma_out_of_memory_sets_the_error_bit(ours: Ours, length: int) -> None:
    ours.config.add_file("etc/long", b"x" * (CHUNK + 10))
    assert dma(ours, 0x20 << 16 | 8 | 2, length, BUFFER) == 1
    assert ours.read_bytes(BUFFER, CHUNK + 12) == b"x" * (CHUNK + 10) + b"\0\0"


def test_dma_over_its_own_descriptor(ours: Ours) -> None:
    assert dma(ours, 8 | 2, 16, DESCRIPTOR) == 0
    assert ours.read_bytes(DESCRIPTOR + 4, 12) == bytes(12)


def test_what_a_pc_says(ours: Ours) -> None:
    ram, hole = MemoryRange(0, 640 << 10), MemoryRange(0xFFFC0000, 0x40000, MemoryType.RESERVED)
    describe_pc(
        ours.config, [ram, hole], boot_order=["/rom@genroms/a.rom", "HALT"], option_roms={"vgaroms/v.bin": b"U"}
    )
    names = files(ours)
    assert list(names) == ["bios-geometry", "bootorder", "etc/boot-fail-wait", "etc/e820", "vgaroms/v.bin"]
    select(ours, names["etc/e820"][0])
    assert take(ours, 40) == struct.pack("<QQIQQI", 0, 640 << 10, 1, 0xFFFC0000, 0x40000, 2)
    select(ours, names["bootorder"][0])
    assert take(ours, names["bootorder"][1]) == b"/rom@genroms/a.rom\nHALT\0"
    select(ours, 3)
    assert take(ours, 8) == struct.pack("<Q", 640 << 10)


def test_keys_of_files_are_not_free(ours: Ours) -> None:
    with pytest.raises(ValueError, match="add a file"):
        ours.config.add(0x25, b"")
    with pytest.raises(ValueError, match="longer than 55"):
        ours.config.add_file("x" * 56, b"")


@pytest.mark.parametrize("seed", range(3))
def test_any_traffic_is_harmless(ours: Ours, seed: int) -> None:
    rng = random.Random(seed)
    describe_pc(ours.config, [MemoryRange(0, RAM_BYTES)])
    ours.config.add_file("etc/w", bytes(100), writable=True)
    for _ in range(1500):
        match rng.randrange(4):
            case 0:
                ours.port_out(rng.randrange(0x510, 0x51C), rng.getrandbits(32), rng.choice([1, 2, 4]))
            case 1:
                ours.port_in(rng.randrange(0x510, 0x51C), rng.choice([1, 2, 4]))
            case _:
                key = rng.choice([0, 0x19, 0x20, 0x24, rng.getrandbits(16)])
                length = rng.choice([0, 1, 64, 70_000, rng.getrandbits(32)])
                target = rng.choice([0, DESCRIPTOR, RAM_BYTES - 8, rng.getrandbits(20), rng.getrandbits(64)])
                at = rng.choice([DESCRIPTOR, DESCRIPTOR, RAM_BYTES - 16])
                dma(ours, key << 16 | rng.randrange(32), length, target, at)
    assert ours.port_in(0x514, 4) == int.from_bytes(b"QEMU", "little")


@needs_qemu
@pytest.mark.parametrize("seed", range(4))
def test_same_answers_as_qemu(ours: Ours, seed: int) -> None:
    """Its own files are given to ours, so that everything that is read has to be the same."""
    rng = random.Random(seed)
    with Qemu("-machine", "pc", "-nodefaults", "-m", "2", "-vga", "std") as qemu:
        for name, (key, size) in files(qemu).items():
            select(qemu, key)
            dma(qemu, 2, size, BUFFER)
            ours.config.add_file(name, qemu.read_bytes(BUFFER, size))
        assert files(ours) == files(qemu)
        for key in (2, 3, 4, 5, 0xD, 0xE, 0xF, 0x8000, 0x8001, 0x8002):
            select(qemu, key)
            ours.config.add(key, take(qemu, 40))
        for address in (DESCRIPTOR, BUFFER, RAM_BYTES - 64):
            ours.write_bytes(address, bytes(64))
            qemu.write_bytes(address, bytes(64))
        for _ in range(120):
            match rng.randrange(4):
                case 0:
                    key = rng.choice([0, 1, 5, 0x19, 0x25, 0x8000, 0x4000, 0xFFFF, rng.getrandbits(16)])
                    select(ours, key)
                    select(qemu, key)
                case 1:
                    assert take(ours, 9) == take(qemu, 9)
                case 2:
                    port, size = rng.choice([(0x511, 1), (0x511, 2), (0x514, 4), (0x518, 4), (0x519, 1)])
                    assert ours.port_in(port, size) == qemu.port_in(port, size)
                case _:
                    key = rng.choice([0, 1, 0x19, 0x20, 0x23, 0x7777])
                    control = key << 16 | rng.choice([0, 1, 2, 3, 4, 6, 8, 0xA, 0xC, 0x10, 0x12, 0x18])
                    length = rng.choice([0, 1, 7, 64])
                    target = rng.choice([BUFFER, BUFFER + 3, RAM_BYTES - 8, RAM_BYTES + 8])
                    assert dma(ours, control, length, target) == dma(qemu, control, length, target)
                    for address in (BUFFER, RAM_BYTES - 8):
                        length = min(64, RAM_BYTES - address)
                        assert ours.read_bytes(address, length) == qemu.read_bytes(address, length)
