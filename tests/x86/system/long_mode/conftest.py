"""A processor in 64-bit mode for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.engine.library.library import Library
from bt.engine.vcpu import Vcpu
from bt.x86 import cpu_model
from bt.x86.system.registers.control_registers import CR4_FSGSBASE
from tests.x86.system.long_mode.long_processor import LongProcessor


@pytest.fixture
def processor(library: Library) -> Iterator[LongProcessor]:
    processor = LongProcessor(library)
    yield processor
    processor.close()


@pytest.fixture
def everything(library: Library) -> Iterator[LongProcessor]:
    """One that executes instructions (LongProcessor.execute), FSGSBASE and RDTSCP too."""
    model = cpu_model.parse("qemu64,+fsgsbase,+rdtscp")
    processor = LongProcessor(library, lambda library, memory: Vcpu(library, memory, model))
    processor.cpu["cr4"] |= CR4_FSGSBASE
    processor.catch_exceptions()
    yield processor
    processor.close()
