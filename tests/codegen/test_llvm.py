"""LLVM as an assembler: what it may emit, and what it says about IR it cannot take."""

from __future__ import annotations

import subprocess
import sys

import pytest
from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from bt.codegen.arena import Arena
from bt.codegen.errors import CodegenError
from bt.codegen.llvm import assemble, target_identity
from bt.codegen.objectfile import read_object
from tests.codegen.floating_point import floating_point
from tests.codegen.native import callable_at, load

# Everything LLVM likes vector registers for: block copies, wide integers, loops over arrays, bit counts.
TEMPTING = """
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i64 @llvm.ctpop.i64(i64)
declare i64 @llvm.cttz.i64(i64, i1)
define void @copy(ptr %to, ptr %from) {
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 96, i1 false)
  call void @llvm.memset.p0.i64(ptr %from, i8 0, i64 80, i1 false)
  ret void
}
define void @wide(ptr %a, ptr %b) {
  %v = load i128, ptr %a, align 16
  %n = xor i128 %v, -1
  store i128 %n, ptr %b, align 16
  %w = load <4 x i32>, ptr %a
  %x = add <4 x i32> %w, <i32 1, i32 2, i32 3, i32 4>
  store <4 x i32> %x, ptr %b
  ret void
}
define void @loop(ptr noalias %a, ptr noalias %b, i64 %n) {
entry:
  br label %again
again:
  %i = phi i64 [0, %entry], [%next, %again]
  %p = getelementptr i32, ptr %a, i64 %i
  %q = getelementptr i32, ptr %b, i64 %i
  %v = load i32, ptr %p
  %w = add i32 %v, 7
  store i32 %w, ptr %q
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %again, label %done
done:
  ret void
}
define i64 @bits(i64 %x, i64 %n) {
  %a = call i64 @llvm.ctpop.i64(i64 %x)
  %b = call i64 @llvm.cttz.i64(i64 %x, i1 false)
  %c = add i64 %a, %b
  %d = shl i64 %c, %n
  %e = xor i64 %n, -1
  %f = and i64 %d, %e
  ret i64 %f
}
"""


@pytest.mark.parametrize("host_features", [False, True])
@pytest.mark.parametrize("optimise", [False, True])
def test_no_floating_point_register_is_touched(optimise: bool, host_features: bool) -> None:
    functions = read_object(assemble(TEMPTING, optimise=optimise, host_features=host_features)).functions
    assert set(functions) == {"copy", "wide", "loop", "bits"}
    assert [text for piece in functions.values() for text in floating_point(piece.code)] == []


def test_floating_point_arithmetic_becomes_an_undefined_symbol(arena: Arena) -> None:
    ir = "define double @f(double %x) {\n  %y = fmul double %x, 3.0\n  ret double %y\n}"
    with pytest.raises(CodegenError, match="undefined symbols: __muldf3"):
        load(arena, ir)


def test_host_features_use_the_hosts_bit_instructions() -> None:
    if "popcnt" not in target_identity():
        pytest.skip("this host has no POPCNT")
    mnemonics = {
        host: [i.mnemonic for i in Cs(CS_ARCH_X86, CS_MODE_64).disasm(read_object(code).functions["bits"].code, 0)]
        for host in (False, True)
        for code in [assemble(TEMPTING, host_features=host)]
    }
    assert "popcnt" in mnemonics[True]
    assert "popcnt" not in mnemonics[False]


def test_optimising_makes_a_difference() -> None:
    ir = "define i32 @f(i32 %x) {\n  %a = alloca i32\n  store i32 %x, ptr %a\n  %b = load i32, ptr %a\n  ret i32 %b\n}"
    short, long = (read_object(assemble(ir, optimise=on)).functions["f"].code for on in (True, False))
    assert len(short) < len(long)


def test_each_function_has_a_section_of_its_own() -> None:
    ir = """
define preserve_nonecc void @one(ptr %p, {i32, i1} %q) #0 !note !0 {
  ret void
}
define void @short() { ret void }
define void @"odd name"() "a"="{ comdat" align 32 { ; why not
  ret void
}
define void @nested(ptr byval({ i32, [2 x i32] }) align (8) %s,
                    ptr sret({i64, i64}) %r)
    #0 {
  ret void
}
define void @placed() section ".text.elsewhere" {
  ret void
}
attributes #0 = { nounwind }
!0 = !{}
"""
    code = assemble(ir)
    assert set(read_object(code).functions) == {"one", "short", "odd name", "nested", "placed"}
    for section in (b".text.one", b".text.short", b".text.odd name", b".text.nested", b".text.elsewhere"):
        assert section + b"\0" in code
    assert b".text.placed" not in code


@pytest.mark.parametrize(
    ("ir", "complaint"),
    [
        ("define void @f() {\n  %x = ad i32 1, 2\n  ret void\n}", "m:2: expected instruction opcode: %x = ad i32 1, 2"),
        ("define void @f() {\n  %x = add i32 1, %y\n  ret void\n}", "m:2: use of undefined value '%y': %x = add i32"),
        (
            "define i32 @f(i1 %c) {\ne:\n  br i1 %c, label %a, label %b\na:\n  %x = add   i32 1, 2\n"
            "  br label %b\nb:\n  ret i32 %x\n}",
            "m:5: Instruction does not dominate all uses!: %x = add i32 1, 2",
        ),
        (
            "declare void @g(i32)\ndefine void @f() {\n  musttail call void @g(i32 1)\n  ret void\n}",
            "m:3: cannot guarantee tail call due to mismatched parameter",
        ),
        ("define void @f() {", "m:1: found end of file when expecting more instructions: define void @f() {"),
    ],
)
def test_errors_quote_the_line(ir: str, complaint: str) -> None:
    with pytest.raises(CodegenError) as caught:
        assemble(ir, module_name="m")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_module_leaves_llvm_usable(arena: Arena) -> None:
    broken = "define i32 @f(i1 %c) {\n  br i1 %c, label %a, label %a\na:\n  ret i64 0\n}"
    for _ in range(3):
        with pytest.raises(CodegenError):
            assemble(broken)
    assert callable_at(load(arena, "define i64 @f() {\n  ret i64 42\n}")["f"])() == 42


def test_identity_does_not_load_llvm() -> None:
    program = "import sys; from bt.codegen.llvm import target_identity as i; print(i(), 'llvmlite' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == f"{target_identity()} False\n"
