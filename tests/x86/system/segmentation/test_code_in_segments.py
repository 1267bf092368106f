"""Code in segments that are not flat: what ends where CS, SS and DS end, and what is translated of it."""

from __future__ import annotations

import pytest

from bt.x86 import reset
from bt.x86.exits import ExitReason
from bt.x86.state import CS, DS, EAX, EBX, ECX, ESP, SS
from bt.x86.system.segmentation import segment_cache
from bt.x86.vectors import Vector
from guest_images.assembler import assemble
from tests.x86.system.processor import CODE, DATA, Processor

SEGMENT, DATA_SEGMENT, STACK_SEGMENT = 0x1000, 0x2001, 0x3000  # data end within a page
WHOLE_64_KIB = 0xFFFF
GENERAL_PROTECTION, STACK_FAULT = int(Vector.GP), int(Vector.SS)


@pytest.fixture
def real(engine: Processor) -> Processor:
    """A processor in real mode that leaves for Python instead of delivering #GP and #SS."""
    reset.power_on(engine.cpu)
    engine.cpu["a20_mask"] = (1 << 64) - 1
    engine.vcpu.flush()
    engine.cpu["trap_vectors"] = 1 << GENERAL_PROTECTION | 1 << STACK_FAULT
    return engine


def run(
    processor: Processor, code: str, *, limit: int = WHOLE_64_KIB, at: int = 0, stack_limit: int = 0xFFFF
) -> ExitReason:
    """Run 16-bit code at SEGMENT:`at` where CS ends at `limit`; AX and BX begin as 0."""
    content = assemble(code.replace("; ", "\n"), 16, at)
    if processor.ram.read(SEGMENT * 16 + at, len(content)) != content:  # what is translated stays so
        processor.ram.write(SEGMENT * 16 + at, content)
    cpu = processor.cpu
    for segment, selector, access, end in (
        (CS, SEGMENT, CODE, limit),
        (DS, DATA_SEGMENT, DATA, WHOLE_64_KIB),
        (SS, STACK_SEGMENT, DATA, stack_limit),
    ):
        segment_cache.fill(cpu, segment, selector=selector, base=selector << 4, limit=end, access=access, big=False)
    for register in (EAX, EBX):
        cpu["gpr", register] = 0
    cpu["gpr", ESP] = 0x100
    cpu["eip"] = at
    processor.status("update_mode")
    return processor.vcpu.run(1000).reason


def trouble(processor: Processor) -> tuple[int, int]:
    """Vector of the exception that was trapped, and where."""
    return processor.cpu["fault_vector"], processor.cpu["eip"]


def test_code_that_was_chained_under_a_longer_segment_ends_where_a_shorter_one_does(real: Processor) -> None:
    code = "mov cx, 3; again: inc ax; jmp on; hlt; on: inc bx; inc bx; inc bx; loop again; hlt"
    assert run(real, code) is ExitReason.HLT
    assert (real.cpu["gpr", EAX], real.cpu["gpr", EBX]) == (3, 9)
    for limit in (WHOLE_64_KIB, 9, WHOLE_64_KIB, 8):
        reason = run(real, code, limit=limit)
        if limit == WHOLE_64_KIB:
            assert reason is ExitReason.HLT
        else:
            assert (reason, *trouble(real)) == (ExitReason.EXCEPTION, GENERAL_PROTECTION, limit + 1)
            assert real.cpu["gpr", EBX] == limit - 6


BEYOND = 0x70  # within reach of a byte
TRANSFERS = {
    "jmp": "nop; jmp {}",
    "jmp dword": "nop; .byte 0x66, 0xe9; .long {} - 7",
    "jcc": "test ax, ax; jz {}",
    "jcc behind another instruction": "inc ax; nop; jnz {}",
    "call": "jmp on; on: call {}",
    "ret": "push {}; ret",
    "jmp ax": "mov ax, {}; jmp ax",
    "call ax": "mov ax, {}; call ax",
    "jcxz": "mov cx, 0; jcxz {}",
    "loop": "mov cx, 2; loop {}",
}


@pytest.mark.parametrize("name", TRANSFERS)
def test_a_transfer_beyond_the_end_of_cs_faults_where_it_is(real: Processor, name: str) -> None:
    """Nothing of it is committed (SDM vol. 2, each instruction), and the same code is good where CS is longer."""
    target = BEYOND + list(TRANSFERS).index(name)  # not the one before
    code = TRANSFERS[name].format(target)
    length = len(assemble(code.replace("; ", "\n"), 16, 0))
    real.ram.write(SEGMENT * 16 + target, assemble("inc bx\nhlt", 16, target))
    for limit, good in ((WHOLE_64_KIB, True), (target - 1, False), (target + 1, True), (target - 1, False)):
        reason = run(real, code, limit=limit)
        if good:
            assert (reason, real.cpu["gpr", EBX]) == (ExitReason.HLT, 1)
            continue
        vector, eip = trouble(real)
        assert (reason, vector, eip < length) == (ExitReason.EXCEPTION, GENERAL_PROTECTION, True)
        assert real.cpu["gpr", ESP] == (0xFE if name == "ret" else 0x100)
        assert name != "loop" or real.cpu["gpr", ECX] & 0xFFFF == 2


def test_a_stack_ends_with_its_segment(real: Processor) -> None:
    assert run(real, "push ax; push ax; pop bx; hlt", stack_limit=0xFD) is ExitReason.EXCEPTION
    assert trouble(real) == (STACK_FAULT, 0)
    assert run(real, "push ax; push ax; pop bx; hlt", stack_limit=0xFF) is ExitReason.HLT


def test_a_word_at_the_end_of_64_kib_is_beyond_it(real: Processor) -> None:
    code = "mov bx, 0xfffd; again: inc bx; mov ax, [bx]; jmp again"
    assert run(real, code) is ExitReason.EXCEPTION
    assert (real.cpu["fault_vector"], real.cpu["gpr", EBX]) == (GENERAL_PROTECTION, 0xFFFF)


def test_real_mode_is_translated(real: Processor) -> None:
    """A loop with operands in memory, a call, a stack: nothing of it is left to the interpreter."""
    if real.vcpu.name == "interp":
        return
    before = real.vcpu.statistics()
    code = "mov cx, 50; again: mov si, 2; add [si+4], cx; call on; loop again; hlt; on: push ax; pop ax; ret"
    assert run(real, code) is ExitReason.HLT
    after = real.vcpu.statistics()
    assert after["fragments"] - before["fragments"] >= 3
    assert after["services"] - before["services"] <= 1, "HLT alone"
    assert after["interpreted_runs"] == before["interpreted_runs"]
