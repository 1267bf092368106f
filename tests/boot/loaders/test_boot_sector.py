"""Boot sectors: how they are entered, what is refused, what happens without a BIOS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bt.boot.detect import load
from bt.errors import BadImage, BadUsage
from bt.machine import EngineName, Machine, MachineConfig
from guest_images.assembler import assemble
from tests.boot.images import Ram

MEMORY = 16 << 20
QEMU = shutil.which("qemu-system-i386")


def sector(code: bytes, size: int = 512) -> bytes:
    """A boot sector, with further sectors behind it up to `size` bytes."""
    return code.ljust(510, b"\0") + b"\x55\xaa" + bytes(size - 512)


def test_entry_is_what_firmware_leaves() -> None:
    ram = Ram(MEMORY)
    image = sector(b"\xf4", 1536)
    entry = load(image, ram, boot_sector=True)
    assert (entry.entry_kind, entry.eip, entry.cr0) == ("boot sector", 0x7C00, 0x10)
    assert (entry.gpr["edx"], entry.gpr["esp"]) == (0x80, 0x7C00)
    assert {(s.selector, s.base, s.limit, s.flags32) for s in entry.segments.values()} == {(0, 0, 0xFFFF, False)}
    assert ram.read(0x7C00, len(image)) == image


def test_recognised_by_its_signature() -> None:
    assert load(sector(b"\xf4"), Ram(MEMORY)).entry_kind == "boot sector"


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (b"\xf4" * 512, r"x: no boot sector \(bytes 510 and 511 are not 55 AA\): no BIOS would start it"),
        (b"\xfd7zXZ\0" + bytes(600), r"x: compressed with xz; unpack it first \(unxz\)"),
        (bytes(0x8001) + b"CD001" + bytes(9), r"x: an ISO 9660 image \(CD or DVD\); give it with -cdrom"),
        (b"", r"x: no boot sector \(0 bytes, a sector has 512\)"),
        (sector(b"")[:511], r"x: no boot sector \(511 bytes, a sector has 512\)"),
        (sector(b"", 1 << 20), r"x: 1048576 bytes are no boot sector; at most 492544 fit below 512 KiB"),
    ],
)
def test_refused(image: bytes, complaint: str) -> None:
    ram = Ram(MEMORY)
    with pytest.raises(BadImage, match=complaint):
        load(image, ram, boot_sector=True, name="x")
    assert not any(ram.bytes)


def test_takes_no_command_line() -> None:
    with pytest.raises(BadUsage, match="a boot sector cannot take -append"):
        load(sector(b""), Ram(MEMORY), append="a")


def run(source: str, engine: EngineName = "interp") -> tuple[str, int, str, str]:
    """Reason, status, detail and serial output of a boot sector."""
    output = bytearray()
    machine = Machine(MachineConfig(memory=MEMORY, engine=engine), serial=output.append)
    machine.load(sector(assemble(source, 16, 0x7C00)), boot_sector=True)
    result = machine.run(max_insns=5_000_000)
    machine.close()
    return result.reason, result.status, result.detail, output.decode()


@pytest.mark.parametrize("number", [0, 8, 0x10, 0x13, 0xFF])
def test_a_bios_service_ends_the_run(number: int) -> None:
    detail = f"int {number:#04x} with AX=0x0e41; bt has no BIOS"
    assert run(f"mov ax, 0x0e41\nint {number}") == ("bios-service", 2, detail, "")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("nop; ud2", "0x06 (#UD) at 0000:7c01"),
        ("xor cx, cx; div cx", "0x00 (#DE) at 0000:7c02"),
        ("mov ax, [0xffff]", "0x0d (#GP or IRQ 5) at 0000:7c00"),
        ("jmp 0x7c0:0x10; .space 11, 0x90; ud2", "0x06 (#UD) at 07c0:0010"),
        ("mov al, 0x34; out 0x43, al; out 0x40, al; out 0x40, al; mov al, 0xfe; out 0x21, al; hlt",
         "0x08 (#DF or IRQ 0) at 0000:7c0c"),
    ],
)  # fmt: skip
def test_an_interrupt_without_a_handler_ends_the_run(source: str, what: str) -> None:
    assert run(source.replace("; ", "\n")) == ("no-handler", 2, what, "")


def test_a_halt_of_its_own_is_none() -> None:
    assert run("cli\nhlt") == ("halted", 0, "", "")


def test_is_not_both_flat_and_a_boot_sector() -> None:
    with pytest.raises(BadUsage, match="x: --flat 0x7c00 is entered in 32-bit mode, --boot-sector in real mode"):
        load(sector(b""), Ram(MEMORY), boot_sector=True, flat=0x7C00, name="x")


# -- programs, as people write them -----------------------------------------------------------------------------------

PRINT = """
print:                          ; si = text, zero-terminated; the serial port as the firmware left it
    lodsb
    test al, al
    jz printed
    mov dx, 0x3f8
    out dx, al
    out 0xe9, al
    jmp print
