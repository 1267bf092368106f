; mandel-sse2: the Mandelbrot set on a grid of 64 by 64 points, at most 128 steps each, n times, in SSE2 doubles.
;
; Scalar arithmetic as compilers generate it. result: h = h * 31 + steps over all points. ops = steps. Self-check: the origin never escapes.

.include "mandel.asm"

guest_name:
    .byte "mandel-sse2", 0

first_row:
    movsd xmm0, qword [top_edge]
    movsd qword [point_y], xmm0
    ret

first_column:
    movsd xmm0, qword [left_edge]
    movsd qword [point_x], xmm0
    ret

next_column:
    movsd xmm0, qword [point_x]
    addsd xmm0, qword [spacing]
    movsd qword [point_x], xmm0
    ret

next_row:
    movsd xmm0, qword [point_y]
    addsd xmm0, qword [spacing]
    movsd qword [point_y], xmm0
    ret

iterate:
    xor eax, eax
    xorpd xmm0, xmm0                    ; xmm0 = x, xmm1 = y
    xorpd xmm1, xmm1
.step:
    movapd xmm4, xmm0
    mulsd xmm4, xmm4
    movapd xmm5, xmm1
    mulsd xmm5, xmm5
    movapd xmm6, xmm4
    addsd xmm6, xmm5
    ucomisd xmm6, qword [four]
    ja .out
    mulsd xmm1, xmm0
    addsd xmm1, xmm1
    addsd xmm1, qword [point_y]
    subsd xmm4, xmm5
    movapd xmm0, xmm4
    addsd xmm0, qword [point_x]
    inc eax
    cmp eax, STEPS
    jne .step
.out:
    ret
