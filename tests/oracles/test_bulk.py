"""Every user-mode instruction form in many states: bt's engines against the host CPU, a table of records at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from bt.engine.translator.vcpu import TranslatingVcpu
from bt.host.reserved import has_gs_base
from bt.x86.opcodes import FORMS, PLAIN_FORMS
from tests.cases.collect import executors
from tests.cases.model import Outcome
from tests.engines import INSTRUCTION_LIMIT, EngineExecutor
from tests.engines import executors as engine_executors
from tests.oracles.bulk.__main__ import chosen, main, table
from tests.oracles.bulk.batch import REGISTER_BYTES
from tests.oracles.bulk.compare import compare
from tests.oracles.bulk.coverage import LEFT_OUT, Treatment, family, forms
from tests.oracles.bulk.program import TABLE, Maker, Program
from tests.oracles.bulk.rules import RULES
from tests.oracles.bulk.run import FAULTS, Bulk
from tests.oracles.host_cpu import HostCpu
from tests.oracles.test_random_code import SEED

EVERYDAY_CASES = 20_000
SLOW_CASES = 2_000_000
SLOW_FAULT_ROUNDS = 8


@pytest.fixture
def host(request: pytest.FixtureRequest) -> HostCpu:
    return executors(request.config).host()


@pytest.fixture(scope="module")
def engines() -> dict[str, EngineExecutor]:
    return engine_executors()


def _compare(host: HostCpu, engines: dict[str, EngineExecutor], seed: int, cases: int, fault_rounds: int) -> Bulk:
    bulk = Bulk(host, engines)
    in_bulk, everything = chosen(None)
    bulk.run(seed, in_bulk, cases)
    if HostCpu.unlike() is None:  # others take milliseconds for a locked access across two cache lines
        bulk.run_faults(seed, everything, fault_rounds)
    print("\n".join(table(bulk.tally)))
    if bulk.tally.differing():
        reports = [f"{engine}: {report}" for (engine, _), found in bulk.tally.reports.items() for report in found]
        pytest.fail(f"{bulk.tally.differing()} cases differ, e.g.\n" + "\n".join(reports[:8]), pytrace=False)
    return bulk


# -- what is compared


def test_every_form_is_compared_or_has_a_reason() -> None:
    """Nothing falls between the three treatments, and no reason outlives its instruction."""
    counts = Counter(form.id for treatment in Treatment for form in forms(treatment))
    assert counts == Counter(form.id for form in PLAIN_FORMS)
    assert {form.name for form in forms(Treatment.LEFT_OUT)} == set(LEFT_OUT)
    assert all(LEFT_OUT.values())


def test_every_rule_is_somebody_s() -> None:
    assert RULES.keys() <= {form.meaning for form in FORMS}


def test_only_what_always_faults_is_left_to_single_cases(host: HostCpu) -> None:
    """A form whose programs run to their end must not hide among those that fault."""
    maker = Maker("faults")
    for form in forms(Treatment.FAULT):
        outcome = host.run(maker.program(form, 1).case)
        assert outcome.trap is not None, form


def _programs(name: str, count: int) -> list[Program]:
    maker = Maker("encodings")
    found = [form for form in forms(Treatment.BULK) if form.name == name]
    return [maker.program(form, 1) for form in found for _ in range(count)]


def test_operands_of_every_kind_occur() -> None:
    """Sizes, registers and memory by every addressing mode, segment overrides, LOCK and REP."""
    variants = [program.variant for program in _programs("add", 150)]
    assert {variant.operand_bits for variant in variants} == {16, 32}
    assert {variant.address_bits for variant in variants} == {16, 32}
    assert {variant.rm for variant in variants if variant.operand is None} == set(range(8))
    addresses = [variant.address for variant in variants if variant.address is not None]
    assert {(a.base is not None, a.index is not None, a.bits) for a in addresses} == {
        (base, index, bits) for base in (False, True) for index in (False, True) for bits in (16, 32)
    } - {(False, True, 16)}
    assert {a.scale for a in addresses} == {1, 2, 4, 8}
    first = {variant.code[0] for variant in variants}
    assert first >= {0x26, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0}
    repeats = {variant.code[0] for program in _programs("movs", 50) for variant in [program.variant]}
    assert repeats >= {0xF2, 0xF3}


def test_all_of_the_fp_environment_occurs() -> None:
    """Every TOP, tag, precision, rounding, FTZ and DAZ; nothing unmasked."""
    images = [program.batch.fx[0] for program in _programs("fadd", 400)]
    controls = [int.from_bytes(image[:2], "little") for image in images]
    assert {control >> 8 & 15 for control in controls} == set(range(16))
    assert all(control & 0x3F == 0x3F for control in controls)
    assert {int.from_bytes(image[2:4], "little") >> 11 & 7 for image in images} == set(range(8))
    assert {image[4] for image in images} >= {0, 0xFF}
    mxcsrs = [int.from_bytes(image[24:28], "little") for image in images]
    assert {(mxcsr >> 13, mxcsr >> 6 & 1) for mxcsr in mxcsrs} == {(high, daz) for high in range(8) for daz in (0, 1)}
    assert all(mxcsr & 0x1F80 == 0x1F80 for mxcsr in mxcsrs)


def test_a_seed_names_its_cases() -> None:
    form = FORMS[1]
    assert Maker("7").program(form, 20).case == Maker("7").program(form, 20).case
    assert Maker("7").program(form, 20).case != Maker("8").program(form, 20).case


# -- that the comparison sees what differs


def _changed(program: Program, outcome: Outcome, offset: int) -> Outcome:
    """The outcome with a bit of the last record's byte `offset` flipped."""
    memory = dict(outcome.state.memory)
    image = bytearray(memory[TABLE.start])
    image[(program.batch.count - 1) * program.batch.record_bytes + offset] ^= 1
    memory[TABLE.start] = bytes(image)
    return replace(outcome, state=replace(outcome.state, memory=memory))


