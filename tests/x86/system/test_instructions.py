"""System instructions, a line each: what they do, and what they refuse at which level."""

from __future__ import annotations

import pytest

from tests.x86.system.lines import run_line
from tests.x86.system.processor import Processor

DESCRIPTOR_TABLES = """
    sgdt [ebx]        | ebx=8000 cpl=3                          => [8000]=ff0f00100000
    sidt [ebx]        | ebx=8000 cpl=3                          => [8000]=ff0700200000
    .byte 0x66, 0x0f, 0x01, 0x03 | ebx=8000 gdtr_base=12345678  => [8000]=ff0f78563412
    lgdt [ebx]        | ebx=8000 [8000]=341278563412            => gdtr_limit=1234 gdtr_base=12345678
    lidt [ebx]        | ebx=8000 [8000]=341278563412            => idtr_limit=1234 idtr_base=12345678
    .byte 0x66, 0x0f, 0x01, 0x13 | ebx=8000 [8000]=341278563412 => gdtr_limit=1234 gdtr_base=345678
    lgdt [ebx]        | ebx=8000 cpl=3                          => #GP(0)
    lidt [ebx]        | ebx=8000 cpl=1                          => #GP(0)
    sldt eax          | eax=ffffffff cpl=3                      => eax=50
    str eax           | eax=ffffffff cpl=3                      => eax=48
    str ax            | eax=ffffffff cpl=3                      => eax=ffff0048
    sldt [ebx]        | ebx=8000 [8000]=ffffffff cpl=3          => [8000]=5000ffff
    lldt ax           | eax=0                                   => ldtr=0
    lldt ax           | eax=48                                  => #GP(48)
    lldt ax           | eax=50 cpl=3                            => #GP(0)
    ltr ax            | eax=48                                  => #GP(48)
    ltr ax            | eax=58 [1058]=6700003000890000          => tr=58 [105d]=8b
    ltr ax            | eax=58 cpl=2                            => #GP(0)
"""

