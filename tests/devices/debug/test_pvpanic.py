"""pvpanic: which events it understands, as QEMU's says, and what it does about them."""

import pytest

from bt.devices.debug.pvpanic import DEFAULT_PORT, Pvpanic
from tests.devices.qtest import Qemu, needs_qemu


@pytest.mark.parametrize(("value", "heard"), [(1, ["panicked"]), (2, ["crash"]), (3, ["panicked"]), (0xFC, [])])
def test_events(value: int, heard: list[str]) -> None:
    events: list[str] = []
    device = Pvpanic(lambda: events.append("panicked"), lambda: events.append("crash"))
    device.write(0, 1, value)
    assert events == heard


@needs_qemu
def test_it_understands_what_qemus_does() -> None:
    with Qemu("-machine", "pc", "-nodefaults", "-m", "2", "-device", "pvpanic") as qemu:
        assert Pvpanic(lambda: None).read(0, 1) == qemu.port_in(DEFAULT_PORT)
