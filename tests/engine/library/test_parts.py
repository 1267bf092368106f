"""Native code that a later layer hands in: it is kept beside the library, under a key of its own."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bt.codegen.abi import native
from bt.codegen.builder import Module
from bt.codegen.store import Sections, Store
from bt.codegen.value import PTR
from bt.engine.library.library import Library, load_library
from bt.errors import Closed
from bt.memory.access import NativeContext
from bt.x86.state import CpuState

SUM_OF_REGISTERS = native("sum_of_registers", PTR, "i64", result="i64")  # state; so many general registers


def _sum(b: NativeContext) -> None:
    total = b.local(64, 0)
    with b.Range(b.arguments[1]) as number:
        total.set(total.get() + b.load(b.slot("gpr") + (number << 3), 64))
    b.ret(total.get())


@dataclass(frozen=True)
class Part:
    name: str = "summing"
    sources: tuple[Path, ...] = (Path(__file__),)

    def module(self) -> Module:
        module = Module("summing")
        b = NativeContext(module, SUM_OF_REGISTERS, "#1")
        _sum(b)
        b.finish()
        return module


class Silent(Part):
    def module(self) -> Module:
        raise AssertionError("it had been compiled")


@pytest.fixture
def library() -> Iterator[Library]:
    loaded = load_library()
    yield loaded
    loaded.close()


def test_its_functions_can_be_called(library: Library) -> None:
    symbols = library.part(Part())
    function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)(symbols[SUM_OF_REGISTERS.name])
    cpu = CpuState()
    for number, value in enumerate((3, 50, 700, 9000)):
        cpu["gpr", number] = value
    assert function(cpu.pointer, 3) == 753
    assert function(cpu.pointer, 4) == 9753
    cpu.close()


class _Seen(Exception):
    """The key of the part that would have been loaded."""


class _Keys(Store):
    def get(self, name: str, key: str, build: Callable[[], Mapping[str, bytes | memoryview]]) -> Sections:
        raise _Seen(name, key)


def _key(library: Library, part: Part) -> str:
    with pytest.raises(_Seen) as seen:
        library.part(part, _Keys())
    return str(seen.value)


def test_its_name_and_sources_and_the_library_are_in_the_key(library: Library, tmp_path: Path) -> None:
    source = tmp_path / "device.py"
    source.write_text("DIVISOR = 1\n", encoding="utf-8")
    folder = tmp_path / "devices"
    folder.mkdir()
    parts = [Part(sources=()), Part(sources=(source,)), Part(sources=(folder,)), Part("counting", sources=(source,))]
    before = [_key(library, part) for part in parts]
    assert len(set(before)) == 3  # an empty folder has no code
    source.write_text("DIVISOR = 2\n", encoding="utf-8")
    (folder / "pit.py").write_text("", encoding="utf-8")
    after = [_key(library, part) for part in parts]
    assert after[0] == before[0]
    assert not set(after[1:]) & set(before)
    assert _key(library.replace(key="another"), parts[0]) != before[0]


def test_it_is_compiled_once(library: Library) -> None:
    first = library.part(Part())
    assert library.part(Silent()) is first
    other = load_library()
    assert other.part(Silent()).keys() == first.keys()
    other.close()
    with pytest.raises(Closed):
        other.part(Silent())
