"""What the translator did in a run, out of the counters it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bt.bench.schema import Measurement

Counters = Mapping[str, int]


@dataclass(frozen=True)
class Column:
    """A derived figure; `value` is None where the counters do not tell."""

    heading: str
    unit: str
    explanation: str
    value: Callable[[Counters], float | None]


def _per(numerator: str, denominator: str, scale: float = 1.0) -> Callable[[Counters], float | None]:
    def value(counters: Counters) -> float | None:
        if numerator not in counters or not counters.get(denominator):
            return None
        return counters[numerator] * scale / counters[denominator]

    return value


COLUMNS = (
    Column("translated", "insns", "guest instructions translated", lambda c: c.get("translated_insns")),
    Column("cost", "cycles/insn", "time in the translator for one of them, decoding included; TSC cycles",
           _per("translate_cycles", "translated_insns")),
    Column("size", "B/insn", "host code for one of them, without the cold stubs",
           _per("host_bytes", "translated_insns")),
    Column("cold", "B/insn", "cold stubs for one of them", _per("cold_bytes", "translated_insns")),
    Column("identity", "%", "of them whose translation is the instruction itself, registers renamed",
           _per("identity", "translated_insns", 100)),
    Column("serviced", "%", "of them that the interpreter does", _per("serviced", "translated_insns", 100)),
)  # fmt: skip


# Why units of tier 2 are left.
WAYS_OUT = {
    "unit_faults": "the view let an access not through",
    "unit_services": "instruction interpreted",
    "unit_misses": "no unit there",
    "unit_ends": "budget short",
}
PROMOTIONS = {"units_made": "units made", "units_killed": "units killed", "pages_opened": "pages of views opened"}


# What a fragment could not do by itself, and who did it.
CALLOUTS = {
    "slow_paths": "memory slow path",
    "services": "one instruction interpreted",
    "dispatches": "next fragment looked up",
    "branch_misses": "indirect branch not predicted",
    "interpreted_runs": "run interpreted",
}


def was_translated(measurement: Measurement) -> bool:
    return bool(measurement.statistics.get("translated_insns"))


def in_tier_2(measurement: Measurement) -> float | None:
    """Share of the instructions, percent."""
    units = measurement.statistics.get("unit_insns")
    return 100 * units / measurement.instructions if units and measurement.instructions else None


def ways_out_per_million(measurement: Measurement) -> dict[str, float]:
    """Why units were left, in a million instructions."""
    return _per_million(_counted(measurement, WAYS_OUT), measurement.instructions)


def promotions(measurement: Measurement) -> dict[str, float]:
    """What became of code that was hot, as counted."""
    return dict(_counted(measurement, PROMOTIONS))


def time_shares(measurement: Measurement) -> dict[str, float]:
    """What the time went to, percent."""
    whole = sum(measurement.time_account.values())
    return {name: 100 * seconds / whole for name, seconds in measurement.time_account.items()} if whole else {}


def callouts_per_million(measurement: Measurement) -> dict[str, float]:
    """How often fragments called for help, by kind, in a million instructions."""
    return _per_million(_counted(measurement, CALLOUTS), measurement.instructions)


def exits_per_million(measurement: Measurement) -> dict[str, float]:
    """How often the guest left for Python, by reason, in a million instructions."""
    return _per_million(measurement.exits, measurement.instructions)


def _counted(measurement: Measurement, titles: Mapping[str, str]) -> dict[str, int]:
    """Counters that there are, by their titles."""
    return {title: measurement.statistics[name] for name, title in titles.items() if name in measurement.statistics}


def _per_million(counts: Counters, instructions: int | None) -> dict[str, float]:
    return {name: count * 1e6 / instructions for name, count in counts.items()} if instructions else {}
