"""What the translator's parts call each other by: gates, which translated code jumps to, and native functions."""

from __future__ import annotations

from bt.codegen.abi import native, pinned
from bt.codegen.value import PTR

CHAIN_GATE, MISS_GATE, SLOW_GATE = pinned("chain_gate"), pinned("miss_gate"), pinned("slow_gate")
SERVICE_GATE, HEAD_GATE, STALE_GATE = pinned("service_gate"), pinned("head_gate"), pinned("stale_gate")
FP_GATE = pinned("fp_gate")

TRANSLATE = native("translate", PTR, PTR, result="i64")  # state, block; host address of the fragment, 0 = cache full
EMIT_STENCIL = native("emit_stencil", PTR, PTR, PTR, "i32", "i64", result="i64")  # state, control, slots, id, at
