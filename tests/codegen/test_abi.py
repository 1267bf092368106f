"""The calling convention is LLVM's private matter: see whether it is still what bt/codegen/abi.py says."""

from __future__ import annotations

import pytest

from bt.codegen.abi import ARGUMENT_REGISTERS
from bt.codegen.errors import CodegenError
from bt.engine.library import abi_check


def test_arguments_arrive_in_the_registers_we_pin() -> None:
    assert abi_check.argument_registers() == ARGUMENT_REGISTERS


def test_another_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abi_check, "ARGUMENT_REGISTERS", ARGUMENT_REGISTERS[::-1])
    with pytest.raises(CodegenError, match="install the llvmlite version"):
        abi_check.check_abi()
