; Changes to code on the page that runs: each check takes eax = passes and returns eax = passes that came out right.

ADD_EAX_IMM8 = 0xC083                   ; opcode and ModRM of `add eax, imm8`, as a little-endian word
SUB_EAX_IMM8 = 0xE883
OPCODE_INC_EAX = 0x40
OPCODE_DEC_EAX = 0x48
OPCODE_NOP = 0x90
SLED = 16

patched_function:                       ; the callee's immediate changes before every call
    push ebx
    xor ebx, ebx
    mov ecx, eax
.pass:
    lea edx, [ecx*8 + ecx + 0x1234567]
    mov [.constant + 1], edx
    call .constant
    cmp eax, edx
    jne .wrong
    inc ebx
.wrong:
    dec ecx
    jnz .pass
    mov eax, ebx
    pop ebx
    ret
.constant:
    mov eax, 0
    ret

patched_loop:                           ; eight turns of a loop that has become hot, then its addend changes
    push ebx
    push esi
    xor ebx, ebx
    mov ecx, eax
.pass:
    mov [.addend + 2], ecx
    xor eax, eax
    mov edx, 8
.addend:
    add edx, 0x11111111
    lea eax, [eax + edx]
    sub edx, ecx
    dec edx
    jnz .addend
    lea esi, [ecx*8 + 36]               ; 8 addends, and 8 + 7 + ... + 1
    cmp eax, esi
    jne .wrong
    inc ebx
.wrong:
    dec ecx
    jnz .pass
    mov eax, ebx
    pop esi
    pop ebx
    ret

patched_opcode:                         ; ADD and SUB in turn
    push ebx
    xor ebx, ebx
    mov ecx, eax
    mov edx, ADD_EAX_IMM8
.pass:
    mov [.operation], dx
    mov eax, 100
.operation:
    add eax, 5
    cmp edx, SUB_EAX_IMM8
    je .subtracted
    sub eax, 10
.subtracted:
    xor edx, ADD_EAX_IMM8 ^ SUB_EAX_IMM8
    cmp eax, 95
    jne .wrong
    inc ebx
.wrong:
    dec ecx
    jnz .pass
    mov eax, ebx
    pop ebx
    ret

next_instruction:                       ; the store's own successor, in the block that runs
    push ebx
    xor ebx, ebx
    mov ecx, eax
.pass:
    mov [.patched + 1], ecx
.patched:
    mov eax, 0
    cmp eax, ecx
    jne .wrong
    inc ebx
.wrong:
    dec ecx
    jnz .pass
    mov eax, ebx
    pop ebx
    ret

string_store_ahead:                     ; REP STOSB fills the sled that executes next with INC EAX or DEC EAX
    push ebx
    push edi
    xor ebx, ebx
    mov edx, eax
.pass:
    mov edi, .sled
    mov eax, OPCODE_INC_EAX
    test edx, 1
    jz .fill
    mov eax, OPCODE_DEC_EAX
.fill:
    mov ecx, SLED
    rep stosb
.sled:
    .space SLED, OPCODE_NOP
    mov ecx, OPCODE_INC_EAX + SLED
    test edx, 1
    jz .compare
    mov ecx, OPCODE_DEC_EAX - SLED
.compare:
    cmp eax, ecx
    jne .wrong
    inc ebx
.wrong:
    dec edx
    jnz .pass
    mov eax, ebx
    pop edi
    pop ebx
    ret

; C6 05 address 90 is `mov byte [address], 90h`. With its first byte overwritten by 90h it reads
; 90, 05 address, 90: `nop`, `add eax, address`, `nop`.
OPCODE_MOV_BYTE = 0xC6

rewrites_itself:
    push ebx
    xor ebx, ebx
    mov ecx, eax
.pass:
    mov byte [.itself], OPCODE_MOV_BYTE
    mov edx, 2
    xor eax, eax
.twice:
.itself:
    mov byte [.itself], OPCODE_NOP
    dec edx
    jnz .twice
    cmp eax, .itself                    ; added once: by the second execution
    jne .wrong
    inc ebx
.wrong:
    dec ecx
    jnz .pass
    mov eax, ebx
    pop ebx
    ret

data_on_code_page:                      ; counters before and after the loop that updates them; no code changes
    push ebx
    mov ecx, eax
    mov ebx, eax
    mov dword [.before], 0
    mov dword [.after], 0
    jmp .pass
.before:
    .long 0
.pass:
    inc dword [.before]
    mov eax, [.before]
    add [.after], eax
    dec ecx
    jnz .pass
    cmp eax, ebx
    jne .wrong
    lea edx, [eax + 1]                  ; 1 + 2 + ... + n
    mul edx
    shrd eax, edx, 1
    cmp eax, [.after]
    jne .wrong
    mov eax, ebx
    pop ebx
    ret
.after:
    .long 0
.wrong:
    xor eax, eax
    pop ebx
    ret

stack_on_code_page:                     ; calls and pushes with the stack just below the code
    push ebx
    xor ebx, ebx
    mov [.saved_stack], esp
    mov esp, .stack_top
    mov ecx, eax
    jmp .pass
.saved_stack:
    .long 0
    .space 64
.stack_top:
.pass:
    push ecx
    call .double
    pop edx
    lea edx, [edx + edx]
    cmp eax, edx
    jne .wrong
    inc ebx
.wrong:
    dec ecx
    jnz .pass
    mov esp, [.saved_stack]
    mov eax, ebx
    pop ebx
    ret
.double:
    mov eax, [esp + 4]
    add eax, eax
    ret
