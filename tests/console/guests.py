"""Small guests that draw on the screen, and say which keys they got."""

from __future__ import annotations

from pathlib import Path

from tests.cli import code

QUIT = "q"
# 16 rows of characters, each of another attribute in its column and row; the cursor is at row 20, column 5, a block.
# Below it scan codes of keys that are pressed, as they come; q ends it, and so does a byte on COM1.
PICTURE = """
    mov edi, 0xb8000
    mov ecx, 2000
    mov eax, 0x0720
    cld
    rep stosw
    xor ebx, ebx
cells:
    mov eax, ebx
    and eax, 15
    lea edi, [eax*2+0xb8000]
    mov eax, ebx
    shr eax, 4
    imul eax, eax, 160
    add edi, eax
    mov [edi], bl
    mov byte ptr [edi+1], 7
    mov byte ptr [edi+40], 'X'
    mov [edi+41], bl
    inc ebx
    cmp ebx, 256
    jne cells
    mov edx, 0x3d4
    mov eax, 0x000a         ; cursor start: line 0
    out dx, ax
    mov eax, 0x0f0b         ; cursor end: line 15
    out dx, ax
    mov eax, 0x060e         ; 20 * 80 + 5 = 0645h
    out dx, ax
    mov eax, 0x450f
    out dx, ax
    mov al, 0x60            ; command byte: translate to set 1, keyboard on, no interrupts
    out 0x64, al
    mov al, 0x40
    out 0x60, al
    mov edi, 0xb8000+22*160
    jmp typed
digit:
    and eax, 15
    cmp eax, 10
    jb decimal
    add eax, 'a'-'0'-10
decimal:
    add eax, '0'
    mov [edi], al
    add edi, 2
    ret
typed:
    in al, 0x64
    test al, 1
    jz typed
    in al, 0x60
    test al, 0x80
    jnz typed
    movzx ebx, al
    mov eax, ebx
    shr eax, 4
    call digit
    mov eax, ebx
    call digit
    add edi, 2
    cmp bl, 0x10            ; q
    jne typed
    mov eax, 0
    out 0xf4, al
"""
# A halted guest with a timer of 18.2 Hz: counts 91 ticks, five seconds, and ends.
FIVE_SECONDS = """
    lidt [idt_register]
    mov al, 0x11
    out 0x20, al
    mov al, 0x20
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34
    out 0x43, al
    xor eax, eax
    out 0x40, al
    out 0x40, al
    mov ecx, 91
    sti
again:
    hlt
    loop again
    xor eax, eax
    out 0xf4, al
tick:
    push eax
    mov al, 0x20
    out 0x20, al
    pop eax
    iretd
idt_register:
    .word 0x107
    .long idt
.align 8
idt:
    .space 256
    .word tick - 0x100000, 0x8, 0x8e00, 0x10
"""


def write(directory: Path, source: str) -> list[str]:
    """The arguments of `bt run` for a guest."""
    return ["run", code.write(directory / "guest.bin", source), *code.FLAT]
