"""Real, virtual-8086 and 16-bit protected mode, a line each (lines.py).

REAL, VIRTUAL_8086 and PROTECTED are judged by QEMU as well (qemu_judge.py). *_LIMITS are what QEMU 7.2 does not check,
and it has no virtual-8086 mode extensions nor INT1: the SDM has them (vol. 3A 5.3, 6.15; vol. 3B 21.1.4, 21.2, 21.3;
vol. 2 under each instruction), recorded 80286 vectors (tests/vectors) and, under Bochs, the guests real-mode-matrix and
v86-matrix most kinds of them.
"""

from __future__ import annotations

REAL = """
    mov ax, [0xfffe]        | [2fffe]=3412                            => eax=1234
    mov al, [bx + si]       | ebx=ffff esi=3 [20002]=5a               => eax=5a
    mov al, [bp + di]       | ebp=ffff edi=3 [30002]=5a               => eax=5a
    mov al, [bp - 1]        | ebp=0 [3ffff]=5a                        => eax=5a
    mov al, [si - 1]        | esi=12340000 [2ffff]=5a                 => eax=5a
    mov al, [eax + ebx]     | eax=ffffffff ebx=101 [20100]=5a         => eax=ffffff5a
    mov eax, [esp]          | esp=7ff0 [37ff0]=78563412               => eax=12345678
    mov al, es:[0x10]       | [28010]=5a                              => eax=5a
    mov al, [bp]            | ebp=10 [30010]=5a                       => eax=5a
    .byte 0x3e, 0x8a, 0x46, 0 | ebp=10 [20010]=5a                       => eax=5a
    lea ax, [bx + si - 1]   | ebx=8000 esi=8000                       => eax=ffff
    lea eax, [bx + si - 1]  | ebx=8000 esi=8000 eax=1                 => eax=ffff
    lea ax, [ebx + 1]       | ebx=1ffff                               => eax=0
    xlatb                   | ebx=ffff eax=3 [20002]=5a               => eax=5a
    bt [0], ax              | eax=10 [20002]=01 eflags=2              => eflags=3
    bt [0x10], ax           | eax=fff0 [2000e]=01 eflags=2            => eflags=3
    mov ax, 0xffff          | eax=12345678                            => eax=1234ffff
    mov al, [0x10]          | ds=ffff a20=0 [0]=5a                    => eax=5a
    push ax                 | esp=0 eax=1234                          => esp=fffe [3fffe]=3412
    push ax                 | esp=12340000 eax=1234                   => esp=1234fffe [3fffe]=3412
    .byte 0x66, 0x68, 0x78, 0x56, 0x34, 0x12 | esp=8000                                => esp=7ffc [37ffc]=78563412
    push sp                 | esp=8000                                => esp=7ffe [37ffe]=0080
    push fs                 | esp=8000 fs=1234                        => esp=7ffe [37ffe]=3412
    .byte 0x66, 0x0f, 0xa0  | esp=8000 fs=1234                        => esp=7ffc [37ffc]=3412
    pop ax                  | esp=fffe [3fffe]=3412                   => esp=0 eax=1234
    pop word [bx]           | esp=8000 ebx=10 [38000]=3412            => esp=8002 [20010]=3412
    pop ss                  | esp=8000 [38000]=0040                   => esp=8002 ss=4000
    pusha | esp=8000 eax=1 ecx=2 edx=3 ebx=4 ebp=5 esi=6 edi=7 => esp=7ff0 [37ff0]=07000600050000800400030002000100
    pusha | esp=8 eax=1 edi=7 => esp=fff8 [3fff8]=0700000000000800 [30000]=0000000000000100
    popa | esp=fff8 [3fff8]=0100020003000400 [30000]=0500060007000800 => esp=8 edi=1 esi=2 ebp=3 ebx=5 edx=6 ecx=7 eax=8
    popad                   | esp=8000 [38000]=01000000020000000300000004000000 => esp=8020 edi=1 esi=2 ebp=3
    enter 8, 0              | esp=8000 ebp=12345678                   => esp=7ff6 ebp=12347ffe [37ffe]=7856
    enter 4, 2              | esp=8000 ebp=9000 [38ffe]=3412          => esp=7ff6 ebp=7ffe [37ffa]=fe7f34120090
    leave                   | esp=1 ebp=7ffe [37ffe]=3412             => esp=8000 ebp=1234
    leave                   | esp=12340001 ebp=abcd7ffe [37ffe]=3412  => esp=12348000 ebp=abcd1234
    jmp 0x2000:0x100        |                                         => cs=2000 eip=100
    call 0x2000:0x100       |                                         => cs=2000 eip=100 esp=7ffc [37ffc]=05000010
    call 0x2000:0x100 | esp=2 => cs=2000 eip=100 esp=fffe [3fffe]=0500 [30000]=0010
    .byte 0x66, 0x9a, 0, 1, 0, 0, 0, 0x20 | => cs=2000 eip=100 esp=7ff8 [37ff8]=0800000000100000
    .byte 0xff, 0x1f        | ebx=10 [20010]=00010020                 => cs=2000 eip=100 esp=7ffc [37ffc]=02000010
    retf                    | [38000]=00010020                        => cs=2000 eip=100 esp=8004
    retf 4                  | esp=fffa [3fffa]=00010020               => cs=2000 eip=100 esp=2
    .byte 0x66, 0xcb        | [38000]=0001000000200000                => cs=2000 eip=100 esp=8008
    ret                     | [38000]=0001                            => eip=100 esp=8002
    ret 0xfffe              | [38000]=0001                            => eip=100 esp=8000
    .byte 0x66, 0xc3        | [38000]=00010000                        => eip=100 esp=8004
    call ax                 | eax=12340100                            => eip=100 esp=7ffe [37ffe]=0200
    .byte 0x66, 0xff, 0xd0  | eax=100                                 => eip=100 esp=7ffc [37ffc]=03000000
    .byte 0xeb, 0x10        | at=fff0                                 => eip=2
    .byte 0xeb, 0xf0        | at=0                                    => eip=fff2
    .byte 0xe8, 0, 0        | at=fffd                                 => eip=0 esp=7ffe [37ffe]=0000
    .byte 0xe9, 0xff, 0x7f  | at=9000                                 => eip=1002
    .byte 0x66, 0xeb, 0x10  | at=10                                   => eip=23
    .byte 0x67, 0xe2, 0x10  | ecx=10000                               => eip=13 ecx=ffff
    .byte 0xe2, 0x10        | ecx=10001                               => eip=2 ecx=10000
    .byte 0xe2, 0x10        | ecx=10000                               => eip=12 ecx=1ffff
    .byte 0xe1, 0x10        | ecx=2 eflags=42                         => eip=12 ecx=1
    .byte 0xe0, 0x10        | ecx=2 eflags=42                         => eip=2 ecx=1
    .byte 0xe3, 0x10        | ecx=10000                               => eip=12
    .byte 0x67, 0xe3, 0x10  | ecx=10000                               => eip=3
    les ax, [bx]            | ebx=10 [20010]=34127856                 => eax=1234 es=5678
    lds eax, [bx]           | ebx=10 [20010]=785634120040             => eax=12345678 ds=4000
    lss sp, [bx]            | ebx=10 [20010]=34120040                 => esp=1234 ss=4000
    lgs cx, [bx]            | ebx=10 [20010]=34120040                 => ecx=1234 gs=4000
    mov ds, ax              | eax=abcd1234                            => ds=1234 ds.base=12340 ds.limit=ffff
    mov eax, ds             | eax=ffffffff                            => eax=2000
    mov ax, ds              | eax=ffffffff                            => eax=ffff2000
    .byte 0x8e, 0xc8        |                                         => #UD
    lodsb                   | esi=ffff [2ffff]=5a                     => eax=5a esi=0
    lodsb                   | esi=1ffff [2ffff]=5a                    => eax=5a esi=10000
    lodsb                   | esi=0 [20000]=5a eflags=402             => eax=5a esi=ffff
    .byte 0x67, 0xac        | esi=ffff [2ffff]=5a                     => eax=5a esi=10000
    rep movsb               | esi=10 edi=ffff ecx=10001 [20010]=5a    => esi=11 edi=0 ecx=10000 [37fff]=5a
    rep stosw               | edi=fffe ecx=1 eax=1234                 => edi=0 ecx=0 [37ffe]=3412
    rep stosb               | edi=10 ecx=10000                        =>
    cmpsw                   | esi=fffe edi=fffe [2fffe]=0100 [37ffe]=0100 eflags=2 => esi=0 edi=0 eflags=46
    repe scasb              | edi=fffe ecx=0                          =>
    int 0x21 | eflags=202 => cs=4000 eip=21 esp=7ffa eflags=2 [37ffa]=020000100202
    int 0x21 | esp=2 eflags=2 => cs=4000 eip=21 esp=fffc [3fffc]=02000010 [30000]=0200
    int 0x21                | at=fffe                                 => cs=4000 eip=21 esp=7ffa [37ffa]=00000010
    int3 | eflags=302 => cs=4000 eip=3 esp=7ffa eflags=2 [37ffa]=010000100203
    into                    | eflags=2                                =>
    into                    | eflags=802                              => cs=4000 eip=4 esp=7ffa [37ffa]=010000100208
    ud2                     | deliver=1                               => cs=4000 eip=6 esp=7ffa [37ffa]=000000100200
    div cl                  | ecx=0                                   => #DE
    div cl                  | ecx=1 eax=100 deliver=1                 => cs=4000 eip=0 esp=7ffa [37ffa]=00000010
    bound ax, [bx]          | ebx=10 eax=5 [20010]=06000900           => #BR
    bound ax, [bx]          | ebx=10 eax=9 [20010]=06000900           =>
    iret                    | [38000]=00010020ffff                    => cs=2000 eip=100 esp=8006 eflags=7fd7
    iret                    | esp=fffe [3fffe]=0001 [30000]=00200302  => cs=2000 eip=100 esp=4 eflags=203
    iretd                   | [38000]=0001000000200000d7ff2400        => cs=2000 eip=100 esp=800c eflags=247fd7
    iretd                   | [38000]=000100000020000002003a00        => cs=2000 eip=100 esp=800c eflags=200002
    pushf                   | eflags=7ed7 esp=8000                    => esp=7ffe [37ffe]=d77e
    popf                    | [38000]=ffff eflags=2                   => esp=8002 eflags=7fd7
    popfd                   | [38000]=ffffffff eflags=2               => esp=8004 eflags=247fd7
    popf                    | [38000]=0000 eflags=7ed7                => esp=8002 eflags=2
    cli                     | eflags=202                              => eflags=2
    sti                     | eflags=2                                => eflags=202
    lgdt [bx]               | ebx=10 [20010]=341278563412             => gdtr_limit=1234 gdtr_base=345678
    .byte 0x66, 0x0f, 0x01, 0x17 | ebx=10 [20010]=341278563412        => gdtr_limit=1234 gdtr_base=12345678
    lidt [bx]               | ebx=10 [20010]=ffff00000001             => idtr_limit=ffff idtr_base=0
    sidt [bx]               | ebx=10                                  => [20010]=ffff00000000
    smsw ax                 | eax=ffffffff cr0=10                     => eax=ffff0010
    smsw [bx]               | ebx=10 [20010]=ffffffff cr0=10          => [20010]=1000ffff
    lmsw ax                 | eax=fff1 cr0=10                         => cr0=11
    mov eax, cr0            | cr0=10                                  => eax=10
    sldt ax                 |                                         => #UD
    str ax                  |                                         => #UD
    lldt ax                 |                                         => #UD
    ltr ax                  |                                         => #UD
    verr ax                 |                                         => #UD
    lar ax, bx              |                                         => #UD
    lsl ax, bx              |                                         => #UD
    arpl ax, bx             |                                         => #UD
    hlt                     |                                         => exit=HLT
    in al, 0x80             |                                         => exit=IO exit_address=80 eip=0
    .byte 0xf0, 0x90        |                                         => #UD
"""

