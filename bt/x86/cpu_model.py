"""The processors bt can show, named and modified as QEMU spells them: "pentium4", "pentium3,-sse,+nx".

A model is data: what CPUID answers, which bits of CR4 and EFER may be set, which MSRs exist, which instructions are
#UD. Generated code finds all of it in the vCPU's state (`install`); of the instruction table the vCPU patches its own
copy (bt/engine/vcpu.py). Sources: SDM vol. 2 CPUID, vol. 4 chapter 2; models 486, pentium, pentium3 as in QEMU (a test
names the differences).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from bt.errors import BadUsage
from bt.host.reserved import cpu_flags
from bt.x86.features import ABSENT, ALIASES, FEATURE_WORDS, FEATURES, IMPLIED, NEEDS, NOT_BUILT, OF_THE_HOST
from bt.x86.state import CPUID_LEAVES, CpuState
from bt.x86.system.registers import control_registers as cr

_EXTENDED = 0x8000_0000  # leaves from here on are numbered for themselves
# fmt: off
_I486 = frozenset({"fpu", "vme", "pse"})
_PENTIUM = _I486 | {"de", "tsc", "msr", "mce", "cx8", "apic", "mmx"}
_P6 = _I486 | {
    "de", "tsc", "msr", "pae", "mce", "cx8", "apic", "sep", "mtrr", "pge", "mca", "cmov", "pat", "pse36", "mmx", "fxsr",
    "rdpmc", "p6 msr", "hints",
}
# fmt: on
_PENTIUM3 = _P6 | {"sse", "p6 counters"}
_PENTIUM4 = _P6 | {"sse", "sse2", "clflush", "ss", "netburst msr"}
_X86_64_V1 = _PENTIUM4 | {"lm", "syscall", "nx"}
_X86_64_V2 = _X86_64_V1 | {"cx16", "lahf-lm", "pni", "popcnt", "sse4.1", "sse4.2", "ssse3"}
_EVERYTHING = _X86_64_V2 | {"fsgsbase", "ht", "movbe", "pdpe1gb", "rdtscp"}
# Features that are more than instructions, all there; of the others bt has what the instruction table has.
# There are no caches that self-snoop (ss) would have to keep consistent; "ht" alone says that CPUID counts logical
# processors, which are one.
_BUILT = (_P6 - {"mmx", "fxsr"}) | {"ss", "ht", "nx", "lm", "pdpe1gb", "cx16", "lahf-lm"} | IMPLIED

# CR4 bits that each feature brings (SDM vol. 3A 2.5)
_CR4_BITS = {
    "vme": cr.CR4_VME | cr.CR4_PVI,
    "tsc": cr.CR4_TSD,
    "de": cr.CR4_DE,
    "pse": cr.CR4_PSE,
    "pae": cr.CR4_PAE,
    "mce": cr.CR4_MCE,
    "pge": cr.CR4_PGE,
    "rdpmc": cr.CR4_PCE,
    "fxsr": cr.CR4_OSFXSR,
    "sse": cr.CR4_OSXMMEXCPT,
    "fsgsbase": cr.CR4_FSGSBASE,
}
_PRESCOTT_CACHES = (0x605B_5101, 0, 0, 0x003C_7040)
MAX = "max"  # all that bt has, less what the host lacks
_REGISTERS = ("eax", "ebx", "ecx", "edx")  # in the order of a leaf's row
PHYSICAL_ADDRESS_BITS = 36  # with PAE or PSE-36; 32 otherwise
LINEAR_ADDRESS_BITS = 48  # in long mode


def _words(text: str) -> tuple[int, ...]:
    """ASCII text as little-endian 32-bit words."""
    data = text.encode()
    return tuple(int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4))


class CpuModel(NamedTuple):
    """One processor. `signature`: CPUID.1 EAX, and EDX after reset; `descriptors`: cache and TLB bytes of CPUID.2."""

    name: str
    signature: int
    features: frozenset[str]
    descriptors: tuple[int, int, int, int] | None = None
    brand: str | None = None

    @property
    def feature_words(self) -> tuple[int, ...]:
        """The features' bits, a number a word of FEATURE_WORDS."""
        words = [0] * len(FEATURE_WORDS)
        for name in self.features:
            words[FEATURES[name].word] |= FEATURES[name].mask
        return tuple(words)

    @property
    def cr4_allowed(self) -> int:
        """CR4 bits that may be set; any other is #GP(0)."""
        return sum(bits for feature, bits in _CR4_BITS.items() if feature in self.features)

    @property
    def address_bits(self) -> int:
        """Of physical addresses."""
        return PHYSICAL_ADDRESS_BITS if self.features & {"pae", "pse36"} else 32

    def leaves(self) -> list[tuple[int, int, int, int, int]]:
        """CPUID as (leaf, eax, ebx, ecx, edx); a leaf that is missing answers as the last one here."""
        vendor = _words("GenuineIntel")
        line_size = 8 << 8 if "clflush" in self.features else 0  # of CLFLUSH, in 8 bytes
        logical_processors = 1 << 16 if "ht" in self.features else 0
        leaves: dict[int, list[int]] = {1: [self.signature, line_size | logical_processors, 0, 0]}
        if self.descriptors is not None:
            leaves[2] = list(self.descriptors)
        if self.brand is not None:
            words = _words(self.brand.ljust(48, "\0"))
            leaves |= {_EXTENDED + 2 + n: list(words[4 * n : 4 * n + 4]) for n in range(3)}
        if "lm" in self.features:
            leaves[_EXTENDED + 8] = [self.address_bits | LINEAR_ADDRESS_BITS << 8, 0, 0, 0]
        for word, bits in zip(FEATURE_WORDS, self.feature_words, strict=True):
            if word.leaf is not None and bits:
                leaves.setdefault(word.leaf, [0] * 4)[_REGISTERS.index(word.register)] |= bits
        basic = max(leaf for leaf in leaves if leaf < _EXTENDED)
        extended = max((leaf for leaf in leaves if leaf > _EXTENDED), default=_EXTENDED - 1)
        leaves[0] = [basic, vendor[0], vendor[2], vendor[1]]
        if extended > _EXTENDED:
            leaves[_EXTENDED] = [extended, 0, 0, 0]
        # beyond the highest basic leaf a processor answers as for that one (SDM vol. 2, CPUID)
        numbers = (*range(_EXTENDED, extended + 1), *range(basic + 1))
        return [(leaf, *leaves.get(leaf, [0] * 4)) for leaf in numbers]

    def install(self, cpu: CpuState) -> None:
        """Tell generated code about the model; after that the vCPU is that processor."""
        for name, values in _slots(self).items():
            cpu.put_all(name, values)

    def lacks(self, feature: str | None) -> bool:
        """Whether a form that asks for `feature` is #UD."""
        return feature is not None and feature not in self.features


