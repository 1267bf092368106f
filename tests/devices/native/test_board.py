"""On the board as it is: what guests access in loops makes no exits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.engine.library.library import Library, load_library
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86.page import PAGE
from guest_images.assembler import assemble
from tests.devices.native.rig import ENGINES

PLANAR = "".join(
    f"mov edx, {port}\nmov ax, {value}\nout dx, ax\n"
    for port, value in ((0x3C4, 0x0604), (0x3C4, 0x0F02), (0x3CE, 0x0005), (0x3CE, 0x0506), (0x3CE, 0xFF08))
)


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    loaded = load_library()
    yield loaded
    loaded.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_planar_stores_make_no_exits_and_are_in_the_log(library: Library, engine: EngineName) -> None:
    code = f"""
        mov edx, 0x3C2
        mov al, 0x63
        out dx, al
        {PLANAR}
        out 0xe1, al                ; from here on
        mov edi, 0xA0000 + 0x1234
        mov al, 0x5A
        mov ecx, 100
        rep stosb
        out 0xf4, al
    """
    with Machine(MachineConfig(memory=4 << 20, engine=engine), library=library) as machine:
        video = machine.board.memory.video
        machine.memory.take_dirty(video)
        machine.load(assemble(code, 32, 0x1000), flat=0x1000)
        exits = machine.run().exits
        assert "mmio" not in exits
        assert video.read(4 * 0x1234, 400) == b"\x5a" * 400
        assert 4 * 0x1234 // PAGE * PAGE in machine.memory.take_dirty(video)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "access",
    ["in al, 0x40", "in al, 0x61", "in al, 0x64", "mov edx, 0x3DA\nin al, dx", "mov edx, 0x3FD\nin al, dx",
     "mov edx, 0x1F7\nin al, dx", "mov edx, 0x3F8\nmov al, 'x'\nout dx, al", "mov edx, 0x2F8\nmov al, 'x'\nout dx, al",
     "mov edx, 0x402\nmov al, 'x'\nout dx, al", "out 0xE9, al", "out 0x80, al"],
)  # fmt: skip
def test_accesses_in_loops_are_served_natively(library: Library, engine: EngineName, access: str) -> None:
    code = f"mov edx, 0x3C2\nmov al, 0x63\nout dx, al\nmov ecx, 100\nagain:\n{access}\ndec ecx\njnz again\nout 0xf4, al"
    with Machine(MachineConfig(memory=4 << 20, engine=engine), library=library) as machine:
        machine.load(assemble(code, 32, 0x1000), flat=0x1000)
        assert machine.run().exits["io"] <= 3, "video is switched on, its raster worked out, and the run ends"
