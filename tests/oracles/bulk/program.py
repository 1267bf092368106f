"""A batch as a program: a case whose code loops over the records and leaves in each the state after the instruction.

Per record: copy its memory to the window, load FP state, flags and registers, execute, store everything back. The
table is the data region, so that operands in it need no more room than they have; the window lies below 64 KiB, where
16-bit addresses reach. Instructions that branch lie there as well, amid pads that say which one was reached.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from random import Random

from bt.x86.opcodes import Form
from guest_images.assembler import assemble
from tests.cases import layout
from tests.cases.model import Case, State, with_every_instruction
from tests.oracles.bulk.address import place_address
from tests.oracles.bulk.batch import FX_BYTES, REGISTER_BYTES, Batch
from tests.oracles.bulk.encode import Encoder
from tests.oracles.bulk.rules import alignment, rule_of, uses_fp
from tests.oracles.bulk.states import States
from tests.oracles.bulk.variant import Variant, Where

TABLE = layout.DATA
_VARIABLES = layout.STACK.start
_RECORD, _AFTER, _END, _WINDOW, _WINDOW_DWORDS, _SAVED_ESP, _SAVED_EAX = range(_VARIABLES, _VARIABLES + 28, 4)
_FX = layout.STACK.start + 0x100
SCRATCH = range(_VARIABLES, _FX + 512)
"""What the loop needs: it ends with what the last record happens to hold."""
_MARKER_BYTES, _SEGMENTS_BYTES = 4, 8

# Where a window may begin: room on either side for what a wrong engine does.
_FIRST_WINDOW, _LAST_WINDOW = layout.LOW_DATA.start + 0x200, layout.LOW_DATA.end - 0x400
_PAGE_BORDER = layout.LOW_DATA.start + layout.PAGE_BYTES

# Branching instructions: pads, the instruction, what follows it, more pads; all within reach of a short branch.
_PAD_BYTES = 12
_FIRST_PAD = layout.LOW_CODE.start + 0x100
_PADS_BEFORE, _PADS_AFTER = 3, 3
_BRANCH = _FIRST_PAD + _PADS_BEFORE * _PAD_BYTES
_ROOM = 16
_PADS = (
    *range(_FIRST_PAD, _BRANCH, _PAD_BYTES),
    *range(_BRANCH + _ROOM + _PAD_BYTES, _BRANCH + _ROOM + (1 + _PADS_AFTER) * _PAD_BYTES, _PAD_BYTES),
)

_LOAD = f"""
    cld
    mov esi, [{_RECORD}]
    add esi, {REGISTER_BYTES}
    mov edi, [{_WINDOW}]
    mov ecx, [{_WINDOW_DWORDS}]
    rep movsd
