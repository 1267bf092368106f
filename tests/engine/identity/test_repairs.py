"""Undefined flags are repaired wherever a unit is left, shown by a repair that no processor needs: OF is clear."""

from __future__ import annotations

import pytest

from bt.engine.identity import tier
from bt.engine.identity.layout import LATE_NO_OF
from bt.engine.identity.making import flag_repairs
from bt.engine.identity.making.undefined_flags import HostFlags
from bt.engine.library.shared import shared_library
from bt.machine import Machine, MachineConfig
from bt.x86.flags import OF
from bt.x86.state import EDX
from guest_images.assembler import assemble
from tests.engine.identity.stops import CODE, DATA, MIB

# what follows SHL EAX, 1 of 40000000h, which sets OF; at last EDX has the flags
WAYS = {
    "a service": "pushfd\npop edx",
    "the end, by an indirect jump": "mov ecx, there\njmp ecx\nthere:\npushfd\npop edx",
    "a side exit": "js there\nnop\nthere:\npushfd\npop edx",
    "a branch that reads it": "mov edx, 0\njno there\nmov edx, 0x800\nthere:\nnop",
    "what overwrites all but it": "stc\nmov ebx, [0x200000]\npushfd\npop edx",
    "a fault": "mov ebx, [0xe0000000]\npushfd\npop edx",
    "an instruction that reads it": "seto dl\nmovzx edx, dl\nshl edx, 11",
}


@pytest.mark.parametrize("way", WAYS)
def test_what_leaves_has_the_flags_of_bt(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(flag_repairs._LATE, "shift.shl", LATE_NO_OF)
    monkeypatch.setattr(tier, "ask_host", lambda write: HostFlags(frozenset(("shift.shl",))))
    program = f"mov esp, 0x300000\nmov eax, 0x40000000\nagain:\nshl eax, 1\n{WAYS[way]}\ncli\nhlt"
    with Machine(MachineConfig(memory=4 * MIB, tier="2"), library=shared_library()) as made:
        made.load(assemble(program, 32, CODE), flat=CODE)
        made.run()
        assert made.cpu.statistics()["units_made"] > 0
        assert made.cpu.state["gpr", EDX] & OF == 0


# What leaves flags that are repaired, in pairs: the second may go on with those of the first. EBX is DATA.
UNLIKE = (
    "shl eax, 4", "shr eax, 1", "shr edx, 7", "sar eax, 3", "shld eax, edx, 5",
    "rol eax, 3", "ror edx, 5", "rol ax, 9", "ror dh, 3",
    "imul eax, edx", "imul edx, [ebx+4], 77", "mul edx", "imul dl",
    "shl eax, cl", "shr dword ptr [ebx+8], cl", "sar edx, cl", "shl ecx, cl", "shld eax, edx, cl", "rol edx, cl",
)  # fmt: skip
BETWEEN = ("mov [ebx+12], eax", "stc", "inc eax", "adc eax, edx", "bt eax, edx", "setc dl", "rcl eax, 1", "jp $+2")
LOOKS = {
    "the instruction itself": "lahf\nseto al\nmov [edi], ax",
    "a service": "pushfd\npop dword ptr [edi]",
    "a fault": "mov ebp, [0xe0000000]\npushfd\npop dword ptr [edi]",
    "a side exit": "js $+2\nmov ebp, [0xe0000000]\npushfd\npop dword ptr [edi]",
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("first", UNLIKE)
def test_flags_are_the_interpreters(first: str, look: str) -> None:
    rows = [f"{first}\n{second}" for second in ("nop", *UNLIKE, *BETWEEN)]
    rows += [f"{first}\n{between}\n{second}" for between in BETWEEN for second in UNLIKE[::4]]
    body = ""
    for row in rows:
        body += "mov eax, [ebx+esi*8+1024]\nmov edx, [ebx+esi*8+1028]\nmov ecx, esi\nadd ecx, 30\n"
        body += f"{row}\n{LOOKS[look]}\nadd edi, 4\n"
    program = f"mov esp, 0x300000\nmov ebx, {DATA}\nmov edi, {DATA + 0x4000}\nmov esi, 4\n"
    program += f"again:\n{body}\ndec esi\njnz again\ncli\nhlt"
    values = (0, 0x80000001, 0x12345678, 0xFFFFFFFF, 0x40000000, 3, 0xC0000000, 0x7FFF8001, 0x10001, 0x87654321)
    given = b"".join(value.to_bytes(4, "little") for value in values)
    seen: list[tuple[int, list[str]]] = []
    for engine in ("bt", "interp"):
        config = MachineConfig(memory=4 * MIB, engine=engine, tier="2" if engine == "bt" else "auto")
        with Machine(config, library=shared_library()) as made:
            made.load(assemble(program, 32, CODE), flat=CODE)
            made.ram.write(DATA, bytes(range(16)) * 64 + given)
            instructions = made.run().instructions
            found = [made.ram.read(DATA + 0x4000 + 4 * at, 4) for at in range(4 * len(rows))]
            seen.append((instructions, [f"{row}: {each.hex()}" for row, each in zip(4 * rows, found, strict=True)]))
            assert engine == "interp" or made.cpu.statistics()["units_made"] > 10
    assert [ours for ours, wanted in zip(seen[0][1], seen[1][1], strict=True) if ours != wanted] == []
    assert seen[0][0] == seen[1][0]
