; sieve: Eratosthenes over `size` byte flags (default 512 KiB), n times over.
;
; Byte stores with growing strides, working set = size. result: primes hashed as h = h * 31 + p, over all passes;
; every pass must find the same number of primes. ops = flags sieved.

default_n = 1
DEFAULT_SIZE = 0x80000
MAX_SIZE = 0x1000000

.include "platform.asm"

guest_name:
    .byte "sieve", 0
size_option:
    .byte "size=", 0

main:                                   ; [ebp-16] passes left, [ebp-20] size, [ebp-24] primes of the first pass
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    sub esp, 16
    mov [ebp - 16], eax
    mov [ebp - 28], eax
    mov eax, size_option
    mov edx, DEFAULT_SIZE
    call number_option
    cmp eax, MAX_SIZE
    ja exit_failed
    cmp eax, 4
    jb exit_failed
    mov [ebp - 20], eax
    mov dword [ebp - 24], -1
    xor esi, esi                        ; esi = hash
    jmp .pass_test
.pass:
    push esi
    push dword [ebp - 20]
    call sieve_flags
    call hash_primes                    ; eax = hash, edx = primes
    add esp, 8
    mov esi, eax
    cmp dword [ebp - 24], -1
    jne .not_first
    mov [ebp - 24], edx
.not_first:
    cmp edx, [ebp - 24]
    jne exit_failed
    dec dword [ebp - 16]
.pass_test:
    cmp dword [ebp - 16], 0
    jne .pass
    mov eax, [ebp - 28]
    imul eax, [ebp - 20]
    mov edx, eax
    mov eax, esi
    add esp, 16
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

sieve_flags:                            ; (size, hash): flags[k] = 1 for prime k
    push ebp
    mov ebp, esp
    push esi
    push edi
    mov ecx, [ebp + 8]
    mov edi, flags
    mov al, 1
    rep stosb
    mov word [flags], 0                 ; 0 and 1 are no primes
    mov ecx, 2
.candidate:
    mov edx, ecx
    imul edx, ecx                       ; smaller multiples are crossed out already
    cmp edx, [ebp + 8]
    jae .done
    cmp byte [flags + ecx], 0
    je .next
    mov esi, [ebp + 8]
.cross_out:
    mov byte [flags + edx], 0
    add edx, ecx
    cmp edx, esi
    jb .cross_out
.next:
    inc ecx
    jmp .candidate
.done:
    pop edi
    pop esi
    pop ebp
    ret

hash_primes:                            ; (size, hash) -> eax = new hash, edx = number of primes
    push ebp
    mov ebp, esp
    push ebx
    mov eax, [ebp + 12]
    xor edx, edx
    mov ecx, 2
    mov ebx, [ebp + 8]
.flag:
    cmp byte [flags + ecx], 0
    je .composite
    imul eax, eax, 31
    add eax, ecx
    inc edx
.composite:
    inc ecx
    cmp ecx, ebx
    jb .flag
    pop ebx
    pop ebp
    ret

.section bss
.align 4096
flags:
    .space MAX_SIZE
