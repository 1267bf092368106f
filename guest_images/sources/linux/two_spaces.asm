; Two address spaces by turns, as one process: all that is different in them is the buffer's last word, which is
; exchanged. What is compared with the host is the computing, under the host's own paging and ring 3.

.macro other_space
    mov eax, [buffer + BUFFER_BYTES - 4]
    xchg eax, [others_last_word]
    mov [buffer + BUFFER_BYTES - 4], eax
.endm

.macro leave_spaces
    ret
.endm

run_in_two_spaces:                      ; eax = what to run
    mov ecx, [buffer + BUFFER_BYTES - 4]
    mov [others_last_word], ecx
    jmp eax

.section bss
others_last_word:
    .space 4
.section text
