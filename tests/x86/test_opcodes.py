"""The opcode table: complete and consistent."""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator

import pytest

from bt.x86 import opcode_docs
from bt.x86.opcodes import (
    ALL_FLAGS,
    EFLAGS_BITS,
    FORMS,
    PLAIN_FORMS,
    PREFIXES,
    UNDEFINED,
    UNDEFINED_ENCODINGS,
    Form,
    InstructionClass,
    Method,
    dispatch_table,
    eflags_mask,
    lookup,
    needs_modrm,
    undefined_form,
)
from bt.x86.opcodes.encoding import ESCAPES, OPCODE_MAPS, opcode_of, parse_encoding
from bt.x86.opcodes.table import build_dispatch_table

# The unprivileged sensitive instructions of Robin and Irvine (2000), as the table names them.
ROBIN_IRVINE = {
    *("sgdt", "sidt", "sldt", "smsw", "str", "pushf", "popf", "lar", "lsl", "verr", "verw"),
    *("call far", "jmp far", "ret far", "int"),
}


MAPS = range(len(OPCODE_MAPS))


def cells(form: Form) -> Iterator[tuple[int, int, int]]:
    """(map, opcode, ModRM) of everything a form's encoding claims, spelled out."""
    encoding = parse_encoding(form.encoding)
    for opcode, reg, rm in itertools.product(encoding.opcodes, encoding.regs, encoding.rms):
        for mod in range(4):
            if (mod == 3) in encoding.mods and not (mod == 3 and form.memory_only):
                yield encoding.opcode_map, opcode, mod << 6 | reg << 3 | rm


def test_forms_are_numbered_in_table_order() -> None:
    assert [form.id for form in FORMS] == list(range(len(FORMS)))
    assert FORMS[0] is UNDEFINED


@pytest.mark.parametrize("long", [False, True])
def test_lookup_finds_every_cell_of_a_form(long: bool) -> None:
    """But for those that this mode has not, whose encodings are another's or nobody's."""
    elsewhere = "gone" if long else "only"
    for form in FORMS[1:]:
        prefix = parse_encoding(form.encoding).prefix
        for opcode_map, opcode, modrm in cells(form):
            found = lookup(opcode_map, opcode, modrm, prefix, long=long)
            assert (found is form) is (form.long != elsewhere), f"{form.encoding}: {modrm:02x}"


def test_every_opcode_is_defined_or_explicitly_undefined() -> None:
    # a mandatory prefix only adds forms
    plain = [form for form in PLAIN_FORMS if not parse_encoding(form.encoding).prefix]
    claimed = {cell for form in plain for cell in cells(form)}
    for text in UNDEFINED_ENCODINGS:
        if parse_encoding(text).prefix:
            continue
        own = set(cells(UNDEFINED._replace(encoding=text)))
        assert not own & claimed, text
        claimed |= own
    for form in plain:
        if form.memory_only:
            claimed |= set(cells(form._replace(operands=())))
    no_opcodes = {*((0, prefix) for prefix in PREFIXES), *ESCAPES}
    claimed |= {(*place, modrm) for place in no_opcodes for modrm in range(256)}
    assert claimed == set(itertools.product(MAPS, range(256), range(256)))


@pytest.mark.parametrize("long", [False, True])
def test_dispatch_table_walk_as_documented(long: bool) -> None:
    """The loads native code makes, written from the docstring of table.py, against `lookup`."""
    raw = dispatch_table(long=long)
    table = struct.unpack(f"<{len(raw) // 2}H", raw)
    rows = {0: 0, 0x66: 1, 0xF3: 2, 0xF2: 3}
    for opcode_map, opcode, modrm, prefix in itertools.product(MAPS, range(256), range(256), rows):
        entry = table[(opcode_map << 2 | rows[prefix]) << 8 | opcode]
        assert (entry >= 0x8000) == needs_modrm(opcode_map, opcode, prefix, long=long)
        if entry & 0x8000:
            entry = table[(entry & 0x7FFF) + (modrm >> 3 & 7) + (8 if modrm >= 0xC0 else 0)]
        if entry & 0x8000:
            entry = table[(entry & 0x7FFF) + (modrm & 7)]
        assert FORMS[entry] is lookup(opcode_map, opcode, modrm, prefix, long=long)


