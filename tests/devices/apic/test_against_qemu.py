"""The local APIC against QEMU's: a script of register accesses and of moments with interrupts on, run by a guest.

QEMU's local APIC answers its processor only, so the script is executed by a small program there. Left out is what QEMU
does otherwise: it has no broadcast to all clusters; its timer starts anew when the divisor changes and runs one count
longer; the error local vector is not raised by sending; the timer's count, which runs by the host's clock; illegal
registers.
"""

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import keystone
import pytest

from tests.devices.apic.test_local_apic import Board
from tests.devices.qtest import Qemu, needs_qemu

pytestmark = needs_qemu

APIC = 0xFEE00000
END, READ, WRITE, WINDOW = range(4)  # of a script
CLOSED = 0xFFFF_FFFF  # recorded at the end of a window
GDT, POINTERS, CODE, IDT, STUBS, DONE, SCRIPT, RECORD = (
    0x800, 0x840, 0x1000, 0x4000, 0x6000, 0x3000, 0x10000, 0x40000,
)  # fmt: skip
START = bytes.fromhex("fa660f011640080f20c00c010f22c066ea001000000800")  # cli; lgdt [840h]; into protected mode
PROGRAM = f"""
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x3000
    lidt [{POINTERS + 8}]
    mov al, 0xff
    out 0x21, al
    out 0xa1, al
    mov esi, {SCRIPT}
    mov edi, {RECORD}
next:
    lodsd
    cmp eax, {READ}
    je read
    cmp eax, {WRITE}
    je write
    cmp eax, {WINDOW}
    je window
    mov dword ptr [{DONE}], 1
stop:
    hlt
    jmp stop
read:
    lodsd
    mov eax, [eax]
    stosd
    jmp next
write:
    lodsd
    mov ebx, eax
    lodsd
    mov [ebx], eax
    jmp next
window:
    sti
    nop
    nop
    cli
    mov eax, {CLOSED}
    stosd
    jmp next
"""
TAKEN = bytes.fromhex("58abcf")  # pop eax; stosd; iretd

Step = tuple[int, int, int]


def run_on_qemu(directory: Path, script: list[Step]) -> list[int]:
    bios = directory / "start.bin"
    bios.write_bytes(START.ljust(0xFFF0, b"\0") + bytes.fromhex("ea000000f0").ljust(16, b"\0"))
    code = bytes(keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32).asm(PROGRAM, CODE)[0])
    with Qemu("-machine", "pc", "-nodefaults", "-m", "4", "-bios", str(bios), qmp=True) as qemu:
        flat = bytes.fromhex("ffff0000009bcf00 ffff00000093cf00")
        qemu.write_bytes(GDT, bytes(8) + flat)
        qemu.write_bytes(POINTERS, struct.pack("<HIxxHI", 23, GDT, 0x7FF, IDT))
        qemu.write_bytes(CODE, code)
        gates, stubs = b"", b""
        for vector in range(256):
            at = STUBS + 16 * vector
            gates += struct.pack("<HHHH", at, 8, 0x8E00, 0)
            stubs += (b"\x68" + struct.pack("<I", vector) + TAKEN).ljust(16, b"\x90")
        qemu.write_bytes(IDT, gates)
        qemu.write_bytes(STUBS, stubs)
        words = []
        for kind, offset, value in script:
            words += [kind, *([APIC + offset] if kind != WINDOW else []), *([value] if kind == WRITE else [])]
        qemu.write_bytes(SCRIPT, struct.pack(f"<{len(words) + 1}I", *words, END))
        qemu.qmp("cont")
        give_up = monotonic() + 20
        while not qemu.read(DONE, 4) and monotonic() < give_up:
            sleep(0.02)
        assert qemu.read(DONE, 4) == 1
        length = len(run_on_ours(script)) + 64  # some more, in case it took more interrupts
        return list(struct.unpack(f"<{length}I", qemu.read_bytes(RECORD, 4 * length)))


def run_on_ours(script: list[Step]) -> list[int]:
    board = Board()
    board.apic.reset()
    record = []
    for kind, offset, value in script:
        if kind == READ:
            record.append(board.get(offset))
        elif kind == WRITE:
            board.put(offset, value)
        else:
            record += [*board.taken(), CLOSED]
    return record


def script_of(rng: random.Random) -> Iterator[Step]:
    for offset in (0x20, 0x30, 0x80, 0xA0, 0xD0, 0xE0, 0xF0, 0x280, 0x300, 0x310, *range(0x320, 0x380, 16), 0x3E0):
        yield READ, offset, 0
    yield WRITE, 0xF0, 0x1FF
    yield WRITE, 0xD0, 0x0300_0000
    for _ in range(1500):
        match rng.randrange(14):
            case 0 | 1 | 2 | 3:
                vector = rng.choice([rng.randrange(16, 256), rng.randrange(0x40, 0x60)])
                kind = rng.choice([0x40000, 0x40000, 0x80000, 0xC0000, 0x0000, 0x0800])
                everybody = 0x0F if kind & 0x800 else 0xFF
                yield WRITE, 0x310, rng.choice([0x00, 0x01, 0x02, 0x03, 0x04, everybody]) << 24
                yield WRITE, 0x300, kind | vector
            case 4 | 5:
                yield WRITE, 0xB0, 0
            case 6:
                yield WRITE, 0x80, rng.choice([0, 0, 0x20, 0x45, rng.randrange(256)])
            case 7 | 8:
                yield WINDOW, 0, 0
            case 9:
                yield READ, 0xA0, 0
            case 10:
                yield READ, rng.choice([0x100, 0x180, 0x200]) + 16 * rng.randrange(8), 0
            case 11:
                offset = rng.choice([0x340, 0x360])
                yield WRITE, offset, rng.getrandbits(32) & 0x0001_00FF | 0x10000
                yield READ, offset, 0
            case 12:
                offset, mask = rng.choice([(0x3E0, 0xB), (0xE0, 0xF000_0000), (0x380, 0xFFFF)])
                value = rng.getrandbits(32) & mask
                yield WRITE, offset, value if offset != 0xE0 else rng.choice([0, 0xF000_0000]) | 0x0FFF_FFFF
                yield READ, offset, 0
            case _:
                yield READ, rng.choice([0x300, 0x310, 0xD0, 0xF0, 0x80]), 0


@pytest.mark.parametrize("seed", range(4))
def test_same_answers(tmp_path: Path, seed: int) -> None:
    script = list(script_of(random.Random(seed)))
    ours = run_on_ours(script)
    theirs = run_on_qemu(tmp_path, script)
    differences = [(n, hex(a), hex(b)) for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b]
    assert differences[:5] == []
    assert theirs[len(ours) :] == [0] * 64
