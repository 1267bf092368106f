"""What a CPU model shows is what the instruction table, the control registers and the MSRs have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import pytest

from bt.engine.library.library import load_library
from bt.errors import BadUsage
from bt.x86 import cpu_model
from bt.x86.exits import ExitReason
from bt.x86.features import ABSENT, FEATURE_WORDS, FEATURES, IMPLIED, NOT_BUILT
from bt.x86.opcodes import FORMS, PLAIN_FORMS, Form, Method
from bt.x86.opcodes.encoding import parse_encoding
from bt.x86.state import CPUID_LEAVES, EAX, EBX, ECX, EDX, GPR_NAMES
from bt.x86.system.registers import control_registers as cr
from guest_images.assembler import assemble
from tests.engines import factories
from tests.x86.system.processor import Processor

ORIGIN = 0x10000
SHOWN = {
    "486": 0x0000_000B,
    "pentium": 0x0080_03BF,
}


def test_forms_ask_for_features_that_exist() -> None:
    assert {form.cpuid for form in FORMS if form.cpuid} <= FEATURES.keys()


@pytest.mark.parametrize("name", cpu_model.MODELS)
def test_leaves(name: str) -> None:
    model = cpu_model.parse(name)
    leaves = {leaf: registers for leaf, *registers in model.leaves()}
    assert leaves[0][1:] == [0x756E6547, 0x6C65746E, 0x49656E69], "GenuineIntel in EBX, ECX, EDX"
    assert leaves[0][0] in leaves
    assert leaves[0][0] == 7 if "fsgsbase" in model.features else leaves[0][0] < 3
    assert leaves[1][0] == model.signature
    for feature in model.features - IMPLIED:
        word = FEATURE_WORDS[FEATURES[feature].word]
        assert word.leaf is not None
        assert leaves[word.leaf][("eax", "ebx", "ecx", "edx").index(word.register)] & FEATURES[feature].mask
    if "lm" in model.features:
        assert leaves[0x8000_0008][0] == 48 << 8 | 36
    assert leaves[1][3] == SHOWN.get(name, leaves[1][3])


@pytest.mark.parametrize("name", cpu_model.MODELS)
def test_cr4_has_the_bits_of_the_features_shown(name: str) -> None:
    """SDM vol. 3A 2.5 names the CPUID bit that each CR4 bit needs; SMEP (20), SMAP (21), OSXSAVE (18): never."""
    model = cpu_model.parse(name)
    pairs = {"vme": cr.CR4_VME, "tsc": cr.CR4_TSD, "pae": cr.CR4_PAE, "pge": cr.CR4_PGE, "fxsr": cr.CR4_OSFXSR}
    for feature, bit in pairs.items():
        assert bool(model.cr4_allowed & bit) == (feature in model.features)
    assert model.cr4_allowed & ~cr.CR4_FSGSBASE < 1 << 11


def test_features_are_added_and_taken_away() -> None:
    model = cpu_model.parse("pentium3,-pae,+nx,-pge")
    assert not model.features & {"pae", "pge"}
    leaves = {leaf: registers for leaf, *registers in model.leaves()}
    assert leaves[0x8000_0000][0] == 0x8000_0001
    assert leaves[0x8000_0001][3] == 1 << 20
    assert model.cr4_allowed & (cr.CR4_PAE | cr.CR4_PGE) == 0


def test_features_are_switched_as_well() -> None:
    assert cpu_model.parse("pentium3,sse=off,nx=on") == cpu_model.parse("pentium3,-sse,+nx")
    assert cpu_model.parse("pentium3,-pn") == cpu_model.parse("pentium3")


def test_movbe_and_popcnt_are_shown() -> None:
    leaves = {leaf: registers for leaf, *registers in cpu_model.parse("pentium4,+movbe,popcnt=on").leaves()}
    assert leaves[1][2] == 1 << 22 | 1 << 23


def test_logical_processors_are_counted_with_ht() -> None:
    leaves = {leaf: registers for leaf, *registers in cpu_model.parse("pentium4,+ht").leaves()}
    assert (leaves[1][1] >> 16 & 0xFF, leaves[1][3] >> 28 & 1) == (1, 1)


def test_words_have_32_bits_and_no_feature_twice() -> None:
    assert all(len(word.names) <= 32 for word in FEATURE_WORDS)
    assert len(FEATURES) == sum(name != "-" for word in FEATURE_WORDS for name in word.names)


# Bits of CPUID by the SDM's numbers (vol. 2, CPUID), which `--cpu` does not know for want of instructions
@pytest.mark.parametrize(
    ("feature", "leaf", "register", "bit"),
    [
        *(("fpu", 1, 3, 0), ("sse2", 1, 3, 26), ("pbe", 1, 3, 31)),
        *(("pni", 1, 2, 0), ("sse4.2", 1, 2, 20), ("movbe", 1, 2, 22), ("popcnt", 1, 2, 23), ("rdrand", 1, 2, 30)),
        *(("bmi1", 7, 1, 3), ("bmi2", 7, 1, 8), ("adx", 7, 1, 19), ("sha-ni", 7, 1, 29)),
        *(("syscall", 0x8000_0001, 3, 11), ("nx", 0x8000_0001, 3, 20), ("lm", 0x8000_0001, 3, 29)),
        *(("lahf-lm", 0x8000_0001, 2, 0), ("abm", 0x8000_0001, 2, 5), ("tbm", 0x8000_0001, 2, 21)),
    ],
)
def test_each_feature_has_its_bit(feature: str, leaf: int, register: int, bit: int) -> None:
    """Nothing else in CPUID changes but the number of leaves; those between are there, and empty."""
    plain = cpu_model.parse("486,-fpu")
    model = plain._replace(features=plain.features | {feature})
    without = {number: registers for number, *registers in plain.leaves()}
    leaves = {number: registers for number, *registers in model.leaves()}
    assert leaves[leaf][register] ^ without.get(leaf, [0] * 4)[register] == 1 << bit
    assert leaves[leaf & 0x8000_0000][0] >= leaf
    assert not any(any(leaves[number]) for number in range(2, leaves[0][0]))
    assert len(model.leaves()) <= CPUID_LEAVES


def test_every_feature_of_edx_is_there_or_missing_for_a_reason() -> None:
    known = cpu_model.available_features() | ABSENT.keys()
    assert {name for name in FEATURE_WORDS[FEATURES["fpu"].word].names if name != "-"} <= known <= FEATURES.keys()
    assert not cpu_model.available_features() & ABSENT.keys()


def test_what_is_not_built_is_not_there() -> None:
    assert not NOT_BUILT.keys() & (cpu_model.available_features() | ABSENT.keys())
    parsed = cpu_model.parse("qemu64," + ",".join(f"-{name}" for name in NOT_BUILT))
    assert parsed.features == cpu_model.parse("qemu64").features


def test_the_listing_has_all_of_it() -> None:
    words = cpu_model.listing().split()
    assert set(words) >= cpu_model.available_features() - IMPLIED | cpu_model.MODELS.keys()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "80286",
            "--cpu 80286: no model '80286'; there are 486, pentium, pentium3, pentium4, qemu64, x86-64-v1, x86-64-v2, ",
        ),
        ("486,tsc=yes", "--cpu 486,tsc=yes: 'tsc=yes' is neither"),
        ("486,", "--cpu 486,: '' is neither"),
        ("486,+avx", "--cpu 486,+avx: bt has no 'avx' to show: there are no registers of 256 bits and more"),
        ("qemu64,+la57", "page tables have four levels at most; leave +la57 out"),
        ("486,+avx10", "--cpu 486,+avx10: no feature 'avx10'; there are "),
        ("486,avx=on", "--cpu 486,avx=on: bt has no 'avx' to show: "),
        ("486,+pn", "--cpu 486,+pn: bt has no 'pn' to show: there is no serial number"),
        ("486,+sse2", "--cpu 486,+sse2: sse2 needs sse; give +sse or -sse2"),
        ("pentium4,-fxsr", "--cpu pentium4,-fxsr: sse needs fxsr; give +fxsr or -sse"),
        ("486,+rdpmc", "no feature 'rdpmc'"),
        ("pentium4,+sse4.1", "--cpu pentium4,+sse4.1: sse4.1 needs ssse3; give +ssse3 or -sse4.1"),
        ("pentium3,+sse3", "--cpu pentium3,+sse3: pni needs sse2; give +sse2 or -pni"),
        ("x86-64-v2,-sse4_1", "--cpu x86-64-v2,-sse4_1: sse4.2 needs sse4.1; give +sse4.1 or -sse4.2"),
        ("x86-64-v2,+monitor", "--cpu x86-64-v2,+monitor: bt has no 'monitor' to show: its instructions are "),
    ],
)
def test_what_is_not_known_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(BadUsage, match=re.escape(complaint)):
        cpu_model.parse(text)


def test_x86_64_v2_is_what_the_abi_says() -> None:
    """The x86-64 psABI's table of micro-architecture levels: of the second, beyond the first."""
    second = {"cx16", "lahf-lm", "popcnt", "pni", "sse4.1", "sse4.2", "ssse3"}
    assert cpu_model.parse("x86-64-v2").features - cpu_model.parse("x86-64-v1").features == second


