"""The host CPU as an oracle: it runs a case's bytes natively, as user code in a child process, one for 64-bit code.

What it cannot judge: any CPL but 3, IF and IOPL, segments other than flat ones, CPUID and the time-stamp counter,
system calls (INT 80h, SYSENTER and SYSCALL end the child), addresses the child itself needs (`CHILD_BASE`), and what a
processor leaves undefined: it does there whatever this one CPU does.
`steps=` counts every iteration of a repeated string instruction, because TF traps after each.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import platform
import re
import select
import signal
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bt.x86 import cpu_model
from tests.cases import layout
from tests.cases.model import (
    EFLAGS_FIXED,
    ERROR_CODE_VECTORS,
    FLAG_BITS,
    VISIBLE_FLAGS,
    Case,
    ExecutorError,
    Outcome,
    State,
    Trap,
    with_every_instruction,
)
from tests.oracles import host_child, host_child_long

TIMEOUT_SECONDS = 90.0  # locks across cache lines are throttled on some hosts, by seconds each, more when busy
"""For one batch of up to `host_child.SLOTS` cases, which normally takes less than a millisecond. Kernels punish locked
accesses across two cache lines, and hosts are busy."""

_TRAP_DEBUG, _TRAP_PROTECTION, _TRAP_PAGE = 1, 13, 14
_FETCH = 1 << 4
"""Page-fault error code bit that only processors with no-execute pages in use set; a 32-bit guest has none."""


_JUDGES = ("AuthenticAMD", "HygonGenuine")
"""Vendors whose processors leave undefined flags as bt does."""


def _missing_features() -> list[str]:
    """What the host lacks of the features that bring instructions beyond the default processor's."""
    wanted = cpu_model.parse(with_every_instruction()).features - cpu_model.parse().features
    line = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(encoding="ascii"), re.MULTILINE)
    flags = line[1].split() if line else []
    return sorted(name for name in wanted if name.replace(".", "_") not in flags)


