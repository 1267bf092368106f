"""Writing a unit of 64-bit code: host code for a run of instructions along a path, with exact counts and flags.

Where the flags are meanwhile is told in host_code.py.

    out:    budget back / r10 = record / jmp to the way out, which counts where there are no reaches
    hot:    sub budget, TOTAL / js out
            instructions; whatever is not to be done here jumps to a stub
            sub budget, TOTAL / jns behind the head, or to another unit in the same way
    stubs:  budget back for what was not executed; r10 = record / jmp to the way out, or r10 = address / on there
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bt.codegen.host_bytes import JUMP_BYTES, JUMP_REL32
from bt.engine.identity.long.decoded import LongDecoded
from bt.engine.identity.long.encoding import (
    BELOW_EQUAL,
    BUDGET,
    EQUAL,
    HOST,
    NOT_BELOW,
    NOT_EQUAL,
    NOWHERE,
    RAX,
    RESIDENT,
    S0,
    S1,
    SIGN,
    Address,
    NotEncodable,
    add_to_slot,
    constant,
    gpr,
    i32,
    instruction,
    slot,
)
from bt.engine.identity.long.facts import Facts
from bt.engine.identity.long.floating import (
    encode_fp,
    note_instruction,
    note_operand,
)
from bt.engine.identity.long.host_code import Coming
from bt.engine.identity.long.integer import encode_essence, encode_lea
from bt.engine.identity.long.neighbours import OPERAND, STACK
from bt.engine.identity.long.recipes import recipe_of
from bt.engine.identity.long.repairs import at_once, late
from bt.engine.identity.long.surroundings import Draft, End, Step
from bt.engine.identity.long.transfer_code import HOST_NOP, JUMP_LATE, Entry, TransferCode, enter
from bt.engine.identity.making.deadness import DIVISIONS, MULTIPLICATIONS
from bt.x86.flags import ARITHMETIC
from bt.x86.opcodes import Method

_RDX = 2
_FP_READY = slot("fp_ready")
_ASKS_NOTHING = frozenset(("control.jcc", "control.jmp", "control.jcxz", "control.loop"))


class Written(NamedTuple):
    code: bytes
    hot: int  # how far behind the beginning
    dead_jump: bytes  # what is there once it is dead
    dead_inside: bytes  # and where those come who have charged for it


def _ready_checks(facts_of_steps: Sequence[Facts]) -> list[int]:
    """For each instruction the READY_* bits that it needs and that nobody has asked for before: nothing in a unit takes
    them back."""
    asked, found = 0, []
    for facts in facts_of_steps:
        wanted = facts.needs & ~asked
        found.append(wanted)
        asked |= wanted
    return found


def _bits(mask: int) -> list[int]:
    return [1 << n for n in range(mask.bit_length()) if mask >> n & 1]


def _encode(i: LongDecoded, facts: Facts, where: Address) -> bytes:
    return encode_lea(i) if facts.meaning == "move.lea" else encode_essence(facts.essence, where)


class UnitWriter(TransferCode):
    """Writes one unit, whose entry jumps to `to_enter`. Raises NotEncodable."""

    def __init__(self, draft: Draft, end: End, to_enter: int) -> None:
        super().__init__(draft)
        self._to_enter, self._leads = to_enter, end
        # where each instruction begins, what leads on behind them, and the stubs: for people
        self.begins: list[int] = []
        self._checks = _ready_checks(self._facts)

    def _may_leave(self, number: int) -> bool:
        """Whether the instruction of that number can leave the unit."""
        facts = self._facts[number]
        return bool(self._checks[number]) or (facts.can_leave and self._can_leave(number, facts))

    def _can_leave(self, number: int, facts: Facts) -> bool:
        """Of an instruction that can: whether it can here."""
        mine = ((number, OPERAND) if facts.operand else None, (number, STACK) if facts.on_stack else None)
        return facts.always_can or any(each and self._asks(each) for each in mine)

    def _asks(self, access: tuple[int, int]) -> bool:
        """Whether it does not go by what its neighbour was answered."""
        group = self._groups.get(access)
        return group is None or group.first == access

    def _coming(self, number: int) -> Coming:
        left, are_seen = ARITHMETIC, False
        for at in range(number, self._total):
            facts, leaves = self._facts[at], self._may_leave(at)
            if leaves and facts.meaning not in _ASKS_NOTHING:
                return Coming.DESTROYED
            are_seen |= leaves or bool(facts.reads)
            left &= ~facts.gone
            if not left:
                return Coming.KEPT if are_seen else Coming.OVERWRITTEN
        return Coming.KEPT

    # -- the unit ------------------------------------------------------------------------------------------------------

    def write(self) -> Written:
        # mov r14, hot; jmp to the handler that enters
        self._put(bytes.fromhex("49be"), bytes(8))
        self.jump(self._to_enter)
        out = dead_out = self.here
        self._put(add_to_slot(BUDGET, self._total))
        if self._reach_top is None:
            self._leave_at(self._steps[0].i.record, self._around.way_sampled)
            dead_out = self.here
            self._put(add_to_slot(BUDGET, self._total))
        dead = self.here
        self._back_to(0, self._steps[0].i.record)
        self._put(bytes((HOST_NOP,)) * (-len(self._code) % 16))
        hot = len(self._code)
        self._code[2:10] = (self._start + hot).to_bytes(8, "little")
        self._put(instruction(b"\x81", 5, BUDGET, wide=True), i32(self._total))
        self._jump_if(SIGN, out)
        inside = len(self._code)
        self.entry = Entry(self.here, self._total, out, self._coming(0) is Coming.OVERWRITTEN)
        for number, step in enumerate(self._steps):
            self.at = number
            self.begins.append(self._start + len(self._code))
            self._instruction(step)
        self.begins.append(self._start + len(self._code))
        self._end()
        self.begins.append(self._start + len(self._code))
        for hole, stub in self._stubs:
            self._fill(hole)
            stub()

        def jump_at(place: int, target: int) -> bytes:
            return (
                bytes((JUMP_REL32,))
                + i32(target - self._start - place - JUMP_BYTES)
                + self._code[place + 5 : place + 8]
            )

        dead_inside = jump_at(inside, dead_out)
        if self.entry.wants_no_flags:
            dead_inside = JUMP_LATE + dead_inside[len(JUMP_LATE) :]
        return Written(bytes(self._code), hot, jump_at(hot, dead), dead_inside)

    def _end(self) -> None:
        if self._leads.exit_record is not None:
            self._save()
            self._put(constant(S0, self._leads.exit_record))
            self.jump(self._around.way_out)
        elif self._leads.closes:
            self._put(enter(self.here, self.entry, 0, self._passing()))
        elif self._leads.exit is not None:
            self._go(self._leads.exit, 0, self._passing())

    # -- instructions --------------------------------------------------------------------------------------------------

    def _instruction(self, step: Step) -> None:
        i, facts = step.i, self._facts[self.at]
        if facts.meaning == "move.nop":
            return
        if facts.is_control:
            self._control(step)
        elif facts.is_stack:
            self._stack(i)
        elif facts.is_inline:
            self._floating(i, facts)
        else:
            self._plain(i, facts)
        if facts.is_control or not RESIDENT.isdisjoint((i.reg_number, i.rm_number, i.base_number, i.index_number)):
            self._held = None  # r10 may have been used

    def _floating(self, i: LongDecoded, facts: Facts) -> None:
        for bit in _bits(self._checks[self.at]):
            self._check_ready(bit)
        where = NOWHERE if facts.operand is None else self._look_up_operand(i, facts.operand)
        self._flags_for(facts)
        if not facts.changes:
            self._before_writing(facts.written, self.at + 1)
        self._put(encode_fp(i, where))
        self._flags_after(facts)
        if facts.notes_pointers:
            self._held = None
            if not self._is_followed_by_another():
                self._put(note_instruction(i))
            if i.is_memory:
                self._put(note_operand(i))

    def _check_ready(self, bit: int) -> None:
        self._held = None
        self._destroy()
        check = instruction(b"\xf6", 0, _FP_READY) + bytes((bit,))  # test byte memory, bit
        refund, record = self._total - self.at, self._steps[self.at].i.record
        save = self._saver()

        def stub() -> None:
            self._put(save)
            again = self.here + len(constant(S0, self.here)) + JUMP_BYTES
            self._put(constant(S0, again))
            self.jump(self._around.way_fp)
            assert self.here == again
            self._put(check)
            self._jump_if(NOT_EQUAL, back)
            self._back_to(refund, record)

        self._put(check)
        self._branch(EQUAL, stub)
        back = self.here

    def _is_followed_by_another(self) -> bool:
        """Whether another x87 instruction becomes the last one before anybody can see this one."""
        for number in range(self.at + 1, self._total):
            leaves = self._may_leave(number)
            if leaves or self._facts[number].notes_pointers:
                return not leaves
        return False

    def _plain(self, i: LongDecoded, facts: Facts) -> None:
        meaning = facts.meaning
        if not facts.is_ours:
            raise NotEncodable(meaning)
        where = NOWHERE if facts.operand is None else self._look_up_operand(i, facts.operand)
        if meaning in DIVISIONS:
            self._check_division(i, where)
        repair = None
        is_unlike = meaning in self._around.unlike
        if is_unlike and late(i) is None and self._coming(self.at + 1) is not Coming.OVERWRITTEN:
            if meaning in MULTIPLICATIONS:
                self._multiply(facts, _encode(i, facts, where))
                return
            repair = at_once(i)
            if repair is None:
                raise NotEncodable("its undefined flags are others")
            self._save()
        if meaning not in DIVISIONS:  # their flags are made from the saved ones
            self._flags_for(facts)
        if repair is not None:
            self._held = None
            self._put(repair[0], _encode(i, facts, where), repair[1])
            self._live, self._saved, self._due, self._recipe = False, True, 0, None
            return
        if not facts.changes:
            self._before_writing(facts.written, self.at + 1)
        self._put(_encode(i, facts, where))
        self._flags_after(facts)
        if is_unlike:
            self._due = late(i) or 0
        if facts.changes:
            self._recipe = recipe_of(facts.essence)

    def _check_division(self, i: LongDecoded, where: Address) -> None:
        """Leave where it might raise #DE. r10 stays."""
        size = i.operand_size
        form = i.its_form
        if size == 16 or (form.operands[0].method is Method.REGISTER_OR_MEMORY and form.fixed_operand_size == 8):
            raise NotEncodable("division of 8 or 16 bits")
        self._destroy()
        wide = size == 64
        divisor: int | Address
        if i.is_memory:
            divisor = where
        elif i.rm_number in RESIDENT:
            divisor = gpr(i.rm_number)
        else:
            divisor = HOST[i.rm_number]
        if form.meaning == "arith.div":
            self._put(instruction(b"\x3b", _RDX, divisor, wide=wide))  # cmp rdx, divisor
            self._branch(NOT_BELOW, self._miss())
            return
        # RDX must have the sign of RAX, and the divisor be neither 0 nor -1
        self._put(instruction(b"\x89", RAX, S1, wide=wide))
        self._put(instruction(b"\xc1", 7, S1, wide=wide), bytes((size - 1,)))
        self._put(instruction(b"\x3b", S1, _RDX, wide=wide))
        self._branch(NOT_EQUAL, self._miss())
        self._put(instruction(b"\x8b", S1, divisor, wide=wide))
        self._put(instruction(b"\x83", 0, S1, wide=wide), b"\x01")  # add r11, 1
        self._put(instruction(b"\x83", 7, S1, wide=wide), b"\x01")  # cmp r11, 1
        self._branch(BELOW_EQUAL, self._miss())
