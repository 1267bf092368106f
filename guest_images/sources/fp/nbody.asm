; What the two nbody guests share: the Sun and its four largest planets (positions, velocities and masses in units of
; astronomical unit, year and Sun's mass / (4 pi^2), as in the Computer Language Benchmarks Game), the loops over pairs
; and bodies, the hash of the final state.
;
; A guest supplies attract (bodies at esi and edi, one time step), move (body at esi), and momentum_is_small (eax = 1 if
; the x component of the total momentum is below 1e-9, else 0).

default_n = 20000
BODY_BYTES = 56
VELOCITY = 24
MASS = 48

.include "platform.asm"
.include "fp.asm"

.align 8
time_step:
    .long 0x47AE147B, 0x3F847AE1          ; 0.01
small:
    .long 0xE826D695, 0x3E112E0B          ; 1e-9
start_of_bodies:
    .long 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000  ; the Sun: position
    .long 0xA7E0F8EA, 0xBF3967E9, 0xFE5089FB, 0xBF6AD4EC, 0x1F0B8A71, 0x3EF91933  ; velocity
    .long 0xC9BE45DE, 0x4043BD3C  ; mass
    .long 0x343CD92C, 0x40135DA0, 0xC01FDB7C, 0xBFF290AB, 0x6C25EBF0, 0xBFBA86F9  ; Jupiter: position
    .long 0x9B93CCBC, 0x3FE36706, 0xF57D949B, 0x40067EF2, 0x9A5A0715, 0xBF99D2D7  ; velocity
    .long 0xD9AB33D8, 0x3FA34C95  ; mass
    .long 0xC332CA67, 0x4020AFCD, 0x31DE01B0, 0x40107FCB, 0xE1EB467C, 0xBFD9D353  ; Saturn: position
    .long 0xB8877741, 0xBFF02C21, 0xBF1F8F13, 0x3FFD35E9, 0x5F1123B4, 0x3F813C48  ; velocity
    .long 0x0D07C637, 0x3F871D49  ; mass
    .long 0xCEA7D9CF, 0x4029C9EA, 0xD626667E, 0xC02E38E8, 0xBE257DA0, 0xBFCC9557  ; Uranus: position
    .long 0xA9911BEF, 0x3FF1531C, 0x3E54BBC5, 0x3FEBCC7F, 0xFAF23E7C, 0xBF862F6B  ; velocity
    .long 0x9CF41EB3, 0x3F5C3DD2  ; mass
    .long 0xA905572A, 0x402EC267, 0x33C8A220, 0xC039EB58, 0x93ABE540, 0x3FC6F1F3  ; Neptune: position
    .long 0x1659BC4A, 0x3FEF54B6, 0x31C4FBA3, 0x3FE307C6, 0x587665F6, 0xBFA1CB88  ; velocity
    .long 0x531799AC, 0x3F60A8F3  ; mass
BODIES_BYTES = 5 * BODY_BYTES

main:                                   ; [ebp-16] steps left, [ebp-20] steps
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    sub esp, 8
    mov [ebp - 16], eax
    mov [ebp - 20], eax
    call enable_fp
    mov esi, start_of_bodies
    mov edi, bodies
    mov ecx, BODIES_BYTES / 4
    rep movsd
    jmp .step_test
.step:
    mov esi, bodies
.first:
    lea edi, [esi + BODY_BYTES]
.second:
    call attract
    add edi, BODY_BYTES
    cmp edi, bodies + BODIES_BYTES
    jne .second
    add esi, BODY_BYTES
    cmp esi, bodies + BODIES_BYTES - BODY_BYTES
    jne .first
    mov esi, bodies
.move:
    call move
    add esi, BODY_BYTES
    cmp esi, bodies + BODIES_BYTES
    jne .move
    dec dword [ebp - 16]
.step_test:
    cmp dword [ebp - 16], 0
    jne .step
    call momentum_is_small
    test eax, eax
    jz exit_failed
    xor eax, eax
    mov esi, bodies
.hash:
    imul eax, eax, 31
    add eax, [esi]
    add esi, 4
    cmp esi, bodies + BODIES_BYTES
    jne .hash
    imul edx, [ebp - 20], 10
    add esp, 8
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

.section bss
.align 16
bodies:
    .space BODIES_BYTES
.section text
