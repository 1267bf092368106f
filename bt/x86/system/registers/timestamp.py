"""RDTSC and the time it tells (SDM vol. 3B 17.17): that of the machine's clock, in nanoseconds.

The counter goes on while the processor is halted or waits for a bus, at a rate that does not depend on what it runs,
as on processors since the Pentium 4: guests calibrate it against a timer once and trust it from then on. One truth: the
instructions retired and what Python says has passed beside them (bt/clock/virtual_clock.py), or the host's own counter.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import GP, OK, Context
from bt.x86.state import CLOCK_SCALE_SHIFT, EAX, ECX, EDX
from bt.x86.system.registers.control_registers import CR4_TSD
from bt.x86.system.segmentation.segment_load import current_privilege_level

# The host's time stamp counter into memory_value.
HOST_CYCLES = native("host_cycles", PTR)


def time_ns(b: Context, icount: Value) -> Value:
    """Nanoseconds since the machine was switched on, when `icount` instructions (i64) have been retired."""
    now = b.local(64, icount + b.get("clock_offset"))
    scale = b.get("clock_scale")
    with b.Unlikely(scale != 0):
        since = ((b.cycles() - b.get("clock_cycles")) * scale) >> CLOCK_SCALE_SHIFT
        # each run of the engine starts from a time that Python read: a little before what was extrapolated to it
        now.set(b.intrinsic("umax", "i64", b.get("clock_offset") + since, b.get("clock_last")))
        b.put("clock_last", now.get())
    return now.get()


def set_pair(b: Context, value: Value) -> None:
    """EDX:EAX = value (i64)."""
    b.set_reg(EAX, value.trunc(32))
    b.set_reg(EDX, (value >> 32).trunc(32))


def rdtsc(b: Context) -> None:
    """RDTSC: nanoseconds. With CR4.TSD it belongs to level 0."""
    disabled = (b.get("cr4", width=32) & CR4_TSD) != 0
    b.fault_if(disabled & (current_privilege_level(b) != 0), GP, 0)
    set_pair(b, time_ns(b, b.icount()) + b.get("tsc_offset"))


def rdtscp(b: Context) -> None:
    """RDTSCP: the same, and IA32_TSC_AUX in ECX."""
    rdtsc(b)
    b.set_reg(ECX, b.get("tsc_aux", width=32))


def _host_cycles(b: Context) -> None:
    b.put("memory_value", b.cycles())
    b.ret(OK)


RUNTIME = ((HOST_CYCLES, _host_cycles),)
