; The frame every measuring guest runs in: name, main(n), result, operations.

.include "print.asm"
.include "option.asm"

n_option:
    .byte "n=", 0

run_guest:
    push ebx
    push esi
    mov eax, guest_name
    call put_string
    call put_newline
    mov eax, n_option
    mov edx, default_n
    call number_option
    call main
    mov ebx, eax
    mov esi, edx
    print "result="
    mov eax, ebx
    call put_hex
    print "\nops="
    mov eax, esi
    call put_decimal
    call put_newline
    pop esi
    pop ebx
    ret

exit_failed:                            ; a self-check did not hold
    print "self-check failed\n"
    mov eax, 1
    jmp exit