def test_max_has_all_there_is() -> None:
    missing = cpu_model.available_features() - cpu_model.parse("max").features
    assert missing == {"p6 counters"}, "in the place of the Pentium 4's"


def test_other_names_of_qemu_are_taken() -> None:
    wanted = cpu_model.parse("pentium4,+pni,+ssse3,+sse4.1,+sse4.2")
    assert cpu_model.parse("pentium4,+sse3,+ssse3,+sse4_1,sse4-2=on") == wanted
    assert cpu_model.parse("qemu64,-lahf_lm").features == cpu_model.parse("qemu64").features - {"lahf-lm"}


@pytest.fixture
def host_without_sse4(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cpu_model, "cpu_flags", lambda: frozenset({"pni", "ssse3"}))
    cpu_model.parse.cache_clear()
    yield
    cpu_model.parse.cache_clear()


@pytest.mark.usefixtures("host_without_sse4")
def test_what_the_host_cannot_execute_is_refused() -> None:
    for text, name in (("x86-64-v2", "sse4.1"), ("pentium4,+pni,+ssse3,+sse4.1", "sse4.1")):
        with pytest.raises(BadUsage, match=f"--cpu {re.escape(text)}: the host's processor has no {name[:-2]}_1"):
            cpu_model.parse(text)
    assert cpu_model.parse("pentium4,+pni").features > {"pni"}
    assert cpu_model.parse("max").features & {"pni", "ssse3", "sse4.1", "sse4.2"} == {"pni", "ssse3"}


