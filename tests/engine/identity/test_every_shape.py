"""Whatever the decoder may hand over becomes host code or a service: no shape of an instruction stops the making."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from bt.engine.identity.making import paragraphs, steps
from bt.engine.reencode.decoded import Decoded
from bt.engine.structures import (
    NO_REGISTER,
    VARIANT_MEMORY,
    VARIANT_REPNZ,
    VARIANT_REPZ,
    VARIANT_SIZE,
)
from bt.x86.opcodes import FORMS, Form, Method, Width
from bt.x86.state import EBP, EBX, EDI, ESI, LIMIT_8086
from tests.everyday import everyday

EVERYDAY_TIMES, SLOW_TIMES = 12, 200  # each form
_FLAT = 0xFFFF_FFFF
_MAYBE_MEMORY = {Method.REGISTER_OR_MEMORY, Method.XMM_OR_MEMORY, Method.MMX_OR_MEMORY, Method.MEMORY_ONLY}
_OF_16_BITS = ((EBX, ESI), (EBX, EDI), (EBP, ESI), (EBP, EDI), *((n, NO_REGISTER) for n in (ESI, EDI, EBP, EBX, 8)))
_DISPLACEMENTS = (0, 0, 1, 0x7F, 0x80, 0xFFF0, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
_IMMEDIATES = (0, 1, 5, 31, 32, 0xFF, 0xFFFF, 0xFFFF_FFFF)


def _shapes(form: Form, times: int) -> Iterator[Decoded]:
    generator = random.Random(form.id)
    methods = {operand.method for operand in form.operands}
    has_words = any(operand.method is Method.IMMEDIATE and operand.width is Width.W for operand in form.operands)
    for _ in range(times):
        is_memory = Method.MEMORY_ONLY in methods or (bool(methods & _MAYBE_MEMORY) and generator.random() < 0.7)
        mask = generator.choice((LIMIT_8086, _FLAT))
        base, index, scale = *generator.choice(_OF_16_BITS), 0
        if mask == _FLAT:
            base, index = generator.randrange(9), generator.choice((NO_REGISTER, 0, 1, 2, 3, 5, 6, 7))
            scale = 0 if index == NO_REGISTER else generator.randrange(4)
        size = generator.choice((16, 32)) if form.fixed_operand_size is None else 32
        variant = VARIANT_SIZE[size] | VARIANT_MEMORY * is_memory
        variant |= generator.choice((0, VARIANT_REPZ, VARIANT_REPNZ)) if form.rep else 0
        reg, rm = generator.randrange(8), generator.randrange(8)
        fields = {
            "eip": generator.getrandbits(16),
            "next_eip": generator.getrandbits(32),
            "immediate": generator.choice(_IMMEDIATES) & (LIMIT_8086 if has_words else _FLAT),
            "immediate2": generator.choice((0, 1, 31)),
            "displacement": generator.choice(_DISPLACEMENTS) & mask,
            "address_mask": mask,
            "form": form.id,
            "scale": scale,
            "segment": generator.randrange(6),
            "variant": variant,
            "length": generator.randrange(1, 16),
            "reg_number": reg,
            "rm_number": rm,
            "base_number": base if is_memory else NO_REGISTER,
            "index_number": index if is_memory else NO_REGISTER,
            "modrm": 0xC0 * (not is_memory) | reg << 3 | rm,
        }
        yield Decoded(**{**dict.fromkeys(Decoded._fields, 0), **fields})


@pytest.mark.parametrize("times", everyday((EVERYDAY_TIMES, SLOW_TIMES), {EVERYDAY_TIMES}))
def test_every_shape_becomes_something(times: int) -> None:
    services = made = 0
    for i in (i for form in FORMS[1:] if form.long != "only" for i in _shapes(form, times)):
        for step in (
            steps.step(i),
            steps.step(i, wraps=True),
            steps.step(i, opened="user_view"),
            steps.step(i).beside_code(),
            paragraphs.step(i),
            paragraphs.step(i, frozenset((EBX, EBP, ESI)), real=True),
        ):
            services += step.service
            made += 1
    assert 0 < services < made
