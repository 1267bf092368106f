"""A machine without a guest: what a guest, a user and time can do to its devices, one action after another."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from bt.devices.chipset.hpet import Hpet
from bt.devices.device import Line
from bt.engine.library.library import Library
from bt.errors import BtError
from bt.firmware.fw_cfg import FwCfg
from bt.machine import Machine, MachineConfig
from bt.machine.added import AddedDevice
from bt.machine.board import Part
from bt.machine.media import Drive
from tests.robustness.devices.access import Bus, ByInstructions, Misbehaved, OfPython

MEMORY = 4 << 20
FOUR_GIB = 1 << 32
MOST_EVENTS = 200  # of one action: a timer at its fastest would have millions in a second
MOST_SECONDS = 5.0  # of the processor's time for one access
MOST_GROWTH = 256 << 20  # bytes of memory of the host, in one episode
SCREEN_BYTES = 64 << 20
HPET_BYTES, HPET_INPUTS = 0x400, 24
KEYS = ("a", "ret", "ctrl", "alt", "delete", "pause", "print", "shift_r", "f12", "kp_enter", "up", "num_lock")
DISK_BYTES, CD_BYTES, FLOPPY_BYTES = 300 * 512 + 100, 40 * 2048, 1440 * 1024


class Action(NamedTuple):
    """What is done: a name in `Target.KINDS`, and up to three numbers and some bytes for it."""

    kind: str
    a: int = 0
    b: int = 0
    c: int = 0
    data: bytes = b""

    def to_line(self) -> str:
        return f"{self.kind} {self.a:x} {self.b:x} {self.c:x} {self.data.hex()}".rstrip()

    @staticmethod
    def from_line(line: str) -> Action:
        kind, a, b, c, *data = line.split()
        return Action(kind, int(a, 16), int(b, 16), int(c, 16), bytes.fromhex(data[0] if data else ""))


class Files:
    """Images for machines to have; nobody writes into those that are read-only."""

    def __init__(self, directory: Path) -> None:
        def make(name: str, data: bytes) -> str:
            (directory / name).write_bytes(data)
            return str(directory / name)

        pattern = bytes(range(256)) * 8
        self.disk = make("disk.img", (pattern * 80)[:DISK_BYTES])
        self.second = make("second.img", pattern * 16)
        self.virtio = make("virtio.img", pattern * 100)
        self.read_only = make("read-only.img", pattern * 10)
        self.cds = [make(f"cd{number}.iso", pattern * (CD_BYTES // 2048 - number)) for number in range(2)]
        self.floppies = [make("floppy.img", bytes(FLOPPY_BYTES)), make("odd.img", bytes(1000))]
        self.untouchable = (self.read_only, *self.cds)

    def drives(self, name: str) -> tuple[Drive, ...]:
        """For a machine of that name."""
        found = [
            Drive(self.disk, index=0, snapshot=True),
            Drive(self.second, index=1, read_only=True),
            Drive(self.cds[0], "ide", "cdrom", index=2),
            Drive(None, "ide", "cdrom", index=3),
            Drive(self.floppies[0], "floppy", index=0, snapshot=True),
            Drive(None, "floppy", index=1),
        ]
        if name == "pc":
            found.append(Drive(self.virtio, "virtio", index=0, snapshot=True))
            found.append(Drive(self.read_only, "virtio", index=1, read_only=True))
        return tuple(found)


class Target:
    """One machine, on its way through an episode."""

    def __init__(self, machine: str, files: Files, library: Library) -> None:
        """`machine` is a MachineConfig's, with " by instructions" behind it where a guest accesses the devices."""
        self.files = files
        name, _, how = machine.partition(" ")
        config = MachineConfig(
            memory=MEMORY,
            engine="bt",
            machine="isapc" if name == "isapc" else "pc",
            bios="builtin",
            drives=files.drives(name),
            devices=(AddedDevice("pvpanic"),),
        )
        self.machine = Machine(
            config, serial=_forget, serial2=_forget, console=_forget, firmware_log=_forget, library=library,
            notice=lambda line: None,
        )  # fmt: skip
        self.board = self.machine.board
        lines = [Line(f"HPET {number}") for number in range(HPET_INPUTS + 2)]
        self.machine.add(
            Part("HPET", "memory FED00000-FED003FF", (),
                 lambda b, irq: Hpet(b.clock, lines[2:], (lines[0], lines[1])))
        )  # fmt: skip
        self.machine.boot()  # with the firmware's ROM in the map
        self.bus: Bus = ByInstructions(self.machine) if how else OfPython(self.machine)
        self.board.part("fw_cfg", FwCfg).add_file("etc/writable", bytes(1000), writable=True)
        self.slowest: tuple[float, Action] = (0.0, Action("nothing"))
        self._memory_before = _resident_bytes()

    def close(self) -> None:
        self.machine.close()

    def perform(self, action: Action) -> None:
        """Raises whatever a device raises, and Misbehaved for what took too long or too much."""
        before = time.thread_time()
        self.KINDS[action.kind](self, action)
        seconds = time.thread_time() - before
        self.slowest = max(self.slowest, (seconds, action))
        if seconds > MOST_SECONDS:
            raise Misbehaved(f"{seconds:.1f} s for {action.to_line()}")

    def check_memory(self) -> int:
        """How many bytes more the process has than before; Misbehaved if they are too many."""
        grown = _resident_bytes() - self._memory_before
        if grown > MOST_GROWTH:
            raise Misbehaved(f"{grown >> 20} MiB more than before")
        return grown

    # -- what a guest does --------------------------------------------------------------------------------------------

    def _in(self, action: Action) -> None:
        self.bus.read_port(action.a, action.b, max(1, action.c))

    def _out(self, action: Action) -> None:
        self.bus.write_port(action.a, action.b, (action.c & (1 << 8 * action.b) - 1).to_bytes(action.b, "little"))

    def _outs(self, action: Action) -> None:
        self.bus.write_port(action.a, action.b, action.data[: len(action.data) // action.b * action.b])

    def _load(self, action: Action) -> None:
        if self.board.mmio.answers(action.a):
            self.bus.load(action.a, action.b)

    def _store(self, action: Action) -> None:
        if self.board.mmio.answers(action.a):
            self.bus.store(action.a, action.b, action.c)

    def _ram(self, action: Action) -> None:
        self.machine.ram.write(action.a % MEMORY, action.data[: MEMORY - action.a % MEMORY])

    def _acknowledge(self, action: Action) -> None:
        """The processor takes an interrupt, if there is one or, spurious, even if not."""
        if self.board.intr.level or action.a:
            vector = self.board.acknowledge()
            if not 0 <= vector <= 0xFF:
                raise Misbehaved(f"vector {vector}")

    def _apic_base(self, action: Action) -> None:
        self.board.apic_base_written(action.a)

    # -- time ---------------------------------------------------------------------------------------------------------

    def _time(self, action: Action) -> None:
        """So many nanoseconds, or events."""
        clock = self.board.clock
        end = clock.now_ns + action.a
        for _ in range(MOST_EVENTS):
            clock.skip_to_next_event(end)
            clock.run_due()
            if clock.now_ns >= end or clock.ns_to_next_event is None:
                break

    # -- what a user does ---------------------------------------------------------------------------------------------

    def _key(self, action: Action) -> None:
        key = KEYS[action.a % len(KEYS)]
        (self.machine.keyboard.press if action.b & 1 else self.machine.keyboard.release)(key)

    def _mouse(self, action: Action) -> None:
        self.machine.mouse.move(action.a - 0x8000, action.b - 0x8000, action.c - 8)
        self.machine.mouse.buttons(left=bool(action.a & 1), right=bool(action.b & 1), middle=bool(action.c & 1))

    def _receive(self, action: Action) -> None:
        (self.machine.com2 if action.a else self.machine.com1).receive(bytes([action.b & 0xFF]))

    def _medium(self, action: Action) -> None:
        """Change it, where the user may."""
        drives = {0: "ide1-cd0", 1: "ide1-cd1", 2: "floppy0", 3: "floppy1"}
        files = self.files.cds if action.a < 2 else self.files.floppies
        file = None if action.b == 0 else files[action.b % len(files)]
        with suppress(BtError):  # it is locked, or in another drive
            self.machine.media.change(drives[action.a % 4], file, force=bool(action.c))

    def _button(self, action: Action) -> None:
        if self.machine.config.machine == "pc":
            self.machine.power_button()
            self.machine._mailbox.do_posted()

    def _screen(self, action: Action) -> None:
        """Somebody looks."""
        self.machine.screen.text()
        _ = self.machine.screen.cursor
        width, height, pixels = self.machine.screen.pixels()
        if len(pixels) != 3 * width * height or len(pixels) > SCREEN_BYTES:
            raise Misbehaved(f"{len(pixels)} bytes for {width} by {height} pixels")

    def _reset(self, action: Action) -> None:
        self.board.reset()

    def _snapshot(self, action: Action) -> None:
        """What is saved is JSON, and once it is back, it is saved the same."""
        clock = self.board.clock
        time_before, saved = clock.state(), self._saved()
        clock.restore(time_before)
        for device, state in zip(self.board.devices.values(), saved, strict=True):
            device.load(state)
        again = self._saved()
        for one, other in zip(saved, again, strict=True):
            if one != other:
                raise Misbehaved(f"{one['device']}: was {_differing(one, other)}, is {_differing(other, one)}")

    def _saved(self) -> list[dict[str, Any]]:
        return [json.loads(json.dumps(device.save())) for device in self.board.devices.values()]

    KINDS: ClassVar[dict[str, Callable[[Target, Action], None]]] = {
        "in": _in,
        "out": _out,
        "outs": _outs,
        "load": _load,
        "store": _store,
        "ram": _ram,
        "acknowledge": _acknowledge,
        "apic_base": _apic_base,
        "time": _time,
        "key": _key,
        "mouse": _mouse,
        "receive": _receive,
        "medium": _medium,
        "button": _button,
        "screen": _screen,
        "reset": _reset,
        "snapshot": _snapshot,
    }


def _forget(byte: int) -> None:
    """Output nobody wants."""


def _differing(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one["state"].items() if value != other["state"].get(name)}


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def digest(paths: tuple[str, ...]) -> list[tuple[int, int]]:
    """Whether somebody has written into them."""
    return [(os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in paths]
