; faults-matrix: each exception x each way to raise it x each kind of gate x rings 0 and 3.
;
; A line is a way to raise an exception. Its ten groups are ring 0 through a 32-bit interrupt gate, trap gate, 16-bit
; interrupt gate, trap gate and task gate, then the same for ring 3. A group is vector, error code, low byte of the offset
; that was pushed, and what the handler found: "i" interrupts enabled, "n" NT set. A dot: no exception. "?" marks what
; differs from the vector or error code of the table below, or a frame that is not where it should be.
; With strict=on also what QEMU's emulator does otherwise: INT1 (it raises #UD), the EXT bit in the error code of a fault
; while an exception is delivered (it leaves it clear), PG without PE and reserved bits of CR4 (it takes them), unknown
; MSRs (it reads 0).
; result = hash of the transcript, ops = probes. SDM vol. 3A 6.11 to 6.15, 7.3; vol. 2.

default_n = 1

.include "platform.asm"
.include "interrupts.asm"
.include "probe.asm"
.include "ways.asm"

GATE_KINDS = 5
INTERRUPT_32 = 0
TRAP_32 = 1
INTERRUPT_16 = 2
TRAP_16 = 3
TASK = 4
HANDLER_TASK_SELECTOR = 0x60
WITH_ERROR_CODE = 0x27D00               ; bit n: vector n pushes an error code
IDT_LIMIT = 0x90 * 8 - 1
PTE_PRESENT = 1
PTE_WRITABLE = 2
PTE_USER = 4
PTE_LARGE = 0x80
CR4_PSE = 0x10
CR0_PG = 0x80000000
CR0_MP_TS = 0x0A

guest_name:
    .byte "faults-matrix", 0
strict_option:
    .byte "strict=on", 0

.section bss
.align 4096
directory:
    .space 4096
.align 16
handler_task:
    .space TSS_BYTES
    .space 1024
handler_stack_top:
gate_kind:
    .space 4
gate_vector:                            ; whose gate is of that kind
    .space 4
ring:
    .space 4
handler_flags:
    .space 4
pushed_flags:
    .space 4
failures:
    .space 4
last_way:
    .space 4
.section text

short_idt_register:
    .word IDT_LIMIT
    .long idt

main:
    pushad
    call probes_init
    call paging_on
    mov eax, STUB_CODE_SELECTOR
    mov edx, short_stubs
    mov ecx, 0xFFFF
    mov ebx, 0x409A
    call describe
    mov dword [last_way], strict_ways
    mov eax, strict_option
    call find_option
    test eax, eax
    jz .start
    mov dword [last_way], ways_end
.start:
    mov esi, ways
.way:
    mov eax, [esi + WAY_NAME]
    call say_text
    mov al, 0x3A                        ; a colon
    call say
    mov dword [ring], 0
.ring:
    mov dword [gate_kind], 0
.kind:
    call one_case
    inc dword [gate_kind]
    cmp dword [gate_kind], GATE_KINDS
    jne .kind
    add dword [ring], 3
    cmp dword [ring], 3
    je .ring
    mov al, 10
    call say
    add esi, WAY_BYTES
    cmp esi, [last_way]
    jne .way
    cmp dword [failures], 0
    jne exit_failed
    mov eax, [hash]
    mov edx, [probe_count]
    mov [esp + 28], eax
    mov [esp + 20], edx
    popad
    ret

paging_on:                              ; 16 MiB to themselves in large pages; the last ones for ring 0 only, read-only
    mov edi, directory
    mov eax, PTE_PRESENT + PTE_WRITABLE + PTE_USER + PTE_LARGE
.page:
    stosd
    add eax, 0x400000
    cmp eax, 0x00C00000
    jb .page
    mov dword [directory + 3 * 4], 0x00C00000 + PTE_PRESENT + PTE_LARGE
    mov eax, cr4
    or eax, CR4_PSE
    mov cr4, eax
    mov eax, directory
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    ret

