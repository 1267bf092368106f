"""FP instructions with neighbouring operands: checked together, and yet each as if it were alone."""

from __future__ import annotations

import struct

import pytest

from bt.engine.library.library import Library
from bt.engine.structures import STENCIL
from bt.engine.translator.emit.fp_run import COPY_BYTES
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.inspect.explanation.diary import Fragment
from bt.inspect.explanation.explain import Explainer
from bt.x86.context import GP, PF
from bt.x86.exits import ExitReason
from bt.x86.state import ESI
from guest_images.assembler import assemble
from tests.engines import factories
from tests.x86.system.processor import CR0_PE, CR0_PG, DIRECTORY, TABLE, Processor

ORIGIN, PAGE = 0x10000, 0x1000
FIRST, SECOND = 0x40000, 0x41000  # linear addresses of two pages
FIRST_FRAME, SECOND_FRAME = 0x30000, 0x20000  # not neighbours in RAM
PRESENT, WRITABLE = 1, 2
CR4_FP = 0x600
ALL_MASKED = 0x37F
XMM_0, WORDS_A_REGISTER = 20, 2  # eightfold words of the FXSAVE image

# displacement, bytes, and whether the operand must be aligned
MOVES = {
    "movups": (16, False),
    "movaps": (16, True),
    "movsd": (8, False),
    "movss": (4, False),
}


def source(moves: list[tuple[str, int]], *, store: bool) -> str:
    lines = []
    for register, (name, displacement) in enumerate(moves):
        size = {16: "xmmword", 8: "qword", 4: "dword"}[MOVES[name][0]]
        operands = [f"xmm{register}", f"{size} ptr [esi + {displacement}]"]
        lines.append(f"{name} {', '.join(reversed(operands) if store else operands)}")
    return "\n".join([*lines, "hlt"])


def start(engine: Processor, code: bytes, esi: int, *, second: int) -> None:
    """Two pages of RAM at FIRST, their bytes 1 to 255 over and over; `second`: the entry of the other one."""
    cpu, ram = engine.cpu, engine.ram
    engine.start()
    for page in range(64):
        ram.write(TABLE + 4 * page, struct.pack("<I", page * PAGE | PRESENT | WRITABLE))
    ram.write(TABLE + 4 * (FIRST >> 12), struct.pack("<II", FIRST_FRAME | PRESENT | WRITABLE, second))
    ram.write(DIRECTORY, struct.pack("<I", TABLE | PRESENT | WRITABLE))
    ram.write(FIRST_FRAME, contents()[:PAGE])
    ram.write(SECOND_FRAME, contents()[PAGE:])
    engine.ram.write(ORIGIN, code)
    cpu["cr3"], cpu["cr0"], cpu["cr4"] = DIRECTORY, CR0_PE | CR0_PG | 0x10, CR4_FP
    cpu["eip"], cpu["gpr", ESI] = ORIGIN, esi
    cpu["fpu_control"], cpu["fp_image", 0] = ALL_MASKED, ALL_MASKED
    for register in range(8):
        cpu["fp_image", XMM_0 + WORDS_A_REGISTER * register] = register | 0xAA00
        cpu["fp_image", XMM_0 + WORDS_A_REGISTER * register + 1] = register | 0xBB00
    cpu["trap_vectors"] = (1 << 32) - 1
    engine.vcpu.flush()


def contents() -> bytes:
    return bytes(n % 255 + 1 for n in range(2 * PAGE))


def first_trouble(moves: list[tuple[str, int]], esi: int, *, missing: bool) -> tuple[int, int | None, int]:
    """(instruction, vector, address) of the first fault; (number of instructions, None, 0) without one."""
    for number, (name, displacement) in enumerate(moves):
        size, aligned = MOVES[name]
        address = esi + displacement
        if aligned and address % 16:
            return number, GP, 0
        if missing and address + size > SECOND:
            return number, PF, max(address, SECOND)
    return len(moves), None, 0


RUNS: dict[str, list[tuple[str, int]]] = {
    "upwards": [("movups", 0), ("movups", 16), ("movups", 32), ("movups", 48)],
    "downwards": [("movups", 48), ("movups", 32), ("movups", 16), ("movups", 0)],
    "aligned": [("movaps", 16), ("movaps", 0), ("movups", 32), ("movaps", 48)],
    "mixed": [("movsd", 24), ("movss", -4), ("movsd", 0), ("movss", 8), ("movups", 100), ("movss", 124)],
    "far": [("movsd", 0), ("movsd", 120), ("movsd", 128), ("movsd", 504)],
    "never all": [("movaps", 0), ("movaps", 24), ("movups", 16)],
}
PLACES = (FIRST + 0x100, FIRST + 0x104, SECOND - 64, SECOND - 48, SECOND - 40, SECOND - 24, SECOND - 8, SECOND + 32)


