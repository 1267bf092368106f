"""bt explain in 64-bit code, which is interpreted."""

from __future__ import annotations

import re

import pytest

from bt.cli import explain
from bt.engine.library.library import load_library
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.inspect.explanation.explain import Explainer
from bt.inspect.explanation.interpreted import InterpretedBlock
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import cpu_model
from tests import long_engine
from tests.cases import layout
from tests.cases.parse import parse_line


@pytest.mark.parametrize(
    ("code", "operands", "calls"),
    [
        ("mov rax, [r12+r13*8-8]", "rax, ds:[r12 + r13*8 + 0xfffffffffffffff8]", "slow_read"),
        ("mov sil, r9b", "sil, r9b", ""),
        ("hex: 88 e6", "dh, ah", ""),
        ("add r9w, 5", "r9w, 0x5", ""),
        ("lea rax, [rip+10h]", "rax, ds:[0x10017]", ""),
        ("hex: 67 8b 01", "eax, ds:[ecx]", "slow_read"),
        ("movq xmm9, r10", "xmm9, r10", "fp_prepare"),
        ("push r14", "r14", "slow_write"),
    ],
)
def test_records_are_shown(code: str, operands: str, calls: str) -> None:
    ram = GuestRam(long_engine.REGIONS + sum(region.size for region in layout.REGIONS))
    cpu = TranslatingVcpu(load_library(), PhysicalMap(ram), cpu_model.parse("qemu64"))
    long_engine.boot(cpu)
    case = parse_line(f"{code} | bits=64 => ?")
    ram.write(long_engine.REGIONS, b"".join(case.images().values()))
    cpu.state["eip"] = case.origin
    (block,) = Explainer(cpu).blocks(case.origin, blocks=1)
    assert isinstance(block, InterpretedBlock)
    assert block.why == "64-bit code"
    instruction = block.instructions[0]
    assert instruction.operands == operands
    assert instruction.code == case.code
    assert instruction.handler.name.startswith("long_")
    assert not calls or calls in instruction.handler.calls
    cpu.close()
    ram.close()


def test_the_unit_of_a_block(capsys: pytest.CaptureFixture[str]) -> None:
    """The instructions themselves, what is charged before the first, accesses by way of the TLB, and ways out."""
    assert explain.main(["sha64", "--tier", "2", "--after", "100000", "--blocks", "1"]) == 0
    said = capsys.readouterr().out.partition("\nunit 00100313: 40 instructions")[2]
    assert re.search(r"ror r12d, 0xb +sub qword ptr \[budget\], 0x28 *\n +js <above>", said)
    assert re.search(r"xor ebp, r12d +=  xor ebp, r12d", said)
    assert re.search(r"add r11d, ebp +mov r11, qword ptr \[r11\]", said)
    assert "tlb_supervisor_64" in said
    assert "<interp_long_leave>" in said


def test_an_instruction_that_is_for_no_unit(capsys: pytest.CaptureFixture[str]) -> None:
    """There is one before and one behind it."""
    assert explain.main(["hello64", "--tier", "2", "--after", "8700", "--blocks", "4"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^unit 001001f4: none, io\.outs *$", said, re.MULTILINE)
    assert re.search(r"^unit 001001f5: 2 instructions", said, re.MULTILINE)
