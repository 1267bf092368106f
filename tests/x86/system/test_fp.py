"""FP instructions where no user-mode oracle looks: bt's own state, control bits, devices, stores into code."""

from __future__ import annotations

import ctypes
import struct

import pytest

from bt.x86 import flags
from bt.x86.exits import ExitReason
from bt.x86.reset import write_eflags
from bt.x86.state import EBX, ECX
from guest_images.assembler import assemble
from tests.x86.system.fp_program import ALL_MASKED, ALL_UNMASKED, DATA, EMPTY_STACK, ORIGIN, run, start
from tests.x86.system.processor import Processor

DEVICE = 0x80_0000  # beyond RAM
CR0_TS, CR0_NE = 1 << 3, 1 << 5
INF = 0x7F80_0000


def host_words(engine: Processor) -> tuple[int, int, int]:
    """bt's own x87 control word, x87 status word and MXCSR."""
    words = []
    for name in ("host_fnstcw", "host_fnstsw", "host_stmxcsr"):
        word = ctypes.c_uint32()
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.library.symbols[name])(ctypes.addressof(word))
        words.append(word.value)
    return words[0], words[1], words[2]


def test_what_the_guest_sets_stays_with_the_guest(engine: Processor) -> None:
    before = host_words(engine)
    start(engine, "fldcw [ebx]; ldmxcsr dword ptr [ebx + 4]; fld1; fldz; fdivp st(1); divss xmm0, xmm0")
    engine.ram.write(DATA, struct.pack("<II", 0x0C7B, 0x7FBF))  # other roundings, #Z of the x87 unmasked
    run(engine)
    assert host_words(engine) == before
    cpu = engine.cpu
    assert cpu["fpu_control"] == 0xC7B
    assert cpu["fp_image", 0] >> 16 & 0x3F == 4  # the division by zero is pending
    assert cpu["fp_loaded"] == 0
    assert 0.1 + 0.2 == 0.30000000000000004  # and Python calculates as ever


@pytest.mark.parametrize(
    ("switch", "then", "vector"),
    [
        ("mov eax, cr0; or al, 8; mov cr0, eax", "fld1", 7),
        ("mov eax, cr0; or al, 4; mov cr0, eax", "fld1", 7),
        ("mov eax, cr0; or al, 4; mov cr0, eax", "addps xmm0, xmm1", 6),
        ("smsw ax; or al, 8; lmsw ax", "movq mm0, mm1", 7),
        ("smsw ax; or al, 10; lmsw ax", "wait", 7),
        ("xor eax, eax; mov cr4, eax", "addps xmm0, xmm1", 6),
        ("mov eax, cr0; or al, 8; mov cr0, eax; clts", "fld1; addps xmm0, xmm1", None),
    ],
)
def test_control_bits_count_at_once(engine: Processor, switch: str, then: str, vector: int | None) -> None:
    """Also where FP instructions have just been found to be allowed."""
    start(engine, f"fld1; addps xmm0, xmm1; {switch}; {then}")
    engine.cpu["trap_vectors"] = (1 << 32) - 1
    leave = engine.vcpu.run(100)
    if vector is None:
        assert leave.reason is ExitReason.HLT
    else:
        assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, vector)


@pytest.mark.parametrize(
    ("switch", "then", "vector"),
    [
        ("mov cr0, ebx; {}; or ebx, 8", "fnop", 7),
        ("mov cr0, ebx; {}; or ebx, 8", "movq mm0, mm1", 7),
        ("mov cr0, ebx; {}; or ebx, 8", "addps xmm0, xmm1", 7),
        ("mov cr0, ebx; {}; or ebx, 4", "fnop", 7),
        ("mov cr0, ebx; {}; or ebx, 4", "addps xmm0, xmm1", 6),
        ("lmsw bx; {}; or ebx, 8", "fnop", 7),
        ("lmsw bx; {}; or ebx, 8", "addps xmm0, xmm1", 7),
        ("mov cr4, ecx; {}; xor ecx, ecx", "addps xmm0, xmm1", 6),
    ],
)
def test_control_bits_count_in_code_that_has_run_before(engine: Processor, switch: str, then: str, vector: int) -> None:
    """Nothing is decoded or translated in the second round, which alone would take the FP registers away."""
    start(engine, f"again: fld1; fstp st(0); addps xmm2, xmm3; {switch.format(then)}; jmp again".replace(": ", ":; "))
    cpu = engine.cpu
    cpu["gpr", EBX], cpu["gpr", ECX], cpu["trap_vectors"] = cpu["cr0"], cpu["cr4"], (1 << 32) - 1
    before = engine.vcpu.instructions
    leave = engine.vcpu.run(100)
    assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, vector)
    assert 9 <= engine.vcpu.instructions - before < 16


