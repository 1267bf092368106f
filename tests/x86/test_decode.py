"""The decoder: cases worked out from the SDM, then capstone over the whole opcode space.

Where the two disagree, `verdict` below must name the reason, and who is right is always said: nothing is skipped.
"""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt.x86 import capstone_layout
from bt.x86.capstone_layout import DETAIL_OFFSETS, CapstoneMismatch, Handle
from bt.x86.decode import (
    DecodeError,
    Instruction,
    InstructionTooLong,
    InvalidInstruction,
    MemoryOperand,
    TruncatedInstruction,
    decode,
)
from bt.x86.opcodes import PREFIXES, UNDEFINED_ENCODINGS
from bt.x86.opcodes.encoding import ESCAPES, OPCODE_MAPS, opcode_of, parse_encoding

EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)
ES, CS, SS, DS, FS, GS = range(6)

# -- addresses: bytes, code size, and base, index, scale, displacement, segment
ADDRESSES = [
    ("8b 00", 32, (EAX, None, 1, 0, DS)),
    ("8b 45 fc", 32, (EBP, None, 1, 0xFFFFFFFC, SS)),
    ("8b 05 78 56 34 12", 32, (None, None, 1, 0x12345678, DS)),
    ("8b 04 24", 32, (ESP, None, 1, 0, SS)),
    ("8b 04 64", 32, (ESP, None, 1, 0, SS)),  # index 4 = none, whatever the scale
    ("8b 04 6c", 32, (ESP, EBP, 2, 0, SS)),
    ("8b 04 8d 00 10 00 00", 32, (None, ECX, 4, 0x1000, DS)),  # base 5 with mod 0 = none
    ("8b 44 8d 80", 32, (EBP, ECX, 4, 0xFFFFFF80, SS)),
    ("65 8b 84 d8 00 00 00 80", 32, (EAX, EBX, 8, 0x80000000, GS)),
    ("2e 26 8b 00", 32, (EAX, None, 1, 0, ES)),  # the last override counts
    ("67 8b 00", 32, (EBX, ESI, 1, 0, DS)),
    ("8b 00", 16, (EBX, ESI, 1, 0, DS)),
    ("8b 02", 16, (EBP, ESI, 1, 0, SS)),
    ("8b 06 34 12", 16, (None, None, 1, 0x1234, DS)),
    ("8b 46 ff", 16, (EBP, None, 1, 0xFFFF, SS)),
    ("8b 87 00 80", 16, (EBX, None, 1, 0x8000, DS)),
    ("67 8b 04 24", 16, (ESP, None, 1, 0, SS)),
    ("a1 78 56 34 12", 32, (None, None, 1, 0x12345678, DS)),
    ("64 a1 34 12", 16, (None, None, 1, 0x1234, FS)),
    ("67 a3 34 12", 32, (None, None, 1, 0x1234, DS)),
]


@pytest.mark.parametrize(("code", "bits", "expected"), ADDRESSES)
def test_memory_operand(code: str, bits: int, expected: tuple[int | None, int | None, int, int, int]) -> None:
    instruction = decode(bytes.fromhex(code), bits=bits)
    assert instruction.memory == MemoryOperand(*expected)
    assert instruction.length == len(bytes.fromhex(code))


