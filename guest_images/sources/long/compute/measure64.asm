; The frame of every measuring guest of 64-bit code: name, main(n), result, operations, as runtime/run.asm has it.
;
; A guest supplies guest_name, default_n and main, which is called with edi = n, not 0, may change all registers, and returns
; rax = checksum, rdx = operations done. The result is the two halves of the checksum, one xor the other.

.include "long_mode.asm"

long_main:
    mov rax, cr0
    and eax, 0xFFFFFFF3                 ; EM and TS clear
    or eax, 2                           ; MP
    mov cr0, rax
    mov rax, cr4
    or eax, 0x600                       ; OSFXSR, OSXMMEXCPT
    mov cr4, rax
    mov eax, guest_name
    call put_string
    call put_newline
    call n_option
    mov edi, eax
    xor edx, edx
    test eax, eax                       ; nothing at all with n=0
    jz .done
    call main
.done:
    mov rbx, rax
    mov rbp, rdx
    shr rax, 32
    xor ebx, eax
    print "result="
    mov eax, ebx
    call put_hex_32
    print "\nops="
    mov rax, rbp
    call put_decimal
    jmp put_newline

n_option:                               ; -> eax = the number behind n= at the beginning of a word, or default_n
    mov eax, multiboot_information
    mov ebx, [rax]
    test dword [rbx], 4                 ; multiboot information, flags bit 2: command line is valid
    jz .default
    mov ebx, [rbx + 16]
    mov ecx, ' '
.next:
    mov edx, ecx                        ; the character in front
    movzx ecx, byte [rbx]
    inc rbx
    test ecx, ecx
    jz .default
    cmp edx, ' '
    jne .next
    cmp ecx, 'n'
    jne .next
    cmp byte [rbx], '='
    jne .next
    xor eax, eax
.digit:
    inc rbx
    movzx edx, byte [rbx]
    sub edx, '0'
    cmp edx, 9
    ja .done
    imul eax, eax, 10
    add eax, edx
    jmp .digit
.default:
    mov eax, default_n
.done:
    ret

put_hex_32:                             ; eax = number, printed as eight hexadecimal digits
    push rbx
    push rsi
    mov ebx, eax
    mov esi, 8
.digit:
    rol ebx, 4
    mov eax, ebx
    and eax, 15
    movzx eax, byte [rax + hex_digits]
    call put_char
    dec esi
    jnz .digit
    pop rsi
    pop rbx
    ret

put_decimal:                            ; rax = number
    push rbx
    push rsi
    mov ebx, 10
    xor esi, esi
.divide:
    xor edx, edx
    div rbx
    push rdx
    inc esi
    test rax, rax
    jnz .divide
.digit:
    pop rax
    add eax, '0'
    call put_char
    dec esi
    jnz .digit
    pop rsi
    pop rbx
    ret
