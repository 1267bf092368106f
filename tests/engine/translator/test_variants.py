"""A record's variant: operand size, memory and repetition in one number, and which handler and plan that is."""

from __future__ import annotations

from itertools import product

from bt.engine.interp.handlers import handler_names, repetitions, size_matters, variant_for
from bt.engine.shapes import immediate_field
from bt.engine.structures import (
    OPERAND_SIZES,
    RECORD,
    VARIANT_MEMORY,
    VARIANT_REPNZ,
    VARIANT_REPZ,
    VARIANT_SIZE,
    VARIANT_SIZE_SHIFT,
    VARIANTS,
    operand_size_of,
)
from bt.x86.opcodes import FORMS, Method

_REPETITIONS = {None: 0, "repz": VARIANT_REPZ, "repnz": VARIANT_REPNZ}


def test_every_variant_has_a_number_of_its_own() -> None:
    numbers = [
        VARIANT_SIZE[size] | memory | repetition
        for size, memory, repetition in product(OPERAND_SIZES, (0, VARIANT_MEMORY), _REPETITIONS.values())
    ]
    assert len(set(numbers)) == len(OPERAND_SIZES) * 2 * 3
    assert max(numbers) < VARIANTS
    assert [operand_size_of(number) for number in numbers] == [size for size in OPERAND_SIZES for _ in range(6)]


def test_a_third_operand_size_has_room_in_a_record() -> None:
    assert 1 << RECORD.widths["variant"] >= 3 << VARIANT_SIZE_SHIFT


def test_the_number_says_what_is_executed() -> None:
    names = handler_names()
    for form in FORMS:
        for size, memory, rep in product(OPERAND_SIZES, (False, True), repetitions(form)):
            number = VARIANT_SIZE[size] | VARIANT_MEMORY * memory | _REPETITIONS[rep]
            variant = variant_for(form, number)
            assert variant.operand_size == (size if size_matters(form) else 32)
            assert variant.rep == rep
            assert names[form.id * VARIANTS + number] == f"interp_{variant.name}"


def test_only_the_second_of_two_immediates_has_a_field_of_its_own() -> None:
    second = {
        form.name
        for form in FORMS
        for place, operand in enumerate(form.operands)
        if operand.method in (Method.IMMEDIATE, Method.FAR_POINTER) and immediate_field(form, place) == "immediate2"
    }
    assert second == {"enter"}