class Processors:
    """A processor for each engine and CPU model, made when first asked for; their code caches share one arena."""

    def __init__(self) -> None:
        self._library = load_library()
        self._made: dict[tuple[str, str], Processor] = {}

    def get(self, engine: str, cpu: str) -> Processor:
        if (engine, cpu) not in self._made:
            model = cpu_model.parse(cpu)
            make = partial(factories()[engine], model=model)
            self._made[engine, cpu] = Processor(self._library, make)
        processor = self._made[engine, cpu]
        processor.start()
        return processor

    def run(self, engine: str, cpu: str, code: str, **registers: int) -> tuple[int | str, list[int]]:
        """Vector of the exception that `code` raises, or "ok"; EAX, EBX, ECX, EDX after it."""
        processor = self.get(engine, cpu)
        state = processor.cpu
        for name, value in registers.items():
            state["gpr", GPR_NAMES.index(name)] = value
        processor.ram.write(ORIGIN, assemble(code + "\nhlt", 32, ORIGIN))
        state["eip"], state["trap_vectors"] = ORIGIN, (1 << 32) - 1
        processor.vcpu.flush()
        leave = processor.vcpu.run(1000)
        values = [state["gpr", number] for number in (EAX, EBX, ECX, EDX)]
        return (leave.address if leave.reason is ExitReason.EXCEPTION else "ok", values)

    def close(self) -> None:
        for processor in self._made.values():
            processor.close()


@pytest.fixture(scope="module")
def processors() -> Iterator[Processors]:
    made = Processors()
    yield made
    made.close()