# PUSHA with an odd SP of 7 to 15 is #GP: SDM vol. 2 PUSHA, Real-Address Mode Exceptions. Everything else that exceeds
# the stack segment is #SS (vol. 3A 6.15).
LIMITS = """
    nop                     | at=ffff                                 => eip=10000
    retf 4                  | esp=fffe [3fffe]=0001 [30000]=0020      => cs=2000 eip=100 esp=6
    mov ax, [0xffff]        |                                         => #GP
    mov ax, [bp]            | ebp=ffff                                => #SS
    mov eax, [0xfffd]       |                                         => #GP
    mov [0xffff], ax        |                                         => #GP
    mov al, [ebx]           | ebx=10000                               => #GP
    mov al, [ebp]           | ebp=10000                               => #SS
    mov al, [esp + 0x8000]  | esp=8000                                => #SS
    mov al, [ebx]           | ebx=10000 ds.limit=ffffffff [30000]=5a  => eax=5a
    mov al, [ebx]           | ebx=12345 ds.base=0 ds.limit=ffffffff [12345]=5a => eax=5a
    mov al, es:[ebx]        | ebx=20000 es.limit=1ffff                => #GP
    mov ds, ax              | eax=2100 ds.limit=ffffffff              => ds=2100 ds.base=21000 ds.limit=ffffffff
    mov al, [0x10]          | ds.limit=f                              => #GP
    push ax                 | esp=1                                   => #SS
    push eax                | esp=2                                   => #SS
    push eax                | esp=3                                   => #SS
    pop ax                  | esp=ffff                                => #SS
    call 0x2000:0x100       | esp=3                                   => #SS
    call 0x2000:0x100       | esp=1                                   => #SS
    pusha                   | esp=1                                   => #SS
    pusha                   | esp=7                                   => #GP
    pusha                   | esp=7 deliver=1                         => cs=4000 eip=d esp=1 [30001]=000000100200
    pusha                   | esp=f                                   => #GP
    pusha                   | esp=11                                  => esp=1
    pusha                   | esp=5                                   => #SS
    popa                    | esp=fff1                                => #SS
    enter 0, 0              | esp=1                                   => #SS
    leave                   | ebp=ffff                                => #SS
    ret                     | esp=ffff                                => #SS
    retf                    | esp=fffd                                => #SS
    iret                    | esp=ffff                                => #SS
    les ax, [bx]            | ebx=fffd                                => #GP
    lds eax, [bx]           | ebx=fffb                                => #GP
    bound ax, [bx]          | ebx=fffd                                => #GP
    lodsw                   | esi=ffff                                => #GP
    .byte 0x36, 0xad        | esi=ffff                                => #SS
    stosw                   | edi=ffff                                => #GP
    movsw                   | esi=ffff edi=10                         => #GP
    movsw                   | esi=10 edi=ffff                         => #GP
    .byte 0x67, 0xac        | esi=10000                               => #GP
    .byte 0x67, 0xaa        | edi=10000                               => #GP
    .byte 0x67, 0xd7        | ebx=ffff eax=3                          => #GP
    rep movsw               | esi=fffd edi=10 ecx=2 [2fffd]=3412      => #GP esi=ffff edi=12 ecx=1 [28010]=3412
    .byte 0x67, 0xf3, 0xaa | edi=fff8 ecx=10 eax=5a deliver=1 => cs=4000 eip=d esp=7ffa edi=10000 ecx=8 [37ffa]=00000010
    .byte 0xb0, 0x5a        | at=ffff                                 => #GP
    .byte 0x0f, 0x0b        | at=ffff                                 => #GP
    .byte 0x66, 0xe9, 0, 0, 1, 0 |                                    => #GP
    .byte 0x66, 0xe8, 0, 0, 1, 0 | esp=8000                           => #GP
    .byte 0x66, 0xeb, 0x10  | at=fff0                                 => #GP
    .byte 0x66, 0xff, 0xe0  | eax=10000                               => #GP
    .byte 0x66, 0xc3        | [38000]=00000100                        => #GP
    .byte 0x66, 0xea, 0, 0, 1, 0, 0, 0x20 |                           => #GP
    .byte 0x66, 0x9a, 0, 0, 1, 0, 0, 0x20 |                           => #GP
    .byte 0x66, 0xcb        | [38000]=0000010000200000                => #GP
    iretd                   | [38000]=000001000020000002000000        => #GP
    jmp 0x2000:0x100        | cs.limit=1ffff                          => cs=2000 eip=100 cs.limit=1ffff
    int 0x21                | idtr_limit=87                           => cs=4000 eip=21 esp=7ffa
    int 0x21                | idtr_limit=86                           => #GP
    int 0x21                | idtr_limit=86 deliver=1                 => cs=4000 eip=d esp=7ffa [37ffa]=00000010
    int 0x21                | idtr_limit=36 deliver=1                 => cs=4000 eip=8 esp=7ffa [37ffa]=00000010
    int 0x21                | idtr_limit=22 deliver=1                 => exit=SHUTDOWN eip=0
    ud2                     | idtr_limit=1a deliver=1                 => exit=SHUTDOWN eip=0
    push ax                 | esp=1 deliver=1                         => exit=SHUTDOWN eip=0
    pusha                   | esp=5 deliver=1                         => exit=SHUTDOWN eip=0
    int 0x21                | esp=3                                   => #SS
    int 0x21                | esp=5                                   => #SS
    lgdt [0xfffd]           |                                         => #GP
    mov cr0, eax            | eax=80000010                            => #GP
    mov al, [0x10]          | ds=ffff                                 => exit=MMIO exit_address=100000 eip=0
"""