# -- immediates: bytes, code size, name, operand size, immediates
IMMEDIATES = [
    ("04 ff", 32, "add", 8, (0xFF,)),
    ("05 ff ff ff ff", 32, "add", 32, (0xFFFFFFFF,)),
    ("66 05 ff ff", 32, "add", 16, (0xFFFF,)),
    ("83 c0 ff", 32, "add", 32, (0xFFFFFFFF,)),
    ("83 c0 ff", 16, "add", 16, (0xFFFF,)),
    ("82 c0 ff", 32, "add", 8, (0xFF,)),
    ("6a 80", 32, "push", 32, (0xFFFFFF80,)),
    ("66 6a 80", 32, "push", 16, (0xFF80,)),
    ("c1 e0 ff", 32, "shl", 32, (0xFF,)),  # a count, not sign-extended
    ("c8 34 12 05", 32, "enter", 32, (0x1234, 5)),
    ("cd 80", 32, "int", 32, (0x80,)),
    ("e5 ff", 32, "in", 32, (0xFF,)),
    ("c2 08 80", 32, "ret", 32, (0x8008,)),
    ("6b c0 ff", 16, "imul", 16, (0xFFFF,)),
    ("66 69 c0 00 00 00 80", 16, "imul", 32, (0x80000000,)),
    ("f7 c8 01 00 00 00", 32, "test", 32, (1,)),  # /1 is test as well
    ("f7 d0", 32, "not", 32, ()),
    ("0f a4 d0 e1", 32, "shld", 32, (0xE1,)),
    ("66 0f 20 c0", 32, "mov", 32, ()),  # control registers are 32 bits wide whatever the prefix
    ("0f 22 00", 16, "mov", 32, ()),  # and ModRM.mod is ignored: no SIB, no displacement
    ("0f 22 04", 16, "mov", 32, ()),
    ("66 0f b6 c0", 32, "movzx", 16, ()),
    ("0f 94 c0", 32, "sete", 8, ()),
    ("d2 e0", 32, "shl", 8, ()),
    ("d3 e0", 32, "shl", 32, ()),
    ("ec", 32, "in", 8, ()),
    ("66 ef", 16, "out", 32, ()),
    ("f3 90", 32, "pause", 32, ()),
    ("0f 1f 44 00 00", 32, "nop", 32, ()),
    ("0f 0b", 32, "ud2", 32, ()),
    ("db e3", 32, "fninit", 32, ()),
    ("df e0", 32, "fnstsw", 32, ()),
]


@pytest.mark.parametrize(("code", "bits", "name", "size", "immediates"), IMMEDIATES)
def test_operand_size_and_immediates(code: str, bits: int, name: str, size: int, immediates: tuple[int, ...]) -> None:
    instruction = decode(bytes.fromhex(code), bits=bits)
    assert (instruction.form.name, instruction.operand_size, instruction.immediates) == (name, size, immediates)
    assert instruction.length == len(bytes.fromhex(code))


# -- direct branches: bytes, code size, EIP of the branch, target (offset, or selector and offset)
BRANCHES: list[tuple[str, int, int, int | tuple[int, int]]] = [
    ("eb fe", 32, 0x1000, 0x1000),
    ("eb fe", 16, 0xFFFF, 0xFFFF),
    ("eb 10", 16, 0xFFF8, 0x000A),
    ("eb 80", 32, 0, 0xFFFFFF82),
    ("74 7f", 32, 0xFFFFFFFE, 0x7F),
    ("66 e9 00 80", 32, 0x12345678, 0xD67C),  # 16-bit operand size truncates EIP
    ("e8 00 00 00 80", 32, 0x80000000, 0x5),
    ("66 e8 00 00 00 80", 16, 0x100, 0x80000106),
    ("0f 85 fa ff ff ff", 32, 0x100, 0x100),
    ("e3 00", 32, 0x10, 0x12),
    ("ea 78 56 34 12 10 00", 32, 0, (0x10, 0x12345678)),
    ("9a 34 12 10 00", 16, 0, (0x10, 0x1234)),
    ("66 ea 78 56 34 12 10 00", 16, 0, (0x10, 0x12345678)),
]


@pytest.mark.parametrize(("code", "bits", "eip", "target"), BRANCHES)
def test_branch_target(code: str, bits: int, eip: int, target: int | tuple[int, int]) -> None:
    instruction = decode(bytes.fromhex(code), bits=bits)
    if isinstance(target, tuple):
        assert instruction.far == target
        with pytest.raises(ValueError, match="not a direct near branch"):
            instruction.target(eip)
    else:
        assert instruction.target(eip + instruction.length) == target


# -- prefixes: bytes, segment, lock, rep, operand-size override, address-size override
PREFIXED = [
    ("a4", None, False, None, False, False),
    ("f3 a4", None, False, "repz", False, False),
    ("f3 f2 a6", None, False, "repnz", False, False),
    ("f2 f3 66 67 64 a5", FS, False, "repz", True, True),
    ("65 3e f0 00 00", DS, True, None, False, False),
    ("66 66 66 90", None, False, None, True, False),
]


