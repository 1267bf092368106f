; forks: a process forks, its child writes to pages, executes something else and exits; the parent writes to pages: n times.
;
; What fork and exec make of page tables: each fork copies a page directory and the entries of 64 pages, for both without
; the right to write; each first write to one is a page fault that copies the page (in the child) or gives the right
; back (in the parent); exec takes all pages away, and those touched are given anew, zeroed. result: what the child has
; read, summed. ops = forks. Self-check: page faults, pages given, what the parent's pages hold in the end.

default_n = 4
PAGES = 64
CHILD_WRITES = 16
CHILD_STEP = PAGES / CHILD_WRITES
EXEC_TOUCHES = 16
PARENT_WRITES = 8
WINDOW = 0xC00000                       ; the image ends below
WINDOW_TABLE = WINDOW >> 22
PARENT_ENTRIES = page_tables + WINDOW_TABLE * 4096
MARK = 0x10001
PAGE_FAULT = 14
LEAVE_VECTOR = 0x81

.include "platform.asm"
.include "interrupts.asm"
.include "paging.asm"
.include "user_pages.asm"
.include "ring3.asm"

guest_name:
    .byte "forks", 0

main:                                   ; ebx = forks left, ebp = their number
    push ebx
    push esi
    push edi
    push ebp
    mov ebx, eax
    mov ebp, eax
    call interrupts_init
    mov eax, ring0_stack_top
    call tss_init
    mov eax, PAGE_FAULT
    mov edx, page_fault_entry
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov eax, LEAVE_VECTOR
    mov edx, leave_entry
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    call paging_init
    call share_with_ring_3
    call make_parent
    mov dword [faults], 0
    mov dword [sum], 0
    test ebx, ebx
    jz .over
.fork:
    call fork
    mov eax, child_directory
    mov cr3, eax
    mov eax, child
    call run_user
    mov edi, child_table                ; exec: nothing is left
    xor eax, eax
    mov ecx, PAGES
    rep stosd
    mov eax, child_directory
    mov cr3, eax
    mov eax, executed
    call run_user
    cmp dword [next_frame], pool + 4096 * (CHILD_WRITES + EXEC_TOUCHES)
    jne exit_failed
    mov eax, page_directory
    mov cr3, eax
    mov eax, parent
    call run_user
    dec ebx
    jnz .fork
.over:
    imul eax, ebp, CHILD_WRITES + EXEC_TOUCHES + PARENT_WRITES
    cmp eax, [faults]
    jne exit_failed
    xor ecx, ecx
    xor edx, edx                        ; page ecx holds ecx * MARK, those that the parent writes to n more
.check:
    mov eax, edx
    cmp ecx, PARENT_WRITES
    jae .unwritten
    add eax, ebp
.unwritten:
    mov esi, ecx
    shl esi, 12
    cmp eax, [parent_frames + esi]
    jne exit_failed
    add edx, MARK
    inc ecx
    cmp ecx, PAGES
    jne .check
    mov eax, [sum]
    mov edx, ebp
    pop ebp
    pop edi
    pop esi
    pop ebx
    ret

make_parent:
    mov edi, PARENT_ENTRIES
    mov eax, parent_frames + PTE_PRESENT + PTE_WRITABLE + PTE_USER
    mov edx, parent_frames
    xor esi, esi
    mov ecx, PAGES
.page:
    mov [edi], eax
    mov [edx], esi
    add edi, 4
    add eax, 4096
    add edx, 4096
    add esi, MARK
    dec ecx
    jnz .page
    mov eax, cr3
    mov cr3, eax
    ret

fork:                                   ; the child's space; neither may write to the window any more
    mov esi, page_directory
    mov edi, child_directory
    mov ecx, 1024
    rep movsd
    mov dword [child_directory + WINDOW_TABLE * 4], child_table + PTE_PRESENT + PTE_WRITABLE + PTE_USER
    xor ecx, ecx
.entry:
    mov eax, [PARENT_ENTRIES + ecx*4]
    and eax, 0xFFFFFFFD                 ; all but PTE_WRITABLE
    mov [PARENT_ENTRIES + ecx*4], eax
    mov [child_table + ecx*4], eax
    inc ecx
    cmp ecx, PAGES
    jne .entry
    mov dword [next_frame], pool
    mov eax, cr3                        ; the parent's TLB entries may still be written through
    mov cr3, eax
    ret

run_user:                               ; eax = where, in ring 3, until LEAVE_VECTOR
    push ebx
    push ebp
    mov [saved_stack], esp
    jmp enter_ring_3

leave_entry:
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov es, eax
    mov esp, [saved_stack]
    pop ebp
    pop ebx
    ret

page_fault_entry:                       ; in the window, from ring 3
    pushad
    mov ebx, cr2
    mov ebp, ebx
    sub ebx, WINDOW
    shr ebx, 12
    cmp ebx, PAGES
    jae exit_failed
    inc dword [faults]
    mov eax, cr3
    cmp eax, page_directory
    jne .in_child
    or dword [PARENT_ENTRIES + ebx*4], PTE_WRITABLE
    jmp .mapped
.in_child:
    mov esi, [child_table + ebx*4]
    mov edi, [next_frame]
    lea eax, [edi + PTE_PRESENT + PTE_WRITABLE + PTE_USER]
    mov [child_table + ebx*4], eax
    mov ecx, 1024
    test esi, PTE_PRESENT
    jz .fresh
    and esi, 0xFFFFF000
    rep movsd
    jmp .given
.fresh:
    xor eax, eax
    rep stosd
.given:
    mov [next_frame], edi
.mapped:
    invlpg [ebp]
    popad
    add esp, 4                          ; error code
    iretd

child:                                  ; writes to some pages, then reads all
    mov edi, WINDOW
    mov ecx, CHILD_WRITES
.write:
    add [edi], ebx
    add edi, 4096 * CHILD_STEP
    dec ecx
    jnz .write
    mov edi, WINDOW
    mov ecx, PAGES
    xor eax, eax
.read:
    add eax, [edi]
    add edi, 4096
    dec ecx
    jnz .read
    add [sum], eax
    int LEAVE_VECTOR

executed:                               ; touches pages that are new
    mov edi, WINDOW
    mov ecx, EXEC_TOUCHES
.touch:
    inc dword [edi]
    mov eax, [edi]
    add [sum], eax
    add edi, 4096
    dec ecx
    jnz .touch
    int LEAVE_VECTOR

parent:
    mov edi, WINDOW
    mov ecx, PARENT_WRITES
.write:
    inc dword [edi]
    add edi, 4096
    dec ecx
    jnz .write
    int LEAVE_VECTOR

.section bss
.align 4096
parent_frames:
    .space 4096 * PAGES
pool:
    .space 4096 * (CHILD_WRITES + EXEC_TOUCHES)
child_directory:
    .space 4096
child_table:
    .space 4096
next_frame:
    .space 4
faults:
    .space 4
sum:
    .space 4
saved_stack:
    .space 4
