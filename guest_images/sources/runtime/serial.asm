; COM1 by polling (16550 data sheet: registers are offsets from the base port).

COM1 = 0x3F8
UART_DATA = COM1                        ; RBR/THR, with DLAB set DLL
UART_IER = COM1 + 1                     ; with DLAB set DLM
UART_FCR = COM1 + 2
UART_LCR = COM1 + 3
UART_MCR = COM1 + 4
UART_LSR = COM1 + 5
LSR_THRE = 0x20                         ; transmitter holding register empty
LCR_DLAB = 0x80
LCR_8N1 = 0x03
FCR_ENABLE_AND_CLEAR = 0x07
MCR_DTR_RTS = 0x03

.macro outb port, value
    mov edx, \port
    mov al, \value
    out dx, al
.endm

serial_init:
    outb UART_IER, 0                    ; we poll
    outb UART_LCR, LCR_DLAB
    outb UART_DATA, 1                   ; divisor 1: 115200 baud
    outb UART_IER, 0
    outb UART_LCR, LCR_8N1
    outb UART_FCR, FCR_ENABLE_AND_CLEAR
    outb UART_MCR, MCR_DTR_RTS
    ret

put_char:                               ; al = character
    mov ecx, eax
    mov edx, UART_LSR
.wait:
    in al, dx
    test al, LSR_THRE
    jz .wait
    mov eax, ecx
    mov edx, UART_DATA
    out dx, al
    ret
