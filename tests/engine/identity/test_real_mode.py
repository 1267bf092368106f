"""Units of real mode: limits and wrapping, segment registers, the stack, far transfers, interrupts, as the interpreter
has them."""

from __future__ import annotations

import pytest

from bt.engine.library.shared import shared_library
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from bt.x86.state import SEGMENT_NAMES
from guest_images.assembler import assemble
from tests.engine.identity.stops import MIB, Seen

_MOST = 1_000_000  # instructions
_START, _DATA, _DATA_BYTES = 0x7C00, 0x20000, 0x10000
# What is done in a loop of 300 rounds, the number in DX from the top, and before it. DS and ES are the data. CX and SI
# are free, and the flags are noted in each round. Exceptions go to a handler that counts and skips four bytes, behind
# three of which NOPs stand.
_SKIPPED = "nop\nnop\nnop"
BODIES = {
    "words, bytes and double words": "mov ax, [si]\nadd [si+2], al\nadd dword ptr [si+4], 0x12345\nadc [si-2], ah\n"
    "xor byte ptr [bx+si+7], 5\n"
    "xchg ax, [si+6]\nxchg [si+8], ecx\nxchg [si+10], cl\nadd si, 2",
    "a word at the end of its segment": f"mov bx, 0xffff\nmov [bx], ax\n{_SKIPPED}\ninc ax",
    "up to the end of a segment": f"mov si, dx\nsub si, 150\nmov ax, [si]\n{_SKIPPED}\ninc ax\n"
    f"mov [si+2], ax\n{_SKIPPED}",
    "a double word beyond": f"mov bx, 0xfffe\nmov eax, [bx]\n{_SKIPPED}\ninc ax\nmov [bx], ax",
    "an offset that wraps": "mov bx, 0xfff0\nmov al, [bx+0x20]\nadd al, dl\nmov [bx+0x20], al\nmov si, 0xffff\n"
    "mov ah, [bx+si+5]\nmov [bx+si+4], ah",
    "an offset of 32 bits": f"mov ebx, 0xfffe\nmov ax, [ebx]\nadd ax, dx\nmov [ebx], ax\nmov al, [ebx+1]\n"
    f"mov al, [ebx+2]\n{_SKIPPED}\nmov eax, [ebx]\n{_SKIPPED}",
    "upper halves": "or ebx, 0x50000\nmov bx, 0x100\nmov ax, [bx]\nadd ax, dx\nmov [bx+2], ax\nor ebp, 0x80000000\n"
    "mov bp, 0x200\nmov [bp], ax\ninc word ptr [bp+2]\nmov [bp-2], al",
    "high byte registers": "mov bh, [si]\nadd bh, dl\nmov [si+1], bh\nxor [si], bh\nmov ah, [si+3]\nadd bl, bh\n"
    "sub bh, ah\nmov [bx+si], ch\nxchg bh, [si]\nmov bl, 3\nror bh, 1\nmov cl, bh",
    "frames": "push dx\ncall framed\npop ax\nadd [0x40], ax",
    "a stack that wraps": f"mov cx, sp\nmov sp, 2\npush dx\npush ax\npush cx\npop ax\npop ax\npop ax\nmov sp, 0xfffe\n"
    f"pop ax\nmov sp, cx\npush eax\npop eax\nmov [2], sp\n{_SKIPPED}",
    "a stack whose ESP is long": "or esp, 0x70000\npush ax\npush dx\npop ax\npop cx\nmov [4], sp\nand esp, 0xffff",
    "segment registers": "push ds\npop es\nmov ax, es\nadd ax, 1\nmov es, ax\nmov ax, es:[si]\nadd es:[si], dx\n"
    "mov es, [6]\nmov [8], es\nmov [10], ds\nmov eax, es\nmov fs, dx\nmov gs, ax\nmov fs:[0x8000], al\nmov es, [12]",
    "far pointers": "mov word ptr [0x10], 0x123\nmov word ptr [0x12], 0x2100\nles bx, [0x10]\nadd es:[bx], dx\n"
    f"push ds\nlds si, [0x10]\nadd [si], dx\npop ds\nmov bx, 0xfffd\nles si, [bx]\n{_SKIPPED}",
    "far calls": "call 0:far_function\npush cs\ncall near_function\njmp 0x7c0:(there - 0x7c00)\nthere:\n"
    "jmp 0:back\nback:\nnop",
    "interrupts": "int 0x60\nmov ax, dx\nint 0x60\npushf\npush cs\ncall interrupt\n",
    "an interrupt that comes to its end with TF": "pushf\npop ax\nor ax, 0x100\ntest dl, 7\n"
    "jz over\nand ax, 0xfeff\nover:\npush ax\npush cs\npush there\niret\nthere:\ninc word ptr [0x50]\nnop",
    "interrupts off and on": "pushf\nand byte ptr [bp+0], 0\npop ax\nxor ax, 0x200\npush ax\npush cs\n"
    "push there\niret\nthere:\npushf\npop word ptr [0x54]",
    "interrupts that are let in": "sti\nint 0x60\ncli",
    "flags as a whole": "std\npushf\npop ax\nxor ax, dx\nand ax, 0x8d5\npush ax\npopf\n"
    "lodsb\ncli\npushf\npop word ptr [0x58]\n"
    "cld\nsti\npushf\nadd ax, 5\npopf\nadc ax, 0\nmov si, 0x400\ncli",
    "TF from POPF": "pushf\npop ax\nor ax, 0x100\ntest dl, 7\njz over\nand ax, 0xfeff\nover:\npush ax\npopf\n"
    "inc word ptr [0x50]\nnop\nnop\nnop\npush dx\npopf\ncld\ncli",
    "a frame that wraps": "mov cx, sp\nmov sp, 4\nint 0x60\nmov sp, cx",
    "a table of interrupts cut short": "lidt [0x60]\ntest dl, 15\njnz over\nint 0x60\nnop\nnop\nnop\n"
    "over:\nlidt [0x68]",
    "counting in CX": "or ecx, 0x30000\nmov cx, 5\nmore:\nadd ax, cx\nloop more\njcxz none\ninc ax\nnone:\nmov cx, 3\n"
    "again2:\ndec byte ptr [0x20]\nloopne again2\nmov [0x24], ecx",
    "strings": "cld\nmov si, 0xfffe\nmov di, 0xfffd\nlodsw\nmovsb\nmovsb\nstosb\nscasb\nlodsb\nstd\n"
    "mov si, 1\nmov di, 1\n"
    ""
    f"lodsb\nlodsb\nlodsb\nstosb\nmovsb\ncld\nmov di, 0xffff\nstosw\n{_SKIPPED}\nmov cx, 7\nmov si, 0x100\nrep movsw",
    "flags that processors leave to themselves": "mov ax, dx\nrol ax, 3\nror al, 5\nrol ah, 4\nshl word ptr [0x30], 5\n"
    "mov cl, dl\nmul word ptr [0x30]\nrol bx, 1\nmul cl\nshr word ptr [0x32], cl\nror cx, 7",
    "multiplication and division": f"mov ax, dx\nmul dx\nmov cx, [0x34]\nor cx, 1\nmov dx, 0\ndiv cx\nadd [0x36], dx\n"
    f"mov ax, 500\nmov cl, dl\ndiv cl\n{_SKIPPED}\nimul ax, [0x34], 77\nmov [0x34], ax",
    "translation tables": "mov bx, 0xfff0\nmov al, dl\nxlatb\nadd al, 1\nmov [0x44], al\nlea ax, [bx+si+7]\n"
    "lea eax, [bx+0x20]",
    # LEA of 0, of 16 and 32 bits by addresses of 16 and 32; then of 5
    "addresses of no register": ".byte 0x66, 0x8d, 6, 0, 0\nadd [0x30], eax\nmov ax, dx\n.byte 0x8d, 6, 0, 0\n"
    "add ax, dx\n.byte 0x67, 0x66, 0x8d, 0x1d, 0, 0, 0, 0\n.byte 0x67, 0x8d, 0xd, 0, 0, 0, 0\nadd [0x34], bx\n"
    ".byte 0x66, 0x8d, 6, 5, 0\nadd [0x38], eax\nmov [0x3c], ecx",
    "returns too far": ".byte 0x66, 0x68\n.long 0x10000\n.byte 0x66, 0xc3\nnop\nnop\npop eax\nmov eax, framed32\n"
    ".byte 0x66, 0xff, 0xd0",
    "code that changes": "mov al, dl\nmov cs:[patched+1], al\npatched:\nmov ah, 1\nadd [0x46], ah",
    "variables among code": "inc word ptr cs:[counter]\nadd cs:[counter], dx\npush word ptr cs:[counter]\npop ax",
}  # fmt: skip
_PROGRAM = f"""
    cli
    mov al, 0xff
    out 0x21, al
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x6000
    mov ebp, 0x6100
    mov dword ptr [0], handler
    mov dword ptr [4], traced
    mov dword ptr [12*4], handler
    mov dword ptr [13*4], handler
    mov dword ptr [0x180], interrupt
    mov ax, {_DATA >> 4:#x}
    mov ds, ax
    mov es, ax
    mov dword ptr [0x60], 0x17f
    mov dword ptr [0x68], 0x3ff
    mov [12], ds
    mov esi, 0x400
    mov edx, {{rounds}}
again:
    mov ss:[0x6200], edx
    {{body}}
    {{flags}} cx
    mov edx, ss:[0x6200]
    and cx, 0xff
    add ss:[0x6204], cx
    sub edx, 1
    jnz again
    cli
    hlt
handler:
    push bp
    mov bp, sp
    add word ptr [bp+2], 4
    inc word ptr cs:[exceptions]
    pop bp
    iret
traced:
    push bp
    mov bp, sp
    and byte ptr [bp+7], 0xfe
    inc word ptr cs:[exceptions]
    pop bp
    iret
interrupt:
    push bp
    mov bp, sp
    xor byte ptr [bp+6], 1
    pushf
    pop word ptr [0x58]
    pop bp
    iret
framed:
    enter 6, 0
    mov ax, [bp+4]
    mov [bp-2], ax
    shl word ptr [bp-2], 1
    mov ax, [bp-2]
    mov [bp-6], al
    leave
    ret
framed32:
    nop
    .byte 0x66, 0xc3
far_function:
    inc word ptr [0x14]
    retf
near_function:
    add [0x16], dx
    retf
    .align 64
exceptions:
    .word 0
counter:
    .word 0
"""


