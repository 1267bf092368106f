; minikernel: a small operating system: ring 3, preemptive processes, system calls, demand paging, faults killed.
;
; Seven processes run at a time, each in its own address space: alice and bob compute, are preempted by the PIT through
; the 8259, sleep, and allocate memory by touching it (alice calls the kernel by INT 80h, bob by SYSENTER); five
; culprits each commit a different crime. Processes write to consoles of their own, printed in order when all have
; ended: so the transcript does not depend on when interrupts come. n = rounds of this, the last one is printed;
; hz = PIT rate. result = hash of what ended the processes and of the exit codes. ops = page faults served and
; processes ended.

default_n = 1
DEFAULT_HZ = 250

.include "platform.asm"
.include "paging.asm"
.include "interrupts.asm"
.include "memory.asm"
.include "process.asm"
.include "traps.asm"
.include "timer.asm"
.include "console.asm"
.include "user.asm"

guest_name:
    .byte "minikernel", 0
hz_option:
    .byte "hz=", 0

main:                                   ; ebx = rounds left, edi = hash, esi = process
    pushad
    mov ebx, eax
    xor edi, edi
    test eax, eax
    jz exit_failed
    mov eax, hz_option
    mov edx, DEFAULT_HZ
    call number_option
    push eax
    call memory_init                    ; unmaps page 0, where the command line may be
    call traps_init
    pop eax
    call timer_init
    mov eax, [free_frames]
    mov [frames_at_start], eax
.round:
    mov esi, processes + PROCESS_BYTES
.create:
    mov eax, esi
    call create_process
    add esi, PROCESS_BYTES
    cmp esi, processes_end
    jne .create
    call run_processes
    dec ebx
    jz .report
    call reap_processes
    jmp .round
.report:
    call print_consoles
    call hash_endings
    mov edi, eax
    call reap_processes
    mov eax, [free_frames]
    cmp eax, [frames_at_start]
    jne exit_failed
    print "all processes have ended, all frames are free again\n"
    mov eax, [faults_served]
    add eax, [processes_ended]
    mov [esp + 28], edi                 ; eax and edx as POPAD will load them
    mov [esp + 20], eax
    popad
    ret

run_processes:                          ; process 0, that is us, runs when nobody else can
    push ebx
.next:
    call schedule
    mov eax, processes + PROCESS_BYTES
.look:
    cmp dword [eax + P_STATE], STATE_ENDED
    jne .idle
    add eax, PROCESS_BYTES
    cmp eax, processes_end
    jne .look
    pop ebx
    ret
.idle:
    sti
    hlt
    cli
    jmp .next

reap_processes:
    push esi
    mov esi, processes + PROCESS_BYTES
.next:
    mov eax, [esi + P_KERNEL_STACK]
    sub eax, 4096
    call free_frame
    mov eax, [esi + P_CR3]
    call free_frame
    add esi, PROCESS_BYTES
    cmp esi, processes_end
    jne .next
    pop esi
    ret

.section bss
frames_at_start:
    .space 4
processes_ended:
    .space 4
faults_served:
    .space 4
.section text
