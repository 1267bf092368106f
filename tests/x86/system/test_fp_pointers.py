"""What a guest sees of its last x87 instruction: FIP, FCS, FDP, FDS, FOP are its own, in every layout."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import pytest

from bt.x86 import reset
from bt.x86.context import XM
from bt.x86.decode import decode
from bt.x86.exits import ExitReason
from bt.x86.state import CS, DS, EBX, EDI, ESI
from guest_images.assembler import assemble
from tests.x86.system.fp_program import ALL_MASKED, ALL_UNMASKED, DATA, ORIGIN, run, start
from tests.x86.system.processor import DIRECTORY, TABLE, Processor

ABSENT = 0x3_0000
ONE = 0x3F80_0000


def starts_of(code: bytes) -> Iterator[int]:
    """Offsets of the instructions of 32-bit code."""
    at = 0
    while at < len(code):
        yield at
        at += decode(code[at:], bits=32).length


POINTER_SLOTS = ("fpu_ip", "fpu_cs", "fpu_dp", "fpu_ds", "fpu_opcode")
POINTERS = """
    fninit
    fld1
    fld dword ptr [ebx + 16]
    nop
    faddp st(1)
    movaps xmm0, xmm1
    fstp dword ptr [ebx + 32]
    fnstcw [ebx]
    bt eax, ebx
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


@pytest.mark.parametrize("first", ["fld1", "fld dword ptr [ebx]"])
def test_the_pointers_before_what_may_not_simply_be_executed(engine: Processor, first: str) -> None:
    """x87 is ready and SSE is not, with an exception unmasked: the block is left between two x87 instructions."""
    code = start(engine, f"fninit; {first}; divss xmm1, xmm0; fldz")
    cpu = engine.cpu
    for _ in range(3):
        cpu["eip"], cpu["trap_vectors"], cpu["mxcsr_masks"] = ORIGIN, (1 << 32) - 1, 0x1F00  # #I
        cpu["fpu_ip"] = cpu["fpu_dp"] = 0
        leave = engine.vcpu.run(100)
        assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, XM)
        assert cpu["fpu_ip"] == ORIGIN + list(starts_of(code))[1]
        assert cpu["fpu_dp"] == (DATA if "ebx" in first else 0)


@pytest.mark.parametrize("jump", ["je", "jne"])
def test_the_pointer_of_a_comparison_before_its_jump(engine: Processor, jump: str) -> None:
    start(engine, f"fldz; .byte 0xdb, 0xf0; {jump} next; next:; nop")
    run(engine)
    assert engine.cpu["fpu_ip"] == ORIGIN + 2


NEIGHBOURS = """
    fld qword ptr [ebx]
    fadd qword ptr [ebx + 8]
    movsd xmm0, qword ptr [ebx + 16]
    fld dword ptr [ebx + 24]
    fst qword ptr [ebx + 32]
    fiadd dword ptr [ebx + 40]
    movups xmmword ptr [ebx + 48], xmm0
    fstp tbyte ptr [ebx + 64]
"""
NEIGHBOUR_BYTES = ((0, 8), (8, 16), (16, 24), (24, 28), (32, 40), (40, 44), (48, 64), (64, 74))
# What was done before each: x87 instructions with an operand, and how many registers are in use.
DONE_BEFORE = ((0, 0), (1, 1), (2, 1), (2, 1), (3, 2), (4, 2), (5, 2), (5, 2))
X87_OPERANDS = ((0, "dd03"), (8, "dc4308"), (24, "d94318"), (32, "dd5320"), (40, "da4328"))


@pytest.mark.parametrize("room", range(74))
def test_neighbouring_operands_fault_one_by_one(engine: Processor, room: int) -> None:
    """What comes before the operand that lies in the absent page is done, and nothing of what uses it."""
    code = start(engine, NEIGHBOURS, ebx=ABSENT - room)
    cpu = engine.cpu
    engine.ram.write(TABLE, b"".join(struct.pack("<I", page << 12 | 3) for page in range(256)))
    engine.ram.write(DIRECTORY, struct.pack("<I", TABLE | 3))
    engine.ram.write(TABLE + ABSENT // 1024, bytes(4))
    engine.ram.write(ABSENT - room, bytes(80))
    cpu["cr0"], cpu["cr3"], cpu["trap_vectors"] = cpu["cr0"] | 1 << 31, DIRECTORY, 1 << 14
    for name in POINTER_SLOTS:
        cpu[name] = 0
    engine.vcpu.flush()
    leave = engine.vcpu.run(100)
    culprit = sum(end <= room for _, end in NEIGHBOUR_BYTES)
    first = ABSENT - room + NEIGHBOUR_BYTES[culprit][0]
    assert (leave.reason, leave.address, cpu["cr2"]) == (ExitReason.EXCEPTION, 14, max(first, ABSENT))
    assert cpu["eip"] == ORIGIN + [*starts_of(code)][culprit]
    done, depth = DONE_BEFORE[culprit]
    assert cpu["fp_image", 0] >> 16 & 0x3800 == -depth % 8 << 11
    if done:
        displacement, encoding = X87_OPERANDS[done - 1]
        assert cpu["fpu_ip"] == ORIGIN + code.index(bytes.fromhex(encoding))
        assert (cpu["fpu_dp"], cpu["fpu_ds"]) == (ABSENT - room + displacement, cpu.segment(DS, "selector"))
    else:
        assert (cpu["fpu_ip"], cpu["fpu_dp"]) == (0, 0)


@pytest.mark.parametrize(
    ("source", "opcode"),
    [
        ("fld1; fldz", 0),
        ("fldcw [ebx]; fld1; fldz", 0),
        ("fldcw [ebx]; fld1; fldz; fdivp st(1); fnclex; fld1; fldpi", 0x6F9),
        ("fld1; mov ecx, 0x1a0; xor edx, edx; mov eax, 0x1805; wrmsr; fldz", 0x1EE),
        ("mov ecx, 0x1a0; xor edx, edx; mov eax, 0x1805; wrmsr; fldz; mov al, 1; wrmsr; fldpi", 0x1EE),
    ],
)
def test_last_opcode(engine: Processor, source: str, opcode: int) -> None:
    """Of the last unmasked exception, or of every instruction in fopcode compatibility mode (SDM vol. 1 8.1.9)."""
    start(engine, source)
    engine.ram.write(DATA, struct.pack("<H", ALL_UNMASKED[0]))
    run(engine)
    assert engine.cpu["fpu_opcode"] == opcode


SEGMENT, DATA_SEGMENT, IP, OPERAND = 0x1000, 0x2B00, 0x100, 0x345
REAL_CODE = """
    fninit
    fldcw [bx + 4]
    fld dword ptr [bx]
    fldz
divide:
    fdivp st(1)
    fnsave [bx + 0x10]
    .byte 0x66
    frstor [bx + 0x200]
    .byte 0x66
    fnstenv [bx + 0x100]
    hlt
"""
DIVIDE_OPCODE, POINTERS_TO_LOAD = 0x6F9, (0x1234, 0x0ABC_D567, 0x5678, 0x0987_6000)


@pytest.mark.parametrize("virtual", [False, True])
def test_environments_of_8086_modes(engine: Processor, virtual: bool) -> None:
    """Pointers are linear addresses there (SDM vol. 1 figures 8-10 and 8-12), whatever the layout."""
    code = assemble(REAL_CODE, 16, IP)
    engine.ram.write(16 * SEGMENT + IP, code)
    data = 16 * DATA_SEGMENT + OPERAND
    engine.ram.write(data, struct.pack("<IH", ONE, 0x37B))
    engine.ram.write(data + 0x200, struct.pack("<3I4I", ALL_MASKED, 0, 0xFFFF, *POINTERS_TO_LOAD) + bytes(80))
    cpu = engine.cpu
    if virtual:
        engine.push(IP, SEGMENT, 0x2_3002, 0, 0, 0, DATA_SEGMENT, 0, 0)  # VM, and IOPL 3
        assert engine.call("interrupt_return", 32) is None
        cpu["trap_vectors"] = (1 << 32) - 1
    else:
        reset.power_on(cpu)
        assert engine.call("far_jump", SEGMENT, IP) is None
        assert engine.call("load_segment", DS, DATA_SEGMENT) is None
    cpu["gpr", EBX] = OPERAND
    engine.vcpu.flush()
    leave = engine.vcpu.run(100)
    assert leave.reason is (ExitReason.EXCEPTION if virtual else ExitReason.HLT)  # HLT is #GP outside level 0
    divide = 16 * SEGMENT + IP + code.index(b"\xde\xf9")
    saved = struct.unpack("<7H", engine.ram.read(data + 0x10, 14))
    high = (divide >> 16) << 12 | DIVIDE_OPCODE, (data >> 16) << 12
    assert saved == (0x37B, 0xB084, 0x1FFF, divide & 0xFFFF, high[0], data & 0xFFFF, high[1])
    stored = struct.unpack("<7I", engine.ram.read(data + 0x100, 28))
    assert [word & 0xFFFF for word in stored[:3]] == [ALL_MASKED, 0, 0xFFFF]
    ip, ip_high, dp, dp_high = stored[3:]
    assert (ip & 0xFFFF, ip_high, dp & 0xFFFF, dp_high) == (0x1234, 0x0ABC_D567, 0x5678, 0x0987_6000)


FAULTS_AND_SERVICES = """
    fld1
    fld dword ptr [ebx]
    mov eax, [esi]                  ; faults at first, then does not
    str cx                          ; a service
    fmul dword ptr [ebx + 4]
    jmp over
    nop
over:
    fldpi
    movaps xmm0, xmmword ptr [esi]  ; the same
    fxsave [edi]
    fnsave [edi + 512]
"""


def test_pointers_survive_faults_services_and_chaining(engine: Processor) -> None:
    """Whatever interrupts translated code, FIP and FDP are those of the last x87 instruction before it."""
    code = start(engine, re.sub(";.*", "", FAULTS_AND_SERVICES))
    cpu = engine.cpu
    load, multiply, constant = (ORIGIN + code.index(bytes.fromhex(text)) for text in ("d903", "d84b04", "d9eb"))
    cpu["cr0"] |= 1 << 31
    engine.ram.write(TABLE, b"".join(struct.pack("<I", page << 12 | 3) for page in range(256)))
    engine.ram.write(DIRECTORY, struct.pack("<I", TABLE | 3))
    cpu["cr3"], cpu["gpr", ESI], cpu["gpr", EDI], cpu["trap_vectors"] = DIRECTORY, ABSENT, 0x9000, 1 << 14
    for name in POINTER_SLOTS:
        cpu[name] = 0

    def absent(now: bool) -> None:
        engine.ram.write(TABLE + ABSENT // 1024, struct.pack("<I", 0 if now else ABSENT | 3))
        engine.vcpu.flush()

    def pointers() -> tuple[int, ...]:
        return tuple(cpu[name] for name in POINTER_SLOTS)

    cs, ds = (cpu.segment(number, "selector") for number in (CS, DS))
    absent(True)
    assert engine.vcpu.run(100).reason is ExitReason.EXCEPTION
    assert pointers() == (load, cs, DATA, ds, 0)
    absent(False)
    engine.vcpu.run(3)  # up to the multiplication
    assert pointers() == (multiply, cs, DATA + 4, ds, 0)
    absent(True)
    assert engine.vcpu.run(100).reason is ExitReason.EXCEPTION
    assert pointers() == (constant, cs, DATA + 4, ds, 0)
    absent(False)
    run(engine)
    assert pointers() == (0, 0, 0, 0, 0)  # FNSAVE
    image = engine.ram.read(0x9000, 1024)
    assert struct.unpack_from("<HIHxxIH", image, 6) == (0, constant, cs, DATA + 4, ds)
    assert struct.unpack_from("<IIII", image, 512 + 12) == (constant, cs, DATA + 4, 0xFFFF_0000 | ds)