@pytest.mark.parametrize(("code", "segment", "lock", "rep", "operand_size", "address_size"), PREFIXED)
def test_prefixes(
    code: str, segment: int | None, lock: bool, rep: str | None, operand_size: bool, address_size: bool
) -> None:
    found = decode(bytes.fromhex(code), bits=32)
    assert (found.segment, found.lock, found.rep) == (segment, lock, rep)
    assert (found.operand_size_override, found.address_size_override) == (operand_size, address_size)


@pytest.mark.parametrize(
    "code",
    [
        *(
            "8e c8",
            "8c f0",
            "0f 20 08",
            "0f 22 28",
            "8d c0",
            "0f 01 d0",
            "c4 c0",
            "0f c7 c8",
            "ff d8",
            "0f aa",
            "fe d0",
        ),
        *(
            "f0 00 c0",
            "f0 02 00",
            "f0 39 00",
            "f0 0f a3 00",
            "f0 0f ba 20 01",
            "f0 86 c0",
            "f0 90",
            "f0 a4",
            "f0 8b 00",
        ),
        *("d9 08", "0f 6c c0", "f3 0f fc c0", "66 0f 77", "0f 38 0c", "0f 05"),
        *("f3 0f 38 f1 00", "0f 38 f1 c0", "f0 0f 38 f1 00", "0f b8 c0", "66 0f b8 c0"),
        "0f 3a 08 c0 00",
    ],
)
def test_invalid_opcode(code: str) -> None:
    with pytest.raises(InvalidInstruction):
        decode(bytes.fromhex(code) + bytes(10), bits=32)


@pytest.mark.parametrize(
    "code", ["f0 00 00", "f0 0f ab 00", "f0 0f ba 28 01", "f0 87 00", "f0 0f c7 08", "f0 0f b1 00"]
)
def test_lock_is_allowed(code: str) -> None:
    assert decode(bytes.fromhex(code), bits=32).lock


def test_fifteen_bytes_and_no_more() -> None:
    assert decode(b"\x66" * 14 + b"\x90", bits=32).length == 15
    for code in (b"\x66" * 15 + b"\x90", b"\x66" * 16, b"\x2e" * 10 + bytes.fromhex("81 05 00 00 00 00 00 00 00 00")):
        with pytest.raises(InstructionTooLong):
            decode(code, bits=32)


@pytest.mark.parametrize(
    "code", ["66 81 84 8b 78 56 34 12 cd ab", "0f ba 28 01", "9a 78 56 34 12 10 00", "c8 34 12 05"]
)
def test_truncated_at_every_byte(code: str) -> None:
    whole = bytes.fromhex(code)
    assert decode(whole, bits=32).length == len(whole)
    for length in range(len(whole)):
        with pytest.raises(TruncatedInstruction):
            decode(whole[:length], bits=32)


# -- capstone as the oracle