VIRTUAL_8086 = """
    mov al, [0x10]          | [20010]=5a                              => eax=5a
    mov ds, ax              | eax=1234                                => ds=1234 ds.base=12340 ds.limit=ffff
    push ax                 | esp=0 eax=1234                          => esp=fffe [3fffe]=3412
    .byte 0xeb, 0x10        | at=fff0                                 => eip=2
    jmp 0x2000:0x100        |                                         => cs=2000 cs.base=20000 eip=100
    call 0x2000:0x100       |                                         => cs=2000 eip=100 esp=7ffc [37ffc]=05000010
    retf                    | [38000]=00010020                        => cs=2000 eip=100 esp=8004
    les ax, [bx]            | ebx=10 [20010]=34127856                 => eax=1234 es=5678 es.base=56780
    cli                     | eflags=20202                            => #GP(0)
    cli                     | eflags=23202                            => eflags=23002
    sti                     | eflags=20002                            => #GP(0)
    sti                     | eflags=23002                            => eflags=23202
    pushf                   | eflags=20002                            => #GP(0)
    pushf                   | eflags=23202                            => esp=7ffe [37ffe]=0232
    pushfd                  | eflags=233202                           => esp=7ffc [37ffc]=02322000
    popf                    | eflags=20002 [38000]=0000               => #GP(0)
    popf                    | eflags=23002 [38000]=d70f               => esp=8002 eflags=23fd7
    popfd                   | eflags=23002 [38000]=ffffffff           => esp=8004 eflags=267fd7
    iret                    | eflags=20002 [38000]=000100200000       => #GP(0)
    iret                    | eflags=23002 [38000]=00010020d70f       => cs=2000 eip=100 esp=8006 eflags=23fd7
    iretd                   | eflags=23002 [38000]=0001000000200000d70f1e00 => cs=2000 eip=100 esp=800c eflags=63fd7
    int 0x21                | eflags=20002                            => #GP(0)
    int 0x21                | eflags=23002 [2108]=78560800008e3412    => #GP(10a)
    int 0x21                | eflags=23002 [2108]=7856080000ee3412    => eip=12345678 cs=8 cpl=0 esp=8fdc ds=0 es=0
    int3                    | eflags=20002 [2018]=7856080000ee3412    => eip=12345678 cs=8 cpl=0 esp=8fdc
    into                    | eflags=20802 [2020]=7856080000ee3412    => eip=12345678 cs=8 cpl=0 esp=8fdc
    hlt                     |                                         => #GP(0)
    lgdt [bx]               |                                         => #GP(0)
    lidt [bx]               |                                         => #GP(0)
    sgdt [bx]               | ebx=10                                  => [20010]=ff0f00100000
    mov eax, cr0            |                                         => #GP(0)
    mov cr0, eax            |                                         => #GP(0)
    mov eax, dr0            |                                         => #GP(0)
    smsw ax                 |                                         => eax=11
    lmsw ax                 |                                         => #GP(0)
    clts                    |                                         => #GP(0)
    rdmsr                   |                                         => #GP(0)
    invd                    |                                         => #GP(0)
    sldt ax                 |                                         => #UD
    str ax                  |                                         => #UD
    lldt ax                 |                                         => #UD
    ltr ax                  |                                         => #UD
    verr ax                 |                                         => #UD
    lar ax, bx              |                                         => #UD
    arpl ax, bx             |                                         => #UD
    in al, 0x80             | [3066]=6800 [3078]=fe                   => exit=IO eip=0
    in al, 0x80             | [3066]=6800 [3078]=01                   => #GP(0)
    in al, 0x80             | eflags=23002 [3066]=6800 [3078]=01      => #GP(0)
    rdtsc                   | tsc_offset=123400000000 icount_base=0   => edx=1234 eax=1
    rdtsc                   | cr4=4                                   => #GP(0)
    sysenter                |                                         => #GP(0)
    lss sp, [bx]            | ebx=10 [20010]=34120040                 => esp=1234 ss=4000
"""

