; multiboot2-info: a kernel that is started by multiboot 2 and says what it was given, a line a tag.

MULTIBOOT_2_MAGIC = 0xE85250D6
HEADER_BYTES = header_end - header
TAG_END = 0
TAG_COMMAND_LINE = 1
TAG_LOADER_NAME = 2
TAG_MODULE = 3
TAG_BASIC_MEMORY = 4
TAG_MEMORY_MAP = 6
TAG_ELF_SECTIONS = 9

.align 8
header:
    .long MULTIBOOT_2_MAGIC, 0, HEADER_BYTES, 0x100000000 - MULTIBOOT_2_MAGIC - HEADER_BYTES
    .word 1, 0                          ; information request
    .long 24
    .long TAG_COMMAND_LINE, TAG_MODULE, TAG_BASIC_MEMORY, TAG_MEMORY_MAP
    .word 6, 0                          ; modules on pages
    .long 8
    .word 0, 0
    .long 8
header_end:

.include "kernel.asm"

guest_name:
    .byte "multiboot2-info", 0

main:                                   ; eax = magic, ebx = information
    push esi
    push edi
    mov esi, ebx
    push eax
    print "magic "
    pop eax
    call put_hex
    call put_newline
    lea edi, [esi + 8]
.tag:
    mov eax, [edi]
    cmp eax, TAG_END
    je .done
    cmp eax, TAG_COMMAND_LINE
    je .command_line
    cmp eax, TAG_LOADER_NAME
    je .loader_name
    cmp eax, TAG_MODULE
    je .module
    cmp eax, TAG_BASIC_MEMORY
    je .basic_memory
    cmp eax, TAG_MEMORY_MAP
    je .memory_map
    cmp eax, TAG_ELF_SECTIONS
    je .sections
.next:
    mov eax, [edi + 4]
    add eax, 7
    and eax, 0xFFFFFFF8
    add edi, eax
    jmp .tag
.done:
    lea eax, [edi + 8]                  ; the size covers all up to here
    sub eax, esi
    sub eax, [esi]
    jnz .wrong_size
    print "whole\n"
    pop edi
    pop esi
    ret
.wrong_size:
    mov eax, 1
    jmp exit

.command_line:
    print "command line "
    lea eax, [edi + 8]
    call put_string
    call put_newline
    jmp .next

.loader_name:
    print "loader "
    lea eax, [edi + 8]
    call put_string
    call put_newline
    jmp .next

.module:
    print "module "
    lea eax, [edi + 16]
    call put_string
    print " bytes "
    mov eax, [edi + 12]
    sub eax, [edi + 8]
    call put_hex
    print " sum "
    mov eax, [edi + 8]
    test eax, 0xFFF
    jnz .wrong_size
    mov edx, [edi + 12]
    call put_sum
    call put_newline
    jmp .next

.basic_memory:
    print "memory "
    mov eax, [edi + 8]
    call put_decimal
    mov eax, ' '
    call put_char
    mov eax, [edi + 12]
    call put_decimal
    call put_newline
    jmp .next

.memory_map:
    lea ebx, [edi + 16]
.entry:
    mov eax, [edi + 4]
    add eax, edi
    cmp ebx, eax
    jae .next
    print "range "
    mov eax, ebx
    call put_range
    mov eax, ' '
    call put_char
    mov eax, [ebx + 16]
    call put_decimal
    call put_newline
    add ebx, [edi + 8]
    jmp .entry

.sections:                              ; the last one has the names: in memory, and the first is empty
    print "sections "
    mov eax, [edi + 8]
    call put_decimal
    print " last "
    mov eax, [edi + 16]
    imul eax, [edi + 12]
    lea ebx, [edi + eax + 20]
    mov edx, [ebx]                      ; its own name
    add edx, [ebx + 12]
    mov eax, edx
    call put_string
    call put_newline
    jmp .next