@cache
def _slots(model: CpuModel) -> Mapping[str, Sequence[int]]:
    """What generated code knows of a model, by the names of the state's fields."""
    leaves = model.leaves()
    assert len(leaves) <= CPUID_LEAVES
    leaves += [leaves[-1]] * (CPUID_LEAVES - len(leaves))
    return {
        "features": model.feature_words,
        "cr4_allowed": (model.cr4_allowed,),
        "signature": (model.signature,),
        "physical_reserved": (((1 << 64) - 1) & ~((1 << model.address_bits) - 1),),
        "cpuid": [value for leaf in leaves for value in leaf],
    }


MODELS: Mapping[str, CpuModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            CpuModel("486", 0x0480, _I486),
            CpuModel("pentium", 0x0543, _PENTIUM),
            # stepping and model matter to guests: earlier P6 had a broken SYSENTER
            CpuModel("pentium3", 0x0673, _PENTIUM3, (0x0302_0101, 0, 0, 0x0C04_0843)),
            CpuModel(
                "pentium4", 0x0F29, _PENTIUM4, (0x665B_5001, 0, 0, 0x007A_7040), "Intel(R) Pentium(R) 4 CPU by bt"
            ),
            # Prescott, the first of Intel's with long mode; QEMU's qemu64 is AMD's
            CpuModel(
                "qemu64",
                0x0F41,
                _X86_64_V1 | {"cx16", "lahf-lm"},
                _PRESCOTT_CACHES,
                "QEMU Virtual CPU by bt",
            ),
            CpuModel("x86-64-v1", 0x0F41, _X86_64_V1, _PRESCOTT_CACHES, "x86-64-v1 CPU by bt"),
            CpuModel("x86-64-v2", 0x0F41, _X86_64_V2, _PRESCOTT_CACHES, "x86-64-v2 CPU by bt"),
            CpuModel(MAX, 0x0F41, _EVERYTHING, _PRESCOTT_CACHES, "Maximal CPU by bt"),
        )
    }
)
DEFAULT = "pentium4"
LONG_MODE_DEFAULT = "qemu64"  # for images that say that they want long mode


