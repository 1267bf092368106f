; pvh-info: a kernel that is started by its PVH note and says what it was given.

START_MAGIC = 0x336EC578
NOTE_ENTRY = 18                         ; XEN_ELFNOTE_PHYS32_ENTRY
INFO_MODULES = 12                       ; offsets in the start information
INFO_MODULE_LIST = 16
INFO_COMMAND_LINE = 24
INFO_MAP = 40
INFO_MAP_ENTRIES = 48

.align 4
elf_note:
    .long 4, 4, NOTE_ENTRY
    .byte "Xen", 0
    .long start
elf_note_end:

.include "kernel.asm"

guest_name:
    .byte "pvh-info", 0

main:                                   ; ebx = start information
    push esi
    push edi
    mov esi, ebx
    cmp dword [esi], START_MAGIC
    jne .wrong
    print "version "
    mov eax, [esi + 4]
    call put_decimal
    print "\ncommand line "
    mov eax, [esi + INFO_COMMAND_LINE]
    call put_string
    call put_newline
    mov edi, [esi + INFO_MODULE_LIST]
    mov ebx, [esi + INFO_MODULES]
.module:
    test ebx, ebx
    jz .modules_done
    print "module "
    mov eax, [edi + 16]
    test eax, eax
    jz .nameless
    call put_string
.nameless:
    print " bytes "
    mov eax, [edi + 8]
    call put_hex
    print " sum "
    mov eax, [edi]
    mov edx, [edi + 8]
    add edx, eax
    call put_sum
    call put_newline
    add edi, 32
    dec ebx
    jmp .module
.modules_done:
    mov edi, [esi + INFO_MAP]
    mov ebx, [esi + INFO_MAP_ENTRIES]
.entry:
    test ebx, ebx
    jz .done
    print "range "
    mov eax, edi
    call put_range
    mov eax, ' '
    call put_char
    mov eax, [edi + 16]
    call put_decimal
    call put_newline
    add edi, 24
    dec ebx
    jmp .entry
.done:
    pop edi
    pop esi
    ret
.wrong:
    mov eax, 1
    jmp exit
