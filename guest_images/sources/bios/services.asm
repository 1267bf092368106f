; services: a boot disk that asks the BIOS for everything a boot loader asks it for, and says what it got.
;
; The first sector reads the rest by cylinder, head and sector. Text goes to the screen (INT 10h) and to the first
; serial port (INT 14h). Works from a floppy disk and from a hard disk.

SECTOR = 512
SECTORS = 6                             ; of this program
BY_CHS = 40                             ; the sectors with a text, as the builder of the disk puts them
BY_LBA = 100
BUFFER = 0x9000

start:
    jmp 0:normalized
normalized:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, start
    sti
    mov [drive], dl
    mov ax, 0x0003                      ; mode 3, which also clears the screen
    int 0x10
    mov ax, 0x00E3                      ; 9600 baud, 8N1
    xor dx, dx
    int 0x14
    mov ah, 0                           ; a floppy drive may need the reset
    mov dl, [drive]
    int 0x13
    mov ax, 0x0200 + SECTORS - 1
    mov cx, 2                           ; cylinder 0, sector 2
    mov dh, 0
    mov dl, [drive]
    mov bx, start + SECTOR
    int 0x13
    jc failed
    jmp program
failed:
    mov si, failed_text
    call print
stop:
    cli
    hlt
    jmp stop

print:                                  ; si = zero-terminated text
    lodsb
    test al, al
    jz .done
    call put
    jmp print
.done:
    ret

put:                                    ; al = character
    pusha
    push ax
    mov ah, 0x0E
    mov bx, 0x0007
    int 0x10
    pop ax
    mov ah, 1
    xor dx, dx
    int 0x14
    popa
    ret

failed_text:
    .byte "read error", 13, 10, 0
drive:
    .byte 0
    .space 510 - (drive + 1 - start)
    .byte 0x55, 0xAA

program:
    mov si, hello_text
    call print
    mov al, [drive]
    call hex_byte
    call line

    mov si, memory_text
    call print
    int 0x12
    call hex_word
    call line

    xor ebx, ebx                        ; the map of memory
.next_range:
    mov eax, 0xE820
    mov edx, 0x534D4150
    mov ecx, 20
    mov di, BUFFER
    push bx
    int 0x15
    pop ax
    jc .ranges_done
    cmp eax, 0x534D4150
    mov si, range_text
    call print
    mov eax, [BUFFER]
    call hex_long
    mov al, 0x20
    call put
    mov eax, [BUFFER + 8]
    call hex_long
    mov al, 0x20
    call put
    mov al, [BUFFER + 16]
    call hex_byte
    call line
    test ebx, ebx
    jnz .next_range
.ranges_done:

    mov ah, 8                           ; the drive's geometry
    mov dl, [drive]
    xor di, di
    int 0x13
    push ds
    pop es
    jc failed
    and cx, 0x3F
    mov [sectors], cx
    mov al, dh
    mov ah, 0
    inc ax
    mov [heads], ax
    mov si, geometry_text
    call print
    mov ax, [heads]
    call hex_word
    mov al, 0x20
    call put
    mov ax, [sectors]
    call hex_word
    call line

    mov ax, BY_CHS                      ; a sector by cylinder, head and sector
    xor dx, dx
    div word [sectors]
    mov cl, dl
    inc cl
    xor dx, dx
    div word [heads]
    mov ch, al
    mov dh, dl
    mov dl, [drive]
    mov ax, 0x0201
    mov bx, BUFFER
    int 0x13
    jc failed
    mov si, BUFFER
    call print

    mov ah, 0x41                        ; the extensions, by number of sector
    mov bx, 0x55AA
    mov dl, [drive]
    int 0x13
    mov si, no_extensions_text
    jc .say
    cmp bx, 0xAA55
    jne .say
    mov byte [BUFFER], 0
    mov ah, 0x42
    mov dl, [drive]
    mov si, packet
    int 0x13
    jc failed
    mov si, BUFFER
.say:
    call print

    mov ah, 0                           ; the clock ticks
    int 0x1A
    mov bx, dx
.tick:
    mov ah, 0
    int 0x1A
    cmp dx, bx
    je .tick
    mov si, ticks_text
    call print

    mov si, keys_text                   ; the keyboard
    call print
.key:
    mov ah, 0
    int 0x16
    cmp al, 13
    je .typed
    call put
    jmp .key
.typed:
    call line
    mov si, done_text
    call print
    jmp stop

line:
    push ax
    mov al, 13
    call put
    mov al, 10
    call put
    pop ax
    ret

hex_long:                               ; eax
    push eax
    shr eax, 16
    call hex_word
    pop eax
hex_word:                               ; ax
    push ax
    mov al, ah
    call hex_byte
    pop ax
hex_byte:                               ; al
    push ax
    shr al, 4
    call .digit
    pop ax
.digit:
    and al, 15
    add al, 0x30
    cmp al, 0x3A
    jb .put
    add al, 0x27
.put:
    jmp put

sectors:
    .word 0
heads:
    .word 0
packet:
    .byte 16, 0
    .word 1, BUFFER, 0
    .long BY_LBA, 0
hello_text:
    .byte "services of the BIOS, drive ", 0
memory_text:
    .byte "KiB of memory ", 0
range_text:
    .byte "range ", 0
geometry_text:
    .byte "heads, sectors ", 0
no_extensions_text:
    .byte "no extensions", 13, 10, 0
ticks_text:
    .byte "the clock ticks", 13, 10, 0
keys_text:
    .byte "type a line: ", 0
done_text:
    .byte "done", 13, 10, 0
