"""Everything that can run a case: the host CPU as the oracle, and the engines their developers supply."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.cases.model import Executor
from tests.oracles.host_cpu import HostCpu

ORACLE = "host"
"""Name of the executor that expectations are recorded with."""


def engines() -> Mapping[str, Executor]:
    """bt's engines by name, from `tests/engines.py`; empty while there is no such file."""
    if importlib.util.find_spec("tests.engines") is None:
        return {}
    found: Mapping[str, Executor] = importlib.import_module("tests.engines").executors()
    return found


@dataclass
class Executors:
    """The executors of one test session."""

    oracle: HostCpu | None
    oracle_missing: str | None
    engines: Mapping[str, Executor]

    @classmethod
    def of_session(cls) -> Executors:
        """All that this host and this checkout have."""
        missing = HostCpu.unavailable()
        return cls(None if missing else HostCpu(), missing, engines())

    def close(self) -> None:
        """End the oracle's child process."""
        if self.oracle is not None:
            self.oracle.close()

    def host(self) -> HostCpu:
        """The oracle. Skips the test where there is none."""
        if self.oracle is None:
            pytest.skip(f"no host CPU oracle: {self.oracle_missing}")
        return self.oracle

    def judge(self) -> HostCpu:
        """The oracle, for programs that see what processors leave undefined. Skips the test where there is none."""
        if (reason := HostCpu.unlike()) is not None:
            pytest.skip(f"no host CPU oracle: {reason}")
        return self.host()
