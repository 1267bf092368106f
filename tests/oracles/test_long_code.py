"""64-bit code against the host's processor: every form that programs can use, prefixes and addresses of all kinds."""

from __future__ import annotations

import pytest

from tests.cases.check import differences
from tests.cases.collect import executors
from tests.engines import EngineExecutor, factories
from tests.oracles.host_cpu import HostCpu
from tests.oracles.long_code import Maker, forms, is_intel_s_choice, is_unstored


@pytest.mark.parametrize(("seed", "times"), [("everyday", 2), pytest.param("long", 60, marks=pytest.mark.slow)])
def test_every_form_of_64_bit_code_agrees_with_the_host(request: pytest.FixtureRequest, seed: str, times: int) -> None:
    """Registers, flags but for undefined ones, memory, FP registers, exceptions."""
    host, maker = executors(request.config).host(), Maker(seed)
    pairs = [(maker.case(form), form) for form in forms() for _ in range(times)]
    like_amd = HostCpu.unlike() is None
    pairs = [(case, form) for case, form in pairs if not (like_amd and is_intel_s_choice(case, form))]
    engine = EngineExecutor(factories()["interp"])
    report = [
        f"{case.where} {case.text}: {line}"
        for (case, form), wanted in zip(pairs, host.run_many([case for case, _ in pairs]), strict=True)
        if not is_unstored(form, wanted, ours := engine.run(case))
        for line in differences(case, wanted, ours)
    ]
    engine.close()
    assert not report, "\n".join(report[:40])
