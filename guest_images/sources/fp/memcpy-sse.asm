; memcpy-sse: 64 KiB copied four ways - aligned, unaligned, past the caches, by MMX - n times, then summed.
;
; Sixteen bytes at a time as in the C library, 64 in a round. result: the sum of all doublewords of the last copies, by
; PADDD. ops = bytes. Self-check: the last copy is equal to the source, by PCMPEQB and PMOVMSKB.

default_n = 16
BUFFER_BYTES = 0x10000

.include "platform.asm"
.include "fp.asm"

guest_name:
    .byte "memcpy-sse", 0

main:
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    mov ebx, eax
    call enable_fp
    mov edi, source                     ; fill
    mov eax, 1
.fill:
    imul eax, eax, 1664525
    add eax, 1013904223
    mov [edi], eax
    add edi, 4
    cmp edi, source + BUFFER_BYTES
    jne .fill
    push ebx
    jmp .pass_test
.pass:
    call copy_aligned
    call copy_unaligned
    call copy_streaming
    call copy_mmx
    call check
    dec ebx
.pass_test:
    test ebx, ebx
    jnz .pass
    pop edx
    shl edx, 18
    pxor xmm0, xmm0
    mov ecx, aligned
.sum:
    paddd xmm0, xmmword [ecx]
    add ecx, 16
    cmp ecx, mmx_copy + BUFFER_BYTES
    jne .sum
    pshufd xmm1, xmm0, 0x4E
    paddd xmm0, xmm1
    pshufd xmm1, xmm0, 0xB1
    paddd xmm0, xmm1
    movd eax, xmm0
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

copy_aligned:
    mov esi, source
    mov edi, aligned
    mov ecx, BUFFER_BYTES / 64
.next:
    movdqa xmm0, xmmword [esi]
    movdqa xmm1, xmmword [esi + 16]
    movdqa xmm2, xmmword [esi + 32]
    movdqa xmm3, xmmword [esi + 48]
    movdqa xmmword [edi], xmm0
    movdqa xmmword [edi + 16], xmm1
    movdqa xmmword [edi + 32], xmm2
    movdqa xmmword [edi + 48], xmm3
    add esi, 64
    add edi, 64
    dec ecx
    jnz .next
    ret

copy_unaligned:                         ; one doubleword off the alignment of the target
    mov esi, aligned
    mov edi, unaligned + 4
    mov ecx, BUFFER_BYTES / 64
.next:
    movups xmm0, xmmword [esi]
    movups xmm1, xmmword [esi + 16]
    movups xmm2, xmmword [esi + 32]
    movups xmm3, xmmword [esi + 48]
    movups xmmword [edi], xmm0
    movups xmmword [edi + 16], xmm1
    movups xmmword [edi + 32], xmm2
    movups xmmword [edi + 48], xmm3
    add esi, 64
    add edi, 64
    dec ecx
    jnz .next
    ret

copy_streaming:
    mov esi, unaligned + 4
    mov edi, streamed
    mov ecx, BUFFER_BYTES / 64
.next:
    movdqu xmm0, xmmword [esi]
    movdqu xmm1, xmmword [esi + 16]
    movdqu xmm2, xmmword [esi + 32]
    movdqu xmm3, xmmword [esi + 48]
    movntdq xmmword [edi], xmm0
    movntdq xmmword [edi + 16], xmm1
    movntdq xmmword [edi + 32], xmm2
    movntdq xmmword [edi + 48], xmm3
    add esi, 64
    add edi, 64
    dec ecx
    jnz .next
    sfence
    ret

copy_mmx:
    mov esi, streamed
    mov edi, mmx_copy
    mov ecx, BUFFER_BYTES / 32
.next:
    movq mm0, qword [esi]
    movq mm1, qword [esi + 8]
    movq mm2, qword [esi + 16]
    movq mm3, qword [esi + 24]
    movq qword [edi], mm0
    movq qword [edi + 8], mm1
    movq qword [edi + 16], mm2
    movq qword [edi + 24], mm3
    add esi, 32
    add edi, 32
    dec ecx
    jnz .next
    emms
    ret

check:
    xor ecx, ecx
.next:
    movdqa xmm0, xmmword [source + ecx]
    pcmpeqb xmm0, xmmword [mmx_copy + ecx]
    pmovmskb eax, xmm0
    cmp eax, 0xFFFF
    jne exit_failed
    add ecx, 16
    cmp ecx, BUFFER_BYTES
    jne .next
    ret

.section bss
.align 4096
source:
    .space BUFFER_BYTES
aligned:
    .space BUFFER_BYTES
unaligned:
    .space BUFFER_BYTES + 16
streamed:
    .space BUFFER_BYTES
mmx_copy:
    .space BUFFER_BYTES
