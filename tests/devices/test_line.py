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


def test_a_device_without_registers_says_so() -> None:
    with pytest.raises(NotImplementedError, match="ghost has no read"):
        Device("ghost").read(0, 1)
    with pytest.raises(NotImplementedError, match="ghost has no write"):
        Device("ghost").write(0, 1, 0)
