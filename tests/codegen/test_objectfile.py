"""The object reader: every relocation kind links and runs, and no damaged file gets past it."""

from __future__ import annotations

import ctypes
import random
import struct

import pytest

from bt.codegen.arena import Arena
from bt.codegen.errors import CodegenError
from bt.codegen.linker import link
from bt.codegen.llvm import assemble
from bt.codegen.objectfile import CodePiece, RelocationKind, merge, read_object
from tests.codegen.native import callable_at, load

HOLES = """
@SMALL = external hidden global i8, !absolute_symbol !0
@UNSIGNED = external hidden global i8, !absolute_symbol !1
@SIGNED = external hidden global i8, !absolute_symbol !2
@WIDE = external hidden global i8, !absolute_symbol !3
declare void @elsewhere()
define i64 @abs8(i32 %x) {
  %below = icmp ult i32 %x, ptrtoint (ptr @SMALL to i32)
  %r = zext i1 %below to i64
  ret i64 %r
}
define i64 @abs32() {
  ret i64 ptrtoint (ptr @UNSIGNED to i64)
}
define i64 @abs32s(i64 %x) {
  %r = add i64 %x, ptrtoint (ptr @SIGNED to i64)
  ret i64 %r
}
define i64 @abs64() {
  ret i64 ptrtoint (ptr @WIDE to i64)
}
define void @pc32() {
  tail call void @elsewhere()
  ret void
}
!0 = !{i64 0, i64 128}
!1 = !{i64 0, i64 4294967296}
!2 = !{i64 -2147483648, i64 2147483648}
!3 = !{i64 -1, i64 -1}
"""


def test_each_hole_gives_its_kind_of_relocation() -> None:
    functions = read_object(assemble(HOLES)).functions
    found = {name: [(r.kind.name, r.symbol, r.addend) for r in piece.relocations] for name, piece in functions.items()}
    assert found == {
        "abs8": [("ABS8", "SMALL", 0)],
        "abs32": [("ABS32", "UNSIGNED", 0)],
        "abs32s": [("ABS32S", "SIGNED", 0)],
        "abs64": [("ABS64", "WIDE", 0)],
        "pc32": [("PC32", "elsewhere", -4)],
    }


@pytest.mark.parametrize(
    ("function", "values", "arguments", "result"),
    [
        ("abs8", {"SMALL": 127}, (126,), 1),
        ("abs8", {"SMALL": 127}, (127,), 0),
        ("abs32", {"UNSIGNED": 0xFFFF_FFFE}, (), 0xFFFF_FFFE),
        ("abs32s", {"SIGNED": -5}, (3,), (1 << 64) - 2),
        ("abs32s", {"SIGNED": 0x7FFF_FFFF}, (1,), 0x8000_0000),
        ("abs64", {"WIDE": 0xFEDC_BA98_7654_3210}, (), 0xFEDC_BA98_7654_3210),
        ("abs64", {"WIDE": -1}, (), (1 << 64) - 1),
    ],
)
def test_holes_filled_and_run(
    arena: Arena, function: str, values: dict[str, int], arguments: tuple[int, ...], result: int
) -> None:
    piece = read_object(assemble(HOLES)).functions[function]
    address = link(arena, {function: piece}, values)[function]
    assert callable_at(address, len(arguments))(*arguments) == result


def test_pinned_registers_and_tail_calls(arena: Arena) -> None:
    """Fragments in the code ABI's convention chain by musttail across modules, entered from C."""
    arguments = ", ".join(f"i64 %a{n}" for n in range(12))
    declared = ", ".join(["i64"] * 12)
    step = f"""
declare preserve_nonecc i64 @AFTER({declared})
define preserve_nonecc i64 @STEP({arguments}) noinline nounwind {{
  %s = add i64 %a11, %a6
  %r = musttail call preserve_nonecc i64 @AFTER({arguments.replace("i64 %a11", "i64 %s")})
  ret i64 %r
}}"""
    last = f"define preserve_nonecc i64 @last({arguments}) nounwind {{\n  ret i64 %a11\n}}"
    values = ", ".join(f"i64 {n}" for n in range(11))
    entry = f"""
declare preserve_nonecc i64 @first({declared})
define i64 @enter(i64 %x) {{
  %r = call preserve_nonecc i64 @first({values}, i64 %x)
  ret i64 %r
}}"""
    symbols = load(
        arena,
        entry,
        step.replace("STEP", "first").replace("AFTER", "second"),
        step.replace("STEP", "second").replace("AFTER", "last"),
        last,
    )
    assert callable_at(symbols["enter"], 1)(100) == 112


