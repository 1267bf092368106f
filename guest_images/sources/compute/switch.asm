; switch: a stack machine's interpreter dispatching through a jump table; its program counts Collatz steps below n.
;
; One indirect jump a bytecode, to 14 places. result: for k = 1..n, h = (h * 31 + steps from k to 1) ^ k.
; ops = bytecodes executed, a little more than linear in n.
;
; Machine: esi = program counter, edi = stack pointer (grows up, top of stack at [edi]), eight variables.

default_n = 1000

.include "platform.asm"

guest_name:
    .byte "switch", 0

OP_HALT = 0
OP_PUSH = 1                             ; value (4 bytes)
OP_LOAD = 2                             ; variable (1 byte)
OP_STORE = 3                            ; variable
OP_ADD = 4
OP_MUL = 5
OP_XOR = 6
OP_AND = 7
OP_SHR = 8                              ; logical
OP_JUMP = 9                             ; distance (1 byte, signed, from the next bytecode)
OP_JUMP_IF_ZERO = 10                    ; pops; distance
OP_EQUAL = 11
OP_DUP = 12
OP_INCREMENT = 13                       ; variable
OPCODES = 14

K = 0                                   ; variables of the program
VALUE = 1
STEPS = 2
HASH = 3
N = 4

.macro op_push value
    .byte OP_PUSH
    .long \value
.endm

.macro jump opcode, target
    .byte \opcode, \target - ($ + 2)
.endm

program:
next_k:
    .byte OP_INCREMENT, K               ; k += 1
    .byte OP_LOAD, K, OP_STORE, VALUE   ; value = k
    op_push 0
    .byte OP_STORE, STEPS
collatz:
    .byte OP_LOAD, VALUE                ; while value != 1
    op_push 1
    .byte OP_EQUAL
    jump OP_JUMP_IF_ZERO, step
    .byte OP_LOAD, HASH                 ; h = (h * 31 + steps) ^ k
    op_push 31
    .byte OP_MUL, OP_LOAD, STEPS, OP_ADD, OP_LOAD, K, OP_XOR, OP_STORE, HASH
    .byte OP_LOAD, K, OP_LOAD, N, OP_EQUAL
    jump OP_JUMP_IF_ZERO, next_k
    .byte OP_HALT
step:
    .byte OP_INCREMENT, STEPS
    .byte OP_LOAD, VALUE, OP_DUP
    op_push 1
    .byte OP_AND
    jump OP_JUMP_IF_ZERO, even
    op_push 3                           ; value = value * 3 + 1
    .byte OP_MUL
    op_push 1
    .byte OP_ADD, OP_STORE, VALUE
    jump OP_JUMP, collatz
even:
    .byte OP_SHR, OP_STORE, VALUE       ; value >>= 1
    jump OP_JUMP, collatz

.align 4
handlers:
    .long op_halt, op_push_value, op_load, op_store, op_add, op_mul, op_xor, op_and, op_shr, op_jump
    .long op_jump_if_zero, op_equal, op_dup, op_increment

main:
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    test eax, eax
    jz exit_failed                      ; the program tests k = n after the first round
    mov dword [variables + K*4], 0
    mov dword [variables + HASH*4], 0
    mov [variables + N*4], eax
    mov esi, program
    mov edi, stack
    xor ebx, ebx                        ; ebx = bytecodes executed
dispatch:
    movzx eax, byte [esi]
    inc esi
    inc ebx
    cmp eax, OPCODES                    ; a compiler's switch checks its range
    jae exit_failed
    jmp dword [handlers + eax*4]

op_push_value:
    mov eax, [esi]
    add esi, 4
    add edi, 4
    mov [edi], eax
    jmp dispatch
op_load:
    movzx eax, byte [esi]
    inc esi
    mov eax, [variables + eax*4]
    add edi, 4
    mov [edi], eax
    jmp dispatch
op_store:
    movzx eax, byte [esi]
    inc esi
    mov ecx, [edi]
    sub edi, 4
    mov [variables + eax*4], ecx
    jmp dispatch
op_add:
    mov eax, [edi]
    sub edi, 4
    add [edi], eax
    jmp dispatch
op_mul:
    mov eax, [edi]
    sub edi, 4
    imul eax, [edi]
    mov [edi], eax
    jmp dispatch
op_xor:
    mov eax, [edi]
    sub edi, 4
    xor [edi], eax
    jmp dispatch
op_and:
    mov eax, [edi]
    sub edi, 4
    and [edi], eax
    jmp dispatch
op_shr:
    shr dword [edi], 1
    jmp dispatch
op_jump:
    movsx eax, byte [esi]
    lea esi, [esi + eax + 1]
    jmp dispatch
op_jump_if_zero:
    movsx eax, byte [esi]
    inc esi
    mov ecx, [edi]
    sub edi, 4
    test ecx, ecx
    jnz dispatch
    add esi, eax
    jmp dispatch
op_equal:
    mov eax, [edi]
    sub edi, 4
    xor ecx, ecx
    cmp [edi], eax
    sete cl
    mov [edi], ecx
    jmp dispatch
op_dup:
    mov eax, [edi]
    add edi, 4
    mov [edi], eax
    jmp dispatch
op_increment:
    movzx eax, byte [esi]
    inc esi
    inc dword [variables + eax*4]
    jmp dispatch

op_halt:
    cmp edi, stack                      ; what is pushed is popped
    jne exit_failed
    mov eax, [variables + HASH*4]
    mov edx, ebx
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

.section bss
variables:
    .space 32
stack:
    .space 1024
