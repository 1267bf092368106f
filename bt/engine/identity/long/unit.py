"""Writing a unit of 64-bit code: host code for a run of instructions along a path, with exact counts and flags.

Where the flags are meanwhile is told in host_code.py.

    hot:    sub budget, TOTAL / js out
            instructions; whatever is not to be done here jumps to a stub
            jmp hot, or to another unit
    stubs:  budget back for what was not executed; r10 = record / jmp to the way out, or r10 = address / on there
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bt.codegen.host_bytes import JUMP_BYTES, JUMP_REL32
from bt.engine.identity.long.decoded import LongDecoded
from bt.engine.identity.long.encoding import (
    BUDGET,
    CODE_TAG,
    HOST,
    RAX,
    RESIDENT,
    RSP_HOME,
    S0,
    S1,
    STATE,
    TEMPORARY,
    Address,
    NotEncodable,
    add_to_slot,
    constant,
    gpr,
    i32,
    instruction,
    lea,
    load,
    move,
    shift,
    slot,
    store,
)
from bt.engine.identity.long.floating import (
    encode_fp,
    fp_access,
    is_inline,
    needs,
    note_instruction,
    note_operand,
    notes_pointers,
)
from bt.engine.identity.long.host_code import HostCode
from bt.engine.identity.long.integer import Access, access, address_parts, encode, is_one_of_ours
from bt.engine.identity.long.neighbours import OPERAND, STACK, Group, accesses, groups
from bt.engine.identity.long.recipes import recipe_of, written
from bt.engine.identity.long.repairs import at_once, late
from bt.engine.identity.making.deadness import strictly_dead
from bt.engine.structures import NO_REGISTER_LONG
from bt.memory.soft_mmu.host_form import host_form
from bt.x86 import state
from bt.x86.flags import ARITHMETIC
from bt.x86.mode import RIP_BITS, USER
from bt.x86.opcodes import FORMS, Method
from bt.x86.page import PAGE
from bt.x86.state import BRANCH_CACHE_ENTRIES, BRANCH_CACHE_ENTRY_BYTES, FS

_RCX, _RDX, _RBP, _RSP = 1, 2, 5, 4
_BELOW_EQUAL, _EQUAL, _NOT_EQUAL, _SIGN, _NOT_BELOW = 6, 4, 5, 8, 3  # condition codes
_RIP_MASK = (1 << RIP_BITS) - 1
_UNIT_CACHE = state.offset("unit_cache")
_ENTRY_BITS = BRANCH_CACHE_ENTRY_BYTES.bit_length() - 1
_PLACES = BRANCH_CACHE_ENTRIES - 1 << _ENTRY_BITS
_FP_READY = slot("fp_ready")
_WITHIN = frozenset(("control.jcxz", "control.loop"))
_DIVISIONS = frozenset(("arith.div", "arith.idiv"))


class Step(NamedTuple):
    """One instruction of a unit; `onward`: where the path goes on behind it, None where that is not known."""

    i: LongDecoded
    onward: int | None


class Surroundings(NamedTuple):
    """Host addresses that units jump to, and what is known of the host."""

    way_out: int  # r10: record
    way_to: int  # r10: address
    way_fp: int  # r10: host address, where the unit goes on with FP instructions ready if they can be
    way_neighbours: int  # r10: record, `scratch`: LONG_UNIT
    unlike: frozenset[str]


class Written(NamedTuple):
    code: bytes
    hot: int  # how far behind the beginning
    dead_jump: bytes


def is_canonical(address: int) -> bool:
    return address >> 47 in (0, (1 << 17) - 1)


def can_leave(i: LongDecoded) -> bool:
    """Whether an instruction may not be done in the unit, or ends it."""
    form = i.its_form
    if form.meaning == "move.lea" or form.meaning == "move.nop":
        return False
    return i.is_memory or form.meaning in _DIVISIONS or form.meaning.startswith(("stack.", "control."))


def _ready_checks(steps: Sequence[Step]) -> list[int]:
    """For each instruction the READY_* bits that it needs and that nobody has asked for before: nothing in a unit takes
    them back."""
    asked, found = 0, []
    for step in steps:
        wanted = needs(step.i) & ~asked if is_inline(step.i.its_form) else 0
        found.append(wanted)
        asked |= wanted
    return found


def _bits(mask: int) -> list[int]:
    return [1 << n for n in range(mask.bit_length()) if mask >> n & 1]


class UnitWriter(HostCode):
    """Writes one unit at host address `start`. `closes`: it leads back to its own head; else on to `exit`, an address,
    or `exit_record`, at whose record the interpreter goes on. Raises NotEncodable."""

    def __init__(
        self,
        steps: Sequence[Step],
        mode: int,
        start: int,
        around: Surroundings,
        enter: int,
        *,
        closes: bool,
        exit: int | None,
        exit_record: int | None,
        shares_as: int | None,
    ) -> None:
        super().__init__(start)
        self._steps, self._around, self._enter = steps, around, enter
        self._closes, self._exit, self._exit_record = closes, exit, exit_record
        form = host_form(user=bool(mode & USER))
        self._place = shift(5, S1, form.shift) + instruction(b"\x81", 4, S1) + i32(form.mask)
        self._compare = [instruction(b"\x3b", S0, Address(STATE, tag, S1), wide=True) for tag in form.tags]
        self._addend = form.addend
        self._add = instruction(b"\x03", S0, Address(STATE, form.addend, S1), wide=True)
        # the address of a byte in r10 becomes its page's tag, that in r11 the place of an entry
        self._to_tag = instruction(b"\x81", 1, S0, wide=True) + i32(PAGE - 1)
        self._total = len(steps)
        self.links: list[
            tuple[int, int]
        ] = []  # how far behind the beginning is code to a place in the same page; where
        self._checks = _ready_checks(steps)
        self._unit = shares_as
        self._groups = {} if shares_as is None else groups([step.i for step in steps])
        self._leaves = [
            (step.i, bool(checked) or self._can_leave(number, step.i))
            for number, (step, checked) in enumerate(zip(steps, self._checks, strict=True))
        ]
        self.at = 0  # number of the instruction that is written

    @property
    def has_neighbours(self) -> bool:
        return bool(self._groups)

    def _can_leave(self, number: int, i: LongDecoded) -> bool:
        if not can_leave(i) or i.its_form.meaning.startswith("control.") or i.its_form.meaning in _DIVISIONS:
            return can_leave(i)
        mine = [(number, kind) for kind in accesses(i)]
        return any(each not in self._groups or self._groups[each].first == each for each in mine)

    # -- the unit ------------------------------------------------------------------------------------------------------

    def write(self) -> Written:
        head = self._steps[0].i
        # mov r14, hot; jmp to the handler that enters
        self._put(bytes.fromhex("49be"), bytes(8))
        self._jump(self._enter)
        self._code += bytes(-len(self._code) % 16)
        hot = len(self._code)
        self._code[2:10] = (self._start + hot).to_bytes(8, "little")
        self._hot = self._start + hot
        self._put(instruction(b"\x81", 5, BUDGET, wide=True), i32(self._total))
        assert len(self._code) >= hot + 8
        self._branch(_SIGN, lambda: self._back_to(self._total, head.record))
        for number, step in enumerate(self._steps):
            self.at = number
            self._instruction(step)
        self._end()
        for hole, stub in self._stubs:
            self._fill(hole)
            stub()
        dead = self._here
        self._put(constant(S0, head.record))
        self._jump(self._around.way_out)
        dead_jump = bytes((JUMP_REL32,)) + i32(dead - self._hot - 5) + bytes(self._code[hot + 5 : hot + 8])
        return Written(bytes(self._code), hot, dead_jump)

    def _back_to(self, refund: int, record: int) -> None:
        """Leave at a record, with `refund` instructions charged that are not executed. The flags are saved."""
        if refund:
            self._put(add_to_slot(BUDGET, refund))
        self._put(constant(S0, record))
        self._jump(self._around.way_out)

    def _end(self) -> None:
        if self._exit_record is not None:
            self._save()
            self._put(constant(S0, self._exit_record))
            self._jump(self._around.way_out)
        elif self._closes:
            self._save()
            self._jump(self._hot)
        elif self._exit is not None:
            self._save()
            self._go(self._exit)

    # -- memory --------------------------------------------------------------------------------------------------------

    def _miss(self) -> Callable[[], None]:
        """Stub: the interpreter does the instruction. EFLAGS are destroyed where it is jumped to."""
        refund, record = self._total - self.at, self._steps[self.at].i.record
        save = self._saver()

        def stub() -> None:
            self._put(save)
            self._back_to(refund, record)

        return stub

    def _look_up(self, kind: int, make: Callable[[], Sequence[bytes]], what: Access, at: Address | None) -> None:
        """r10 = host address of guest memory whose linear address `make` puts there, or is `at`."""
        group = self._groups.get((self.at, kind))
        if group is not None:
            self._look_up_neighbour(group, (self.at, kind) == group.first, make, at)
            return
        self._held = None
        self._destroy()
        # the entry is that of the first byte, the tag that of the last: where they lie in two pages it never hits
        to_last = lea(S0, Address(S0, what.size - 1)) if what.size > 1 else b""
        # where it must be aligned, the low bits of that stay: if they are not all set, it is no tag
        to_tag = instruction(b"\x81", 1, S0, wide=True) + i32(PAGE - what.size) if what.aligned else self._to_tag
        self._put(*make(), move(S1, S0), to_last, to_tag, self._place, self._compare[what.write])
        self._branch(_NOT_EQUAL, self._miss())
        self._put(*make(), self._add)

    def _look_up_neighbour(
        self, group: Group, is_first: bool, make: Callable[[], Sequence[bytes]], at: Address | None
    ) -> None:
        """Of those that are not the first, no code changes flags."""
        addend = slot("unit_addends", group.place)
        held = self._held
        if is_first:
            self._destroy()
            self._put(*make(), lea(S1, Address(S0, group.low)), lea(S0, Address(S0, group.high - 1)))
            self._put(self._to_tag, self._place, self._compare[group.write])
            self._branch(_NOT_EQUAL, self._miss_of_neighbours())
            self._put(load(S1, Address(STATE, self._addend, S1)), store(addend, S1))
        elif held != group.place:
            self._put(load(S1, addend))
        self._held = group.place
        if at is not None:
            self._put(lea(S0, Address(S1, at.displacement, at.base)))
        else:
            self._put(*make(), lea(S0, Address(S0, 0, S1)))

    def _miss_of_neighbours(self) -> Callable[[], None]:
        """Stub: as `_miss`, and it is counted."""
        refund, record, unit = self._total - self.at, self._steps[self.at].i.record, self._unit
        save = self._saver()
        assert unit is not None

        def stub() -> None:
            self._put(save, constant(S1, unit), store(TEMPORARY, S1))
            if refund:
                self._put(add_to_slot(BUDGET, refund))
            self._put(constant(S0, record))
            self._jump(self._around.way_neighbours)

        return stub

    def _look_up_operand(self, i: LongDecoded, what: Access) -> None:
        def make() -> list[bytes]:
            code = address_parts(i)
            if i.segment >= FS:
                base = Address(STATE, state.segment_offset(i.segment, "base"))
                code.append(instruction(b"\x03", S0, base, wide=True))
            return code

        at = None
        if i.index_number == NO_REGISTER_LONG and i.base_number not in (NO_REGISTER_LONG, *RESIDENT):
            at = Address(HOST[i.base_number], i.displacement)
        self._look_up(OPERAND, make, what, at)

    def _look_up_stack(self, displacement: int, *, write: bool, base: int = RSP_HOME) -> None:
        at = Address(base, displacement)
        self._look_up(STACK, lambda: [lea(S0, at)], Access(8, write), at)

    # -- instructions --------------------------------------------------------------------------------------------------

    def _instruction(self, step: Step) -> None:
        i = step.i
        meaning = i.its_form.meaning
        if meaning == "move.nop":
            return
        self._encode_instruction(step)
        if meaning.startswith(("stack.", "control.")) or not RESIDENT.isdisjoint(
            (i.reg_number, i.rm_number, i.index_number)
        ):
            self._held = None  # r11 may have been used

    def _encode_instruction(self, step: Step) -> None:
        i = step.i
        meaning = i.its_form.meaning
        if meaning.startswith("control."):
            self._control(step)
        elif meaning.startswith("stack."):
            self._stack(i)
        elif is_inline(i.its_form):
            self._floating(i)
        else:
            self._plain(i)

    def _floating(self, i: LongDecoded) -> None:
        for bit in _bits(self._checks[self.at]):
            self._check_ready(bit)
        if i.is_memory:
            self._look_up_operand(i, fp_access(i))
        self._flags_for(i)
        if not i.its_form.changes_mask & ARITHMETIC:
            self._before_writing(written(i))
        self._put(encode_fp(i))
        self._flags_after(i)
        if notes_pointers(i):
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
            again = self._here + len(constant(S0, self._here)) + JUMP_BYTES
            self._put(constant(S0, again))
            self._jump(self._around.way_fp)
            assert self._here == again
            self._put(check)
            self._jump_unless_equal(back)
            self._back_to(refund, record)

        self._put(check)
        self._branch(_EQUAL, stub)
        back = self._here

    def _is_followed_by_another(self) -> bool:
        """Whether another x87 instruction becomes the last one before anybody can see this one."""
        for i, leaves in self._leaves[self.at + 1 :]:
            if leaves or notes_pointers(i):
                return not leaves
        return False

    def _plain(self, i: LongDecoded) -> None:
        meaning = i.its_form.meaning
        if not is_one_of_ours(i.its_form):
            raise NotEncodable(meaning)
        if i.is_memory and meaning != "move.lea":
            self._look_up_operand(i, access(i))
        if meaning in _DIVISIONS:
            self._check_division(i)
        repair = None
        is_unlike = meaning in self._around.unlike
        if is_unlike and late(i) is None and not strictly_dead(self._leaves[self.at + 1 :], self._total):
            repair = at_once(i)
            if repair is None:
                raise NotEncodable("its undefined flags are others")
            self._save()
        self._flags_for(i)
        if repair is not None:
            self._held = None
            self._put(repair[0], encode(i), repair[1])
            self._live, self._saved, self._due, self._recipe = False, True, 0, None
            return
        changes = i.its_form.changes_mask & ARITHMETIC
        if not changes:
            self._before_writing(written(i))
        self._put(encode(i))
        self._flags_after(i)
        if is_unlike:
            self._due = late(i) or 0
        elif changes:
            self._recipe = recipe_of(i)

    def _check_division(self, i: LongDecoded) -> None:
        """Leave where it might raise #DE. r10 stays."""
        self._held = None
        size = i.operand_size
        form = i.its_form
        if size == 16 or (form.operands[0].method is Method.REGISTER_OR_MEMORY and form.fixed_operand_size == 8):
            raise NotEncodable("division of 8 or 16 bits")
        self._destroy()
        wide = size == 64
        divisor: int | Address
        if i.is_memory:
            divisor = Address(S0)
        elif i.rm_number in RESIDENT:
            divisor = gpr(i.rm_number)
        else:
            divisor = HOST[i.rm_number]
        if form.meaning == "arith.div":
            self._put(instruction(b"\x3b", _RDX, divisor, wide=wide))  # cmp rdx, divisor
            self._branch(_NOT_BELOW, self._miss())
            return
        # RDX must have the sign of RAX, and the divisor be neither 0 nor -1
        self._put(instruction(b"\x89", RAX, S1, wide=wide))
        self._put(instruction(b"\xc1", 7, S1, wide=wide), bytes((size - 1,)))
        self._put(instruction(b"\x3b", S1, _RDX, wide=wide))
        self._branch(_NOT_EQUAL, self._miss())
        self._put(instruction(b"\x8b", S1, divisor, wide=wide))
        self._put(instruction(b"\x83", 0, S1, wide=wide), b"\x01")  # add r11, 1
        self._put(instruction(b"\x83", 7, S1, wide=wide), b"\x01")  # cmp r11, 1
        self._branch(_BELOW_EQUAL, self._miss())

    def _stack(self, i: LongDecoded) -> None:
        form = i.its_form
        if i.operand_size != 64:
            raise NotEncodable("16-bit operand")
        self._before_stack({_RSP, _RBP, i.rm_number})
        match form.meaning:
            case "stack.push":
                self._push(i)
            case "stack.pop" if form.operands[0].method is Method.OPCODE_REGISTER or not i.is_memory:
                self._look_up_stack(0, write=False)
                number = i.rm_number
                if number in RESIDENT:
                    self._put(load(S1, Address(S0)), store(gpr(number), S1))
                else:
                    self._put(load(HOST[number], Address(S0)))
                if number != _RSP:
                    self._put(lea(RSP_HOME, Address(RSP_HOME, 8)))
            case "stack.leave":
                self._look_up_stack(0, write=False, base=_RBP)
                self._put(load(S0, Address(S0)), lea(RSP_HOME, Address(_RBP, 8)), move(_RBP, S0))
            case _:
                raise NotEncodable(form.meaning)

    def _before_stack(self, registers: set[int]) -> None:
        """As `_before_writing`, in front of what looks addresses up."""
        if self._recipe is not None and self._recipe.registers & registers:
            self._save()
            self._recipe = None

    def _push(self, i: LongDecoded) -> None:
        form = i.its_form
        if form.operands[0].method is Method.IMMEDIATE:
            self._push_constant(i.immediate)
            return
        if i.is_memory:
            self._look_up_operand(i, access(i))
            self._put(load(S0, Address(S0)), store(TEMPORARY, S0))
        self._look_up_stack(-8, write=True)
        if i.is_memory:
            self._put(load(S1, TEMPORARY), store(Address(S0), S1))
        elif i.rm_number in RESIDENT:
            self._put(load(S1, gpr(i.rm_number)), store(Address(S0), S1))
        else:
            self._put(store(Address(S0), HOST[i.rm_number]))
        self._put(lea(RSP_HOME, Address(RSP_HOME, -8)))

    def _push_constant(self, value: int) -> None:
        self._look_up_stack(-8, write=True)
        self._put(constant(S1, value), store(Address(S0), S1), lea(RSP_HOME, Address(RSP_HOME, -8)))

    # -- control -------------------------------------------------------------------------------------------------------

    def _control(self, step: Step) -> None:
        i, onward = step.i, step.onward
        meaning = i.its_form.meaning
        if i.operand_size != 64 and meaning not in ("control.jcc",):
            raise NotEncodable("operand size")
        if meaning in _WITHIN or (meaning == "control.call" and onward is not None):
            self._before_stack({_RSP, _RCX})
        elif meaning not in ("control.jcc", "control.jmp"):
            self._save()  # whoever is come to knows them saved
        match meaning:
            case "control.jcc":
                self._condition(i, onward)
            case "control.jmp":
                self._need_canonical(i.target)
                if onward is None:
                    self._save()
                    self._go(i.target)
            case "control.call":
                self._need_canonical(i.target)
                self._push_constant(i.next_eip)
                if onward is None:
                    self._go(i.target)
            case "control.jcxz" | "control.loop":
                self._count(i, onward)
            case "control.jmp_indirect":
                self._target(i)
                self._go_indirect(onward)
            case "control.call_indirect":
                self._target(i)
                self._put(store(TEMPORARY, S0))
                self._push_constant(i.next_eip)
                self._put(load(S0, TEMPORARY))
                self._go_indirect(onward)
            case "control.ret":
                self._look_up_stack(0, write=False)
                self._put(load(S0, Address(S0)))
                self._check_canonical()
                released = 8 + (i.immediate & 0xFFFF if i.its_form.operands else 0)
                self._put(lea(RSP_HOME, Address(RSP_HOME, released)))
                self._go_indirect(onward)
            case _:
                raise NotEncodable(meaning)

    @staticmethod
    def _need_canonical(target: int) -> None:
        if not is_canonical(target):
            raise NotEncodable("it goes nowhere")

    def _target(self, i: LongDecoded) -> None:
        """r10 = where an indirect transfer goes."""
        if i.is_memory:
            self._look_up_operand(i, access(i))
            self._put(load(S0, Address(S0)))
        else:
            self._destroy()
            number = i.rm_number
            self._put(load(S0, gpr(number)) if number in RESIDENT else move(S0, HOST[number]))
        self._check_canonical()

    def _check_canonical(self) -> None:
        self._held = None
        self._destroy()
        self._put(move(S1, S0), shift(4, S1, 64 - RIP_BITS), shift(7, S1, 64 - RIP_BITS))
        self._put(instruction(b"\x3b", S1, S0, wide=True))
        self._branch(_NOT_EQUAL, self._miss())

    def _condition(self, i: LongDecoded, onward: int | None) -> None:
        condition = FORMS[i.form].condition
        assert condition is not None
        taken, other = i.target, i.next_eip
        self._need_canonical(taken)
        self._need_canonical(other)
        self._flags_for(i)
        if onward == taken:
            self._branch(condition ^ 1, self._leave_to(other))
        else:
            self._branch(condition, self._leave_to(taken))
            if onward is None:
                self._save()
                self._go(other)

    def _count(self, i: LongDecoded, onward: int | None) -> None:
        """JRCXZ and LOOP, without a flag changed."""
        if i.address_size_32:
            raise NotEncodable("ECX")
        taken, other = i.target, i.next_eip
        self._need_canonical(taken)
        self._need_canonical(other)
        on_zero, on_other = (taken, other) if i.its_form.meaning == "control.jcxz" else (other, taken)
        if i.its_form.meaning == "control.loop":
            self._put(lea(_RCX, Address(_RCX, -1)))
        self._put(bytes.fromhex("e302 eb05"))  # jrcxz over the jump; jmp over the next
        self._jump_to_stub(self._leave_to(on_zero))
        if onward != on_other:
            self._jump_to_stub(self._leave_to(on_other))

    def _leave_to(self, target: int) -> Callable[[], None]:
        """Stub: on to an address behind this instruction, whatever the flags are now."""
        rest = self._total - self.at - 1
        save = self._saver()

        def stub() -> None:
            self._put(save)
            if rest:
                self._put(add_to_slot(BUDGET, rest))
            self._go(target)

        return stub

    def _go(self, target: int) -> None:
        """On to an address, by way of the cache of units. The flags are saved, the budget is right."""
        if target == self._steps[0].i.eip:
            self._jump(self._hot)
            return
        if target // PAGE == self._steps[0].i.eip // PAGE:
            self.links.append((len(self._code), target))
        signed = target - (1 << 64 if target >> 63 else 0)
        place = _UNIT_CACHE + (((signed << _ENTRY_BITS) ^ signed) & _PLACES)
        self._put(
            constant(S0, target),
            constant(S1, target & _RIP_MASK),
            instruction(b"\x0b", S1, CODE_TAG, wide=True),
            instruction(b"\x3b", S1, Address(STATE, place), wide=True),
        )
        self._jump_unless_equal(self._around.way_to)
        self._put(instruction(b"\xff", 4, Address(STATE, place + 8)))

    def _jump_unless_equal(self, target: int) -> None:
        self._put(bytes((0x0F, 0x80 | _NOT_EQUAL)), i32(target - self._here - 6))

    def _go_indirect(self, onward: int | None) -> None:
        """On to the canonical address in r10. The flags are saved, the budget is right but for what is not executed of
        the unit when the path goes on at `onward`."""
        if onward is not None:
            rest = self._total - self.at - 1
            self._put(constant(S1, onward), instruction(b"\x3b", S0, S1, wide=True))

            def stub() -> None:
                if rest:
                    self._put(add_to_slot(BUDGET, rest))
                self._search()

            self._branch(_NOT_EQUAL, stub)
            return
        self._search()

    def _search(self) -> None:
        self._put(
            move(S1, S0),
            shift(4, S1, _ENTRY_BITS),
            instruction(b"\x33", S1, S0),
            instruction(b"\x81", 4, S1) + i32(_PLACES),
            shift(4, S0, 64 - RIP_BITS),
            shift(5, S0, 64 - RIP_BITS),
            instruction(b"\x0b", S0, CODE_TAG, wide=True),
            instruction(b"\x3b", S0, Address(STATE, _UNIT_CACHE, S1), wide=True),
        )
        self._put(bytes((0x0F, 0x80 | _NOT_EQUAL)), bytes(4))
        hole = len(self._code) - 4
        self._put(instruction(b"\xff", 4, Address(STATE, _UNIT_CACHE + 8, S1)))
        self._fill(hole)
        self._put(shift(4, S0, 64 - RIP_BITS), shift(7, S0, 64 - RIP_BITS))
        self._jump(self._around.way_to)
