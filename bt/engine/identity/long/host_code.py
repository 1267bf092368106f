"""Host code in the making: bytes, stubs behind them, and where the guest's arithmetic flags are meanwhile.

Between instructions the arithmetic flags are in EFLAGS, or saved in the state, or both (`_live`, `_saved`), or nowhere
but that a recipe makes them again. What looks an address up destroys those in EFLAGS, so they are saved in front of it
unless there is a recipe; what reads or keeps some has them loaded again. Whoever leaves has them saved: the way out,
and other units, know them nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from bt.codegen.host_bytes import JUMP_REL32
from bt.engine.identity.long.encoding import LOAD, SAVE, i32
from bt.engine.identity.long.facts import Facts
from bt.engine.identity.long.recipes import Recipe
from bt.engine.identity.long.repairs import save_with
from bt.engine.identity.making.flag_repairs import covered
from bt.x86.flags import ARITHMETIC


class NewReach:
    """A REACH in the making."""

    def __init__(self, size: int, site: int, address: int) -> None:
        self.size = size
        self.site = site  # how far behind the beginning is the code that asks
        self.address = address  # in the host
        self.detour = 0  # how far behind the beginning is what it is to jump to when the TLB is to be asked


class HostCode:
    """Host code for `start`. At its beginning the flags are saved."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._code = bytearray()
        self._stubs: list[tuple[int, Callable[[], None]]] = []  # where the rel32 that leads there is
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

    def _saver(self) -> bytes:
        """Code that saves them, wherever they are now."""
        if self._saved:
            return b""
        if self._live:
            return save_with(self._due)
        assert self._recipe is not None
        return self._recipe.code + SAVE

    def _save(self) -> None:
        """Have them saved. Those in EFLAGS stay as they are, or are not live any more."""
        if self._saved:
            return
        self._put(self._saver())
        # SAVE changes none, what repairs does; and what a recipe makes is there, too
        self._live, self._due, self._saved = not self._due, 0, True

    def _destroy(self) -> None:
        """Have them saved, or leave it to a recipe: code that changes EFLAGS follows."""
        if self._recipe is None:
            self._save()
        self._live, self._due = False, 0

    def _load(self) -> None:
        """Have them in EFLAGS, the right ones."""
        if self._live and not self._due:
            return
        if not self._live and not self._saved:
            assert self._recipe is not None
            self._put(self._recipe.code)
            self._live = True
            return
        self._save()
        if not self._live:
            self._put(LOAD)
            self._live = True

    def _before_writing(self, registers: Set[int]) -> None:
        """Guest registers are about to change, and no flags: those that are not saved must not depend on them."""
        if self._recipe is None or not self._recipe.registers & registers:
            return
        if not self._live:
            self._save()
        self._recipe = None

    def _flags_for(self, facts: Facts) -> None:
        """Make ready for an instruction."""
        wants_old = facts.reads or (facts.changes and facts.gone != ARITHMETIC)
        if wants_old and (not self._live or (self._due and (facts.changes or facts.reads & covered(self._due)))):
            self._load()

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
