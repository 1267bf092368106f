; hello64: goes to 64-bit mode and says so; the result is a sum that needs 64 bits and r8 to r15.

.include "long_mode.asm"

ROUNDS = 1000

long_main:
    print "hello64\n"
    mov r15, 0x123456789abcdef0
    mov r8, 0
    mov r9d, ROUNDS
.round:
    add r8, r15
    lea r15, [r15 + r15 * 4 + 7]
    imul r10, r8, 3
    xor r8, r10
    dec r9d
    jnz .round
    print "Hello, 64-bit world\nresult="
    mov rax, r8
    call put_hex
    call put_newline
    ret
