"""A vCPU that runs translated code, with the interpreter for what is rare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from time import perf_counter_ns
from typing import TYPE_CHECKING, Literal

from bt.engine.identity.layout import AT_ONCE, EAGER, HEAT_ENTRIES, PATH_BLOCKS, SAMPLED_PAGES
from bt.engine.identity.long.layout import LONG_PATH_RECORDS
from bt.engine.library.library import STENCIL_SECTIONS, Library
from bt.engine.library.pieces import Pieces
from bt.engine.structures import BLOCK_ROOM, SITE_BYTES
from bt.engine.vcpu import Vcpu
from bt.errors import BadUsage
from bt.host.area import Area
from bt.memory.map import PhysicalMap
from bt.x86.cpu_model import CpuModel
from bt.x86.page import PAGE
from bt.x86.state import FIELDS

if TYPE_CHECKING:
    from bt.engine.identity.long.tier import LongTier
    from bt.engine.identity.making.paths import Trace
    from bt.engine.identity.making.unit import Unit
    from bt.engine.identity.tier import IdentityTier

CACHE_PIECES = 96  # 24 MiB
SITES = 1 << 20
_COUNTERS = (
    "fragments",
    "translated_insns",
    "translated_bytes",
    "identity",
    "serviced",
    "translate_cycles",
    "slow_paths",
    "services",
    "chains",
    "branch_misses",
    "dispatches",
    "interpreted_runs",
    "interpreted_insns",
    "long_insns",
    "long_unit_insns",
    "exits",
    "run_cycles",
    "unit_insns",
    "unit_faults",
    "unit_services",
    "unit_misses",
    "unit_ends",
    "units_made",
    "units_killed",
    "pages_opened",
)
Tier = Literal["1", "2", "auto"]
# How often a place is come back to before it gets a unit; 0: never.
HEAT_WANTED: dict[Tier, int] = {"1": 0, "2": EAGER, "auto": 1000}
# The same of blocks of 64-bit code, which nothing but the interpreter runs before.
LONG_HEAT_WANTED: dict[Tier, int] = {"2": EAGER, "auto": 4000}
# A unit of 64-bit code has reaches when it was come upon so often where the budget ended, once in LONG_CHUNK
# instructions: it has taken several times what making it anew takes.
LONG_SAMPLES_WANTED: dict[Tier, int] = {"2": AT_ONCE, "auto": 256}
# What may ask for a unit of 64-bit code to be made anew, and what is then different.
MADE_ANEW = {"long_dear_unit": {"shares": False}, "long_hot_unit": {"remembers": True}}
COUNT_LONG = "interp_long_count"
# Host cycles in guest code before tier 2 is so much as imported, and places are counted: about what the import takes.
# Whoever goes on pays twice that at most for not knowing how long (the ski rental problem).
PATIENCE = 50_000_000
_NEVER = (1 << 64) - 1
_BRANCH_CACHE = next(field for field in FIELDS if field.name == "branch_cache")
TABLE_BYTES = 64 << 20  # of its branch table, that may have memory at once


class TranslatingVcpu(Vcpu):
    """Binary translation: fragments in a code cache inside the library's arena, and units where code is hot."""

    name = "bt"

    def __init__(
        self,
        library: Library,
        memory: PhysicalMap,
        model: CpuModel | None = None,
        *,
        tier: Tier = "auto",
        heat: int | None = None,
        samples: int | None = None,
        table_bytes: int = TABLE_BYTES,
    ) -> None:
        """`tier`: "1" has fragments only, "2" units as soon as possible, "auto" where they pay.

        `heat`: so many times a place runs before it gets a unit; EAGER: not once. `samples`: so often is a unit of
        64-bit code come upon before it has reaches; AT_ONCE: from the beginning. `table_bytes`: what the branch table
        of tier 2 may take.
        """
        self._tier, self._table_bytes = tier, table_bytes
        self._samples_wanted = LONG_SAMPLES_WANTED.get(tier, AT_ONCE) if samples is None else samples
        self._heat, self._heat_wanted = heat, HEAT_WANTED[tier] if heat is None else heat
        self.identity: IdentityTier | None = None  # there from the first promotion on
        self.long_units: LongTier | None = None  # the same for 64-bit code
        self.unit_observer: Callable[[Trace, Unit], None] | None = None  # asked for each unit that is made
        self._refused = ""
        self._make_ns = 0  # of the host's, in `_promote`
        super().__init__(library, memory, model)

    def _acquire(self) -> None:
        super()._acquire()
        self.heat = self.area(2 * HEAT_ENTRIES, sparse=True)
        self._long_recorded = self.area(8 * LONG_PATH_RECORDS)
        self._samples = self.area(SAMPLED_PAGES, sparse=True)
        self._recorded = self.area(8 * (PATH_BLOCKS + 1))
        self._cache = self.pieces(CACHE_PIECES)
        self._filled_hot = self._filled_cold = 0  # bytes, in pieces before the current one
        self._sites = self.area(SITES * SITE_BYTES)
        self._read_diary: Callable[[], None] | None = None
        self._callouts = self.area(8 * len(self.library.mnemonics))

    @staticmethod
    def _entry_name() -> str:
        return "run_bt"

    def _wire(self) -> None:
        super()._wire()
        for name in STENCIL_SECTIONS:
            self.set_control(name, self._tables.address(name))
        self.set_control("sites", self._sites.address)
        self.set_control("sites_end", SITES)
        self.set_control("callouts", self._callouts.address)
        self.set_control("heat", self.heat.address)
        self.set_control("samples", self._samples.address)
        self.set_control("recorded", self._recorded.address)
        self.set_control("long_recorded", self._long_recorded.address)
        if self._tier != "1":
            self.set_control("long_count_handler", self.library.symbols[COUNT_LONG])
            self.set_control("long_heat_wanted", LONG_HEAT_WANTED[self._tier] if self._heat is None else self._heat)
            self.set_control("long_samples_wanted", self._samples_wanted)
        self.set_control("table_limit", self._table_bytes // PAGE)
        self.state["view_wanted"] = int(self._tier != "1")
        patience = PATIENCE if self._tier == "auto" else 0
        if patience:
            self.state["patience"] = patience
        else:
            self._lose_patience()

    def keep_diary(self, area: Area, read: Callable[[], None]) -> None:
        """Have the translator note in `area` what it does (see trace.py), and in no other from now on.

        `read` is called when a run has ended, and before what the diary speaks of is forgotten.
        """
        if self._read_diary is None:
            self.listen(lambda: self._read_diary and self._read_diary())
        self._read_diary = read
        self.set_control("trace_next", area.address)
        self.set_control("trace_end", area.address + area.size)

    def _flush(self) -> None:
        if self.identity is not None:
            self.identity.forget()
        if self.long_units is not None:
            self.long_units.forget()
        self.heat.clear()
        self._cache.shrink()
        super()._flush()

    def _begin(self) -> None:
        super()._begin()
        if self.control("sites_next") > 1:  # there were fragments, which entries of any epoch may lead to
            self.state.fill(_BRANCH_CACHE, (1 << 64) - 1)
        self.set_control("recorded_count", 0)
        self.set_control("long_recorded_count", 0)
        self.set_control("long_dear_unit", 0)
        self.set_control("long_hot_unit", 0)
        self._filled_hot = self._filled_cold = 0
        self._begin_piece()
        self.set_control("sites_next", 1)

    def _begin_piece(self) -> None:
        self.set_control("hot_next", self._cache.current)
        self.set_control("cold_next", self._cache.end)

    def _grow(self) -> bool:
        if super()._grow():
            return True
        if self.control("cold_next") - self.control("hot_next") >= BLOCK_ROOM:
            return False  # any block would find room
        hot, cold = self._used()
        if not self._cache.grow():
            return False
        self._filled_hot, self._filled_cold = hot, cold
        self._begin_piece()
        return True

    # -- tier 2 ----------------------------------------------------------------------------------------------------

    @property
    def code_maps(self) -> Area:
        """One u64 a physical page: which of its granules hold code (bt/memory/physical.py)."""
        return self._page_info

    @contextmanager
    def undoing(self) -> Iterator[ExitStack]:
        """For what is acquired together: all of it is given back at an error, else with the vCPU's own."""
        with ExitStack() as undo:
            yield undo
            self._held.callback(undo.pop_all().close)

    def units_of_long_code(self, most: int) -> Pieces:
        """Room for them, 1 to `most` pieces, given back with the vCPU's own. Raises ArenaFull."""
        pieces = Pieces(self.library, most, vital=False)
        self._held.enter_context(closing(pieces))
        return pieces

    def _promote_long(self, count: int) -> None:
        """After a path of 64-bit code has been recorded."""
        from bt.engine.identity.long.tier import LongTier
        from bt.host.reserved import Refused

        self.set_control("long_recorded_count", 0)
        try:
            if self.long_units is None:
                self.long_units = LongTier(
                    self, everything=self._tier == "2", reaches_at_once=self._samples_wanted == AT_ONCE
                )
        except Refused:
            self.set_control("long_count_handler", 0)
            self.flush()
            return
        self.long_units.promote(memoryview(self._long_recorded.map).cast("Q")[:count].tolist())

    def _promote(self) -> None:
        started = perf_counter_ns()
        self._make_units()
        self._make_ns += perf_counter_ns() - started

    def _make_units(self) -> None:
        for control, change in MADE_ANEW.items():
            unit = self.control(control)
            if unit and self.long_units is not None:
                self.set_control(control, 0)
                self.long_units.make_anew(unit, **change)
                return
        long_count = self.control("long_recorded_count")
        if long_count:
            self._promote_long(long_count)
            return
        count = self.control("recorded_count")
        self.set_control("recorded_count", 0)
        if self.state["patience"] != _NEVER:
            self._lose_patience()
            self.flush()  # ways that lead back are short already, and nobody counts those
            return
        if self.identity is not None and self.control("table_pages") > self.control("table_limit"):
            self.flush()
            return
        if not count or self._refused:
            return
        # imported only now: most guests have nothing that is hot
        from bt.engine.identity.tier import IdentityTier
        from bt.host.reserved import Refused

        try:
            if self.identity is None:
                self.identity = IdentityTier(self, everything=self._tier == "2")
        except (Refused, BadUsage) as error:
            self._refused = str(error)
            self.state["heat_wanted"] = self.state["view_wanted"] = 0
            self.call("update_mode")
            self.flush()  # ways back that were being counted become short again
            return
        addresses = memoryview(self._recorded.map).cast("Q")[:count].tolist()
        self.identity.promote(addresses, self.control("recorded_base"))

    @property
    def refused(self) -> str:
        if self._refused or self._tier == "1" or self.state["view_wanted"]:
            return self._refused
        return "the host refuses so many mappings"

    def _lose_patience(self) -> None:
        """Count places from now on."""
        self.state["patience"], self.state["heat_wanted"] = _NEVER, self._heat_wanted

    def close(self) -> None:
        super().close()
        self.identity = self.long_units = None  # they refer to us

    def forget_everything(self) -> None:
        """When tier 2 has no room left."""
        self._flush()

    def _used(self) -> tuple[int, int]:
        """Bytes of code on the hot path, and of stubs off it."""
        hot = self.control("hot_next") - self._cache.current
        cold = self._cache.end - self.control("cold_next")
        return self._filled_hot + hot, self._filled_cold + cold

    def callouts(self) -> Counter[str]:
        """How often the interpreter did an instruction for translated code, by mnemonic."""
        counts = memoryview(self._callouts.map).cast("Q")
        found: Counter[str] = Counter()
        for name, count in zip(self.library.mnemonics, counts, strict=False):  # the area is whole pages
            if count:
                found[name] += count
        return found

    def statistics(self) -> dict[str, int]:
        hot, cold = self._used()
        counters = {name: self.control(name) for name in _COUNTERS}
        counters |= {name: self.state[name] for name in ("branch_lookups", "return_hits")}
        counters["make_ns"] = self._make_ns
        counters["table_bytes"] = PAGE * self.control("table_pages")
        return super().statistics() | counters | {"host_bytes": hot, "cold_bytes": cold}