CONTROL_REGISTERS = """
    mov eax, cr0      |                                         => eax=11
    mov eax, cr2      | cr2=12345678                            => eax=12345678
    mov eax, cr3      | cr3=4000                                => eax=4000
    mov eax, cr4      | cr4=4                                   => eax=4
    mov eax, cr0      | cpl=3                                   => #GP(0)
    mov cr0, eax      | eax=11 cpl=3                            => #GP(0)
    mov cr0, eax      | eax=1                                   => cr0=11
    mov cr0, eax      | eax=1fffffff                            => cr0=5003f
    mov cr0, eax      | eax=80000000                            => #GP(0) cr0=11
    mov cr0, eax      | eax=20000001                            => #GP(0) cr0=11
    mov cr0, eax      | eax=60000001                            => cr0=60000011
    mov cr2, eax      | eax=abcd                                => cr2=abcd
    mov cr3, eax      | eax=5018                                => cr3=5018
    mov cr4, eax      | eax=19c                                 => cr4=19c
    mov cr4, eax      | eax=20                                  => cr4=20
    mov cr4, eax      | eax=3                                   => cr4=3
    mov cr4, eax      | eax=7ff                                 => cr4=7ff
    mov cr4, eax      | eax=80000000                            => #GP(0) cr4=0
    mov cr4, eax      | eax=800                                 => #GP(0) cr4=0
    mov cr4, eax      | eax=2000                                => #GP(0) cr4=0
    mov cr4, eax      | eax=4000                                => #GP(0) cr4=0
    mov cr4, eax      | eax=40000                               => #GP(0) cr4=0
    mov cr4, eax      | eax=100000                              => #GP(0) cr4=0
    mov cr4, eax      | eax=200000                              => #GP(0) cr4=0
    mov cr4, eax      | eax=0 cpl=1                             => #GP(0)
    mov cr0, eax      | eax=0                                   => cr0=10
    mov cr0, eax      | eax=a0000001                            => #GP(0) cr0=11
    mov cr0, eax      | eax=80000000 cr0=13                     => #GP(0) cr0=13
    .byte 0x0f, 0x20, 0x00 |                                    => eax=11
    .byte 0x0f, 0x20, 0xc8 |                                    => #UD
    .byte 0x0f, 0x20, 0xe8 |                                    => #UD
    .byte 0x0f, 0x20, 0xf0 |                                    => #UD
    .byte 0x0f, 0x20, 0xf8 |                                    => #UD
    .byte 0x0f, 0x22, 0xc8 |                                    => #UD
    .byte 0x0f, 0x22, 0xf8 |                                    => #UD
    .byte 0xf0, 0x0f, 0x20, 0xc0 |                              => #UD
    smsw eax          | eax=ffffffff cpl=3                      => eax=11
    smsw ax           | eax=ffffffff cpl=3                      => eax=ffff0011
    smsw [ebx]        | ebx=8000 [8000]=ffffffff cpl=3          => [8000]=1100ffff
    lmsw ax           | eax=e                                   => cr0=1f
    lmsw ax           | eax=fff0 cr0=1f                         => cr0=11
    lmsw ax           | eax=0                                   => cr0=11
    lmsw ax           | eax=0 cr0=10                            => cr0=10
    lmsw ax           | eax=1 cr0=10                            => cr0=11
    lmsw ax           | eax=ffff0000 cr0=5003f                  => cr0=50031
    lmsw [ebx]        | ebx=8000 [8000]=0b00                    => cr0=1b
    lmsw ax           | cpl=3                                   => #GP(0)
    clts              | cr0=1b                                  => cr0=13
    clts              | cr0=1b cpl=3                            => #GP(0) cr0=1b
    invlpg [eax]      | eax=ffffffff                            =>
    invlpg [eax]      | cpl=3                                   => #GP(0)
    invd              |                                         =>
    wbinvd            |                                         =>
    invd              | cpl=3                                   => #GP(0)
    wbinvd            | cpl=3                                   => #GP(0)
    hlt               |                                         => exit=HLT
    hlt               | cpl=3                                   => #GP(0)
"""

DEBUG_REGISTERS = """
    mov eax, dr0      | dr0=12345678                            => eax=12345678
    mov eax, dr4      | dr6=ffff0ff1                            => eax=ffff0ff1
    mov eax, dr5      | dr7=455                                 => eax=455
    mov eax, dr4      | cr4=8                                   => #UD
    mov dr5, eax      | cr4=8                                   => #UD
    mov eax, dr4      | cr4=8 cpl=3                             => #UD
    mov eax, dr4      | cpl=3                                   => #GP(0)
    mov eax, dr0      | cpl=3 dr7=2400                          => #GP(0) dr6=ffff0ff0
    mov eax, dr4      | cr4=8 dr7=2400                          => #UD dr6=ffff0ff0
    mov eax, dr6      | cpl=3                                   => #GP(0)
    mov dr3, eax      | eax=12345678                            => dr3=12345678
    mov dr6, eax      | eax=0                                   => dr6=ffff0ff0
    mov dr4, eax      | eax=ffffffff                            => dr6=ffffefff
    mov dr7, eax      | eax=0                                   => dr7=400
    mov dr7, eax      | eax=ffffdfff                            => dr7=ffff07ff
    mov dr5, eax      | eax=d800                                => dr7=400
    mov dr5, eax      | eax=2000                                => dr7=2400
    mov dr6, eax      | dr7=2400                                => #DB dr6=ffff2ff0 dr7=2400
    .byte 0x0f, 0x21, 0x18 | dr3=1234                           => eax=1234
    mov dr7, eax      | eax=0 cpl=3                             => #GP(0)
    mov eax, dr0      | dr7=2400                                => #DB dr6=ffff2ff0
"""