@pytest.mark.parametrize("engine", factories())
def test_cpuid_answers_for_the_model(processors: Processors, engine: str) -> None:
    for cpu in (*cpu_model.MODELS, "pentium4,+movbe,+popcnt"):
        for leaf, *expected in cpu_model.parse(cpu).leaves():
            assert processors.run(engine, cpu, "cpuid", eax=leaf) == ("ok", expected)
    assert processors.run(engine, "486", "cpuid", eax=7)[1] == list(cpu_model.parse("486").leaves()[-1][1:])


UD, GP = 6, 13
FP_ON = "mov eax, 0x200\nmov cr4, eax\n"
LOAD_MXCSR = "mov dword ptr [0x8000], {}\nldmxcsr dword ptr [0x8000]"
FXRSTOR = "mov dword ptr [0x8018], {}\nfxrstor [0x8000]"
OUTSIDE_THE_MODEL = [
    ("486", "rdtsc", UD),
    ("pentium", "rdtsc", "ok"),
    ("pentium,-tsc", "rdtsc", UD),
    ("486", "cmpxchg8b [0x8000]", UD),
    ("pentium", "cmpxchg8b [0x8000]", "ok"),
    ("pentium", "cmove eax, ebx", UD),
    ("pentium3", "cmove eax, ebx", "ok"),
    ("pentium", "sysenter", UD),
    ("pentium3", "sysenter", GP),  # SYSENTER_CS is null
    ("486", "rdmsr", UD),
    ("pentium", "rdpmc", UD),
    ("pentium3", "rdpmc", GP),  # counter -1
    ("486", "mov eax, 0x20\nmov cr4, eax", GP),
    ("pentium3", "mov eax, 0x20\nmov cr4, eax", "ok"),
    ("pentium3,-pae", "mov eax, 0x20\nmov cr4, eax", GP),
    ("pentium4", "mov eax, 0x100000\nmov cr4, eax", GP),  # SMEP
    ("486,-fpu", "fninit", UD),
    ("486", "fld1", "ok"),
    ("486", "emms", UD),
    ("pentium,-mmx", "paddb mm0, mm1", UD),
    ("pentium3", "paddb mm0, mm1", "ok"),
    ("pentium", "paddb mm0, mm1", "ok"),
    ("pentium", "fcomi st(1)", UD),
    ("pentium", ".byte 0xda, 0xc1", UD),  # fcmovb
    ("pentium3", "fcomi st(1)", "ok"),
    ("pentium3", ".byte 0xda, 0xc1", "ok"),
    ("pentium", "fxsave [0x8000]", UD),
    ("pentium", FP_ON + "addps xmm0, xmm1", GP),  # CR4.OSFXSR
    ("pentium", "addps xmm0, xmm1", UD),
    ("pentium", "pshufw mm0, mm1, 1", UD),
    ("pentium3", "pshufw mm0, mm1, 1", "ok"),
    ("pentium3", FP_ON + "addps xmm0, xmm1", "ok"),
    ("pentium3", FP_ON + "addpd xmm0, xmm1", UD),
    ("pentium3", FP_ON + "paddb xmm0, xmm1", UD),
    ("pentium3", "paddq mm0, mm1", UD),
    ("pentium3", FP_ON + "movq2dq xmm0, mm1", UD),
    ("pentium3", "movnti [0x8000], eax", UD),
    ("pentium3", "clflush byte ptr [0x8000]", UD),
    ("pentium3,-sse", "prefetchnta byte ptr [0x8000]", "ok"),  # a reserved NOP
    ("pentium3,-sse", "sfence", UD),
    ("pentium", "prefetchnta byte ptr [0x8000]", UD),
    ("pentium", ".byte 0x0f, 0x1f, 0xc0", UD),  # the long NOP
    ("pentium3", "lfence", UD),
    ("pentium4", FP_ON + "addpd xmm0, xmm1", "ok"),
    ("pentium4", "lfence", "ok"),
    ("pentium4", ".byte 0xdb, 0x08", UD),  # fisttp dword [eax]
    ("pentium4", ".byte 0xdd, 0x08", UD),
    ("pentium4", ".byte 0xdf, 0x08", UD),
    ("pentium4", FP_ON + ".byte 0xf2, 0x0f, 0xd0, 0xc1", UD),  # addsubps
    ("pentium4", FP_ON + ".byte 0xf2, 0x0f, 0x7c, 0xc1", UD),  # haddps
    ("pentium4", FP_ON + ".byte 0xf3, 0x0f, 0x12, 0xc1", UD),  # movsldup
    ("pentium4", FP_ON + ".byte 0xf2, 0x0f, 0x12, 0xc1", UD),  # movddup
    ("pentium4", FP_ON + ".byte 0xf2, 0x0f, 0xf0, 0x00", UD),  # lddqu
    ("pentium4", ".byte 0x0f, 0x01, 0xc8", UD),  # monitor
    ("pentium4", ".byte 0x0f, 0x38, 0x00, 0xc1", UD),  # pshufb mm0, mm1
    ("pentium4", FP_ON + ".byte 0x66, 0x0f, 0x38, 0x17, 0xc1", UD),  # ptest
    ("pentium4", FP_ON + ".byte 0x66, 0x0f, 0x3a, 0x0b, 0xc1, 0", UD),  # roundsd
    ("pentium4", "popcnt eax, ecx", UD),
    ("486,+popcnt", "popcnt eax, ecx", "ok"),
    ("pentium4,+popcnt", ".byte 0x0f, 0xb8, 0xc1", UD),  # without F3: jmpe
    ("pentium4", "movbe eax, [0x8000]", UD),
    ("486,+movbe", "movbe eax, [0x8000]", "ok"),
    ("pentium4,+movbe", "movbe [0x8000], ax", "ok"),
    ("pentium4,+movbe", ".byte 0xf2, 0x0f, 0x38, 0xf0, 0xc1", UD),  # crc32
    ("pentium4", ".byte 0xc5, 0xf8, 0x77", UD),  # vzeroupper
    ("pentium4", ".byte 0xc5, 0xf8, 0x28, 0xc1", UD),  # vmovaps
    ("pentium4", ".byte 0xc4, 0xe2, 0x79, 0x18, 0xc1", UD),  # vbroadcastss
    ("pentium4", ".byte 0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1", UD),  # vmovaps zmm
    ("pentium4", ".byte 0x0f, 0xae, 0x20", UD),  # xsave
    ("pentium4", ".byte 0x66, 0x0f, 0xae, 0x38", UD),  # clflushopt
    ("pentium4", ".byte 0xf3, 0x0f, 0xae, 0x00", UD),  # fxsave has no form with a prefix
    ("pentium4", ".byte 0x0f, 0x0f, 0xc1, 0x9e", UD),  # pfadd of 3DNow!
    ("pentium4", ".byte 0x0f, 0x0e", UD),  # femms
    ("pentium3", FP_ON + LOAD_MXCSR.format(0x1FC0), GP),  # denormals-are-zero came with SSE2
    ("pentium4", FP_ON + LOAD_MXCSR.format(0x1FC0), "ok"),
    ("pentium4", FP_ON + LOAD_MXCSR.format(0x11F80), GP),
    ("pentium3", FXRSTOR.format(0x1FC0), GP),
    ("pentium4", FXRSTOR.format(0x1FC0), "ok"),
    ("pentium3,-sse", FXRSTOR.format(0xFFFFFFFF), "ok"),  # there is no MXCSR to load
]


