; mandel64: the Mandelbrot set on a grid of 64 by 64 points, at most 128 steps each, n times, in SSE2 doubles.
;
; result: h = h * 31 + steps over all points. ops = steps.

default_n = 4

.include "measure64.asm"

guest_name:
    .byte "mandel64", 0

.align 8
constants:
    .long 0x00000000, 0xC0000000        ; -2.0, the left edge
    .long 0x00000000, 0xBFF40000        ; -1.25, the top edge
    .long 0x00000000, 0x3FA40000        ; 2.5 / 64, the spacing
    .long 0x00000000, 0x40100000        ; 4.0

SIDE = 64                               ; points in a row and in a column
STEPS = 128

main:
    xor ebp, ebp                        ; hash
    xor r8d, r8d                        ; steps in all
    mov ebx, constants
    movsd xmm7, qword [rbx + 16]
    movsd xmm8, qword [rbx + 24]
.pass:
    movsd xmm11, qword [rbx + 8]
    mov r9d, SIDE
.row:
    movsd xmm10, qword [rbx]
    mov r12d, SIDE
.point:
    xor ecx, ecx
    xorpd xmm0, xmm0                    ; xmm0 = x, xmm1 = y
    xorpd xmm1, xmm1
.step:
    movapd xmm4, xmm0
    mulsd xmm4, xmm4
    movapd xmm5, xmm1
    mulsd xmm5, xmm5
    movapd xmm6, xmm4
    addsd xmm6, xmm5
    ucomisd xmm6, xmm8
    ja .out
    mulsd xmm1, xmm0
    addsd xmm1, xmm1
    addsd xmm1, xmm11
    subsd xmm4, xmm5
    movapd xmm0, xmm4
    addsd xmm0, xmm10
    inc ecx
    cmp ecx, STEPS
    jne .step
.out:
    add r8, rcx
    imul ebp, ebp, 31
    add ebp, ecx
    addsd xmm10, xmm7
    dec r12d
    jnz .point
    addsd xmm11, xmm7
    dec r9d
    jnz .row
    dec edi
    jnz .pass
    mov eax, ebp
    mov rdx, r8
    ret