# Encoding notation -> why capstone is wrong to refuse it (each is a valid instruction of this class of processor).
CAPSTONE_REFUSES = {
    "0F 0D /r": "reserved NOP, all reg values and mod 3 included (SDM vol. 2 table A-3; the design's section 10)",
    "0F 18 /r": "reserved NOP; only the prefetches' memory forms are known to capstone (SDM vol. 2 PREFETCHh)",
    "0F 1A-1B /r": "reserved NOP; capstone knows MPX only (SDM vol. 2 table A-3)",
    "0F 1C-1E /r": "reserved NOP; capstone knows cldemote and CET only (SDM vol. 2 table A-3)",
    "0F AE E8-FF": "fences ignore ModRM.rm (SDM vol. 2 LFENCE, MFENCE, SFENCE: 0F AE /5 /6 /7)",
    "F3 90": "pause: a 66 prefix beside F3 is ignored (SDM vol. 2 2.1.1)",
    "DC D0-DF": "fcom, fcomp: aliases that every processor has and no manual of Intel's lists",
    "DD C8-CF": "fxch: an alias, as above",
    "DE D0-D7": "fcomp: an alias, as above",
    "DF C8-CF": "fxch: an alias, as above",
    "DF D0-DF": "fstp: an alias, as above",
    "66 0F 6C-6D /r": "capstone loses 66 in 16-bit code where there is no form without it",
    "66 0F 73 /3 mod=3": "psrldq: as above",
    "66 0F 73 /7 mod=3": "pslldq: as above",
    "66 0F 7C-7D /r": "haddpd, hsubpd: as above",
    "66 0F D0 /r": "addsubpd: as above",
    "66 0F D6 /r": "movq: as above",
    "66 0F E6 /r": "cvttpd2dq: as above",
    "66 0F 38 10-41 /r": "SSE4.1: as above",
    "66 0F 3A 08-63 /r": "SSE4.1, SSE4.2: as above",
    "F2 0F BC-BD /r": "bsf, bsr: an F2 prefix without meaning is ignored (SDM vol. 2 2.1.1)",
}
# Encoding notation -> why capstone is wrong to accept it, beside the later extensions in UNDEFINED_ENCODINGS.
CAPSTONE_ACCEPTS = {
    "8E /1": "mov to CS is #UD (SDM vol. 2 MOV)",
    "0F 20 /1": "mov from CR1 is #UD (SDM vol. 2 MOV control registers)",
    "0F 20 /5-7": "mov from CR5-CR7 is #UD (SDM vol. 2 MOV control registers)",
    "0F 22 /1": "mov to CR1 is #UD (SDM vol. 2 MOV control registers)",
    "0F 22 /5-7": "mov to CR5-CR7 is #UD (SDM vol. 2 MOV control registers)",
    "0F AA": "rsm is #UD outside system-management mode (SDM vol. 2 RSM)",
    "66 0F 12 /r mod=3": "movhlps has no form with 66 (SDM vol. 2 MOVHLPS)",
    "66 0F 16 /r mod=3": "movlhps has no form with 66 (SDM vol. 2 MOVLHPS)",
    "66 0F 52-53 /r": "rsqrtps and rcpps have no form with 66 (SDM vol. 2 RSQRTPS, RCPPS)",
    "66 0F AE": "fxsave and kin have no form with 66 (SDM vol. 2 FXSAVE, LFENCE: NP); clflushopt and others came later",
    "F2 0F AE": "as above; umwait came later",
    "F3 0F AE": "as above; umonitor, incssp and others came later",
    "66 0F 77": "emms has no form with 66 (SDM vol. 2 EMMS: NP)",
    "66 0F C3 /r mem": "movnti has no form with 66 (SDM vol. 2 MOVNTI: NP)",
    "F2 0F 2B /r mem": "movntsd is SSE4A",
    "F3 0F 2B /r mem": "movntss is SSE4A",
}
# The same with LOCK: allowed only when the destination is memory (SDM vol. 2 LOCK).
CAPSTONE_LOCKS = ("02-03 /r", "0A-0B /r", "12-13 /r", "22-23 /r", "2A-2B /r", "32-33 /r", "0F 1F /r")
# Encoding notation -> why capstone's length is wrong.
CAPSTONE_LENGTH = {
    "0F B9 /r": "ud1 has a ModRM byte with all that follows it (SDM vol. 2 UD)",
}
# capstone keeps one of F0, F2, F3, the last; the processor takes LOCK and REP for two groups (SDM vol. 2 LOCK, REP).
CAPSTONE_FORGETS_LOCK = "F0 ... F2/F3: an illegal LOCK is #UD whatever prefix follows it"
# F2 and F3 beat 66 as mandatory prefixes wherever they stand (SDM vol. 2 2.1.2); so they do for capstone, but not when
# yet another prefix stands between them.
CAPSTONE_MIXES_PREFIXES = "F2/F3 ... 66 ... 0F: the order of prefixes of different groups does not matter"
LEGACY_PREFIXES = frozenset(PREFIXES) - {0x0F}


def cells(encodings: Iterable[str]) -> dict[tuple[int, int, int, int], str]:
    """(mandatory prefix, map, opcode, ModRM) -> the encoding of the list that covers it."""
    found = {}
    for text in encodings:
        encoding = parse_encoding(text)
        for opcode, reg, rm, mod in itertools.product(encoding.opcodes, encoding.regs, encoding.rms, range(4)):
            if (mod == 3) in encoding.mods:
                found[encoding.prefix, encoding.opcode_map, opcode, mod << 6 | reg << 3 | rm] = text
    return found


