; An instruction that straddles a page boundary, and a buffer into which different functions are copied.

across_pages:                           ; low half of the immediate ends one page, high half begins the next
    push ebx
    xor ebx, ebx
    mov ecx, eax
    mov dword [straddling + 1], 0
.pass:
    mov eax, ecx
    mov [straddling + 1], ax            ; before the boundary
    call straddling
    mov edx, [straddling + 1]
    cmp eax, edx
    jne .wrong
    cmp ax, cx
    jne .wrong
    mov eax, ecx
    not eax
    mov [straddling + 3], ax            ; behind it
    call straddling
    mov edx, ecx
    not edx
    shl edx, 16
    mov dx, cx
    cmp eax, edx
    jne .wrong
    inc ebx
.wrong:
    dec ecx
    jnz .pass
    mov eax, ebx
    pop ebx
    ret

.align 4096
    .space 4096 - 3, OPCODE_NOP
straddling:
    mov eax, 0                          ; B8, low half | high half
    ret

reused_buffer:                          ; what a loader does: functions of different lengths at one address, in turn
    push ebx
    push esi
    push edi
    push ebp
    xor ebx, ebx
    mov edx, eax
.pass:
    mov esi, square
    mov ecx, square_end - square
    mov eax, edx
    imul eax, eax
    mov ebp, eax
    test edx, 1
    jz .load
    mov esi, countdown
    mov ecx, countdown_end - countdown
    mov ebp, 3
.load:
    mov edi, code_buffer
    rep movsb
    mov eax, edx
    call code_buffer
    cmp eax, ebp
    jne .wrong
    inc ebx
.wrong:
    dec edx
    jnz .pass
    mov eax, ebx
    pop ebp
    pop edi
    pop esi
    pop ebx
    ret

square:                                 ; position-independent, both
    imul eax, eax
    ret
square_end:

countdown:                              ; eax -> 3, in a loop
    mov ecx, 10
    lea eax, [ecx - 7]
.turn:
    loop .turn
    ret
countdown_end:

.section bss
.align 16
code_buffer:
    .space 64
.section text
