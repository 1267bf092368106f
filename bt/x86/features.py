"""Processor features by QEMU's names, and the bits of CPUID that show them, in words as QEMU has them.

The state's `features` holds a slot a word, for generated code to look at (`has`); what CPUID answers is made of the
same words (bt/x86/cpu_model.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.x86.context import Context
    from bt.x86.state import CpuState


class FeatureWord(NamedTuple):
    """A register that CPUID answers with for a leaf; `names` of its bits from bit 0 on, "-" where no feature is."""

    leaf: int | None  # None: CPUID shows it nowhere
    register: str
    names: tuple[str, ...]


class Feature(NamedTuple):
    """Where a feature's bit is: word in FEATURE_WORDS, bit there."""

    word: int
    bit: int

    @property
    def mask(self) -> int:
        """The bit in its word."""
        return 1 << self.bit


# What has no bit in CPUID: RDPMC with CR4.PCE, MSRs of the P6 family and of NetBurst, reserved NOPs and prefetches. No
# user asks for them by name.
IMPLIED: Final = frozenset({"rdpmc", "p6 msr", "p6 counters", "netburst msr", "hints"})

# SDM vol. 2, CPUID. Of 80000001 the bits that Intel has, and AMD's that are not those of leaf 1 again.
# fmt: off
FEATURE_WORDS: Final = (
    FeatureWord(1, "edx", (
        "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "-", "sep", "mtrr", "pge", "mca", "cmov",
        "pat", "pse36", "pn", "clflush", "-", "ds", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64",
        "pbe",
    )),
    FeatureWord(1, "ecx", (
        "pni", "pclmulqdq", "dtes64", "monitor", "ds-cpl", "vmx", "smx", "est", "tm2", "ssse3", "cid", "-", "fma",
        "cx16", "xtpr", "pdcm", "-", "pcid", "dca", "sse4.1", "sse4.2", "x2apic", "movbe", "popcnt", "tsc-deadline",
        "aes", "xsave", "-", "avx", "f16c", "rdrand", "hypervisor",
    )),
    FeatureWord(7, "ebx", (
        "fsgsbase", "tsc-adjust", "sgx", "bmi1", "hle", "avx2", "fdp-excptn-only", "smep", "bmi2", "erms", "invpcid",
        "rtm", "-", "zero-fcs-fds", "mpx", "-", "avx512f", "avx512dq", "rdseed", "adx", "smap", "avx512ifma", "pcommit",
        "clflushopt", "clwb", "intel-pt", "avx512pf", "avx512er", "avx512cd", "sha-ni", "avx512bw", "avx512vl",
    )),
    FeatureWord(0x8000_0001, "edx", (
        *("-",) * 11, "syscall", *("-",) * 8, "nx", "-", "mmxext", "-", "-", "fxsr-opt", "pdpe1gb", "rdtscp", "-", "lm",
        "3dnowext", "3dnow",
    )),
    FeatureWord(0x8000_0001, "ecx", (
        "lahf-lm", "cmp-legacy", "svm", "extapic", "cr8legacy", "abm", "sse4a", "misalignsse", "3dnowprefetch", "osvw",
        "ibs", "xop", "skinit", "wdt", "-", "lwp", "fma4", "tce", "-", "nodeid-msr", "-", "tbm", "topoext",
        "perfctr-core", "perfctr-nb",
    )),
    FeatureWord(None, "", tuple(sorted(IMPLIED))),
)
# fmt: on
FEATURES: Final[Mapping[str, Feature]] = MappingProxyType(
    {
        name: Feature(number, bit)
        for number, word in enumerate(FEATURE_WORDS)
        for bit, name in enumerate(word.names)
        if name != "-"
    }
)
# Features that a processor of these models could have, and bt does not show: why.
ABSENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pn": "there is no serial number",
        "ds": "there is no debug store",
        "acpi": "there are no thermal sensor and clock modulation",
        "tm": "there is no thermal monitor",
        "ia64": "there is no IA-64",
        "pbe": "there is no pending-break signal",
    }
)
# Features that people ask for and bt has not got yet: what is missing.
_YMM = "there are no registers of 256 bits and more, and no XSAVE for them"
_NO_INSTRUCTIONS = "its instructions are not in bt's table"
NOT_BUILT: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("avx", "avx2", "fma", "f16c", "avx512f"), _YMM),
        "xsave": "there is no XCR0 beyond what FXSAVE keeps",
        "la57": "page tables have four levels at most",
        **dict.fromkeys(("pcid", "invpcid"), "the TLB does not tell address spaces apart"),
        **dict.fromkeys(("smep", "smap"), "CR4.SMEP and CR4.SMAP cannot be set"),
        "x2apic": "the local APIC has its registers in memory only",
        "tsc-deadline": "the local APIC's timer counts down only",
        **dict.fromkeys(("vmx", "svm"), "guests of guests are not for this monitor"),
        **dict.fromkeys(
            ("aes", "pclmulqdq", "bmi1", "bmi2", "abm", "adx", "sha-ni", "rdrand", "rdseed", "clflushopt", "clwb",
             "monitor"),
            _NO_INSTRUCTIONS,
        ),
    }
)  # fmt: skip
# Features whose instructions the host executes itself, as it does those of its base, and what Linux calls them.
OF_THE_HOST: Final[Mapping[str, str]] = MappingProxyType(
    {"pni": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2"}
)
# Other names that QEMU takes, `_` for `-` apart.
ALIASES: Final[Mapping[str, str]] = MappingProxyType({"sse3": "pni", "sse4-1": "sse4.1", "sse4-2": "sse4.2"})
# What a feature is of no use without: SSE wants CR4.OSFXSR, and each SSE is asked for behind the one before (SDM vol. 1
# 12.4.2, 12.7.2, 12.12.2); MCA registers mean something where #MC can be enabled. Long mode is entered with PAE paging,
# and brings SYSCALL.
NEEDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sse": "fxsr",
        "sse2": "sse",
        "pni": "sse2",
        "ssse3": "pni",
        "sse4.1": "ssse3",
        "sse4.2": "sse4.1",
        "mca": "mce",
        "lm": "pae",
        "syscall": "lm",
        "pdpe1gb": "lm",
        "cx16": "lm",
        "lahf-lm": "lm",
        "fsgsbase": "lm",
    }
)


def has(b: Context, name: str) -> Value:
    """Whether the vCPU that generated code runs on has a feature, i1."""
    feature = FEATURES[name]
    return (b.get("features", feature.word) & feature.mask) != 0


def shown_by(cpu: CpuState, name: str) -> bool:
    """The same for Python."""
    feature = FEATURES[name]
    return bool(cpu["features", feature.word] & feature.mask)
