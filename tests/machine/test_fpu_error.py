"""x87 exceptions by interrupt 13, as a PC has them while CR0.NE is clear (SDM vol. 1 appendix D.2).

What QEMU does there ends in a failed assertion; Bochs judges the guest fp-matrix, but has no IGNNE#.
"""

from __future__ import annotations

import struct

import pytest

from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.machine import EngineName, Machine, MachineConfig, Result
from guest_images.assembler import Program, assemble_program

ORIGIN = 0x10000
SOURCE = """
    lidt [idt_register]
    mov esi, initialise
.next:                                  ; the 8259s: vectors from 20h
    lodsw
    test al, al
    jz .initialised
    movzx edx, al
    mov al, ah
    out dx, al
    jmp .next
.initialised:
    mov al, 0x34                        ; counter 0 every 1000 ticks
    out 0x43, al
    mov al, 0xE8
    out 0x40, al
    mov al, 3
    out 0x40, al
    mov eax, cr0
    and al, 0xD1                        ; NE, EM, TS, MP
    mov cr0, eax
    fninit
    fldcw word [control]
    INTERRUPTS
    fldz
    fld1
    fdivrp st(1)                        ; by zero
    mov ecx, 5000
.integer:                               ; nothing happens until an instruction waits
    loop .integer
    mov eax, [errors]
    mov [errors_before], eax
waiting:
    fadd st(0)
    fnstsw ax
    mov [status_after], eax
    cli
    hlt

timer:
    push eax
    inc dword [ticks]
    cmp dword [ticks], 20
    jb .done
    fnclex                              ; somebody has to
.done:
    mov al, 0x20
    out 0x20, al
    pop eax
    iretd

error:
    push eax
    inc dword [errors]
    mov eax, [esp + 4]
    mov [interrupted], eax
    fnstsw ax
    mov [status], eax
    out 0xF0, al
    fld1                                ; IGNNE#: with the exception still pending
    fstp st(0)
    fnclex
    mov al, 0x20
    out 0xA0, al
    out 0x20, al
    pop eax
    iretd

initialise:
    .byte 0x20, 0x11, 0xA0, 0x11, 0x21, 0x20, 0xA1, 0x28, 0x21, 4, 0xA1, 2, 0x21, 1, 0xA1, 1
    .byte 0x21, MASTER_MASK, 0xA1, 0xDF, 0, 0
control:
    .word 0x37B
.align 4
idt_register:
    .word 0x2E * 8 - 1
    .long idt
ticks:
    .long 0
errors:
    .long 0
errors_before:
    .long 0
interrupted:
    .long 0
status:
    .long 0
status_after:
    .long 0
.align 8
idt:
    .space 0x20 * 8
    .word timer - ORIGIN, 8, 0x8E00, ORIGIN / 0x10000
    .space 12 * 8
    .word error - ORIGIN, 8, 0x8E00, ORIGIN / 0x10000
"""
TIMER_AND_SLAVE, TIMER, SLAVE = 0xFA, 0xFE, 0xFB
ZERO_DIVIDE_PENDING = 0xB084


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


def program(mask: int, interrupts: str) -> Program:
    constants = f"ORIGIN = {ORIGIN}\nMASTER_MASK = {mask}\n"
    return assemble_program(constants + SOURCE.replace("INTERRUPTS", interrupts), 32, ORIGIN)


def run(library: Library, engine: EngineName, code: Program) -> tuple[Result, dict[str, int]]:
    """Result, and the guest's variables."""
    machine = Machine(MachineConfig(memory=2 << 20, engine=engine), library=library)
    machine.load(code.image, flat=ORIGIN)
    result = machine.run(max_insns=2_000_000)
    names = ("ticks", "errors", "errors_before", "interrupted", "status", "status_after")
    found = {name: struct.unpack("<I", machine.ram.read(code.symbols[name], 4))[0] for name in names}
    found["eip"] = machine.cpu.state["eip"]
    machine.close()
    return result, found


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_the_next_waiting_instruction_is_interrupted(library: Library, engine: EngineName) -> None:
    code = program(SLAVE, "sti")
    result, found = run(library, engine, code)
    assert (result.reason, found["errors"], found["errors_before"]) == ("halted", 1, 0)
    assert found["interrupted"] == code.symbols["waiting"]
    assert found["status"] & 0xFFFF == ZERO_DIVIDE_PENDING
    assert found["status_after"] & 0x80FF == 0


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_the_processor_waits_while_the_line_is_masked(library: Library, engine: EngineName) -> None:
    """Other interrupts come through, and one of their handlers may clear the exception."""
    result, found = run(library, engine, program(TIMER, "sti"))
    assert (result.reason, found["errors"], found["ticks"]) == ("halted", 0, 20)
    assert found["status_after"] & 0x80FF == 0


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_without_interrupts_it_waits_for_ever(library: Library, engine: EngineName) -> None:
    code = program(TIMER_AND_SLAVE, "nop")
    result, found = run(library, engine, code)
    assert (result.reason, found["eip"]) == ("halted", code.symbols["waiting"])
