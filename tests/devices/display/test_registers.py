"""Registers of the VGA: what is decoded, what exists, what time does to them."""

import random
from itertools import pairwise

import pytest

from bt.clock.virtual_clock import NS_PER_SECOND
from bt.devices.device import Device
from tests.devices.board import transplant
from tests.devices.display.modes import MODES, Ours, indexed, mode_set


@pytest.fixture
def ours() -> Ours:
    return Ours()


def test_status_and_crtc_are_at_one_of_two_addresses(ours: Ours) -> None:
    ours.out(iter([(0x3C2, 0)]))
    ours.out(indexed(0x3B4, 0x0E, 0x5A))
    assert (ours.port_in(0x3B5), ours.port_in(0x3D5), ours.port_in(0x3DA)) == (0x5A, 0xFF, 0xFF)
    ours.out(iter([(0x3C2, 1), (0x3B5, 0)]))
    assert (ours.port_in(0x3D5), ours.port_in(0x3B5)) == (0x5A, 0xFF)


def test_crtc_is_protected_but_for_line_compare(ours: Ours) -> None:
    ours.out(iter([(0x3C2, 1)]))
    ours.out(indexed(0x3D4, 0x11, 0x80))
    for index in range(9):
        ours.out(indexed(0x3D4, index, 0xFF))
    assert ours.vga.registers.crtc[:9] == bytes((0, 0, 0, 0, 0, 0, 0, 0x10, 0xFF))


def test_reading_status_makes_the_next_attribute_write_an_index(ours: Ours) -> None:
    ours.out(iter([(0x3C2, 1), (0x3DA, None), (0x3C0, 3), (0x3DA, None), (0x3C0, 0x14), (0x3C0, 0xFF)]))
    assert ours.vga.registers.attributes[3] == 0
    assert ours.vga.registers.attributes[0x14] == 0x0F


def test_dac_reads_and_writes_in_threes(ours: Ours) -> None:
    ours.out(iter([(0x3C8, 254), *((0x3C9, value) for value in (1, 2, 3, 4, 5, 6, 7, 8, 0xFF))]))
    assert ours.port_in(0x3C8) == 1
    ours.out(iter([(0x3C7, 255)]))
    assert [ours.port_in(0x3C9) for _ in range(6)] == [4, 5, 6, 7, 8, 0x3F]
    assert ours.port_in(0x3C7) == 3


@pytest.mark.parametrize(("number", "hz"), [(0x03, 70), (0x13, 70), (0x12, 60)])
def test_retrace_comes_as_often_as_the_mode_says(ours: Ours, number: int, hz: int) -> None:
    ours.out(mode_set(MODES[number]))
    statuses = []
    for _ in range(200_000):
        ours.clock.advance(5_000)
        statuses.append(ours.port_in(0x3DA))
    retraces = sum(a & 8 < b & 8 for a, b in pairwise(statuses))
    assert retraces == pytest.approx(hz, abs=1)
    disabled = sum(status & 1 for status in statuses) / len(statuses)
    lines, shown = (449, 400) if hz == 70 else (525, 480)
    assert 1 - disabled == pytest.approx(0.8 * shown / lines, abs=0.01)
    assert all(status & 1 for status in statuses if status & 8)


def test_retrace_lasts_two_lines(ours: Ours) -> None:
    ours.out(mode_set(MODES[0x12]))
    raster = ours.vga.registers.raster
    line_ns = raster.dots * NS_PER_SECOND // raster.dot_hz
    assert (raster.dots, raster.lines, raster.retrace_start, raster.retrace_lines) == (800, 525, 490, 2)
    assert [bool(raster.status(line * line_ns + line_ns // 2) & 8) for line in (489, 490, 491, 492)] == [
        False, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_any_traffic_is_harmless_and_survives_a_snapshot(ours: Ours, seed: int) -> None:
    """Registers, memory and display interface together: the copy goes on as the original does."""
    rng = random.Random(seed)

    def traffic(machine: Ours, rng: random.Random, count: int) -> list[int]:
        seen = []
        for _ in range(count):
            machine.clock.advance(rng.randrange(100_000))
            match rng.randrange(6):
                case 0 | 1:
                    port = rng.choice([0x3C4, 0x3CE, 0x3D4, 0x3B4])
                    machine.out(indexed(port, rng.randrange(0x20), rng.randrange(256)))
                case 2:
                    machine.vga.registers.write(rng.randrange(0x30), 1, rng.randrange(256))
                    seen.append(machine.vga.registers.read(rng.randrange(0x30), 1))
                case 3:
                    machine.vga.memory.write(rng.randrange(0x20000), rng.choice([1, 2, 4, 8]), rng.getrandbits(64))
                case 4:
                    seen.append(machine.vga.memory.read(rng.randrange(0x20000), rng.choice([1, 2, 4, 8])))
                case _:
                    seen.append(machine.dispi(rng.randrange(13), rng.choice([0, 1, 0x81, 8, 32, rng.randrange(65536)])))
        return seen

    traffic(ours, rng, 600)
    copy = Ours()
    copy.clock.restore(ours.clock.state())
    copy.vga.buffer[:] = ours.vga.buffer
    source: Device
    for source, target in zip(ours.vga.devices, copy.vga.devices, strict=True):
        transplant(source, target)
    assert ours.vga.memory.window == copy.vga.memory.window
    assert traffic(ours, random.Random(seed), 300) == traffic(copy, random.Random(seed), 300)
    assert ours.vga.buffer == copy.vga.buffer
