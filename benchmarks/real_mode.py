"""Real-mode loops against QEMU's TCG: `python -m benchmarks.real_mode [KERNEL...]`.

Claim: at least twice TCG's rate. Each kernel is a boot sector with a loop as programs for DOS have them; CPU seconds of
whole processes that take turns, less those of one pass, which is mostly starting: the least of ROUNDS. Needs
qemu-system-i386 and a checkout.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from guest_images.assembler import assemble

ROUNDS = 3
WANTED = 2.0
# Passes, and one pass: DS and SS are 0, ES is 2000h; AX to DX, SI, DI and BP are free.
KERNELS = {
    "sieve": (3000, """
        xor di, di
        mov cx, 0x8000
    fill:
        mov byte ptr es:[di], 1
        inc di
        loop fill
        mov si, 2
    outer:
        cmp byte ptr es:[si], 0
        je next
        mov di, si
        add di, si
    strike:
        mov byte ptr es:[di], 0
        add di, si
        cmp di, 0x8000
        jb strike
    next:
        inc si
        cmp si, 181
        jb outer
    """),
    "strings": (15000, """
        push ds
        push es
        pop ds
        xor si, si
        mov di, 0x4000
        mov cx, 0x2000
        cld
    upper:
        lodsb
        cmp al, 'a'
        jb same
        cmp al, 'z'
        ja same
        sub al, 32
    same:
        stosb
        dec cx
        jnz upper
        mov si, 0x4000
        mov di, 0x8000
        mov cx, 0x1000
        rep movsw
        pop ds
    """),
    "frames": (25000, """
        mov ax, 15
        push ax
        call fib
        add sp, 2
        mov [0x510], ax
        jmp done
    fib:
        push bp
        mov bp, sp
        push si
        mov si, [bp+4]
        cmp si, 2
        jge deeper
        mov ax, si
        jmp leave_fib
    deeper:
        lea ax, [si-1]
        push ax
        call fib
        pop cx
        push ax
        lea ax, [si-2]
        push ax
        call fib
        pop cx
        pop dx
        add ax, dx
    leave_fib:
        pop si
        pop bp
        ret
    done:
        nop
    """),
    "sort": (2500, """
        mov di, 0x1000
        mov cx, 256
    random:
        mov ax, [0x520]
        mov dx, 25173
        mul dx
        add ax, 13849
        mov [0x520], ax
        mov [di], ax
        add di, 2
        loop random
        mov bp, 255
    rounds:
        mov si, 0x1000
        mov cx, bp
    compare:
        mov ax, [si]
        cmp ax, [si+2]
        jbe kept
        xchg ax, [si+2]
        mov [si], ax
    kept:
        add si, 2
        dec cx
        jnz compare
        dec bp
        jnz rounds
    """),
    "far calls": (3000, """
        mov cx, 2000
    calls:
        push cx
        call 0x40:(there - 0x400)
        pop cx
        loop calls
        jmp done
    there:
        push ds
        push es
        mov dword ptr [0x530], 0x30000000
        les di, [0x530]
        mov ax, cx
        mov es:[di+16], ax
        lds si, [0x530]
        xor ax, [si+16]
        add es:[di+20], ax
        pop es
        pop ds
        retf
    done:
        nop
    """),
    "interrupts": (500, """
        mov dword ptr [0x180], service
        mov cx, 10000
    calls:
        mov ah, 1
        int 0x60
        loop calls
        jmp done
    service:
        push bp
        mov bp, sp
        push bx
        mov bl, ah
        xor bh, bh
        add [bx+0x540], cl
        and word ptr [bp+6], 0xfffe
        pop bx
        pop bp
        iret
    done:
        nop
    """),
}  # fmt: skip
_SECTOR = """
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x6000
    mov word ptr [0x500], {passes}
pass_begins:
    mov ax, 0x2000
    mov es, ax
    {body}
    dec word ptr [0x500]
    jnz pass_begins
    mov al, 0x10
    mov dx, 0xf4
    out dx, al
    mov dx, 0x501
    out dx, al
for_ever:
    hlt
    jmp for_ever
"""
_QEMU = ["qemu-system-i386", "-accel", "tcg", "-display", "none", "-serial", "null"]
_QEMU += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]


def _image(path: Path, passes: int, body: str) -> Path:
    code = assemble(_SECTOR.format(passes=passes, body=body), 16, 0x7C00)
    path.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    return path


def _seconds(command: list[str]) -> float:
    """Of the processor's, that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(name: str, scratch: Path) -> tuple[float, float]:
    """Seconds of ours and of TCG for all passes but one."""
    passes, body = KERNELS[name]
    many, one = _image(scratch / "many", passes, body), _image(scratch / "one", 1, body)
    ours = [sys.executable, "-m", "bt.cli.main", "run", "--boot-sector"]
    theirs = [*_QEMU, "-drive"]
    runs = [
        [_seconds([*ours, str(image)]) if side == 0 else _seconds([*theirs, f"format=raw,file={image}"])
         for image in (many, one) for side in (0, 1)]
        for _ in range(ROUNDS)
    ]  # fmt: skip
    ours_many, theirs_many, ours_one, theirs_one = (min(column) for column in zip(*runs, strict=True))
    return ours_many - ours_one, theirs_many - theirs_one


def main() -> int:
    """Entry of the program."""
    worst = float("inf")
    with tempfile.TemporaryDirectory() as scratch:
        for name in sys.argv[1:] or KERNELS:
            ours, theirs = measured(name, Path(scratch))
            worst = min(worst, theirs / ours)
            print(f"{name:12} bt {ours:6.2f} s  TCG {theirs:6.2f} s  {theirs / ours:5.2f} times TCG's rate", flush=True)
    return int(worst < WANTED)


if __name__ == "__main__":
    raise SystemExit(main())
