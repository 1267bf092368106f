; nbody-x87: the orbits of five bodies, n time steps of 0.01 years, on the x87 stack.
;
; Extended precision in registers, doubles in memory; a square root and a division for each pair. result: h = h * 31 +
; word over the final state. ops = pairs. Self-check: the total momentum stays zero.

.include "nbody.asm"

guest_name:
    .byte "nbody-x87", 0

attract:
    fld qword [esi + 0]
    fsub qword [edi + 0]
    fld qword [esi + 8]
    fsub qword [edi + 8]
    fld qword [esi + 16]
    fsub qword [edi + 16]
    fld st(2)                           ; dz, dy, dx below
    fmul st(0)
    fld st(2)
    fmul st(0)
    faddp st(1)
    fld st(1)
    fmul st(0)
    faddp st(1)                         ; distance squared
    fld st(0)
    fsqrt
    fmulp st(1)
    fdivr qword [time_step]
    fld qword [edi + MASS]
    fmul st(1)
    fld qword [esi + MASS]
    fmulp st(2)                         ; what the one gains, what the other gains, dz, dy, dx
    fld st(4)
    fmul st(1)
    fsubr qword [esi + VELOCITY + 0]
    fstp qword [esi + VELOCITY + 0]
    fld st(4)
    fmul st(2)
    fadd qword [edi + VELOCITY + 0]
    fstp qword [edi + VELOCITY + 0]
    fld st(3)
    fmul st(1)
    fsubr qword [esi + VELOCITY + 8]
    fstp qword [esi + VELOCITY + 8]
    fld st(3)
    fmul st(2)
    fadd qword [edi + VELOCITY + 8]
    fstp qword [edi + VELOCITY + 8]
    fld st(2)
    fmul st(1)
    fsubr qword [esi + VELOCITY + 16]
    fstp qword [esi + VELOCITY + 16]
    fld st(2)
    fmul st(2)
    fadd qword [edi + VELOCITY + 16]
    fstp qword [edi + VELOCITY + 16]
    fstp st(0)
    fstp st(0)
    fstp st(0)
    fstp st(0)
    fstp st(0)
    ret

move:
    fld qword [esi + VELOCITY + 0]
    fmul qword [time_step]
    fadd qword [esi + 0]
    fstp qword [esi + 0]
    fld qword [esi + VELOCITY + 8]
    fmul qword [time_step]
    fadd qword [esi + 8]
    fstp qword [esi + 8]
    fld qword [esi + VELOCITY + 16]
    fmul qword [time_step]
    fadd qword [esi + 16]
    fstp qword [esi + 16]
    ret

momentum_is_small:
    mov eax, bodies
    fldz
.next:
    fld qword [eax + VELOCITY]
    fmul qword [eax + MASS]
    faddp st(1)
    add eax, BODY_BYTES
    cmp eax, bodies + BODIES_BYTES
    jne .next
    fabs
    fcomp qword [small]
    fnstsw ax
    sahf
    mov eax, 0
    adc eax, 0
    ret
