"""CPUID of the models that QEMU has too, by a boot sector that both run. What differs is listed, with the reason."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bt.machine import Machine, MachineConfig
from bt.x86 import cpu_model
from bt.x86.features import FEATURE_WORDS, FEATURES, IMPLIED
from guest_images.assembler import assemble

QEMU = shutil.which("qemu-system-i386")
# Features: bt shows those of the first set and QEMU 7.2 those of the second.
ONLY_BT, ONLY_QEMU = {"vme"}, set[str]()  # the emulator has no VME
HYPERVISOR = 1 << 31  # CPUID.1 ECX: QEMU says that it is one; the processors that bt shows say no such thing

# Prints EAX, EBX, ECX, EDX of leaves 0 and 1, each digit by hand, and leaves through the debug-exit port.
SOURCE = """
    xor ax, ax
    mov ss, ax
    mov sp, 0x7c00
    xor eax, eax
    call show
    mov eax, 1
    call show
    mov al, 0
    out 0xf4, al
    hlt
show:
    xor ecx, ecx
    cpuid
    push edx
    push ecx
    push ebx
    push eax
    mov di, 4
register:
    pop eax
    mov cx, 8
digit:
    rol eax, 4
    push eax
    and al, 15
    cmp al, 10
    sbb al, 0x69
    das
    call put
    pop eax
    loop digit
    mov al, 32
    call put
    dec di
    jnz register
    ret
put:
    mov dx, 0x3f8
    out dx, al
    ret
"""


@pytest.fixture(scope="module")
def sector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cpuid") / "cpuid.bin"
    path.write_bytes(assemble(SOURCE, 16, 0x7C00).ljust(510, b"\0") + b"\x55\xaa")
    return path


def under_qemu(sector: Path, model: str) -> list[int]:
    command = (
        f"{QEMU} -accel tcg -cpu {model} -m 16 -display none -serial stdio -no-reboot "
        f"-device isa-debug-exit,iobase=0xf4,iosize=4 -drive format=raw,file={sector}"
    )
    done = subprocess.run(command.split(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return [int(word, 16) for word in re.findall(r"[0-9A-F]{8}", done.stdout.decode())]


def under_bt(sector: Path, model: str) -> list[int]:
    output = bytearray()
    machine = Machine(MachineConfig(memory=16 << 20, cpu=model), serial=output.append)
    machine.load(sector)
    assert machine.run(max_insns=10_000).reason == "exit"
    machine.close()
    return [int(word, 16) for word in output.decode().split()]


@pytest.mark.skipif(QEMU is None, reason="qemu-system-i386 is not installed")
@pytest.mark.parametrize("model", ["486", "pentium", "pentium3"])
def test_same_processor_as_under_qemu(sector: Path, model: str) -> None:
    theirs, ours = under_qemu(sector, model), under_bt(sector, model)
    assert ours[1:4] == theirs[1:4], "GenuineIntel"
    assert ours[4] == theirs[4], "family, model, stepping"
    assert ours[6] == theirs[6] & ~HYPERVISOR
    edx = FEATURE_WORDS[FEATURES["fpu"].word].names
    names = {1 << bit: name for bit, name in enumerate(edx) if name != "-"}
    ours_only = {name for bit, name in names.items() if ours[7] & ~theirs[7] & bit}
    theirs_only = {name for bit, name in names.items() if theirs[7] & ~ours[7] & bit}
    assert ours_only == ONLY_BT
    assert theirs_only == (ONLY_QEMU if model != "486" else set())
    assert {name for bit, name in names.items() if ours[7] & bit} == cpu_model.parse(model).features - IMPLIED
