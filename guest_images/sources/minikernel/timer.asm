; Time: 8254 channel 0 through IRQ 0 of the 8259 pair (data sheets 231164 and 231468).

PIT_HZ = 1193182
PIT_CHANNEL_0 = 0x40
PIT_CONTROL = 0x43
PIT_RATE_GENERATOR = 0x34               ; channel 0, low then high byte, mode 2
PIC_MASTER = 0x20
PIC_SLAVE = 0xA0
ICW1_CASCADE_ICW4 = 0x11
ICW3_MASTER = 4                         ; the slave is on line 2
ICW3_SLAVE = 2
ICW4_8086 = 1
OCW2_EOI = 0x20
MASK_ALL_BUT_TIMER = 0xFE

.section bss
ticks:
    .space 4
.section text

.macro out_byte port, value
    mov al, \value
    out \port, al
.endm

timer_init:                             ; eax = rate in Hz
    mov ecx, eax
    mov eax, PIT_HZ
    xor edx, edx
    test ecx, ecx
    jz exit_failed
    div ecx
    mov ecx, eax
    out_byte PIC_MASTER, ICW1_CASCADE_ICW4
    out_byte PIC_SLAVE, ICW1_CASCADE_ICW4
    out_byte PIC_MASTER + 1, TIMER_VECTOR
    out_byte PIC_SLAVE + 1, TIMER_VECTOR + 8
    out_byte PIC_MASTER + 1, ICW3_MASTER
    out_byte PIC_SLAVE + 1, ICW3_SLAVE
    out_byte PIC_MASTER + 1, ICW4_8086
    out_byte PIC_SLAVE + 1, ICW4_8086
    out_byte PIC_MASTER + 1, MASK_ALL_BUT_TIMER
    out_byte PIC_SLAVE + 1, 0xFF
    out_byte PIT_CONTROL, PIT_RATE_GENERATOR
    mov eax, ecx
    out PIT_CHANNEL_0, al
    mov al, ah
    out PIT_CHANNEL_0, al
    ret

timer_interrupt:                        ; ebx = frame
    inc dword [ticks]
    out_byte PIC_MASTER, OCW2_EOI
    mov eax, processes + PROCESS_BYTES
    mov edx, [ticks]
.next:
    cmp dword [eax + P_STATE], STATE_SLEEPING
    jne .awake
    cmp edx, [eax + P_WAKE_TICK]
    js .awake                           ; its tick is still to come
    mov dword [eax + P_STATE], STATE_READY
.awake:
    add eax, PROCESS_BYTES
    cmp eax, processes_end
    jne .next
    test byte [ebx + FRAME_CS], 3
    jz .idle                            ; process 0 looks for work itself
    mov eax, [current]
    inc dword [eax + P_PREEMPTIONS]
    jmp schedule
.idle:
    ret
