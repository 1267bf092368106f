"""Keyboard and mouse against QEMU's: every key in every set, and random commands.

QEMU runs with a processor that halts, since it takes input only while it runs. Left out is what QEMU does otherwise:
Alt-SysRq with Alt let go and pressed around it; bad bytes are answered by nothing from its mouse and arguments are not
checked; motion is added up while nobody wants it, and none in remote mode unless reporting is on; an answer not yet
read is lost to the next; scaling does nothing; keys of other computers (Sun, Korean).
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bt.devices.input.keys import KEYS
from tests.devices.input.desk import Desk, Driver
from tests.devices.qtest import Qemu, needs_qemu

pytestmark = needs_qemu
HALT = bytes.fromhex("faf4ebfc")  # cli; hlt; jmp to the hlt


class QemuDesk(Driver):
    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu
        self.receive()
        self.command(0x60, 0x03)

    def inb(self, port: int) -> int:
        return self._qemu.inb(port)

    def outb(self, port: int, value: int) -> None:
        self._qemu.outb(port, value)

    def key(self, name: str, down: bool) -> None:
        key = {"type": "qcode", "data": name}
        self._qemu.qmp("input-send-event", events=[{"type": "key", "data": {"down": down, "key": key}}])

    def move(self, dx: int, dy: int) -> None:
        axes = [{"type": "rel", "data": {"axis": axis, "value": value}} for axis, value in (("x", dx), ("y", -dy))]
        self._qemu.qmp("input-send-event", events=axes)


@pytest.fixture(scope="module")
def qemu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qemu]:
    bios: Path = tmp_path_factory.mktemp("bios") / "halt.bin"
    bios.write_bytes(bytes(0xFFF0) + HALT + bytes(12))
    with Qemu("-machine", "pc", "-nodefaults", "-m", "2", "-bios", str(bios), qmp=True) as qemu:
        qemu.qmp("cont")
        yield qemu


@pytest.mark.parametrize(("scan_code_set", "command_byte"), [(2, 0x03), (2, 0x43), (1, 0x03), (3, 0x03)])
def test_every_key(qemu: Qemu, scan_code_set: int, command_byte: int) -> None:
    ours, theirs = Desk(), QemuDesk(qemu)
    for desk in (ours, theirs):
        desk.command(0x60, command_byte)
        desk.ask_keyboard(0xFF)
        desk.ask_keyboard(0xF0, scan_code_set)
    found, expected = {}, {}
    for name in (*KEYS, "print", "pause"):
        ours.keyboard.press(name)
        theirs.key(name, True)
        pressed = ours.receive(), theirs.receive()
        ours.keyboard.release(name)
        theirs.key(name, False)
        found[name], expected[name] = (pressed[0], ours.receive()), (pressed[1], theirs.receive())
    assert found == expected


@pytest.mark.parametrize("seed", range(4))
def test_keyboard_commands(qemu: Qemu, seed: int) -> None:
    rng = random.Random(seed)
    ours, theirs = Desk(), QemuDesk(qemu)
    assert ours.ask_keyboard(0xFF) == theirs.ask_keyboard(0xFF)
    for _ in range(60):
        values = rng.choice(
            [(0xED, rng.randrange(8)), (0xEE,), (0xF0, rng.randrange(5)), (0xF2,), (0xF3, rng.randrange(128)),
             (0xF4,), (0xF5,), (0xF6,), (0xFF,), (0xFA,), (0xE1,)],
        )  # fmt: skip
        assert ours.ask_keyboard(*values) == theirs.ask_keyboard(*values), values
        if rng.randrange(2):
            ours.keyboard.press("q")
            theirs.key("q", True)
            ours.keyboard.release("q")
            theirs.key("q", False)
            assert ours.receive() == theirs.receive(), values


@pytest.mark.parametrize("seed", range(4))
def test_mouse_commands(qemu: Qemu, seed: int) -> None:
    rng = random.Random(seed)
    ours, theirs = Desk(), QemuDesk(qemu)
    assert ours.ask_mouse(0xFF) == theirs.ask_mouse(0xFF)
    for _ in range(80):
        values = rng.choice(
            [(0xE6,), (0xE8, rng.randrange(4)), (0xE9,), (0xEA,), (0xEB,), (0xF0,), (0xF2,),
             (0xF3, rng.choice([10, 20, 40])), (0xF3, 200, 0xF3, 100, 0xF3, 80), (0xF3, 200, 0xF3, 200, 0xF3, 80),
             (0xF4,), (0xF5,), (0xF6,), (0xFF,), (0xEE, rng.randrange(0xE0), 0xEC)],
        )  # fmt: skip
        assert ours.ask_mouse(*values) == theirs.ask_mouse(*values), values
        status = bytes.fromhex(ours.ask_mouse(0xE9))[1]
        assert theirs.ask_mouse(0xE9)[2:4] == f"{status:02x}"
        if status & 0x20:
            dx, dy = rng.randrange(-127, 128), rng.randrange(-127, 128)
            ours.clock.advance(200_000_000)
            ours.clock.run_due()
            ours.mouse.move(dx, dy)
            theirs.move(dx, dy)
            assert ours.receive() == theirs.receive(), values
            assert ours.ask_mouse(0xEB) == theirs.ask_mouse(0xEB), values
