"""The flag columns of the opcode table are true: Unicorn executes every identity form."""

from __future__ import annotations

import random

import pytest

from bt.x86.opcodes import Form, eflags_mask
from tests.x86.instances import DATA, EXECUTED, data_for, encode, registers_for

unicorn = pytest.importorskip("unicorn")
uc = pytest.importorskip("unicorn.x86_const")

CODE = 0x1000
ARITHMETIC = eflags_mask("oszapc")
REGISTERS = (
    *(uc.UC_X86_REG_EAX, uc.UC_X86_REG_ECX, uc.UC_X86_REG_EDX, uc.UC_X86_REG_EBX),
    *(uc.UC_X86_REG_ESP, uc.UC_X86_REG_EBP, uc.UC_X86_REG_ESI, uc.UC_X86_REG_EDI),
)


def run(code: bytes, registers: list[int], eflags: int, data: bytes) -> tuple[list[int], int, bytes] | None:
    """Registers, EFLAGS and memory after one instruction under Unicorn; None if it faults."""
    machine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
    machine.mem_map(0, 0x10000)
    machine.mem_write(CODE, code)
    machine.mem_write(DATA - 0x1000, data)
    for register, value in zip(REGISTERS, registers, strict=True):
        machine.reg_write(register, value)
    machine.reg_write(uc.UC_X86_REG_EFLAGS, eflags | 2)
    try:
        machine.emu_start(CODE, 0, count=1)
    except unicorn.UcError:
        return None
    after = [int(machine.reg_read(register)) for register in REGISTERS]
    return after, int(machine.reg_read(uc.UC_X86_REG_EFLAGS)), bytes(machine.mem_read(DATA - 0x1000, len(data)))


@pytest.mark.parametrize("form", EXECUTED, ids=lambda form: f"{form.encoding}: {form.name}")
def test_flag_columns_against_unicorn(form: Form) -> None:
    """Flags not listed as changed stay; values and written flags do not depend on flags not listed as read."""
    rng = random.Random(form.encoding)
    kept = ARITHMETIC & ~form.changes_mask
    free = ARITHMETIC & ~form.reads_mask
    defined = eflags_mask(form.writes) & ARITHMETIC
    executed = 0
    for _ in range(6):
        code = encode(form, rng)
        registers, data = registers_for(form, rng), data_for(form, rng)
        eflags = rng.randrange(1 << 12) & ARITHMETIC
        flip = rng.randrange(1 << 12) & free
        first, second = run(code, registers, eflags, data), run(code, registers, eflags ^ flip, data)
        if first is None or second is None:
            assert first is None, "faults or not by a flag that is not listed as read"
            assert second is None, "faults or not by a flag that is not listed as read"
            continue
        executed += 1
        assert (first[1] ^ eflags) & kept == 0, f"{code.hex(' ')} changes {(first[1] ^ eflags) & kept:#x}"
        assert (first[0], first[2]) == (second[0], second[2]), f"{code.hex(' ')} reads {flip:#x}"
        if not form.may_keep_flags:
            assert (first[1] ^ second[1]) & defined == 0, f"{code.hex(' ')} keeps {(first[1] ^ second[1]) & defined:#x}"
    assert executed, "never ran: no evidence"