FLAGS = """
    cli               | eflags=202                              => eflags=2
    cli               | eflags=202 cpl=3                        => #GP(0) eflags=202
    cli               | eflags=2202 cpl=2                       => eflags=2002
    cli               | eflags=3202 cpl=3                       => eflags=3002
    sti               | eflags=2                                => eflags=202
    sti               | eflags=1002 cpl=2                       => #GP(0) eflags=1002
    sti               | eflags=3002 cpl=3                       => eflags=3202
    cli               | eflags=80202 cpl=3 cr4=2                => eflags=202
    cli               | eflags=80202 cpl=2 cr4=2                => #GP(0) eflags=80202
    cli               | eflags=83202 cpl=3 cr4=2                => eflags=83002
    sti               | eflags=2 cpl=3 cr4=2                    => eflags=80002
    sti               | eflags=100002 cpl=3 cr4=2               => #GP(0) eflags=100002
    sti               | eflags=2 cpl=3 cr4=1                    => #GP(0) eflags=2
    pushfd            | eflags=3f7ed7 cpl=3 esp=8004            => esp=8000 [8000]=d77e3c00
    .byte 0x66, 0x9c  | eflags=3f7ed7 cpl=3 esp=8004            => esp=8002 [8002]=d77e
    popfd             | eflags=2 esp=8000 [8000]=ffffffff       => esp=8004 eflags=247fd7
    popfd             | eflags=2 esp=8000 [8000]=ffffffff cpl=3 => esp=8004 eflags=244dd7
    popfd             | eflags=1002 esp=8000 [8000]=ffffffff cpl=1 => esp=8004 eflags=245fd7
    popfd             | eflags=3202 esp=8000 [8000]=00000000 cpl=3 => esp=8004 eflags=3002
    popfd             | eflags=1202 esp=8000 [8000]=00000000 cpl=3 => esp=8004 eflags=1202
    .byte 0x66, 0x9d  | eflags=240002 esp=8000 [8000]=0000ffff  => esp=8002 eflags=240002
"""

SEGMENTS = """
    mov [ebx], eax    | [1058]=ffff00000091cf00 ds=58 ebx=8000 eax=1 => #GP(0)
    mov eax, [ebx]    | [1058]=ffff00000091cf00 ds=58 ebx=8000 [8000]=07 => eax=7
    add [ebx], eax    | [1058]=ffff0000009bcf00 ds=58 ebx=8000 eax=1 => #GP(0)
    mov fs:[ebx], eax | [1058]=ffff00000091cf00 fs=58 ebx=8000 eax=1 => #GP(0)
    mov eax, fs:[ebx] | [1058]=ffff00000091cf00 fs=58 ebx=8000 [8000]=07 => eax=7
    mov ds, eax       | eax=21                                  => ds=21
    mov ds, eax       | eax=22                                  => #GP(20) ds=10
    mov ds, eax       | eax=10 cpl=3                            => #GP(10) ds=43
    mov ss, eax       | eax=13                                  => #GP(10) ss=10
    mov ss, eax       | eax=0                                   => #GP(0) ss=10
    mov es, eax       | eax=1058                                => #GP(1058) es=10
    mov gs, eax       | eax=58 [1058]=ffff000000120000          => #NP(58) gs=10
    mov ss, eax       | eax=58 [1058]=ffff000000120000          => #SS(58) ss=10
    mov eax, ds       | eax=ffffffff cpl=3                      => eax=43
    mov ax, cs        | eax=ffffffff cpl=3                      => eax=ffff003b
    mov [ebx], ss     | ebx=8000 [8000]=ffffffff cpl=3          => [8000]=4300ffff
    push cs           | esp=8004 cpl=3                          => esp=8000 [8000]=3b000000
    push gs           | esp=8004 cpl=3                          => esp=8000 [8000]=43000000
    pop es            | esp=8000 [8000]=2100ffff                => esp=8004 es=21
    pop es            | esp=8000 [8000]=2200ffff                => #GP(20) es=10
    .byte 0x66, 0x07  | esp=8000 [8000]=2100ffff                => esp=8002 es=21
    les ecx, [ebx]    | ebx=8000 [8000]=785634122100            => ecx=12345678 es=21
    lds ecx, [ebx]    | ebx=8000 [8000]=785634122200            => #GP(20) ds=10
    lss esp, [ebx]    | ebx=8000 [8000]=785634121000            => esp=12345678 ss=10
    lfs ecx, [ebx]    | ebx=8000 [8000]=785634120000            => ecx=12345678 fs=0
"""

