; paging-matrix: every permission combination x access x ring x CR0.WP, with 4 KiB and large pages, 32-bit and PAE.
;
; A line is a format, WP and the directory entry's P (p), W (w), U (u); a group in it stands for a table entry's (large
; pages have none), with six characters: read, write and execute at ring 0, then at ring 3. A dot is success, a digit the
; error code of the page fault. After each probe the accessed and dirty bits must be as the manual says, and CR2: "a"
; and "c" say that they were not. Each outcome is compared with a model of SDM vol. 3A 4.6 to 4.8: "?" differs.
; Then pages that are global or not across a load of CR3; with reserved=on reserved bits too, whose error code QEMU's
; emulator gives without the P bit (SDM vol. 3A 4.7: RSVD comes with P). With nx=on, where the processor has it, execute
; disable: lines with it in the table entry (l), the directory entry (d) or neither; error codes are digits of base 32.
; result = hash of the transcript, ops = probes; any difference fails the guest.

default_n = 1

.include "platform.asm"
.include "interrupts.asm"
.include "probe.asm"

CR0_WP = 0x10000
CR0_PG = 0x80000000
CR4_PSE = 0x10
CR4_PAE = 0x20
CR4_PGE = 0x80
P = 1
W = 2
U = 4
A = 0x20
D = 0x40
PS = 0x80
G = 0x100
ERROR_RESERVED = 8
LINEAR = 0x04000000                     ; directory entry 16, or 32 of the first PAE directory; table entry 0
LARGE_FRAME = 0x00800000                ; 8 MiB: RAM that nobody uses
ERROR_FETCH = 16
EFER = 0xC0000080
EFER_NXE = 0x800
IN_LEAF = 1                             ; where execute disable is set
IN_DIRECTORY = 2
READ = 0
WRITE = 1
EXECUTE = 2

guest_name:
    .byte "paging-matrix", 0
reserved_option:
    .byte "reserved=on", 0
nx_option:
    .byte "nx=on", 0
digits:
    .byte "0123456789abcdefghijklmnopqrstuv"

.section bss
.align 4096
directory:                              ; 32-bit: the first 16 MiB in large pages
    .space 4096
pae_directory:
    .space 4096
table_page:                             ; what the directory entry of LINEAR points to
    .space 4096
frame:
    .space 4096
other_frame:
    .space 4096
.align 32
pointers:
    .space 32
.align 4
wide:                                   ; 1: entries of 8 bytes
    .space 4
large:
    .space 4
upper:                                  ; P W U of the directory entry
    .space 4
lower:
    .space 4
leaf:                                   ; address of the entry that maps LINEAR
    .space 4
parent:
    .space 4
write_protect:
    .space 4
ring:
    .space 4
access:
    .space 4
extra:                                  ; reserved bits to set: low and high dword of the leaf
    .space 8
nx_enabled:                             ; EFER.NXE
    .space 4
no_execute:                             ; IN_LEAF, IN_DIRECTORY
    .space 4
failures:
    .space 4
reserved_too:
    .space 4
.section text

main:
    pushad
    call probes_init
    mov eax, reserved_option
    call find_option
    mov [reserved_too], eax
    mov byte [frame], 0xCD              ; int LEAVE_GATE
    mov byte [frame + 1], LEAVE_GATE
    mov byte [LARGE_FRAME], 0xCD
    mov byte [LARGE_FRAME + 1], LEAVE_GATE
    call map_everything
    mov eax, cr4
    or eax, CR4_PSE
    mov cr4, eax
    mov eax, directory
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    call both_sizes
    call global_pages
    mov eax, cr0                        ; PAE can only change without paging when the tables differ
    and eax, 0x7FFFFFFF
    mov cr0, eax
    mov eax, pointers
    mov cr3, eax
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    mov dword [wide], 1
    call both_sizes
    call global_pages
    mov eax, nx_option
    call find_option
    test eax, eax
    jz .no_nx
    call execute_disable