@pytest.mark.parametrize("name", ["add", "imul", "fadd", "paddb", "addps", "movs"])
def test_a_single_wrong_bit_is_found(host: HostCpu, name: str) -> None:
    """In each byte of a record, but for flags that are undefined and pointers that processors choose."""
    form = next(form for form in forms(Treatment.BULK) if form.name == name)
    program = Maker("bits").program(form, 6)
    outcome = host.run(program.case)
    assert compare(program, outcome, outcome).differing == 0
    seen = []
    for offset in range(program.batch.record_bytes):
        verdict = compare(program, outcome, _changed(program, outcome, offset))
        seen.append(verdict.differing == 1)
        if seen[-1]:
            assert repr(form) in verdict.reports[0]
            assert "record 5" in verdict.reports[0]
            assert "wanted" in verdict.reports[0]
    image = REGISTER_BYTES + program.batch.window_bytes
    ignored = {image + place for place in (*range(6, 24), *range(28, 32))}
    assert {offset for offset, found in enumerate(seen) if not found} == (ignored if program.batch.fx else set())


def test_undefined_flags_are_counted_but_not_reported(host: HostCpu) -> None:
    form = next(form for form in forms(Treatment.BULK) if form.encoding == "0F AF /r")
    program = Maker("flags").program(form, 4)
    outcome = host.run(program.case)
    memory = dict(outcome.state.memory)
    image = bytearray(memory[TABLE.start])
    image[0] ^= 0x80  # SF after IMUL
    memory[TABLE.start] = bytes(image)
    verdict = compare(program, outcome, replace(outcome, state=replace(outcome.state, memory=memory)))
    assert (verdict.cases, verdict.compared, verdict.masked) == (4, 4, 4)
    assert (verdict.free, verdict.differing) == (1, 0)


def test_a_store_elsewhere_is_found(host: HostCpu) -> None:
    program = Maker("elsewhere").program(FORMS[1], 4)
    outcome = host.run(program.case)
    memory = dict(outcome.state.memory)
    where = program.batch.where.window - 1
    start = max(start for start in memory if start <= where)
    image = bytearray(memory[start])
    image[where - start] ^= 0xFF
    memory[start] = bytes(image)
    verdict = compare(program, outcome, replace(outcome, state=replace(outcome.state, memory=memory)))
    assert "outside" in verdict.reports[0]


# -- the comparison itself


def test_engines_agree_with_the_host(host: HostCpu, engines: dict[str, EngineExecutor]) -> None:
    """A sample of every form; BT_SEED gives another one."""
    bulk = _compare(host, engines, SEED, EVERYDAY_CASES, 1)
    for name in engines:
        assert bulk.tally.cases(name) >= EVERYDAY_CASES
        faults = set() if HostCpu.unlike() else {FAULTS}
        assert set(bulk.tally.rows[name]) == {family(form) for form in forms(Treatment.BULK)} | faults


def test_tier_2_agrees_with_the_host(host: HostCpu) -> None:
    """The same without paging, where there are units."""
    executor = EngineExecutor(partial(TranslatingVcpu, tier="2"), paged=False, limit=INSTRUCTION_LIMIT)
    try:
        bulk = Bulk(host, {"tier 2": executor})
        bulk.run(SEED, chosen(None)[0], EVERYDAY_CASES)
        reports = [report for found in bulk.tally.reports.values() for report in found]
        assert not bulk.tally.differing(), "\n".join(reports[:8])
        assert executor.statistics()["unit_insns"] > 10 * EVERYDAY_CASES or not has_gs_base()
    finally:
        executor.close()


@pytest.mark.slow
def test_engines_agree_with_the_host_on_millions(host: HostCpu, engines: dict[str, EngineExecutor]) -> None:
    """Two million cases on each engine, most of them in translated code where the engine has such."""
    bulk = _compare(host, engines, SEED + 1, SLOW_CASES, SLOW_FAULT_ROUNDS)
    for name in engines:
        assert bulk.tally.cases(name) >= SLOW_CASES
    share = {name: row.translated / row.cases for name, row in bulk.tally.rows["bt"].items()}
    assert all(share[name] > 0.8 for name in ("arith", "logic", "control", "x87", "mmx", "sse", "sse2")), share


def test_command(capsys: pytest.CaptureFixture[str], host: HostCpu) -> None:
    """It runs one form on one engine, and says so."""
    assert main(["--cases", "500", "--form", "shld", "--engine", "interp"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["forms", "cases", "compared", "masked", "free", "translated", "differing"]
    assert [line.split()[1] for line in lines[1:4]] == ["shift", "faults", "total"]
    assert main(["--form", "cpuid"]) == 2
    assert LEFT_OUT["cpuid"] in capsys.readouterr().err