SELECTORS = """
    lar eax, ebx      | ebx=8 eflags=2                          => eax=c09b00 eflags=42
    lar eax, ebx      | ebx=43 cpl=3 eflags=2                   => eax=c0f300 eflags=42
    lar eax, ebx      | ebx=8 cpl=3 eflags=42                   => eflags=2
    lar eax, ebx      | ebx=0 eflags=42                         => eflags=2
    lar eax, ebx      | ebx=1008 eflags=42                      => eflags=2
    lar ax, bx        | ebx=8 eax=ffffffff eflags=2             => eax=ffff9b00 eflags=42
    lar eax, ebx      | ebx=48 eflags=2                         => eax=8b00 eflags=42
    lar eax, ebx      | ebx=58 [1058]=00000000008c0000 eflags=2 => eax=8c00 eflags=42
    lar eax, ebx      | ebx=58 [1058]=00000000008e0000 eflags=42 => eflags=2
    lsl eax, ebx      | ebx=8 eflags=2                          => eax=ffffffff eflags=42
    lsl eax, ebx      | ebx=48 eflags=2                         => eax=7ff eflags=42
    lsl eax, ebx      | ebx=58 [1058]=00000000008c0000 eflags=42 => eflags=2
    verr bx           | ebx=8 eflags=2                          => eflags=42
    verr bx           | ebx=8 cpl=3 eflags=42                   => eflags=2
    verr bx           | ebx=58 [1058]=ffff000000980000 eflags=42 => eflags=2
    verw bx           | ebx=8 eflags=42                         => eflags=2
    verw bx           | ebx=10 eflags=2                         => eflags=42
    verw bx           | ebx=43 cpl=3 eflags=2                   => eflags=42
    verw bx           | ebx=58 [1058]=ffff000000900000 eflags=42 => eflags=2
    arpl bx, cx       | ebx=10 ecx=3 cpl=3 eflags=2             => ebx=13 eflags=42
    arpl bx, cx       | ebx=13 ecx=1 eflags=42                  => eflags=2
"""

TRANSFERS = """
    jmp 8:0x1234      |                                         => eip=1234 cs=8
    jmp 8:0x1234      | cpl=3                                   => #GP(8) cs=3b
    .byte 0xff, 0x2b  | ebx=8000 [8000]=341200000800            => eip=1234
    .byte 0x66, 0xea, 0x34, 0x12, 0x08, 0x00 |                  => eip=1234
    call 8:0x1234     | esp=8008                                => eip=1234 esp=8000 [8000]=0700010008000000
    .byte 0xff, 0x1b  | ebx=8100 [8100]=341200000800 esp=8008   => eip=1234 esp=8000 [8000]=0200010008000000
    .byte 0x66, 0x9a, 0x34, 0x12, 0x08, 0x00 | esp=8008         => eip=1234 esp=8004 [8004]=06000800
    retf              | esp=8000 [8000]=3412000008000000        => eip=1234 esp=8008
    retf 8            | esp=8000 [8000]=3412000008000000        => eip=1234 esp=8010
    .byte 0x66, 0xca, 0x08, 0x00 | esp=8000 [8000]=34120800     => eip=1234 esp=800c
    iretd             | esp=8000 [8000]=341200000800000003020000 => eip=1234 esp=800c eflags=203
    int 0x80          | [2400]=7856080000ee3412 esp=8010        => eip=12345678 esp=8004 [8004]=0200010008000000
    int 0x80          | cpl=3 [2400]=78560800008e3412           => #GP(402)
    int3              | [2018]=7856080000ee3412 esp=8010        => eip=12345678 esp=8004
    int3              | cpl=3 [2018]=78560800008e3412           => #GP(1a)
    int1              | [2008]=78560800008e3412 cpl=3           => eip=12345678 esp=8fec cpl=0
    into              | eflags=2                                =>
    into              | eflags=802 [2020]=7856080000ee3412 esp=8010 => eip=12345678 esp=8004
    ud2               |                                         => #UD
    sysenter          | cpl=3 sysenter_cs=8 sysenter_eip=1234 sysenter_esp=8000 => eip=1234 esp=8000 cpl=0 cs=8 ss=10
    sysenter          | cpl=3                                   => #GP(0)
    sysexit           | sysenter_cs=8 edx=1234 ecx=8000         => eip=1234 esp=8000 cpl=3 cs=1b ss=23
    sysexit           | cpl=3 sysenter_cs=8                     => #GP(0)
"""

