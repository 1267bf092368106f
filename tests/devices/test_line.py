"""Interrupt wires and the device base class."""

import pytest

from bt.devices.device import Device, Line


def test_observers_hear_changes_only() -> None:
    line, levels, rises = Line("IRQ5"), list[bool](), list[str]()
    line.watch(levels.append)
    line.on_rise(lambda: rises.append("rise"))
    line.lower()
    line.raise_()
    line.raise_()
    line.lower()
    line.set(True)
    assert levels == [True, False, True]
    assert len(rises) == 2


def test_pulse_makes_an_edge_from_either_level() -> None:
    line, levels = Line("reset"), list[bool]()
    line.watch(levels.append)
    line.pulse()
    assert levels == [True, False]
    line.raise_()
    levels.clear()
    line.pulse()
    assert levels == [False, True, False]


def test_a_wire_is_high_while_any_of_its_drivers_holds_it() -> None:
    wire, levels = Line("IRQ11"), list[bool]()
    wire.watch(levels.append)
    disk, network = wire.driver("disk"), wire.driver("network")
    disk.raise_()
    disk.raise_()
    network.raise_()
    assert (wire.level, disk.level, network.level) == (True, True, True)
    disk.lower()
    assert (wire.level, disk.level) == (True, False)
    disk.lower()
    assert wire.level
    network.pulse()  # which ends low
    assert levels == [True, False, True, False]
    wire.raise_()
    network.pulse()
    assert wire.level, "its own driver holds it too"
    assert levels == [True, False, True, False, True]


def test_a_device_without_registers_says_so() -> None:
    with pytest.raises(NotImplementedError, match="ghost has no read"):
        Device("ghost").read(0, 1)
    with pytest.raises(NotImplementedError, match="ghost has no write"):
        Device("ghost").write(0, 1, 0)
