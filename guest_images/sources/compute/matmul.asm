; matmul: product of two 96 by 96 matrices of 32-bit integers, n times, each product being the next left factor.
;
; Inner product loop: two loads, one of them with a stride of a row, a multiply and an add.
; result: h = h * 31 + element over the last product. ops = multiply-add steps. Self-check: each product's sum of all
; elements against (column sums of A) . (row sums of B).

default_n = 2
ORDER = 96
ROW_BYTES = ORDER * 4
MATRIX_BYTES = ORDER * ROW_BYTES

.include "platform.asm"

guest_name:
    .byte "matmul", 0

main:                                   ; [ebp-16] products left, [ebp-20] products, [ebp-24] expected sum
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    sub esp, 12
    mov [ebp - 16], eax
    mov [ebp - 20], eax
    mov esi, left                       ; fill left and right, which follow each other
    mov eax, 1
.fill:
    imul eax, eax, 1664525
    add eax, 1013904223
    mov edx, eax
    shr edx, 16
    mov [esi], edx
    add esi, 4
    cmp esi, product
    jne .fill
    mov esi, left
    mov edi, product
    jmp .product_test
.product:
    push esi
    call expected_sum
    mov [ebp - 24], eax
    push edi
    push right
    push esi
    call multiply
    add esp, 16
    push edi
    call sum_elements
    add esp, 4
    cmp eax, [ebp - 24]
    jne exit_failed
    xchg esi, edi
    dec dword [ebp - 16]
.product_test:
    cmp dword [ebp - 16], 0
    jne .product
    xor eax, eax
    xor ecx, ecx
.hash:
    imul eax, eax, 31
    add eax, [esi + ecx*4]
    inc ecx
    cmp ecx, ORDER * ORDER
    jne .hash
    imul edx, [ebp - 20], ORDER * ORDER * ORDER
    add esp, 12
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

multiply:                               ; (a, b, c): c = a * b; [ebp-16] row of a, [ebp-20] end of a, [ebp-24] column
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    sub esp, 12
    mov eax, [ebp + 8]
    mov [ebp - 16], eax
    add eax, MATRIX_BYTES
    mov [ebp - 20], eax
    mov edi, [ebp + 16]
.row:
    mov dword [ebp - 24], 0
.column:
    mov esi, [ebp - 16]
    mov ecx, [ebp - 24]
    mov eax, [ebp + 12]
    lea ecx, [eax + ecx*4]              ; ecx walks down a column of b
    xor ebx, ebx
    xor edx, edx
.step:
    mov eax, [esi + edx*4]
    imul eax, [ecx]
    add ecx, ROW_BYTES
    add ebx, eax
    inc edx
    cmp edx, ORDER
    jne .step
    mov [edi], ebx
    add edi, 4
    inc dword [ebp - 24]
    cmp dword [ebp - 24], ORDER
    jne .column
    add dword [ebp - 16], ROW_BYTES
    mov eax, [ebp - 16]
    cmp eax, [ebp - 20]
    jne .row
    add esp, 12
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

expected_sum:                           ; (a) -> eax = sum over k of (column k of a summed) * (row k of right summed)
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    xor esi, esi                        ; esi = k
    xor edi, edi
.next:
    mov ecx, [ebp + 8]
    lea ecx, [ecx + esi*4]
    xor ebx, ebx
    mov edx, ORDER
.column:
    add ebx, [ecx]
    add ecx, ROW_BYTES
    dec edx
    jnz .column
    imul ecx, esi, ROW_BYTES
    add ecx, right
    xor eax, eax
    mov edx, ORDER
.row:
    add eax, [ecx]
    add ecx, 4
    dec edx
    jnz .row
    imul eax, ebx
    add edi, eax
    inc esi
    cmp esi, ORDER
    jne .next
    mov eax, edi
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

sum_elements:                           ; (matrix) -> eax
    mov edx, [esp + 4]
    lea ecx, [edx + MATRIX_BYTES]
    xor eax, eax
.next:
    add eax, [edx]
    add edx, 4
    cmp edx, ecx
    jne .next
    ret

.section bss
.align 4096
left:
    .space MATRIX_BYTES
right:
    .space MATRIX_BYTES
product:
    .space MATRIX_BYTES
