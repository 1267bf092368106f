; crc: CRC-32 (IEEE 802.3, reflected polynomial EDB88320) by table over a 64 KiB buffer of pseudo-random bytes, n times.
;
; Table look-ups indexed by data, one dependent chain. result: the CRC carried through all passes. ops = bytes.
; Self-check: the catalogued check value of the code, crc("123456789") = CBF43926.

default_n = 16
BUFFER_BYTES = 0x10000
CHECK_VALUE = 0xCBF43926

.include "platform.asm"

guest_name:
    .byte "crc", 0
check_text:
    .byte "123456789"
CHECK_BYTES = 9

main:
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    mov ebx, eax
    mov edi, eax
    call make_table
    call fill_buffer
    push CHECK_BYTES
    push check_text
    push 0
    call crc32
    add esp, 12
    cmp eax, CHECK_VALUE
    jne exit_failed
    xor esi, esi
    jmp .pass_test
.pass:
    push BUFFER_BYTES
    push buffer
    push esi
    call crc32
    add esp, 12
    mov esi, eax
    dec ebx
.pass_test:
    test ebx, ebx
    jnz .pass
    mov eax, esi
    mov edx, edi
    shl edx, 16
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

.include "crc_table.asm"

fill_buffer:                            ; the upper bytes of a linear congruential generator
    mov eax, 1
    xor ecx, ecx
.byte:
    imul eax, eax, 1664525
    add eax, 1013904223
    mov edx, eax
    shr edx, 24
    mov [buffer + ecx], dl
    inc ecx
    cmp ecx, BUFFER_BYTES
    jne .byte
    ret

crc32:                                  ; (crc, data, bytes) -> eax
    push ebp
    mov ebp, esp
    push ebx
    push esi
    mov eax, [ebp + 8]
    not eax
    mov esi, [ebp + 12]
    mov ecx, [ebp + 16]
    add ecx, esi                        ; end of data
    cmp esi, ecx
    jae .done
.byte:
    movzx edx, byte [esi]
    movzx ebx, al
    inc esi
    shr eax, 8
    xor edx, ebx
    xor eax, [table + edx*4]
    cmp esi, ecx
    jb .byte
.done:
    not eax
    pop esi
    pop ebx
    pop ebp
    ret

.section bss
.align 4096
table:
    .space 1024
buffer:
    .space BUFFER_BYTES
