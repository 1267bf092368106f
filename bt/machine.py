"""The machine: a PC made of an engine, memory, buses and devices. Read this file first.

with Machine(MachineConfig(memory=64 << 20, engine="bt"), serial=print_bytes) as machine:
    machine.load("kernel.elf", append="n=1000")
    result = machine.run(max_insns=10**9)
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType, TracebackType
from typing import Literal, get_args

from bt import arguments
from bt.boot.boot_sector import Stop, why_stopped
from bt.boot.detect import load as load_image
from bt.boot.information import Module
from bt.boot.placement import check_address_lines, check_ram_size
from bt.boot.state import EntryState
from bt.clock.host_clock import HostClock
from bt.clock.virtual_clock import VirtualClock
from bt.devices.chipset import (
    cmos_rtc,
    fpu_error,
)
from bt.devices.chipset.cmos_rtc import CmosRtc
from bt.devices.chipset.fpu_error import FpuError
from bt.devices.chipset.pic8259 import Pic8259Pair
from bt.devices.chipset.pit8254 import Pit8254
from bt.devices.chipset.port61 import Port61
from bt.devices.chipset.port92 import Port92
from bt.devices.debug import (
    debug_console,
    post_port,
)
from bt.devices.debug.debug_console import DebugConsole
from bt.devices.debug.debug_exit import DebugExit
from bt.devices.debug.post_port import PostPort
from bt.devices.device import Line
from bt.devices.input.i8042 import I8042
from bt.devices.serial.uart16550 import Uart16550
from bt.end import End
from bt.engine.library.library import Library
from bt.engine.library.shared import shared_library
from bt.engine.protocol import Exit
from bt.engine.vcpu import Vcpu
from bt.errors import Closed
from bt.memory.bus import DEVICE_WINDOW_ACCESS_NS, PORT_ACCESS_NS, Bus
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.snapshot import Parts, Snapshot
from bt.x86 import cpu_model, fault_chain, reset
from bt.x86.cpu_model import CpuModel
from bt.x86.exits import ExitReason
from bt.x86.fault_chain import Failure
from bt.x86.state import CS, EAX, ESP, SS

EngineName = Literal["interp", "bt"]
ClockMode = Literal["icount", "host"]
SLICE_INSNS = 5_000_000  # the guest is left this often to look at Ctrl-C and the time limit
IDLE_SECONDS = 0.1  # a halted guest sleeps no longer at a time
EXIT_PORTS = (0xF4, 0x501)


@dataclass(frozen=True)
class MachineConfig:
    """What a machine is made of; BadUsage, which says what there is, for what it cannot have.

    `memory` in bytes, 2 MiB to 63.5 GiB in whole pages, above 3.5 only with a
    processor that has more than 32 address lines; `engine`: "bt" translates, "interp" interprets; `clock`: "icount"
    is deterministic, "host" follows the host; `cpu` as QEMU spells it; `rtc_base`: what the RTC shows at power-on, with
    a time zone.
    """

    memory: int = 128 << 20
    engine: EngineName = "bt"
    clock: ClockMode = "icount"
    cpu: str = cpu_model.DEFAULT
    rtc_base: datetime = cmos_rtc.DEFAULT_BASE

    def __post_init__(self) -> None:
        arguments.whole_number("memory", self.memory, "a whole number of bytes is wanted, such as 64 << 20")
        check_ram_size(self.memory, f"memory={self.memory}")
        arguments.one_of("engine", self.engine, get_args(EngineName))
        arguments.one_of("clock", self.clock, get_args(ClockMode))
        arguments.instance("cpu", self.cpu, str, f"the name of a processor is wanted, such as {cpu_model.DEFAULT!r}")
        model = cpu_model.parse(self.cpu)
        check_address_lines(self.memory, model.address_bits, f"memory={self.memory}: a {model.name}")
        with_zone = isinstance(self.rtc_base, datetime) and self.rtc_base.tzinfo is not None
        arguments.require(with_zone, "rtc_base", self.rtc_base, "a datetime with a time zone is wanted")


@dataclass(frozen=True)
class Result:
    """How a run ended, and what it took.

    The keys of `exits` (why the guest was left, how often) and `statistics` (what the engine counted) are listed in
    docs/results.md. `callouts`: how often translated code had the interpreter do an instruction, by mnemonic.
    """

    reason: End  # its `sentence` says more
    status: int  # exit status for the shell: the end's, or the guest's own (End.EXIT)
    instructions: int
    seconds: float  # host wall time in `run`
    cpu_seconds: float = 0.0  # host processor time in `run`, all threads of the process
    exits: dict[str, int] = field(default_factory=dict)
    statistics: dict[str, int] = field(default_factory=dict)
    callouts: dict[str, int] = field(default_factory=dict)
    detail: str = ""  # what BIOS service was called, which interrupt had no handler
    fault_chain: tuple[Failure, ...] = ()  # of a triple fault; bt/inspect/fault_report.py puts it into words


class Machine:
    """A PC: one vCPU, RAM, the devices of an AT. Several machines can live in one process.

    `with` closes it at the end. Errors of the API are BtError (bt/errors.py): BadUsage for arguments and moments that
    are wrong, BadImage for guests, Closed after `close`. While it runs, other threads may only `stop` it, `post`, and
    read its memory; devices and what was posted may also write memory (`ram.write`) and CPU state.

    What `ram.write` stores is what the guest executes from its next instruction on. After CPU state was written,
    call `cpu.flush` where CpuState (bt/x86/state.py) says so.
    """

    def __init__(
        self,
        config: MachineConfig | None = None,
        *,
        serial: Callable[[int], None] | None = None,
        console: Callable[[int], None] | None = None,
        library: Library | None = None,
    ) -> None:
        """`serial` gets each byte COM1 sends, `console` each byte written to port 0xE9.

        Machines without `library` share the process's, which stays when they are closed (engine/library/shared.py).
        Raises BadUsage and CodegenError, and has then nothing.
        """
        self.config = MachineConfig() if config is None else config
        _check_parts(self.config, serial, console, library)
        with ExitStack() as held:
            self.ram = held.enter_context(GuestRam(self.config.memory))
            self.memory = PhysicalMap(self.ram)
            held.callback(self.memory.close)
            self.library = shared_library() if library is None else library
            self.cpu = _make_engine(self.config.engine, self.library, self.memory, cpu_model.parse(self.config.cpu))
            held.callback(self.cpu.close)
            self._start(serial or _discard, console or _discard)
            self._held = held.pop_all()  # what `close` gives back

    def _start(self, serial: Callable[[int], None], console: Callable[[int], None]) -> None:
        self.clock = _make_clock(self.config.clock, self.cpu, self._sleep)
        self._exit_counts = [0] * len(ExitReason)
        self.input_open = False  # somebody may still `post`: a guest that waits with no event due has not ended
        self._posted: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._deadline: float | None = None
        self._end: End | None = None
        self._guest_status = 0
        self._stop_requested = False
        self._wire(serial, console)
        self._servers = [self._server(reason) for reason in ExitReason]  # by number: 16 ns instead of 400 by name

    def _wire(self, serial: Callable[[int], None], console: Callable[[int], None]) -> None:
        """Put the devices where a PC has them."""
        self.ports = Bus("ports", 16, PORT_ACCESS_NS, self.cpu.port_values, self.cpu.port_access)
        self.mmio = Bus("memory", 36, DEVICE_WINDOW_ACCESS_NS)
        intr = Line("INTR")
        intr.watch(self._intr_changed)
        self.pic = Pic8259Pair(intr)
        self.pit = Pit8254(self.clock, self.pic.line(0))
        self.com1 = Uart16550(self.pic.line(4), serial, "COM1")
        self.rtc = CmosRtc(self.clock, self.pic.line(8), self.config.memory, self.config.rtc_base)
        self.fpu_error = FpuError(self.pic.line(13), self._ignore_fp_error)
        keyboard = I8042(self.pic.line(1), self.pic.line(12), self.cpu.mmu.set_a20, self._reset_requested)
        port61 = Port61(self.clock, self.pit.gate2, lambda: self.pit.out(2))
        attach = self.ports.attach
        attach(self.pic, 0x20, 2)
        attach(self.pic, 0xA0, 2, offset=2)
        attach(self.pic, 0x4D0, 2, offset=4)
        attach(self.pit, 0x40, 4)
        attach(keyboard, 0x60, 1)
        attach(port61, 0x61, 1)
        attach(keyboard, 0x64, 1, offset=4)
        attach(self.rtc, 0x70, 2)
        attach(PostPort(), 0x80, post_port.LENGTH)
        attach(self.fpu_error, fpu_error.FIRST_PORT, fpu_error.LENGTH)
        attach(Port92(self.cpu.mmu.set_a20, self._reset_requested), 0x92, 1)
        attach(DebugConsole(console), debug_console.DEFAULT_PORT, 1)
        attach(self.com1, 0x3F8, 8)
        for port in EXIT_PORTS:
            attach(DebugExit(self._guest_exit, f"debug exit {port:#x}"), port, 4)

    # -- what devices do to the machine -----------------------------------------------------------------------------

    def _intr_changed(self, level: bool) -> None:
        self.cpu.state["intr_pending"] = int(level)

    def _ignore_fp_error(self) -> None:
        self.cpu.state["ignore_fp_error"] = 1

    def _reset_requested(self) -> None:
        self._end = End.RESET

    def _guest_exit(self, status: int) -> None:
        self._end, self._guest_status = End.EXIT, status & 0xFF

    # -- loading and running ------------------------------------------------------------------------------------------

    def load(
        self,
        image: str | os.PathLike[str] | bytes,
        *,
        append: str = "",
        initrd: str | os.PathLike[str] | bytes | None = None,
        modules: tuple[Module, ...] = (),
        flat: int | None = None,
        boot_sector: bool = False,
        name: str | None = None,
    ) -> EntryState:
        """Put a guest into memory and the CPU at its entry (arguments: bt/boot/detect.py).

        Raises BadImage or BadUsage, nothing changed; BadUsage too while it runs.
        """
        with self._at_rest():
            entry = load_image(
                image,
                self.ram,
                append=append,
                initrd=initrd,
                modules=modules,
                flat=flat,
                boot_sector=boot_sector,
                name=name,
            )
            for port, value in entry.port_writes:
                self.ports.write(port, 1, value)
            reset.enter(self.cpu.state, entry)
            self.cpu.flush()
            return entry

    def snapshot(self) -> Snapshot:
        """The machine as it is now, between two runs: BadUsage in one. What was posted is not in it."""
        with self._at_rest():
            return Snapshot.take(Parts(self.cpu, self.clock, (self.ports, self.mmio), self._exit_counts))

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from `snapshot`, of any machine with the same memory, CPU model, clock and devices, or BadUsage."""
        arguments.instance("snapshot", snapshot, Snapshot, "what Machine.snapshot returned is wanted")
        with self._at_rest():
            snapshot.put_back(Parts(self.cpu, self.clock, (self.ports, self.mmio), self._exit_counts))

    def stop(self) -> None:
        """End the run under way, or else the next one at once. Safe from signal handlers and from other threads."""
        self._stop_requested = True  # and no more: a signal handler must not take the lock in `_wake`

    def post(self, action: Callable[[], None]) -> None:
        """Have the running machine do `action` between two instructions, or the next run; safe from other threads.

        What it raises, `run` raises.
        """
        arguments.require(callable(action), "action", action, "a function is wanted")
        self._require_open()
        self._posted.append(action)
        self._wake.set()

    def run(self, *, max_insns: int | None = None, timeout: float | None = None) -> Result:
        """Run until the guest ends the run or a limit is reached: `max_insns` instructions, `timeout` seconds.

        Raises what a device or a posted action raises, and BadUsage while it runs already; it can run again after both.
        """
        if max_insns is not None:
            arguments.whole_number(
                "max_insns", max_insns, "a whole number of instructions, 0 or more, is wanted", least=0
            )
        if timeout is not None:
            good = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout >= 0
            arguments.require(good, "timeout", timeout, "a number of seconds, 0 or more, is wanted")
        with self.ram.sole_use.for_run():
            self._require_open()
            return self._run_and_report(max_insns, timeout)

    def _run_and_report(self, max_insns: int | None, timeout: float | None) -> Result:
        start, cpu_start = time.monotonic(), time.process_time()
        self._deadline = None if timeout is None else start + timeout
        limit = None if max_insns is None else self.clock.insns + max_insns
        try:
            with self._interruptible():
                end = self._run(limit)
        finally:
            self._stop_requested = False  # it was for this run, however that ended
        return Result(
            end,
            end.exit_status(self._guest_status),
            self.cpu.instructions,
            time.monotonic() - start,
            time.process_time() - cpu_start,
            self.exits,
            self.cpu.statistics(),
            dict(self.cpu.callouts().most_common()),
            detail=stop.detail if (stop := self._stop_for_want_of_firmware()) is not None else "",
            fault_chain=fault_chain.read(self.cpu.state) if end is End.TRIPLE_FAULT else (),
        )

    def _run(self, limit: int | None) -> End:
        self._end = None
        cpu, clock = self.cpu, self.clock
        counts, servers = self._exit_counts, self._servers
        left = SLICE_INSNS
        while not self._ended():
            if limit is not None:
                left = limit - clock.insns
                if left > SLICE_INSNS:
                    left = SLICE_INSNS
                elif left <= 0:
                    return End.MAX_INSNS
            leave = cpu.run(*clock.grant(left))
            code = leave.code
            clock.advance(leave.instructions, leave.beside_ns)
            counts[code] += 1
            servers[code](leave)
            clock.run_due()
            if self._posted:
                self._do_posted()
        assert self._end is not None
        return self._end

    def _ended(self) -> bool:
        """Look at the reasons to stop that do not come from the guest's instructions."""
        if self._end is None:
            if self._stop_requested:
                self._end = End.INTERRUPTED
            elif self._deadline is not None and time.monotonic() >= self._deadline:
                self._end = End.TIMEOUT
        return self._end is not None

    def _do_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()

    def _server(self, reason: ExitReason) -> Callable[[Exit], None]:
        """What is done when the guest has left for `reason`."""
        match reason:
            case ExitReason.IO:
                return self._access(self.ports)
            case ExitReason.MMIO:
                return self._access(self.mmio)
            case ExitReason.HLT:
                return self._halt
            case ExitReason.FP_ERROR:
                return self._wait_for_fp_error
            case ExitReason.INTERRUPT_WINDOW:
                return self._interrupt
            case ExitReason.SHUTDOWN:
                return self._shut_down
            case ExitReason.BUDGET:
                return self._go_on
            case _:
                return self._left_astray

    def _access(self, bus: Bus) -> Callable[[Exit], None]:
        read, write, complete, spend = bus.read, bus.write, self.cpu.complete, self.clock.spend
        access_ns = bus.access_ns

        def serve(leave: Exit) -> None:
            _, _, _, address, size, is_write, value, _ = leave
            if is_write:
                write(address, size, value)
            else:
                value = read(address, size)
            complete(value)
            spend(access_ns)

        return serve

    def _wait_for_fp_error(self, leave: Exit) -> None:
        self.fpu_error.raise_error()
        self._halt(leave)

    def _interrupt(self, _: Exit) -> None:
        self.cpu.interrupt(self.pic.acknowledge())

    def _shut_down(self, _: Exit) -> None:
        self._end = End.TRIPLE_FAULT

    def _go_on(self, _: Exit) -> None:
        """The budget is used up."""

    def _left_astray(self, leave: Exit) -> None:
        raise AssertionError(f"engine left with {leave}")

    @property
    def exits(self) -> dict[str, int]:
        """How often the engine has left, by the names of `ExitReason`."""
        return {reason.name.lower(): count for reason in ExitReason if (count := self._exit_counts[reason])}

    def _halt(self, _: Exit) -> None:
        """Let virtual time pass until an interrupt is due; a guest that none can reach has ended."""
        while not self.cpu.state["nmi_pending"] and not self._ended():
            if not self.cpu.interrupts_enabled:
                stop = self._stop_for_want_of_firmware()
                self._end = End.HALTED if stop is None else stop.end
                return
            if self.cpu.state["intr_pending"]:
                return
            if not self.clock.skip_to_next_event():
                if not self.input_open:
                    self._end = End.HALTED
                    return
                self._sleep(IDLE_SECONDS)
            self.clock.run_due()
            self._do_posted()

    def _stop_for_want_of_firmware(self) -> Stop | None:
        """What the guest has asked of the BIOS that we have not, if it has halted there."""
        cpu = self.cpu.state
        stack = cpu.segment(SS, "base") + (cpu["gpr", ESP] & 0xFFFF)
        return why_stopped(cpu.segment(CS, "selector"), cpu["eip"], stack, cpu["gpr", EAX] & 0xFFFF, self.ram)

    def _sleep(self, seconds: float) -> None:
        """Let host time pass, but not past a `post`, and not for long: `stop` and time limit want to be noticed."""
        if self._wake.wait(min(seconds, IDLE_SECONDS)):
            self._wake.clear()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turn Ctrl-C into `stop`, so that the guest is left between two instructions."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_interrupt(number: int, frame: FrameType | None) -> None:
            self.stop()

        previous = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def close(self) -> None:
        """Give back descriptors, mappings and its room in the library at once; twice is fine. BadUsage while it runs.

        After it `stop` does nothing, and all else that needs the machine raises Closed.
        """
        with self.ram.sole_use.at_rest():
            self._held.close()

    def __enter__(self) -> Machine:
        self._require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        with self.ram.sole_use.at_rest():
            self._require_open()
            yield

    def _require_open(self) -> None:
        if self.cpu.closed:
            raise Closed("this machine is closed: make a new one")


def _check_parts(config: object, serial: object, console: object, library: object) -> None:
    arguments.instance("config", config, MachineConfig, "a MachineConfig is wanted")
    for name, sink in (("serial", serial), ("console", console)):
        arguments.require(sink is None or callable(sink), name, sink, "a function that takes a byte is wanted")
    arguments.instance("library", library, (Library, type(None)), "a Library is wanted")


def _make_engine(name: EngineName, library: Library, memory: PhysicalMap, model: CpuModel) -> Vcpu:
    if name == "interp":
        return Vcpu(library, memory, model)
    from bt.engine.translator.vcpu import TranslatingVcpu

    return TranslatingVcpu(library, memory, model)


def _make_clock(mode: ClockMode, cpu: Vcpu, sleep: Callable[[float], None]) -> VirtualClock:
    return HostClock(cpu.host_cycles, host_sleep=sleep) if mode == "host" else VirtualClock()


def _discard(byte: int) -> None:
    """Where the bytes of an unconnected port go."""
