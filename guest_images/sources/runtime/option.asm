; Options on the command line: words of the form name=value, separated by spaces.

find_option:                            ; eax = "name=" -> eax = address of the value, or 0
    push ebx
    push esi
    push edi
    mov ebx, eax
    mov esi, [command_line]
    test esi, esi
    jz .absent
.word:
    mov edi, ebx
    mov edx, esi
.compare:
    mov al, [edi]
    test al, al
    jz .found
    cmp al, [edx]
    jne .skip
    inc edi
    inc edx
    jmp .compare
.skip:
    mov al, [esi]
    test al, al
    jz .absent
    inc esi
    cmp al, ' '
    jne .skip
    jmp .word
.absent:
    xor edx, edx
.found:
    mov eax, edx
    pop edi
    pop esi
    pop ebx
    ret

number_option:                          ; eax = "name=", edx = default -> eax = unsigned decimal value
    push edx
    call find_option
    pop edx
    test eax, eax
    jz .use_default
    mov ecx, eax
    xor eax, eax
.digit:
    movzx edx, byte [ecx]
    sub edx, '0'
    cmp edx, 9
    ja .done
    imul eax, eax, 10
    add eax, edx
    inc ecx
    jmp .digit
.use_default:
    mov eax, edx
.done:
    ret
