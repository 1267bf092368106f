; faults-matrix: each exception x each way to raise it x each kind of gate x rings 0 and 3.
;
; A line is a way to raise an exception. Its fifteen groups are ring 0 through a 32-bit interrupt gate, trap gate, 16-bit
; interrupt gate, trap gate, task gates to a 32- and a 16-bit TSS, and a gate to a conforming handler; then the same for
; ring 3, and a gate to a handler at ring 1. A group is vector, error code (for #DB the bits of DR6), low byte of the offset
; that was pushed, and what the handler found: "i" interrupts enabled, "n" NT set. A dot: no exception. "?" marks what
; differs from the vector or error code of the table in ways.asm, "!" a frame that is not as or where it should be.
; With strict=on also what QEMU's emulator does otherwise (guest_images/README.md), and "r" for RF in the frame
; of what is neither #DB nor #DF.
; result = hash of the transcript, ops = probes. SDM vol. 3A 6.11 to 6.15, 7.3; vol. 3B 18.2, 18.3; vol. 2.

default_n = 1

.include "platform.asm"
.include "interrupts.asm"
.include "probe.asm"
.include "ways.asm"
.include "catch.asm"

INTERRUPT_32 = 0                        ; kinds of gates
TRAP_32 = 1
INTERRUPT_16 = 2
TRAP_16 = 3
TASK_32 = 4
TASK_16 = 5
CONFORMING = 6
RING_1 = 7                              ; for ring 3
GATE_KINDS = 8
HANDLER_TASK_SELECTOR = 0x60
HANDLER_TASK_16_SELECTOR = 0x68
HANDLER_STACK_SELECTOR = 0x70           ; 64 KiB from handler_task on
CONFORMING_SELECTOR = 0x78
RING_1_CODE_SELECTOR = 0x80
RING_1_DATA_SELECTOR = 0x88
RING_2_CODE_SELECTOR = 0x90
RING_2_DATA_SELECTOR = 0x98
TSS_ESP1 = 12
TSS_SS1 = 16
TSS_ESP2 = 20
TSS_SS2 = 24
IDT_LIMIT = 0x90 * 8 - 1
PTE_PRESENT = 1
PTE_WRITABLE = 2
PTE_USER = 4
PTE_LARGE = 0x80
CR0_MP = 2
CR0_EM = 4
CR0_TS = 8
CR0_NE = 0x20
CR0_AM = 0x40000
CR0_PG = 0x80000000
CR4_TSD = 4
CR4_DE = 8
CR4_PSE = 0x10
CR4_OSFXSR = 0x200
CR4_OSXMMEXCPT = 0x400
CR4_ALWAYS = CR4_PSE + CR4_OSFXSR + CR4_OSXMMEXCPT
DR7_FIXED = 0x400
DR6_REASONS = 0xE00F

guest_name:
    .byte "faults-matrix", 0
strict_option:
    .byte "strict=on", 0

.section bss
.align 4096
directory:
    .space 4096
.space 2048
ring_1_stack_top:
    .space 2048
ring_2_stack_top:
.align 16
strict:
    .space 4
gate_kind:
    .space 4
gate_vector:                            ; whose gate is of that kind
    .space 4
ring:
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
    call describe_all
    mov dword [last_way], strict_ways
    mov eax, strict_option
    call find_option
    mov [strict], eax
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
    mov ecx, GATE_KINDS - 1
    call all_kinds
    mov dword [ring], 3
    mov ecx, GATE_KINDS
    call all_kinds
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

all_kinds:                              ; ecx = how many
    mov dword [gate_kind], 0
.kind:
    push ecx
    call one_case
    pop ecx
    inc dword [gate_kind]
    cmp [gate_kind], ecx
    jne .kind
    ret

describe_all:
    mov edi, descriptors
.next:
    movzx eax, word [edi]
    mov edx, [edi + 4]
    mov ecx, [edi + 8]
    movzx ebx, word [edi + 2]
    call describe
    add edi, 12
    cmp edi, descriptors_end
    jne .next
    ret

.align 4
descriptors:                            ; selector, flags and access byte, base, limit
    .word STUB_CODE_SELECTOR, 0x409A
    .long short_stubs, 0xFFFF
    .word HANDLER_STACK_SELECTOR, 0x0092
    .long handler_task, 0xFFFF
    .word CONFORMING_SELECTOR, 0xC09E
    .long 0, 0xFFFFF
    .word RING_1_CODE_SELECTOR, 0xC0BA
    .long 0, 0xFFFFF
    .word RING_1_DATA_SELECTOR, 0xC0B2
    .long 0, 0xFFFFF
    .word RING_2_CODE_SELECTOR, 0xC0DA
    .long 0, 0xFFFFF
    .word RING_2_DATA_SELECTOR, 0xC0D2
    .long 0, 0xFFFFF
descriptors_end:

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
    mov eax, [esi + WAY_CODE]
    mov ecx, [ring]
    call probe
    mov al, ' '
    call say
    mov ebx, [ring]                     ; 3 -> 8: where ring 3's expectations are
    shr ebx, 1
    cmp dword [found_vector], FAULT_DB
    jne .compare
    mov eax, dr6
    and eax, DR6_REASONS
    mov [found_error], eax
.compare:
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
    mov al, 'i'
    mov edx, FLAG_IF
    test [handler_flags], edx
    call .flag
    mov al, 'n'
    mov edx, FLAG_NT
    test [handler_flags], edx
    call .flag
    cmp dword [strict], 0
    je .frame
    cmp dword [found_vector], FAULT_DB
    je .frame
    cmp dword [found_vector], FAULT_DF
    je .frame
    mov al, 'r'
    mov edx, FLAG_RF
    test [pushed_flags], edx
    call .flag
.frame:
    call frame_is_right
    jnc .done
    inc dword [failures]
    mov al, '!'
    call say
.done:
    ret
.none:
    mov al, '.'
    jmp say
.flag:
    jnz say
    ret

frame_is_right:                         ; carry: no
    test dword [pushed_flags], FLAG_IF  ; every probe began with IF
    jz .no
    cmp byte [stack_is_right], 1
    jb .no
    xor eax, eax                        ; the ring of the handler
    cmp dword [gate_kind], CONFORMING
    jb .ring
    mov eax, [ring]
    je .ring
    mov eax, 1
.ring:
    cmp eax, [handler_ring]
    je .yes
.no:
    stc
    ret
.yes:
    clc
    ret

prepare:                                ; gates, descriptors and control registers for a way
    mov eax, DR7_FIXED
    mov dr7, eax
    xor eax, eax
    mov dr6, eax
    mov eax, CR4_ALWAYS
    mov cr4, eax
    mov eax, cr0
    and eax, ~(CR0_MP + CR0_EM + CR0_TS + CR0_AM) & 0xFFFFFFFF
    or eax, CR0_NE
    mov cr0, eax
    fninit
    mov dword [probe_flags], FLAG_RESERVED + FLAG_IF
    call interrupts_init
    lidt [short_idt_register]
    mov eax, LEAVE_GATE
    mov edx, probe_done
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov eax, COLLECT_GATE
    mov edx, collected
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov eax, KERNEL_VECTOR
    mov edx, probe_done
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov eax, INNER_VECTOR
    mov edx, inner_entry
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov word [idt + INNER_VECTOR*8 + 2], RING_2_CODE_SELECTOR
    mov eax, [ring]
    shr eax, 1
    mov ebx, [esi + eax*8 + WAY_VECTOR]
    mov [gate_vector], ebx
    mov edi, [gate_kind]
    mov eax, [kind_hooks + edi*4]
    mov [exception_hook], eax
    cmp ebx, NO_FAULT
    je .gate_done
    mov eax, ebx
    mov edx, ebx
    shl edx, 4
    add edx, [kind_stubs + edi*4]
    movzx ecx, byte [kind_types + edi]
    or ecx, [esi + WAY_DPL]
    call set_gate
    mov ax, [kind_selectors + edi*2]
    mov [idt + ebx*8 + 2], ax
.gate_done:
    mov eax, [esi + WAY_ABSENT]         ; a vector whose gate is not present
    cmp eax, NO_FAULT
    je .tasks
    and byte [idt + eax*8 + 5], 0x7F
.tasks:
    mov eax, LDT_SELECTOR
    lldt ax
    mov byte [table + ABSENT_SELECTOR + 5], 0x72
    call make_tasks
    mov dword [tss + TSS_ESP1], ring_1_stack_top
    mov dword [tss + TSS_SS1], RING_1_DATA_SELECTOR + 1
    mov dword [tss + TSS_ESP2], ring_2_stack_top
    mov dword [tss + TSS_SS2], RING_2_DATA_SELECTOR + 2
    call dword [esi + WAY_SETUP]
    ret

.align 4
kind_hooks:
    .long fault, fault, fault, fault, fault, fault, outer_fault, outer_fault
kind_stubs:                             ; those of 16-bit gates lie in a segment of their own
    .long exception_stubs, exception_stubs, 0, 0, 0, 0, exception_stubs, exception_stubs
kind_selectors:
    .word CODE_SELECTOR, CODE_SELECTOR, STUB_CODE_SELECTOR, STUB_CODE_SELECTOR
    .word HANDLER_TASK_SELECTOR, HANDLER_TASK_16_SELECTOR, CONFORMING_SELECTOR, RING_1_CODE_SELECTOR
kind_types:
    .byte 0x8E, 0x8F, 0x86, 0x87, 0x85, 0x85, 0x8E, 0x8E
