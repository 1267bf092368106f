"""What the tables of a back-end look like is known in its own folder only."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

import pytest

from bt.memory.soft_mmu import layout
from bt.x86 import state

BT = Path(state.__file__).parents[1]
SOFT_MMU = BT / "memory/soft_mmu"
STATE = BT / "x86/state.py"  # makes room for the tables
MAY_CHOOSE = {  # which back-end there is
    "memory/access.py",
    "engine/library/runtime.py",
    "engine/vcpu.py",
    "engine/identity/gates.py",
    "engine/identity/making/beside_code.py",
    "engine/translator/gates/system_instructions.py",
    "engine/identity/long/memory_code.py",
    "engine/identity/long/reach_code.py",
    "engine/identity/long/tier.py",
    "memory/host_mmu/mmu.py",
}
SAYS_SO_TO_PEOPLE = {"monitor/paging.py": {"tlb"}}  # a command
MAY_NAME_PARTS = {"engine/structures.py": "HOLES", "inspect/explanation/host_code.py": "part_name"}

LAYOUT_NAMES = {name for name in vars(layout) if name.isupper() and not name.startswith("_")}
LAYOUT_NAMES = LAYOUT_NAMES - {"USER", "HOLES"} | {"entry_offset", "TLB_BYTES"}
SLOTS = {name for name in state.OFFSETS if name.startswith("tlb")} - {"tlb_fills", "tlb_fill_cycles", "tlb_flushes"}


def layout_knowledge(source: str) -> set[str]:
    """Names of the layout and slots of the tables in a piece of Python."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    strings = {token.string.strip("\"'") for token in tokens if token.type == tokenize.STRING}
    return names & LAYOUT_NAMES | strings & (SLOTS | set(layout.HOLES))


def test_only_its_folder_knows_the_layout() -> None:
    files = [path for path in BT.rglob("*.py") if SOFT_MMU not in path.parents and path != STATE]
    found = {str(path.relative_to(BT)): layout_knowledge(path.read_text(encoding="utf-8")) for path in files}
    assert {file: names for file, names in found.items() if names} == SAYS_SO_TO_PEOPLE


def test_few_files_import_the_folder() -> None:
    importing = {
        str(path.relative_to(BT))
        for path in BT.rglob("*.py")
        if SOFT_MMU not in path.parents and "bt.memory.soft_mmu" in path.read_text(encoding="utf-8")
    }
    assert importing == MAY_CHOOSE | set(MAY_NAME_PARTS)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("b.load(entry + ADDEND, 64)\n", {"ADDEND"}),
        ('b.get_pointer("tlb_system")\n', {"tlb_system"}),
        ('o.slot("TAG_OFFSET", x)\n', {"TAG_OFFSET"}),
        ('b.count("tlb_fills")  # READ_TAG\n', set()),
    ],
)
def test_knowledge_is_seen(source: str, found: set[str]) -> None:
    assert layout_knowledge(source) == found
