; nano-pgfault: touches a page that is not present, n times: #PF, the handler maps it, IRET, then it is unmapped again.
;
; Sixteen virtual pages take turns. result = faults counted by the handler, ops = n. Self-check: as many as touches,
; every fault address is the one touched, and the word read is the frame's.

default_n = 10000
WINDOW = 0xC00000                       ; virtual, unmapped at first; the image ends below
WINDOW_PAGES = 16
WINDOW_ENTRIES = page_tables + (WINDOW >> 12) * 4
PAGE_FAULT = 14
MARK = 0x5EED0001

.include "platform.asm"
.include "interrupts.asm"
.include "paging.asm"

guest_name:
    .byte "nano-pgfault", 0

main:                                   ; ebx = operations, esi = page within the window
    push ebx
    push esi
    push edi
    mov ebx, eax
    call paging_init
    mov edi, WINDOW_ENTRIES
    xor eax, eax
    mov ecx, WINDOW_PAGES
    rep stosd
    mov eax, cr3                        ; forget what the TLB may hold of the window
    mov cr3, eax
    call interrupts_init
    mov eax, PAGE_FAULT
    mov edx, page_fault_entry
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov dword [frame], MARK
    mov dword [faults], 0
    mov edi, ebx
    xor esi, esi
    jmp .test
.next:
    mov ecx, esi
    shl ecx, 12
    add ecx, WINDOW
    mov eax, [ecx]                      ; faults
    cmp eax, MARK
    jne exit_failed
    cmp ecx, [fault_address]
    jne exit_failed
    mov dword [WINDOW_ENTRIES + esi*4], 0
    invlpg [ecx]
    inc esi
    and esi, WINDOW_PAGES - 1
    dec edi
.test:
    test edi, edi
    jnz .next
    mov eax, [faults]
    cmp eax, ebx
    jne exit_failed
    mov edx, ebx
    pop edi
    pop esi
    pop ebx
    ret

page_fault_entry:
    push eax
    push ecx
    mov eax, cr2
    mov [fault_address], eax
    shr eax, 12
    mov ecx, frame + PTE_PRESENT + PTE_WRITABLE
    mov [page_tables + eax*4], ecx
    inc dword [faults]
    pop ecx
    pop eax
    add esp, 4                          ; error code
    iretd

.section bss
.align 4096
frame:
    .space 4096
faults:
    .space 4
fault_address:
    .space 4
