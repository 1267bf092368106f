"""Runs a multiboot guest under Bochs, which checks segment limits and types where QEMU's emulator does not.

Bochs knows no multiboot, so a boot sector of ours loads the guest's one segment by the BIOS and enters it as a
multiboot loader would. Bochs's only display without a screen listens on the network, so Bochs gets a network namespace
of its own.
"""

import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import Final

from guest_images.assembler import assemble

FIRMWARE: Final = Path("/usr/share/seabios/bios.bin")
VIDEO_FIRMWARE: Final = Path("/usr/share/seabios/vgabios-isavga.bin")
ISOLATE: Final = ("unshare", "--map-root-user", "--net")
SECTOR: Final = 512
SECTORS_AT_ONCE: Final = 127
CYLINDER_BYTES: Final = 16 * 63 * SECTOR
BOOT_ADDRESS, PROTECTED_MODE_ADDRESS = 0x7C00, 0x7D00
ENTRY_FIELD, ELF_HEADER_BYTES = 24, 52
LAST_LINES: Final = (b"ops=", b"self-check failed")
MODEL: Final = "p3_katmai"

REAL_MODE: Final = """
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov si, packet
    mov ah, 0x42            ; extended read
    int 0x13
    cli
    lgdt [gdt_register]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 8:PROTECTED_MODE_ADDRESS
packet:
    .byte 16, 0
    .word SECTORS, 0, 0x1000
    .long 1, 0
gdt_register:
    .word 23
    .long gdt
.align 8
gdt:
    .long 0, 0, 0xFFFF, 0x00CF9A00, 0xFFFF, 0x00CF9200
"""
PROTECTED_MODE: Final = """
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, 0x7000
    mov esi, 0x10000
    mov edi, LOAD_ADDRESS
    mov ecx, FILE_BYTES
    rep movsb
    mov ecx, MEMORY_BYTES - FILE_BYTES
    xor eax, eax
    rep stosb
    mov ebx, information
    mov eax, 0x2BADB002
    mov ecx, ENTRY
    jmp ecx
information:
    .long 4, 0, 0, 0, command_line
"""


def available() -> bool:
    """Whether Bochs, its firmware and a namespace to keep it in are there."""
    if not (shutil.which("bochs") and shutil.which(ISOLATE[0]) and FIRMWARE.is_file() and VIDEO_FIRMWARE.is_file()):
        return False
    return subprocess.run([*ISOLATE, "true"], capture_output=True, check=False).returncode == 0


def boot_disk(elf: bytes, options: str) -> bytes:
    """A hard disk that boots the multiboot ELF with `options` on its command line."""
    (entry,) = struct.unpack_from("<I", elf, ENTRY_FIELD)
    offset, load_address, _, file_bytes, memory_bytes = struct.unpack_from("<5I", elf, ELF_HEADER_BYTES + 4)
    sectors = -(-file_bytes // SECTOR)
    assert sectors <= SECTORS_AT_ONCE
    constants = (
        f"PROTECTED_MODE_ADDRESS = {PROTECTED_MODE_ADDRESS}\nSECTORS = {sectors}\nLOAD_ADDRESS = {load_address}\n"
        f"FILE_BYTES = {file_bytes}\nMEMORY_BYTES = {memory_bytes}\nENTRY = {entry}\n"
    )
    command_line = f'command_line:\n.byte "guest {options}", 0\n'
    boot = assemble(constants + REAL_MODE, 16, BOOT_ADDRESS).ljust(PROTECTED_MODE_ADDRESS - BOOT_ADDRESS, b"\0")
    boot += assemble(constants + PROTECTED_MODE + command_line, 32, PROTECTED_MODE_ADDRESS)
    assert len(boot) <= SECTOR - 2
    disk = boot.ljust(SECTOR - 2, b"\0") + b"\x55\xaa" + elf[offset : offset + file_bytes]
    return disk.ljust(CYLINDER_BYTES, b"\0")


def run(elf: bytes, options: str, folder: Path, timeout: float, model: str = MODEL) -> str:
    """Serial output of the guest on a CPU model of Bochs's; stopped after its last line, or after `timeout` seconds."""
    (folder / "disk.img").write_bytes(boot_disk(elf, options))
    (folder / "debugger").write_text("continue\n")
    (folder / "bochsrc").write_text(
        "megs: 32\n"
        f"romimage: file={FIRMWARE}\n"
        f"vgaromimage: file={VIDEO_FIRMWARE}\n"
        "ata0-master: type=disk, path=disk.img, mode=flat, cylinders=1, heads=16, spt=63\n"
        "boot: disk\n"
        "com1: enabled=1, mode=file, dev=serial.txt\n"
        'display_library: rfb, options="timeout=0"\n'
        "sound: driver=dummy\n"
        "log: bochs.log\n"
        f"cpu: model={model}, ips=100000000, ignore_bad_msrs=0\n"
    )
    serial = folder / "serial.txt"
    command = [*ISOLATE, "bochs", "-q", "-f", "bochsrc", "-rc", "debugger"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.1)
                lines = serial.read_bytes().splitlines(keepends=True) if serial.exists() else []
                if lines and lines[-1].startswith(LAST_LINES) and lines[-1].endswith(b"\n"):
                    break
        finally:
            process.kill()
    return serial.read_bytes().decode("ascii") if serial.exists() else ""
