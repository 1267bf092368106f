"""Tier 2 for all that can have it, and at once: what `pytest --promote` runs the tests with."""

from __future__ import annotations

from bt.engine.identity.layout import EAGER, PATHS
from bt.engine.translator import vcpu

HEATS = {"blocks": EAGER, "paths": PATHS}


def promote_at_once(what: str) -> None:
    """From now on translators that may choose have units of every block that can become one, before it has run; or of
    the path from every place that is come back to."""
    vcpu.HEAT_WANTED["auto"] = vcpu.LONG_HEAT_WANTED["auto"] = HEATS[what]
    vcpu.PATIENCE = 0