REFUSES, LOCKS, LENGTH = cells(CAPSTONE_REFUSES), cells(CAPSTONE_LOCKS), cells(CAPSTONE_LENGTH)
# Reserved for us, and the table says which later extension it became: capstone knows those.
LATER = cells(text for text, reason in UNDEFINED_ENCODINGS.items() if not reason.startswith(("reserved", "no such")))
ACCEPTS = cells(CAPSTONE_ACCEPTS)


def verdict(code: bytes, bits: int, ours: int, theirs: int) -> str | None:
    """The entry of the tables above that explains lengths `ours` and `theirs` (0 = invalid), if one does."""
    at = 0
    while code[at] in LEGACY_PREFIXES:
        at += 1
    prefixes = set(code[:at])
    opcode_map, place = opcode_of(code[at:])
    opcode, modrm = (code + bytes(2))[at + place : at + place + 2]
    cell = (0, opcode_map, opcode, modrm)
    if ours and theirs:
        return LENGTH.get(cell)
    if opcode_map and 0x66 in prefixes and prefixes & {0xF2, 0xF3} and at > 2:
        return CAPSTONE_MIXES_PREFIXES
    prefixed = [(prefix, *cell[1:]) for prefix in (0, *prefixes)]
    if ours:
        return next((REFUSES[key] for key in prefixed if key in REFUSES), None)
    if 0xF0 in prefixes:
        group = bytes(byte for byte in code[:at] if byte in (0xF0, 0xF2, 0xF3))
        if group[-1] != 0xF0 and our_instruction(bytes(byte for byte in code if byte != 0xF0), bits):
            return CAPSTONE_FORGETS_LOCK
    accepted = next((known[key] for known in (ACCEPTS, LATER) for key in prefixed if key in known), None)
    return accepted or (LOCKS.get(cell) if 0xF0 in prefixes else None)


def our_instruction(code: bytes, bits: int) -> Instruction | None:
    try:
        return decode(code, bits=bits)
    except DecodeError:
        return None


def sweep(prefixes: Iterable[bytes], modrms: Iterable[int], tails: Iterable[bytes]) -> Iterator[bytes]:
    """All opcode maps under every prefix, ModRM byte and tail, cut to 15 bytes."""
    for prefix, (number, opcode_map), opcode in itertools.product(prefixes, enumerate(OPCODE_MAPS), range(256)):
        if (number, opcode) not in ESCAPES and (number or opcode not in PREFIXES):
            for modrm, tail in itertools.product(modrms, tails):
                yield (prefix + opcode_map.escape + bytes((opcode, modrm)) + tail)[:15]


def compare(codes: Iterable[bytes], bits: int) -> Counter[str]:
    """Lengths, verdicts and operands of both decoders. Returns how often each entry explained a difference."""
    explained: Counter[str] = Counter()
    with Handle(32 if bits == 32 else 16) as handle:
        for code in codes:
            line = next(handle.disassemble(code), None)
            ours = our_instruction(code, bits)
            lengths = (ours.length if ours else 0, len(line.code) if line else 0)
            if lengths[0] != lengths[1]:
                reason = verdict(code, bits, *lengths)
                assert reason, f"{code.hex(' ')} ({bits} bits): we {ours}, capstone {line}"
                explained[reason] += 1
            elif ours:
                compare_operands(ours, code, handle)
    return explained


def compare_operands(ours: Instruction, code: bytes, handle: Handle) -> None:
    detail = ctypes.string_at(handle.field("detail"), DETAIL_OFFSETS["imm_size"] + 1)

    def number(name: str, size: int = 1) -> int:
        return int.from_bytes(detail[DETAIL_OFFSETS[name] : DETAIL_OFFSETS[name] + size], "little")

    context = f"{code.hex(' ')}: {ours}"
    assert number("addr_size") * 8 == ours.address_size, context
    if number("modrm_offset"):
        assert number("modrm") == ours.modrm, context
    if ours.memory and ours.modrm is not None:
        mask = (1 << ours.address_size) - 1
        assert number("disp", 8) & mask == ours.memory.displacement, context
    if number("imm_offset") and ours.immediates:
        size = number("imm_size")
        raw = int.from_bytes(code[number("imm_offset") : number("imm_offset") + size], "little")
        assert ours.immediates[-1] & ((1 << 8 * size) - 1) == raw, context


