"""Debug exit, debug console, ports 0x61, 0x92 and 0xf0."""

from itertools import pairwise

import pytest

from bt.clock.virtual_clock import (
    NS_PER_SECOND,
    VirtualClock,
)
from bt.devices.chipset.fpu_error import FpuError
from bt.devices.chipset.pit8254 import Pit8254
from bt.devices.chipset.pit8254_native import PIT_HZ
from bt.devices.chipset.port61 import Port61
from bt.devices.chipset.port61_native import REFRESH, REFRESH_PERIOD_TICKS
from bt.devices.chipset.port92 import Port92
from bt.devices.debug.debug_console import DebugConsole
from bt.devices.debug.debug_exit import (
    LENGTH,
    DebugExit,
)
from bt.devices.device import Line
from bt.memory.bus import Bus
from tests.devices.board import pass_time, transplant


@pytest.mark.parametrize(
    ("port", "size", "value", "status"),
    [(0xF4, 1, 0, 1), (0xF4, 1, 0x10, 33), (0xF4, 2, 0x1234, 0x2469), (0xF4, 4, 0x31, 99), (0xF7, 1, 1, 3)],
)
def test_debug_exit_status(port: int, size: int, value: int, status: int) -> None:
    seen: list[int] = []
    ports = Bus("ports", 16)
    ports.attach(DebugExit(seen.append), 0xF4, LENGTH)
    assert ports.read(port, size) == 0
    assert seen == []
    ports.write(port, size, value)
    assert seen == [status]


def test_debug_console_prints_and_is_found() -> None:
    out = bytearray()
    ports = Bus("ports", 16)
    ports.attach(DebugConsole(out.append), 0xE9, 1)
    assert ports.read(0xE9, 1) == 0xE9
    for character in b"hello\n":
        ports.write(0xE9, 1, character)
    assert out == b"hello\n"


def test_port_92_gates_a20_and_resets_on_the_rising_bit() -> None:
    a20: list[bool] = []
    resets: list[str] = []
    port = Port92(a20.append, lambda: resets.append("reset"))
    assert port.read(0, 1) == 0
    port.write(0, 1, port.read(0, 1) | 2)  # the usual way to enable A20
    assert (a20, resets, port.read(0, 1)) == ([True], [], 2)
    port.write(0, 1, 0)
    assert a20 == [True, False]
    port.write(0, 1, 0b11)
    port.write(0, 1, 0b11)
    assert resets == ["reset"]
    port.reset()
    port.write(0, 1, 1)
    assert resets == ["reset"] * 2


def test_port_92_stores_only_the_bits_it_has() -> None:
    port = Port92(lambda enabled: None, lambda: None)
    port.write(0, 1, 0xFE)
    assert port.read(0, 1) == 0b1101_1010
    other = Port92(lambda enabled: None, lambda: None)
    transplant(port, other)
    assert other.read(0, 1) == 0b1101_1010


def build_port_61() -> tuple[VirtualClock, Pit8254, Port61]:
    clock = VirtualClock()
    pit = Pit8254(clock, Line("IRQ0"))
    return clock, pit, Port61(clock, pit)


def test_port_61_bits() -> None:
    _, pit, port = build_port_61()
    assert port.read(0, 1) & 0xCF == 0
    port.write(0, 1, 0xFF)
    assert port.read(0, 1) & 0xCF == 0x0F  # gate, speaker, the two check disables; no NMI cause
    assert port.speaker_on
    assert pit.gate2.level
    port.reset()
    assert not pit.gate2.level
    assert not port.speaker_on


def test_port_61_refresh_toggles_every_15_us() -> None:
    clock, _, port = build_port_61()
    period_ns = REFRESH_PERIOD_TICKS * NS_PER_SECOND // PIT_HZ
    assert 15_080 <= period_ns <= 15_090
    toggles, last = 0, port.read(0, 1) & REFRESH
    for _ in range(1000):
        pass_time(clock, 1000)
        now = port.read(0, 1) & REFRESH
        toggles += now != last
        last = now
    assert toggles == 1_000_000 // period_ns


def test_linux_tsc_calibration_against_counter_2() -> None:
    """pit_calibrate_tsc(): counter 2 in mode 0 for 10 ms, polling OUT2 in port 0x61."""
    clock, pit, port = build_port_61()
    port.write(0, 1, port.read(0, 1) & ~0x02 | 0x01)
    latch = PIT_HZ // 100
    pit.write(3, 1, 0xB0)
    pit.write(2, 1, latch & 0xFF)
    pit.write(2, 1, latch >> 8)
    start, polls = clock.now_ns, 0
    while not port.read(0, 1) & 0x20:
        pass_time(clock, 1000)
        polls += 1
        assert polls < 20_000
    assert 9_999_000 <= clock.now_ns - start <= 10_003_000


def test_linux_quick_calibration_sees_every_high_byte() -> None:
    """quick_pit_calibrate(): counter 2 counts down from 0xffff, the high byte is read and must step by one."""
    clock, pit, port = build_port_61()
    port.write(0, 1, 0x01)
    pit.write(3, 1, 0xB0)
    pit.write(2, 1, 0xFF)
    pit.write(2, 1, 0xFF)

    def high_byte() -> int:
        pit.read(2, 1)
        pass_time(clock, 1500)  # what two port reads take on a PC
        return pit.read(2, 1)

    highs = [high_byte() for _ in range(3000)]
    steps = [later for earlier, later in pairwise(highs) if later != earlier]
    assert steps == list(range(0xFE, 0xFE - len(steps), -1))
    assert len(steps) > 10


def test_port_61_state() -> None:
    clock, pit, port = build_port_61()
    port.write(0, 1, 0x07)
    other_clock, other_pit, other = build_port_61()
    other_clock.restore(clock.state())
    transplant(pit, other_pit)
    transplant(port, other)
    assert other.read(0, 1) == port.read(0, 1)
    assert other_pit.gate2.level


def test_fpu_error_latches_until_it_is_acknowledged() -> None:
    ignored: list[str] = []
    irq13 = Line("IRQ13")
    device = FpuError(irq13, lambda: ignored.append("IGNNE#"))
    device.write(0, 1, 0)
    assert (irq13.level, ignored) == (False, []), "IGNNE# wants FERR#"
    device.raise_error()
    device.raise_error()
    assert irq13.level
    other_irq13 = Line("IRQ13")
    other = FpuError(other_irq13, lambda: None)
    transplant(device, other)
    assert other_irq13.level
    device.write(0, 1, 0)
    assert (irq13.level, ignored) == (False, ["IGNNE#"])
    other.reset()
    assert not other_irq13.level