UNMASKED_CONTROL, UNMASKED_MXCSR = ALL_MASKED & ~4, 0x1F80 & ~0x200  # #Z
_ENVIRONMENT = struct.pack("<HxxHxxHxx16x", UNMASKED_CONTROL, 0, 0xFFFF)
_ONE = 0x3F80_0000
_FXSAVE = struct.pack("<H22xI132x4I4I", UNMASKED_CONTROL, UNMASKED_MXCSR, 0, 0, 0, 0, _ONE, _ONE, _ONE, _ONE)
DIVISIONS = {"x87": ("fld1; fldz; fdivp st(1); fnop", 16), "sse": ("divps xmm1, xmm0", 19)}


@pytest.mark.parametrize(
    ("load", "image", "division"),
    [
        ("fldcw [ebx]", _ENVIRONMENT, "x87"),
        ("fldenv [ebx]", _ENVIRONMENT, "x87"),
        ("frstor [ebx]", _ENVIRONMENT + bytes(80), "x87"),
        ("fxrstor [ebx]", _FXSAVE, "x87"),
        ("fxrstor [ebx]", _FXSAVE, "sse"),
        ("ldmxcsr dword ptr [ebx + 24]", _FXSAVE, "sse"),
    ],
)
def test_exceptions_that_are_unmasked_within_a_block(engine: Processor, load: str, image: bytes, division: str) -> None:
    """What comes behind, in the same block, is no longer simply executed, however often the block has run."""
    divide, vector = DIVISIONS[division]
    source = f"fld1; fstp st(0); addps xmm2, xmm3; {load}; addps xmm2, xmm3; {divide}"
    start(engine, source)
    engine.ram.write(DATA, image)
    cpu = engine.cpu
    cpu["cr0"] |= CR0_NE
    for _ in range(3):
        cpu["eip"], cpu["trap_vectors"] = ORIGIN, (1 << 32) - 1
        cpu["fpu_control"], cpu["mxcsr_masks"] = ALL_MASKED, 0x1F80
        ctypes.memset(cpu.address("fp_image"), 0, 512)
        cpu["fp_image", 0] = EMPTY_STACK
        cpu["fp_image", 21], cpu["fp_image", 22], cpu["fp_image", 23] = 0, _ONE << 32 | _ONE, _ONE << 32 | _ONE
        cpu["fp_image", 3] = 0x1F80
        leave = engine.vcpu.run(100)
        assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, vector)


# What raises each exception, x87 (#I of both kinds, #D, #Z, #O, #U, #P) and SSE, with operands at [ebx + 16].
RAISING = {
    "x87 #IS": "fadd st(1)",
    "x87 #IA": "fld1; fchs; fsqrt",
    "x87 #D": "fld qword ptr [ebx + 24]",
    "x87 #Z": "fldz; fld1; fdivrp st(1)",
    "x87 #O": "fld qword ptr [ebx + 16]; fst dword ptr [ebx]",
    "x87 #U": "fld qword ptr [ebx + 24]; fst dword ptr [ebx]",
    "x87 #P": "fldpi; fst dword ptr [ebx]",
    "sse #I": "sqrtsd xmm0, qword ptr [ebx + 32]",
    "sse #D": "sqrtsd xmm0, qword ptr [ebx + 24]",
    "sse #Z": "movsd xmm1, qword ptr [ebx + 16]; divsd xmm1, xmm0",
    "sse #O": "cvtsd2ss xmm0, qword ptr [ebx + 16]",
    "sse #U": "cvtsd2ss xmm0, qword ptr [ebx + 24]",
    "sse #P": "cvtpd2dq xmm0, xmmword ptr [ebx + 48]",
}
OPERANDS = struct.pack("<H6xI4xQQQ8xQQ", *ALL_UNMASKED, 0x7FE0 << 48, 1, 0xBFF0 << 48, 0x3FF8 << 48, 0)


