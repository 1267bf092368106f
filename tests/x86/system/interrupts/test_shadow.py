"""When interrupts are taken: the shadow of STI, MOV SS and POP SS (SDM vol. 3A 6.8.1, 6.8.3), POPF, IRET and HLT."""

from __future__ import annotations

import pytest

from bt.x86.exits import ExitReason
from bt.x86.reset import write_eflags
from bt.x86.state import EAX, EDI, EDX, ESI
from guest_images.assembler import assemble
from tests.x86.system.lines import ORIGIN
from tests.x86.system.processor import Processor, data_selector

IF, STACK = 1 << 9, 0x8000


def load(processor: Processor, code: str) -> None:
    processor.ram.write(ORIGIN, assemble(code.replace("; ", "\n"), 32, ORIGIN))
    processor.cpu["eip"] = ORIGIN
    processor.vcpu.flush()


@pytest.mark.parametrize(
    ("code", "enabled", "taken_after"),
    [
        ("nop; nop; nop; nop", True, 0),
        ("nop; sti; nop; nop; nop", False, 3),
        ("nop; sti; sti; nop; nop", False, 3),  # the second STI finds IF set: no shadow of its own
        ("sti; cli; nop; nop", False, None),
        ("sti; hlt; nop", False, 2),
        ("popfd; nop; nop", False, 1),
        ("mov ss, eax; nop; nop", False, None),
        ("sti; mov ss, eax; nop; nop", False, 3),
        ("sti; mov ss, eax; mov ss, eax; nop", False, 3),  # the second has no shadow of its own
        ("sti; mov ss, eax; nop; mov ss, eax; nop; nop", False, 3),
    ],
)
def test_first_moment_an_interrupt_is_taken(
    engine: Processor, code: str, enabled: bool, taken_after: int | None
) -> None:
    cpu = engine.cpu
    load(engine, code + "; jmp 0x20000")
    engine.ram.write(0x20000, assemble("hlt", 32, 0x20000))
    engine.ram.write(STACK, (IF | 2).to_bytes(4, "little"))
    cpu["gpr", 4] = STACK
    cpu["gpr", EAX] = data_selector(0)
    write_eflags(cpu, IF if enabled else 0)
    cpu["intr_pending"] = 1
    before = engine.vcpu.instructions
    leave = engine.vcpu.run(100)
    if leave.reason is ExitReason.HLT and taken_after == 2:
        leave = engine.vcpu.run(100)  # what ends a halt is the interrupt
    if taken_after is None:
        assert leave.reason is ExitReason.HLT
    else:
        assert leave.reason is ExitReason.INTERRUPT_WINDOW
        assert engine.vcpu.instructions - before == taken_after


@pytest.mark.parametrize("code", ["mov ss, eax; mov esp, 0x9000; nop", "pop ss; mov esp, 0x9000; nop"])
def test_stack_switch_is_not_interrupted(engine: Processor, code: str) -> None:
    """The window opens when ESP too has been loaded."""
    cpu = engine.cpu
    load(engine, "nop; " + code)
    cpu["gpr", EAX] = data_selector(0)
    cpu["gpr", 4] = STACK
    engine.ram.write(STACK, data_selector(0).to_bytes(4, "little"))
    assert engine.vcpu.run(1).reason is ExitReason.BUDGET
    write_eflags(cpu, IF)
    assert engine.vcpu.run(1).reason is ExitReason.BUDGET
    cpu["intr_pending"] = 1
    leave = engine.vcpu.run(100)
    assert leave.reason is ExitReason.INTERRUPT_WINDOW
    assert cpu["gpr", 4] == 0x9000


def test_ins_reads_each_port_value_once(engine: Processor) -> None:
    cpu = engine.cpu
    load(engine, "rep insw; hlt")
    cpu["gpr", EDX], cpu["gpr", EDI], cpu["gpr", 1] = 0x1234, STACK, 3
    for value in (0x1111, 0x2222, 0x3333):
        leave = engine.vcpu.run(100)
        assert (leave.reason, leave.address, leave.size, leave.write) == (ExitReason.IO, 0x1234, 2, False)
        engine.vcpu.complete(value)
    assert engine.vcpu.run(100).reason is ExitReason.HLT
    assert engine.ram.read(STACK, 6) == bytes.fromhex("111122223333")
    assert (cpu["gpr", 1], cpu["gpr", EDI]) == (0, STACK + 6)


def test_outs_goes_down_with_df(engine: Processor) -> None:
    cpu = engine.cpu
    load(engine, "std; rep outsb; hlt")
    engine.ram.write(STACK, b"abc")
    cpu["gpr", EDX], cpu["gpr", ESI], cpu["gpr", 1] = 0x80F1, STACK + 2, 3
    sent = bytearray()
    while (leave := engine.vcpu.run(100)).reason is ExitReason.IO:
        assert leave.write
        sent.append(leave.value)
        engine.vcpu.complete(0)
    assert (bytes(sent), leave.reason, cpu["gpr", ESI]) == (b"cba", ExitReason.HLT, STACK - 1)
