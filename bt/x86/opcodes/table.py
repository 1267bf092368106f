"""All forms, numbered, and the table that finds them.

The dispatch table is an array of little-endian u16:

    [0, 4096)     first level, index = row << 8 | opcode byte, row = map << 2 | prefix
                  map: 0 one-byte opcodes, 1 the opcodes after 0F, 2 after 0F 38, 3 after 0F 3A
                  prefix: 0 none of these, 1 66, 2 F3, 3 F2 (the last of F2 and F3 counts, and either beats 66)
    [4096, ...)   groups

64-bit mode has a table of its own, in which forms that it has not are undefined (`Form.long`).

An entry below 0x8000 is a form id; 0 is `UNDEFINED`. An entry with bit 15 set goes on in a group, which begins at
entry & 0x7FFF of the same array. A first-level entry goes on in a group of 16, indexed by ModRM.reg + (8 if mod = 3),
and an entry found there in a group of 8, indexed by ModRM.rm. So with `modrm` at hand the form takes at most 3 loads:

    entry = table[row << 8 | opcode]
    if entry & 0x8000: entry = table[(entry & 0x7FFF) + (modrm >> 3 & 7) + (8 if modrm >= 0xC0 else 0)]
    if entry & 0x8000: entry = table[(entry & 0x7FFF) + (modrm & 7)]

Prefixes that select no form of their own change nothing, but with MMX and SSE: there each of 66, F3 and F2 selects a
form or is undefined.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from .encoding import ESCAPES, MANDATORY_PREFIXES, OPCODE_MAPS, Encoding, parse_encoding
from .form import UNDEFINED_CLASS, Form, Ib, Method, Operand
from .long import LONG
from .map_0f3a import MAP_0F3A, MAP_0F3A_UNDEFINED
from .map_0f38 import MAP_0F38, MAP_0F38_UNDEFINED
from .one_byte import ONE_BYTE, ONE_BYTE_UNDEFINED
from .simd import SIMD, SIMD_UNDEFINED
from .sse import SSE, SSE_UNDEFINED
from .two_byte import TWO_BYTE, TWO_BYTE_UNDEFINED
from .x87 import X87, X87_UNDEFINED

GO_ON: Final = 0x8000
FIRST_LEVEL: Final = len(OPCODE_MAPS) << 10

# Bytes of the one-byte map that are no opcodes.
PREFIXES: Final[dict[int, str]] = {
    0x0F: "escape to the two-byte map",
    0x26: "ES segment override",
    0x2E: "CS segment override",
    0x36: "SS segment override",
    0x3E: "DS segment override",
    0x64: "FS segment override",
    0x65: "GS segment override",
    0x66: "operand-size override",
    0x67: "address-size override",
    0xF0: "LOCK",
    0xF2: "REPNE",
    0xF3: "REP, REPE",
}

UNDEFINED: Final = Form("", "undefined", (), "interrupts.ud", UNDEFINED_CLASS, ends_block=True, id=0)
UNDEFINED_ENCODINGS: Final[dict[str, str]] = (
    ONE_BYTE_UNDEFINED
    | TWO_BYTE_UNDEFINED
    | X87_UNDEFINED
    | SIMD_UNDEFINED
    | SSE_UNDEFINED
    | MAP_0F38_UNDEFINED
    | MAP_0F3A_UNDEFINED
)


_TABLES: Final = (ONE_BYTE, TWO_BYTE, X87, SIMD, SSE, MAP_0F38, MAP_0F3A, LONG)
FORMS: Final[tuple[Form, ...]] = (  # `id` is their last column; `_replace` takes twice as long
    UNDEFINED,
    *(Form(*form[:-1], number) for number, form in enumerate((form for table in _TABLES for form in table), 1)),
)

PLAIN_FORMS: Final[tuple[Form, ...]] = tuple(form for form in FORMS[1:] if form.long != "only")
"""Those of 16-bit and 32-bit code, without UNDEFINED."""

_Key = tuple[int, int]  # (row, opcode)
_UNSET = -1


def _place(cells: dict[_Key, list[int]], encoding: Encoding, text: str, form_id: int, *, rest: bool = False) -> None:
    """Give the encoding's cells to a form. Raises ValueError if one has an owner; with `rest` those keep theirs."""
    row = encoding.opcode_map << 2 | MANDATORY_PREFIXES[encoding.prefix]
    for opcode in encoding.opcodes:
        if encoding.any_modrm and (row, opcode) not in cells:
            cells[row, opcode] = [form_id] * 128
            continue
        # One cell for each (mod = 3, reg, rm), so that index = (mod3 << 6 | reg << 3 | rm).
        own = cells.setdefault((row, opcode), [_UNSET] * 128)
        for mod3 in encoding.mods:
            for reg in encoding.regs:
                for rm in encoding.rms:
                    cell = mod3 << 6 | reg << 3 | rm
                    if own[cell] != _UNSET:
                        if rest:
                            continue
                        raise ValueError(f"encoding {text!r} is taken already, in part or whole (form {own[cell]})")
                    own[cell] = form_id


def _compress(cells: list[int], array: list[int]) -> int:
    """Entry for an opcode's 128 cells, appending the groups it needs."""
    if cells.count(cells[0]) == 128:
        return cells[0]
    entries = []
    for at in range(0, 128, 8):
        rms = cells[at : at + 8]
        if len(set(rms)) > 1:
            entries.append(GO_ON | len(array))
            array.extend(rms)
        else:
            entries.append(rms[0])
    array.extend(entries)
    return GO_ON | len(array) - 16


@cache
def dispatch_table(*, long: bool = False) -> bytes:
    """The table described above. `long`: the one of 64-bit mode."""
    return build_dispatch_table(FORMS, UNDEFINED_ENCODINGS, long=long)


