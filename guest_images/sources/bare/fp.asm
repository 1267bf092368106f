; enable_fp: have the bare processor execute x87 and SSE instructions (SDM vol. 3A 9.2, 9.6).

CR0_MP = 0x02
CR0_EM = 0x04
CR4_FP = 0x600                          ; OSFXSR, OSXMMEXCPT

enable_fp:
    mov eax, cr0
    and eax, 0xFFFFFFFB                 ; all but EM
    or eax, CR0_MP
    mov cr0, eax
    mov eax, cr4
    or eax, CR4_FP
    mov cr4, eax
    fninit
    ret
