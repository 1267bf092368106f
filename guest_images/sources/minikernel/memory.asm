; Page frames and address spaces. The kernel's 16 MiB are mapped to themselves in every address space, supervisor only;
; of the user part (heap and stack) pages appear when they are first touched.

FRAMES_START = 0x800000
FRAMES_END = 0x1000000
USER_SPACE = 0x40000000                 ; from here up an address space is the process's own
HEAP = 0x50000000
HEAP_PAGES = 64
HEAP_END = HEAP + HEAP_PAGES * 4096
STACK_TOP = 0x70000000
STACK_LIMIT = STACK_TOP - 0x10000
DIRECTORY_ENTRIES = 1024
USER_ENTRY = PTE_PRESENT + PTE_WRITABLE + PTE_USER
ERROR_PRESENT = 1                       ; page fault error code: the page was there, its protection forbade the access
FRAME_MASK = 0xFFFFF000

.section bss
free_list:                              ; first free frame; each links to the next in its first word
    .space 4
free_frames:
    .space 4
.section text

memory_init:
    mov dword [free_list], 0
    mov dword [free_frames], 0
    push ebx
    mov ebx, FRAMES_END - 4096
.free:
    mov eax, ebx
    call free_frame
    sub ebx, 4096
    cmp ebx, FRAMES_START
    jae .free
    call paging_init
    mov dword [page_tables], 0          ; null pointers fault
    invlpg [0]
    mov eax, user_text                  ; user programs are linked among us: let ring 3 read their pages
.page:
    mov ecx, eax
    shr ecx, 12
    and dword [page_tables + ecx*4], ~PTE_WRITABLE
    or dword [page_tables + ecx*4], PTE_USER
    invlpg [eax]
    add eax, 4096
    cmp eax, user_text_end
    jb .page
    mov eax, cr0
    or eax, CR0_WP
    mov cr0, eax
    pop ebx
    ret

free_frame:                             ; eax = frame
    mov ecx, [free_list]
    mov [eax], ecx
    mov [free_list], eax
    inc dword [free_frames]
    ret

allocate_frame:                         ; -> eax = a frame of zeros
    push edi
    mov edi, [free_list]
    test edi, edi
    jz exit_failed
    mov eax, [edi]
    mov [free_list], eax
    dec dword [free_frames]
    push edi
    xor eax, eax
    mov ecx, 1024
    rep stosd
    pop eax
    pop edi
    ret

create_address_space:                   ; -> eax = page directory with the kernel's part
    push esi
    push edi
    call allocate_frame
    mov edi, eax
    mov esi, page_directory
    mov ecx, IDENTITY_TABLES
    rep movsd
    pop edi
    pop esi
    ret

map_fresh_page:                         ; eax = linear address: a frame of zeros there, in the current address space
    push ebx
    push esi
    mov ebx, eax
    mov esi, cr3
    shr eax, 22
    lea esi, [esi + eax*4]              ; esi = directory entry
    mov eax, [esi]
    test eax, PTE_PRESENT
    jnz .table
    call allocate_frame
    or eax, USER_ENTRY
    mov [esi], eax
.table:
    and eax, FRAME_MASK
    mov ecx, ebx
    shr ecx, 12
    and ecx, 1023
    lea esi, [eax + ecx*4]              ; esi = table entry
    call allocate_frame
    or eax, USER_ENTRY
    mov [esi], eax
    pop esi
    pop ebx
    ret

free_user_pages:                        ; of the current address space, with its page tables
    push ebx
    push esi
    push edi
    mov esi, cr3
    mov ebx, USER_SPACE >> 22
.table:
    mov edi, [esi + ebx*4]
    test edi, PTE_PRESENT
    jz .next_table
    and edi, FRAME_MASK
    mov dword [esi + ebx*4], 0
    push edi
    push ebx
    xor ebx, ebx
.page:
    mov eax, [edi + ebx*4]
    test eax, PTE_PRESENT
    jz .next_page
    and eax, FRAME_MASK
    call free_frame
.next_page:
    inc ebx
    cmp ebx, 1024
    jne .page
    pop ebx
    pop eax
    call free_frame
.next_table:
    inc ebx
    cmp ebx, DIRECTORY_ENTRIES
    jne .table
    mov eax, cr3                        ; the TLB still knows the pages
    mov cr3, eax
    pop edi
    pop esi
    pop ebx
    ret

serve_page_fault:                       ; eax = linear address, edx = error code -> eax = 1 if the page is there now
    test edx, ERROR_PRESENT
    jnz .refuse
    cmp eax, HEAP
    jb .refuse
    cmp eax, HEAP_END
    jb .serve
    cmp eax, STACK_LIMIT
    jb .refuse
    cmp eax, STACK_TOP
    jae .refuse
.serve:
    call map_fresh_page
    mov eax, [current]
    inc dword [eax + P_FAULTS]
    inc dword [faults_served]
    mov eax, 1
    ret
.refuse:
    xor eax, eax
    ret

user_may_read:                          ; eax = address, edx = bytes -> eax = 1 if the process has the right to
    cmp eax, user_text
    jb user_may_write
    lea ecx, [eax + edx]
    cmp ecx, user_text_end
    ja user_may_write
    cmp edx, user_text_end - user_text
    ja user_may_write
    mov eax, 1
    ret

user_may_write:                         ; the same for writing
    cmp edx, HEAP_PAGES * 4096
    ja .no
    lea ecx, [eax + edx]
    cmp eax, HEAP
    jb .no
    cmp ecx, HEAP_END
    jbe .yes
    cmp eax, STACK_LIMIT
    jb .no
    cmp ecx, STACK_TOP
    ja .no
.yes:
    mov eax, 1
    ret
.no:
    xor eax, eax
    ret