TAIL = bytes.fromhex("05 44 33 22 11 88 77 66 55 aa bb")
ALL_PREFIXES = [bytes((byte,)) for byte in sorted(LEGACY_PREFIXES)] + [
    b"\x66\x67",
    b"\xf0\x66",
    b"\xf3\x66",
    b"\xf2\xf3",
]
# All reg values with a register, and every shape of memory operand.
FEW_MODRMS = [*range(0xC1, 0x100, 8), 0x00, 0x06, 0x0C, 0x15, 0x5C, 0x66, 0xA4, 0xAD]


@pytest.mark.slow
def test_opcode_space_against_capstone() -> None:
    """All maps with all 256 ModRM bytes; every entry of the tables of disagreements is needed."""
    explained: Counter[str] = Counter()
    for bits in (16, 32):
        explained += compare(sweep([b""], range(256), [TAIL]), bits)
        explained += compare(sweep([b"\xf0", b"\x66", b"\xf2", b"\xf3", b"\x66\xf3"], FEW_MODRMS, [TAIL]), bits)
    unused = {*CAPSTONE_REFUSES, *CAPSTONE_ACCEPTS, *CAPSTONE_LOCKS, *CAPSTONE_LENGTH} - set(explained)
    assert not unused


@pytest.mark.slow
@pytest.mark.parametrize("bits", [16, 32])
def test_prefixes_against_capstone(bits: int) -> None:
    compare(sweep(ALL_PREFIXES, FEW_MODRMS, [TAIL]), bits)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [16, 32])
def test_everything_with_prefixes_against_capstone(bits: int) -> None:
    """Each prefix with a third of all ModRM bytes, each third with a third of the prefixes: all would take minutes."""
    for turn, prefix in enumerate(ALL_PREFIXES):
        compare(sweep([prefix], range(turn % 3, 256, 3), [TAIL]), bits)
    compare(sweep([b""], range(256), [bytes(11), b"\xff" * 11]), bits)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("opcode", ["8b", "81", "0f b6", "c6", "f6", "66 c7"])
def test_every_sib_against_capstone(bits: int, opcode: str) -> None:
    prefix = bytes.fromhex(opcode) if bits == 32 else b"\x67" + bytes.fromhex(opcode)
    codes = (
        prefix + bytes((mod << 6 | 4, sib)) + tail
        for mod, sib, tail in itertools.product(range(3), range(256), (TAIL, b"\x80" * 11))
    )
    compare((code[:15] for code in codes), bits)


@settings(max_examples=2000)
@given(
    prefix=st.lists(st.sampled_from(sorted(LEGACY_PREFIXES)), max_size=6).map(bytes),
    rest=st.binary(min_size=15, max_size=15),
    bits=st.sampled_from([16, 32]),
)
def test_random_bytes_against_capstone(prefix: bytes, rest: bytes, bits: int) -> None:
    compare([(prefix + rest)[:15]], bits)


# -- capstone's library and structures


def test_layout_is_that_of_the_installed_package() -> None:
    capstone_layout.check_layout()
    insn, detail, sizes = capstone_layout.installed_layout()
    assert (insn, detail) == (capstone_layout.INSN_OFFSETS, capstone_layout.DETAIL_OFFSETS)
    assert sizes == (capstone_layout.INSN_BYTES, capstone_layout.OPERAND_BYTES)


def test_handle_disassembles_and_closes() -> None:
    with Handle(64, detail=False) as handle:
        lines = list(handle.disassemble(bytes.fromhex("48 01 c8 c3 06"), 0x1000))
        assert [(line.address, line.text) for line in lines] == [(0x1000, "add rax, rcx"), (0x1003, "ret")]
        assert lines[0].code == bytes.fromhex("48 01 c8")
    handle.close()
    with pytest.raises(ValueError, match="closed"):
        _ = handle.insn


def test_a_changed_structure_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETAIL_OFFSETS, "modrm", DETAIL_OFFSETS["sib"])
    with pytest.raises(CapstoneMismatch, match="modrm not where capstone 5 has it"):
        Handle(32)
    with pytest.raises(CapstoneMismatch, match="structures differ"):
        capstone_layout.check_layout()


def test_the_package_is_not_imported_on_the_way() -> None:
    program = "import sys; from bt.x86.capstone_layout import Handle; Handle(32); print('capstone' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
