"""A record's variant: operand size, memory and repetition in one number, and which handler and plan that is."""

from __future__ import annotations

from itertools import product

import pytest

from bt.engine.interp.variants import exists, handler_names, operand_sizes, repetitions, variant_for
from bt.engine.shapes import immediate_field
from bt.engine.structures import (
    LONG_OPERAND_SIZES,
    LONG_VARIANTS,
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
from bt.x86.opcodes import FORMS, UNDEFINED, Method

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


@pytest.mark.parametrize("long", [False, True])
def test_the_number_says_what_is_executed(long: bool) -> None:
    """In both kinds of code; a form that one has not is undefined there."""
    names, each = handler_names(long=long), LONG_VARIANTS if long else VARIANTS
    all_sizes = LONG_OPERAND_SIZES if long else OPERAND_SIZES
    for form in FORMS:
        for size, memory, rep in product(all_sizes, (False, True), repetitions(form)):
            number = VARIANT_SIZE[size] | VARIANT_MEMORY * memory | _REPETITIONS[rep]
            variant = variant_for(form, number, long=long)
            assert names[form.id * each + number] == f"interp_{variant.name}"
            if not exists(form, long=long):
                assert variant.form is UNDEFINED
                continue
            sizes = operand_sizes(form, long=long)
            assert variant.operand_size == (size if size in sizes else sizes[0])
            assert variant.rep == rep


def test_only_the_second_of_two_immediates_has_a_field_of_its_own() -> None:
    second = {
        form.name
        for form in FORMS
        for place, operand in enumerate(form.operands)
        if operand.method in (Method.IMMEDIATE, Method.FAR_POINTER) and immediate_field(form, place) == "immediate2"
    }
    assert second == {"enter"}
