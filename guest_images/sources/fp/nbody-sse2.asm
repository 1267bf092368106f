; nbody-sse2: the orbits of five bodies, n time steps of 0.01 years, in SSE2 doubles.
;
; Scalar arithmetic as compilers generate it; a square root and a division for each pair. result: h = h * 31 + word over
; the final state. ops = pairs. Self-check: the total momentum stays zero.

.include "nbody.asm"

guest_name:
    .byte "nbody-sse2", 0

attract:
    movsd xmm0, qword [esi + 0]
    subsd xmm0, qword [edi + 0]
    movsd xmm1, qword [esi + 8]
    subsd xmm1, qword [edi + 8]
    movsd xmm2, qword [esi + 16]
    subsd xmm2, qword [edi + 16]
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
    movsd xmm5, qword [time_step]
    divsd xmm5, xmm3
    movsd xmm6, qword [edi + MASS]
    mulsd xmm6, xmm5                    ; what the one gains
    mulsd xmm5, qword [esi + MASS]      ; what the other gains
    movapd xmm4, xmm0
    mulsd xmm4, xmm6
    movsd xmm7, qword [esi + VELOCITY + 0]
    subsd xmm7, xmm4
    movsd qword [esi + VELOCITY + 0], xmm7
    mulsd xmm0, xmm5
    addsd xmm0, qword [edi + VELOCITY + 0]
    movsd qword [edi + VELOCITY + 0], xmm0
    movapd xmm4, xmm1
    mulsd xmm4, xmm6
    movsd xmm7, qword [esi + VELOCITY + 8]
    subsd xmm7, xmm4
    movsd qword [esi + VELOCITY + 8], xmm7
    mulsd xmm1, xmm5
    addsd xmm1, qword [edi + VELOCITY + 8]
    movsd qword [edi + VELOCITY + 8], xmm1
    movapd xmm4, xmm2
    mulsd xmm4, xmm6
    movsd xmm7, qword [esi + VELOCITY + 16]
    subsd xmm7, xmm4
    movsd qword [esi + VELOCITY + 16], xmm7
    mulsd xmm2, xmm5
    addsd xmm2, qword [edi + VELOCITY + 16]
    movsd qword [edi + VELOCITY + 16], xmm2
    ret

move:
    movsd xmm1, qword [time_step]
    movsd xmm0, qword [esi + VELOCITY + 0]
    mulsd xmm0, xmm1
    addsd xmm0, qword [esi + 0]
    movsd qword [esi + 0], xmm0
    movsd xmm0, qword [esi + VELOCITY + 8]
    mulsd xmm0, xmm1
    addsd xmm0, qword [esi + 8]
    movsd qword [esi + 8], xmm0
    movsd xmm0, qword [esi + VELOCITY + 16]
    mulsd xmm0, xmm1
    addsd xmm0, qword [esi + 16]
    movsd qword [esi + 16], xmm0
    ret

momentum_is_small:
    mov eax, bodies
    xorpd xmm0, xmm0
.next:
    movsd xmm1, qword [eax + VELOCITY]
    mulsd xmm1, qword [eax + MASS]
    addsd xmm0, xmm1
    add eax, BODY_BYTES
    cmp eax, bodies + BODIES_BYTES
    jne .next
    mulsd xmm0, xmm0
    movsd xmm1, qword [small]
    mulsd xmm1, xmm1
    xor eax, eax
    ucomisd xmm0, xmm1
    adc eax, 0
    ret
