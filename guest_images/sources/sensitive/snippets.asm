; What the checks execute, except control transfers. eax comes in as the check's input and goes out as its value.
; An instruction expected to fault comes first, or at the offset the check names.

FLAG_IOPL = 0x3000
VISIBLE_RIGHTS = 0x00F0FE00             ; what LAR returns, without the accessed bit and the undefined ones
UNTOUCHED = 0x1234
POST_PORT = 0x80

.macro leave_with_flags mask
    pushfd
    pop eax
    and eax, \mask
    int LEAVE_GATE
.endm

.macro leave_with value
    mov eax, \value
    int LEAVE_GATE
.endm

do_sgdt_base:
    sgdt [scratch]
    leave_with [scratch + 2]
do_sgdt_limit:
    sgdt [scratch]
    movzx eax, word [scratch]
    int LEAVE_GATE
do_sidt_base:
    sidt [scratch]
    leave_with [scratch + 2]
do_sidt_limit:
    sidt [scratch]
    movzx eax, word [scratch]
    int LEAVE_GATE
do_sldt:
    sldt eax
    movzx eax, ax
    int LEAVE_GATE
do_sldt_memory:                         ; stores 16 bits whatever the operand size
    mov dword [scratch], -1
    sldt word [scratch]
    leave_with [scratch]
do_str:
    str eax
    movzx eax, ax
    int LEAVE_GATE
do_smsw:
    smsw eax
    and eax, CR0_TS + 1
    int LEAVE_GATE
do_smsw_memory:
    mov dword [scratch], -1
    smsw word [scratch]
    mov eax, [scratch]
    and eax, 0xFFFF0000 + CR0_TS + 1
    int LEAVE_GATE

do_pushf:
    leave_with_flags FLAG_IF + FLAG_IOPL
do_pushfw:
    xor eax, eax
    pushfw
    pop ax
    and eax, FLAG_IF + FLAG_IOPL
    int LEAVE_GATE
do_popf:
    push eax
    popfd
    leave_with_flags FLAG_IF + FLAG_IOPL
do_popfw:
    push ax
    popfw
    leave_with_flags FLAG_IF + FLAG_IOPL
do_cli:
    cli
    leave_with_flags FLAG_IF
do_sti:
    sti
    leave_with_flags FLAG_IF
do_cli_sti:
    cli
    sti
    leave_with_flags FLAG_IF

do_lar:                                 ; value: the rights, and ZF in bit 0
    mov ecx, eax
    mov eax, -1
    lar eax, ecx
    setz dl
    and eax, VISIBLE_RIGHTS
    or al, dl
    int LEAVE_GATE
do_lsl:
    mov ecx, eax
    mov eax, UNTOUCHED
    lsl eax, ecx
    int LEAVE_GATE
do_verr:
    verr ax
    setz al
    movzx eax, al
    int LEAVE_GATE
do_verw:
    verw ax
    setz al
    movzx eax, al
    int LEAVE_GATE

do_push_cs:
    push cs
    pop eax
    movzx eax, ax
    int LEAVE_GATE
do_push_ss:
    push ss
    pop eax
    movzx eax, ax
    int LEAVE_GATE
do_push_ds:
    push ds
    pop eax
    movzx eax, ax
    int LEAVE_GATE
do_mov_from_cs:
    mov eax, cs
    movzx eax, ax
    int LEAVE_GATE
do_mov_from_cs_memory:
    mov dword [scratch], -1
    mov word [scratch], cs
    leave_with [scratch]
do_mov_ds:
    mov ds, eax
    mov eax, ds
    movzx eax, ax
    int LEAVE_GATE
do_mov_ss:
    mov ss, eax
    mov eax, ss
    movzx eax, ax
    int LEAVE_GATE
do_mov_cs:
    .byte 0x8E, 0xC8                    ; mov cs, eax: no such instruction
    int LEAVE_GATE
do_pop_ds:
    push eax
    pop ds
    mov eax, ds
    movzx eax, ax
    int LEAVE_GATE
do_pop_fs:
    push eax
    pop fs
    mov eax, fs
    movzx eax, ax
    int LEAVE_GATE
do_pop_ss:
    push eax
    pop ss
    mov eax, ss
    movzx eax, ax
    int LEAVE_GATE
do_read_fs:                             ; 16 bytes above the segment's base
    mov fs, eax
    mov eax, fs:[16]
    int LEAVE_GATE
do_write_fs:
    mov fs, eax
    mov dword fs:[scratch], 1
    leave_with [scratch]

do_lgdt:
    lgdt [other_gdt_register]
    sgdt [scratch]
    movzx eax, word [scratch]
    int LEAVE_GATE
do_lidt:
    lidt [other_idt_register]
    sidt [scratch]
    movzx eax, word [scratch]
    int LEAVE_GATE
do_lldt:
    lldt ax
    sldt eax
    movzx eax, ax
    int LEAVE_GATE
do_ltr:
    ltr ax
    leave_with 1
do_lmsw:                                ; can set PE but not clear it
    lmsw ax
    smsw eax
    and eax, CR0_TS + 1
    int LEAVE_GATE
do_clts:
    clts
    smsw eax
    and eax, CR0_TS + 1
    int LEAVE_GATE
do_read_cr0:
    mov eax, cr0
    and eax, CR0_TS + 1
    int LEAVE_GATE
do_write_cr0:
    mov cr0, eax
    leave_with 1
do_read_cr2:
    mov eax, cr2
    leave_with 1
do_write_cr2:
    mov cr2, eax
    mov eax, cr2
    int LEAVE_GATE
do_read_cr3:
    mov eax, cr3
    leave_with 1
do_write_cr3:
    mov cr3, eax
    mov eax, cr3
    int LEAVE_GATE
do_read_cr4:
    mov eax, cr4
    leave_with 1
do_write_cr4:
    mov cr4, eax
    mov eax, cr4
    int LEAVE_GATE
do_read_dr7:
    mov eax, dr7
    and eax, 0x400                      ; bit 10 reads as one
    int LEAVE_GATE
do_write_dr0:
    mov dr0, eax
    mov eax, dr0
    int LEAVE_GATE
do_rdmsr:
    rdmsr
    leave_with 1
do_wrmsr:
    wrmsr
    leave_with 1
do_msr_round_trip:
    mov ecx, IA32_SYSENTER_CS
    xor edx, edx
    wrmsr
    xor eax, eax
    rdmsr
    int LEAVE_GATE
do_invlpg:
    invlpg [scratch]
    leave_with 1
do_wbinvd:
    wbinvd
    leave_with 1
do_invd:                                ; only tried where it faults: it would lose what the caches hold
    invd
    leave_with 1
do_hlt:
    hlt
    leave_with 1
do_rdtsc:
    rdtsc
    leave_with 1
do_cpuid:
    xor eax, eax
    cpuid
    leave_with 1

do_in:
    in al, POST_PORT
    leave_with 1
do_out:
    out POST_PORT, al
    leave_with 1
do_in_dx:
    in eax, dx
    leave_with 1
do_insb:
    insb
    leave_with 1
do_outsb:
    outsb
    leave_with 1
do_insb_whole:
    mov edi, scratch
    mov edx, POST_PORT
    insb
    lea eax, [edi - scratch]
    int LEAVE_GATE
do_outsb_whole:
    mov esi, scratch
    mov edx, POST_PORT
    outsb
    lea eax, [esi - scratch]
    int LEAVE_GATE