@pytest.mark.parametrize("engine", factories())
@pytest.mark.parametrize(
    ("cpu", "mxcsr", "mask", "last"),
    [("pentium4", 0x1F80, 0xFFFF, 0), ("pentium3", 0x1F80, 0xFFBF, 0), ("pentium3,-sse", *[0x5555_5555] * 3)],
)
def test_fxsave_stores_what_the_model_has(
    processors: Processors, engine: str, cpu: str, mxcsr: int, mask: int, last: int
) -> None:
    """MXCSR, MXCSR_MASK and the last word of XMM7; ST0 always."""
    code = (
        "mov edi, 0x8000\nmov ecx, 128\nmov eax, 0x55555555\nrep stosd\nfninit\nfld1\nfxsave [0x8000]\n"
        "mov eax, [0x8018]\nmov ecx, [0x801c]\nmov edx, [0x811c]\nmov ebx, [0x8024]"
    )
    ended, (eax, ebx, ecx, edx) = processors.run(engine, cpu, code)
    assert (ended, eax, ecx, edx, ebx) == ("ok", mxcsr, mask, last, 0x8000_0000)


@pytest.mark.parametrize(("cpu", "code", "ending"), OUTSIDE_THE_MODEL)
@pytest.mark.parametrize("engine", factories())
def test_instructions_outside_the_model_are_undefined(
    processors: Processors, engine: str, cpu: str, code: str, ending: int | str
) -> None:
    assert processors.run(engine, cpu, code, ecx=0xFFFF_FFFF)[0] == ending