class HostCpu:
    """Executor on the processor this test runs on.  A context manager; starts its child when first used.

    About 30,000 cases a second through `run_many` on an idle machine; `run` pays a round trip through pipes each time.
    """

    def __init__(self) -> None:
        self._plain, self._long = _Child(_PLAIN), _Child(_LONG)

    @staticmethod
    def unavailable() -> str | None:
        """Why this host cannot be an oracle, or None if it can."""
        if platform.system() != "Linux" or platform.machine() not in ("x86_64", "i686"):
            return f"the host is {platform.system()} on {platform.machine()}, not Linux on x86"
        if missing := _missing_features():
            return f"the host's processor lacks {', '.join(missing)}"
        try:
            with HostCpu() as cpu:
                cpu.run(Case(b"\x90"))
        except (OSError, ExecutorError) as error:
            return f"the kernel does not run our 32-bit program: {error}"
        return None

    @staticmethod
    @cache
    def unlike() -> str | None:
        """Why this host is no judge of programs that see what a processor leaves undefined; None if it is one."""
        vendor = re.search(r"^vendor_id\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(encoding="ascii"), re.MULTILINE)
        if vendor is not None and vendor[1] in _JUDGES:
            return None
        return f"bt has the undefined results of AMD's processors; this one is {vendor[1] if vendor else 'unknown'}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the children and give back the shared memory; the next run starts afresh."""
        self._plain.close()
        self._long.close()

    def run(self, case: Case) -> Outcome:
        """Run one case; ExecutorError if it does not end, or takes the child with it."""
        return (self._long if case.bits == 64 else self._plain).batch([case])[0]

    def run_many(self, cases: Iterable[Case]) -> list[Outcome]:
        """Run cases in batches; ExecutorError names the first that does not end or kills the child."""
        outcomes: list[Outcome] = []
        for long, alike in itertools.groupby(cases, lambda case: case.bits == 64):
            child = self._long if long else self._plain
            while batch := list(itertools.islice(alike, host_child.SLOTS)):
                try:
                    outcomes += child.batch(batch)
                except ExecutorError:
                    outcomes += map(self.run, batch)
        return outcomes


class _Program(NamedTuple):
    """A program that runs cases: its file, and the layout of its shared memory."""

    program: Callable[[], bytes]
    shared_bytes: int
    slot_bytes: int
    memory_offset: int
    launch_block: Callable[[Case], bytes]
    outcome: Callable[[Case, mmap.mmap, int, dict[int, bytes]], Outcome]


class _Child:
    """A process of one of these programs; started when first used."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._child: subprocess.Popen[bytes] | None = None
        self._memory: mmap.mmap | None = None

    def close(self) -> None:
        """End it."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
        if self._memory is not None:
            self._memory.close()
        self._child = self._memory = None

    def _start(self) -> tuple[subprocess.Popen[bytes], mmap.mmap]:
        if self._child is None or self._memory is None:
            with _memory_file("case-child") as program, _memory_file("case-memory") as shared:
                os.write(program, self._program.program())
                os.ftruncate(shared, self._program.shared_bytes)
                self._memory = mmap.mmap(shared, self._program.shared_bytes)
                self._child = subprocess.Popen(
                    [f"/proc/self/fd/{program}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=shared,
                    pass_fds=[program],
                    bufsize=0,
                )
        return self._child, self._memory

    def batch(self, cases: list[Case]) -> list[Outcome]:
        """Run up to host_child.SLOTS cases."""
        child, memory = self._start()
        before: list[dict[int, bytes]] = []
        slots = range(host_child.MEMORY_BYTES, self._program.shared_bytes, self._program.slot_bytes)
        for slot, case in zip(slots, cases, strict=False):
            launch = self._program.launch_block(case)
            memory[slot : slot + len(launch)] = launch
            start = slot + self._program.memory_offset
            images = case.images()
            memory[start : start + host_child.MEMORY_BYTES] = b"".join(images.values())
            before.append(images)
        failure = self._ring(child, len(cases))
        if failure:
            self.close()
            raise ExecutorError(f"{cases[0].where or 'case'}: {cases[0]}: {failure} on the host CPU")
        return [
            self._program.outcome(case, memory, slot, images)
            for slot, case, images in zip(slots, cases, before, strict=False)
        ]

    def _ring(self, child: subprocess.Popen[bytes], count: int) -> str | None:
        """Have the child run `count` slots; what went wrong, or None."""
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(struct.pack("<I", count))
        ready, _, _ = select.select([child.stdout], [], [], TIMEOUT_SECONDS)
        if not ready:
            return f"does not end within {TIMEOUT_SECONDS:g} s"
        if len(child.stdout.read(4)) == 4:
            return None
        status = child.wait()
        return f"ends the child: {signal.Signals(-status).name if status < 0 else f'exit {status}'}"


@contextlib.contextmanager
def _memory_file(name: str) -> Iterator[int]:
    descriptor = os.memfd_create(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _launch_block(case: Case) -> bytes:
    eax, ecx, edx, ebx, esp, ebp, esi, edi = case.start.registers
    single_step = case.steps is not None or bool(case.start.eflags & FLAG_BITS["tf"])
    return host_child.LAUNCH.pack(
        case.start.eflags | (FLAG_BITS["tf"] if single_step else 0),
        *(edi, esi, ebp, 0, ebx, edx, ecx, eax),
        *(esp, layout.DATA_SELECTOR if case.stack_bits == 32 else host_child.STACK_16_SELECTOR),
        *(case.start.eip, layout.CODE_SELECTOR if case.bits == 32 else host_child.CODE_16_SELECTOR),
        # the first trap comes on arrival, before anything has run
        case.steps or int(single_step),
    )


def _outcome(case: Case, memory: mmap.mmap, slot: int, before: dict[int, bytes]) -> Outcome:
    context = slot + host_child.CONTEXT_OFFSET
    words = host_child.CONTEXT.unpack(memory[context : context + host_child.CONTEXT.size])
    edi, esi, ebp, esp, ebx, edx, ecx, eax, vector, error_code, eip, _cs, eflags, *_, cr2 = words[4:]
    after = _memory_after(memory, slot + host_child.MEMORY_OFFSET, before)
    return _ended(case, (eax, ecx, edx, ebx, esp, ebp, esi, edi), eip, eflags, after, (vector, error_code, cr2))


def _ended(
    case: Case,
    registers: tuple[int, ...],
    eip: int,
    eflags: int,
    memory: dict[int, bytes],
    exception: tuple[int, int, int],
) -> Outcome:
    """The outcome, of an exception's vector, error code and CR2."""
    if host_child.CHILD_BASE <= eip < host_child_long.CHILD_END:
        raise ExecutorError(
            f"{case.where or 'case'}: {case}: stops in the oracle's own memory at {eip:08x}: jumps there or the kernel "
            f"has no segments for bits={case.bits} stack={case.stack_bits}"
        )
    vector, error_code, cr2 = exception
    if vector == _TRAP_PAGE:
        error_code &= ~_FETCH
    trap: Trap | None = Trap(
        vector, error_code if vector in ERROR_CODE_VECTORS else None, cr2 if vector == _TRAP_PAGE else None
    )
    if case.steps:
        eflags = eflags & ~FLAG_BITS["tf"] | case.start.eflags & FLAG_BITS["tf"]
    state = State(registers, eip, eflags & VISIBLE_FLAGS | EFLAGS_FIXED, memory)
    ended = vector == _TRAP_PROTECTION and case.is_end(eip) and state.byte(eip) == layout.FILLER
    if ended or (vector == _TRAP_DEBUG and case.steps):
        trap = None
    return Outcome(state, trap)


def _long_launch_block(case: Case) -> bytes:
    single_step = case.steps is not None or bool(case.start.eflags & FLAG_BITS["tf"])
    return host_child_long.LAUNCH.pack(
        case.start.eflags | (FLAG_BITS["tf"] if single_step else 0),
        *case.start.registers,
        case.start.eip,
        case.steps or int(single_step),
    )


def _long_outcome(case: Case, memory: mmap.mmap, slot: int, before: dict[int, bytes]) -> Outcome:
    context = slot + host_child_long.CONTEXT_OFFSET
    words = host_child_long.CONTEXT.unpack(memory[context : context + host_child_long.CONTEXT.size])
    upper, (rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp) = words[:8], words[8:16]
    rip, rflags, _cs, _gs, _fs, _ss, error_code, vector, _mask, cr2 = words[16:]
    after = _memory_after(memory, slot + host_child_long.MEMORY_OFFSET, before)
    registers = (rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, *upper)
    if cr2 >= host_child_long.USER_END:
        error_code &= ~1  # Linux does not tell programs what is in its half
    return _ended(case, registers, rip, rflags, after, (vector, error_code, cr2))


def _memory_after(memory: mmap.mmap, offset: int, before: dict[int, bytes]) -> dict[int, bytes]:
    """The regions' contents; unchanged ones share their bytes with `before`, which saves most of the time."""
    everything = memory[offset : offset + host_child.MEMORY_BYTES]
    images = {}
    position = 0
    for start, old in before.items():
        if everything.startswith(old, position):
            images[start] = old
        else:
            images[start] = everything[position : position + len(old)]
        position += len(old)
    return images


_PLAIN = _Program(
    host_child.program,
    host_child.SHARED_BYTES,
    host_child.SLOT_BYTES,
    host_child.MEMORY_OFFSET,
    _launch_block,
    _outcome,
)
_LONG = _Program(
    host_child_long.program,
    host_child_long.SHARED_BYTES,
    host_child_long.SLOT_BYTES,
    host_child_long.MEMORY_OFFSET,
    _long_launch_block,
    _long_outcome,
)