@pytest.mark.parametrize("trap", RAISING)
def test_no_exception_of_the_guest_reaches_the_host(engine: Processor, trap: str) -> None:
    """Wherever Python takes over: with the exception pending, reported, ignored. A signal would end this process."""
    source = f"fldcw [ebx]; ldmxcsr dword ptr [ebx + 8]; {RAISING[trap]}; fnop; fnclex; fninit; fldz"
    before = host_words(engine)
    for cr0 in (CR0_NE, 0):
        for count in range(1, 12):
            start(engine, source)
            engine.ram.write(DATA, OPERANDS)
            cpu = engine.cpu
            cpu["cr0"], cpu["trap_vectors"] = cpu["cr0"] & ~CR0_NE | cr0, (1 << 32) - 1
            leave = engine.vcpu.run(count)
            assert host_words(engine) == before
            assert cpu["fp_loaded"] == 0
    if trap.startswith("sse"):
        assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, 19)
    else:
        assert leave.reason is ExitReason.FP_ERROR
        cpu["ignore_fp_error"] = 1
        run(engine)
        assert host_words(engine) == before
        assert cpu["ignore_fp_error"] == 0  # FNCLEX took FERR# back, and so IGNNE#
    assert 0.1 + 0.2 == 0.30000000000000004


def test_an_instruction_that_faults_leaves_ignne(engine: Processor) -> None:
    """Only one that is executed takes it back."""
    start(engine, "nop; fld1")
    cpu = engine.cpu
    cpu["cr0"] |= CR0_TS
    cpu["ignore_fp_error"], cpu["trap_vectors"] = 1, (1 << 32) - 1
    engine.vcpu.flush()
    leave = engine.vcpu.run(10)
    assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, 7)
    assert cpu["ignore_fp_error"] == 1


@pytest.mark.parametrize(
    ("source", "accesses", "wide"),
    [
        ("fld qword ptr [ebx]", [(DEVICE, 8, False)], 8),
        (".byte 0xdb, 0x2b", [(DEVICE, 8, False), (DEVICE + 8, 2, False)], 10),
        ("fldpi; .byte 0xdb, 0x3b", [(DEVICE, 8, True), (DEVICE + 8, 2, True)], 10),
        ("fldpi; fistp word ptr [ebx]", [(DEVICE, 2, True)], 2),
        ("movdqu xmm0, xmmword ptr [ebx]", [(DEVICE, 8, False), (DEVICE + 8, 8, False)], 16),
        ("movaps xmmword ptr [ebx], xmm0", [(DEVICE, 8, True), (DEVICE + 8, 8, True)], 16),
        ("movq qword ptr [ebx], mm0", [(DEVICE, 8, True)], 8),
        ("movntps xmmword ptr [ebx], xmm0", [(DEVICE, 8, True), (DEVICE + 8, 8, True)], 16),
        ("maskmovdqu xmm0, xmm1", [], 0),
        ("movd xmm1, edi; maskmovdqu xmm0, xmm1", [(DEVICE + 2, 1, True)], 1),
        ("pcmpeqb mm1, mm1; maskmovq mm0, mm1", [(DEVICE + at, 1, True) for at in range(8)], 8),
    ],
)
def test_operands_in_devices(engine: Processor, source: str, accesses: list[tuple[int, int, bool]], wide: int) -> None:
    """Each access is made once, and the instruction takes effect once: FSTP pops one register."""
    start(engine, source, ebx=DEVICE)
    seen = []
    while (leave := engine.vcpu.run(1000)).reason is ExitReason.MMIO:
        seen.append((leave.address, leave.size, leave.write))
        engine.vcpu.complete(0x3FFF)
    assert leave.reason is ExitReason.HLT
    assert seen == accesses
    assert sum(size for _, size, _ in seen) == wide
    if ".byte" in source or source.startswith("f"):
        assert engine.cpu["fp_image", 0] >> 32 & 0xFF == (0 if accesses[0][2] else 0x80)


