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
# What has no bit in CPUID: RDPMC with CR4.PCE, MSRs of the P6 family and of NetBurst, reserved NOPs and prefetches. No
# user asks for them by name.
IMPLIED = frozenset({"rdpmc", "p6 msr", "p6 counters", "netburst msr", "hints"})

FEATURE_BITS: Mapping[str, int] = MappingProxyType(
    {name: bit for bit, name in enumerate(_EDX) if name != "-"}
    | {"nx": 32}  # CPUID.80000001 EDX bit 20
    | {name: 33 + place for place, name in enumerate(sorted(IMPLIED))}
)
# Features that a processor of these models could have, and bt does not show: why.
ABSENT: Mapping[str, str] = MappingProxyType(
    {
        "apic": "there is no local APIC",
        "pn": "there is no serial number",
        "ds": "there is no debug store",
        "acpi": "there are no thermal sensor and clock modulation",
        "tm": "there is no thermal monitor",
        "ia64": "there is no IA-64",
        "pbe": "there is no pending-break signal",
    }
)
# What a feature is of no use without: SSE wants CR4.OSFXSR, MCA registers mean something where #MC can be enabled.
NEEDS: Mapping[str, str] = MappingProxyType({"sse": "fxsr", "sse2": "sse", "mca": "mce"})