one_case:                               ; esi = way
    call prepare
    mov dword [probe_flags], FLAG_RESERVED + FLAG_IF
    mov eax, [esi + WAY_CODE]
    mov ecx, [ring]
    call probe
    mov al, ' '
    call say
    mov ebx, [ring]                     ; 3 -> 8: where ring 3's expectations are
    shr ebx, 1
    mov eax, [found_vector]
    cmp eax, [esi + ebx*8 + WAY_VECTOR]
    jne .wrong
    cmp eax, NO_FAULT
    je .none
    mov edx, [found_error]
    cmp edx, [esi + ebx*8 + WAY_ERROR]
    jne .wrong
    jmp .tell
.wrong:
    inc dword [failures]
    mov al, '?'
    call say
    cmp dword [found_vector], NO_FAULT
    je .none
.tell:
    mov eax, [found_vector]
    mov ecx, 2
    call say_hex_digits
    mov al, '.'
    call say
    mov eax, [found_error]
    mov ecx, 4
    call say_hex_digits
    mov al, '+'
    call say
    mov eax, [found_offset]
    mov ecx, 2
    call say_hex_digits
    test dword [handler_flags], FLAG_IF
    jz .no_interrupts
    mov al, 'i'
    call say
.no_interrupts:
    test dword [handler_flags], FLAG_NT
    jz .no_nesting
    mov al, 'n'
    call say
.no_nesting:
    test dword [pushed_flags], FLAG_IF  ; every probe began with IF
    jnz .done
    inc dword [failures]
    mov al, '!'
    call say
.done:
    ret
.none:
    mov al, '.'
    jmp say

prepare:                                ; gates, descriptors and control registers for a way
    call interrupts_init
    lidt [short_idt_register]
    mov dword [exception_hook], fault
    mov eax, LEAVE_GATE
    mov edx, probe_done
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov eax, KERNEL_VECTOR
    mov edx, probe_done
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov eax, [ring]
    shr eax, 1
    mov eax, [esi + eax*8 + WAY_VECTOR]
    mov [gate_vector], eax
    cmp eax, NO_FAULT
    je .gate_done
    mov ebx, eax
    mov edx, eax
    shl edx, 4
    add edx, exception_stubs
    mov ecx, [gate_kind]
    movzx ecx, byte [gate_types + ecx]
    mov edi, [esi + WAY_DPL]
    or ecx, edi
    cmp dword [gate_kind], INTERRUPT_16
    jb .set
    mov edx, ebx
    shl edx, 4                          ; 16-bit gates lead to short_stubs in a segment of their own
.set:
    call set_gate
    cmp dword [gate_kind], INTERRUPT_16
    jb .gate_done
    mov word [idt + ebx*8 + 2], STUB_CODE_SELECTOR
    cmp dword [gate_kind], TASK
    jne .gate_done
    mov word [idt + ebx*8 + 2], HANDLER_TASK_SELECTOR
.gate_done:
    mov eax, [esi + WAY_ABSENT]         ; a vector whose gate is not present
    cmp eax, NO_FAULT
    je .tasks
    and byte [idt + eax*8 + 5], 0x7F
.tasks:
    call make_tasks
    mov eax, SPARE_SELECTOR             ; a TSS that is too small
    xor edx, edx
    mov ecx, 0x20
    mov ebx, 0x00E9
    call describe
    mov eax, SPARE_2_SELECTOR           ; code that is not present
    xor edx, edx
    mov ecx, 0xFFFFF
    mov ebx, 0xC07A
    call describe
    mov eax, SPARE_3_SELECTOR           ; a stack of ring 0 that is not present
    mov ebx, 0xC012
    call describe
    mov eax, cr0
    or eax, CR0_MP_TS
    mov cr0, eax
    ret

gate_types:
    .byte 0x8E, 0x8F, 0x86, 0x87, 0x85

