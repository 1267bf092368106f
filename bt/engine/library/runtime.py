"""All runtime functions, collected from the layers that define them, as modules ready to compile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from importlib import import_module
from pkgutil import iter_modules

from bt.codegen.abi import Signature
from bt.codegen.builder import Module
from bt.engine import blocks, breakpoint_code
from bt.engine.boundary import (
    BEFORE_NEXT,
    DELIVER_PENDING,
    emit_before_next,
    emit_deliver_pending,
)
from bt.engine.decode import DECODE, DECODE_LONG, emit_decode, emit_decode_long
from bt.engine.identity import gates as identity_gates
from bt.engine.identity.long import handlers as long_handlers
from bt.engine.interp.dispatch import RUN_INTERP, emit_run_interp
from bt.engine.meaning import packages
from bt.engine.reencode import encode
from bt.engine.translator.gates import gates, slow_accesses, system_instructions
from bt.engine.translator.gates import services as interpreter_services
from bt.memory import copy_pages, slow, wide
from bt.memory.access import Body, NativeContext
from bt.memory.host_mmu import code as host_mmu
from bt.memory.soft_mmu import runtime as soft_mmu
from bt.x86 import services
from bt.x86.mode_update import emit_begin_epoch, emit_switch_level, emit_update_mode


def runtime_functions() -> Iterator[tuple[str, Iterable[tuple[Signature, Body]]]]:
    """Every runtime function with its body, by the module that has it: those of bt/x86 export `RUNTIME`."""
    yield (
        "engine",
        (
            (DECODE, emit_decode),
            (DECODE_LONG, emit_decode_long),
            (BEFORE_NEXT, emit_before_next),
            (DELIVER_PENDING, emit_deliver_pending),
            (RUN_INTERP, emit_run_interp),
            (services.BEGIN_EPOCH, partial(emit_begin_epoch, choose_rights=host_mmu.choose_rights)),
            (services.UPDATE_MODE, partial(emit_update_mode, choose_rights=host_mmu.choose_rights)),
            (
                services.SWITCH_LEVEL,
                partial(emit_switch_level, choose_rights=host_mmu.choose_rights, switch_rights=host_mmu.switch_rights),
            ),
        ),
    )
    yield "memory", (*soft_mmu.RUNTIME, *slow.RUNTIME)
    yield "host_mmu", host_mmu.RUNTIME
    yield "wide", wide.RUNTIME
    yield "copy_pages", copy_pages.RUNTIME
    yield "fp", encode.RUNTIME
    yield "blocks", blocks.RUNTIME
    yield "breakpoints", breakpoint_code.RUNTIME
    parts = (gates, interpreter_services, slow_accesses, system_instructions)
    yield "translator", [function for part in parts for function in part.RUNTIME]
    yield "identity", identity_gates.RUNTIME
    yield "long_units", long_handlers.RUNTIME
    for package in packages():
        for info in iter_modules(import_module(package).__path__):
            functions = getattr(import_module(f"{package}.{info.name}"), "RUNTIME", ())
            if functions:
                yield f"system.{info.name}", functions


def runtime_modules() -> list[Module]:
    """The runtime, ready to compile."""
    modules = []
    for title, functions in runtime_functions():
        module = Module(f"runtime.{title}")
        for signature, body in functions:
            b = NativeContext(module, signature, "#1")
            body(b)
            b.finish()
        modules.append(module)
    return modules
