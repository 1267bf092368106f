; What processes write, kept per process; and the report of how they ended.

CONSOLE_BYTES = 1024

.section bss
.align 16
consoles:
    .space PROCESSES * CONSOLE_BYTES
.section text

call_write:                             ; system call: ebx = frame, ecx = current process
    push esi
    push edi
    mov esi, [ebx + FRAME_EBX]
    mov edi, ecx
    mov eax, esi
    mov edx, [ebx + FRAME_ESI]
    call user_may_read
    test eax, eax
    jz .refuse
    mov eax, [edi + P_WRITTEN]
    add eax, edx
    cmp eax, CONSOLE_BYTES
    ja .refuse
    xchg [edi + P_WRITTEN], eax
    mov ecx, eax
    mov eax, edi
    call process_number
    shl eax, 10                         ; by CONSOLE_BYTES
    lea edi, [consoles + eax + ecx]
    mov ecx, edx
    rep movsb
    mov eax, edx
    jmp .done
.refuse:
    mov eax, -1
.done:
    pop edi
    pop esi
    ret

call_name:                              ; system call, as above
    push esi
    push edi
    mov edi, [ebx + FRAME_EBX]
    mov esi, ecx
    mov eax, edi
    mov edx, NAME_BYTES
    call user_may_write
    test eax, eax
    jz .refuse
    mov eax, esi
    call process_number
    mov esi, [programs + eax*8 - 8]
    mov eax, edi
.copy:
    movsb
    cmp byte [edi - 1], 0
    jne .copy
    sub edi, eax
    lea eax, [edi - 1]
    jmp .done
.refuse:
    mov eax, -1
.done:
    pop edi
    pop esi
    ret

print_consoles:
    push ebx
    push esi
    push edi
    mov ebx, processes + PROCESS_BYTES
.process:
    mov eax, ebx
    call process_number
    mov esi, eax
    call put_decimal
    mov eax, ' '
    call put_char
    mov eax, [programs + esi*8 - 8]
    call put_string
    call print_ending
    shl esi, 10
    add esi, consoles
    mov edi, [ebx + P_WRITTEN]
    add edi, esi
    jmp .test
.char:
    movzx eax, byte [esi]
    call put_char
    inc esi
.test:
    cmp esi, edi
    jne .char
    add ebx, PROCESS_BYTES
    cmp ebx, processes_end
    jne .process
    pop edi
    pop esi
    pop ebx
    ret

print_ending:                           ; ebx = process
    cmp dword [ebx + P_VECTOR], ENDED_BY_EXIT
    jne .killed
    print " exited with code "
    mov eax, [ebx + P_CODE]
    call put_hex
    jmp put_newline
.killed:
    print " killed by exception "
    mov eax, [ebx + P_VECTOR]
    call put_decimal
    print ", error code "
    mov eax, [ebx + P_CODE]
    call put_hex
    mov eax, ebx
    call process_number
    mov eax, [crimes + eax*4 - 4]
    cmp eax, [ebx + P_ADDRESS]
    jne exit_failed
    print ", at the address of its crime"
    jmp put_newline

hash_endings:                           ; -> eax
    mov ecx, processes + PROCESS_BYTES
    xor eax, eax
.next:
    imul eax, eax, 31
    add eax, [ecx + P_VECTOR]
    imul eax, eax, 31
    add eax, [ecx + P_CODE]
    add ecx, PROCESS_BYTES
    cmp ecx, processes_end
    jne .next
    ret