PORTS = """
    in al, 0x80       |                                         => exit=IO exit_address=80 exit_size=1 eip=10000
    in ax, dx         | edx=1234                                => exit=IO exit_address=1234 exit_size=2 eip=10000
    out dx, eax       | edx=1234 eax=abcd                       => exit=IO exit_value=abcd exit_write=1 eip=10000
    in al, 0x80       | cpl=3 eflags=3002                       => exit=IO eip=10000
    in al, 0x80       | cpl=3 eflags=2002 [3066]=6800 [3078]=ff => #GP(0)
    in al, 0x80       | cpl=3 [3066]=6800 [3078]=fe             => exit=IO eip=10000
    in ax, dx         | edx=7f cpl=3 [3066]=6800 [3077]=7ffe    => exit=IO eip=10000
    in ax, dx         | edx=7f cpl=3 [3066]=6800 [3077]=7f01    => #GP(0)
    in eax, dx        | edx=7c cpl=3 [3066]=6800 [3077]=0f      => exit=IO eip=10000
    in eax, dx        | edx=7c cpl=3 [3066]=6800 [3077]=8f      => #GP(0)
    in al, 0x80       | cpl=3 [3066]=ff07                       => #GP(0)
    in al, 0x80       | cpl=3 [3066]=ee07                       => exit=IO eip=10000
    in al, 0x80       | cpl=3 [3066]=ef07                       => #GP(0)
    in al, 0x80       | cpl=1 eflags=1002 [3066]=ff07           => exit=IO eip=10000
    in al, 0x80       | cpl=2 eflags=1002 [3066]=ff07           => #GP(0)
    outsb             | esi=8000 [8000]=5a edx=80               => exit=IO exit_value=5a exit_write=1 eip=10000
    rep outsb         | ecx=0                                   =>
    insb              | edi=8000 edx=80                         => exit=IO exit_write=0 eip=10000
    insb              | edi=8000 edx=80 cpl=3                   => #GP(0)
"""