def build_dispatch_table(forms: Sequence[Form], undefined_encodings: Iterable[str], *, long: bool = False) -> bytes:
    """Dispatch table of numbered forms; forms[0] stands for everything undefined.

    Raises ValueError if an encoding is taken twice or an opcode belongs to nobody.
    """
    cells: dict[_Key, list[int]] = {}
    others = [form for form in forms[1:] if form.long == ("gone" if long else "only")]
    forms = [forms[0], *(form for form in forms[1:] if form not in others)]
    for form in forms[1:]:
        encoding = parse_encoding(form.encoding)
        if form.memory_only:
            encoding = encoding._replace(mods=(False,))
        _place(cells, encoding, form.encoding, form.id)
    for text in undefined_encodings:
        _place(cells, parse_encoding(text), text, UNDEFINED.id, rest=long)
    for form in others if long else ():
        _place(cells, parse_encoding(form.encoding), form.encoding, UNDEFINED.id, rest=True)
    for opcode_map, byte in (*ESCAPES, *((0, prefix) for prefix in PREFIXES)):
        cells[opcode_map << 2, byte] = [UNDEFINED.id] * 128
    # What a memory-only operand leaves over is undefined without being listed.
    for form in forms[1:]:
        if form.memory_only:
            encoding = parse_encoding(form.encoding)
            for opcode in encoding.opcodes:
                own = cells[encoding.opcode_map << 2 | MANDATORY_PREFIXES[encoding.prefix], opcode]
                for cell in (64 | reg << 3 | rm for reg in encoding.regs for rm in range(8)):
                    if own[cell] == _UNSET:
                        own[cell] = UNDEFINED.id

    encodings = [parse_encoding(form.encoding) for form in forms[1:] if form.chosen_by_prefix]
    by_prefix = {(encoding.opcode_map, opcode) for encoding in encodings for opcode in encoding.opcodes}
    array = [0] * FIRST_LEVEL
    for opcode_map, spelling in enumerate(OPCODE_MAPS):
        for opcode in range(256):
            chosen = (opcode_map, opcode) in by_prefix
            plain = cells.get((opcode_map << 2, opcode), [_UNSET] * 128)
            if _UNSET in plain:
                raise ValueError(f"opcode {spelling.spell(opcode)} is neither defined nor listed as undefined")
            entry = _compress(plain, array)
            fallback = [UNDEFINED.id] * 128 if chosen else plain
            for prefix in range(4):
                own = cells.get((opcode_map << 2 | prefix, opcode), fallback if prefix else plain)
                if own is not plain:
                    own = [old if new == _UNSET else new for new, old in zip(own, fallback, strict=True)]
                array[opcode_map << 10 | prefix << 8 | opcode] = entry if own is plain else _compress(own, array)
    return struct.pack(f"<{len(array)}H", *array)


@cache
def _entries(*, long: bool) -> memoryview:
    return memoryview(dispatch_table(long=long)).cast("H")


def lookup(opcode_map: int, opcode: int, modrm: int = 0, prefix: int = 0, *, long: bool = False) -> Form:
    """The form of an opcode; `UNDEFINED` (id 0) if it has none.

    opcode_map: number in OPCODE_MAPS. modrm: needed only where `needs_modrm` says so. prefix: 0, 0x66, 0xF2 or 0xF3.
    long: in 64-bit mode, where 40 to 4F are no opcodes.
    """
    table = _entries(long=long)
    entry = table[opcode_map << 10 | MANDATORY_PREFIXES[prefix] << 8 | opcode]
    if entry & GO_ON:
        entry = table[(entry & ~GO_ON) + (modrm >> 3 & 7) + (8 if modrm >= 0xC0 else 0)]
    if entry & GO_ON:
        entry = table[(entry & ~GO_ON) + (modrm & 7)]
    return FORMS[entry]


def needs_modrm(opcode_map: int, opcode: int, prefix: int = 0, *, long: bool = False) -> bool:
    """True if the form depends on ModRM (group opcodes)."""
    return _entries(long=long)[opcode_map << 10 | MANDATORY_PREFIXES[prefix] << 8 | opcode] >= GO_ON


_DECIDE_LENGTH: Final = (Method.IMMEDIATE, Method.REGISTER_RM, Method.FAR_POINTER)


@cache
def _undefined_forms() -> dict[tuple[int, int], Form]:
    modrm: set[tuple[int, int]] = set()
    operands: dict[tuple[int, int], dict[Operand, None]] = {}
    listed = [(form.encoding, form.operands) for form in FORMS[1:]]
    for text, all_operands in listed + [(text, ()) for text in UNDEFINED_ENCODINGS]:
        encoding = parse_encoding(text)
        for key in ((encoding.opcode_map, opcode) for opcode in encoding.opcodes):
            own = operands.setdefault(key, dict.fromkeys((Ib,)) if OPCODE_MAPS[key[0]].immediate else {})
            own |= {operand: None for operand in all_operands if operand.method in _DECIDE_LENGTH}
            if encoding.modrm:
                modrm.add(key)
    return {
        key: UNDEFINED._replace(
            encoding=OPCODE_MAPS[key[0]].spell(key[1]) + " /r" * (key in modrm),
            operands=tuple(own),
        )
        for key, own in operands.items()
    }


def undefined_form(opcode_map: int, opcode: int) -> Form:
    """What an undefined encoding of an opcode looks like: `UNDEFINED` with ModRM and immediate as the opcode has them.

    A processor finds out how long an instruction is by its opcode, before it knows that there is no such instruction:
    so these bytes are fetched, and can fault, all the same. Prefixes of later extensions (UNDEFINED_ENCODINGS says
    which) end as early as they can.
    """
    return _undefined_forms().get((opcode_map, opcode), UNDEFINED)