@pytest.mark.parametrize("missing", [False, True], ids=["both pages", "second page missing"])
@pytest.mark.parametrize("store", [False, True], ids=["loads", "stores"])
@pytest.mark.parametrize("moves", RUNS.values(), ids=RUNS)
def test_each_instruction_is_executed_as_if_alone(
    engine: Processor, moves: list[tuple[str, int]], store: bool, missing: bool
) -> None:
    code = assemble(source(moves, store=store), 32, ORIGIN)
    lengths = [len(assemble(line, 32, ORIGIN)) for line in source(moves, store=store).splitlines()]
    for esi in PLACES:
        for turn in range(2):  # with an empty TLB, and with one that knows the pages
            if turn == 0:
                start(engine, code, esi, second=0 if missing else SECOND_FRAME | PRESENT | WRITABLE)
            done, vector, address = first_trouble(moves, esi, missing=missing)
            engine.cpu["eip"] = ORIGIN
            leave = engine.vcpu.run(100)
            assert engine.cpu["eip"] == ORIGIN + sum(lengths[: done + (vector is None)]), hex(esi)
            if vector is None:
                assert leave.reason is ExitReason.HLT
            else:
                assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, vector)
                assert vector == GP or engine.cpu["cr2"] == address
        check_moved(engine, moves[:done], esi, store=store)


def check_moved(engine: Processor, moves: list[tuple[str, int]], esi: int, *, store: bool) -> None:
    """What these moves did, and nothing else, has been done."""
    memory, registers = bytearray(contents()), []
    for register in range(8):
        registers.append(struct.pack("<QQ", register | 0xAA00, register | 0xBB00))
    for register, (name, displacement) in enumerate(moves):
        size, at = MOVES[name][0], esi + displacement - FIRST
        if store:
            memory[at : at + size] = registers[register][:size]
        else:
            registers[register] = bytes(memory[at : at + size]).ljust(16, b"\0")
    assert engine.ram.read(FIRST_FRAME, PAGE) + engine.ram.read(SECOND_FRAME, PAGE) == bytes(memory), hex(esi)
    for register, value in enumerate(registers):
        words = [engine.cpu["fp_image", XMM_0 + WORDS_A_REGISTER * register + n] for n in range(WORDS_A_REGISTER)]
        assert struct.pack("<QQ", *words) == value, (hex(esi), register)


def test_a_run_that_stores_into_its_own_code(engine: Processor) -> None:
    """The store replaces the second load of the run that follows."""
    code = assemble(
        """
        movups [esi], xmm0
        movups [esi + 16], xmm1
        movups xmm2, [esi + 32]
        movups xmm3, [esi + 48]
        hlt
        """,
        32,
        ORIGIN,
    )
    start(engine, code, ORIGIN, second=SECOND_FRAME | PRESENT | WRITABLE)
    halt = struct.unpack("<QQ", bytes.fromhex("0f1106") + b"\xf4" * 13)
    for number, word in enumerate(halt):
        engine.cpu["fp_image", XMM_0 + number] = word
    assert engine.vcpu.run(100).reason is ExitReason.HLT
    assert engine.cpu["eip"] == ORIGIN + 4


def test_neighbours_are_checked_once(library: Library) -> None:
    """The translator finds the run: no check between the second move and the last."""
    engine = Processor(library, factories()["bt"])
    code = assemble(source(RUNS["upwards"], store=False), 32, ORIGIN)
    start(engine, code, FIRST, second=0)
    assert isinstance(engine.vcpu, TranslatingVcpu)
    fragment = Explainer(engine.vcpu).block(ORIGIN)
    assert isinstance(fragment, Fragment)
    engine.close()
    first, *others = fragment.instructions[:4]
    assert "fp_run" in [piece.name for piece in first.hot]
    assert [[piece.kind for piece in one.hot] for one in others] == [[""]] * 3


def test_the_copy_has_room(library: Library) -> None:
    """Address, check, pointers and the instruction itself fit into what is set aside for them."""
    longest = {"ea_b": 0, "fp_operand": 0, "fp_pointers": 0}
    for number, name in enumerate(library.lines("stencil_names")):
        for prefix in longest:
            if name.startswith(prefix):
                (length,) = struct.unpack_from("<H", library.sections["stencils"], number * STENCIL.size + 4)
                longest[prefix] = max(longest[prefix], length)
    assert all(longest.values())
    instruction, operand_note, jump = 11, 4, 5
    assert sum(longest.values()) + instruction + operand_note + jump <= COPY_BYTES
