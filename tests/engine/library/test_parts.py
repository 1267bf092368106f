"""Native code that a later layer hands in: it is in the library, and in its key."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bt.codegen.abi import native
from bt.codegen.builder import Signature
from bt.codegen.store import Sections, Store
from bt.codegen.value import PTR
from bt.engine.library.library import load_library
from bt.memory.access import Body, NativeContext
from bt.x86.context import OK
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CpuState

SUM_OF_REGISTERS = native("sum_of_registers", PTR, "i64", result="i64")  # state; so many general registers


def _sum(b: NativeContext) -> None:
    total = b.local(64, 0)
    with b.Range(b.arguments[1]) as number:
        total.set(total.get() + b.load(b.slot("gpr") + (number << 3), 64))
    status = b.call(UPDATE_MODE, b.cpu)  # a function of a layer below
    b.ret(b.select(status == OK, total.get(), 0))


@dataclass(frozen=True)
class Part:
    name: str = "summing"
    sources: tuple[Path, ...] = (Path(__file__),)

    def functions(self) -> Iterable[tuple[Signature, Body]]:
        yield SUM_OF_REGISTERS, _sum


def test_the_library_has_its_functions() -> None:
    library = load_library(parts=[Part()])
    try:
        function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)(
            library.symbols[SUM_OF_REGISTERS.name]
        )
        cpu = CpuState()
        for number, value in enumerate((3, 50, 700, 9000)):
            cpu["gpr", number] = value
        assert function(cpu.pointer, 3) == 753
        assert function(cpu.pointer, 4) == 9753
        assert cpu["mode"] != 0
        cpu.close()
        assert "run_bt" in library.symbols
    finally:
        library.close()


class _Seen(Exception):
    """The key of the library that would have been loaded."""


class _Keys(Store):
    def get(self, name: str, key: str, build: Callable[[], Mapping[str, bytes | memoryview]]) -> Sections:
        raise _Seen(key)


def _key(*parts: Part) -> str:
    with pytest.raises(_Seen) as seen:
        load_library(_Keys(), parts=parts)
    return str(seen.value)


def test_its_name_and_sources_are_in_the_key(tmp_path: Path) -> None:
    source = tmp_path / "device.py"
    source.write_text("DIVISOR = 1\n", encoding="utf-8")
    folder = tmp_path / "devices"
    folder.mkdir()
    before = [_key(), _key(Part(sources=())), _key(Part(sources=(source,))), _key(Part(sources=(folder,)))]
    before.append(_key(Part("counting", sources=(source,))))
    assert len(set(before)) == 4  # an empty folder has no code
    source.write_text("DIVISOR = 2\n", encoding="utf-8")
    (folder / "pit.py").write_text("", encoding="utf-8")
    after = [_key(), _key(Part(sources=())), _key(Part(sources=(source,))), _key(Part(sources=(folder,)))]
    assert after[:2] == before[:2]
    assert after[2] not in before
    assert after[3] not in before


def test_none_is_asked_for_code_where_the_library_is_there() -> None:
    library = load_library(parts=[Part()])
    library.close()

    class Silent(Part):
        def functions(self) -> Iterable[tuple[Signature, Body]]:
            raise AssertionError("the library had been built")

    load_library(parts=[Silent()]).close()
