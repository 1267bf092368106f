"""FP instructions where no user-mode oracle looks: bt's own state, pointers, devices, code that stores into itself."""

from __future__ import annotations

import ctypes
import struct

import pytest

from bt.x86.exits import ExitReason
from bt.x86.state import EBX, EDI
from guest_images.assembler import assemble
from tests.x86.system.processor import Processor

ORIGIN, DATA = 0x10000, 0x8000
DEVICE = 0x80_0000  # beyond RAM
CR4_FP = 0x600
ALL_MASKED = 0x37F
EMPTY_STACK = ALL_MASKED
INF, ONE = 0x7F80_0000, 0x3F80_0000


def start(engine: Processor, source: str, *, ebx: int = DATA) -> bytes:
    """Put code at ORIGIN and the processor there, FP usable and initialised; answers the code."""
    code = assemble(source.replace("; ", "\n"), 32, ORIGIN)
    engine.write_code(ORIGIN, code + b"\xf4")
    cpu = engine.cpu
    cpu["cr4"], cpu["eip"], cpu["gpr", EBX], cpu["gpr", EDI] = CR4_FP, ORIGIN, ebx, ebx
    cpu["fpu_control"], cpu["fp_image", 0] = ALL_MASKED, EMPTY_STACK
    engine.vcpu.flush()
    return code


def run(engine: Processor) -> None:
    assert engine.vcpu.run(100_000).reason is ExitReason.HLT


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


def test_a_pending_exception_harms_nobody_but_the_guest(engine: Processor) -> None:
    """Left pending in the registers again and again; a signal would end this process."""
    start(engine, "fldcw [ebx]; fld1; fldz; fdivp st(1); fnstsw ax; fnclex; fld1; fsqrt")
    engine.ram.write(DATA, struct.pack("<H", 0x340))
    for _ in range(20):
        engine.cpu["eip"] = ORIGIN
        engine.cpu["fp_image", 0] = EMPTY_STACK
        run(engine)
    assert engine.cpu["gpr", 0] & 0x80FF == 0x8084


POINTERS = """
    fninit
    fld1
    fld dword ptr [ebx + 16]
    nop
    faddp st(1)
    movaps xmm0, xmm1
    fstp dword ptr [ebx + 32]
    fnstcw [ebx]
    cpuid
    fldz
    jmp next
next:
    fnstenv [esi]
"""


def test_instruction_and_operand_pointers(engine: Processor) -> None:
    """Wherever the guest is interrupted, the state names its last x87 instruction and operand."""
    code = start(engine, POINTERS)
    starts = [code.index(bytes.fromhex(text)) for text in ("d9e8", "d94310", "dec1", "d95b20", "d9ee")]
    load_one, load, add, store, load_zero = (ORIGIN + offset for offset in starts)
    expected = [
        *[(0, 0), (load_one, 0), (load, DATA + 16), (load, DATA + 16), (add, DATA + 16), (add, DATA + 16)],
        *[(store, DATA + 32)] * 3,
        *[(load_zero, DATA + 32)] * 3,
    ]
    for count, pair in enumerate(expected, 1):
        start(engine, POINTERS)
        engine.cpu["gpr", 6] = DATA + 0x100
        for name in ("fpu_ip", "fpu_dp"):
            engine.cpu[name] = 0
        engine.vcpu.run(count)
        assert (engine.cpu["fpu_ip"], engine.cpu["fpu_dp"]) == pair, count
    image = struct.unpack("<7I", engine.ram.read(DATA + 0x100, 28))
    selectors = [engine.cpu.segment(number, "selector") for number in (1, 3)]
    assert image[3:] == (load_zero, selectors[0], DATA + 32, 0xFFFF_0000 | selectors[1])


@pytest.mark.parametrize("jump", ["je", "jne"])
def test_the_pointer_of_a_comparison_before_its_jump(engine: Processor, jump: str) -> None:
    start(engine, f"fldz; .byte 0xdb, 0xf0; {jump} next; next:; nop")
    run(engine)
    assert engine.cpu["fpu_ip"] == ORIGIN + 2


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
        engine.write_code(ORIGIN, code)
        engine.cpu["eip"] = ORIGIN
        run(engine)
        assert (engine.cpu["gpr", 0], engine.cpu["gpr", 1]) == (0x1234567, 5)


def test_real_mode_environment(engine: Processor) -> None:
    """Pointers are linear addresses there (SDM vol. 1 figures 8-10 and 8-12)."""
    start(engine, "fnstenv [ebx]; .byte 0x66; fnstenv [ebx + 32]")
    cpu = engine.cpu
    cpu["fpu_ip"], cpu["fpu_cs"], cpu["fpu_dp"], cpu["fpu_ds"], cpu["fpu_opcode"] = 0x4567, 0x1234, 0x89, 0xABCD, 0x123
    run(engine)
    assert struct.unpack("<7I", engine.ram.read(DATA, 28))[3:] == (0x4567, 0x123_1234, 0x89, 0xFFFF_ABCD)
    assert struct.unpack("<7H", engine.ram.read(DATA + 32, 14))[3:] == (0x4567, 0x1234, 0x89, 0xABCD)


def test_an_sse_exception_leaves_operands_and_says_why(engine: Processor) -> None:
    start(engine, "movss xmm0, dword ptr [ebx]; movss xmm1, dword ptr [ebx + 4]; mulss xmm0, xmm1")
    engine.ram.write(DATA, struct.pack("<II", INF, 0))
    engine.cpu["mxcsr_masks"] = 0x1F00
    engine.cpu["trap_vectors"] = (1 << 32) - 1
    leave = engine.vcpu.run(100)
    assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, 19)
    assert engine.cpu["fp_image", 3] & 0x3F == 1
    assert engine.cpu["fp_image", 20] == INF  # XMM0
