; quicksort: sorts `size` pseudo-random 32-bit words (default 16384) by recursive quicksort, n times over.
;
; Unpredictable branches, recursion, swaps in memory. Each round fills the array by continuing the generator.
; result: h = h * 31 + word over the sorted arrays. ops = words sorted. Self-check: order, and the sum of the words.

default_n = 2
DEFAULT_SIZE = 16384
MAX_SIZE = 0x100000

.include "platform.asm"

guest_name:
    .byte "quicksort", 0
size_option:
    .byte "size=", 0

main:                       ; [ebp-16] rounds left, [ebp-20] size, [ebp-24] rounds, [ebp-28] seed, [ebp-32] sum
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    sub esp, 20
    mov [ebp - 16], eax
    mov [ebp - 24], eax
    mov dword [ebp - 28], 1
    mov eax, size_option
    mov edx, DEFAULT_SIZE
    call number_option
    cmp eax, MAX_SIZE
    ja exit_failed
    test eax, eax
    jz exit_failed
    mov [ebp - 20], eax
    xor ebx, ebx                        ; ebx = hash
    jmp .round_test
.round:
    mov ecx, [ebp - 20]
    mov eax, [ebp - 28]
    xor edx, edx                        ; edx = sum of the words
    mov edi, words
.fill:
    imul eax, eax, 1664525
    add eax, 1013904223
    mov [edi], eax
    add edx, eax
    add edi, 4
    dec ecx
    jnz .fill
    mov [ebp - 28], eax
    mov [ebp - 32], edx
    mov eax, [ebp - 20]
    lea eax, [words + eax*4 - 4]
    push eax
    push words
    call quicksort
    add esp, 8
    xor ecx, ecx
    xor edi, edi                        ; edi = word before, the smallest possible at first
    mov edx, [ebp - 32]
.check:
    mov eax, [words + ecx*4]
    cmp eax, edi
    jb exit_failed
    mov edi, eax
    imul ebx, ebx, 31
    add ebx, eax
    sub edx, eax
    inc ecx
    cmp ecx, [ebp - 20]
    jne .check
    test edx, edx
    jnz exit_failed
    dec dword [ebp - 16]
.round_test:
    cmp dword [ebp - 16], 0
    jne .round
    mov edx, [ebp - 24]
    imul edx, [ebp - 20]
    mov eax, ebx
    add esp, 20
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

quicksort:                              ; (first, last): addresses of the words to sort, both inclusive
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
.again:
    mov esi, [ebp + 8]
    mov edi, [ebp + 12]
    cmp esi, edi
    jae .done
    mov eax, edi                        ; pivot: the word in the middle
    sub eax, esi
    shr eax, 3
    mov ebx, [esi + eax*4]
.partition:
    cmp [esi], ebx
    jae .from_above
.from_below:
    add esi, 4
    cmp [esi], ebx
    jb .from_below
.from_above:
    cmp [edi], ebx
    jbe .meet
.down:
    sub edi, 4
    cmp [edi], ebx
    ja .down
.meet:
    cmp esi, edi
    ja .halves
    mov eax, [esi]
    mov edx, [edi]
    mov [esi], edx
    mov [edi], eax
    add esi, 4
    sub edi, 4
    cmp esi, edi
    jbe .partition
.halves:
    push edi
    push dword [ebp + 8]
    call quicksort
    add esp, 8
    mov [ebp + 8], esi                  ; the upper half by iteration, as compilers turn tail calls
    jmp .again
.done:
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

.section bss
.align 4096
words:
    .space MAX_SIZE * 4
