"""Looking around in the soft TLB: host code that units of 64-bit code call when an access is outside its reach."""

from __future__ import annotations

from bt.engine.identity.long.encoding import (
    BUDGET,
    EQUAL,
    NOT_BELOW,
    NOT_EQUAL,
    RAX,
    S0,
    S1,
    STATE,
    Address,
    i32,
    instruction,
    lea,
    load,
    move,
    shift,
    slot,
    store,
)
from bt.engine.structures import CONTROL
from bt.memory.soft_mmu.host_form import REACH, REACHES, HostForm
from bt.x86.page import PAGE

MOST_AROUND = 8  # pages looked at on each side
PATIENCE = 64  # misses; if there is one within so many instructions, it is cheaper to ask the TLB itself:
DEAR_INSNS = 125
_RCX, _RDX, _RBX, _RSI = 1, 2, 3, 6
_PUSHED = (RAX, _RCX, _RDX, _RBX, _RSI)
_ADD, _SUB, _CMP, _XOR, _TEST = b"\x03", b"\x2b", b"\x3b", b"\x33", b"\x85"


def field(name: str) -> Address:
    """Of the reach at r11."""
    return Address(S1, REACH.offsets[name])


class _Look:
    def __init__(self, form: HostForm, write: bool) -> None:
        self._form, self._tag = form, Address(STATE, form.tags[write], _RDX)
        self._code = bytearray()
        self._labels: dict[str, int] = {}
        self._holes: list[tuple[int, str]] = []

    def put(self, *parts: bytes) -> None:
        self._code += b"".join(parts)

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def branch(self, condition: int, name: str) -> None:
        self.put(bytes((0x0F, 0x80 | condition)), bytes(4))
        self._holes.append((len(self._code), name))

    def jump(self, name: str) -> None:
        self.put(b"\xe9", bytes(4))
        self._holes.append((len(self._code), name))

    def finished(self) -> bytes:
        for end, name in self._holes:
            self._code[end - 4 : end] = i32(self._labels[name] - end)
        return bytes(self._code)

    def to_entry(self) -> None:
        """The linear address in rdx becomes its entry's place."""
        self.put(shift(5, _RDX, self._form.shift), instruction(b"\x81", 4, _RDX), i32(self._form.mask))

    def unless_alike(self, name: str) -> None:
        """Branch unless the entry has the tag in rsi and the addend in rax."""
        self.put(instruction(_CMP, _RSI, self._tag, wide=True))
        self.branch(NOT_EQUAL, name)
        self.put(instruction(_CMP, RAX, Address(STATE, self._form.addend, _RDX), wide=True))
        self.branch(NOT_EQUAL, name)


def look_around(form: HostForm, *, write: bool) -> bytes:
    """r10 = linear address, r11 = reach for writing: ZF is set if the TLB has it all, and the reach is then the one
    around it, if there is room on the list; its addend is right in any case. r10 goes."""
    look = _Look(form, write)
    put, branch = look.put, look.branch
    put(*(bytes((0x50 | n,)) for n in _PUSHED))
    put(move(_RDX, S0))
    look.to_entry()
    put(load(_RCX, field("size")), lea(_RCX, Address(S0, -1, _RCX)), instruction(b"\x81", 1, _RCX, wide=True))
    put(i32(PAGE - 1), instruction(_CMP, _RCX, look._tag, wide=True))
    branch(NOT_EQUAL, "out")
    put(load(RAX, Address(STATE, form.addend, _RDX)), store(field("addend"), RAX))
    put(instruction(b"\xff", 1, field("patience"), wide=True))  # dec
    branch(EQUAL, "tired")

    look.label("around")
    put(lea(_RBX, Address(_RCX, 1)), instruction(b"\xc7", 0, S0, wide=True), i32(MOST_AROUND))
    look.label("up")  # rbx: the page behind
    put(instruction(_TEST, _RBX, _RBX, wide=True))
    branch(EQUAL, "down from here")
    put(move(_RDX, _RBX), lea(_RSI, Address(_RBX, PAGE - 1)))
    look.to_entry()
    look.unless_alike("down from here")
    put(lea(_RBX, Address(_RBX, PAGE)), instruction(b"\xff", 1, S0, wide=True))
    branch(NOT_EQUAL, "up")
    look.label("down from here")
    put(lea(_RCX, Address(_RCX, 1 - PAGE)), instruction(b"\xc7", 0, S0, wide=True), i32(MOST_AROUND))
    look.label("down")  # rcx: the first page
    put(instruction(_TEST, _RCX, _RCX, wide=True))
    branch(EQUAL, "done")
    put(lea(_RSI, Address(_RCX, -1)), move(_RDX, _RSI))
    look.to_entry()
    look.unless_alike("done")
    put(lea(_RCX, Address(_RCX, -PAGE)), instruction(b"\xff", 1, S0, wide=True))
    branch(NOT_EQUAL, "down")

    look.label("done")
    put(store(field("low"), _RCX), instruction(_SUB, _RBX, _RCX, wide=True))
    put(instruction(_SUB, _RBX, field("size"), wide=True), lea(_RBX, Address(_RBX, 1)))
    put(instruction(b"\x83", 7, field("limit"), wide=True), b"\x00", store(field("limit"), _RBX))  # cmp it, 0
    branch(NOT_EQUAL, "known")
    put(load(_RDX, slot("reaches")), load(_RCX, Address(_RDX)))
    put(instruction(b"\x81", 7, _RCX, wide=True), i32(REACHES))
    branch(NOT_BELOW, "full")
    put(store(Address(_RDX, 8, _RCX, 3), S1), instruction(b"\xff", 0, Address(_RDX), wide=True))  # inc
    look.label("known")
    put(instruction(_XOR, RAX, RAX))
    look.label("out")
    put(*(bytes((0x58 | n,)) for n in reversed(_PUSHED)), b"\xc3")

    look.label("full")
    put(instruction(b"\xc7", 0, field("limit"), wide=True), i32(0))
    look.jump("known")
    look.label("tired")
    put(instruction(b"\xc7", 0, field("patience"), wide=True), i32(PATIENCE))
    # instructions that units have done until now
    put(load(_RDX, slot("engine")), load(_RDX, Address(_RDX, CONTROL.offsets["unit_insns"])))
    put(instruction(_ADD, _RDX, slot("unit_entered"), wide=True), instruction(_SUB, _RDX, BUDGET, wide=True))
    put(move(_RBX, _RDX), instruction(_SUB, _RBX, field("mark"), wide=True), store(field("mark"), _RDX))
    put(instruction(b"\x81", 7, _RBX, wide=True), i32(PATIENCE * DEAR_INSNS))
    branch(NOT_BELOW, "around")
    put(load(_RDX, field("detour")), load(_RBX, field("site")), store(Address(_RBX), _RDX))
    look.jump("around")
    return look.finished()