IDENTIFICATION = """
    rdtsc             | cpl=3 tsc_offset=123400000000 icount_base=0 => edx=1234 eax=1
    rdtsc             | cpl=3 cr4=4                             => #GP(0)
    rdtsc             | cr4=4 icount_base=f                     => eax=10 edx=0
    rdpmc             |                                         => #GP(0)
    rdmsr             | ecx=174 sysenter_cs=8                   => eax=8 edx=0
    rdmsr             | ecx=277                                 => eax=70406 edx=70406
    rdmsr             | ecx=10 icount_base=f                    => eax=10 edx=0
    rdmsr             | ecx=12345                               => #GP(0)
    rdmsr             | ecx=174 cpl=3                           => #GP(0)
    wrmsr             | ecx=176 eax=1234 edx=0                  => sysenter_eip=1234
    wrmsr             | ecx=176 eax=1234 edx=1                  => #GP(0) sysenter_eip=0
    wrmsr             | ecx=277 eax=06060606 edx=06060606       => pat=606060606060606
    wrmsr             | ecx=277 eax=00000002 edx=0              => #GP(0)
    wrmsr             | ecx=277 eax=00000003 edx=0              => #GP(0)
    wrmsr             | ecx=10 eax=100 edx=0 icount_base=f      => tsc_offset=f0
    wrmsr             | ecx=10 eax=0 edx=1234 icount_base=f     => tsc_offset=1233fffffff0
    wrmsr             | ecx=12345                               => #GP(0)
    wrmsr             | ecx=1b eax=fee00900 edx=f               => apic_base=ffee00900 exit=MSR
    wrmsr             | ecx=1b eax=fee00900 edx=10              => #GP(0)
    wrmsr             | ecx=1b eax=fee00a00 edx=0               => #GP(0)
    wrmsr             | ecx=1b eax=fee00c00 edx=0               => #GP(0)
    wrmsr             | ecx=1b eax=fee00901 edx=0               => #GP(0)
    wrmsr             | ecx=c0000080 eax=0 edx=0                => #GP(0)
    rdmsr             | ecx=c0000080                            => #GP(0)
    rdmsr             | ecx=c0000100                            => #GP(0)
    rdmsr             | ecx=40000000                            => #GP(0)
    rdmsr             | ecx=0                                   => eax=0 edx=0
    wrmsr             | ecx=8b eax=0 edx=0                      =>
    wrmsr             | ecx=17 eax=1 edx=0                      => #GP(0)
    wrmsr             | ecx=176 cpl=3                           => #GP(0)
"""

X87 = """
    fninit            | fpu_control=40 fp_image=ff3f00007f      => fpu_control=37f fp_image=37f
    fnstcw [ebx]      | ebx=8000 fpu_control=37f fp_image=37f   => [8000]=7f03
    fnstsw ax         | eax=ffffffff fpu_control=37f            => eax=ffff0000
    fnstsw ax         | fpu_control=37f fp_image=ff3d01037f     => eax=3d01
    fnstsw ax         | fpu_control=37e fp_image=ff3d01037f     => eax=bd81
    fldcw [ebx]       | ebx=8000 [8000]=ffff                    => fpu_control=1f7f fp_image=ff00001f7f
    fnclex            | fpu_control=37f fp_image=ff7f7f037f     => fp_image=ff7f00037f
    fninit            | cr0=15                                  => #NM
    fnstsw ax         | cr0=19                                  => #NM
    .byte 0x9b        | cr0=19                                  =>
    .byte 0x9b        | cr0=1b                                  => #NM
    .byte 0x9b        | cr0=31 fpu_control=37b fp_image=ff0004037f => #MF
    .byte 0x9b        | cr0=11 fpu_control=37b fp_image=ff0004037f => exit=FP_ERROR eip=10000
    .byte 0x9b        | cr0=11 fpu_control=37b fp_image=ff0004037f ignore_fp_error=1 =>
    fldz              | cr0=31 fpu_control=37b fp_image=0004037f => #MF
    fldz              | cr0=19                                  => #NM
    fldz              | cr0=15                                  => #NM
    fnstsw ax         | cr0=31 fpu_control=37b fp_image=0004037f eax=0 => eax=8084
    fnclex            | cr0=31 fpu_control=37b fp_image=0004037f => fp_image=37f
"""