VIRTUAL_8086_EXTENSIONS = """
    int1                    | eflags=20002 [2008]=78560800008e3412    => eip=12345678 cs=8 cpl=0 esp=8fdc
    cli                     | eflags=a0202 cr4=1                      => eflags=20202
    sti                     | eflags=20002 cr4=1                      => eflags=a0002
    sti                     | eflags=120002 cr4=1                     => #GP(0)
    pushf                   | eflags=a0002 cr4=1                      => esp=7ffe [37ffe]=0232
    pushf                   | eflags=20202 cr4=1                      => esp=7ffe [37ffe]=0230
    pushfd                  | eflags=a0002 cr4=1                      => #GP(0)
    popf                    | eflags=20002 cr4=1 [38000]=0002         => esp=8002 eflags=a0002
    popf                    | eflags=120002 cr4=1 [38000]=0002        => #GP(0)
    popf                    | eflags=20002 cr4=1 [38000]=0001         => #GP(0)
    iret                    | eflags=20002 cr4=1 [38000]=000100200002 => cs=2000 eip=100 esp=8006 eflags=a0002
    iret                    | eflags=120002 cr4=1 [38000]=000100200002 => #GP(0)
"""

VIRTUAL_8086_LIMITS = """
    mov ax, [0xffff]        |                                         => #GP(0)
    mov ax, [bp]            | ebp=ffff                                => #SS(0)
    mov al, [ebx]           | ebx=10000                               => #GP(0)
    push ax                 | esp=1                                   => #SS(0)
    pusha                   | esp=5                                   => #SS(0)
    pusha                   | esp=9                                   => #GP(0)
    nop                     | at=ffff                                 => eip=10000
    .byte 0xb0, 0x5a        | at=ffff                                 => #GP(0)
    .byte 0x66, 0xe9, 0, 0, 1, 0 |                                    => #GP(0)
    .byte 0x66, 0xcb        | [38000]=0000010000200000                => #GP(0)
    iretd                   | eflags=23002 [38000]=000001000020000002000000 => #GP(0)
"""

