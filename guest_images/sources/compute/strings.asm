; strings: fills, copies, compares and scans blocks of 1 to 16384 bytes with rep instructions and byte loops, n times.
;
; For each size: rep stosb and stosd, rep movsb and movsd, repe cmpsb, repne scasb (strlen), and byte loops for copying
; to upper case, for comparing backwards and for hashing. result: h = h * 31 + each position or hash found.
; ops = bytes processed. Self-check: copies compare equal, lengths are the sizes.

default_n = 20
MAX_BYTES = 16384

.include "platform.asm"

guest_name:
    .byte "strings", 0

.align 4
sizes:
    .long 1, 3, 7, 16, 29, 64, 100, 256, 777, 1500, 4096, 5000, 16384
sizes_end:

main:                                   ; [ebp-16] rounds left, [ebp-20] address of size, [ebp-24] bytes, [ebp-28] hash
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    sub esp, 16
    mov [ebp - 16], eax
    mov dword [ebp - 24], 0
    mov dword [ebp - 28], 0
    jmp .round_test
.round:
    mov dword [ebp - 20], sizes
.size:
    mov eax, [ebp - 20]
    mov ebx, [eax]                      ; ebx = size
    push dword [ebp - 16]
    push ebx
    call fill_text
    add esp, 8
    push ebx
    call copy_block
    call find_end
    cmp eax, ebx                        ; strlen of the text is its size
    jne exit_failed
    call copy_upper
    call first_difference
    add esp, 4
    imul ecx, [ebp - 28], 31
    add ecx, eax
    mov [ebp - 28], ecx
    push ebx
    call hash_block
    add esp, 4
    imul ecx, [ebp - 28], 31
    add ecx, eax
    mov [ebp - 28], ecx
    imul eax, ebx, 8                    ; fill, two copies, compare, scan, upper case, compare, hash
    add [ebp - 24], eax
    add dword [ebp - 20], 4
    cmp dword [ebp - 20], sizes_end
    jne .size
    dec dword [ebp - 16]
.round_test:
    cmp dword [ebp - 16], 0
    jne .round
    mov eax, [ebp - 28]
    mov edx, [ebp - 24]
    add esp, 16
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

fill_text:                              ; (size, round): text = size letters and a zero; one varies
    push ebp
    mov ebp, esp
    push edi
    mov edi, text
    mov ecx, [ebp + 8]
    shr ecx, 2
    mov eax, 0x64636261                 ; "abcd"
    rep stosd
    mov ecx, [ebp + 8]
    and ecx, 3
    mov al, 'z'
    rep stosb
    mov byte [edi], 0
    mov eax, [ebp + 12]
    xor edx, edx
    div dword [ebp + 8]
    mov byte [text + edx], '!'          ; upper case leaves it alone: the first difference is elsewhere
    pop edi
    pop ebp
    ret

copy_block:                             ; (size): text to copy by doublewords and to backup by bytes, then compared
    push ebp
    mov ebp, esp
    push esi
    push edi
    mov esi, text
    mov edi, copy
    mov ecx, [ebp + 8]
    shr ecx, 2
    rep movsd
    mov ecx, [ebp + 8]
    and ecx, 3
    rep movsb
    mov esi, copy
    mov edi, backup
    mov ecx, [ebp + 8]
    rep movsb
    mov esi, text
    mov edi, backup
    mov ecx, [ebp + 8]
    repe cmpsb
    jne exit_failed
    pop edi
    pop esi
    pop ebp
    ret

find_end:                               ; -> eax = length of the zero-terminated text
    push edi
    mov edi, text
    mov ecx, -1
    xor eax, eax
    repne scasb
    mov eax, ecx
    not eax
    dec eax
    pop edi
    ret

copy_upper:                             ; (size): copy = text in upper case
    push ebp
    mov ebp, esp
    mov ecx, [ebp + 8]
    xor edx, edx
.byte:
    movzx eax, byte [text + edx]
    cmp al, 'a'
    jb .keep
    cmp al, 'z'
    ja .keep
    sub al, 32
.keep:
    mov [copy + edx], al
    inc edx
    cmp edx, ecx
    jb .byte
    pop ebp
    ret

first_difference:                       ; (size) -> eax = bytes up to the last one that upper case left alone
    push ebp
    mov ebp, esp
    mov ecx, [ebp + 8]
.byte:
    movzx eax, byte [text + ecx - 1]
    cmp al, [copy + ecx - 1]
    je .done
    dec ecx
    jnz .byte
.done:
    mov eax, ecx
    pop ebp
    ret

hash_block:                             ; (size) -> eax = h * 33 + byte over copy
    push ebp
    mov ebp, esp
    push esi
    mov esi, copy
    mov ecx, [ebp + 8]
    mov eax, 5381
.byte:
    mov edx, eax
    shl edx, 5
    add eax, edx
    movzx edx, byte [esi]
    add eax, edx
    inc esi
    dec ecx
    jnz .byte
    pop esi
    pop ebp
    ret

.section bss
.align 4096
text:
    .space MAX_BYTES + 16
copy:
    .space MAX_BYTES + 16
backup:
    .space MAX_BYTES + 16