MSRS = [
    ("pentium3", 0x174, 0x1234_5678, 0, "ok"),
    ("pentium", 0x174, 0, 0, GP),
    ("pentium3", 0x2FF, 0xC06, 0, "ok"),
    ("pentium3", 0x2FF, 0xC07, 0, GP),
    ("pentium3", 0x2FF, 0xC02, 0, GP),
    ("pentium3", 0x2FF, 0x1000, 0, GP),
    ("pentium3", 0x200, 0xABCD_E006, 0xF, "ok"),
    ("pentium3", 0x200, 0xABCD_E106, 0xF, GP),
    ("pentium3", 0x201, 0xFFFF_F800, 0xF, "ok"),
    ("pentium3", 0x20F, 0, 0x10, GP),
    ("pentium3", 0x210, 0, 0, GP),
    ("pentium3", 0x250, 0x0605_0401, 0x0006_0504, "ok"),
    ("pentium3", 0x26F, 0, 0x0200_0000, GP),
    ("pentium3", 0x277, 0x0007_0406, 0x0007_0405, "ok"),
    ("pentium3", 0x277, 0x0008_0000, 0, GP),
    ("pentium3", 0x0FE, 0, 0, GP),
    ("pentium3", 0x179, 0, 0, GP),
    ("pentium3", 0x17A, 5, 0, "ok"),
    ("pentium3", 0x17A, 8, 0, GP),
    ("pentium3,-mca", 0x17A, 0, 0, GP),
    ("pentium", 0x17A, 0, 0, GP),
    ("pentium", 0x0FE, 0, 0, GP),
    ("pentium4,+nx", 0xC000_0080, 0x800, 0, "ok"),
    ("pentium4,+nx", 0xC000_0080, 0x100, 0, GP),
    ("pentium4", 0xC000_0080, 0x800, 0, GP),
    ("pentium4", 0x1A0, 0x1801, 0, "ok"),
    ("pentium4", 0x1A0, 0x1801, 4, GP),
    ("pentium4,+nx", 0x1A0, 0x1801, 4, "ok"),
    ("pentium4,+nx", 0x1A0, 0x1801, 8, GP),
    ("pentium3", 0x1A0, 0x1801, 0, GP),
    ("pentium4", 0x1234, 0, 0, GP),
]


@pytest.mark.parametrize(("cpu", "number", "low", "high", "ending"), MSRS)
def test_msr(processors: Processors, cpu: str, number: int, low: int, high: int, ending: int | str) -> None:
    code = "wrmsr\nxor eax, eax\nxor edx, edx\nrdmsr"
    ended, values = processors.run("interp", cpu, code, ecx=number, eax=low, edx=high)
    assert ended == ending
    if ended == "ok":
        assert (values[0], values[3]) == (low, high)


EXECUTE_DISABLE = """
    mov ecx, 0xc0000080
    mov eax, {before}
    xor edx, edx
    wrmsr
    mov ecx, 0x1a0
    rdmsr
    or edx, 4
    wrmsr
    {then}
"""
NX_OF_CPUID = "mov eax, 0x80000001\ncpuid\nmov eax, edx"
READ_EFER = "mov ecx, 0xc0000080\nrdmsr"
SET_NXE = "mov ecx, 0xc0000080\nmov eax, 0x800\nxor edx, edx\nwrmsr"
ALLOW_AGAIN = "rdmsr\nand edx, ~4\nwrmsr\n"


