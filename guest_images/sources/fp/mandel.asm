; What the two mandel guests share: the grid, the loop over its points, the hash of the counts.
;
; Self-check: the origin never escapes.
;
; A guest supplies iterate: eax = steps taken until x*x + y*y > 4, at most STEPS, for the point of [point_x], [point_y].

default_n = 4
SIDE = 64                               ; points in a row and in a column
STEPS = 128

.include "platform.asm"
.include "fp.asm"

.align 8
left_edge:
    .long 0x00000000, 0xC0000000         ; -2.0
top_edge:
    .long 0x00000000, 0xBFF40000         ; -1.25
spacing:
    .long 0x00000000, 0x3FA40000         ; 2.5 / 64
four:
    .long 0, 0x40100000

main:                                   ; [ebp-16] passes left, [ebp-20] row
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    sub esp, 8
    mov [ebp - 16], eax
    call enable_fp
    call iterate                        ; point_x and point_y are still 0
    cmp eax, STEPS
    jne exit_failed
    xor ebx, ebx                        ; ebx = hash
    xor esi, esi                        ; esi = steps in all
    jmp .pass_test
.pass:
    call first_row
    mov dword [ebp - 20], SIDE
.row:
    call first_column
    mov edi, SIDE
.point:
    call iterate
    add esi, eax
    imul ebx, ebx, 31
    add ebx, eax
    call next_column
    dec edi
    jnz .point
    call next_row
    dec dword [ebp - 20]
    jnz .row
    dec dword [ebp - 16]
.pass_test:
    cmp dword [ebp - 16], 0
    jne .pass
    mov eax, ebx
    mov edx, esi
    add esp, 8
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

.section bss
.align 8
point_x:
    .space 8
point_y:
    .space 8
.section text