make_tasks:                             ; the handler's task as new, ours in TR
    mov edi, handler_task
    mov ecx, TSS_BYTES / 4
    xor eax, eax
    rep stosd
    mov dword [handler_task + 28], directory
    mov dword [handler_task + 32], task_handler
    mov dword [handler_task + 36], FLAG_RESERVED
    mov dword [handler_task + 56], handler_stack_top
    mov eax, DATA_SELECTOR
    mov [handler_task + 72], eax        ; es cs ss ds
    mov dword [handler_task + 76], CODE_SELECTOR
    mov [handler_task + 80], eax
    mov [handler_task + 84], eax
    mov dword [handler_task + 96], LDT_SELECTOR
    mov eax, HANDLER_TASK_SELECTOR
    mov edx, handler_task
    mov ecx, TSS_BYTES - 1
    mov ebx, 0x0089
    call describe
    mov eax, TSS_SELECTOR
    mov edx, tss
    call describe
    mov word [tss], 0                   ; no task to return to
    mov eax, directory
    mov [tss + 28], eax
    mov eax, TSS_SELECTOR
    ltr ax
    ret

; -- handlers ----------------------------------------------------------------------------------------------------------

fault:                                  ; vector, error code (0 if there is none), frame of 32 bits an item
    pushfd
    pop dword [handler_flags]
    cld
    call flat_segments
    pop dword [found_vector]
    pop dword [found_error]
    pop eax
    sub eax, [probe_code]
    mov [found_offset], eax
    pop ecx                             ; CS
    pop dword [pushed_flags]
    test ecx, 3
    jz caught
    add esp, 8
caught_inner:
    cmp esp, ring0_stack_top
    je caught
    inc dword [failures]
caught:
    jmp probe_end

.macro short_stub vector
    .align STUB_BYTES
    push \vector
    jmp near short_common
.endm

.align STUB_BYTES
short_stubs:                            ; offsets from here are offsets in STUB_CODE_SELECTOR
    short_stub 0
    short_stub 1
    short_stub 2
    short_stub 3
    short_stub 4
    short_stub 5
    short_stub 6
    short_stub 7
    short_stub 8
    short_stub 9
    short_stub 10
    short_stub 11
    short_stub 12
    short_stub 13
    short_stub 14
    short_stub 15
    short_stub 16
    short_stub 17
short_common:
    jmp CODE_SELECTOR:short_fault

short_fault:                            ; vector of 32 bits, frame of 16 bits an item
    pushfd
    pop dword [handler_flags]
    cld
    call flat_segments
    pop ebx
    mov [found_vector], ebx
    mov dword [found_error], 0
    bt dword [with_error_code], ebx
    jnc .no_error_code
    movzx eax, word [esp]
    mov [found_error], eax
    add esp, 2
.no_error_code:
    mov eax, [esp]
    sub eax, [probe_code]
    and eax, 0xFFFF
    mov [found_offset], eax
    movzx eax, word [esp + 4]
    mov [pushed_flags], eax
    movzx ecx, word [esp + 2]
    add esp, 6
    test ecx, 3
    jz caught
    add esp, 4
    jmp caught_inner

with_error_code:
    .long WITH_ERROR_CODE

task_handler:                           ; a task of its own; its back link says whom it interrupted
    pushfd
    pop dword [handler_flags]
    mov eax, [gate_vector]
    mov [found_vector], eax
    mov dword [found_error], 0
    bt dword [with_error_code], eax
    jnc .no_error_code
    pop dword [found_error]
.no_error_code:
    cmp esp, handler_stack_top
    je .stack_right
    inc dword [failures]
.stack_right:
    cmp word [handler_task], TSS_SELECTOR
    je .link_right
    inc dword [failures]
.link_right:
    mov eax, [tss + 32]
    sub eax, [probe_code]
    mov [found_offset], eax
    mov eax, [tss + 36]
    mov [pushed_flags], eax
    push FLAG_RESERVED
    popfd
    jmp probe_end
