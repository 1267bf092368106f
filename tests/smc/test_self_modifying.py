"""Every way to store x every place of the code stored to x what ran before x paging and privilege."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from guest_images.assembler import assemble_program
from tests.engines import factories
from tests.everyday import one_in
from tests.smc.guest import ALIAS, BUFFER, DONE, EXTERNAL, MODES, PROGRAM, Mode, Paging, guest

OLD, NEW, NEWER = 0x11111111, 0x22222222, 0x33333333

STORES = {
    "mov": "mov [target], edx",
    "mov bytes": "mov [target+3], dl\nmov [target+2], dl\nmov [target+1], dl\nmov [target], dl",
    "mov words": "mov [target+2], dx\nmov [target], dx",
    "mov one byte too low": "mov eax, [target-1]\nmov [target], edx\nmov al, [target-1]\nmov [target-1], al",
    "rep movsb": f"mov [{BUFFER}], edx\nmov esi, {BUFFER}\nmov edi, target\nmov ecx, 4\nrep movsb",
    "movsd": f"mov [{BUFFER}], edx\nmov esi, {BUFFER}\nmov edi, target\nmovsd",
    "rep stosb down": "mov al, dl\nmov edi, target+3\nmov ecx, 4\nstd\nrep stosb\ncld",
    "rep stosd": "mov eax, edx\nmov edi, target\nmov ecx, 1\nrep stosd",
    "xchg": "mov eax, edx\nxchg [target], eax",
    "lock cmpxchg": "mov eax, [target]\nlock cmpxchg [target], edx",
    "lock add": "mov eax, edx\nsub eax, [target]\nlock add [target], eax",
    "xor": "mov eax, edx\nxor eax, [target]\nxor [target], eax",
    "push": f"mov [{BUFFER}], esp\nmov esp, target+4\npush edx\nmov esp, [{BUFFER}]",
    "pop": f"mov [{BUFFER}], edx\nmov [{BUFFER + 4}], esp\nmov esp, {BUFFER}\n"
    f"pop dword ptr [target]\nmov esp, [{BUFFER + 4}]",
    "cmpxchg8b": f"mov [{BUFFER}], ebx\nmov [{BUFFER + 4}], edx\nmov ebx, edx\nmov ecx, [target+4]\n"
    f"mov eax, [target]\nmov edx, ecx\ncmpxchg8b [target]\nmov ebx, [{BUFFER}]\nmov edx, [{BUFFER + 4}]",
    "mov from below": "mov eax, edx\nmov ax, [target-2]\nmov [target-2], eax\nmov [target+2], dx",
    "lock add from below": "movzx ecx, dx\nmovzx eax, word ptr [target]\nsub ecx, eax\nshl ecx, 16\n"
    "lock add [target-2], ecx\nmov [target+2], dx",
    "cmpxchg8b from below": f"mov [{BUFFER}], ebx\nmov ecx, edx\nmov edx, [target]\nmov eax, [target-4]\n"
    f"mov ebx, eax\ncmpxchg8b [target-4]\nmov ebx, [{BUFFER}]\nmov edx, ecx",
    "movq from below": "movd mm0, [target-4]\nmovd mm1, edx\npunpckldq mm0, mm1\nmovq [target-4], mm0\nemms",
    "alias": f"mov [target+{ALIAS}], edx",
    "lock add through alias": f"mov eax, edx\nsub eax, [target]\nlock add [target+{ALIAS}], eax",
    "external": f"int {EXTERNAL}",
}
"""Assembly that puts EDX at `target`; EBX, EBP, ESP and DF are to stay. All four bytes of EDX are the same."""

PLACES = {
    "elsewhere": 0x20100,
    "same page": PROGRAM + 0xF00,
    "across pages": 0x22FFD,
    "first page's end": 0x22FFB,
    "second page but for the opcode": 0x22FFF,
    "second page's start": 0x23000,
    "code granule's start": 0x20140,
    "code granule's end": 0x2017A,
}
"""Address of the victim, which is MOV EAX, imm32 and RET; the store is to its immediate. Granules have 64 bytes: the
last two victims have one each for themselves, and some of the stores begin or end outside of it."""

# ways to come by the new code: assembly with {store}, {victim}; what EBX, the sum of all EAX, is then
HISTORIES = {
    "not run before": ("mov edx, new\n{store}\ncall {victim}\nmov ebx, eax", NEW),
    "run once": ("call {victim}\nmov ebx, eax\nmov edx, new\n{store}\ncall {victim}\nadd ebx, eax", OLD + NEW),
    "run often": (
        "mov ebp, 50\nagain:\ncall {victim}\nadd ebx, eax\ndec ebp\njnz again\n"
        "mov edx, new\n{store}\ncall {victim}\nadd ebx, eax",
        50 * OLD + NEW,
    ),
    "changed in a loop": (
        "mov ebp, 12\nmov edx, 0\nagain:\n"
        "add edx, 0x01010101\n{store}\ncall {victim}\nadd ebx, eax\ndec ebp\njnz again",
        0x01010101 * 78,
    ),
}

# the victim is in the midst of the program
INLINE = {
    "the running block": "victim:\nmov eax, old",
    "the next block": "jmp victim\nnop\nvictim:\nmov eax, old",
    "a block behind a branch not taken": "test ebp, ebp\njz done\nvictim:\nmov eax, old",
}
_INLINE_PROGRAM = """
old = {old}
new = {new}
target = victim+1
    mov ebp, 3
    mov edx, new
again:
    {store}
    {victim}
    add ebx, eax
    mov edx, {newer}
    dec ebp
    jnz again
done:
    int {done}
"""


@cache
def _program(store: str, place: str, history: str) -> bytes:
    victim = PLACES[place]
    body = HISTORIES[history][0].format(store=STORES[store], victim=victim)
    text = f"new = {NEW}\ntarget = {victim + 1}\n{body}\nint {DONE}\n"
    return assemble_program(text, 32, PROGRAM).image


@cache
def _inline_program(store: str, block: str) -> tuple[bytes, int]:
    text = _INLINE_PROGRAM.format(store=STORES[store], victim=INLINE[block], old=OLD, new=NEW, newer=NEWER, done=DONE)
    program = assemble_program(text, 32, PROGRAM)
    return program.image, program.symbols["victim"] + 1


def _modes(store: str) -> Iterator[Mode]:
    """The modes a way to store exists in."""
    return (mode for mode in MODES if mode.paging is not Paging.OFF or "alias" not in store)


@pytest.mark.parametrize(
    ("engine", "store", "place", "history"), one_in(6, list(factories()), list(STORES), list(PLACES), list(HISTORIES))
)
def test_the_new_code_runs(engine: str, store: str, place: str, history: str) -> None:
    """After the store the victim answers the new value, in every mode."""
    victim = PLACES[place]
    memory = {
        PROGRAM: _program(store, place, history),
        victim: b"\xb8" + OLD.to_bytes(4, "little") + b"\xc3",
    }
    for mode in _modes(store):
        _, total = guest(engine).run(mode, memory, target=victim + 1)
        assert total == HISTORIES[history][1] & 0xFFFFFFFF, str(mode)


@pytest.mark.parametrize(("engine", "store", "block"), one_in(3, list(factories()), list(STORES), list(INLINE)))
def test_the_new_code_runs_in_the_storing_program(engine: str, store: str, block: str) -> None:
    """The same where the code that stores runs on into the code stored to."""
    image, target = _inline_program(store, block)
    for mode in _modes(store):
        _, total = guest(engine).run(mode, {PROGRAM: image}, target=target)
        assert total == (NEW + 2 * NEWER) & 0xFFFFFFFF, str(mode)