.no_nx:
    cmp dword [failures], 0
    jne exit_failed
    mov eax, [hash]
    mov edx, [probe_count]
    mov [esp + 28], eax
    mov [esp + 20], edx
    popad
    ret

map_everything:                         ; 16 MiB to themselves, for all rings
    mov edi, directory
    mov eax, P + W + U + PS
.large:
    stosd
    add eax, 0x400000
    cmp eax, 0x1000000
    jb .large
    mov edi, pae_directory
    mov eax, P + W + U + PS
.wide:
    stosd
    mov dword [edi], 0
    add edi, 4
    add eax, 0x200000
    cmp eax, 0x1000000
    jb .wide
    mov dword [pointers], pae_directory + P
    ret

both_sizes:
    mov dword [large], 0
    call both_protections
    mov dword [large], 1
    call both_protections
    jmp reserved_bits

both_protections:
    mov eax, cr0
    and eax, 0xFFFEFFFF
    mov cr0, eax
    mov dword [write_protect], 0
    call all_entries
    mov eax, cr0
    or eax, CR0_WP
    mov cr0, eax
    mov dword [write_protect], 1
all_entries:
    mov dword [upper], 0
.upper:
    call line_head
    mov dword [lower], 0
.lower:
    mov al, ' '
    call say
    call all_accesses
    inc dword [lower]
    cmp dword [large], 0
    jne .line_done
    cmp dword [lower], 8
    jne .lower
.line_done:
    mov al, 10
    call say
    inc dword [upper]
    cmp dword [upper], 8
    jne .upper
    ret

line_head:
    cmp dword [no_execute], 0
    je .wide
    mov al, 'l'
    test dword [no_execute], IN_LEAF
    call .flag
    mov al, 'd'
    test dword [no_execute], IN_DIRECTORY
    call .flag
    mov al, ' '
    call say
.wide:
    cmp dword [wide], 0
    je .format
    tell "pae "
.format:
    cmp dword [large], 0
    je .small
    tell "large "
.small:
    mov eax, [write_protect]
    lea eax, [.protection + eax*4]
    call say_text
    mov al, 'p'
    test dword [upper], P
    call .flag
    mov al, 'w'
    test dword [upper], W
    call .flag
    mov al, 'u'
    test dword [upper], U
.flag:
    jnz say
    mov al, '-'
    jmp say
.protection:
    .byte "   ", 0, "wp ", 0

all_accesses:
    mov dword [ring], 0
.ring:
    mov dword [access], READ
.access:
    call one_access
    inc dword [access]
    cmp dword [access], 3
    jne .access
    add dword [ring], 3
    cmp dword [ring], 3
    je .ring
    ret

set_entries:                            ; the directory entry and, unless it maps a large page, the table entry
    mov ecx, [wide]
    mov edi, LINEAR >> 22
    lea edi, [directory + edi*4]
    jecxz .narrow
    mov edi, pae_directory + (LINEAR >> 21) * 8
.narrow:
    mov [parent], edi
    mov eax, [upper]
    cmp dword [large], 0
    jne .large
    or eax, table_page
    mov [edi], eax
    jecxz .table
    mov eax, [no_execute]
    and eax, IN_DIRECTORY
    shl eax, 30
    mov [edi + 4], eax
.table:
    mov edi, table_page
    mov eax, [lower]
    or eax, frame
    jmp .leaf
.large:
    or eax, LARGE_FRAME + PS
.leaf:
    or eax, [extra]
    mov [edi], eax
    mov [leaf], edi
    jecxz .done
    mov eax, [no_execute]
    shl eax, 31
    or eax, [extra + 4]
    mov [edi + 4], eax
.done:
    invlpg [LINEAR]
    ret

one_access:                             ; says what the access does with the entries as they are to be
    call set_entries
    mov ecx, [access]
    mov eax, [codes + ecx*4]
    mov ecx, [ring]
    mov edi, LINEAR
    cmp dword [access], EXECUTE
    je .execute
    add edi, 0x100
