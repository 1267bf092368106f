; crc64: CRC-32 by table over 65,536 bytes, n times. result: the CRC. ops = bytes.

default_n = 16

.include "measure64.asm"

guest_name:
    .byte "crc64", 0

main:
    mov esi, buffer
    xor ecx, ecx
.entry:
    mov eax, ecx
    mov edx, 8
.bit:
    mov ebx, eax
    and ebx, 1
    neg ebx
    and ebx, 0xEDB88320
    shr eax, 1
    xor eax, ebx
    dec edx
    jnz .bit
    mov [rsi + rcx * 4], eax
    inc ecx
    cmp ecx, 256
    jne .entry
    xor ecx, ecx
.byte:
    mov eax, ecx
    shr eax, 8
    lea edx, [rcx * 8]
    sub edx, ecx
    add eax, edx
    mov [rsi + rcx + 4096], al
    inc ecx
    cmp ecx, 65536
    jne .byte
    mov r8d, edi
    mov eax, 0xFFFFFFFF
.pass:
    lea rbx, [rsi + 4096]
    lea r9, [rsi + 4096 + 65536]
.next:
    movzx edx, byte [rbx]
    xor edx, eax
    movzx edx, dl
    shr eax, 8
    xor eax, [rsi + rdx * 4]
    inc rbx
    cmp rbx, r9
    jne .next
    dec r8d
    jnz .pass
    mov edx, edi
    shl rdx, 16
    ret

.section bss
.align 4096
buffer:
    .space 69632
.section text
