; The programs of ring 3, on pages of their own. ebp holds the routine that does system calls, so that alice and bob run
; the same code over INT 80h and SYSENTER.

PREEMPTIONS_WANTED = 3
CALLS_WANTED = 1000
SLEEP_TICKS = 2

.align 4
programs:                               ; of processes 1, 2...: name, entry
    .long name_alice, alice, name_bob, bob, name_null, write_to_null, name_kernel, write_to_kernel
    .long name_text, write_to_text, name_privileged, disable_interrupts, name_divide, divide_by_zero
crimes:                                 ; what CR2 is for a page fault, else the address of the instruction
    .long 0, 0, 0, multiboot_header, user_text, disable_interrupts, divide_by_zero__crime
name_alice:
    .byte "alice", 0
name_bob:
    .byte "bob", 0
name_null:
    .byte "null writer", 0
name_kernel:
    .byte "kernel writer", 0
name_text:
    .byte "text writer", 0
name_privileged:
    .byte "interrupt disabler", 0
name_divide:
    .byte "divider", 0

.align 4096
user_text:

call_by_int:
    int SYSTEM_CALL_VECTOR
    ret

call_by_sysenter:                       ; clobbers ecx and edx
    mov ecx, esp
    mov edx, .back
    sysenter
.back:
    ret

.macro say text
    mov ebx, .said_\@
    mov esi, .unsaid_\@ - .said_\@
    mov eax, CALL_WRITE
    call ebp
    jmp .unsaid_\@
.said_\@:
    .byte \text
.unsaid_\@:
.endm

alice:
    mov ebp, call_by_int
    mov edi, 0xA11CE000
    say "  system calls by int 80h, "
    jmp work
bob:
    mov ebp, call_by_sysenter
    mov edi, 0x00B0B000
    say "  system calls by sysenter, "

work:                                   ; edi = pattern, ebp = how to call
    mov eax, CALL_NAME                  ; the kernel's store faults the page in
    mov ebx, STACK_LIMIT
    call ebp
    mov esi, eax
    mov eax, CALL_WRITE
    call ebp
    say " is my name\n"
    push edi
    mov eax, CALL_FAULTS
    call ebp
    push eax                            ; faults before the heap is touched
    xor ecx, ecx
.touch:                                 ; every page of the heap: bob's lie at the same addresses as alice's
    mov edx, ecx
    shl edx, 12
    lea eax, [edi + ecx]
    mov [HEAP + edx], eax
    inc ecx
    cmp ecx, HEAP_PAGES
    jne .touch
    mov eax, CALL_FAULTS
    call ebp
    pop ecx
    sub eax, ecx
    cmp eax, HEAP_PAGES
    jne .failed
    say "  64 pages touched, 64 page faults served\n"

    mov edi, CALLS_WANTED
    mov eax, CALL_NUMBER
    call ebp
    mov ebx, eax
.call:
    mov eax, CALL_NUMBER
    call ebp
    cmp eax, ebx
    jne .failed
    dec edi
    jnz .call
    say "  1000 system calls returned\n"

.spin:                                  ; keep busy until preempted often enough; registers must survive
    mov ebx, 0x1000
    mov esi, 0x51515151
    mov edi, 0xD1D1D1D1
    xor ecx, ecx
.busy:
    lea ecx, [ecx + ebx]
    dec ebx
    jnz .busy
    cmp ecx, 0x1000 * 0x1001 / 2
    jne .failed
    cmp esi, 0x51515151
    jne .failed
    cmp edi, 0xD1D1D1D1
    jne .failed
    mov eax, CALL_PREEMPTIONS
    call ebp
    cmp eax, PREEMPTIONS_WANTED
    jb .spin
    say "  preempted and none the worse\n"

    mov eax, CALL_YIELD
    call ebp
    mov eax, CALL_SLEEP
    mov ebx, SLEEP_TICKS
    call ebp
    say "  slept\n"

    pop edi                             ; the pages hold what we wrote, not what the neighbour did
    xor ecx, ecx
    xor ebx, ebx
.verify:
    mov edx, ecx
    shl edx, 12
    mov eax, [HEAP + edx]
    sub eax, ecx
    cmp eax, edi
    jne .failed
    imul ebx, ebx, 31
    add ebx, [HEAP + edx]
    inc ecx
    cmp ecx, HEAP_PAGES
    jne .verify
    push ebx
    say "  memory intact\n"
    mov eax, CALL_WRITE                 ; the kernel must not read itself out for us
    mov ebx, gdt
    mov esi, 8
    call ebp
    cmp eax, -1
    jne .failed
    say "  kernel memory not readable through write\n"
    pop ebx
    mov eax, CALL_EXIT
    call ebp
.failed:
    say "  FAILED\n"
    mov eax, CALL_EXIT
    mov ebx, 1
    call ebp

write_to_null:
    xor eax, eax
    mov [eax], eax
write_to_kernel:
    mov dword [multiboot_header], 0
write_to_text:
    mov ebp, call_by_int
    say "  a last word\n"
    mov dword [user_text], 0
disable_interrupts:
    cli
divide_by_zero:
    xor ecx, ecx
.crime:
    div ecx

.align 4096
user_text_end:
