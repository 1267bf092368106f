; processes: CRC-32 by table in ring 3, paging on, in two address spaces by turns: each does a pass, n in all.
;
; What an operating system makes of a compute loop. Both have their buffer at the same linear address and in frames of
; their own; the kernel only loads the other's CR3 when a pass is over. result: the sum of both CRCs.
; ops = bytes. Self-check: the buffers hold the same bytes, so after an even number of passes the CRCs are the same.

default_n = 16
BUFFER_BYTES = 0x10000

.include "platform.asm"
.include "two_spaces.asm"

guest_name:
    .byte "processes", 0

main:
    push ebx
    push esi
    push edi
    push ebp
    mov ebx, eax
    mov ebp, eax
    mov dword [crc], 0
    mov dword [crc + 4], 0
    call make_table
    call fill_buffer
    mov eax, user
    call run_in_two_spaces
    mov edx, ebp
    mov eax, [crc]
    test edx, 1
    jnz .odd
    cmp eax, [crc + 4]
    jne exit_failed
.odd:
    add eax, [crc + 4]
    shl edx, 16
    pop ebp
    pop edi
    pop esi
    pop ebx
    ret

user:                                   ; ebx = passes left
    xor esi, esi                        ; of whose turn it is
    test ebx, ebx
    jz .over
.pass:
    mov eax, [crc + esi*4]
    call crc_of_buffer
    mov [crc + esi*4], eax
    xor esi, 1
    other_space
    dec ebx
    jnz .pass
.over:
    leave_spaces

crc_of_buffer:                          ; eax: crc so far -> eax
    push ebx
    mov edi, buffer
    not eax
.byte:
    movzx edx, byte [edi]
    movzx ebx, al
    inc edi
    shr eax, 8
    xor edx, ebx
    xor eax, [table + edx*4]
    cmp edi, buffer + BUFFER_BYTES
    jb .byte
    not eax
    mov [buffer + BUFFER_BYTES - 4], eax
    pop ebx
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

.section bss
.align 4096
buffer:
    .space BUFFER_BYTES
table:
    .space 1024
crc:
    .space 8
