"""What goes out of the TLB with INVLPG and page faults, and what must stay known (SDM vol. 3A 4.10)."""

from __future__ import annotations

import pytest

from bt.memory.soft_mmu import layout
from bt.x86 import state
from guest_images.assembler import assemble
from tests.engines import factories
from tests.smc.guest import (
    ALIAS,
    DIRECTORY,
    DONE,
    FRAME,
    IDT,
    KERNEL_CODE,
    MAPPED,
    OTHER_FRAME,
    OTHER_TABLE,
    PROGRAM,
    TABLE,
    Mode,
    Paging,
    guest,
)

FIRST, SECOND = 0x11111111, 0x22222222
FRAMES = {FRAME: FIRST.to_bytes(4, "little"), OTHER_FRAME: SECOND.to_bytes(4, "little")}
CODE = {frame: b"\xb8" + value + b"\xc3" for frame, value in FRAMES.items()}  # MOV EAX, imm32; RET
LARGE = 0xC0_0000
ENTRY = TABLE + 4 * (MAPPED - ALIAS >> 12)
READ_ONLY, ALL, LARGE_PAGE = 5, 7, 0x87  # present, user, writable, page size


def _run(engine: str, text: str, memory: dict[int, bytes]) -> tuple[int, int]:
    """EAX and EBX after a program at CPL 0, with 4 KiB pages."""
    program = assemble(f"{text}\nint {DONE}\n", 32, PROGRAM)
    return guest(engine).run(Mode(Paging.SMALL, 0), {PROGRAM: program, **memory})


@pytest.mark.parametrize("other", [0, 0x1000, 0x3FF000])
@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_invlpg_takes_all_of_a_large_page(engine: str, other: int) -> None:
    """However many entries a processor keeps for it, none is there after INVLPG of one address (SDM vol. 3A 4.10.2)."""
    text = f"""
        mov dword ptr [{DIRECTORY + 4 * (LARGE >> 22)}], {LARGE_PAGE}
        mov ebx, [{LARGE + FRAME}]
        mov dword ptr [{OTHER_TABLE + 4 * (FRAME >> 12)}], {OTHER_FRAME + ALL}
        mov dword ptr [{DIRECTORY + 4 * (LARGE >> 22)}], {OTHER_TABLE + ALL}
        invlpg [{LARGE + other}]
        mov eax, [{LARGE + FRAME}]
    """
    assert _run(engine, text, FRAMES) == (SECOND, FIRST)


@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_invlpg_takes_the_code_of_a_large_page(engine: str) -> None:
    text = f"""
        mov dword ptr [{DIRECTORY + 4 * (LARGE >> 22)}], {LARGE_PAGE}
        call {LARGE + FRAME}
        mov ebx, eax
        mov dword ptr [{OTHER_TABLE + 4 * (FRAME >> 12)}], {OTHER_FRAME + ALL}
        mov dword ptr [{DIRECTORY + 4 * (LARGE >> 22)}], {OTHER_TABLE + ALL}
        invlpg [{LARGE}]
        call {LARGE + FRAME}
    """
    assert _run(engine, text, CODE) == (SECOND, FIRST)


def _with_handler(text: str) -> str:
    """A store to MAPPED + 8 faults, and the handler gives the page its other frame, without INVLPG."""
    return f"""
        jmp begin
        handler:
        add esp, 4
        add dword ptr [esp], 6          ; behind MOV [disp32], ECX
        mov dword ptr [{ENTRY}], {OTHER_FRAME + READ_ONLY}
        iretd
        begin:
        mov edx, handler
        mov eax, edx
        and edx, 0xFFFF
        or edx, {KERNEL_CODE << 16}
        mov dword ptr [{IDT + 8 * 14}], edx
        and eax, 0xFFFF0000
        or eax, 0x8E00
        mov dword ptr [{IDT + 8 * 14 + 4}], eax
        {text}
    """


@pytest.mark.parametrize("entry", [0, OTHER_FRAME + READ_ONLY])
@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_a_page_fault_takes_the_entry(engine: str, entry: int) -> None:
    """The entry for reads, too (SDM vol. 3A 4.10.4.1)."""
    text = f"""
        mov ebx, [{MAPPED}]
        mov dword ptr [{ENTRY}], {entry}
        mov [{MAPPED + 8}], ecx
        mov eax, [{MAPPED}]
    """
    assert _run(engine, _with_handler(text), FRAMES) == (SECOND, FIRST)


@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_a_page_fault_takes_the_code_of_its_page(engine: str) -> None:
    text = f"""
        call {MAPPED}
        mov ebx, eax
        mov dword ptr [{ENTRY}], 0
        mov [{MAPPED + 8}], ecx
        call {MAPPED}
    """
    assert _run(engine, _with_handler(text), CODE) == (SECOND, FIRST)


@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_code_stays_known_when_data_is_mapped_anew(engine: str) -> None:
    processor = guest(engine)
    text = f"mov ecx, 100\nagain:\ninvlpg [{MAPPED}]\nadd eax, [{MAPPED}]\nloop again"
    _run(engine, text, {})
    before = processor.cpu.state["epoch"]
    program = assemble(f"{text}\nint {DONE}\n", 32, PROGRAM)
    leave = processor.start(Mode(Paging.SMALL, 0), {PROGRAM: program}).run(400)
    assert leave.reason.name in ("HLT", "BUDGET"), leave
    assert processor.cpu.state["epoch"] - before < 10


def test_tables_follow_each_other() -> None:
    """`tlb_filled` counts the entries of both in one row."""
    assert state.offset(layout.USER) - state.offset(layout.SUPERVISOR) == state.TLB_BYTES
    assert len(layout.TABLES) * layout.TLB_ENTRIES == state.TLB_FILLED_SLOTS * 64
