"""Operands in FS and GS in tier 2: bases count, addresses wrap, and segments that are not whole are checked."""

from __future__ import annotations

import pytest

from bt.engine.library.shared import shared_library
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from bt.machine.result import Result
from guest_images.assembler import assemble
from tests.engine.identity.stops import CODE, DATA, MIB, Seen, stops

WRAPPING = 0xFFFF_F000  # a base from which offsets from 1000h on come round to 0
WHOLE_FS, WHOLE_GS, SMALL_FS, NULL = 0x18, 0x20, 0x28, 0
# selector: base, limit and granularity
SEGMENTS = {WHOLE_FS: (DATA, 0xFFFFF, "page"), WHOLE_GS: (WRAPPING, 0xFFFFF, "page"), SMALL_FS: (DATA, 0xFFF, "byte")}
# what is done in a loop of 200 rounds; EBX is 100h, EDI what brings GS to the data, ESI counts down
ROUNDS = {
    "loads and stores": "mov eax, fs:[ebx]\nadd eax, esi\nmov fs:[ebx+4], eax\nmov fs:[16], al",
    "an offset alone": "add dword ptr fs:[32], 3\nmov eax, fs:[32]\nmov fs:[36], eax",
    "base and index": "mov eax, fs:[ebx+esi*4+8]\nadd eax, ecx\nmov fs:[ebx+esi*4+12], eax",
    "an index alone": "inc dword ptr fs:[esi*8+64]\nadc eax, fs:[esi*8+64]",
    "wrapping": "mov eax, gs:[edi+64]\nadd eax, 7\nmov gs:[edi+64], eax",
    "wrapping, base and index": "mov ecx, 16\nadd dword ptr gs:[edi+ecx*4+4], esi",
    "flags": "sub eax, fs:[ebx]\nsbb fs:[ebx+8], eax\nsetc cl\nadd fs:[ebx], cl\njc over\ninc edx\nover:\nnop",
    "the stack": "push dword ptr fs:[ebx]\npop eax\nadd eax, 5\nmov fs:[ebx], eax\nmov edx, function\n"
    "mov fs:[ebx+8], edx\ncall dword ptr fs:[ebx+8]",
    "flags that processors leave to themselves": "shl eax, 5\nmov ecx, fs:[ebx]\nimul eax, fs:[ebx+4]\n"
    "mov ecx, fs:[ebx]\nshr dword ptr fs:[ebx], cl\nmov fs:[ebx+4], esi\npushfd\npop edx",
    "an address": "lea eax, fs:[ebx+esi]\nmov fs:[ebx], eax",
    "strings": "push esi\nmov esi, ebx\n.byte 0x64, 0xad\npop esi\nadd fs:[ebx], eax",
    "x87": "fild dword ptr fs:[ebx]\nfistp dword ptr fs:[ebx+4]",
    "a segment of other size": f"mov ecx, {SMALL_FS}\ntest esi, 8\njz over\nmov ecx, {WHOLE_FS}\nover:\nmov fs, ecx\n"
    "mov eax, fs:[ebx]\nadd eax, 3\nmov fs:[ebx], eax",
    "beyond the limit, in the end": f"cmp esi, 5\njne over\nmov ecx, {SMALL_FS}\nmov fs, ecx\nover:\nmov eax, fs:[edx]",
    "null, in the end": f"cmp esi, 5\njne over\nmov ecx, {NULL}\nmov fs, ecx\nover:\nmov eax, fs:[ebx]",
}
_PROGRAM = f"""
    mov esp, {DATA + 0x1000}
    lgdt [table_register]
    mov eax, {WHOLE_FS}
    mov fs, eax
    mov eax, {WHOLE_GS}
    mov gs, eax
    mov ebx, 0x100
    mov edx, 0x2000
    mov edi, {DATA + 0x1000}
    mov esi, 200
again:
    mov ecx, esi
    {{body}}
    dec esi
    jnz again
    cli
    hlt
function:
    add eax, 11
    ret
table_register:
    .word 0x2f
    .long table
    .align 8
table:
"""


def _descriptor(base: int, limit: int, granularity: str) -> int:
    flags = 0xC if granularity == "page" else 0x4
    low = base << 16 & 0xFFFF_FFFF | limit & 0xFFFF
    return (base & 0xFF00_0000 | flags << 20 | limit & 0xF_0000 | 0x93 << 8 | base >> 16 & 0xFF) << 32 | low


def _image(body: str) -> bytes:
    descriptors = [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF]
    descriptors += [_descriptor(*SEGMENTS[selector]) for selector in sorted(SEGMENTS)]
    code = assemble(_PROGRAM.format(body=body), 32, CODE)
    return code + b"".join(each.to_bytes(8, "little") for each in descriptors)


def _run(engine: EngineName, tier: TierName, body: str, step: int) -> tuple[list[Seen], int]:
    """Instructions, EIP, registers and flags at each stop after `step` instructions, memory then; those in units."""

    def look(made: Machine, result: Result) -> Seen:
        registers = [made.cpu.state["gpr", number] for number in range(8)]
        return result.reason, result.instructions, made.cpu.state["eip"], made.reg.eflags, *registers

    return stops(engine, tier, _image(body), step, 0x3000, look)


@pytest.mark.parametrize("step", [100_000, 337])
@pytest.mark.parametrize("name", ROUNDS)
def test_operands_are_those_of_the_interpreter(name: str, step: int) -> None:
    wanted, _ = _run("interp", "1", ROUNDS[name], step)
    found, in_units = _run("bt", "2", ROUNDS[name], step)
    assert found == wanted
    assert in_units > (0 if name == "x87" else 200)  # such operands are the interpreter's


def test_they_are_no_services() -> None:
    with Machine(MachineConfig(memory=4 * MIB, tier="2"), library=shared_library()) as made:
        made.load(_image(ROUNDS["base and index"]), flat=CODE)
        made.run()
        assert made.cpu.statistics()["unit_services"] < 10
