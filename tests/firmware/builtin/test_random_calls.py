"""Random registers into every service: nothing raises, nothing hangs, and the machine goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bt.devices.display import render
from bt.end import End
from bt.machine.media import Drive
from bt.x86.state import GPR_NAMES
from tests.everyday import everyday
from tests.firmware.builtin.calls import CODE, STACK, Caller, started

VECTORS = (0x05, *range(0x0A, 0x18), 0x1A, 0x40, 0x42, *range(0x70, 0x78))
WAITS = {(0x16, 0x00), (0x16, 0x10), (0x15, 0x86)}  # for keys, or for an hour
CALLS = 400
WITHIN = 3_000_000  # instructions


@pytest.fixture(params=["pc", "isapc"])
def caller(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Caller]:
    floppy, disc = tmp_path / "floppy", tmp_path / "disc"
    floppy.write_bytes(bytes(1440 << 10))
    disc.write_bytes(bytes(2048) * 64)
    drives = [Drive(str(floppy), "floppy", snapshot=True), Drive(str(disc), "ide", "cdrom")]
    if request.param == "pc":
        drives.append(Drive(str(floppy), "virtio", snapshot=True))
    with started(tmp_path, "builtin", *drives, machine=request.param) as made:
        yield made


@pytest.mark.parametrize("seed", everyday(range(3), {0}))
def test_random_registers(caller: Caller, seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(CALLS):
        vector, registers = random_call(generator)
        if (vector, registers["eax"] >> 8 & 0xFF) in WAITS:
            continue
        answer = caller.call(vector, limit=WITHIN, **registers)
        bios = caller.machine.board.devices["built-in BIOS"]
        assert json.loads(json.dumps(bios.state())) == bios.state()
        if not answer.came_back:  # it has overwritten who calls it, or waits
            caller.machine.reset()
            assert caller.machine.run(timeout=60).reason is End.HALTED, (vector, registers)
    render.image(caller.machine.board.vga)


def random_call(generator: random.Random) -> tuple[int, dict[str, int]]:
    vector = generator.choice((*VECTORS, *(0x10, 0x13, 0x15) * 5))
    registers = {name: interesting(generator) for name in GPR_NAMES if name != "esp"}
    functions = {0x10: range(0x20), 0x13: (*range(0x19), *range(0x41, 0x4F)), 0x15: (0x24, 0x83, 0x87, 0xE8, 0xC0)}
    function = generator.choice([*functions.get(vector, range(0x13)), generator.randrange(256), 0x4F])
    registers["eax"] = function << 8 | generator.choice((0, 1, 2, 0x10, 0x12, 0x20, 0x30, generator.randrange(256)))
    if vector == 0x13:
        registers["edx"] = registers["edx"] & 0x0300 | generator.choice((0, 0, 1, 0x80, 0x80, 0x81, 0xE0, 0xE1, 0xFF))
        registers["ecx"] = generator.choice((registers["ecx"], generator.randrange(1, 19)))
    registers["es"], registers["ds"] = (generator.choice((0, 0x1000, 0xA000, 0xB800, 0xF000, 0xFFFF)) for _ in range(2))
    return vector, registers


def interesting(generator: random.Random) -> int:
    return generator.choice(
        (0, 1, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x55AA, 0x534D4150, 1 << 31, generator.randrange(1 << 32))
    )


@pytest.mark.parametrize("seed", everyday(range(3), {0}))
def test_made_up_stacks(caller: Caller, seed: int) -> None:
    """A guest that jumps into the ROM with a stack of its own making, where the code asks."""
    generator = random.Random(seed)
    machine = caller.machine
    for _ in range(150):
        if not caller.call(0x12, limit=WITHIN).came_back:
            machine.reset()
            assert machine.run(timeout=60).reason is End.HALTED
        frame = bytearray(generator.randbytes(44))
        frame[36:38] = generator.choice((*VECTORS, 0x19, 0x18, 0x109, 0x8013, 0x8015, 0xFFFF)).to_bytes(2, "little")
        frame[38:42] = CODE.to_bytes(4, "little")
        machine.ram.write(STACK, bytes(frame))
        # mov sp, STACK; jmp F000:B004
        machine.ram.write(CODE + 8, b"\xbc" + STACK.to_bytes(2, "little") + b"\xea\x04\xb0\x00\xf0")
        machine.cpu.state["eip"] = CODE + 8
        machine.cpu.flush()
        machine.run(max_insns=200_000)
        if machine.cpu.state["eip"] not in (CODE + 5,):
            machine.reset()
            assert machine.run(timeout=60).reason is End.HALTED
