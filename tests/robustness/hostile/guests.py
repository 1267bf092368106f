"""Guests that do what no system does on purpose, as sources for the assembler: flat, 32-bit, entered at `ORIGIN`."""

from __future__ import annotations

from typing import NamedTuple

ORIGIN = 0x20_0000  # an even MiB: the same with A20 off
ENDLESS = frozenset({"max-insns"})
ANY = frozenset({"max-insns", "halted", "shutdown", "exit", "reset", "reset-loop", "power-off", "panic"})


class Guest(NamedTuple):
    """What it does, how it may end, and how many instructions it is let do."""

    source: str
    ends: frozenset[str]
    instructions: int = 60_000


# An IDT whose 256 gates lead to `handler`, and pseudo-random numbers in EAX.
PRELUDE = """
    mov esp, stack
    mov edi, idt
    mov ecx, 256
.gate:
    mov eax, handler
    mov word [edi], ax
    mov word [edi + 2], cs
    mov word [edi + 4], 0x8e00
    shr eax, 16
    mov word [edi + 6], ax
    add edi, 8
    dec ecx
    jnz .gate
    lidt [idtr]
    jmp main
random:
    imul eax, dword [seed], 1664525
    add eax, 1013904223
    mov dword [seed], eax
    ror eax, 13
    ret
.align 8
idtr:
    .word 0x7ff
    .long idt
seed:
    .long 12345
.section bss
idt:
    .space 2048
    .space 4096
stack:
    .space 16
.section text
"""

MASTER_8259 = """
    mov al, 0x11
    out 0x20, al
    mov al, 0x20
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
"""
TO_PIC = "handler:\n push eax\n mov al, 0x20\n out 0x20, al\n pop eax\n iretd\n"
TO_APIC = "handler:\n mov dword [0xfee000b0], 0\n iretd\n"
# goes on behind an instruction of two bytes, whatever it has met; error codes are told by where CS is on the stack
SKIP_TWO = "handler:\n cmp dword [esp + 4], 8\n je .bare\n add esp, 4\n.bare:\n add dword [esp], 2\n iretd\n"

PAGING = """
    mov edi, directory
    mov dword [edi], table + 7
    mov edi, table
    mov eax, 7
    mov ecx, 1024
.entry:
    mov dword [edi], eax
    add eax, 4096
    add edi, 4
    dec ecx
    jnz .entry
    mov eax, directory
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax
"""
TABLES = """
.section bss
.align 4096
directory:
    .space 4096
table:
    .space 4096
.section text
"""


def far(address: int) -> str:
    return f"main:\n mov eax, {address:#x}\n jmp eax\nhandler:\n iretd\n"