PROTECTED = """
    mov al, [bx + si]       | ebx=ffff esi=3 [20002]=5a               => eax=5a
    push ax                 | esp=12340000 eax=1234                   => esp=1234fffe [3fffe]=3412
    pusha | esp=8 eax=1 edi=7 => esp=fff8 [3fff8]=0700000000000800 [30000]=0000000000000100
    enter 4, 2              | esp=8000 ebp=9000 [38ffe]=3412          => esp=7ff6 ebp=7ffe [37ffa]=fe7f34120090
    leave                   | esp=12340001 ebp=abcd7ffe [37ffe]=3412  => esp=12348000 ebp=abcd1234
    .byte 0xeb, 0x10        | at=fff0                                 => eip=2
    call ax                 | eax=12340100                            => eip=100 esp=7ffe [37ffe]=0200
    jmp 8:0x1234            |                                         => eip=1234 cs=8 cs.base=0 cs.limit=ffffffff
    .byte 0x66, 0xea, 0x78, 0x56, 0x34, 0x12, 8, 0 |                  => eip=12345678 cs=8
    call 8:0x1234           |                                         => eip=1234 cs=8 esp=7ffc [37ffc]=05000800
    retf                    | [38000]=34120800                        => eip=1234 cs=8 esp=8004
    retf                    | cpl=1 [38000]=34120800                  => #GP(8)
    iret                    | [38000]=341208000302                    => eip=1234 cs=8 esp=8006 eflags=203
    mov ds, ax              | eax=10                                  => ds=10 ds.base=0 ds.limit=ffffffff
    mov ds, ax              | eax=2000                                => #GP(2000)
    les ax, [bx]            | ebx=10 [20010]=34121000                 => eax=1234 es=10
    lgdt [bx]               | ebx=10 [20010]=341278563412             => gdtr_limit=1234 gdtr_base=345678
    .byte 0x66, 0x0f, 0x01, 0x17 | ebx=10 [20010]=341278563412        => gdtr_limit=1234 gdtr_base=12345678
    lgdt [bx]               | cpl=3                                   => #GP(0)
    int 0x21                | [2108]=3412080000860000                 => eip=1234 cs=8 esp=7ffa [37ffa]=020008000200
    int 0x21 | [2108]=34120800008e0000 => eip=1234 cs=8 esp=7ff4 [37ff4]=020000000800000002000000
    rep movsb               | esi=10 edi=ffff ecx=10001 [20010]=5a    => esi=11 edi=0 ecx=10000 [37fff]=5a
    .byte 0xe2, 0x10        | ecx=10000                               => eip=12 ecx=1ffff
    .byte 0x67, 0xe2, 0x10  | ecx=10000                               => eip=13 ecx=ffff
    lar ax, bx              | ebx=8 eflags=2                          => eax=9b00 eflags=42
    lmsw ax                 | eax=fff0 cr0=11                         => cr0=11
"""

PROTECTED_LIMITS = """
    mov ax, [0xffff]        |                                         => #GP(0)
    mov ax, [bp]            | ebp=ffff                                => #SS(0)
    mov al, [ebx]           | ebx=10000                               => #GP(0)
    push ax                 | esp=1                                   => #SS(0)
    pop ax                  | esp=ffff                                => #SS(0)
    pusha                   | esp=5                                   => #SS(0)
    popad                   | esp=fffa                                => #SS(0)
    leave                   | ebp=ffff                                => #SS(0)
    nop                     | at=ffff                                 => eip=10000
    .byte 0xb0, 0x5a        | at=ffff                                 => #GP(0)
    .byte 0x66, 0xeb, 0x10  | at=fff0                                 => #GP(0)
    .byte 0x66, 0xc3        | [38000]=00000100                        => #GP(0)
    call 8:0x1234           | esp=1                                   => #SS(0)
    les ax, [bx]            | ebx=fffd                                => #GP(0)
    int 0x21                | esp=5 [2108]=3412080000860000           => #SS(0)
    movsw                   | esi=10 edi=ffff                         => #GP(0)
    .byte 0x67, 0xac        | esi=10000                               => #GP(0)
    mov [0x10], al          | ds.limit=f                              => #GP(0)
"""
