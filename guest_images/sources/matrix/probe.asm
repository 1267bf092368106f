; Probes: a few instructions run at ring 0 or 3 that end with `int LEAVE_GATE`, or earlier with an exception. What the
; matrix guests share: GDT with room, LDT, catching, and the checksum of all that is printed.

LEAVE_GATE = 0x81                       ; ends a probe, DPL 3
LDT_SELECTOR = 0x30
SPARE_SELECTOR = 0x38                   ; what the guests describe as they like
SPARE_2_SELECTOR = 0x40
SPARE_3_SELECTOR = 0x48
ABSENT_SELECTOR = 0x50                  ; data, not present, DPL 3
STUB_CODE_SELECTOR = 0x58               ; code with the exception stubs at offset 0, for 16-bit gates
OUTSIDE_SELECTOR = 0x1000
GDT_BYTES = 0xB0
LDT_BYTES = 0x20
NO_FAULT = 0xFF
FLAG_RESERVED = 2
FLAG_IF = 0x200
FLAG_NT = 0x4000
HASH_START = 0x811C9DC5                 ; FNV-1a, 32 bits
HASH_PRIME = 0x01000193

.section bss
.align 8
table:                                  ; the GDT
    .space GDT_BYTES
local_table:
    .space LDT_BYTES
saved_stack:
    .space 4
probe_code:
    .space 4
probe_flags:                            ; EFLAGS that probes begin with
    .space 4
found_vector:                           ; NO_FAULT or the vector, then error code, offset of the fault in the probe
    .space 4
found_error:
    .space 4
found_offset:
    .space 4
found_frame:                            ; address of the exception's frame: error code if there is one, EIP, CS...
    .space 4
probe_count:
    .space 4
hash:
    .space 4
    .space 2048
ring0_stack_top:
    .space 2048
probe_stack_top:
    .space 16
.section text

table_register:
    .word GDT_BYTES - 1
    .long table

probes_init:
    mov esi, gdt
    mov edi, table
    mov ecx, gdt_end - gdt
    rep movsb
    mov eax, LDT_SELECTOR
    mov edx, local_table
    mov ecx, LDT_BYTES - 1
    mov ebx, 0x0082
    call describe
    mov eax, ABSENT_SELECTOR
    xor edx, edx
    mov ecx, 0xFFFFF
    mov ebx, 0xC072
    call describe
    mov eax, STUB_CODE_SELECTOR
    mov edx, exception_stubs
    mov ecx, 0xFFFF
    mov ebx, 0x409A
    call describe
    lgdt [table_register]
    mov eax, LDT_SELECTOR
    lldt ax
    mov eax, ring0_stack_top
    call tss_init
    call interrupts_init
    mov al, 0xFF                        ; mask all lines of both 8259s: nothing is to interrupt a probe
    out 0x21, al
    out 0xA1, al
    mov eax, LEAVE_GATE
    mov edx, probe_done
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov dword [exception_hook], probe_fault
    mov dword [probe_flags], FLAG_RESERVED
    mov dword [hash], HASH_START
    ret

describe:                               ; eax = selector, edx = base, ecx = limit, ebx = G D/B 0 0 0000 0000 access byte
    push edi
    and eax, 0xFFF8
    lea edi, [table + eax]
    mov [edi], cx
    mov [edi + 2], dx
    mov [edi + 5], bl
    push edx
    shr edx, 16
    mov [edi + 4], dl
    mov [edi + 7], dh
    pop edx
    push ecx
    shr ecx, 16
    or cl, bh
    mov [edi + 6], cl
    pop ecx
    pop edi
    ret

probe:                                  ; eax = code, ecx = ring -> eax = NO_FAULT or vector; ebx, esi, edi as they are
    pushad
    mov [saved_stack], esp
    mov [probe_code], eax
    inc dword [probe_count]
    test ecx, ecx
    jnz .outer
    mov esp, probe_stack_top
    push dword [probe_flags]
    popfd
    jmp dword [probe_code]
.outer:
    mov ecx, USER_DATA_SELECTOR
    mov ds, ecx
    mov es, ecx
    push ecx
    push probe_stack_top
    push dword [probe_flags]
    push USER_CODE_SELECTOR
    push eax
    iretd

probe_done:
    cld
    call flat_segments
    mov dword [found_vector], NO_FAULT
    mov dword [found_error], 0
    mov dword [found_offset], 0
    jmp probe_end

probe_fault:                            ; from the stubs: vector, error code (0 if there is none), EIP
    cld
    call flat_segments
    pop dword [found_vector]
    mov [found_frame], esp
    pop dword [found_error]
    pop eax
    sub eax, [probe_code]
    mov [found_offset], eax
probe_end:
    mov esp, [saved_stack]
    popad
    mov eax, [found_vector]
    ret

flat_segments:                          ; usable after anything but a stack that is none; keeps all registers but eax
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    pop eax                             ; SS may be another segment with the same base
    push eax
    mov eax, DATA_SELECTOR
    mov ss, eax
    ret

say:                                    ; al = character: printed and hashed
    push edx
    movzx eax, al
    push eax
    xor eax, [hash]
    mov edx, HASH_PRIME
    imul eax, edx
    mov [hash], eax
    pop eax
    call put_char
    pop edx
    ret

say_hex_digits:                         ; eax = number, ecx = how many digits
    push ebx
    push ecx
    mov ebx, eax
    shl ecx, 2
    ror ebx, cl
    pop ecx
    push ecx
.digit:
    rol ebx, 4
    mov eax, ebx
    and eax, 15
    mov al, [hex_digits + eax]
    push ecx
    call say
    pop ecx
    dec ecx
    jnz .digit
    pop ecx
    pop ebx
    ret

say_text:                               ; eax = zero-terminated text
    push esi
    mov esi, eax
.next:
    mov al, [esi]
    test al, al
    jz .done
    call say
    inc esi
    jmp .next
.done:
    pop esi
    ret

.macro tell text
    mov eax, .text_\@
    call say_text
    jmp .after_text_\@
.text_\@:
    .byte \text, 0
.after_text_\@:
.endm

fault_letters:                          ; by vector
    .byte "DBNPORUMFcTNSGPxfAMX"
