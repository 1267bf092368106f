"""Bytes among code that are data first, are stored to, become code, and are stored to again."""

from __future__ import annotations

from itertools import pairwise

import pytest

from guest_images.assembler import assemble_program
from tests.engines import factories
from tests.everyday import one_in
from tests.smc.guest import DONE, MODES, PROGRAM, guest
from tests.smc.test_self_modifying import STORES

VICTIM_BYTES = 6  # mov eax, imm32; ret
PLACES = {"one granule": 0x20110, "two granules": 0x2013D, "two pages": 0x20FFD}
NEIGHBOURS = (0x20100, 0x20160, 0x20FF0, 0x21010)  # code in the granules of all these
OTHER_PAGE = 0x20100 + (64 << 12)  # what is noted of this page replaces what is of the victim's
RETURN = b"\xc3"

BECOME_CODE = """
target = {victim}+1
    {call_neighbours}
    mov ecx, 3
data:
    push ecx
    mov edx, 0x01010101
    {store}
    pop ecx
    loop data
    {evict}
    {patches}
    int {done}
"""
PATCH = """
    mov edx, {value}
    {store}
    call {victim}
    add ebx, eax
"""
EVICT = """
    call {page}
    mov dword ptr [{page}+8], 1
"""
VALUES = (0x02020202, 0x04040404, 0x10101010)


@pytest.mark.parametrize(
    ("engine", "store", "place", "evict"),
    one_in(
        2,
        list(factories()),
        [name for name in STORES if "alias" not in name and "external" not in name],
        list(PLACES),
        [False, True],  # noted or forgotten
    ),
)
def test_data_becomes_code(engine: str, store: str, place: str, evict: bool) -> None:
    victim = PLACES[place]
    names = {"store": STORES[store], "victim": victim}
    text = BECOME_CODE.format(
        **names,
        call_neighbours="\n".join(f"call {address}" for address in NEIGHBOURS),
        evict=EVICT.format(page=OTHER_PAGE) if evict else "",
        patches="".join(PATCH.format(**names, value=value) for value in VALUES),
        done=DONE,
    )
    memory = {
        PROGRAM: assemble_program(text, 32, PROGRAM).image,
        victim: b"\xb8" + bytes(4) + RETURN,
        **dict.fromkeys((*NEIGHBOURS, OTHER_PAGE), RETURN),
    }
    for mode in MODES:
        _, total = guest(engine).run(mode, memory)
        assert total == sum(VALUES), str(mode)


def test_the_places_are_apart() -> None:
    ends = sorted((address, address + 1) for address in NEIGHBOURS)
    ends = sorted([*ends, *((victim, victim + VICTIM_BYTES) for victim in PLACES.values())])
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
