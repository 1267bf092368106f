"""A vCPU that runs translated code, with the interpreter for what is rare."""

from __future__ import annotations

import ctypes
import struct
from collections import Counter
from collections.abc import Callable

from bt.engine.structures import NO_PLAN, PLAN_BYTES, SITE_BYTES, VARIANTS
from bt.engine.vcpu import Vcpu
from bt.host.area import Area
from bt.x86.opcodes import FORMS

CACHE_BYTES = 24 << 20
SITES = 1 << 20
# The plans of a form that only the interpreter executes.
NO_PLANS = struct.pack("<3I", NO_PLAN, NO_PLAN, NO_PLAN).ljust(PLAN_BYTES, b"\0") * VARIANTS
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
        self._cache_bytes = CACHE_BYTES
        self._cache = self._claim(self._cache_bytes)
        self._sites = self.area(SITES * SITE_BYTES)
        self._callouts = self.area(8 * len(FORMS))
        stencils = self.library.stencils
        stencils = stencils | {"plans": self._without_missing(stencils["plans"], NO_PLANS)}
        self._stencil_tables = {name: ctypes.create_string_buffer(t, len(t)) for name, t in stencils.items()}
        self._held.callback(self._stencil_tables.clear)

    @staticmethod
    def _entry_name() -> str:
        return "run_bt"

    def _wire(self) -> None:
        super()._wire()
        for name, table in self._stencil_tables.items():
            self.set_control(name, ctypes.addressof(table))
        self.set_control("cache_start", self._cache)
        self.set_control("cache_end", self._cache + self._cache_bytes)
        self.set_control("sites", self._sites.address)
        self.set_control("sites_end", SITES)
        self.set_control("callouts", self._callouts.address)

    def keep_diary(self, area: Area, read: Callable[[], None]) -> None:
        """Have the translator note in `area` what it does (see trace.py).

        `read` is called when a run has ended, and before what the diary speaks of is forgotten.
        """
        self._after_run = read
        self.set_control("trace_next", area.address)
        self.set_control("trace_end", area.address + area.size)

    def _flush(self) -> None:
        if self._after_run is not None:
            self._after_run()
        self.set_control("hot_next", self._cache)
        self.set_control("cold_next", self._cache + self._cache_bytes)
        self.set_control("sites_next", 1)
        super()._flush()

    def callouts(self) -> Counter[str]:
        """How often the interpreter did an instruction for translated code, by mnemonic."""
        counts = memoryview(self._callouts.map).cast("Q")
        found: Counter[str] = Counter()
        for form in FORMS:
            if counts[form.id]:
                found[form.name] += counts[form.id]
        return found

    def statistics(self) -> dict[str, int]:
        used = self.control("hot_next") - self.control("cache_start")
        cold = self.control("cache_end") - self.control("cold_next")
        counters = {name: self.control(name) for name in _COUNTERS}
        counters |= {name: self.state[name] for name in ("branch_lookups", "return_hits")}
        return super().statistics() | counters | {"host_bytes": used, "cold_bytes": cold}
