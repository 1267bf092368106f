"""QEMU as oracle: our entry states start real code on it, and its own multiboot loader agrees with ours.

To start one of *our* entry states on QEMU, everything a loader wrote is packed into a carrier, a multiboot image high
in memory, which unpacks it to where it belongs, loads every register and jumps.
"""

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bt.boot.detect import load
from bt.boot.state import EntryState
from guest_images.third_party import locate
from tests.boot.images import Ram, multiboot_elf, multiboot_raw

QEMU = shutil.which("qemu-system-i386")
pytestmark = pytest.mark.skipif(QEMU is None, reason="needs qemu-system-i386")

CARRIER = 0x500_0000  # above what the Debian kernel unpacks itself to
PAGE = 4096

_EXIT = b"\x66\xba\xf4\x00\xb0\x00\xee\xf4"  # mov dx, 0xf4; mov al, 0; out dx, al; hlt


def dump_guest(count: int) -> bytes:
    """Sends EAX, EBX and `count` bytes from [EBX] to COM1, then leaves through isa-debug-exit."""
    send_eax = b"\xee" + b"\xc1\xe8\x08\xee" * 3  # out dx, al; then three times shr eax, 8; out dx, al
    return (
        b"\x66\xba\xf8\x03"  # mov dx, 0x3f8
        + send_eax
        + b"\x89\xd8"  # mov eax, ebx
        + send_eax
        + b"\x89\xde\xb9"  # mov esi, ebx; mov ecx, count
        + struct.pack("<I", count)
        + b"\xf3\x6e"  # rep outsb
        + _EXIT
    )


def run_qemu(tmp_path: Path, image: bytes, *options: str, timeout: float = 60) -> bytes:
    """What the guest sends to COM1 until it leaves or time is up."""
    assert QEMU is not None
    kernel, output = tmp_path / "carrier", tmp_path / "serial"
    kernel.write_bytes(image)
    command = [QEMU, "-kernel", str(kernel), "-m", "128", "-display", "none", "-serial", f"file:{output}"]
    command += ["-no-reboot", "-net", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", *options]
    subprocess.run(command, timeout=timeout, capture_output=True, check=False)
    return output.read_bytes()


def carrier(state: EntryState, ram: Ram) -> bytes:
    """A multiboot image that recreates `state` and all pages of `ram` that are not zero."""
    used = [page for page in range(0, ram.size, PAGE) if any(ram.bytes[page : page + PAGE])]
    runs: list[list[int]] = []
    for page in used:
        if runs and runs[-1][1] == page:
            runs[-1][1] += PAGE
        else:
            runs.append([page, page + PAGE])
    descriptor = struct.pack("<HI", state.gdt_limit, state.gdt_base)
    contents = descriptor + b"".join(ram.bytes[start:end] for start, end in runs)
    code_at = CARRIER + 32
    contents_at = code_at + 0x1000
    code, source = b"\xfc", contents_at + len(descriptor)  # cld
    for start, end in runs:  # mov esi, source; mov edi, start; mov ecx, length; rep movsb
        code += struct.pack("<BIBIBI", 0xBE, source, 0xBF, start, 0xB9, end - start) + b"\xf3\xa4"
        source += end - start
    code += b"\x0f\x01\x15" + struct.pack("<I", contents_at)  # lgdt [contents_at]
    code += b"\xb8" + struct.pack("<I", state.segments["ds"].selector)  # mov eax, selector; mov ds/es/ss/fs/gs, ax
    code += b"".join(bytes([0x8E, modrm]) for modrm in (0xD8, 0xC0, 0xD0, 0xE0, 0xE8))
    for number, name in enumerate(("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")):
        code += bytes([0xB8 + number]) + struct.pack("<I", state.gpr[name])
    code += b"\x68" + struct.pack("<I", state.eflags) + b"\x9d"  # push eflags; popfd
    code += b"\xea" + struct.pack("<IH", state.eip, state.segments["cs"].selector)  # jmp far
    assert len(code) <= 0x1000
    return multiboot_raw(code.ljust(0x1000, b"\x90") + contents, load=CARRIER, bss=0)


def test_our_multiboot_entry_runs_on_qemu(tmp_path: Path) -> None:
    ram = Ram()
    state = load(multiboot_elf(dump_guest(256)), ram, append="hello", name="guest")
    output = run_qemu(tmp_path, carrier(state, ram))
    assert output[:8] == struct.pack("<II", 0x2BADB002, state.gpr["ebx"])
    assert output[8:] == ram.read(state.gpr["ebx"], 256)


def test_our_flat_entry_runs_on_qemu(tmp_path: Path) -> None:
    ram = Ram()
    # push ebp; pop ebx: the stack works; then EBX = 0 and memory from address 0
    state = load(b"\x55\x5b" + dump_guest(0), ram, flat=0x30_0000)
    assert run_qemu(tmp_path, carrier(state, ram)) == bytes(8)


@pytest.mark.parametrize("make", [multiboot_elf, multiboot_raw])
def test_qemu_and_we_give_the_same_information(tmp_path: Path, make: Callable[[bytes], bytes]) -> None:
    """As far as the machines are the same: ours has no BIOS, and no ACPI tables at the end of RAM."""
    made = make(dump_guest(116))
    module = tmp_path / "module"
    module.write_bytes(b"contents")
    output = run_qemu(tmp_path, made, "-append", "a b", "-initrd", f"{module} x")
    eax, _, *theirs = struct.unpack("<31I", output)
    ram = Ram(128 << 20)
    state = load(made, ram, append="a b", initrd=f"{module} x")
    ours = struct.unpack("<29I", ram.read(state.gpr["ebx"], 116))
    boot_device = 1 << 1  # we have no disk yet
    assert eax == state.gpr["eax"]
    assert theirs[0] & ~boot_device == ours[0]
    assert theirs[1] in (639, 640), "mem_lower"
    assert ours[1] == 639
    assert theirs[2] <= ours[2] <= theirs[2] + 1024, "mem_upper"
    assert theirs[5] == ours[5] == 1, "mods_count"


@pytest.mark.slow
@pytest.mark.skipif(locate("debian-12-linux") is None, reason="needs `make guests`")
def test_debian_kernel_starts_from_our_zero_page(tmp_path: Path) -> None:
    path = locate("debian-12-linux")
    assert path is not None
    ram = Ram(64 << 20)
    state = load(path, ram, append="earlyprintk=ttyS0 console=ttyS0 panic=-1", initrd=b"not an initrd " * 1000)
    lines = run_qemu(tmp_path, carrier(state, ram)).decode(errors="replace")
    assert "Linux version 6.1" in lines
    assert "Kernel command line: earlyprintk=ttyS0 console=ttyS0 panic=-1" in lines
    assert "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable" in lines
    assert "BIOS-e820: [mem 0x0000000000100000-0x0000000003ffffff] usable" in lines
    assert "RAMDISK: [mem 0x03ffc000-0x03ffffff]" in lines
