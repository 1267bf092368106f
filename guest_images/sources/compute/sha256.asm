; sha256: SHA-256 (FIPS 180-4) over 16 KiB of pseudo-random bytes, n times, the digest so far carried along.
;
; Rotations, additions and a message schedule in memory. result: the first word of the digest. ops = bytes. Self-check:
; the digest of "abc" begins with BA7816BF.

default_n = 16
BUFFER_BYTES = 0x4000
BLOCK_BYTES = 64
CHECK_VALUE = 0xBA7816BF

.include "platform.asm"

guest_name:
    .byte "sha256", 0
.align 4
initial:
    .long 0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19
constants:
    .long 0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5
    .long 0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174
    .long 0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA
    .long 0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967
    .long 0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85
    .long 0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070
    .long 0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3
    .long 0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2
abc_block:
    .long 0x80636261, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x18000000

main:
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    push eax
    push eax
    call start_digest
    mov esi, abc_block
    call compress
    cmp dword [digest], CHECK_VALUE
    jne exit_failed
    mov edi, buffer                     ; fill
    mov eax, 1
.fill:
    imul eax, eax, 1664525
    add eax, 1013904223
    mov [edi], eax
    add edi, 4
    cmp edi, buffer + BUFFER_BYTES
    jne .fill
    call start_digest
    jmp .pass_test
.pass:
    mov esi, buffer
.block:
    call compress
    add esi, BLOCK_BYTES
    cmp esi, buffer + BUFFER_BYTES
    jne .block
    dec dword [ebp - 16]
.pass_test:
    cmp dword [ebp - 16], 0
    jne .pass
    mov eax, [digest]
    mov edx, [ebp - 20]
    shl edx, 14
    add esp, 8
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

start_digest:
    mov esi, initial
    mov edi, digest
    mov ecx, 8
    rep movsd
    ret

compress:                               ; the block at esi into digest
    push ebp
    push esi
    mov edi, schedule
.load:
    mov eax, [esi]
    bswap eax
    mov [edi], eax
    add esi, 4
    add edi, 4
    cmp edi, schedule + BLOCK_BYTES
    jne .load
.extend:
    mov eax, [edi - 60]                 ; sigma0 of 15 words before
    mov ecx, eax
    mov edx, eax
    ror eax, 7
    ror ecx, 18
    shr edx, 3
    xor eax, ecx
    xor eax, edx
    mov ebx, [edi - 8]                  ; sigma1 of 2 words before
    mov ecx, ebx
    mov edx, ebx
    ror ebx, 17
    ror ecx, 19
    shr edx, 10
    xor ebx, ecx
    xor ebx, edx
    add eax, ebx
    add eax, [edi - 64]
    add eax, [edi - 28]
    mov [edi], eax
    add edi, 4
    cmp edi, schedule + 256
    jne .extend
    mov esi, digest
    mov edi, working
    mov ecx, 8
    rep movsd
    xor ebp, ebp
    mov eax, [working]                  ; eax = a, ebx = e
    mov ebx, [working + 16]
.round:
    mov ecx, ebx                        ; Sigma1 of e
    mov edx, ebx
    mov esi, ebx
    ror ecx, 6
    ror edx, 11
    ror esi, 25
    xor ecx, edx
    xor ecx, esi
    mov edx, [working + 20]             ; choose f or g by e
    mov esi, [working + 24]
    xor edx, esi
    and edx, ebx
    xor edx, esi
    add ecx, edx
    add ecx, [working + 28]
    add ecx, [constants + ebp]
    add ecx, [schedule + ebp]           ; ecx = first sum
    mov edx, [working + 24]             ; h = g, g = f, f = e
    mov [working + 28], edx
    mov edx, [working + 20]
    mov [working + 24], edx
    mov [working + 20], ebx
    mov ebx, [working + 12]             ; e = d + first sum
    add ebx, ecx
    mov edx, eax                        ; Sigma0 of a
    mov esi, eax
    mov edi, eax
    ror edx, 2
    ror esi, 13
    ror edi, 22
    xor edx, esi
    xor edx, edi
    add ecx, edx
    mov esi, [working + 4]              ; majority of a, b, c
    mov edi, [working + 8]
    mov edx, esi
    or edx, edi
    and edx, eax
    mov [working + 12], edi             ; d = c, c = b, b = a
    mov [working + 8], esi
    and esi, edi
    or edx, esi
    mov [working + 4], eax
    lea eax, [ecx + edx]
    add ebp, 4
    cmp ebp, 256
    jne .round
    mov [working], eax
    mov [working + 16], ebx
    xor ecx, ecx
.add:
    mov eax, [working + ecx]
    add [digest + ecx], eax
    add ecx, 4
    cmp ecx, 32
    jne .add
    pop esi
    pop ebp
    ret

.section bss
.align 64
buffer:
    .space BUFFER_BYTES
schedule:
    .space 256
digest:
    .space 32
working:
    .space 32