@pytest.mark.parametrize(
    ("code", "opcode_map", "at"),
    [("90", 0, 0), ("0f af", 1, 1), ("0f 38 f0", 2, 2), ("0f 3a 0f", 3, 2), ("38 0f", 0, 0)],
)
def test_escapes_lead_to_the_maps(code: str, opcode_map: int, at: int) -> None:
    """SDM vol. 2 2.1.2; an escape that nothing follows leads there too."""
    found = opcode_of(bytes.fromhex(code))
    assert found == (opcode_map, at)
    assert OPCODE_MAPS[opcode_map].spell(0xF0).startswith(bytes.fromhex(code)[:at].hex(" ").upper())
    assert opcode_of(bytes.fromhex(code)[:at]) == (opcode_map, at)


@pytest.mark.parametrize("opcode", range(256))
def test_undefined_three_byte_opcodes_have_modrm_and_their_map_s_immediate(opcode: int) -> None:
    for opcode_map, immediates in ((2, 0), (3, 1)):
        form = undefined_form(opcode_map, opcode)
        assert form.has_modrm
        assert [operand.method for operand in form.operands] == [Method.IMMEDIATE] * immediates


def test_pause_is_nop_with_a_prefix() -> None:
    assert [lookup(0, 0x90, prefix=prefix).name for prefix in (0, 0x66, 0xF3, 0xF2)] == ["nop", "nop", "pause", "nop"]


def test_a_second_form_for_an_encoding_is_refused() -> None:
    twice = (*FORMS, FORMS[1]._replace(encoding="80 /7", id=len(FORMS)))
    with pytest.raises(ValueError, match="'80 /7' is taken already"):
        build_dispatch_table(twice, UNDEFINED_ENCODINGS)


def test_an_opcode_nobody_claims_is_refused() -> None:
    with pytest.raises(ValueError, match="opcode 0F 37 is neither"):
        build_dispatch_table(FORMS, [text for text in UNDEFINED_ENCODINGS if text != "0F 37"])


@pytest.mark.parametrize("text", ["", "0F", "90 91", "00 /8", "00 /r 12", "mod=3", "zz", "DB C0-C9", "DB 10"])
def test_malformed_encodings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"encoding|invalid literal"):
        parse_encoding(text)


def test_columns_make_sense() -> None:
    for form in FORMS:
        columns_make_sense(form)


def columns_make_sense(form: Form) -> None:
    for flags in (form.reads, form.writes, form.undefines):
        assert len(set(flags)) == len(flags)
        assert set(flags) <= set(EFLAGS_BITS)
    assert not set(form.writes) & set(form.undefines)
    assert re.fullmatch(r"[a-z0-9]+\.[a-z0-9_]+", form.meaning)
    assert (form.condition is not None) == form.meaning.endswith("cc")
    if form.lock:
        assert form.operands[0].method in (Method.REGISTER_OR_MEMORY, Method.MEMORY_ONLY)
    if form.rep:
        assert form.cls in (InstructionClass.MEMORY, InstructionClass.SENSITIVE)
    if form.cls is InstructionClass.CONTROL:
        assert form.ends_block
    if any(operand.method in (Method.RELATIVE, Method.FAR_POINTER) for operand in form.operands):
        assert form.ends_block
    modrm_operands = [operand for operand in form.operands if operand.method.value in tuple("EMRGSCD")]
    assert form is UNDEFINED or form.has_modrm or not modrm_operands


def test_no_sensitive_instruction_is_missing() -> None:
    sensitive = {form.name for form in FORMS if form.cls is InstructionClass.SENSITIVE}
    assert sensitive >= ROBIN_IRVINE
    segment_moves = [form for form in FORMS if form.meaning in ("segment.load", "segment.store")]
    segment_moves += [form for form in FORMS if form.meaning in ("segment.push", "segment.pop")]
    assert {form.name for form in segment_moves} == {"mov", "push", "pop"}
    assert {form.cls for form in segment_moves} == {InstructionClass.SENSITIVE}


def test_flag_masks() -> None:
    assert eflags_mask("oszapc") == 0x8D5
    assert eflags_mask(ALL_FLAGS) == 0x3F7FD5
    shl_by_cl, scas, sub = lookup(0, 0xD3, 0xE0), lookup(0, 0xAF), lookup(0, 0x29)
    assert shl_by_cl.kills_mask() == 0
    assert scas.kills_mask() == 0x8D5
    assert scas.kills_mask(repeated=True) == 0
    assert sub.kills_mask(repeated=True) == 0x8D5


def test_documentation_is_up_to_date() -> None:
    assert opcode_docs.PATH.read_text(encoding="utf-8") == opcode_docs.render(), "run python -m bt.x86.opcode_docs"
