"""A vCPU that runs translated code, with the interpreter for what is rare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from bt.engine.library.library import STENCIL_SECTIONS
from bt.engine.structures import BLOCK_ROOM, SITE_BYTES
from bt.engine.vcpu import Vcpu
from bt.host.area import Area

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
    "exits",
    "run_cycles",
)


class TranslatingVcpu(Vcpu):
    """Binary translation: fragments in a code cache inside the library's arena."""

    name = "bt"

    def _acquire(self) -> None:
        super()._acquire()
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
        super()._flush()
        self._cache.shrink()
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
        return super().statistics() | counters | {"host_bytes": hot, "cold_bytes": cold}