@cache
def available_features() -> frozenset[str]:
    """Features that bt has: those it is built for and those whose instructions are in the table."""
    from bt.x86.opcodes import FORMS  # 20 ms that an ordinary start can do without

    return _BUILT | {form.cpuid for form in FORMS if form.cpuid is not None}


def listing() -> str:
    """What `--cpu help` shows: models and their features, then all features there are."""
    lines = ["CPU models:"]
    for name in MODELS:
        note = " (default)" if name == DEFAULT else ""
        lines.append(f"  {name + note:<20} {' '.join(_sorted(parse(name).features))}")
    lines += ["", "Features, to be had with +NAME or NAME=on, taken away with -NAME or NAME=off:"]
    lines.append(f"  {' '.join(_sorted(available_features()))}")
    return "\n".join(lines)


def _sorted(features: frozenset[str]) -> list[str]:
    return sorted(features - IMPLIED)


@cache
def parse(text: str = DEFAULT) -> CpuModel:
    """The model of "NAME,+feature,-feature,feature=on,feature=off"; BadUsage says what is not known."""
    name, *changes = text.split(",")
    if name not in MODELS:
        raise BadUsage(f"--cpu {text}: no model {name!r}; there are {', '.join(MODELS)} (`--cpu help` says more)")
    features = set(MODELS[name].features)
    if name == MAX:
        features -= _lacking(features)
    for change in changes:
        wanted, feature = _change(text, change)
        if wanted and feature not in available_features():
            reason = {**ABSENT, **NOT_BUILT}[feature]
            raise BadUsage(f"--cpu {text}: bt has no {feature!r} to show: {reason}; leave +{feature} out")
        (features.add if wanted else features.discard)(feature)
    for feature in sorted(_lacking(features)):
        raise BadUsage(f"--cpu {text}: the host's processor has no {OF_THE_HOST[feature]}; give -{feature}")
    for feature, needed in NEEDS.items():
        if feature in features and needed not in features:
            raise BadUsage(f"--cpu {text}: {feature} needs {needed}; give +{needed} or -{feature}")
    return MODELS[name]._replace(features=frozenset(features))


def _lacking(features: Set[str]) -> set[str]:
    """Which of them the host would have to execute, and cannot."""
    return {name for name in features & OF_THE_HOST.keys() if OF_THE_HOST[name] not in cpu_flags()}


def _change(text: str, change: str) -> tuple[bool, str]:
    """Whether a feature is wanted, and its name. Raises BadUsage unless it is one."""
    match = re.fullmatch(r"([+-])([\w.-]+)|([\w.-]+?)(?:=(on|off))?", change)
    if match is None:
        raise BadUsage(f"--cpu {text}: {change!r} is neither +FEATURE, -FEATURE, FEATURE=on nor FEATURE=off")
    feature = (match[2] or match[3]).replace("_", "-")
    feature = ALIASES.get(feature, feature)
    if feature not in (available_features() | ABSENT.keys() | NOT_BUILT.keys()) - IMPLIED:
        raise BadUsage(f"--cpu {text}: no feature {feature!r}; there are {' '.join(_sorted(available_features()))}")
    return (match[1] or match[4] or "on") in ("+", "on"), feature
