"""Arguments that cannot be meant: an exception that names them and says what is wanted, and nothing has changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bt.cli.options import memory_size
from bt.engine.library.library import Library
from bt.errors import BadImage, BadUsage
from bt.machine import EngineName, Machine, MachineConfig
from bt.memory.ram import GuestRam
from bt.x86.state import EAX
from guest_images.assembler import assemble
from tests.api.guest import CODE, ENGINES, machine

GIB = 1 << 30


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engine": "foo"}, "engine='foo': there are interp, bt"),
        ({"engine": "interpreter"}, "engine='interpreter': there are interp, bt"),
        ({"engine": None}, "engine=None: there are"),
        ({"clock": "foo"}, "clock='foo': there are icount, host"),
        ({"clock": 1}, "clock=1: there are"),
        ({"memory": "64M"}, r"memory='64M': a whole number of bytes is wanted, such as 64 << 20"),
        ({"memory": None}, "memory=None: a whole number"),
        ({"memory": 64e6}, "memory=64000000.0: a whole number"),
        ({"memory": True}, "memory=True: a whole number"),
        ({"memory": 0}, "memory=0: a guest has 2M to 63.5G, in whole pages of 4 KiB"),
        ({"memory": 4096}, "memory=4096: a guest has 2M to 63.5G"),
        ({"memory": -(64 << 20)}, "a guest has 2M to 63.5G"),
        ({"memory": (2 << 20) - 4096}, "a guest has 2M to 63.5G"),
        ({"memory": 64 * GIB}, "a guest has 2M to 63.5G"),
        ({"memory": 4 * GIB, "cpu": "486"}, "a 486 has no address lines for more than 3584M"),
        ({"memory": 1 << 70}, "a guest has 2M to 63.5G"),
        ({"memory": (64 << 20) + 1}, "a guest has 2M to 63.5G, in whole pages"),
        ({"cpu": "pentium9"}, "no model 'pentium9'"),
        ({"cpu": None}, "cpu=None: "),
        ({"rtc_base": None}, "rtc_base=None: a datetime with a time zone is wanted"),
        ({"rtc_base": datetime(2000, 1, 1)}, "rtc_base=datetime.*: a datetime with a time zone"),
        ({"rtc_base": "2000-01-01"}, "rtc_base='2000-01-01': a datetime"),
    ],
)
def test_a_configuration_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadUsage, match=said):
        MachineConfig(**given)


def test_command_line_and_configuration_have_the_same_limits() -> None:
    for size in (2 << 20, 3 << 30):
        assert MachineConfig(memory=size).memory == memory_size(f"{size >> 10}K") == size
    assert MachineConfig(rtc_base=datetime(2000, 1, 1, tzinfo=UTC)).rtc_base.year == 2000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"config": 64 << 20}, "config=67108864: a MachineConfig is wanted"),
        ({"serial": "stdio"}, "serial='stdio': a function that takes a byte is wanted"),
        ({"console": 5}, "console=5: a function"),
        ({"library": "library"}, "library='library': a Library is wanted"),
    ],
)
def test_a_machine_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadUsage, match=said):
        Machine(**given)


def test_a_clock_that_does_not_exist() -> None:
    with pytest.raises(BadUsage, match="clock='foo': there are icount, host"):
        MachineConfig(clock="foo")  # type: ignore[arg-type]  # the fault under test


IMAGE = b"\xeb\xfe"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image": None}, "image=None: a path, or the image itself as bytes, is wanted"),
        ({"image": 5}, "image=5: a path"),
        ({"image": bytearray(b"\xf4"), "flat": CODE}, "image=bytearray.*: a path"),
        ({"initrd": 5}, "initrd=5: a path"),
        ({"append": None}, "append=None: text is wanted"),
        ({"append": b"n=1"}, "append=b'n=1': text is wanted"),
        ({"append": 5}, "append=5: text"),
        ({"name": 5}, "name=5: text"),
        ({"modules": None}, "modules=None: a sequence of Module is wanted"),
        ({"modules": (b"x",)}, r"modules=\(b'x',\): a sequence of Module"),
        ({"modules": 5}, "modules=5: a sequence of Module"),
        ({"flat": "0x100000"}, "flat='0x100000': a physical address of 32 bits is wanted"),
        ({"flat": -1}, "flat=-1: a physical address of 32 bits"),
        ({"flat": 1 << 32}, "flat=4294967296: a physical address of 32 bits"),
        ({"flat": 1e6}, "flat=1000000.0: a physical address"),
        ({"flat": True}, "flat=True: a physical address"),
        ({"boot_sector": "yes"}, "boot_sector='yes': True or False is wanted"),
    ],
)
def test_a_load_that_cannot_be(library: Library, given: dict[str, Any], said: str) -> None:
    with machine(library) as guest:
        before = guest.ram.read(CODE, 16)
        with pytest.raises(BadUsage, match=said):
            guest.load(**{"image": IMAGE} | given)
        assert guest.ram.read(CODE, 16) == before
        assert guest.run(max_insns=10).reason == "max-insns"


@pytest.mark.parametrize("how", [{}, {"flat": CODE}, {"boot_sector": True}])
def test_an_empty_image(library: Library, tmp_path: Path, how: dict[str, Any]) -> None:
    path = tmp_path / "nothing.bin"
    path.write_bytes(b"")
    with machine(library) as guest:
        for image, name in ((b"", "image"), (path, "nothing.bin"), (str(path), "nothing.bin")):
            with pytest.raises(BadImage, match=f"^{name}: (the file is empty|no boot sector .0 bytes)"):
                guest.load(image, **how)


def test_an_image_beyond_memory(library: Library) -> None:
    with machine(library) as guest, pytest.raises(BadImage, match="can never be in RAM"):
        guest.load(IMAGE, flat=0xFFFF_FFFF)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_insns": "x"}, "max_insns='x': a whole number of instructions, 0 or more, is wanted"),
        ({"max_insns": 1e9}, "max_insns=1000000000.0: a whole number"),
        ({"max_insns": -1}, "max_insns=-1: a whole number of instructions, 0 or more"),
        ({"max_insns": True}, "max_insns=True: a whole number"),
        ({"timeout": "1"}, "timeout='1': a number of seconds, 0 or more, is wanted"),
        ({"timeout": -0.5}, "timeout=-0.5: a number of seconds"),
        ({"timeout": float("nan")}, "timeout=nan: a number of seconds"),
        ({"timeout": False}, "timeout=False: a number of seconds"),
    ],
)
def test_a_run_that_cannot_be(library: Library, given: dict[str, Any], said: str) -> None:
    with machine(library) as guest:
        with pytest.raises(BadUsage, match=said):
            guest.run(**given)
        assert guest.cpu.instructions == 0
        assert guest.run(max_insns=10, timeout=60).reason == "max-insns"


def test_limits_of_nothing_end_a_run_at_once(library: Library) -> None:
    with machine(library) as guest:
        assert guest.run(max_insns=0).reason == "max-insns"
        assert guest.run(timeout=0).reason == "timeout"
        assert guest.cpu.instructions == 0


def test_what_is_posted_can_be_called(library: Library) -> None:
    with machine(library) as guest, pytest.raises(BadUsage, match="action=None: a function is wanted"):
        guest.post(None)  # type: ignore[arg-type]  # the fault under test


@pytest.mark.parametrize("size", ["64M", None, 4096.0, True])
def test_memory_that_cannot_be(size: Any) -> None:
    with pytest.raises(BadUsage, match=f"size={size!r}: a whole number of bytes"):
        GuestRam(size)


@pytest.mark.parametrize("vector", [-1, 256, "0x20", None])
def test_an_interrupt_that_does_not_exist(library: Library, vector: Any) -> None:
    with machine(library) as guest, pytest.raises(BadUsage, match=f"vector={vector!r}: a vector of 0 to 255"):
        guest.cpu.interrupt(vector)


@pytest.mark.parametrize("data", ["text", 65, None])
def test_characters_are_bytes(library: Library, data: Any) -> None:
    with machine(library) as guest, pytest.raises(BadUsage, match=f"data={data!r}: bytes are wanted"):
        guest.com1.receive(data)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("memory", [2 << 20, 3 << 30])
def test_the_least_and_the_most_memory_run(library: Library, engine: EngineName, memory: int) -> None:
    with Machine(MachineConfig(memory=memory, engine=engine), library=library) as guest:
        last = memory - 4
        guest.load(assemble(f"mov eax, [{last}]\ninc eax\nmov [{last}], eax\nhlt", 32, CODE), flat=CODE)
        guest.ram.write(last, b"\x41\0\0\0")
        assert guest.run(max_insns=100).reason == "halted"
        assert guest.ram.read(last, 4) == b"\x42\0\0\0"


Use = Callable[[Any], object]  # of GuestRam, with arguments of other types than it takes


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda ram: ram.read("0", 1), "paddr='0': a whole number"),
        (lambda ram: ram.read(0, None), "n=None: a whole number"),
        (lambda ram: ram.read(0.0, 1), "paddr=0.0: a whole number"),
        (lambda ram: ram.write(None, b"x"), "paddr=None: a whole number"),
        (lambda ram: ram.write(0, "text"), "data='text': bytes are wanted"),
        (lambda ram: ram.write(0, None), "data=None: bytes are wanted"),
        (lambda ram: ram.write(0, 5), "data=5: bytes are wanted"),
    ],
)
def test_a_use_of_memory_that_cannot_be(use: Use, said: str) -> None:
    with GuestRam(4096) as ram, pytest.raises(BadUsage, match=said):
        use(ram)


@pytest.mark.parametrize("key", [("gpr", 16), ("gpr", -1), ("cr0", 1), ("gpr", "0"), "ax", None, ("dr", 1 << 40), 5])
def test_state_that_does_not_exist(library: Library, key: Any) -> None:
    with machine(library) as guest:
        state = guest.cpu.state
        with pytest.raises(BadUsage, match="no such CPU state"):
            state[key]
        with pytest.raises(BadUsage, match="no such CPU state"):
            state[key] = 1
        assert (state["zero"], state["gpr", EAX]) == (0, 0)


@pytest.mark.parametrize(("number", "part"), [(8, "base"), (-1, "base"), (0, "size"), ("cs", "base")])
def test_segments_that_do_not_exist(library: Library, number: Any, part: str) -> None:
    with machine(library) as guest:
        with pytest.raises(BadUsage, match="no such segment register"):
            guest.cpu.state.segment(number, part)
        with pytest.raises(BadUsage, match="no such segment register"):
            guest.cpu.state.set_segment(number, part, 0)


@pytest.mark.parametrize("value", [None, "1", 1.0])
def test_state_holds_whole_numbers(library: Library, value: Any) -> None:
    with machine(library) as guest, pytest.raises(BadUsage, match="a whole number is wanted"):
        guest.cpu.state["cr3"] = value