.execute:
    xor eax, eax
    mov cr2, eax
    mov ecx, [access]
    mov eax, [codes + ecx*4]
    mov ecx, [ring]
    call probe
    cmp eax, NO_FAULT
    je .success
    cmp eax, 14
    jne .wrong
    mov eax, cr2
    cmp eax, edi
    je .address_right
    mov al, 'c'
    call wrong
.address_right:
    mov edx, [found_error]
    mov al, [digits + edx]
    jmp .said
.success:
    mov edx, -1
    mov al, '.'
.said:
    push edx
    call say
    pop edx
    call expected                       ; ecx = error code or -1
    cmp ecx, edx
    jne .wrong
    jmp check_bits
.wrong:
    mov al, '?'
wrong:
    inc dword [failures]
    jmp say

expected:                               ; ecx = what the access should do; edx stays
    push ebx
    mov ebx, [upper]
    cmp dword [large], 0
    jne .rights
    and ebx, [lower]
.rights:                                ; ebx = rights of all levels
    xor ecx, ecx
    cmp dword [access], WRITE
    jne .no_write
    or ecx, W
.no_write:
    cmp dword [ring], 0
    je .no_user
    or ecx, U
.no_user:
    mov eax, [extra]
    or eax, [extra + 4]
    jnz .reserved
    cmp dword [nx_enabled], 0
    jne .fetch
    cmp dword [no_execute], 0
    jne .reserved
.fetch:
    cmp dword [access], EXECUTE
    jne .present
    cmp dword [nx_enabled], 0
    je .present
    or ecx, ERROR_FETCH
.present:
    test ebx, P
    jz .done
    or ecx, P
    test ecx, U
    jz .supervisor
    test ebx, U
    jz .done
    jmp .writable
.supervisor:
    cmp dword [write_protect], 0
    je .allowed
.writable:
    test ecx, W
    jz .allowed
    test ebx, W
    jz .done
.allowed:
    test ecx, ERROR_FETCH
    jz .success
    cmp dword [no_execute], 0
    jne .done
.success:
    mov ecx, -1
.done:
    pop ebx
    ret
.reserved:
    test ebx, P
    jz .done
    or ecx, P + ERROR_RESERVED
    jmp .done

check_bits:                             ; edx = outcome: A and D as they should be?
    mov ebx, [leaf]
    mov eax, [ebx]
    and eax, A + D
    xor ecx, ecx
    cmp edx, -1
    jne .compare
    or ecx, A
    cmp dword [access], WRITE
    jne .compare
    or ecx, D
.compare:
    cmp eax, ecx
    jne .bad
    cmp edx, -1                         ; a walk that fails may mark the directory entry or not
    jne .good
    mov ebx, [parent]
    test dword [ebx], A
    jnz .good
.bad:
    mov al, 'a'
    jmp wrong
.good:
    ret

codes:
    .long do_read, do_write, do_execute
do_read:
    mov eax, [edi]
    int LEAVE_GATE
do_write:
    mov [edi], eax
    int LEAVE_GATE
do_execute:
    jmp edi

reserved_bits:
    cmp dword [reserved_too], 0
    je .none
    mov dword [upper], P + W + U
    mov dword [lower], P + W + U
    cmp dword [wide], 0
    jne .wide
    mov dword [extra], 1 << 21          ; of a 4 MiB page
    call reserved_line
    jmp .none
.wide:
    mov dword [extra], 1 << 13          ; of a 2 MiB page
    call reserved_line
    mov dword [extra], 0
    mov dword [extra + 4], 1 << 30      ; bit 62 of any entry
    call reserved_line
    mov dword [large], 0
    call reserved_line
.none:
    mov dword [extra], 0
    mov dword [extra + 4], 0
    ret
reserved_line:
    tell "reserved "
    call line_head
    mov al, ' '
    call say
    call all_accesses
    mov al, 10
    jmp say

.include "paging-extras.asm"
