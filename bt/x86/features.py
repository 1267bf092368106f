"""Processor features by QEMU's names, and their bits in the state's `features`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# CPUID.1 EDX from bit 0 on (SDM vol. 2, "Feature Information Returned in the EDX Register"); "-" is reserved
# fmt: off
_EDX = (
    "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "-", "sep", "mtrr", "pge", "mca", "cmov",
    "pat", "pse36", "pn", "clflush", "-", "ds", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe",
)
# fmt: on
# What has no bit in CPUID: RDPMC with CR4.PCE, MSRs of the P6 family and of NetBurst. No user asks for them by name.
IMPLIED = frozenset({"rdpmc", "p6 msr", "p6 counters", "netburst msr"})

FEATURE_BITS: Mapping[str, int] = MappingProxyType(
    {name: bit for bit, name in enumerate(_EDX) if name != "-"}
    | {"nx": 32}  # CPUID.80000001 EDX bit 20
    | {name: 33 + place for place, name in enumerate(sorted(IMPLIED))}
)
