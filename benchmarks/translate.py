"""What translation costs: `python -m benchmarks.translate [PASSES]`.

Claims: under 2 us and under 64 bytes of host code for each guest instruction, decoding included.

The guest is straight-line code, a mix of common instructions over and over at addresses of its own, that runs through
once and then again. The first pass decodes, translates and executes, the second executes; the difference is what
translation costs. Needs no counter of the translator's own, and so checks those it keeps.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from statistics import median

from bt.cli import library
from bt.end import End
from bt.errors import BtError
from bt.machine import Machine, MachineConfig
from guest_images.assembler import assemble

LIMIT_NS, LIMIT_BYTES = 2000.0, 64.0
LOAD_ADDRESS = 0x10_0000
COPIES = 1500

# Where the jumps go does not depend on the address. ebx points to memory, the calls go to the ret below.
MIX = """
    mov eax, [ebx + 0x10]
    add eax, ecx
    mov [ebx + 0x20], eax
    test eax, eax
    je .skip1
    inc ecx
.skip1:
    lea esi, [ebx + ecx * 4]
    push eax
    push ebp
    mov ebp, esp
    movzx edx, byte [ebx + 3]
    cmp edx, 17
    jne .skip2
    xor edi, edi
.skip2:
    sub edi, edx
    mov eax, [ebp + 4]
    and eax, 0xff00ff
    shl eax, 3
    or dword [ebx + 0x40], 8
    imul edx, eax
    cmp ecx, [ebx + 8]
    setb dl
    mov ecx, 77
    pop ebp
    pop eax
    neg edi
    call .callee
    jmp .end
.callee:
    mov edx, [esp]
    ret
.end:
"""


def program() -> bytes:
    """Raw code for LOAD_ADDRESS: the mix COPIES times, an exit, and from the start again."""
    prologue = assemble("mov esp, 0x90000\nmov ebx, 0x80000\nxor ecx, ecx\n", 32, LOAD_ADDRESS)
    body = prologue + assemble(MIX, 32, LOAD_ADDRESS) * COPIES + b"\xe6\xf4"  # out 0xf4, al
    return body + b"\xe9" + struct.pack("<i", -(len(body) + 5))


@dataclass(frozen=True)
class Pass:
    """CPU seconds of the first and second time through, and what the translator counted."""

    cold_seconds: float
    warm_seconds: float
    insns: int
    host_bytes: int
    cold_bytes: int

    @property
    def ns(self) -> float:
        """Nanoseconds for each guest instruction translated."""
        return (self.cold_seconds - self.warm_seconds) * 1e9 / self.insns


def measure(code: bytes) -> Pass:
    """One machine of its own, with a code cache of its own."""
    machine = Machine(MachineConfig(memory=8 << 20, engine="bt"), library=library.load())
    machine.load(code, flat=LOAD_ADDRESS)
    cold, warm = machine.run(timeout=60), machine.run(timeout=60)
    if not cold.reason is warm.reason is End.EXIT:
        raise BtError(f"benchmarks.translate: the guest ended by {cold.reason} and {warm.reason}")
    counters = warm.statistics
    machine.close()
    return Pass(
        cold.cpu_seconds, warm.cpu_seconds, counters["translated_insns"], counters["host_bytes"], counters["cold_bytes"]
    )


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    code = program()
    passes = [measure(code) for _ in range(count)]
    first = passes[0]
    ns, size = median(each.ns for each in passes), first.host_bytes / first.insns
    print(f"{first.insns:,} guest instructions translated, {len(code):,} bytes of guest code")
    spread = f"{min(each.ns for each in passes):.0f}..{max(each.ns for each in passes):.0f}"
    print(f"translation: {ns:.0f} ns an instruction (median of {count}, {spread})")
    print(f"host code: {size:.1f} bytes an instruction, and {first.cold_bytes / first.insns:.1f} in cold stubs")
    return int(ns > LIMIT_NS or size > LIMIT_BYTES)


if __name__ == "__main__":
    raise SystemExit(main())
