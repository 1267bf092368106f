"""The code of the crossings: encoded by us, because compiled code can do with neither flags nor a biased budget."""

from __future__ import annotations

from bt.codegen.abi import Signature
from bt.codegen.objectfile import CodePiece, Relocation, RelocationKind
from bt.engine.identity.crossing import (
    CLEAN_REGISTERS,
    ENTER_TABLES,
    LOAD_FLAGS,
    NOTE_ENTRY,
    RESUME_UNIT,
    SAVE_FLAGS,
    TABLE,
    WAYS_OUT,
    add_to_budget,
    slot,
    way_out,
    wide,
)
from bt.engine.identity.layout import BIAS

_RAX = 0


def _jump_relative(symbol: str) -> tuple[bytes, Relocation]:
    """jmp symbol, and the hole in it, which counts from the jump's own beginning."""
    return b"\xe9" + bytes(4), Relocation(1, RelocationKind.PC32, symbol, -4)


def _way_out(gate: Signature) -> CodePiece:
    """Everything as tier 1 has it, flags into the state, then to the gate."""
    code = SAVE_FLAGS + slot(b"\x89", _RAX, "host_flags") + bytes.fromhex("4889d8")
    code += add_to_budget(BIAS) + wide(b"\x8b", TABLE, "host_frame")
    jump, hole = _jump_relative(gate.name)
    return CodePiece(code + jump, (hole._replace(offset=len(code) + 1),), 16)


def _way_in() -> CodePiece:
    """To `unit_target`, with the flags of the state."""
    code = NOTE_ENTRY + ENTER_TABLES + CLEAN_REGISTERS + add_to_budget(-BIAS)
    code += bytes.fromhex("4889c3") + slot(b"\x8b", _RAX, "host_flags") + LOAD_FLAGS
    return CodePiece(code + slot(b"\xff", 4, "unit_target"), (), 16)


def raw_crossings() -> dict[str, CodePiece]:
    """What is encoded by us, by symbol."""
    return {way_out(gate): _way_out(gate) for gate in WAYS_OUT} | {RESUME_UNIT.name: _way_in()}
