"""Host code for people: disassembled, with the CPU state's slots, gates and places in fragments by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bt.codegen.abi import FLAT_32
from bt.engine.library.library import Library
from bt.inspect.code import disassembler
from bt.inspect.explanation import diary
from bt.inspect.explanation.diary import Fragment, GuestInstruction, Piece, runtime_names
from bt.memory.soft_mmu.layout import part_name
from bt.x86 import state
from bt.x86.state import GPR_NAMES, GPR_NAMES_64, SEGMENT_BYTES, SEGMENT_FIELDS, SEGMENT_NAMES

STATE_REGISTER = FLAT_32.register("state")
_OPERAND = re.compile(rf"\[(?P<inner>[^]]*\b{STATE_REGISTER}\b[^]]*)\]")
_TARGET = re.compile(r"(?P<mnemonic>j\w+|call) (?P<target>0x[0-9a-f]+)")
_ORDER = sorted((offset, name) for name, offset in state.OFFSETS.items())


@dataclass(frozen=True)
class HostLine:
    """One host instruction."""

    address: int
    code: bytes
    text: str


def pinned_registers() -> dict[str, str]:
    """Which host register holds which guest register (or the state, T and the budget) in translated code."""
    return {role: FLAT_32.register(role) for role in FLAT_32.roles if role != "free"}


def disassemble(piece: Piece, labels: Mapping[int, str]) -> list[HostLine]:
    """The instructions of a piece; `labels` names the places outside that it may jump to, numbers those inside."""
    lines = list(disassembler(64).disassemble(piece.code, piece.address))
    inside = sorted({target for line in lines for target in _targets(line.text) if piece.address < target < piece.end})
    numbers = {address: str(number) for number, address in enumerate(inside, 1)}
    names = {piece.end: "on", **labels, **numbers}
    found = []
    for line in lines:
        mark = f"{numbers[line.address]}: " if line.address in numbers else ""
        found.append(HostLine(line.address, line.code, mark + annotate(line.text, names)))
    return found


def is_identity(instruction: GuestInstruction) -> bool:
    """Whether the translation is the instruction itself: one host instruction of the same name."""
    lines = [line for piece in instruction.hot for line in disassembler(64).disassemble(piece.code)]
    return len(lines) == 1 and lines[0].text.split()[0] == instruction.text.split()[0]


def _targets(text: str) -> list[int]:
    return [int(match["target"], 16) for match in _TARGET.finditer(text)]


def labels_of(fragment: Fragment, library: Library) -> dict[int, str]:
    """Names of the places that a fragment's code leads to: its instructions, its stubs, gates."""
    labels = runtime_names(library) | {fragment.host: f"block {fragment.eip:08x}"}
    labels |= {one.hot[0].address: f"{one.eip:08x}" for one in fragment.instructions if one.hot}
    return labels | {piece.address: purpose(piece) for piece in fragment.cold_pieces()}


def purpose(piece: Piece) -> str:
    """What a piece off the hot path is there for."""
    site = piece.site
    if piece.name == diary.COPY:
        return "run, one by one"
    if site is None:
        return f"{piece.name}: to another page" if piece.name == "far_exit" else piece.name
    match piece.name:
        case "chain_gate":
            return f"chain to {site.eip:08x}"
        case "slow_gate":
            return f"slow path: {'write' if site.write else 'read'} {site.size} byte{'s' * (site.size != 1)}"
        case "service_gate":
            return f"callout: interpret {site.eip:08x}"
        case "head_gate":
            return "budget used up"
        case "stale_gate":
            return "guest code has changed"
        case diary.EXIT:
            return f"exit to {site.eip:08x}"
        case diary.LANDING:
            return f"return to {site.eip:08x}"
        case name:
            return name


def annotate(text: str, labels: Mapping[int, str]) -> str:
    """A host instruction with slots of the state and `labels` in place of numbers."""

    def target(match: re.Match[str]) -> str:
        label = labels.get(int(match["target"], 16))
        return f"{match['mnemonic']} {match['target'] if label is None else f'<{label}>'}"

    return _TARGET.sub(target, _OPERAND.sub(lambda match: _slot_operand(match["inner"]), text))


def _slot_operand(inner: str) -> str:
    """A memory operand relative to the state pointer, by the name of the slot."""
    displacement, registers = 0, []
    for sign, term in re.findall(r"([+-]?) ?([^+\- ]+)", inner):
        if re.fullmatch(r"0x[0-9a-f]+|\d+", term):
            displacement += int(term, 0) * (-1 if sign == "-" else 1)
        elif term != STATE_REGISTER:
            registers.append(term)
    return f"[{' + '.join((slot_name(displacement), *registers))}]"


def slot_name(displacement: int) -> str:
    """Name of the slot at a displacement from the state pointer, in bytes."""
    offset, name = max((entry for entry in _ORDER if entry[0] <= displacement), default=(0, ""))
    within = displacement - offset
    if not name or displacement >= state.STATE_BYTES - state.POINTER_BIAS:
        return f"state{displacement:+#x}"
    if name == "gpr":
        name, within = GPR_NAMES[within // 8], within % 8
    elif name == "gpr_high":
        name, within = GPR_NAMES_64[8 + within // 8], within % 8
    elif name == "segment":
        part = SEGMENT_FIELDS[within % SEGMENT_BYTES // 8]
        name, within = f"{SEGMENT_NAMES[within // SEGMENT_BYTES]}.{part}", within % 8
    elif (entry := part_name(name, within)) is not None:
        name, within = entry, 0
    return name if within == 0 else f"{name}+{within:#x}"