@pytest.mark.parametrize("before", [0, 0x800])
@pytest.mark.parametrize(
    ("then", "ending", "eax"),
    [
        (NX_OF_CPUID, "ok", 0),
        (READ_EFER, "ok", 0),
        (SET_NXE, GP, 0x800),
        (ALLOW_AGAIN + NX_OF_CPUID, "ok", 1 << 20),
        (ALLOW_AGAIN + READ_EFER, "ok", 0),
        (ALLOW_AGAIN + SET_NXE, "ok", 0x800),
    ],
    ids=["cpuid", "efer", "set nxe", "allowed: cpuid", "allowed: efer", "allowed: set nxe"],
)
@pytest.mark.parametrize("engine", factories())
def test_xd_bit_disable(
    processors: Processors, engine: str, before: int, then: str, ending: int | str, eax: int
) -> None:
    """Bit 34 of IA32_MISC_ENABLE: no execute disable in CPUID, EFER.NXE clear and reserved (SDM vol. 4 table 2-2)."""
    ended, values = processors.run(engine, "pentium4,+nx", EXECUTE_DISABLE.format(before=before, then=then))
    assert (ended, values[0]) == (ending, eax)


def test_capabilities_and_counters_read_as_constants(processors: Processors) -> None:
    assert processors.run("interp", "pentium3", "rdmsr", ecx=0xFE, edx=9)[1] == [0x508, 0, 0xFE, 0]
    assert processors.run("interp", "pentium3", "wrmsr\nrdmsr", ecx=0xC1, eax=55, edx=0)[1] == [0, 0, 0xC1, 0]
    assert processors.run("interp", "pentium3", "rdpmc", ecx=1, eax=5, edx=5)[1] == [0, 0, 1, 0]


@pytest.mark.parametrize(("cr4", "ending"), [(0, GP), (cr.CR4_PCE, "ok")])
@pytest.mark.parametrize("engine", factories())
def test_counters_outside_level_0(processors: Processors, engine: str, cr4: int, ending: int | str) -> None:
    """CR4.PCE lets every level read them; the HLT behind is #GP as such."""
    processor = processors.get(engine, "pentium3")
    processor.enter_level(3)
    state = processor.cpu
    state["cr4"], state["trap_vectors"], state["eip"], state["gpr", ECX] = cr4, (1 << 32) - 1, ORIGIN, 0
    processor.ram.write(ORIGIN, assemble("rdpmc\nhlt", 32, ORIGIN))
    leave = processor.vcpu.run(10)
    assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, GP)
    assert state["eip"] == ORIGIN + (2 if ending == "ok" else 0)


_LATER = ("pni", "ssse3", "sse4.1", "sse4.2")  # each needs those before it


def _code(form: Form) -> str:
    """One instance: operands of 1 and 2, or in memory at 8000."""
    encoding = parse_encoding(form.encoding)
    memory = form.memory_only or True not in encoding.mods
    code = bytes((encoding.prefix,)) * bool(encoding.prefix) + encoding.escape + bytes((encoding.opcodes[0],))
    reg = encoding.regs[0] if len(encoding.regs) == 1 else 2
    code += bytes((reg << 3 | 5, 0, 0x80, 0, 0)) if memory else bytes((0xC1 | reg << 3,))
    code += b"\0" * any(operand.method is Method.IMMEDIATE for operand in form.operands)
    return ".byte " + ", ".join(map(str, code))


@pytest.mark.parametrize("engine", factories())
@pytest.mark.parametrize("feature", [*_LATER, "popcnt"])
def test_every_form_is_undefined_without_its_feature(processors: Processors, engine: str, feature: str) -> None:
    behind = _LATER[_LATER.index(feature) :] if feature in _LATER else (feature,)
    without = ",".join(("max", *(f"-{name}" for name in behind)))
    forms = [form for form in PLAIN_FORMS if form.cpuid == feature]
    assert len(forms) == {"pni": 13, "ssse3": 32, "sse4.1": 47, "sse4.2": 7, "popcnt": 1}[feature]
    for form in forms:
        for cpu, wanted in ((without, UD), ("max", "ok")):
            assert processors.run(engine, cpu, FP_ON + _code(form))[0] == wanted, (form, cpu)
