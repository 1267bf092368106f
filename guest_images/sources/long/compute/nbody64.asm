; nbody64: five bodies that attract each other, n time steps, in SSE2 doubles.
;
; result: h = h * 31 + word over the final state. ops = pairs.

default_n = 2000

.include "measure64.asm"

guest_name:
    .byte "nbody64", 0

.align 8
constants:
    .long 0x47AE147B, 0x3F847AE1        ; 0.01
    .long 0x00000000, 0x3FB00000        ; 1 / 16

BODY_BYTES = 56                         ; position, velocity, mass
VELOCITY = 24
MASS = 48
BODIES = 5

main:
    mov r12d, edi
    imul r13d, edi, 10
    mov ebx, constants
    movsd xmm8, qword [rbx]             ; time step
    movsd xmm9, qword [rbx + 8]
    mov esi, buffer
    xor ecx, ecx
.body:
    cvtsi2sd xmm0, ecx
    movapd xmm1, xmm0
    addsd xmm1, xmm1
    movsd qword [rsi], xmm1             ; 2 i, i * i - 1 / 16, i / 16
    movapd xmm2, xmm0
    mulsd xmm2, xmm0
    subsd xmm2, xmm9
    movsd qword [rsi + 8], xmm2
    mulsd xmm0, xmm9
    movsd qword [rsi + 16], xmm0
    movsd qword [rsi + VELOCITY], xmm0
    xorpd xmm2, xmm2
    subsd xmm2, xmm0
    movsd qword [rsi + VELOCITY + 8], xmm2
    movsd qword [rsi + VELOCITY + 16], xmm9
    addsd xmm1, xmm9
    movsd qword [rsi + MASS], xmm1
    add rsi, BODY_BYTES
    inc ecx
    cmp ecx, BODIES
    jne .body
.step:
    mov esi, buffer
.first:
    lea rdi, [rsi + BODY_BYTES]
.second:
    movsd xmm0, qword [rsi]
    subsd xmm0, qword [rdi]
    movsd xmm1, qword [rsi + 8]
    subsd xmm1, qword [rdi + 8]
    movsd xmm2, qword [rsi + 16]
    subsd xmm2, qword [rdi + 16]
    movapd xmm3, xmm0
    mulsd xmm3, xmm0
    movapd xmm4, xmm1
    mulsd xmm4, xmm1
    addsd xmm3, xmm4
    movapd xmm4, xmm2
    mulsd xmm4, xmm2
    addsd xmm3, xmm4                    ; distance squared
    sqrtsd xmm4, xmm3
    mulsd xmm3, xmm4
    movapd xmm5, xmm8
    divsd xmm5, xmm3
    movsd xmm6, qword [rdi + MASS]
    mulsd xmm6, xmm5                    ; what the one gains
    mulsd xmm5, qword [rsi + MASS]      ; what the other gains
    movapd xmm4, xmm0
    mulsd xmm4, xmm6
    movsd xmm7, qword [rsi + VELOCITY]
    subsd xmm7, xmm4
    movsd qword [rsi + VELOCITY], xmm7
    mulsd xmm0, xmm5
    addsd xmm0, qword [rdi + VELOCITY]
    movsd qword [rdi + VELOCITY], xmm0
    movapd xmm4, xmm1
    mulsd xmm4, xmm6
    movsd xmm7, qword [rsi + VELOCITY + 8]
    subsd xmm7, xmm4
    movsd qword [rsi + VELOCITY + 8], xmm7
    mulsd xmm1, xmm5
    addsd xmm1, qword [rdi + VELOCITY + 8]
    movsd qword [rdi + VELOCITY + 8], xmm1
    movapd xmm4, xmm2
    mulsd xmm4, xmm6
    movsd xmm7, qword [rsi + VELOCITY + 16]
    subsd xmm7, xmm4
    movsd qword [rsi + VELOCITY + 16], xmm7
    mulsd xmm2, xmm5
    addsd xmm2, qword [rdi + VELOCITY + 16]
    movsd qword [rdi + VELOCITY + 16], xmm2
    add rdi, BODY_BYTES
    cmp rdi, buffer + BODIES * BODY_BYTES
    jne .second
    add rsi, BODY_BYTES
    cmp rsi, buffer + BODIES * BODY_BYTES - BODY_BYTES
    jne .first
    mov esi, buffer
.move:
    movsd xmm0, qword [rsi + VELOCITY]
    mulsd xmm0, xmm8
    addsd xmm0, qword [rsi]
    movsd qword [rsi], xmm0
    movsd xmm0, qword [rsi + VELOCITY + 8]
    mulsd xmm0, xmm8
    addsd xmm0, qword [rsi + 8]
    movsd qword [rsi + 8], xmm0
    movsd xmm0, qword [rsi + VELOCITY + 16]
    mulsd xmm0, xmm8
    addsd xmm0, qword [rsi + 16]
    movsd qword [rsi + 16], xmm0
    add rsi, BODY_BYTES
    cmp rsi, buffer + BODIES * BODY_BYTES
    jne .move
    dec r12d
    jnz .step
    xor eax, eax
    mov esi, buffer
.hash:
    imul rax, rax, 31
    add rax, [rsi]
    add rsi, 8
    cmp rsi, buffer + BODIES * BODY_BYTES
    jne .hash
    mov edx, r13d
    ret

.section bss
.align 4096
buffer:
    .space 280
.section text
