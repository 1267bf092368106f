; CRC-32 (IEEE 802.3, reflected polynomial) of each byte into `table`, 256 words that the guest has.

POLYNOMIAL = 0xEDB88320

make_table:
    push ebx
    xor ecx, ecx
.entry:
    mov eax, ecx
    mov edx, 8
.bit:
    mov ebx, eax
    and ebx, 1
    neg ebx
    and ebx, POLYNOMIAL
    shr eax, 1
    xor eax, ebx
    dec edx
    jnz .bit
    mov [table + ecx*4], eax
    inc ecx
    cmp ecx, 256
    jne .entry
    pop ebx
    ret
