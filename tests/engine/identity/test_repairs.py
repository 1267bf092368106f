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
from tests.engine.identity.stops import CODE, MIB

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