def test_a_stencils_continuation_is_its_last_relocation() -> None:
    ir = """
declare preserve_nonecc void @CONT(i64, i64)
define preserve_nonecc void @add(i64 %a, i64 %b) nounwind optsize {
  %c = add i64 %a, %b
  musttail call preserve_nonecc void @CONT(i64 %c, i64 %b)
  ret void
}"""
    piece = read_object(assemble(ir)).functions["add"]
    assert piece.code[-5] == 0xE9  # JMP rel32: a copy may drop it and fall through
    last = piece.relocations[-1]
    assert last == (len(piece.code) - 4, RelocationKind.PC32, "CONT", -4)


TABLES = """
declare i64 @twice(i64)
declare i64 @thrice(i64)
@squares = private constant [5 x i64] [i64 0, i64 1, i64 4, i64 9, i64 16]
@dispatch = hidden constant [3 x ptr] [ptr @lookup, ptr @twice, ptr @choose]
define i64 @lookup(i64 %n) {
  %p = getelementptr i64, ptr @squares, i64 %n
  %v = load i64, ptr %p
  ret i64 %v
}
define i64 @choose(i64 %n) {
  switch i64 %n, label %else [ i64 0, label %a i64 1, label %b i64 2, label %c i64 3, label %d i64 4, label %e ]
a:
  %ra = call i64 @twice(i64 50)
  ret i64 %ra
b:
  %rb = call i64 @thrice(i64 11)
  ret i64 %rb
c:
  %rc = call i64 @lookup(i64 3)
  ret i64 %rc
d:
  %rd = udiv i64 1000, %n
  ret i64 %rd
e:
  %re = call i64 @twice(i64 %n)
  ret i64 %re
else:
  ret i64 7
}
define i64 @through(i64 %i, i64 %n) {
  %p = getelementptr ptr, ptr @dispatch, i64 %i
  %f = load ptr, ptr %p
  %r = call i64 %f(i64 %n)
  ret i64 %r
}
"""
OTHERS = """
define i64 @twice(i64 %n) {
  %r = call i64 @helper(i64 %n, i64 2)
  ret i64 %r
}
define i64 @thrice(i64 %n) {
  %r = call i64 @helper(i64 %n, i64 3)
  ret i64 %r
}
define internal i64 @helper(i64 %a, i64 %b) noinline {
  %r = mul i64 %a, %b
  ret i64 %r
}
"""


def test_constants_jump_tables_and_calls_across_modules(arena: Arena) -> None:
    object_code = read_object(assemble(TABLES))
    inside = [r.symbol for piece in object_code.data.values() for r in piece.relocations if r.kind.name == "PC32"]
    assert inside == ["choose"] * 5  # there is a jump table
    symbols = load(arena, TABLES, OTHERS)
    assert [callable_at(symbols["lookup"], 1)(n) for n in range(5)] == [0, 1, 4, 9, 16]
    assert [callable_at(symbols["choose"], 1)(n) for n in range(6)] == [100, 33, 9, 333, 8, 7]
    assert [callable_at(symbols["through"], 2)(i, 4) for i in range(3)] == [16, 8, 8]
    table = (ctypes.c_uint64 * 3).from_address(symbols["dispatch"])
    assert list(table) == [symbols["lookup"], symbols["twice"], symbols["choose"]]


def test_data_pieces_of_different_objects_do_not_collide() -> None:
    ir = "@t = private constant [2 x i64] [i64 {}, i64 5]\ndefine ptr @f{}() {{\n  ret ptr @t\n}}"
    one, two = (read_object(assemble(ir.format(n, n))) for n in (1, 2))
    assert not one.data.keys() & two.data.keys()
    assert len(merge([one, two])) == 4


