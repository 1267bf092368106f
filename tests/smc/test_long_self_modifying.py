"""The same in 64-bit mode: every way to store x every place of the code x what ran before x pages and privilege."""

from __future__ import annotations

from functools import cache

import pytest

from guest_images.assembler import assemble_program
from tests.engines import factories
from tests.everyday import one_in
from tests.smc.long_guest import ALIAS, BUFFER, MODES, PROGRAM, long_guest

OLD, NEW, NEWER = (0x0101_0101_0101_0101 * digit for digit in (0x11, 0x22, 0x33))
BITS_64 = (1 << 64) - 1

STORES = {
    "mov": "mov [rdi], rdx",
    "mov r9": "mov r9, rdx\nmov r13, rdi\nmov [r13], r9",
    "mov relative": "mov [rip + target - here], rdx\nhere:",
    "mov halves": "mov [rdi + 4], edx\nmov [rdi], edx",
    "mov words": "mov [rdi + 6], dx\nmov [rdi + 4], dx\nmov [rdi + 2], dx\nmov [rdi], dx",
    "mov bytes": "mov esi, edx\n" + "\n".join(f"mov [rdi + {place}], {'sil' if place & 1 else 'dl'}"
                                              for place in reversed(range(8))),
    "mov from below": "mov rax, rdx\nmov ax, [rdi - 2]\nmov [rdi - 2], rax\nmov [rdi + 6], dx",
    "rep movsb": f"mov esi, {BUFFER}\nmov [rsi], rdx\nmov ecx, 8\nrep movsb",
    "rep stosq": "mov rax, rdx\nmov ecx, 1\nrep stosq",
    "stosd twice": "mov eax, edx\nstosd\nstosd",
    "xchg": "mov rax, rdx\nxchg [rdi], rax",
    "lock cmpxchg": "mov rax, [rdi]\nlock cmpxchg [rdi], rdx",
    "lock add": "mov rax, rdx\nsub rax, [rdi]\nlock add [rdi], rax",
    "xor": "mov rax, rdx\nxor rax, [rdi]\nxor [rdi], rax",
    "push": "mov r15, rsp\nlea rsp, [rdi + 8]\npush rdx\nmov rsp, r15",
    "pop": f"mov r15, rsp\nmov esp, {BUFFER}\nmov [rsp], rdx\npop qword ptr [rdi]\nmov rsp, r15",
    "movq": "movq xmm0, rdx\nmovq [rdi], xmm0",
    "movq mm": "movq mm0, rdx\nmovq [rdi], mm0\nemms",
    "alias": f"mov r11, {ALIAS}\nmov [r11 + rdi], rdx",
    "lock add through alias": f"mov r11, {ALIAS}\nmov rax, rdx\nsub rax, [rdi]\nlock add [r11 + rdi], rax",
    "external": "hlt",
}  # fmt: skip
"""Assembly that puts RDX at RDI, which is `target`; RBX and RBP are to stay. All eight bytes of RDX are the same."""

PLACES = {
    "elsewhere": 0x20100,
    "same page": PROGRAM + 0xF00,
    "across pages": 0x22FFC,
    "second page but for the opcode": 0x22FFE,
    "code granule's end": 0x20176,
}
"""Address of the victim, which is MOV RAX, imm64 and RET; the store is to its immediate."""

HISTORIES = {
    "not run before": ("mov rdx, new\n{store}\ncall {victim}\nmov rbx, rax", NEW),
    "run once": ("call {victim}\nmov rbx, rax\nmov rdx, new\n{store}\ncall {victim}\nadd rbx, rax", OLD + NEW),
    "run often": (
        "mov ebp, 700\nxor ebx, ebx\nagain:\ncall {victim}\nadd rbx, rax\ndec ebp\njnz again\n"
        "mov rdx, new\n{store}\ncall {victim}\nadd rbx, rax",
        700 * OLD + NEW,
    ),
    "changed in a loop": (
        "mov ebp, 12\nxor ebx, ebx\nxor edx, edx\nmov r14, step\nagain:\nadd rdx, r14\n"
        "{store}\ncall {victim}\nadd rbx, rax\ndec ebp\njnz again",
        0x0101_0101_0101_0101 * 78,
    ),
}
_PROGRAM = f".bits 64\nnew = {NEW}\nstep = {0x0101_0101_0101_0101}\n"

# the victim is in the midst of the program
INLINE = {
    "the running block": "victim:\nmov rax, old",
    "the next block": "jmp victim\nnop\nvictim:\nmov rax, old",
    "a block behind a branch not taken": "test ebp, ebp\njz done\nvictim:\nmov rax, old",
}
_INLINE_PROGRAM = """
.bits 64
old = {old}
new = {new}
target = victim + 2
    mov ebp, {rounds}
    xor ebx, ebx
    mov rdx, new
again:
    mov edi, target
    {store}
    {victim}
    add rbx, rax
    mov rdx, {newer}
    dec ebp
    jnz again
done:
    ud2
"""
ROUNDS = (3, 700)


@cache
def _program(store: str, place: str, history: str) -> bytes:
    victim = PLACES[place]
    body = HISTORIES[history][0].format(store=f"mov edi, target\n{STORES[store]}", victim=victim)
    return assemble_program(f"{_PROGRAM}target = {victim + 2}\n{body}\nud2\n", 32, PROGRAM).image


@cache
def _inline_program(store: str, block: str, rounds: int) -> tuple[bytes, int]:
    text = _INLINE_PROGRAM.format(
        store=STORES[store], victim=INLINE[block], old=OLD, new=NEW, newer=NEWER, rounds=rounds
    )
    program = assemble_program(text, 32, PROGRAM)
    return program.image, program.symbols["victim"] + 2


@pytest.mark.parametrize(
    ("engine", "store", "place", "history"), one_in(18, list(factories()), list(STORES), list(PLACES), list(HISTORIES))
)
def test_the_new_code_runs(engine: str, store: str, place: str, history: str) -> None:
    """After the store the victim answers the new value, in every mode."""
    victim = PLACES[place]
    memory = {
        PROGRAM: _program(store, place, history),
        victim: b"\x48\xb8" + OLD.to_bytes(8, "little") + b"\xc3",
    }
    for mode in MODES:
        total = long_guest(engine).run(mode, memory, target=victim + 2)
        assert total == HISTORIES[history][1] & BITS_64, str(mode)


@pytest.mark.parametrize(
    ("engine", "store", "block", "rounds"), one_in(18, list(factories()), list(STORES), list(INLINE), ROUNDS)
)
def test_the_new_code_runs_in_the_storing_program(engine: str, store: str, block: str, rounds: int) -> None:
    """The same where the code that stores runs on into the code stored to."""
    image, target = _inline_program(store, block, rounds)
    for mode in MODES:
        total = long_guest(engine).run(mode, {PROGRAM: image}, target=target)
        assert total == (NEW + (rounds - 1) * NEWER) & BITS_64, str(mode)
