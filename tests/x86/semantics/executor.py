"""Runs cases on MemoryContext, one compiled function an instruction."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any

import llvmlite.binding as llvm

from bt.codegen.abi import native
from bt.codegen.builder import Module
from bt.codegen.value import PTR
from bt.x86 import context, flags, state
from bt.x86.context import GP, PF, UD
from bt.x86.decode import DecodeError, InstructionTooLong, TruncatedInstruction, decode
from bt.x86.state import CpuState
from tests.cases import layout
from tests.cases.model import ERROR_CODE_VECTORS, Case, ExecutorError, Outcome, State, Trap
from tests.x86.semantics import memory_context
from tests.x86.semantics.memory_context import PAGE_BYTES, PAGES, PF_USER, PRESENT, WRITABLE, MemoryContext

_STEPS = 20000
_FETCH = 15
_FUNCTION = native("instruction", PTR)


class NotIntegerError(ExecutorError):
    """The case uses an instruction of the system level."""


class SemanticsExecutor:
    """An executor of cases (tests/cases/model.py) with the integer semantics alone."""

    def __init__(self, *, directly: bool) -> None:
        """directly: whether string instructions may go past the checks of each element."""
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
        self._directly = directly
        self._memory = ctypes.create_string_buffer(PAGES * PAGE_BYTES)
        self._rights = (ctypes.c_uint8 * PAGES)()
        self._cpu = CpuState()
        self._engines: list[Any] = []
        self._compiled: dict[tuple[bytes, int, int], Callable[[int], int]] = {}
        self._set_flags = self._compile(lambda b: flags.write_arithmetic(b, b.get("memory_value", width=32)))
        self._get_flags = self._compile(lambda b: b.put("memory_value", flags.read_eflags(b)))

    def run_many(self, cases: Iterable[Case]) -> list[Outcome]:
        return [self.run(case) for case in cases]

    def run(self, case: Case) -> Outcome:
        """Run one case. Raises NotIntegerError where it leaves the integer instructions."""
        self._begin(case)
        cpu = self._cpu
        for step in range(_STEPS):
            eip = cpu["eip"]
            if case.steps is not None and step == case.steps:
                return self._outcome()
            if case.is_end(eip) and self._memory.raw[eip] == layout.FILLER:
                return self._outcome()
            function = self._function(eip, case.bits)
            if isinstance(function, Trap):
                return self._outcome(function)
            length, run = function
            match run(cpu.pointer):
                case memory_context.NEXT:
                    cpu["eip"] = (eip + length) & 0xFFFFFFFF
                case context.FAULT:
                    return self._outcome(self._trap())
        raise ExecutorError(f"{case.where}: still running after {_STEPS} instructions")

    def _begin(self, case: Case) -> None:
        ctypes.memset(self._memory, 0, len(self._memory))
        ctypes.memset(self._rights, 0, PAGES)
        for start, image in case.images().items():
            ctypes.memmove(ctypes.addressof(self._memory) + start, image, len(image))
        for region in layout.REGIONS:
            for page in range(region.start // PAGE_BYTES, region.end // PAGE_BYTES):
                self._rights[page] = PRESENT | WRITABLE * region.writable
        cpu = self._cpu
        for number, value in enumerate(case.start.registers):
            cpu["gpr", number] = value
        for segment in range(6):
            for part, value in (("base", 0), ("read_low", 0), ("write_low", 0), ("limit", 0xFFFFFFFF)):
                cpu.set_segment(segment, part, value)
            for part in ("read_high", "write_high"):
                cpu.set_segment(segment, part, state.WHOLE_LIMIT)
            big = segment != state.SS or case.stack_bits == 32
            cpu.set_segment(segment, "attributes", state.ATTR_BIG if big else 0)
        cpu["eip"] = case.start.eip if case.bits == 32 else case.origin
        cpu["eflags_system"] = case.start.eflags & ~(flags.ARITHMETIC | flags.ALWAYS_ONE)
        cpu["memory_value"] = case.start.eflags
        self._set_flags(cpu.pointer)

    def _outcome(self, trap: Trap | None = None) -> Outcome:
        cpu = self._cpu
        self._get_flags(cpu.pointer)
        registers = tuple(cpu["gpr", number] & 0xFFFFFFFF for number in range(8))
        memory = {region.start: self._memory.raw[region.start : region.end] for region in layout.REGIONS}
        return Outcome(State(registers, cpu["eip"], cpu["memory_value"], memory), trap)

    def _trap(self) -> Trap:
        cpu = self._cpu
        vector = cpu["fault_vector"]
        if bool(cpu["fault_has_error"]) is not (vector in ERROR_CODE_VECTORS):
            raise ExecutorError(f"vector {vector} with fault_has_error = {cpu['fault_has_error']}")
        return Trap(
            vector,
            cpu["fault_error"] if cpu["fault_has_error"] else None,
            cpu["cr2"] if vector == PF else None,
        )

    def _function(self, eip: int, bits: int) -> tuple[int, Callable[[int], int]] | Trap:
        code = self._fetch(eip)
        try:
            instruction = decode(code, bits=bits)
        except TruncatedInstruction:
            return Trap(PF, PF_USER, eip + len(code))
        except InstructionTooLong:
            return Trap(GP, 0)
        except DecodeError:
            return Trap(UD)
        key = code[: instruction.length], eip, bits
        if key not in self._compiled:
            self._compiled[key] = self._compile(
                memory_context.emit_instruction,
                memory=ctypes.addressof(self._memory),
                rights=ctypes.addressof(self._rights),
                instruction=instruction,
                address=eip,
                directly=self._directly,
            )
        return instruction.length, self._compiled[key]

    def _fetch(self, eip: int) -> bytes:
        """What can be fetched of the instruction at EIP: up to the next page that is not there."""
        count = 0
        while count < _FETCH and (eip + count) // PAGE_BYTES < PAGES and self._rights[(eip + count) // PAGE_BYTES]:
            count += 1
        return self._memory.raw[eip : eip + count]

    def _compile(self, body: Callable[[MemoryContext], object], **facts: Any) -> Callable[[int], int]:
        module = Module("case")
        b = MemoryContext(module, _FUNCTION, "#1", **facts)
        try:
            body(b)
        except LookupError as error:
            raise NotIntegerError(str(error)) from None
        b.finish()
        parsed = llvm.parse_assembly(module.text())
        parsed.verify()
        machine = llvm.Target.from_default_triple().create_target_machine(opt=2)
        with llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2)) as builder:
            builder.getModulePassManager().run(parsed, builder)
        engine = llvm.create_mcjit_compiler(parsed, machine)
        engine.finalize_object()
        self._engines.append(engine)
        return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(engine.get_function_address(_FUNCTION.name))