GUESTS = {
    "halts with interrupts off": Guest("main:\n cli\n hlt\nhandler:\n iretd\n", frozenset({"halted"})),
    "interrupts without a table": Guest(
        "main:\n lidt [none]\n int 3\nnone:\n .long 0, 0\nhandler:\n", frozenset({"shutdown"})),
    "timer at its fastest": Guest(
        f"main:\n{MASTER_8259}\n mov al, 0xfe\n out 0x21, al\n mov al, 0x34\n out 0x43, al\n mov al, 2\n out 0x40, al\n"
        f" mov al, 0\n out 0x40, al\n sti\n.on:\n inc ebx\n jmp .on\n{TO_PIC}", ENDLESS),
    "local timer at its fastest": Guest(
        "main:\n mov dword [0xfee000f0], 0x1ff\n mov dword [0xfee003e0], 0xb\n mov dword [0xfee00320], 0x20040\n"
        f" mov dword [0xfee00380], 1\n sti\n.on:\n inc ebx\n jmp .on\n{TO_APIC}", ENDLESS, 20_000),
    "halts between ticks of the local timer": Guest(
        "main:\n mov dword [0xfee000f0], 0x1ff\n mov dword [0xfee003e0], 0xb\n mov dword [0xfee00320], 0x20040\n"
        f" mov dword [0xfee00380], 1\n sti\n.on:\n hlt\n jmp .on\n{TO_APIC}", ENDLESS, 20_000),
    "a level nobody takes away": Guest(
        f"main:\n{MASTER_8259}\n mov al, 0xef\n out 0x21, al\n mov edx, 0x4d0\n mov al, 0x10\n out dx, al\n"
        " mov edx, 0x3fc\n mov al, 8\n out dx, al\n mov edx, 0x3f9\n mov al, 2\n out dx, al\n sti\n"
        f".on:\n inc ebx\n jmp .on\n{TO_PIC}", ENDLESS, 20_000),
    "interrupts itself": Guest(
        "main:\n mov dword [0xfee000f0], 0x1ff\n sti\n.on:\n mov dword [0xfee00300], 0x40040\n jmp .on\n"
        "handler:\n mov dword [0xfee00300], 0x40041\n mov dword [0xfee000b0], 0\n iretd\n", ENDLESS, 20_000),
    "non-maskable storm": Guest(
        "main:\n.on:\n mov dword [0xfee00300], 0x40400\n jmp .on\nhandler:\n mov dword [0xfee00300], 0x40400\n iretd\n",
        ANY, 20_000),
    "page tables at random": Guest(
        f"main:\n{PAGING}\n.on:\n call random\n mov ebx, eax\n or ebx, 0xfffffd00\n and ebx, 1023\n call random\n"
        " mov dword [table + ebx * 4], eax\n call random\n mov dword [directory + 4 + ebx], eax\n"
        " mov ecx, cr3\n mov cr3, ecx\n call random\n mov edx, dword [eax]\n mov dword [eax], edx\n jmp .on\n"
        "handler:\n mov eax, cr2\n and eax, 0x3ff000\n mov edx, eax\n or edx, 7\n shr eax, 10\n"
        f" mov dword [table + eax], edx\n invlpg [eax]\n add esp, 4\n add dword [esp], 2\n iretd\n{TABLES}", ANY),
    "page tables in devices": Guest(
        "main:\n mov ebx, 16\n.on:\n call random\n and eax, 0x00fff000\n or eax, 0xfe000000\n mov cr3, eax\n"
        " mov eax, 0xfee00000\n mov cr3, eax\n mov eax, cr0\n or eax, 0x80000000\n mov cr0, eax\n jmp .on\n"
        "handler:\n iretd\n", ANY),
    "page tables in the display's memory": Guest(
        "main:\n mov eax, 0xb8000\n mov cr3, eax\n mov eax, cr0\n or eax, 0x80000000\n mov cr0, eax\n"
        "handler:\n iretd\n", ANY),
    "changes what it executes": Guest(
        "main:\n call random\n mov byte [patched + 1], al\n mov dword [other + 1], eax\n"
        "patched:\n mov bl, 0\nother:\n mov edx, 0\n call random\n and eax, 0x3f\n inc byte [room + eax]\n"
        " jmp main\nroom:\n .space 64\nhandler:\n iretd\n", ENDLESS),
    "fills its page with code": Guest(
        "main:\n mov esi, 0x300000\n.on:\n mov byte [esi], 0x40\n mov byte [esi + 1], 0xc3\n call esi\n"
        " add esi, 2\n and esi, 0x301ffe\n or esi, 0x300000\n jmp .on\nhandler:\n iretd\n", ENDLESS),
    "overflows its stack": Guest(
        f"main:\n{PAGING}\n mov dword [table], 0\n mov eax, cr3\n mov cr3, eax\n mov esp, 0x1100\n.on:\n push eax\n"
        f" jmp .on\nhandler:\n push eax\n jmp handler\n{TABLES}", frozenset({"shutdown"})),
    "pushes for ever": Guest("main:\n.on:\n push eax\n jmp .on\nhandler:\n iretd\n", ANY, 3_000_000),
    "writes every register of the model": Guest(
        "main:\n xor esi, esi\n.on:\n mov ecx, esi\n and ecx, 0x1fff\n test esi, 0x2000\n jz .low\n"
        " or ecx, 0xc0000000\n.low:\n call random\n mov edx, eax\n call random\n wrmsr\n rdmsr\n wrmsr\n"
        f" inc esi\n jmp .on\n{SKIP_TWO}", ANY, 200_000),
    "moves the local APIC": Guest(
        "main:\n.on:\n mov ecx, 0x1b\n call random\n and eax, 0x00fff000\n or eax, 0x800\n xor edx, edx\n wrmsr\n"
        " mov ebx, eax\n and ebx, 0xfffff000\n mov ebx, dword [ebx + 0x30]\n mov eax, 0xfec00800\n wrmsr\n"
        f" mov ebx, dword [0xfec00030]\n mov eax, 0xfee00900\n wrmsr\n jmp .on\n{SKIP_TWO}", ANY),
    "toggles A20 and attributes under code": Guest(
        "main:\n mov dword [0x80000], 0xc340\n.on:\n"
        " call random\n and al, 2\n out 0x92, al\n inc dword [0x100000]\n inc dword [0x0]\n"
        " call random\n mov ebx, eax\n and ebx, 4\n lea eax, [ebx + 0x80000058]\n mov edx, 0xcf8\n out dx, eax\n"
        " call random\n mov edx, 0xcfd\n out dx, eax\n"
        " mov dword [0xe8000], 0xc3c3c3c3\n cmp byte [0xe8000], 0xc3\n jne .on\n mov eax, 0xe8000\n call eax\n"
        " jmp .on\nhandler:\n iretd\n", ANY, 20_000),
    "moves regions over everything": Guest(
        "main:\n.on:\n call random\n and eax, 0x1c\n mov ebx, dword [places + eax]\n"
        " call random\n and eax, 8\n lea eax, [eax + 0x80001010]\n mov edx, 0xcf8\n out dx, eax\n"
        " mov edx, 0xcfc\n mov eax, ebx\n out dx, eax\n mov eax, 0x80001004\n mov edx, 0xcf8\n out dx, eax\n"
        " mov edx, 0xcfc\n mov al, 3\n out dx, al\n mov eax, dword [ebx]\n mov dword [ebx + 0x500], eax\n jmp .on\n"
        "places:\n .long 0, 0x200000, 0xf0000, 0xa0000, 0xfec00000, 0xfee00000, 0xfebf0000, 0xff000000\n"
        "handler:\n iretd\n", ANY),
    "configures itself over its descriptor": Guest(
        "main:\n.on:\n call random\n and eax, 0x1c\n mov ebx, dword [targets + eax]\n bswap ebx\n"
        " mov dword [0x300000], 0x0a001900\n mov dword [0x300004], 0xffffff7f\n mov dword [0x300008], 0\n"
        " mov dword [0x30000c], ebx\n mov edx, 0x514\n xor eax, eax\n out dx, eax\n mov edx, 0x518\n"
        " mov eax, 0x3000\n out dx, eax\n jmp .on\n"
        "targets:\n .long 0x300000, 0x300004, 0x2fffff, 0xf0000, 0x7fffff, 0xfee00000, 0xa0000, 0xffffffff\n"
        "handler:\n iretd\n", ANY),
    "configures over its code": Guest(
        "main:\n mov dword [0x300000], 0x02000000\n mov dword [0x300004], 0x00100000\n mov dword [0x300008], 0\n"
        " mov dword [0x30000c], 0x00002000\n mov edx, 0x518\n mov eax, 0x3000\n out dx, eax\n.on:\n jmp .on\n"
        "handler:\n iretd\n", ANY),
    "display registers at random": Guest(
        "main:\n.on:\n call random\n mov ecx, eax\n mov edx, eax\n and edx, 0x1f\n add edx, 0x3c0\n call random\n"
        " out dx, al\n mov edx, 0x1ce\n mov eax, ecx\n shr eax, 8\n and eax, 15\n out dx, ax\n mov edx, 0x1cf\n"
        " call random\n out dx, ax\n mov edi, eax\n and edi, 0x1ffff\n mov dword [edi + 0xa0000], eax\n jmp .on\n"
        "handler:\n iretd\n", ENDLESS),
    "floods the keyboard controller": Guest(
        "main:\n.on:\n call random\n out 0x60, al\n call random\n and al, 0xef\n out 0x64, al\n"
        " in al, 0x60\n in al, 0x64\n jmp .on\nhandler:\n iretd\n", ANY),
    "floods the serial port": Guest(
        "main:\n.on:\n mov edx, 0x3f8\n call random\n out dx, al\n call random\n mov edx, eax\n and edx, 7\n"
        " add edx, 0x3f8\n call random\n out dx, al\n in al, dx\n jmp .on\nhandler:\n iretd\n", ENDLESS),
    "sends without end": Guest(
        "main:\n.on:\n mov esi, 0x100000\n mov ecx, 0xffffffff\n mov edx, 0xe9\n rep outsb\n jmp .on\n"
        "handler:\n iretd\n",
        ENDLESS, 300_000),
    "writes to any port": Guest(
        "main:\n.on:\n call random\n mov edx, eax\n and edx, 0x7ff\n cmp dl, 8\n jb .on\n cmp dl, 0xf0\n"
        " ja .on\n call random\n out dx, eax\n in eax, dx\n out dx, ax\n out dx, al\n jmp .on\n"
        "handler:\n iretd\n", ANY),
    "resets again and again": Guest("main:\n mov al, 0xfe\n out 0x64, al\n.on:\n jmp .on\nhandler:\n iretd\n", ANY),
    "runs in a device": Guest(far(0xFEE0_0000), ANY),
    "runs in the display": Guest(far(0xA_0000), ANY),
    "runs where nothing is": Guest(far(0xF000_0000), ANY),
    "runs off the end": Guest(far(0xFFFF_FFFE), ANY),
    "descriptors in devices": Guest(
        "main:\n mov dword [0x300000], 0x00000fff\n mov dword [0x300002], 0xfec00000\n lgdt [0x300000]\n"
        " mov ax, 0x18\n mov ds, ax\nhandler:\n iretd\n", ANY),
    "interrupt table in devices": Guest(
        "main:\n mov dword [0x300000], 0x00000fff\n mov dword [0x300002], 0xfee00000\n lidt [0x300000]\n int 0x30\n"
        "handler:\n iretd\n", ANY),
}  # fmt: skip