# What is at 10h in two segments begins with DAA, and so stays in tier 1; the loop does not.
_SAME_IP = """
    cmp dx, 30000
    jne over
    mov dword ptr [0x2010], 0xcb409027
    mov dword ptr [0x3010], 0xcb4b9027
over:
    call 0x2200:0x10
    call 0x2300:0x10
    mov [0x14], ax
    mov [0x16], bx
    mov cx, 20
more:
    add si, cx
    loop more
"""


def _run(engine: EngineName, tier: TierName, body: str, step: int, rounds: int = 300) -> tuple[list[Seen], int]:
    """What is to be seen at each stop after `step` instructions, and memory then; instructions in units."""
    flags = "pushf\npop" if rounds == 300 else "dec"
    code = assemble(_PROGRAM.format(body=body, rounds=rounds, flags=flags), 16, _START)
    seen: list[Seen] = []
    with Machine(MachineConfig(memory=4 * MIB, engine=engine, tier=tier), library=shared_library()) as made:
        made.load(b"\xeb\x00" + bytes(508) + b"\x55\xaa", boot_sector=True)
        made.ram.write(_START, code)
        made.cpu.state["patience"] = min(made.cpu.state["patience"], 1)
        while True:
            result = made.run(max_insns=min(step, _MOST + 1))
            state = made.cpu.state
            selectors = [state.segment(number, "selector") for number in range(len(SEGMENT_NAMES[:6]))]
            bases = [state.segment(number, "base") for number in range(6)]
            registers = [state["gpr", number] for number in range(8)]
            seen.append(
                (result.reason, result.instructions, state["eip"], made.reg.eflags, *registers, *selectors, *bases)
            )
            if result.reason != "max-insns" or made.cpu.state["icount_base"] > _MOST:
                seen.append((made.ram.read(_DATA, _DATA_BYTES + 0x2000), made.ram.read(0x5000, 0x3000)))
                return seen, made.cpu.statistics().get("unit_insns", 0)


@pytest.mark.parametrize("step", [200_000, 337])
@pytest.mark.parametrize("name", BODIES)
def test_everything_is_as_the_interpreter_has_it(name: str, step: int) -> None:
    wanted, _ = _run("interp", "1", BODIES[name], step)
    found, in_units = _run("bt", "2", BODIES[name], step)
    assert found == wanted
    assert wanted[-2][0] == "halted"
    assert in_units > 100


def test_tier_1_goes_on_in_the_segment_that_a_unit_has_left_for() -> None:
    wanted, _ = _run("interp", "1", _SAME_IP, 20_000, 30_000)
    found, in_units = _run("bt", "auto", _SAME_IP, 20_000, 30_000)
    assert found == wanted
    assert in_units > 10_000
