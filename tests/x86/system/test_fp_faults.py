"""A fault in an FP instruction leaves everything as it was: every form with a memory operand, every way to fail.

Which exception: SDM vol. 3A 4.7, 5.3, 6.14, table 6-7; vol. 1 4.6.2 for alignment; vol. 2 2.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from bt.engine.library.library import Library
from bt.x86 import cpu_model
from bt.x86.context import AC, GP, NM, PF, SS_FAULT, UD
from bt.x86.exits import ExitReason
from bt.x86.opcodes import FORMS, Form, Operand, Width
from bt.x86.opcodes.encoding import parse_encoding
from bt.x86.opcodes.fp import is_fp
from bt.x86.reset import write_eflags
from bt.x86.state import DS, EBX, EDI, SS
from bt.x86.system.registers.control_registers import (
    CR0_EM,
    CR0_TS,
)
from bt.x86.system.segmentation import segment_cache
from tests.cases.model import with_every_instruction
from tests.engines import factories
from tests.everyday import everyday
from tests.x86.system.processor import CR0_PE, CR0_PG, CR0_WP, DATA, DIRECTORY, RAM, TABLE, Processor, data_selector

ORIGIN = 0x10000
PAGE = 0x1000
ABSENT, READ_ONLY = 0x31000, 0x33000  # the pages before them can be written
CR0_AM, EFLAGS_AC = 1 << 18, 1 << 18
CR4_FP = 0x600
ALL_MASKED, STATUS, TAGS, MXCSR = 0x37F, 0x2800, 0xFF, 0x1F80
ONE_AND_A_HALF, NEGATIVE = 0x3FFF_C000_0000_0000_0000, 0xBFC0_0000
WIDTHS = {Width.B: 1, Width.DB: 1, Width.DW: 2}
WIDTHS |= {Width.W: 2, Width.D: 4, Width.Y: 4, Width.Q: 8, Width.T: 10, Width.X: 16, Width.U: 16}
WIDTHS |= {Width.ENVIRONMENT: 28, Width.SAVE: 108, Width.FX: 512}
STORES = "fp.store fp.masked_store x87.fnstenv x87.fnsave x87.fnstcw x87.fnstsw sse.fxsave sse.stmxcsr"
REST_OF_IMAGE = slice(32, 288)
STAY = b"\xeb\xfe"


@dataclass(frozen=True)
class Access:
    """An instruction with its memory operand at [ebx], or at [edi] if it has no ModRM operand in memory."""

    form: Form
    size: int
    code: bytes

    @property
    def store(self) -> bool:
        return self.form.meaning in STORES.split()

    @property
    def aligned(self) -> bool:
        memory = _memory_operand(self.form)
        return memory is not None and memory.width in (Width.X, Width.FX)

    @property
    def needs_osfxsr(self) -> bool:
        """It is one on XMM registers or MXCSR."""
        return self.form.meaning in ("sse.ldmxcsr", "sse.stmxcsr") or "xmm" in self.registers

    @property
    def registers(self) -> str:
        letters = {operand.method.value[0] for operand in self.form.operands}
        return "xmm" if letters & set("VWU") else "mmx" if letters & set("PQN") else "x87"

    def __str__(self) -> str:
        return f"{self.form.name} {self.form.encoding}"


def _accesses() -> list[Access]:
    found = []
    for form in FORMS:
        masked = form.meaning == "fp.masked_store"
        if not is_fp(form) and form.meaning.partition(".")[0] not in ("x87", "sse"):
            continue
        encoding = parse_encoding(form.encoding)
        if form.meaning == "sse.clflush" or not encoding.modrm or (False not in encoding.mods and not masked):
            continue
        size = _operand_bytes(form, masked)
        if size:
            modrm = encoding.regs[0] << 3 | (0xC1 if masked else EBX)
            prefix = bytes([encoding.prefix] * bool(encoding.prefix)) + encoding.escape
            immediate = b"\0" * any(operand.method.value == "I" for operand in form.operands)
            found.append(Access(form, size, prefix + bytes([encoding.opcodes[0], modrm]) + immediate))
    return found


def _operand_bytes(form: Form, masked: bool) -> int:
    if masked:
        return 16 if form.encoding.startswith("66") else 8
    memory = _memory_operand(form)
    return WIDTHS[memory.width] if memory else 0


def _memory_operand(form: Form) -> Operand | None:
    return next((operand for operand in form.operands if operand.method.value in "EMQW"), None)


ACCESSES = _accesses()


@pytest.fixture(scope="module", params=factories())
def shared_engine(library: Library, request: pytest.FixtureRequest) -> Iterator[Processor]:
    """One with every instruction."""
    model = cpu_model.parse(with_every_instruction())
    processor = Processor(library, partial(factories()[request.param], model=model))
    yield processor
    processor.close()


def start(processor: Processor, access: Access, address: int, *, level: int = 0) -> None:
    """A processor with paging, FP registers with something in them, the instruction next."""
    pages = {page: page * PAGE | 7 for page in range(RAM // PAGE)}
    pages[ABSENT // PAGE] = 0
    pages[READ_ONLY // PAGE] &= ~2
    processor.ram.write(TABLE, b"".join(struct.pack("<I", entry) for entry in pages.values()))
    processor.ram.write(DIRECTORY, struct.pack("<I", TABLE | 7))
    processor.enter_level(level)
    processor.ram.write(ORIGIN, access.code + STAY)
    for page in (ABSENT, READ_ONLY):
        processor.ram.write(page - PAGE, bytes(PAGE) + b"\x5a" * PAGE)
    cpu = processor.cpu
    cpu["cr0"], cpu["cr3"], cpu["cr4"] = CR0_PE | 0x30 | CR0_PG | CR0_WP, DIRECTORY, CR4_FP
    cpu["eip"], cpu["trap_vectors"] = ORIGIN, (1 << 32) - 1
    cpu["gpr", EBX] = cpu["gpr", EDI] = address
    cpu["fpu_control"], cpu["mxcsr_masks"] = ALL_MASKED, MXCSR
    cpu["fp_image", 0] = ALL_MASKED | STATUS << 16 | TAGS << 32
    cpu["fp_image", 3] = MXCSR
    for number in range(8):
        cpu["fp_image", 4 + 2 * number] = ONE_AND_A_HALF & (1 << 64) - 1
        cpu["fp_image", 5 + 2 * number] = ONE_AND_A_HALF >> 64
    for word in range(20, 36):
        cpu["fp_image", word] = NEGATIVE << 32 | NEGATIVE
    for place, name in enumerate(POINTERS):
        cpu[name] = 0x100 + place
    processor.vcpu.flush()


def limit(processor: Processor, segment: int, last: int) -> None:
    segment_cache.fill(processor.cpu, segment, selector=data_selector(0), base=0, limit=last, access=DATA, big=True)
    processor.vcpu.flush()


POINTERS = ("fpu_ip", "fpu_cs", "fpu_dp", "fpu_ds", "fpu_opcode")


def visible_state(processor: Processor) -> tuple[object, ...]:
    """All that an FP instruction can change."""
    cpu = processor.cpu
    assert cpu["fp_loaded"] == 0
    image = b"".join(cpu["fp_image", word].to_bytes(8, "little") for word in range(36))
    words = struct.unpack_from("<HHB", image), image[24:28], image[REST_OF_IMAGE]
    slots = [cpu[name] for name in ("fpu_control", "mxcsr_masks", "eip", *POINTERS)]
    registers = [cpu["gpr", number] for number in range(8)]
    return words, slots, registers, processor.ram.read(ABSENT - PAGE, 4 * PAGE)


def check(processor: Processor, vector: int, error: int | None = None, cr2: int | None = None) -> None:
    """Run the instruction: it raises the exception and changes nothing."""
    before = visible_state(processor)
    leave = processor.vcpu.run(2)
    assert leave.reason is ExitReason.EXCEPTION
    assert (leave.address, leave.value if leave.extra & 1 else None) == (vector, error)
    assert cr2 is None or processor.cpu["cr2"] == cr2
    assert visible_state(processor) == before


def crossing(access: Access, boundary: int) -> int:
    """An address from which the operand goes on behind the boundary, aligned if it must be."""
    return boundary - (256 if access.aligned else access.size // 2)


def can_cross(access: Access) -> bool:
    return access.size > 16 or (access.size > 1 and not access.aligned)


every_access = pytest.mark.parametrize("access", everyday(ACCESSES, ACCESSES[::3]), ids=str)


def test_the_list_is_complete() -> None:
    assert len(ACCESSES) > 250
    assert {access.size for access in ACCESSES} == {1, 2, 4, 8, 10, 16, 28, 108, 512}


@every_access
def test_page_faults(engine: Processor, access: Access) -> None:
    write = 2 * access.store
    start(engine, access, ABSENT)
    check(engine, PF, write, ABSENT)
    if can_cross(access):
        start(engine, access, crossing(access, ABSENT))
        check(engine, PF, write, ABSENT)
        start(engine, access, crossing(access, ABSENT), level=3)
        check(engine, PF, write | 4, ABSENT)


@pytest.mark.parametrize("access", [access for access in ACCESSES if access.store], ids=str)
def test_read_only_pages(engine: Processor, access: Access) -> None:
    start(engine, access, READ_ONLY)
    check(engine, PF, 3, READ_ONLY)
    if can_cross(access):
        start(engine, access, crossing(access, READ_ONLY), level=3)
        check(engine, PF, 7, READ_ONLY)


@every_access
def test_segment_limits(engine: Processor, access: Access) -> None:
    """The last byte lies one beyond the limit."""
    start(engine, access, 0x20000)
    limit(engine, DS, 0x20000 + access.size - 2)
    check(engine, GP, 0)
    through_ss = Access(access.form, access.size, b"\x36" + access.code)
    start(engine, through_ss, 0x20000)
    limit(engine, SS, 0x20000 + access.size - 2)
    check(engine, SS_FAULT, 0)


@every_access
def test_alignment(engine: Processor, access: Access) -> None:
    """What must be aligned to 16 bytes raises #GP(0) even where #AC is on; the rest raises #AC for user code."""
    for address in (0x20001, 0x20008, 0x2000F) if access.aligned else ():
        start(engine, access, address)
        check(engine, GP, 0)
    start(engine, access, 0x20001, level=3)
    engine.cpu["cr0"] |= CR0_AM
    write_eflags(engine.cpu, EFLAGS_AC)
    engine.vcpu.flush()
    if access.size > 1:
        check(engine, GP if access.aligned else AC, 0)


@every_access
def test_not_available(engine: Processor, access: Access) -> None:
    """#UD and #NM come before the operand is looked at (SDM vol. 3A 13.1, 12.5; vol. 2 table 2-22)."""
    start(engine, access, ABSENT)
    engine.cpu["cr0"] |= CR0_TS
    engine.vcpu.flush()
    check(engine, NM)
    start(engine, access, ABSENT)
    engine.cpu["cr0"] |= CR0_EM
    engine.vcpu.flush()
    x87_alone = access.registers == "x87" and not access.needs_osfxsr
    check(engine, NM if x87_alone else UD)
    if access.needs_osfxsr:
        start(engine, access, ABSENT)
        engine.cpu["cr4"] = 0
        engine.vcpu.flush()
        check(engine, UD)
