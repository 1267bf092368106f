"""Repeated MOVS and STOS in units: the host's own, or the interpreter's where the host must not do them."""

from __future__ import annotations

import pytest

from bt.machine import Machine
from bt.machine.config import EngineName, TierName
from bt.machine.result import Result
from guest_images.assembler import assemble
from tests.engine.identity.stops import CODE, DATA, Seen, stops
from tests.engine.identity.test_paging import BEHIND, ENTRY, compared
from tests.engines import TIER_2
from tests.smc.guest import MAP, MAPPED, Mode, Paging, guest
from tests.tables import PAGE_BYTES

# What is done in a loop of 200 rounds, EBP counting down; EBX is DATA.
ITSELF = {
    "stores": "lea edi, [ebx+64]\nmov ecx, ebp\nmov eax, ebp\nrep stosd\nmov cl, 7\nrep stosw\nmov cl, 5\nrep stosb",
    "copies": "lea esi, [ebx+0x400]\nlea edi, [ebx+64]\nmov ecx, ebp\nrep movsd\nmov cl, 9\nrep movsw\nmov cl, 11\n"
    "rep movsb",
    "onto themselves": "mov [ebx+0x100], ebp\nlea esi, [ebx+0x100]\nlea edi, [esi+3]\nmov ecx, 90\nrep movsb\n"
    "lea esi, [edi-80]\nlea edi, [esi-6]\nmov ecx, 20\nrep movsd",
    "flags through them": "lea edi, [ebx+64]\nmov ecx, 3\nlea esi, [edi+80]\ncmp ebp, 100\nrep movsd\nsetb [ebx]\n"
    "adc dword ptr [ebx+4], 0\nmov cl, 2\nadd ebp, 0\nrep stosd\nseto [ebx+8]\nsetp [ebx+9]",
    "nothing": "xor ecx, ecx\nlea edi, [ebx+0x40000000]\nrep stosd\nrep movsb\nrep movsw",
    "across pages": "lea edi, [ebx+0xfec]\nlea esi, [ebx+0x1ffc]\nmov ecx, 31\nrep movsd\nmov cl, 99\nrep stosw",
    "as many as there may be": "lea edi, [ebx+0x800]\nmov ecx, 4096\nmov eax, ebp\nrep stosb\nlea esi, [ebx]\n"
    "mov ecx, 4096\nrep movsb",
    "by REPNE": "lea edi, [ebx+64]\nmov ecx, 6\nmov eax, ebp\n.byte 0xf2\nstosd\nmov ecx, 5\nlea esi, [ebx+4]\n"
    ".byte 0xf2\nmovsb",
}
INTERPRETED = {
    "downwards": "std\nlea edi, [ebx+0x400]\nmov ecx, ebp\nmov eax, ebp\nrep stosd\nlea esi, [ebx+0x400]\nmov ecx, 30\n"
    "rep movsb\ncld",
    "more than one execution does": "lea edi, [ebx+0x800]\nmov ecx, 9001\nmov eax, ebp\nrep stosb\nlea esi, [ebx]\n"
    "mov ecx, 4097\nrep movsb",
    "around": "mov edi, -10\nmov ecx, 5\nrep stosd\nmov esi, -7\nlea edi, [ebx+16]\nmov ecx, 4\nrep movsd",
    "a device in between": "mov edi, 0x9fff0\nmov ecx, 9\nmov eax, ebp\nrep stosd\nmov esi, 0x9fff8\n"
    "lea edi, [ebx+16]\nmov ecx, 5\nrep movsd",
    "nothing there": "lea edi, [ebx+0x30000000]\nmov ecx, 3\nrep stosd\nlea esi, [ebx+0x1ffff8]\nlea edi, [ebx+64]\n"
    "mov ecx, 5\nrep movsd",
    "code": f"mov edi, {CODE + 0x900}\nmov ecx, 9\nmov al, 0x90\nrep stosb\nmov byte ptr [edi], 0xc3\n"
    f"mov edi, {CODE + 0x8F0}\nlea esi, [ebx+64]\nmov ecx, 4\nrep movsd\nmov edi, {CODE + 0x900}\ncall edi",
    "this very code": f"mov edi, {CODE - 20}\nmov ecx, 5\nmov esi, {CODE - 20}\nrep movsd\nlea esi, [here]\n"
    "mov edi, esi\nmov ecx, 9\nrep movsb\nhere:\nmov ecx, 1\nadd [ebx], ecx\nnop\nnop",
}
_PROGRAM = f"""
    mov esp, {DATA + 0x10000}
    mov ebx, {DATA}
    mov ecx, 0x1000
    cld
fill:
    imul eax, eax, 69069
    inc eax
    mov [ebx+ecx-1], eax
    dec ecx
    jnz fill
    mov ebp, 200
again:
    {{body}}
    lahf
    mov [ebx+ebp*2+0x1000], ax
    dec ebp
    jnz again
    cli
    hlt
"""


