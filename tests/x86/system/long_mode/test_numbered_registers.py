"""Control and debug registers that REX.R makes of others, at level 0: undefined but CR8 (SDM vol. 2B, MOV)."""

from __future__ import annotations

import pytest

from bt.x86.context import UD
from bt.x86.state import EAX
from tests.x86.system.long_mode.long_processor import LongProcessor

REX_R, CR8 = 0x44, 8
FROM_CR, FROM_DR, TO_CR, TO_DR = range(0x20, 0x24)


@pytest.mark.parametrize("opcode", [FROM_CR, FROM_DR, TO_CR, TO_DR])
@pytest.mark.parametrize("number", range(8, 16))
def test_registers_from_8(everything: LongProcessor, opcode: int, number: int) -> None:
    cpu = everything.cpu
    cpu["gpr", EAX] = before = 5
    vector = everything.execute(bytes((REX_R, 0x0F, opcode, 0xC0 | (number & 7) << 3)))
    if number == CR8 and opcode in (FROM_CR, TO_CR):
        assert vector is None
        return
    assert vector == UD
    assert cpu["gpr", EAX] == before
