; Accesses at the limits: the part of segment-matrix that QEMU's emulator cannot do, for it checks neither limits nor types.
;
; A line is a type of segment, G (g) and B (b). Under rd, wr and ss there is a character for each access at ring 3, reading
; and writing through FS and reading through SS: bytes at the limit and behind it, then dwords at 0, at the limit less 3,
; less 2, at and behind the limit, at FFFCh, FFFDh and 10000h. A dot, or a letter for the exception, small if its error code
; is not 0. "?" marks what is not as SDM vol. 3A 5.3 and 5.5 say.

LIMITS_BASE = 0x00800000                ; RAM that nobody uses
DPL_3_PRESENT = 0xF0
TYPE_CODE = 8
TYPE_EXPANDS_DOWN = 4
TYPE_WRITABLE = 2                       ; of code: readable
BYTE_ACCESSES = 2
ACCESSES = 10

.section bss
limit:                                  ; in bytes
    .space 4
highest:                                ; of the offsets in the segment
    .space 4
lowest:
    .space 4
may_read:
    .space 4
may_write:
    .space 4
access_offset:
    .space 4
access_last:                            ; bytes behind the first
    .space 4
failures:
    .space 4
.section text

.align 4
offsets:                                ; relative to the limit, but for the last three and the one at 0
    .long 0, 1, 0, -3, -2, 0, 1, 0xFFFC, 0xFFFD, 0x10000
is_relative:
    .byte 1, 1, 0, 1, 1, 1, 1, 0, 0, 0

all_limits:
    xor ebp, ebp                        ; type, 10h for G, 20h for B
.segment:
    call one_segment
    inc ebp
    cmp ebp, 0x40
    jne .segment
    ret

one_segment:
    mov dword [limit], 0xFF
    mov ecx, 0xFF
    xor ebx, ebx
    test ebp, 0x10
    jz .bytes
    mov dword [limit], 0x1FFF
    mov ecx, 1
    or ebx, 0x8000
.bytes:
    test ebp, 0x20
    jz .not_big
    or ebx, 0x4000
.not_big:
    mov eax, ebp
    and eax, 15
    or ebx, eax
    or ebx, DPL_3_PRESENT
    mov eax, SPARE_SELECTOR
    mov edx, LIMITS_BASE
    call describe
    call find_range
    mov eax, ebp
    and eax, 15
    mov ecx, 1
    call say_hex_digits
    mov al, 'g'
    test ebp, 0x10
    call .flag
    mov al, 'b'
    test ebp, 0x20
    call .flag
    tell " rd "
    mov esi, read_through_fs
    mov eax, [may_read]
    call all_accesses
    tell " wr "
    mov esi, write_through_fs
    mov eax, [may_write]
    call all_accesses
    test ebp, TYPE_CODE
    jnz .done
    test ebp, TYPE_WRITABLE
    jz .done
    tell " ss "
    mov esi, read_through_ss
    mov eax, 1
    call all_accesses
.done:
    mov al, 10
    jmp say
.flag:
    jnz say
    mov al, '-'
    jmp say

find_range:                             ; offsets and rights of the type in ebp
    mov dword [lowest], 0
    mov eax, [limit]
    mov [highest], eax
    xor eax, eax
    test ebp, TYPE_WRITABLE
    setnz al
    mov [may_write], eax
    mov dword [may_read], 1
    test ebp, TYPE_CODE
    jz .data
    mov [may_read], eax
    mov dword [may_write], 0
    ret
.data:
    test ebp, TYPE_EXPANDS_DOWN
    jz .done
    mov eax, [limit]
    inc eax
    mov [lowest], eax
    mov dword [highest], 0xFFFF
    test ebp, 0x20
    jz .done
    mov dword [highest], 0xFFFFFFFF
.done:
    ret

all_accesses:                           ; esi = code, eax = whether the type allows it
    push eax
    xor edx, edx
.access:
    mov eax, [offsets + edx*4]
    cmp byte [is_relative + edx], 0
    je .absolute
    add eax, [limit]
.absolute:
    mov [access_offset], eax
    xor ecx, ecx
    cmp edx, BYTE_ACCESSES
    jb .sized
    mov ecx, 3
.sized:
    mov [access_last], ecx
    mov ebx, [esp]
    push edx
    call one_access
    pop edx
    inc edx
    cmp edx, ACCESSES
    jne .access
    pop eax
    ret

one_access:                             ; esi = code, ebx = whether the type allows it
    test ebx, ebx
    jz .expected
    mov eax, [access_offset]
    xor ebx, ebx
    cmp eax, [lowest]
    jb .expected
    add eax, [access_last]
    jc .expected
    cmp eax, [highest]
    ja .expected
    inc ebx
.expected:                              ; ebx = 1 if it must succeed
    mov edi, [access_offset]
    mov eax, esi
    cmp dword [access_last], 0
    jne .dword
    add eax, BYTE_CODE
.dword:
    mov ecx, 3
    call probe
    cmp eax, NO_FAULT
    je .success
    mov al, [fault_letters + eax]
    cmp dword [found_error], 0
    je .upper
    or al, 0x20
.upper:
    test ebx, ebx
    jz say
    jmp .wrong
.success:
    mov al, '.'
    test ebx, ebx
    jnz say
.wrong:
    inc dword [failures]
    mov al, '?'
    jmp say

BYTE_CODE = 16                          ; from the code for dwords to that for bytes
.align 16
read_through_fs:
    mov eax, SPARE_SELECTOR + 3
    mov fs, eax
    mov eax, fs:[edi]
    int LEAVE_GATE
.align 16
    mov eax, SPARE_SELECTOR + 3
    mov fs, eax
    mov al, fs:[edi]
    int LEAVE_GATE
.align 16
write_through_fs:
    mov eax, SPARE_SELECTOR + 3
    mov fs, eax
    mov fs:[edi], eax
    int LEAVE_GATE
.align 16
    mov eax, SPARE_SELECTOR + 3
    mov fs, eax
    mov fs:[edi], al
    int LEAVE_GATE
.align 16
read_through_ss:
    mov eax, SPARE_SELECTOR + 3
    mov ss, eax
    mov eax, ss:[edi]
    int LEAVE_GATE
.align 16
    mov eax, SPARE_SELECTOR + 3
    mov ss, eax
    mov al, ss:[edi]
    int LEAVE_GATE