def _run(engine: EngineName, tier: TierName, body: str, step: int) -> tuple[list[Seen], int, int]:
    services = 0

    def look(made: Machine, result: Result) -> Seen:
        nonlocal services
        services = made.cpu.statistics().get("unit_services", 0)
        registers = [made.cpu.state["gpr", number] for number in range(8)]
        return result.reason, result.instructions, made.cpu.state["eip"], made.reg.eflags, *registers

    image = assemble(_PROGRAM.format(body=body), 32, CODE)
    seen, in_units = stops(engine, tier, image, step, 0x8000, look)
    return seen, in_units, services


@pytest.mark.parametrize("step", [10_000_000, 337])
@pytest.mark.parametrize("name", ITSELF)
def test_they_do_as_the_interpreter_does(name: str, step: int) -> None:
    wanted, _, _ = _run("interp", "1", ITSELF[name], step)
    found, in_units, services = _run("bt", "2", ITSELF[name], step)
    assert found == wanted
    assert in_units > 800
    assert services < 20


@pytest.mark.parametrize("step", [10_000_000, 337])
@pytest.mark.parametrize("name", INTERPRETED)
def test_what_is_the_interpreters(name: str, step: int) -> None:
    wanted, _, _ = _run("interp", "1", INTERPRETED[name], step)
    found, _, _ = _run("bt", "2", INTERPRETED[name], step)
    assert found == wanted


# EDX counts the rounds; the strings lie across the end of MAPPED.
_COPIED = (
    f"mov edx, 90\nagain:\nadd [{MAPPED}], edx\nadd ebx, [{BEHIND}]\nmov esi, {MAPPED + 64}\n"
    f"lea edi, [edx+{BEHIND - 45}]\nmov ecx, 9\nrep movsd\nmov ecx, 17\nrep stosb\nadd eax, ecx\ndec edx\njnz again\n"
)


@pytest.mark.parametrize("cpl", [0, 3])
def test_in_pages_that_are_open(cpl: int) -> None:
    before = guest(TIER_2).cpu.statistics()
    compared(Mode(Paging.SMALL, cpl), f"{_COPIED}int {MAP}\n{_COPIED.replace('again', 'once')}")
    after = guest(TIER_2).cpu.statistics()
    assert after["unit_services"] - before["unit_services"] < 180  # of 720, in the second run


@pytest.mark.parametrize(
    "change", ["and edi, 0xFFFFFF9F", "xor edi, 0x70000", "xor edi, 2", "xor edi, 4", "xor edi, 1"]
)
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("cpl", [0, 3])
def test_pages_that_change(cpl: int, number: int, change: str) -> None:
    """The fault comes at the element that it comes at: ESI, EDI, ECX and accessed and dirty bits say so."""
    entry = ENTRY + 4 * number
    switch = f"mov edi, [{entry}]\n{change}\nmov [{entry}], edi\ninvlpg [{MAPPED + PAGE_BYTES * number}]"
    compared(Mode(Paging.SMALL, cpl), f"{_COPIED}int {MAP}\n{_COPIED.replace('again', 'once')}", switch)
