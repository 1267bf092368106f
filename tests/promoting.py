"""Tier 2 for all that can have it, and at once: what `pytest --promote` runs the tests with."""

from __future__ import annotations

from bt.engine.identity.layout import EAGER
from bt.engine.translator import vcpu


def promote_at_once() -> None:
    """From now on translators that may choose have units of every block that can become one, before it has run."""
    vcpu.HEAT_WANTED["auto"] = vcpu.LONG_HEAT_WANTED["auto"] = EAGER
    vcpu.PATIENCE = 0
