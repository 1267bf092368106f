; The way from a boot loader to 64-bit mode: multiboot header, page tables of 2 MiB pages, EFER, far jump.
;
; A guest supplies `long_main`, 64-bit code that is entered with a stack and interrupts off, and gets `exit` (eax =
; status). Runtime routines take arguments in rax, rdx, rcx and may change these three; all others are preserved.

MULTIBOOT_MAGIC = 0x1BADB002
MULTIBOOT_FLAGS = 2                     ; bit 1: we want memory information
DEBUG_EXIT_PORT = 0xF4                  ; isa-debug-exit: the VMM exits with status * 2 + 1
STACK_BYTES = 0x4000
IA32_EFER = 0xC0000080
EFER_LME = 0x100
CR4_PAE = 0x20
CR0_PG_WP = 0x80010000
CPUID_LM = 0x20000000                   ; 80000001h EDX
PAGE_BITS = 3                           ; present, writable
LARGE_PAGE_BITS = 0x83
CODE_64 = 8
DATA_64 = 16

.section text
.align 4
multiboot_header:
    .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

start:
    cli
    cld
    mov esp, stack_top
    mov [multiboot_information], ebx
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    test edx, CPUID_LM
    jz no_long_mode
    mov dword [top_table], pointer_table + PAGE_BITS
    mov dword [pointer_table], directory + PAGE_BITS
    mov edi, directory
    mov eax, LARGE_PAGE_BITS
.entry:
    mov [edi], eax
    add edi, 8
    add eax, 0x200000
    cmp edi, directory + 4096
    jne .entry
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, top_table
    mov cr3, eax
    mov ecx, IA32_EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    mov eax, cr0
    or eax, CR0_PG_WP
    mov cr0, eax
    lgdt [long_gdt_register]
    jmp CODE_64:enter_64

no_long_mode:
    mov edx, 0x3F8
    mov al, '?'
    out dx, al
    mov al, 2
    mov edx, DEBUG_EXIT_PORT
    out dx, al
.halt:
    hlt
    jmp .halt

.bits 64
enter_64:
    mov eax, DATA_64
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov esp, stack_top
    call serial_init
    call long_main
    xor eax, eax
exit:                                   ; eax = status for the debug-exit port
    mov edx, DEBUG_EXIT_PORT
    out dx, al
.halt:                                  ; only reached on a machine without the port
    cli
    hlt
    jmp .halt

.align 8
long_gdt:
    .long 0, 0
    .long 0x0000FFFF, 0x00AF9B00        ; 64-bit code
    .long 0x0000FFFF, 0x00CF9300        ; data
long_gdt_end:
long_gdt_register:
    .word long_gdt_end - long_gdt - 1
    .long long_gdt, 0

.section bss
.align 4096
top_table:
    .space 4096
pointer_table:
    .space 4096
directory:
    .space 4096
multiboot_information:
    .space 16
    .space STACK_BYTES
stack_top:
.section text

.include "print64.asm"