def test_functions_sharing_a_section(arena: Arena) -> None:
    ir = """
define i64 @first(i64 %x) noinline section ".text" {
  %r = add i64 %x, 1
  ret i64 %r
}
define i64 @second(i64 %x) section ".text" {
  %y = call i64 @first(i64 %x)
  %r = mul i64 %y, 10
  ret i64 %r
}
"""
    pieces = read_object(assemble(ir)).functions
    assert len(pieces["first"].code) < 16  # its own bytes, without the padding between the two
    backwards = dict(reversed(pieces.items()))
    assert callable_at(link(arena, backwards, {})["second"], 1)(4) == 50


def test_an_alias_is_a_name_inside_the_piece(arena: Arena) -> None:
    symbols = load(arena, "@other = hidden alias i64 (), ptr @f\ndefine i64 @f() {\n  ret i64 9\n}")
    assert symbols["other"] == symbols["f"]


@pytest.mark.parametrize(
    ("ir", "complaint"),
    [
        ("@x = external global i64\ndefine ptr @f() {\n  ret ptr @x\n}", "x is reached through a global offset table"),
        ("@x = hidden global i64 5\ndefine ptr @f() {\n  ret ptr @x\n}", "writable data in .data"),
        ("@x = hidden global i64 0\ndefine ptr @f() {\n  ret ptr @x\n}", "writable data in .bss"),
        (
            'define internal i64 @g(i64 %x) noinline section ".text" {\n  %r = mul i64 %x, %x\n  ret i64 %r\n}\n'
            'define i64 @f(i64 %x) section ".text" {\n  %y = call i64 @g(i64 %x)\n  ret i64 %y\n}',
            "g is internal and shares section .text",
        ),
        ('module asm "nop"', "has no function symbol"),
    ],
)
def test_what_an_arena_cannot_hold_is_refused(ir: str, complaint: str) -> None:
    with pytest.raises(CodegenError) as caught:
        read_object(assemble(ir))
    assert complaint in str(caught.value)


def test_one_function_in_two_modules_is_refused() -> None:
    one = read_object(assemble("define void @f() {\n  ret void\n}"))
    with pytest.raises(CodegenError, match="defined in two modules: f;"):
        merge([one, one])


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"MZ" * 100, bytes(64), b"\x7fELF\x01\x01\x01" + bytes(100)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(CodegenError):
        read_object(data)


def test_truncated_objects_are_refused() -> None:
    whole = assemble(TABLES)
    for size in range(0, len(whole), 7):
        with pytest.raises(CodegenError):
            read_object(whole[:size])


def test_damaged_objects_raise_nothing_but_codegen_error() -> None:
    whole = assemble(TABLES)
    header = struct.unpack_from("<Q", whole, 0x28)[0]  # e_shoff: damage the section headers as often as all the rest
    generator = random.Random(8254)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            at = generator.choice((generator.randrange(len(whole)), generator.randrange(header, len(whole))))
            match generator.randrange(3):
                case 0:
                    damaged[at] ^= 1 << generator.randrange(8)
                case 1:
                    damaged[at] = generator.choice((0, 1, 0x7F, 0xFF))
                case 2:
                    at = min(at, len(whole) - 8)
                    struct.pack_into("<Q", damaged, at, generator.choice((0, 1, (1 << 64) - 1, 1 << 63, len(whole))))
        try:
            pieces = merge([read_object(bytes(damaged))])
        except CodegenError:
            refused += 1
        else:
            for piece in pieces.values():
                _check_bounds(piece)
    assert refused > 500  # the damage does reach what is read


def _check_bounds(piece: CodePiece) -> None:
    assert all(0 <= r.offset <= len(piece.code) - r.kind.width for r in piece.relocations)
    assert all(0 <= offset <= len(piece.code) for _, offset in piece.names)
    assert piece.align & (piece.align - 1) == 0
