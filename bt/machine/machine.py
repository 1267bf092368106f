"""The Python API: make a machine, load a guest, run it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import partial
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, TypeVar, Unpack

from bt import arguments
from bt.api.received import Received
from bt.boot.detect import load as load_image
from bt.boot.loaders.information import Module
from bt.boot.state import EntryState
from bt.clock.pace import Pace
from bt.clock.virtual_clock import NEVER_NS, VirtualClock
from bt.devices.native import NATIVE_DEVICES
from bt.devices.pci.piix4_pm import PmRegisters
from bt.end import End
from bt.engine.library.library import Library
from bt.engine.library.shared import shared_library
from bt.engine.protocol import Engine
from bt.engine.vcpu import Vcpu, own_vcpu
from bt.errors import BadImage, BtError, Closed
from bt.machine.board import Board, Outside
from bt.machine.config import ClockMode, EngineName, MachineConfig, Options, TierName, configured
from bt.machine.in_hand import InHand
from bt.machine.loop import Loop, Mailbox
from bt.machine.media import Media
from bt.machine.parts import parts
from bt.machine.restarts import Restarts
from bt.machine.result import Result
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import cpu_model, features, reset
from bt.x86.cpu_model import CpuModel

if TYPE_CHECKING:
    from bt.api.stops import Limit, Until
    from bt.machine.accounts import Accounts
    from bt.machine.conditions import Conditions
    from bt.machine.snapshot import Parts, Snapshot
    from bt.x86.fault_chain import Failure

_T = TypeVar("_T")


class Machine(InHand):
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
        serial2: Callable[[int], None] | None = None,
        console: Callable[[int], None] | None = None,
        firmware_log: Callable[[int], None] | None = None,
        library: Library | None = None,
        notice: Callable[[str], None] | None = None,
        **options: Unpack[Options],
    ) -> None:
        """`options` are the fields of MachineConfig (bt/machine/config.py), in place of those of `config`:
        Machine(memory="64M", cpu="pentium3", drives=[Drive("root.img")]).

        `serial` gets each byte COM1 sends, `serial2` COM2, `console` each byte written to port 0xE9, `firmware_log`
        to port 0x402: a line when complete, other bytes when the guest is left for some reason, some milliseconds later
        at most.

        `notice` gets a line for the user when the host cannot read or write a disk, or a crash kernel takes over in
        the guest; stderr does otherwise.

        Machines without `library` share the process's, which stays when they are closed (engine/library/shared.py).
        Raises BadUsage and CodegenError, and has then nothing.
        """
        arguments.instance("config", config, (MachineConfig, type(None)), "a MachineConfig is wanted")
        self.config = configured(config, options)
        sinks = {"serial": serial, "serial2": serial2, "console": console, "firmware_log": firmware_log}
        _check_parts(sinks, library)
        with ExitStack() as held:
            self.ram = held.enter_context(GuestRam(self.config.memory))
            self.memory = PhysicalMap(self.ram)
            held.enter_context(closing(self.memory))
            self.library = shared_library() if library is None else library
            model = cpu_model.parse(self.config.cpu)
            self.cpu: Engine = make_engine(self.config.engine, self.library, self.memory, model, self.config.tier)
            held.enter_context(closing(self.cpu))
            media = Media(self.config.drives, notice or _warn)
            held.enter_context(closing(media))
            self._received = Received(serial)
            self._start(sinks, notice or _warn, media, held)
            held.enter_context(closing(self.cpu))  # first: it uses what the board has
            self._held = held.pop_all()  # what `close` gives back

    def _start(
        self,
        sinks: Mapping[str, Callable[[int], None] | None],
        notice: Callable[[str], None],
        media: Media,
        held: ExitStack,
    ) -> None:
        self._load_again: Callable[[], EntryState] | None = None  # what the firmware does not load
        self._has_firmware = False
        self._accounts: Accounts | None = None
        self._host_cycles, self._host_seconds = 0, 0.0  # in `run`
        self._restarts = Restarts(self.config.no_reboot, after_triple_fault=self.config.triple_fault == "reset")
        self._mailbox = Mailbox()
        self.clock = _make_clock(self.config.clock, self.cpu, self._mailbox.sleep)
        self._loop = Loop(self.cpu, self.ram, self.clock, self._mailbox)
        self.cpu.native_registers.symbols = self.library.part(NATIVE_DEVICES)
        outside = Outside(
            (self._received.receive, sinks["serial2"] or _discard),
            sinks["console"] or _discard,
            sinks["firmware_log"] or _discard,
            self._restarts.heard,
            self._loop.request_reset,
            self._loop.guest_exit,
            self._loop.power_off,
            self._loop.guest_panicked,
            partial(notice, "the guest's kernel panicked, and its crash kernel takes over"),
            is_com2_heard=sinks["serial2"] is not None,
            want=self._loop.want,
            warn=notice,
        )
        post = self.post if self.config.clock == "host" else None
        wanted = parts(self.config, media.drives)
        self.board = Board(self.config, self.cpu, self.clock, self.memory, outside, wanted, media, post)
        held.enter_context(closing(self.board))
        self._loop.serve_with(self.board)
        self.ports, self.mmio = self.board.ports, self.board.mmio
        self.com1, self.com2 = self.board.com1, self.board.com2

    @property
    def input_open(self) -> bool:
        """Whether somebody may still `post`: a guest that waits with no event due has then not ended."""
        return self._loop.input_open

    @input_open.setter
    def input_open(self, still: bool) -> None:
        self._loop.input_open = still

    @property
    def is_paced(self) -> bool:
        """Whether idle time takes the host as long as the guest, for people; otherwise it is skipped.

        Busy guests are never slowed. Instructions are counted as ever. With the clock in mode "host" it is no matter.
        """
        return self._loop.pace is not None or self.config.clock == "host"

    @is_paced.setter
    def is_paced(self, wanted: bool) -> None:
        is_wanted = wanted and self.config.clock != "host"
        self._loop.pace = Pace(self.clock, self._mailbox.sleep) if is_wanted else None

    @property
    def exits(self) -> dict[str, int]:
        """How often the engine has left, by the names of `ExitReason`."""
        return self._loop.exits

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
            load_again = partial(
                load_image,
                image,
                self.ram,
                append=append,
                initrd=initrd,
                modules=modules,
                flat=flat,
                boot_sector=boot_sector,
                name=name,
                long_mode=features.shown_by(self.cpu.state, "lm"),
            )
            entry = load_again()
            self._load_again, self._image, self._symbols = load_again, image, None
            self._loop.forget_exit()
            if self.clock.insns:  # what ran before has left its traces in the devices
                self.board.reset()
            self._enter(entry)
            return entry

    def boot(self) -> None:
        """Put the processor where it is after reset, before the firmware's first instruction.

        Raises BadUsage while it runs, or where no firmware is found (bt/firmware/roms.py), BadImage where it is none.
        """
        from bt.machine import firmware  # direct boots have no need of it

        with self._at_rest():
            if not self._has_firmware:
                firmware.install(self.board)
                self._has_firmware = True
            self._load_again = None
            if self.clock.insns:
                self.board.reset()
            self._power_on()

    def _power_on(self) -> None:
        self.board.power_on()
        reset.power_on(self.cpu.state)
        self._begin_at_zero()
        self.cpu.flush()

    def _enter(self, entry: EntryState) -> None:
        from bt.machine.hand_over.everything import hand_over  # firmware does it otherwise

        hand_over(self.board, entry)
        reset.enter(self.cpu.state, entry)
        self._begin_at_zero()
        self.cpu.flush()

    def _begin_at_zero(self) -> None:
        """RESET clears the time stamp counter (SDM vol. 3A table 10-1); the clock goes on."""
        self.cpu.state["tsc_offset"] = -self.clock.now_ns

    def reset(self) -> None:
        """Press the reset button: devices and processor start again, and what was loaded last is loaded once more.

        RAM is kept otherwise, and time and instruction count go on. Files are read again: a kernel that was built anew
        is the one to start. From a device or a posted action it happens before the guest's next instruction. Raises
        BadImage where the image can no longer be loaded, BadUsage while it runs in another thread: `post` it there.
        """
        with self.ram.sole_use:
            self._require_open()
            if self._loop.is_running:
                self._loop.request_reset(by_user=True)
            else:
                self._restart()

    def _restart(self) -> None:
        self._restarts.note()
        self._loop.forget_exit()
        self.board.reset()
        if self._load_again is None:
            self._power_on()
            return
        try:
            entry = self._load_again()
        except BtError as error:
            raise BadImage(f"the machine was reset, and its image cannot be loaded again: {error}") from error
        self._enter(entry)

    def power_button(self) -> None:
        """Press it: a system that has ACPI hears of it, and shuts down as it likes; others do not notice.

        Safe from other threads: it happens between two instructions, or in the next run. BadUsage for machine "isapc".
        """
        self.post(self.board.part("PM", PmRegisters).press_power_button)

    def snapshot(self) -> Snapshot:
        """The machine as it is now, between two runs: BadUsage in one. What was posted is not in it."""
        from bt.machine.snapshot import Snapshot

        with self._at_rest():
            return Snapshot.take(self._parts())

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from `snapshot`, of any machine with the same memory, CPU model, clock and devices, or BadUsage."""
        from bt.machine.snapshot import Snapshot

        arguments.instance("snapshot", snapshot, Snapshot, "what Machine.snapshot returned is wanted")
        with self._at_rest():
            self._loop.forget_exit()
            if "keyboard" in self.__dict__:
                self.keyboard.forget()
            snapshot.put_back(self._parts())

    def _parts(self) -> Parts:
        from bt.machine.snapshot import Parts

        counts = (self._loop.exit_counts, self._restarts.counts)
        devices = tuple(self.board.devices.values())
        return Parts(own_vcpu(self.cpu), self.clock, devices, (self.ports, self.mmio), counts)

    def keep_accounts(self) -> None:
        """From now on note what each exit costs: `Result.served`. BadUsage while it runs."""
        from bt.machine.accounts import Accounts

        with self._at_rest():
            if self._accounts is None:
                self._accounts = Accounts(self.ports, self.mmio)
                self._loop.account_to(self._accounts)

    def stop(self) -> None:
        """End the run under way, or else the next one at once. Safe from signal handlers and from other threads."""
        self._loop.stop_requested = True  # and no more: a signal handler must not take the lock in `_wake`

    def post(self, action: Callable[[], None]) -> None:
        """Have the running machine do `action` between two instructions, or the next run; safe from other threads.

        What it raises, `run` raises.
        """
        arguments.require(callable(action), "action", action, "a function is wanted")
        self._require_open()
        self._mailbox.post(action)

    def run(
        self,
        *,
        until: Until | Sequence[Until] = (),
        limit: Limit | None = None,
        max_insns: int | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Run until the guest ends the run, until one of `until` comes true, or a limit is reached.

        `until`: Pattern, Address, Insns, GuestTime (bt/api/stops.py), one or several; the result's reason is End.UNTIL
        then, and its `until` the one that came first. `limit`: Insns or GuestTime; `max_insns` instructions; `timeout`
        seconds of the host's time.

        Raises what a device or a posted action raises, and BadUsage while it runs already; it can run again after both.
        """
        conditions = _conditions(until, limit)
        if max_insns is not None:
            arguments.whole_number(
                "max_insns", max_insns, "a whole number of instructions, 0 or more, is wanted", least=0
            )
        if timeout is not None:
            good = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout >= 0
            arguments.require(good, "timeout", timeout, "a number of seconds, 0 or more, is wanted")
        with self.ram.sole_use.for_run():
            self._require_open()
            return self._run_and_report(max_insns, timeout, conditions)

    def _run_and_report(self, max_insns: int | None, timeout: float | None, conditions: Conditions | None) -> Result:
        start, cpu_start = time.monotonic(), time.process_time()
        deadline = None if timeout is None else start + timeout
        limit = None if max_insns is None else self.clock.insns + max_insns
        started_at = self.cpu.host_cycles()
        armed: AbstractContextManager[None] = nullcontext()
        if conditions is not None:
            armed = conditions.armed(self.cpu, self._loop, self._received, self.com1, lambda: self.symbols)
        try:
            sampled = nullcontext() if self._accounts is None else self._accounts.sampling(self.cpu)
            with self._interruptible(), armed, sampled:
                end = self._run(limit, deadline) if conditions is None else self._run_until(conditions, limit, deadline)
        finally:
            self._loop.stop_requested = False  # it was for this run, however that ended
        self._host_cycles += self.cpu.host_cycles() - started_at
        seconds, statistics, accounts = time.monotonic() - start, self.cpu.statistics(), self._accounts
        self._host_seconds += seconds
        return Result(
            end,
            end.exit_status(self._loop.guest_status),
            self.cpu.instructions,
            seconds,
            time.process_time() - cpu_start,
            self._loop.exits,
            statistics,
            dict(self.cpu.callouts().most_common()),
            detail=stop.detail if (stop := self._loop.want_of_firmware()) is not None else "",
            resets=self._restarts.count,
            host_cycles=self._host_cycles,
            served=() if accounts is None else accounts.served(),
            time_account=() if accounts is None else accounts.time(self._host_seconds, self._host_cycles, statistics),
            until=None if conditions is None else conditions.met,
            match=None if conditions is None else conditions.match,
            where=self.where,
            fault_chain=self._fault_chain() if end is End.TRIPLE_FAULT else (),
            refused=self.cpu.refused,
        )

    def _fault_chain(self) -> tuple[Failure, ...]:
        from bt.x86 import fault_chain

        return fault_chain.read(self.cpu.state)

    def _run_until(self, conditions: Conditions, limit: int | None, deadline: float | None) -> End:
        if conditions.met is not None:
            return End.UNTIL
        insns, ns = conditions.limits(self.clock, limit)
        end = conditions.judge(self._run(insns, deadline, ns))
        if end is End.UNTIL and self.cpu.state["mmio_count"]:
            # between two instructions registers may be written; this one waits for a device that has answered
            self._run(self.clock.insns + 1, deadline)
        return end

    def _run(self, limit: int | None, deadline: float | None, limit_ns: int = NEVER_NS) -> End:
        while True:
            end = self._loop.run(limit, deadline, limit_ns)
            is_users = end is End.RESET and self._loop.is_users_reset
            if not is_users and (final := self._restarts.end(end)) is not None:
                return final
            self._restart()

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


def _check_parts(sinks: Mapping[str, object], library: object) -> None:
    for name, sink in sinks.items():
        arguments.require(sink is None or callable(sink), name, sink, "a function that takes a byte is wanted")
    arguments.instance("library", library, (Library, type(None)), "a Library is wanted")


def make_engine(
    name: EngineName, library: Library, memory: PhysicalMap, model: CpuModel, tier: TierName = "auto"
) -> Engine:
    if name == "interp":
        return Vcpu(library, memory, model)
    from bt.engine.translator.vcpu import TranslatingVcpu

    return TranslatingVcpu(library, memory, model, tier=tier)


def _make_clock(mode: ClockMode, engine: Engine, sleep: Callable[[float], None]) -> VirtualClock:
    if mode == "icount":
        return VirtualClock()
    from bt.clock.host_clock import HostClock

    return HostClock(engine.host_cycles, host_sleep=sleep)


def _warn(line: str) -> None:
    print(f"bt: {line}", file=sys.stderr)


def _conditions(until: Until | Sequence[Until], limit: Limit | None) -> Conditions | None:
    if limit is None and until == ():
        return None
    from bt.machine.conditions import Conditions

    return Conditions(until, limit)


def _discard(byte: int) -> None:
    """Where the bytes of an unconnected port go."""