"""
_LOAD_FP = f"""
    mov edi, {_FX}
    mov ecx, {FX_BYTES // 4}
    rep movsd
    fxrstor [{_FX}]
"""
_LOAD_REGISTERS = f"""
    mov esp, [{_RECORD}]
    popfd
    popad
    mov esp, [esp - {REGISTER_BYTES - 16}]
"""
_STORE = f"""
    mov [{_SAVED_ESP}], esp
    mov esp, [{_AFTER}]
    pushad
    pushfd
    mov eax, [{_SAVED_ESP}]
    mov [esp + 16], eax
    lea edi, [esp + {REGISTER_BYTES}]
    cld
    mov esi, [{_WINDOW}]
    mov ecx, [{_WINDOW_DWORDS}]
    rep movsd
"""
_STORE_FP = f"""
    fxsave [{_FX}]
    mov esi, {_FX}
    mov ecx, {FX_BYTES // 4}
    rep movsd
"""
_NEXT = f"""
    xor eax, eax
    mov [{_RECORD}], edi
    add edi, {REGISTER_BYTES}
    mov [{_AFTER}], edi
    cmp edi, [{_END}]
"""


@cache
def _before(fp: bool) -> bytes:
    return assemble(_LOAD + _LOAD_FP * fp + _LOAD_REGISTERS, 32, layout.CODE.start)


@cache
def _after(fp: bool) -> bytes:
    return assemble(_STORE + _STORE_FP * fp + _NEXT, 32, layout.CODE.start)


@dataclass(frozen=True)
class Program:
    """A batch and the case that runs it."""

    batch: Batch
    case: Case

    @property
    def variant(self) -> Variant:
        """The batch's instruction."""
        return self.batch.variant


class Maker:
    """Makes batches and programs, the same ones for the same seed; values are drawn from pools made once."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)
        self._states = States(self.random)

    def program(self, form: Form, records: int) -> Program:
        """A variant of the form with as many records as asked for, or as the table holds."""
        batch = self.batch(form, records)
        return Program(batch, _case(batch))

    def batch(self, form: Form, records: int, where: Where | None = None, raw: bool = False) -> Batch:
        """The records alone, for a window elsewhere if given; `raw`: operands as they come, which may fault."""
        random, rule, fp = self.random, rule_of(form), uses_fp(form)
        where = where or self._where(form)
        extra = _MARKER_BYTES + _SEGMENTS_BYTES * (rule.kind == "segment")
        memory = rule.window + extra
        count = min(records, TABLE.size // (REGISTER_BYTES + memory + FX_BYTES * fp))
        batch = Batch(
            random,
            Encoder(random, rule, where, _BRANCH).encode(form),
            where,
            extra,
            count,
            self._states.registers(count),
            self._states.packed(count, memory) if fp else self._states.integers(count * memory),
            self._states.images(count) if fp else (),
        )
        for register, value in rule.fixed(where).items():
            batch.set(register, [value] * count)
        place_address(batch)
        if rule.arrange is not None and not raw:
            rule.arrange(batch)
        if rule.arrange_fp is not None and not raw:
            rule.arrange_fp(batch, self._states)
        return batch

    def _where(self, form: Form) -> Where:
        random, rule, step = self.random, rule_of(form), alignment(form)
        window = random.randrange(_FIRST_WINDOW, _LAST_WINDOW, step)
        if step == 1 and random.random() < 0.3:
            window = _PAGE_BORDER - random.randrange(rule.window)
        return where_at(form, window, step)


def where_at(form: Form, window: int, step: int = 1) -> Where:
    """The form's window at an address, with operands at multiples of `step`."""
    rule = rule_of(form)
    return Where(window, rule.window, window + rule.window, step, rule.operand, _PADS)


def _case(batch: Batch) -> Case:
    variant, fp = batch.variant, bool(batch.fx)
    before, after = _before(fp), _after(fp)
    memory: dict[int, bytes] = {}
    kind = rule_of(variant.form).kind
    if kind == "control":
        start = layout.CODE.start + len(before)
        code = before + _jump(start, _BRANCH)
        memory |= _branch_code(variant.code, batch.where.marker, start + 5)
    else:
        code = before + variant.head + variant.code + variant.tail
        if kind == "segment":
            code += _store_segments(batch.where.marker)
    code += after
    code += b"\x0f\x82" + struct.pack("<i", -(len(code) + 6))
    table = batch.table()
    memory[TABLE.start] = table
    variables = (
        TABLE.start,
        TABLE.start + REGISTER_BYTES,
        TABLE.start + len(table),
        batch.where.window,
        batch.window_bytes // 4,
    )
    memory[_VARIABLES] = struct.pack("<5I", *variables)
    text = f"hex: {variant.code.hex(' ')}"
    return Case(code, State(memory=memory), cpu=with_every_instruction(), text=text, where="bulk")


def _jump(start: int, target: int) -> bytes:
    return b"\xe9" + struct.pack("<i", target - start - 5)


def _branch_code(code: bytes, marker: int, back: int) -> dict[int, bytes]:
    """Pads, each of which notes its number and goes back, around the instruction."""

    def pad(start: int, number: int) -> bytes:
        return b"\xc6\x05" + struct.pack("<IB", marker, number) + _jump(start + 7, back)

    pads = {start: pad(start, number) for number, start in enumerate(_PADS)}
    return pads | {_BRANCH: code + pad(_BRANCH + len(code), 0xFF)}


def _store_segments(marker: int) -> bytes:
    """Store DS, ES, FS and GS next to the marker and make them flat again, through SS because DS may be null."""
    code = b""
    for place, number in enumerate((3, 0, 4, 5)):
        code += bytes((0x36, 0x8C, number << 3 | 5)) + struct.pack("<I", marker + _MARKER_BYTES + 2 * place)
    code += b"\x36\xa3" + struct.pack("<I", _SAVED_EAX) + b"\x8c\xd0"  # mov ss:[..], eax; mov eax, ss
    code += b"\x8e\xd8\x8e\xc0\x8e\xe0\x8e\xe8"  # mov ds, es, fs, gs of it
    return code + b"\x36\xa1" + struct.pack("<I", _SAVED_EAX)
