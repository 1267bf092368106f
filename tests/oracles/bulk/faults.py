"""Single cases that fault: forms that always do, operands that make others, memory that ends or is read-only, LOCK."""

from __future__ import annotations

from collections.abc import Iterator

from bt.x86.opcodes import Form
from tests.cases import layout
from tests.cases.model import Case, State, with_every_instruction
from tests.oracles.bulk.batch import Batch
from tests.oracles.bulk.compare import undefined
from tests.oracles.bulk.coverage import Treatment, forms
from tests.oracles.bulk.program import Maker, where_at
from tests.oracles.bulk.rules import alignment, rule_of

_IMAGE = layout.DATA.start
_IMAGE_BYTES = 512
_FXRSTOR = b"\x0f\xae\x0d" + _IMAGE.to_bytes(4, "little")
_ELSEWHERE = layout.DATA.start + 0x800
_LOCK = b"\xf0"
_MAY_FAULT = frozenset(("arith.div", "arith.idiv", "bcd.aam", "control.bound", "interrupts.into"))
_OPERANDS = 8
"""Tries with any operands for each of these."""
_MISSING = (layout.DATA.end, layout.LOW_DATA.end)
_READ_ONLY = (layout.READ_ONLY.start + 0x800, layout.READ_ONLY.end)
_LOCK_IGNORED = frozenset(("verw",))
"""AMD processors take VERW with LOCK for VERW, where the SDM has #UD."""


def cases(seed: int, rounds: int) -> Iterator[tuple[Form, Case]]:
    """Every way to fault for every form, `rounds` times with other operands; the same ones for the same seed."""
    maker = Maker(f"{seed}.faults")
    for _ in range(rounds):
        for form in forms(Treatment.FAULT):
            yield form, _case(maker.batch(form, 1, where_at(form, _ELSEWHERE), raw=True))
        for form in forms(Treatment.BULK):
            for batch in _faulting(maker, form):
                yield form, _case(batch)
            locked = maker.batch(form, 1, where_at(form, _ELSEWHERE, alignment(form)))
            if form.name not in _LOCK_IGNORED and (not form.lock or locked.variant.operand is None):
                yield form, _case(locked, _LOCK)


def _faulting(maker: Maker, form: Form) -> Iterator[Batch]:
    if form.meaning in _MAY_FAULT:
        for _ in range(_OPERANDS):
            yield maker.batch(form, 1, where_at(form, _ELSEWHERE), raw=True)
    step = alignment(form)
    if step > 1:
        yield maker.batch(form, 1, where_at(form, _ELSEWHERE))
    for edge in _MISSING + _READ_ONLY:
        start = edge - maker.random.randrange(0, rule_of(form).window, step)
        yield maker.batch(form, 1, where_at(form, start, step))


def _case(batch: Batch, prefix: bytes = b"") -> Case:
    """The one record as a start state; an FP state is loaded from memory first."""
    eflags, edi, esi, ebp, esp, ebx, edx, ecx, eax = batch.registers
    variant = batch.variant
    rule = rule_of(variant.form)
    memory = dict(_mapped(batch.where.window, bytes(batch.window)))
    code = prefix + variant.code
    if batch.fx:
        memory[_IMAGE] = batch.fx[0].ljust(_IMAGE_BYTES, b"\0")
        code = _FXRSTOR + code
    return Case(
        code,
        start=State((eax, ecx, edx, ebx, esp, ebp, esi, edi), eflags=eflags, memory=memory),
        cpu=with_every_instruction(),
        ignored_flags=undefined(batch)[0],
        ignored_registers=(variant.reg,) if rule.undefined_result else (),
        ignored_memory=tuple(
            (variant.operand + offset, 1)
            for offset in rule.pointers_of(variant.operand_bits)
            if variant.operand is not None
        ),
        text=f"hex: {code.hex(' ')}",
        where="bulk.faults",
    )


def _mapped(start: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts of `data` at `start` that lie in regions."""
    for region in layout.REGIONS:
        first, end = max(start, region.start), min(start + len(data), region.end)
        if first < end:
            yield first, data[first - start : end - start]