printed:
    ret
leave:
    mov al, 0
    out 0xf4, al
    cli
    hlt
"""
HELLO = """
    cld
    xor ax, ax
    mov ds, ax
    mov si, hello
    call print
    jmp leave
hello:
    .byte "Hello, boot!\\r\\n", 0
"""
# The A20 gate by port 92h and by the keyboard controller: 0000:0500 and FFFF:0510 are the same byte while it is shut.
A20 = """
    cli
    cld
    xor ax, ax
    mov ds, ax
    dec ax
    mov es, ax
    mov di, text
    call look
    in al, 0x92
    and al, 0xfc
    out 0x92, al
    call look
    or al, 2
    out 0x92, al
    call look
    mov ah, 0xdd
    call controller
    call look
    mov ah, 0xdf
    call controller
    call look
    mov si, text
    call print
    jmp leave
controller:                     ; write ah to the output port of the 8042
    call ready
    mov al, 0xd1
    out 0x64, al
    call ready
    mov al, ah
    out 0x60, al
ready:
    in al, 0x64
    test al, 2
    jnz ready
    ret
look:                           ; append '1' to the text if the gate is open, '0' if not
    mov byte [0x500], 0x55
    mov byte es:[0x510], 0xaa
    cmp byte [0x500], 0xaa
    mov byte [di], 0x30
    je shut
    inc byte [di]
shut:
    inc di
    ret
text:
    .byte 0, 0, 0, 0, 0, 0x0a, 0
"""
# Copies itself beyond 1 MiB with 32-bit addresses in real mode, and back to another place.
UNREAL = """
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    lgdt [table]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov bx, 8
    mov ds, bx
    mov es, bx
    and al, 0xfe
    mov cr0, eax
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov esi, 0x7c00
    mov edi, 0x123000
    mov ecx, 128
    .byte 0x67
    rep movsd
    mov esi, 0x123000
    mov edi, 0x8000
    mov ecx, 128
    .byte 0x67
    rep movsd
    mov si, 0x7c00
    mov di, 0x8000
    mov cx, 256
    repe cmpsw
    mov si, same
    je told
    mov si, different
told:
    call print
    jmp leave
same:
    .byte "unreal: same\\n", 0
different:
    .byte "unreal: different\\n", 0
    .align 8
table:
    .word 15
    .long table
    .word 0
    .long 0x0000ffff, 0x00cf9200
"""
# Counts ticks of the timer by its own handler at the vector that every BIOS gives it.
TICKS = """
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov word [0x20], tick
    mov word [0x22], 0
    mov al, 0x36
    out 0x43, al
    mov al, 0
    out 0x40, al
    mov al, 0x10
    out 0x40, al
    mov al, 0xfe
    out 0x21, al
    mov di, text
    sti
wait:
    hlt
    cmp di, text + 5
    jb wait
    mov si, text
    call print
    jmp leave
tick:
    mov byte [di], 0x2e
    inc di
    mov al, 0x20
    out 0x20, al
    iret
text:
    .space 5
    .byte 0x0a, 0
"""
PROGRAMS = {
    "hello": (HELLO, "Hello, boot!\r\n"),
    "a20": (A20, "10101\n"),
    "unreal": (UNREAL, "unreal: same\n"),
    "ticks": (TICKS, ".....\n"),
}


@pytest.mark.parametrize("engine", ["interp", "bt"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, engine: EngineName) -> None:
    source, expected = PROGRAMS[name]
    assert run(source + PRINT, engine) == ("exit", 1, "", expected)


@pytest.mark.skipif(QEMU is None, reason="qemu-system-i386 is not installed")
@pytest.mark.parametrize("drive", ["if=ide", "if=floppy"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_says_the_same_under_qemu(name: str, drive: str, tmp_path: Path) -> None:
    source, expected = PROGRAMS[name]
    image, console = tmp_path / "boot.img", tmp_path / "console"
    image.write_bytes(sector(assemble(source + PRINT, 16, 0x7C00), 1440 << 10))
    command = (
        f"{QEMU} -accel tcg -m 16 -display none -serial stdio -debugcon file:{console} -no-reboot -boot order=ac "
        f"-device isa-debug-exit,iobase=0xf4,iosize=4 -drive format=raw,{drive},file={image}"
    )
    done = subprocess.run(command.split(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.decode()) == (1, expected)
    assert console.read_bytes().decode().endswith(expected)
