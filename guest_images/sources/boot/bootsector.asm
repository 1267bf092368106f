; bootsector: a boot sector that goes from real mode to protected mode and back, and into big real mode; needs no BIOS.
;
; Loaded at 0000:7C00 by firmware or by `bt run --boot-sector`. Prints a line on COM1 from each mode and leaves through
; the debug-exit port with 0.

COM1 = 0x3F8
LCR = COM1 + 3                          ; line control: after reset characters have five bits
LCR_8N1 = 0x03
LSR = COM1 + 5
LSR_THRE = 0x20
DEBUG_EXIT_PORT = 0xF4
SYSTEM_CONTROL_PORT_A = 0x92
A20 = 2
CODE_32 = 0x08                          ; selectors
DATA_32 = 0x10
CODE_16 = 0x18
DATA_16 = 0x20
CR0_PE = 1
VECTOR = 0x60                           ; free for programs
HIGH_ADDRESS = 0x200000                 ; beyond what 16-bit offsets and paragraphs reach

start:
    jmp 0:normalized                    ; some firmware starts us at 07C0:0000
normalized:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, start
    in al, SYSTEM_CONTROL_PORT_A
    or al, A20
    out SYSTEM_CONTROL_PORT_A, al
    mov dx, LCR
    mov al, LCR_8N1
    out dx, al
    mov word [VECTOR * 4], handler      ; the interrupt vector table, by its own means
    mov word [VECTOR * 4 + 2], 0
    mov si, real_text
    int VECTOR

    lgdt [gdt_register]
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    jmp CODE_32:protected

handler:                                ; si = text
    call print_16
    iret

print_16:                               ; si = zero-terminated text
    lodsb
    test al, al
    jz .done
    mov ah, al
    mov dx, LSR
.wait:
    in al, dx
    test al, LSR_THRE
    jz .wait
    mov al, ah
    mov dx, COM1
    out dx, al
    jmp print_16
.done:
    ret

.bits 32
protected:
    mov eax, DATA_32
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, start
    mov esi, protected_text
    mov dword [HIGH_ADDRESS], 0x12345678
.next:
    lodsb
    test al, al
    jz .done
    mov ah, al
    mov edx, LSR
.wait:
    in al, dx
    test al, LSR_THRE
    jz .wait
    mov al, ah
    mov edx, COM1
    out dx, al
    jmp .next
.done:
    jmp CODE_16:leave_protected

.bits 16
leave_protected:                        ; the order of SDM vol. 3A 10.9.2
    mov ax, DATA_16
    mov ss, ax
    mov ds, ax
    mov fs, ax
    mov gs, ax
    mov ax, DATA_32                     ; ES keeps its 4 GiB: big real mode
    mov es, ax
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    jmp 0:real_again
real_again:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, start
    mov si, real_again_text
    int VECTOR
    mov ebx, HIGH_ADDRESS
    mov si, failed_text
    mov eax, es:[ebx]
    cmp eax, 0x12345678
    jne .told
    mov si, big_real_text
.told:
    pushf
    int VECTOR
    popf
    setnz al                            ; status 0 if ES reached
    mov dx, DEBUG_EXIT_PORT
    out dx, al
.halt:
    cli
    hlt
    jmp .halt

real_text:
    .byte "bootsector\nreal mode: int 0x60 through the vector table\n", 0
protected_text:
    .byte "protected mode, 32 bits\n", 0
real_again_text:
    .byte "real mode again\n", 0
big_real_text:
    .byte "big real mode: es reaches 2 MiB\n", 0
failed_text:
    .byte "big real mode: es does not reach\n", 0

.align 8
gdt:
    .long 0, 0
    .long 0x0000FFFF, 0x00CF9A00        ; 0x08: code, 32 bits, 4 GiB
    .long 0x0000FFFF, 0x00CF9200        ; 0x10: data, 4 GiB
    .long 0x0000FFFF, 0x00009A00        ; 0x18: code, 16 bits, 64 KiB
    .long 0x0000FFFF, 0x00009200        ; 0x20: data, 64 KiB
gdt_end:
gdt_register:
    .word gdt_end - gdt - 1
    .long gdt

    .space 510 - (gdt_register + 6 - start)
    .byte 0x55, 0xAA