MMX_SSE = """
    paddb mm0, mm1                | cr0=15                      => #UD
    paddb mm0, mm1                | cr0=19                      => #NM
    paddb mm0, mm1                | cr0=31 fpu_control=37b fp_image=0004037f => #MF
    paddb xmm0, xmm1              |                             => #UD
    paddb xmm0, xmm1              | cr4=200                     =>
    paddb xmm0, xmm1              | cr4=200 cr0=15              => #UD
    paddb xmm0, xmm1              | cr4=200 cr0=19              => #NM
    paddb xmm0, xmm1              | cr4=200 cr0=31 fpu_control=37b fp_image=0004037f =>
    movaps xmm0, xmmword ptr [ebx] | cr4=200 ebx=8008           => #GP(0)
    movups xmm0, xmmword ptr [ebx] | cr4=200 ebx=8008           =>
    sqrtss xmm0, xmm0             | cr4=200 mxcsr_masks=1f00 fp_image=37f =>
    stmxcsr dword ptr [ebx]       | cr4=200 ebx=8000 mxcsr_masks=1f00 => [8000]=001f0000
    ldmxcsr dword ptr [ebx]       | cr4=200 ebx=8000 [8000]=00000100 => #GP(0)
    ldmxcsr dword ptr [ebx]       | cr4=200 ebx=8000 [8000]=000e0000 => mxcsr_masks=e00 fp_ready=0
    fxsave [ebx]                  | ebx=8008                    => #GP(0)
    fxsave [ebx]                  | ebx=8000 cr0=19             => #NM
    fxrstor [ebx]                 | ebx=8000 [8018]=00000100    => #GP(0)
    divss xmm0, xmm1              | cr4=600 mxcsr_masks=1d80    => mxcsr_masks=1d80
    divss xmm0, xmm1              | cr4=600 mxcsr_masks=1f00    => #XM
    divss xmm0, xmm1              | cr4=200 mxcsr_masks=1f00    => #UD
"""

# Indices that wrap in the middle of a page, and the last byte of a segment: repetitions look at many bytes at once.
STRINGS = """
    .byte 0x67, 0xf3, 0xaa | es.base=8008 edi=fffe ecx=4 eax=55 => edi=2 ecx=0 [18006]=55550000 [8008]=555500
    .byte 0x67, 0xf3, 0xab | es.base=8008 edi=fffc ecx=2 eax=55 => edi=4 ecx=0 [18004]=5500000000 [8008]=5500000000
    .byte 0x67, 0xf3, 0xa4 | ds.base=8008 esi=fffe edi=90 ecx=3 [18006]=0102 [8008]=03 => esi=1 edi=93 ecx=0 [90]=010203
    .byte 0x67, 0xf3, 0xac | ds.base=8008 esi=fffe ecx=3 [18006]=0102 [8008]=03 => esi=1 ecx=0 eax=3
    .byte 0x67, 0xf2, 0xae | es.base=8008 edi=fffe ecx=9 eax=3 [18006]=0102 [8008]=03 => edi=1 ecx=6
    rep stosb   | es.limit=8002 edi=8000 ecx=4 eax=55     => #GP(0) edi=8003 ecx=1 [8000]=55555500
    rep stosw   | es.limit=8004 edi=8000 ecx=3 eax=5555   => #GP(0) edi=8004 ecx=1 [8000]=5555555500
    rep movsb   | es.limit=8002 esi=90 edi=8000 ecx=4 [90]=01020304 => #GP(0) esi=93 edi=8003 ecx=1 [8000]=01020300
    rep movsb   | ds.limit=8002 esi=8000 edi=90 ecx=4 [8000]=01020304 => #GP(0) esi=8003 edi=93 ecx=1 [90]=01020300
    repne scasb | es.limit=8002 edi=8000 ecx=4 eax=55     => #GP(0) edi=8003 ecx=1
    repe cmpsb  | ds.limit=8002 esi=8000 edi=9000 ecx=4   => #GP(0) esi=8003 edi=9003 ecx=1
    rep lodsb   | ds.limit=8002 esi=8000 ecx=4 [8000]=01020304 => #GP(0) esi=8003 ecx=1 eax=3
"""

CASES = [
    line.strip()
    for group in (
        DESCRIPTOR_TABLES,
        CONTROL_REGISTERS,
        DEBUG_REGISTERS,
        FLAGS,
        SEGMENTS,
        SELECTORS,
        TRANSFERS,
        PORTS,
        IDENTIFICATION,
        X87,
        MMX_SSE,
        STRINGS,
    )
    for line in group.strip().splitlines()
]


@pytest.mark.parametrize("text", CASES)
def test_line(engine: Processor, text: str) -> None:
    run_line(engine, text)
