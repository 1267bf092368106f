"""Host code in the making: bytes, stubs behind them, and where the guest's arithmetic flags are meanwhile.

Between instructions the arithmetic flags are in EFLAGS, or saved in the state, or both (`_live`, `_saved`), or nowhere
but that a recipe makes them again. What looks an address up destroys those in EFLAGS, so they are saved in front of it
unless there is a recipe; what reads or keeps some has them loaded again. Whoever leaves has them saved: the way out,
and other units, know them nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from enum import Enum, auto
from typing import NamedTuple

from bt.codegen.host_bytes import JUMP_REL32
from bt.engine.identity.long.encoding import LOAD, LOAD_SAVED_CARRY, i32
from bt.engine.identity.long.facts import Facts
from bt.engine.identity.long.recipes import KEEP_CARRY, LOAD_CARRY, Recipe, product
from bt.engine.identity.long.repairs import save_with
from bt.engine.identity.making.flag_repairs import covered
from bt.x86.flags import ARITHMETIC, CF


class NewReach:
    """A REACH in the making."""

    def __init__(self, size: int, site: int, address: int) -> None:
        self.size = size
        self.site = site  # how far behind the beginning is the code that asks
        self.address = address  # in the host
        self.detour = 0  # how far behind the beginning is what it is to jump to when the TLB is to be asked


class Coming(Enum):
    """What happens to the arithmetic flags next."""

    OVERWRITTEN = auto()  # all of them, and nobody sees them before
    DESTROYED = auto()  # by code that looks an address up; in EFLAGS, that is
    KEPT = auto()


class Passing(NamedTuple):
    """The flags on the way to another unit: code that saves them, wherever they are."""

    first: bytes = b""
    # or these, where they may turn out to be wanted when EFLAGS are destroyed; None: they can not
    keep: bytes = b""
    late: bytes | None = b""


SAVED = Passing()


class HostCode:
    """Host code for `start`. At its beginning the flags are saved."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._code = bytearray()
        self._stubs: list[tuple[int, Callable[[], None]]] = []  # where the rel32 that leads there is
        self.at = 0  # number of the instruction that is written
        self._live, self._saved = False, True
        self._due = 0  # LATE_* bits of the flags in EFLAGS
        self._recipe: Recipe | None = None  # makes those that are not saved
        self._held: int | None = None  # the place of the group (neighbours.py) whose addend r10 has

    # -- bytes ---------------------------------------------------------------------------------------------------------

    @property
    def here(self) -> int:
        return self._start + len(self._code)

    def _put(self, *parts: bytes) -> None:
        for part in parts:
            self._code += part

    def jump(self, target: int) -> None:
        self._put(bytes((JUMP_REL32,)), i32(target - self.here - 5))

    def _call(self, target: int) -> None:
        self._put(b"\xe8", i32(target - self.here - 5))

    def _branch(self, condition: int, stub: Callable[[], None]) -> None:
        self._put(bytes((0x0F, 0x80 | condition)), bytes(4))
        self._stubs.append((len(self._code) - 4, stub))

    def _jump_to_stub(self, stub: Callable[[], None]) -> None:
        self._put(bytes((JUMP_REL32,)), bytes(4))
        self._stubs.append((len(self._code) - 4, stub))

    def _fill(self, hole: int) -> None:
        self._code[hole : hole + 4] = i32(len(self._code) - hole - 4)

    # -- flags ---------------------------------------------------------------------------------------------------------

    def _coming(self, number: int) -> Coming:
        """What instructions do to the flags, from the one of that number on."""
        raise NotImplementedError

    def _saver(self) -> bytes:
        """Code that saves them, wherever they are now."""
        if self._saved:
            return b""
        if self._live:
            return save_with(self._due)
        assert self._recipe is not None
        return self._recipe.saver

    def _passing(self) -> Passing:
        recipe = self._recipe
        if self._saved:
            return SAVED
        if recipe is None:
            return Passing(self._saver(), late=None)
        return Passing(self._saver(), KEEP_CARRY if recipe.wants_carry and self._live else b"", recipe.saver)

    def _save(self) -> None:
        """Have them saved. Those in EFLAGS stay as they are, or are not live any more."""
        if self._saved:
            return
        self._put(self._saver())
        if not self._live:
            assert self._recipe is not None
            self._live, self._due = not self._recipe.is_product, self._recipe.due
        # saving changes none, what repairs does
        self._live, self._due, self._saved = self._live and not self._due, 0, True

    def _follow_recipe(self) -> None:
        """Have those that are neither live nor saved in EFLAGS."""
        assert self._recipe is not None
        self._put(self._recipe.code)
        self._live, self._due, self._saved = True, self._recipe.due, self._recipe.is_product

    def _destroy(self) -> None:
        """Have them saved, or leave it to a recipe: code that changes EFLAGS follows."""
        if self._recipe is None:
            self._save()
        elif self._recipe.wants_carry and self._live and not self._saved:
            self._put(KEEP_CARRY)
        self._live, self._due = False, 0

    def _load(self) -> None:
        """Have them in EFLAGS, the right ones."""
        if not self._live and not self._saved:
            self._follow_recipe()
        if self._live and not self._due:
            return
        self._save()
        if not self._live:
            self._put(LOAD)
            self._live = True

    def _before_writing(self, registers: Set[int], number: int) -> None:
        """Guest registers are about to change, and no flags: those that are not saved must not depend on them. The
        instruction of that number is the next that may do something to the flags."""
        recipe = self._recipe
        if recipe is None or not recipe.registers & registers:
            return
        coming = self._coming(number)
        if coming is Coming.OVERWRITTEN:
            self._live = True  # whatever is there will do
        if self._saved or (self._live and coming is not Coming.DESTROYED):
            self._recipe = None
            return
        self._move(registers)

    def _move(self, registers: Set[int]) -> None:
        """Have the recipe depend on these guest registers no more."""
        while self._recipe is not None and (numbers := self._recipe.registers & registers):
            code, self._recipe = self._recipe.without(min(numbers))
            self._put(code)

    def _flags_for(self, facts: Facts) -> None:
        """Make ready for an instruction."""
        reads, changes = facts.reads, facts.changes
        wanted = reads
        if changes and not (reads and facts.kills == ARITHMETIC):
            wanted |= ARITHMETIC & ~facts.gone
        if not wanted:
            return
        if not self._live or self._due:
            if not reads and self._coming(self.at + 1) is Coming.OVERWRITTEN:
                self._live, self._due = True, 0  # whatever is there will do
                return
            if not self._live and wanted == CF and (code := self._carry()):
                self._put(code)
                return
        if not self._live and not self._saved:
            self._follow_recipe()
        if not self._live or (self._due and (changes or reads & covered(self._due))):
            self._load()

    def _carry(self) -> bytes:
        """Code that has CF alone in EFLAGS; empty: there is no short way."""
        if self._saved:
            return LOAD_SAVED_CARRY
        return LOAD_CARRY if self._recipe is not None and self._recipe.wants_carry else b""

    def _multiply(self, facts: Facts, code: bytes) -> None:
        """A multiplication, of which CF alone is what it should be."""
        if self._recipe is None:
            self._save()
        before = None if self._saved else self._recipe
        if before is not None:
            self._move(facts.written)
            before = self._recipe
        self._put(code, KEEP_CARRY)
        self._live, self._saved, self._due, self._recipe = False, False, 0, product(before)

    def _flags_after(self, facts: Facts) -> None:
        if facts.changes:
            self._live, self._saved, self._due, self._recipe = True, False, 0, None


class Once:
    """A stub that is written where it is come to first, at host address `place`; others jump there."""

    def __init__(self, code: HostCode, stub: Callable[[], None]) -> None:
        self._code, self._stub, self.place = code, stub, 0

    def __call__(self) -> None:
        if self.place:
            self._code.jump(self.place)
        else:
            self.place = self._code.here
            self._stub()
