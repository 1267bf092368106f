"""A guest that uses much of a PC in a few hundred instructions: interrupts, shadows, traps, FP, string IO, paging."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from zlib import crc32

from bt.devices.device import Device
from bt.engine.library.library import Library
from bt.machine import EngineName, Machine, MachineConfig
from guest_images.assembler import Program, assemble_program
from tests import tables

MEMORY = 2 << 20
DIRECTORY, TABLE, IDT, DATA, ORIGIN = 0x2000, 0x3000, 0x4000, 0x6000, 0x10000
DEVICES = 0xF000_0000  # linear, by a page of 4 MiB: nobody is there unless a test attaches somebody
SOURCE = f"""
    lidt [idt_register]
    mov eax, {DIRECTORY}
    mov cr3, eax
    mov eax, 0x610                      ; PSE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, cr0
    or eax, 0x80010020                  ; PG, WP, NE
    mov cr0, eax
    mov esi, initialise
.next:
    lodsw
    test al, al
    jz .initialised
    movzx edx, al
    mov al, ah
    out dx, al
    jmp .next
.initialised:
    fninit
    fld1
    mov ebx, 3
round:
    sti                                 ; its shadow
    nop
    mov ax, ss
    mov ss, ax                          ; the other one
    nop
    fadd st(0)
    mov eax, [{DEVICES}]
    mov esi, {DEVICES + 16}
    mov edi, {DEVICES + 32}
    movsd                               ; two accesses to a device
    push dword [{DEVICES + 4}]
    pop ecx
    cli
    mov dx, 0x40
    mov edi, {DATA}
    mov ecx, 4
    rep insb
    sti
    movd xmm1, ebx
    paddd xmm0, xmm1
    pushfd
    or dword [esp], 0x100
    popfd                               ; TF
    inc edx
    mov ax, ss
    mov ss, ax
    in al, 0x61
    pushfd
    and dword [esp], 0xFFFFFEFF
    popfd
    mov eax, {DATA + 16}
    mov dr0, eax
    mov eax, watched
    mov dr1, eax
    mov eax, 0x000D0005                 ; a write of 4 bytes there; an instruction
    mov dr7, eax
    mov [{DATA + 16}], ebx
watched:
    inc dword [{DATA + 16}]
    xor eax, eax
    mov dr7, eax
    inc byte [patched + 1]              ; an instruction of its own block
patched:
    mov al, 0x40
    out 0xE9, al
    rdtsc
    and al, 15
    add al, 0x30
    out 0xE9, al
    in al, 0x71
    int 0x30
    mov byte [{DATA} + 64 + ebx], al
    hlt
    mov ebp, esp
    mov esp, {DEVICES + 0x800}          ; what is delivered goes to a device, word by word
    ud2
after_undefined:
    mov esp, {DEVICES + 0x800}
    mov ax, 0xFFF8
    mov fs, ax                          ; with an error code
after_protection:
    mov esp, {DEVICES + 0x800}
    sti
    hlt
after_timer:
    dec ebx
    jnz round
    fst qword [{DATA + 32}]
    movups [{DATA + 48}], xmm0
    mov eax, [{DATA + 16}]
    cli
    out 0xF4, al

timer:
    push eax
    inc dword [ticks]
    mov al, [ticks]
    and al, 15
    add al, 0x61
    out 0xE9, al
    mov al, 0x20
    out 0x20, al
    cmp esp, {DEVICES}
    jae away
    pop eax
    iretd
away:
    mov esp, ebp
    jmp after_timer
undefined:
    mov esp, ebp
    jmp after_undefined
protection:
    mov esp, ebp
    jmp after_protection
debug:
    push eax
    mov eax, dr6
    add [debug_sum], eax
    xor eax, eax
    mov dr6, eax
    pop eax
    or dword [esp + 8], 0x10000         ; RF: on behind an instruction breakpoint
    iretd
software:
    add [ticks], ebx
    iretd
    .align 4
ticks:
    .long 0
debug_sum:
    .long 0
idt_register:
    .word 0x7FF
    .long {IDT}
initialise:
    .byte 0x20, 0x11, 0x21, 0x20, 0x21, 4, 0x21, 1, 0xA0, 0x11, 0xA1, 0x28, 0xA1, 2, 0xA1, 1, 0x21, 0xFE, 0xA1, 0xFF
    .byte 0x43, 0x34, 0x40, 13, 0x40, 0, 0x70, 0, 0x80, 0x77
    .word 0
"""


@dataclass
class Recorded:
    """A machine whose guest is this one, and what it has said."""

    machine: Machine
    said: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *error: object) -> None:
        self.machine.close()


class Refusing(Device):
    """Answers by a count of its own; raises once, at the access with a given number, and has then not been asked."""

    widest_access = 4
    fields = ("asked", "heard")

    def __init__(self) -> None:
        super().__init__("refusing")
        self.asked = self.heard = 0
        self.raise_at = -1

    def _ask(self) -> int:
        if self.asked == self.raise_at:
            self.raise_at = -1
            raise InterruptedError
        self.asked += 1
        return self.asked * 0x1111

    def read(self, offset: int, size: int) -> int:
        return self._ask()

    def write(self, offset: int, size: int, value: int) -> None:
        self._ask()
        self.heard = crc32(value.to_bytes(size, "little"), self.heard)


def program() -> Program:
    return assemble_program(SOURCE, 32, ORIGIN)


def make(library: Library, engine: EngineName, guest: Program | None) -> Recorded:
    """About to run the guest; without one a machine in which nothing was loaded yet."""
    said = bytearray()
    config = MachineConfig(memory=MEMORY, engine=engine)
    machine = Machine(config, library=library, console=said.append)
    if guest is not None:
        machine.load(guest.image, flat=ORIGIN)
        ram = machine.ram
        handlers = {1: "debug", 6: "undefined", 13: "protection", 0x20: "timer", 0x30: "software"}
        for vector, name in handlers.items():
            selector = machine.cpu.state.segment(1, "selector")
            ram.write(IDT + 8 * vector, tables.interrupt_gate(selector, guest.symbols[name]))
        pages = (number << 12 | tables.WRITABLE | tables.PRESENT for number in range(1024))
        ram.write(TABLE, struct.pack("<1024I", *pages))
        device = DEVICES | tables.WRITABLE | tables.PRESENT | tables.LARGE
        ram.write(DIRECTORY, struct.pack("<I", TABLE | tables.WRITABLE | tables.PRESENT))
        ram.write(DIRECTORY + 4 * (DEVICES >> 22), struct.pack("<I", device))
    return Recorded(machine, said)
