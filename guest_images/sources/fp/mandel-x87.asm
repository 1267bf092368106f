; mandel-x87: the Mandelbrot set on a grid of 64 by 64 points, at most 128 steps each, n times, on the x87 stack.
;
; Values stay in registers at the extended precision of the x87; the point is in memory. result: h = h * 31 + steps over
; all points. ops = steps. Self-check: the origin never escapes.

.include "mandel.asm"

guest_name:
    .byte "mandel-x87", 0

first_row:
    fld qword [top_edge]
    fstp qword [point_y]
    ret

first_column:
    fld qword [left_edge]
    fstp qword [point_x]
    ret

next_column:
    fld qword [point_x]
    fadd qword [spacing]
    fstp qword [point_x]
    ret

next_row:
    fld qword [point_y]
    fadd qword [spacing]
    fstp qword [point_y]
    ret

iterate:
    push ebx
    xor ecx, ecx
    fldz
    fldz                                ; st0 = x, st1 = y
.step:
    fld st(0)
    fmul st(0)
    fld st(2)
    fmul st(0)                   ; y*y, x*x, x, y
    fld st(1)
    fadd st(1)
    fcomp qword [four]
    fnstsw ax
    sahf
    ja .out
    fsubp st(1)
    fadd qword [point_x]                ; new x, x, y
    fxch st(1)
    fmulp st(2)
    fxch st(1)                          ; x*y, new x
    fadd st(0)
    fadd qword [point_y]
    fxch st(1)
    inc ecx
    cmp ecx, STEPS
    jne .step
    jmp .done
.out:
    fstp st(0)
    fstp st(0)
.done:
    fstp st(0)
    fstp st(0)
    mov eax, ecx
    pop ebx
    ret
