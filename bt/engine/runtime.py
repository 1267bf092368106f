"""All runtime functions, collected from the layers that define them, as modules ready to compile."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

import bt.x86.system
from bt.codegen.builder import Module, Signature
from bt.engine import blocks
from bt.engine.decode import DECODE, emit_decode
from bt.engine.interp.dispatch import BEFORE_NEXT, RUN_INTERP, emit_before_next, emit_run_interp
from bt.engine.translator import gates
from bt.memory import slow
from bt.memory.access import NativeContext
from bt.memory.slow import Body
from bt.x86 import mode, services

FUNCTIONS_PER_MODULE = 12


def runtime_functions() -> list[tuple[Signature, Body]]:
    """Every runtime function with its body: modules that have some export `RUNTIME`."""
    own: list[tuple[Signature, Body]] = [
        (DECODE, emit_decode),
        (BEFORE_NEXT, emit_before_next),
        (RUN_INTERP, emit_run_interp),
        (services.UPDATE_MODE, mode.emit_update_mode),
        *gates.runtime(),
        *slow.RUNTIME,
        *blocks.RUNTIME,
    ]
    for info in iter_modules(bt.x86.system.__path__):
        module = import_module(f"bt.x86.system.{info.name}")
        own.extend(getattr(module, "RUNTIME", ()))
    return own


def emit_runtime() -> Iterator[str]:
    """The IR of the runtime, several functions a module."""
    functions = runtime_functions()
    for start in range(0, len(functions), FUNCTIONS_PER_MODULE):
        module = Module(f"runtime{start}")
        for signature, body in functions[start : start + FUNCTIONS_PER_MODULE]:
            b = NativeContext(module, signature, "#1")
            body(b)
            b.finish()
        yield module.text()
