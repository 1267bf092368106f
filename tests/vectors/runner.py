"""Runs vectors in an engine, one after another on the same processor.

A run is a copy of registers prepared beforehand, a few bytes of memory, and a comparison of the same: what a vector
touched is cleared after it, and at the end of a batch all memory must be zero again, so that stray writes are found.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from bt.engine.library.library import Library
from bt.engine.protocol import Exit
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import reset, state
from bt.x86.exits import ExitReason
from bt.x86.flags import ARITHMETIC
from bt.x86.reset import flag_slots, read_eflags
from tests.engines import EngineFactory
from tests.vectors.vectors import DEFINED_IN_REAL_MODE, GENERAL, SEGMENTS, Vector, flag_names

RAM = 0x110000
"""Bytes: what 8086 addresses reach with the A20 line enabled, in whole pages."""
_ZEROS = bytes(RAM)
INSTRUCTIONS = 64
"""A vector that has not reached its HLT after so many does not reach it: a repeated one counts once in 4,096 rounds."""

# Byte offsets within the state's block
_GENERAL = state.offset("gpr") + state.POINTER_BIAS
_GENERAL_END = _GENERAL + 8 * len(GENERAL)
_FLAG_SLOTS = state.offset("flag_result") + state.POINTER_BIAS
# Behind an instruction at FFFF the 286's IP is 0, EIP is 10000 (and the next fetch meets the limit of CS).
IP_MASK = 0xFFFF
_EIP = state.offset("eip") + state.POINTER_BIAS
_SYSTEM_FLAGS = state.offset("eflags_system") + state.POINTER_BIAS
_SEGMENTS = state.segment_offset(0, "base") + state.POINTER_BIAS
_SEGMENTS_END = _SEGMENTS + state.SEGMENT_BYTES * len(SEGMENTS)
_SELECTORS = struct.Struct("<" + "40xQ16x" * len(SEGMENTS))
_READABLE_AND_WRITABLE = (0, 0xFFFF, 0, 0xFFFF)
_LIMIT_AND_ATTRIBUTES = (0xFFFF, reset.ACCESS_DATA)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A vector's registers as they stand in the state's block."""

    vector: Vector
    registers: bytes  # gpr, zero, flag_result, flag_aux, eip
    system_flags: bytes
    segments: bytes
    final_general: bytes
    final_eip: int
    final_selectors: tuple[int, ...]
    final_flags: int
    flags_compared: int


def prepare(vector: Vector) -> Prepared:
    """Compute what can be computed before the run."""
    initial, final = vector.initial, vector.final
    image = initial["flags"] & DEFINED_IN_REAL_MODE
    general = struct.pack("<8Q", *(initial[name] for name in GENERAL))
    rest = struct.pack("<4Q", 0, *flag_slots(image), initial["ip"])
    segments = b"".join(
        struct.pack("<8Q", initial[name] << 4, *_READABLE_AND_WRITABLE, initial[name], *_LIMIT_AND_ATTRIBUTES)
        for name in SEGMENTS
    )
    compared = DEFINED_IN_REAL_MODE & ~vector.undefined_flags
    return Prepared(
        vector,
        general + rest,
        struct.pack("<Q", image & ~ARITHMETIC),
        segments,
        struct.pack("<8Q", *(final[name] for name in GENERAL)),
        final["ip"],
        tuple(final[name] for name in SEGMENTS),
        final["flags"] & compared,
        compared,
    )


class VectorRunner:
    """A processor in real mode with plain memory and nothing else; input ports read ones."""

    def __init__(self, make_engine: EngineFactory, library: Library) -> None:
        self._ram = GuestRam(RAM)
        self._engine = make_engine(library, PhysicalMap(self._ram))
        reset.power_on(self._engine.state)
        self._engine.flush()
        self._memory = self._ram.view
        self._state = self._engine.state.view

    def close(self) -> None:
        self._engine.close()
        self._ram.close()

    def run(self, prepared: Iterable[Prepared]) -> list[str]:
        """Run all of them; what is wrong, a line each."""
        done, findings = [], []
        for one in prepared:
            done.append(one)
            finding = self._run_one(one)
            if finding is not None:
                findings.append(f"{one.vector}: {finding}")
        if findings:
            self._clear_memory()  # what went wrong may have left anything behind
        return findings or self._look_for_strays(done)

    def _look_for_strays(self, done: list[Prepared]) -> list[str]:
        """Who wrote where the vector does not say? Memory is compared once for all; only a find is worth a search."""
        findings: list[str] = []
        if self._ram.read(0, RAM) == _ZEROS:
            return findings
        self._clear_memory()
        for one in done:
            self._run_one(one)
            if self._ram.read(0, RAM) != _ZEROS:
                at = next(address for address, byte in enumerate(self._memory) if byte)
                findings.append(f"{one.vector}: wrote to {at:#x}, where the hardware did not")
                self._clear_memory()
        return findings

    def _clear_memory(self) -> None:
        self._ram.write(0, _ZEROS)
        self._engine.flush()

    def _run_one(self, one: Prepared) -> str | None:
        engine, registers = self._engine, self._state
        for piece in one.vector.pieces:
            self._ram.write(piece.start, piece.before)
        registers[_GENERAL : _GENERAL + len(one.registers)] = one.registers
        registers[_SYSTEM_FLAGS : _SYSTEM_FLAGS + 8] = one.system_flags
        registers[_SEGMENTS:_SEGMENTS_END] = one.segments
        engine.call("update_mode")  # another base of CS
        leave = self._run_to_halt()
        finding = f"left with {leave.reason.name}" if leave.reason is not ExitReason.HLT else self._compare(one)
        for piece in one.vector.pieces:
            # without saying so: what was decoded there is forgotten when the next vector puts its instruction there
            ctypes.memmove(self._ram.address + piece.start, piece.cleared, piece.end - piece.start)
        return finding

    def _run_to_halt(self) -> Exit:
        engine = self._engine
        while (leave := engine.run(INSTRUCTIONS)).reason is ExitReason.IO:
            engine.complete(0xFFFF_FFFF)
        return leave

    def _compare(self, one: Prepared) -> str | None:
        cpu, registers = self._engine.state, self._state
        image = read_eflags(cpu) & one.flags_compared
        same = registers[_GENERAL:_GENERAL_END] == one.final_general and image == one.final_flags
        same = same and _SELECTORS.unpack(registers[_SEGMENTS:_SEGMENTS_END]) == one.final_selectors
        if (not same or cpu["eip"] & IP_MASK != one.final_eip) and (text := self._differences(one, image)) is not None:
            return text
        for piece in one.vector.pieces:
            found = self._memory[piece.start : piece.end]
            if found != piece.after and (text := piece.difference(bytes(found))) is not None:
                return text
        return None

    def _differences(self, one: Prepared, image: int) -> str | None:
        """All registers that are not as recorded, found/recorded."""
        cpu = self._engine.state
        found = {name: cpu["gpr", number] for number, name in enumerate(GENERAL)}
        found |= {name: cpu.segment(number, "selector") for number, name in enumerate(SEGMENTS)}
        found["ip"] = cpu["eip"] & IP_MASK
        expected = one.vector.final
        wrong_registers = [name for name, value in found.items() if value != expected[name]]
        texts = [
            f"{name} {found[name]:x}/{expected[name]:x}" for name in wrong_registers if name not in one.vector.ignored
        ]
        if wrong := image ^ one.final_flags:
            texts.append(f"{flag_names(wrong)} of flags {image:x}/{one.final_flags:x}")
        return ", ".join(texts) or None
