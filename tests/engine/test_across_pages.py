"""Operands that lie in two pages whose frames are no neighbours: the second part is where the page tables say."""

from __future__ import annotations

import pytest

from guest_images.assembler import assemble
from tests import tables
from tests.engines import factories
from tests.smc.guest import ALIAS, DONE, PROGRAM, TABLE, Mode, Paging, guest

LOW_FRAME, HIGH_FRAME = 0x30000, 0x38000
LINEAR = ALIAS + 0x50000
ENTRY = TABLE + 4 * (0x50000 >> 12)
BETWEEN = b"\xee" * 8
"""What lies behind the low frame and before the high one: nobody's."""
BEFORE = bytes(range(0x10, 0x20))
"""Eight bytes to the end of the first page, and eight from the start of the second."""
PLACE = LINEAR + 0xFFE  # of an operand of four bytes, in the middle of those

# assembly, and what becomes of the four (or eight) bytes at PLACE, 16 17 18 19 (1a 1b 1c 1d)
ACCESSES = {
    "add": ("add dword ptr [esi], 0x01010101", "1718191a"),
    "add imm8": ("add dword ptr [esi], 1", "17171819"),
    "or register": ("mov eax, 0xf0f0f0f0\nor [esi], eax", "f6f7f8f9"),
    "inc": ("inc dword ptr [esi]", "17171819"),
    "not": ("not dword ptr [esi]", "e9e8e7e6"),
    "neg": ("neg dword ptr [esi]", "eae8e7e6"),
    "lock xadd": ("mov eax, 1\nlock xadd [esi], eax", "17171819"),
    "xchg": ("mov eax, 0x44332211\nxchg [esi], eax", "11223344"),
    "cmpxchg": ("mov eax, [esi]\nmov ecx, 0x44332211\ncmpxchg [esi], ecx", "11223344"),
    "cmpxchg that differs": ("xor eax, eax\nmov ecx, 1\ncmpxchg [esi], ecx", "16171819"),
    "cmpxchg8b": (
        "mov eax, [esi]\nmov edx, [esi+4]\nmov ebx, 0x44332211\nmov ecx, 0x88776655\ncmpxchg8b [esi]",
        "1122334455667788",
    ),
    "shl": ("shl dword ptr [esi], 4", "60718191"),
    "rol": ("rol dword ptr [esi], 8", "19161718"),
    "bts": ("bts dword ptr [esi], 3", "1e171819"),
    "mov": ("mov dword ptr [esi], 0x44332211", "11223344"),
    "mov absolute": (f"mov eax, 0x44332211\nmov [{PLACE}], eax", "11223344"),
    "push": ("mov edi, esp\nlea esp, [esi+4]\npush 0x44332211\nmov esp, edi", "11223344"),
    "pop": ("push 0x44332211\npop dword ptr [esi]", "11223344"),
    "stosd": ("mov edi, esi\nmov eax, 0x44332211\nstosd", "11223344"),
    "rep movsb": ("push 0x44332211\nmov edi, esi\nmov esi, esp\nmov ecx, 4\nrep movsb\npop eax", "11223344"),
    "fistp": ("fninit\npush 0x44332211\nfild dword ptr [esp]\nfistp dword ptr [esi]\npop eax", "11223344"),
    "movq": (
        "push 0x88776655\npush 0x44332211\nmovq mm0, [esp]\nmovq [esi], mm0\nemms\nadd esp, 8",
        "1122334455667788",
    ),
}
_READ_BACK = f"mov eax, [{PLACE}]"


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("engine", factories())
def test_both_parts_are_reached(engine: str, access: str) -> None:
    """The first time, and when both pages are known."""
    code, result = ACCESSES[access]
    after = bytearray(BEFORE)
    after[6 : 6 + len(result) // 2] = bytes.fromhex(result)
    memory = {
        LOW_FRAME + 0xFF8: BEFORE[:8] + BETWEEN,
        HIGH_FRAME - 8: BETWEEN + BEFORE[8:],
    }
    rights = tables.WRITABLE | tables.USER | tables.PRESENT
    restore = "\n".join(
        f"mov dword ptr [{LINEAR + 0xFF8 + at}], {int.from_bytes(BEFORE[at : at + 4], 'little')}"
        for at in range(0, 16, 4)
    )
    program = f"""
        mov dword ptr [{ENTRY}], {LOW_FRAME | rights}
        mov dword ptr [{ENTRY + 4}], {HIGH_FRAME | rights}
        mov ebp, 3
    again:
        {restore}
        mov esi, {PLACE}
        {code}
        {_READ_BACK}
        dec ebp
        jnz again
        int {DONE}
    """
    for cpl in (0, 3):
        machine = guest(engine)
        eax, _ = machine.run(Mode(Paging.SMALL, cpl), {**memory, PROGRAM: assemble(program, 32, PROGRAM)})
        assert machine.ram.read(LOW_FRAME + 0xFF8, 16) == bytes(after[:8]) + BETWEEN
        assert machine.ram.read(HIGH_FRAME - 8, 16) == BETWEEN + bytes(after[8:])
        assert eax == int.from_bytes(after[6:10], "little")
