"""The arena is never writable and executable at one address; the linker puts each symbol where it belongs."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time

import pytest

from bt.codegen.arena import MAX_ARENA_SIZE, Arena, ArenaFull
from bt.codegen.errors import CodegenError
from bt.codegen.linker import link
from bt.codegen.objectfile import CodePiece, Relocation, RelocationKind
from tests.codegen.native import callable_at

RETURN_7 = bytes.fromhex("b807000000c3")  # mov eax, 7; ret
RETURN_8 = bytes.fromhex("b808000000c3")
JUMP = b"\xe9\0\0\0\0"
CALL = b"\xe8\0\0\0\0"
FAR = 1 << 45  # no arena is within 2 GiB of it


def permissions(address: int) -> str:
    with open("/proc/self/maps") as maps:
        for line in maps:
            low, high = (int(bound, 16) for bound in line.split()[0].split("-"))
            if low <= address < high:
                return line.split()[1]
    return "unmapped"


def piece(code: bytes, *relocations: Relocation, align: int = 16) -> CodePiece:
    return CodePiece(code, relocations, align)


def pc32(offset: int, symbol: str, addend: int = -4) -> Relocation:
    return Relocation(offset, RelocationKind.PC32, symbol, addend)


def test_one_view_writes_the_other_runs(arena: Arena) -> None:
    assert permissions(arena.write_base) == "rw-s"
    assert permissions(arena.exec_base) == "r-xs"
    offset = arena.allocate(len(RETURN_7))
    arena.write(offset, RETURN_7)
    function = callable_at(arena.exec_base + offset)
    assert function() == 7
    arena.view[offset + 1] = 8  # patched while mapped for execution
    assert function() == 8


def test_a_store_through_the_executable_view_faults() -> None:
    program = (
        "import ctypes; from bt.codegen.arena import Arena; a = Arena(4096, name='w'); print('mapped', flush=True); "
        "ctypes.memset(a.exec_base, 0, 1)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "mapped\n"
    assert run.returncode == -signal.SIGSEGV


def test_without_memfd_one_private_mapping_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, flags: int = 0) -> int:
        raise PermissionError(13, "memfd_create refused")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with Arena(4096, name="fallback") as arena:
        assert permissions(arena.exec_base) == "rwxp"
        assert arena.exec_base == arena.write_base
        arena.write(arena.allocate(6), RETURN_8)
        assert callable_at(arena.exec_base)() == 8


def test_a_kernel_that_refuses_everything_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "memfd_create", refuse)
    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(CodegenError, match="arena a: the kernel refuses executable memory"):
        Arena(4096, name="a")


def test_allocation_aligns_fills_up_and_resets() -> None:
    with Arena(5000, name="small") as arena:
        assert arena.size == 8192
        assert [arena.allocate(3), arena.allocate(1, 1), arena.allocate(5, 64), arena.used] == [0, 3, 64, 69]
        with pytest.raises(ArenaFull, match="arena small: 9000 bytes asked, 8123 of 8192 left"):
            arena.allocate(9000)
        assert arena.allocate(8192 - 80) == 80
        with pytest.raises(ArenaFull):
            arena.allocate(1, 1)
        arena.reset(64)
        assert arena.allocate(1) == 64
        with pytest.raises(ValueError, match="cannot reset"):
            arena.reset(100)


@pytest.mark.parametrize("size", [0, -1, MAX_ARENA_SIZE])
def test_sizes_out_of_range(size: int) -> None:
    with pytest.raises(ValueError, match="size"):
        Arena(size, name="odd")


@pytest.mark.parametrize("offset", [-1, (1 << 16) - 2, 1 << 40])
def test_writes_stay_inside(arena: Arena, offset: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        arena.write(offset, b"abc")


def test_closing_unmaps_even_with_a_view_in_use() -> None:
    arena = Arena(4096, name="closed")
    part = arena.view[:16]
    arena.close()
    arena.close()
    assert permissions(arena.exec_base) == "unmapped"
    assert bytes(part) == bytes(16)


def test_a_forgotten_arena_is_unmapped() -> None:
    address = Arena(4096, name="forgotten").exec_base
    assert permissions(address) == "unmapped"


def test_pieces_call_each_other_and_externals(arena: Arena) -> None:
    outside = arena.exec_base + arena.allocate(6)
    arena.write(outside - arena.exec_base, RETURN_7)
    pieces = {"a": piece(JUMP, pc32(1, "b"), align=1), "b": piece(JUMP, pc32(1, "outside"), align=32)}
    symbols = link(arena, pieces, {"outside": outside})
    assert symbols["b"] % 32 == 0
    assert callable_at(symbols["a"])() == 7


@pytest.mark.parametrize("reach", [JUMP, CALL + b"\xc3", b"\x31\xc0\x0f\x84\0\0\0\0"])  # jmp; call, ret; xor, jz
def test_a_far_branch_goes_through_one_thunk(arena: Arena, reach: bytes) -> None:
    with Arena(4096, name="far") as far:
        # two mappings are never 2 GiB apart by chance alone: link as if this arena were elsewhere
        far.write(far.allocate(6), RETURN_7)
        target = far.exec_base
        arena_base, arena.exec_base = arena.exec_base, arena.exec_base - FAR
        hole = reach.index(b"\0\0\0\0")
        pieces = {name: piece(reach, pc32(hole, "target")) for name in "ab"}
        symbols = link(arena, pieces, {"target": target})
        arena.exec_base = arena_base
        assert arena.used == 16 + len(reach) + 14
        for address in symbols.values():
            assert callable_at(address + FAR)() == 7


def test_far_data_has_no_thunk(arena: Arena) -> None:
    lea = piece(b"\x48\x8d\x05\0\0\0\0\xc3", pc32(3, "constant"))
    with pytest.raises(CodegenError, match=r"arena test: constant in f\+0x3: .* does not fit PC32"):
        link(arena, {"f": lea}, {"constant": arena.exec_base + FAR})
    assert arena.used == 0


def test_all_undefined_symbols_are_named(arena: Arena) -> None:
    pieces = {"a": piece(JUMP, pc32(1, "zebra")), "b": piece(JUMP + JUMP, pc32(1, "a"), pc32(6, "ape"))}
    with pytest.raises(CodegenError, match=r"undefined symbols: ape, zebra$"):
        link(arena, pieces, {})
    assert arena.used == 0


def test_a_symbol_from_two_sides_is_refused(arena: Arena) -> None:
    with pytest.raises(CodegenError, match=r"both linked and external: a$"):
        link(arena, {"a": piece(b"\xc3")}, {"a": 1})


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"),
    [
        (RelocationKind.ABS8, -128, 255),
        (RelocationKind.ABS32, 0, (1 << 32) - 1),
        (RelocationKind.ABS32S, -(1 << 31), (1 << 31) - 1),
        (RelocationKind.ABS64, -(1 << 63), (1 << 64) - 1),
    ],
)
def test_values_are_range_checked(arena: Arena, kind: RelocationKind, lowest: int, highest: int) -> None:
    holed = piece(bytes(10), Relocation(1, kind, "H", 2))
    for value in (lowest, highest, 1):
        address = link(arena, {"p": holed}, {"H": value - 2})["p"]
        offset = address - arena.exec_base
        expected = (value % (1 << 8 * kind.width)).to_bytes(kind.width, "little")
        assert bytes(arena.view[offset : offset + 10]) == b"\0" + expected + bytes(9 - kind.width)
    for value in (lowest - 1, highest + 1):
        with pytest.raises(CodegenError, match=rf"H in p\+0x1: .* does not fit {kind.name}"):
            link(arena, {"p": holed}, {"H": value - 2})


def test_a_full_arena_is_left_as_it_was(arena: Arena) -> None:
    used = arena.allocate(100)
    with pytest.raises(ArenaFull):
        link(arena, {"huge": piece(bytes(1 << 16))}, {})
    assert arena.used == used + 100


def test_linking_2000_functions_is_quick() -> None:
    count = 2000
    body = bytes(20) + JUMP
    pieces = {
        f"f{n}": piece(
            body,
            Relocation(0, RelocationKind.ABS32, "H", 0),
            Relocation(8, RelocationKind.ABS32S, "H", 4),
            pc32(21, f"f{(n + 1) % count}"),
        )
        for n in range(count)
    }
    with Arena(1 << 20, name="many") as arena:
        best = 1.0
        for _ in range(5):
            start = time.process_time()
            link(arena, pieces, {"H": 5})
            best = min(best, time.process_time() - start)
    assert best < 0.03  # 5 ms where it was written