@pytest.mark.parametrize(("size", "source"), [(2, "fistp word ptr [ebx]"), (4, "fistp dword ptr [ebx]")])
def test_a_device_gets_the_operand_alone(engine: Processor, size: int, source: str) -> None:
    start(engine, f"fldpi; {source}", ebx=DEVICE)
    engine.cpu["fp_operand"] = (1 << 64) - 1
    leave = engine.vcpu.run(1000)
    assert (leave.reason, leave.size, leave.value) == (ExitReason.MMIO, size, 3)


def test_fxsave_into_a_device(engine: Processor) -> None:
    start(engine, "fld1; fxsave [ebx]; fldz", ebx=DEVICE)
    written = {}
    while (leave := engine.vcpu.run(1000)).reason is ExitReason.MMIO:
        if leave.write:
            written[leave.address - DEVICE] = leave.value
        engine.vcpu.complete(0)
    assert leave.reason is ExitReason.HLT
    assert written[0] & 0xFFFF_FFFF == 0x3800_037F
    assert (written[32], written[40] & 0xFFFF) == (1 << 63, 0x3FFF)
    assert len(written) == 64


def test_storing_into_the_code_that_follows(engine: Processor) -> None:
    """The instructions after the store are those that were stored."""
    source = "movups xmm0, xmmword ptr [ebx]; movups xmmword ptr [target], xmm0; target: hlt; .space 15"
    code = start(engine, source)
    new = assemble("mov eax, 0x1234567\n fld1\n mov ecx, 5\n hlt", 32, ORIGIN).ljust(16, b"\x90")
    for _ in range(2):
        engine.ram.write(DATA, new)
        engine.ram.write(ORIGIN, code)
        engine.cpu["eip"] = ORIGIN
        run(engine)
        assert (engine.cpu["gpr", 0], engine.cpu["gpr", 1]) == (0x1234567, 5)


def test_an_sse_exception_leaves_operands_and_says_why(engine: Processor) -> None:
    start(engine, "movss xmm0, dword ptr [ebx]; movss xmm1, dword ptr [ebx + 4]; mulss xmm0, xmm1")
    engine.ram.write(DATA, struct.pack("<II", INF, 0))
    engine.cpu["mxcsr_masks"] = 0x1F00
    engine.cpu["trap_vectors"] = (1 << 32) - 1
    leave = engine.vcpu.run(100)
    assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, 19)
    assert engine.cpu["fp_image", 3] & 0x3F == 1
    assert engine.cpu["fp_image", 20] == INF  # XMM0


@pytest.mark.parametrize("shadow", ["sti", "mov ss, ecx", "nop"])
def test_waiting_for_the_interrupt_of_an_exception(engine: Processor, shadow: str) -> None:
    """FERR# with CR0.NE clear: the interrupt comes at once, whatever is before the instruction that waits."""
    start(engine, f"{shadow}; wait; nop")
    cpu = engine.cpu
    cpu["cr0"] &= ~0x20
    cpu["gpr", 1] = cpu.segment(2, "selector")
    cpu["fpu_control"], cpu["fp_image", 0] = ALL_MASKED & ~1, EMPTY_STACK | 1 << 16
    write_eflags(cpu, flags.IF * (shadow != "sti"))
    leave = engine.vcpu.run(100)
    assert leave.reason is ExitReason.FP_ERROR
    where = cpu["eip"]
    cpu["intr_pending"] = 1
    assert engine.vcpu.run(100).reason is ExitReason.INTERRUPT_WINDOW
    assert cpu["eip"] == where
    cpu["intr_pending"] = 0
