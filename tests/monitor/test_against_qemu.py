"""The monitor's answers beside QEMU's, for the same guest in the same state."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bt import Address, Insns, Machine
from bt.monitor.monitor import Monitor
from guest_images.assembler import assemble
from tests.boot.images import multiboot_raw
from tests.firmware.seabios import booted, needs_seabios
from tests.monitor.qemu_monitor import QemuMonitor, qemu

LOAD = 0x10_0000
# It leaves nothing to chance: each register that is compared is set. Pages: 4 MiB one to one as user's, two read-only,
# one elsewhere, 4 MiB at 8 MiB as one large page.
SOURCE = """
    cli
    lgdt [gdtr]
    jmp 8:flush
flush:
    mov eax, 10h
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov eax, 1bh            ; a segment of CPL 3, with a limit, expand-down
    mov gs, eax
    mov eax, 20h
    lldt ax
    mov eax, 28h
    ltr ax
    mov edi, 200000h
    mov eax, 7
    mov ecx, 1024
fill:
    stosd
    add eax, 1000h
    loop fill
    mov dword [200008h], 2005h
    mov dword [20000ch], 3001h
    mov dword [200010h], 9103h
    mov dword [201000h], 200007h
    mov dword [201008h], 800083h
    mov eax, cr4
    or eax, 10h             ; PSE
    mov cr4, eax
    mov eax, 201000h
    mov cr3, eax
    mov eax, cr0
    or eax, 80010020h       ; PG, WP, NE
    and eax, 9fffffffh
    mov cr0, eax
    mov al, 11h
    out 20h, al
    mov al, 40h
    out 21h, al
    mov al, 4
    out 21h, al
    mov al, 1
    out 21h, al
    mov al, 0abh
    out 21h, al
    lidt [idtr]
    fninit
    mov eax, 12345678h
    mov ebx, 9abcdef0h
    mov ecx, 1
    mov edx, 2
    mov esi, 3
    mov ebp, 5
    mov esp, 180000h
    mov edi, 80000000h
    add edi, edi            ; OF ZF PF CF
    mov edi, 4
here:
    jmp here
    .align 8
gdt:
    .long 0, 0, 0ffffh, 0cf9b00h, 0ffffh, 0cf9300h, 0fffh, 40f700h, 0ffh, 8200h
    .word 67h, 0
    .byte 0, 89h, 0, 0
    .word 0, 0
    .align 4
gdtr:
    .word 2fh
    .long gdt
idtr:
    .word 7ffh
    .long 300000h
text:
    .byte 69h, 74h, 27h, 73h, 10, 0, 255, 80h
"""


def image() -> bytes:
    return multiboot_raw(assemble(SOURCE, 32, LOAD + 32), load=LOAD)


def address(mark: bytes, after: int = 0) -> int:
    return LOAD + image().index(mark) + after


HERE = address(b"\xeb\xfe")
TEXT = address(b"it's\n")
Ask = Callable[[str], str]
# fmt: off
LINES = (
    "info tlb", "info mem", "info status", f"x/8xb {TEXT:#x}", f"x/8c {TEXT:#x}", f"x/5dh {TEXT:#x}",
    f"x/5uw {TEXT:#x}", f"x/3xg {TEXT:#x}", f"x/3ob {TEXT:#x}", f"x/3ow {TEXT:#x}", f"xp/9xw {TEXT:#x}",
    f"xp/2dg {TEXT:#x}", "x/2xw 0x900000", "x/2xw 0x7ffff0", "x/8xw 0x4ffff8", "print $eax", "print/d $eip",
    "p/c 0x41", "p/o 8", "p/u -1", "p/d -1", "p/x 1+2*3", "p/d 1 + 2 & 3", "p/x (1+2)*3", "p/x ~0", "p/d 7/2",
    "p/d 7%4", "p/x 'A'", "p/x 0x10|1", "p/x 6^3", "p/x 010", "foo", "info foo", "x/zz 0", "sendkey foo", "print",
    "help p", "eject foo", "change foo bar", "p/x 1/0", "p $rubbish",
)
# fmt: on


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ask, Ask]]:
    """bt's monitor and QEMU's, with the guest in its last loop."""
    path = tmp_path_factory.mktemp("monitor") / "kernel"
    path.write_bytes(image())
    with (
        qemu(["-M", "pc,accel=tcg", "-cpu", "qemu32", "-m", "16", "-kernel", str(path)]) as theirs,
        Machine(memory="16M") as pc,
    ):
        pc.load(path)
        assert pc.run(until=Address(HERE), limit=Insns(10**6)).where.linear == HERE
        pc.run(max_insns=2)
        _wait_until(theirs, f"EIP={HERE:08x}")
        theirs.execute("stop")
        yield Monitor(pc).execute, theirs.execute


def _wait_until(theirs: QemuMonitor, text: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while text not in theirs.execute("info registers"):
        assert time.monotonic() < deadline, theirs.execute("info registers")
        time.sleep(0.05)


def test_registers(both: tuple[Ask, Ask]) -> None:
    ours, theirs = (ask("info registers") for ask in both)
    # QEMU keeps what the descriptor was before LTR has marked it as busy
    assert ours == theirs.replace("00008900 DPL=0 TSS32-avl", "00008b00 DPL=0 TSS32-busy")


@pytest.mark.parametrize("line", LINES)
def test_answers(both: tuple[Ask, Ask], line: str) -> None:
    """Not compared: registers with bit 31 set, which QEMU extends to 64 bits."""
    ours, theirs = (ask(line) for ask in both)
    theirs = re.sub(r"Try \"help.*\n", "", theirs)
    assert ours == theirs.replace(" (prelaunch)", "")


def test_interrupt_controllers(both: tuple[Ask, Ask]) -> None:
    """What is asked for is each machine's own: its timer may tick, or not."""
    ours, theirs = (
        [re.sub(r"irr=..", "irr=", line) for line in ask("info pic").splitlines() if "pic0" in line] for ask in both
    )
    assert ours == theirs


@needs_seabios
def test_pci_as_seabios_has_left_it(tmp_path: Path) -> None:
    with booted(tmp_path) as pc:
        ours = Monitor(pc).execute("info pci")
    disk = ["-drive", f"file={tmp_path / 'disk'},format=raw,if=ide,snapshot=on"]
    with qemu(["-M", "pc,accel=tcg", "-m", "64", *disk]) as theirs:
        deadline = time.monotonic() + 30
        while "at 0xfd000000" not in (want := theirs.execute("info pci")) or "0000c0" not in want.replace(
            "0xc0", "0000c0"
        ):
            assert time.monotonic() < deadline, want
            time.sleep(0.2)
    assert ours == want
