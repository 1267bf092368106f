"""The loop of the VMM: run the guest until it leaves, serve what it left for, go on."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from bt.boot.loaders.boot_sector import Stop, why_stopped
from bt.clock.pace import Pace
from bt.clock.virtual_clock import NEVER_NS, VirtualClock
from bt.end import End
from bt.engine.protocol import Engine, Exit
from bt.machine.board import Board
from bt.memory.bus import Bus
from bt.memory.ram import GuestRam
from bt.x86.exits import ExitReason
from bt.x86.state import CS, EAX, ESP, SS

if TYPE_CHECKING:
    from bt.machine.accounts import Accounts

SLICE_INSNS = 5_000_000  # the guest is left this often to look at Ctrl-C and the time limit
# While somebody may type it is left more often where instructions take long, so that it hears of it soon: BIOS services
# of GRUB, interpreted, had 5 million of them in 0.5 s.
SLICE_SECONDS, LEAST_SLICE_INSNS = 0.01, 100_000
Server = Callable[[Exit], None]
RunEngine = Callable[[int, int, int], Exit]  # Engine.run
IDLE_SECONDS = 0.1  # a halted guest sleeps no longer at a time


class Mailbox:
    """What others want done between two instructions, and what wakes a machine that idles: safe from other threads."""

    def __init__(self) -> None:
        self.posted: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()

    def post(self, action: Callable[[], None]) -> None:
        self.posted.append(action)
        self._wake.set()

    def do_posted(self) -> None:
        while self.posted:
            self.posted.popleft()()

    def sleep(self, seconds: float) -> None:
        """Let host time pass, but not past a `post`, and not for long: `stop` and time limit want to be noticed."""
        if self._wake.wait(min(seconds, IDLE_SECONDS)):
            self._wake.clear()


class Loop:
    """Runs the guest of one machine until something ends the run."""

    def __init__(self, cpu: Engine, ram: GuestRam, clock: VirtualClock, mailbox: Mailbox) -> None:
        self._cpu, self._ram, self._clock, self._mailbox = cpu, ram, clock, mailbox
        self.input_open = False  # somebody may still `post`: a guest that waits with no event due has not ended
        self._granted_insns = SLICE_INSNS  # fewer while somebody may type
        self.stays_halted = False  # while so, neither has one that has halted for good
        self.pace: Pace | None = None  # idle time is the host's, too
        self.stop_requested = False
        self.is_running = False
        self.is_users_reset = False
        self.is_paused = False  # the guest waits, and the run with it
        self.guest_status = 0  # the exit status that the guest chose (End.EXIT)
        self._deadline: float | None = None
        self._limit_ns = NEVER_NS
        self._end: End | None = None
        self._want: Stop | None = None
        self._unserved: Exit | None = None  # somebody outside has raised at what the guest sent before it
        self.exit_counts = [0] * len(ExitReason)
        self.interrupt_counts = [0] * 256  # taken, by vector
        self.run_engine: RunEngine = cpu.run  # what runs the guest: who traces it puts something around it
        self.slice_insns = SLICE_INSNS
        self.taken: Callable[[int], None] | None = None  # wants to know of interrupts before they are taken
        self._servers: list[Server] = []

    # -- what devices do to the run -----------------------------------------------------------------------------------

    def request_reset(self, *, by_user: bool = False) -> None:
        """End the run with End.RESET; `is_users_reset` says whose it was."""
        self._end, self.is_users_reset = End.RESET, by_user

    def guest_exit(self, status: int) -> None:
        self._end, self.guest_status = End.EXIT, status & 0xFF

    def guest_panicked(self) -> None:
        self._end = End.PANIC

    def forget_exit(self) -> None:
        """The guest is another from now on: what the one before has left for is not served any more."""
        self._unserved = None

    def power_off(self) -> None:
        self._end = End.POWER_OFF

    def want(self, stop: Stop) -> None:
        """End the run for want of what `stop` says."""
        self._end, self._want = stop.end, stop

    def come_true(self) -> None:
        """What the run was to go on until has come."""
        self._end = End.UNTIL

    # -- running ------------------------------------------------------------------------------------------------------

    def serve_with(self, board: Board) -> None:
        """From now on serve the guest with what is on `board`."""
        self._board = board
        self._servers[:] = self._own_servers()

    def account_to(self, accounts: Accounts) -> None:
        """From now on note what each exit costs."""
        self._servers[:] = [accounts.around(*each) for each in zip(self._own_servers(), ExitReason, strict=True)]

    def server(self, reason: ExitReason) -> Server:
        """What is done when the guest leaves for `reason`."""
        return self._servers[reason]

    def serve(self, reason: ExitReason, server: Server) -> None:
        """Do this from now on when the guest leaves for `reason`."""
        self._servers[reason] = server

    def run(self, limit: int | None, deadline: float | None, limit_ns: int = NEVER_NS) -> End:
        """Run until the end: at most to instruction `limit` and to nanosecond `limit_ns` by the clock, and to
        `deadline` by the host's.
        """
        self.is_running = True
        try:
            return self._run(limit, deadline, limit_ns)
        finally:
            self.is_running = False

    def _run(self, limit: int | None, deadline: float | None, limit_ns: int) -> End:
        self._end, self._want, self._deadline, self._limit_ns = None, None, deadline, limit_ns
        clock, mailbox = self._clock, self._mailbox
        counts, servers, posted = self.exit_counts, self._servers, mailbox.posted
        outputs = self._board.outputs
        waiting = outputs.waiting
        if self._unserved is not None:
            leave, self._unserved = self._unserved, None
            servers[leave.code](leave)
            clock.run_due()
        most = self._granted_insns
        if self.is_paused:
            self._do_posted()
        while not self._ended():
            left = min(most, self.slice_insns)
            if limit is not None:
                left = min(left, limit - clock.insns)
                if left <= 0:
                    return End.MAX_INSNS
            if limit_ns != NEVER_NS:  # an instruction takes a nanosecond at least
                left = min(left, limit_ns - clock.now_ns)
            if self.input_open:
                began = time.monotonic()
                leave = self.run_engine(*clock.grant(left))
                if leave.instructions >= LEAST_SLICE_INSNS:
                    most = self._granted_insns = _slice(leave.instructions, time.monotonic() - began)
            else:
                leave = self.run_engine(*clock.grant(left))
                most = SLICE_INSNS
            code = leave.code
            clock.advance(leave.instructions, leave.beside_ns)
            counts[code] += 1
            if waiting[0]:
                self._unserved = leave
                outputs.deliver()
                self._unserved = None
            servers[code](leave)
            clock.run_due()
            if posted:
                self._do_posted()
        assert self._end is not None
        return self._end

    def step(self, hear: Callable[[], None]) -> None:
        """Let the guest go on for one instruction, and wait again; then `hear` is called."""
        run, slice_insns, before = self.run_engine, self.slice_insns, self._cpu.instructions

        def once(budget: int, now: int, beside: int) -> Exit:
            leave = run(budget, now, beside)
            if self._cpu.instructions != before:  # one that waits for a device is done in two
                self.run_engine, self.slice_insns, self.is_paused = run, slice_insns, True
                self._mailbox.post(hear)
            return leave

        self.run_engine, self.slice_insns, self.is_paused = once, 1, False

    @property
    def exits(self) -> dict[str, int]:
        """How often the engine has left, by the names of `ExitReason`."""
        return {reason.name.lower(): count for reason in ExitReason if (count := self.exit_counts[reason])}

    def want_of_firmware(self) -> Stop | None:
        """What the guest has asked of the BIOS that we have not, if that is why it has ended, or has halted."""
        if self._want is not None:
            return self._want
        cpu = self._cpu.state
        stack = cpu.segment(SS, "base") + (cpu["gpr", ESP] & 0xFFFF)
        return why_stopped(cpu.segment(CS, "selector"), cpu["eip"], stack, cpu["gpr", EAX] & 0xFFFF, self._ram)

    def _ended(self) -> bool:
        """Look at the reasons to stop that do not come from the guest's instructions."""
        if self._end is None:
            if self.stop_requested:
                self._end = End.INTERRUPTED
            elif self._deadline is not None and time.monotonic() >= self._deadline:
                self._end = End.TIMEOUT
            elif self._limit_ns != NEVER_NS and self._clock.now_ns >= self._limit_ns:
                self._end = End.GUEST_TIME
        return self._end is not None

    def _do_posted(self) -> None:
        """Do what was posted; while the machine is paused, wait for more."""
        self._mailbox.do_posted()
        while self.is_paused and not self._ended():
            self._mailbox.sleep(IDLE_SECONDS)
            self._mailbox.do_posted()

    def _own_servers(self) -> list[Server]:
        """What is done when the guest has left, by number of the reason: 16 ns instead of 400 by name."""
        servers: list[Server] = [self._left_astray] * len(ExitReason)
        servers[ExitReason.IO] = self._access(self._board.ports)
        servers[ExitReason.MMIO] = self._access(self._board.mmio)
        servers[ExitReason.HLT] = self._halt
        servers[ExitReason.FP_ERROR] = self._wait_for_fp_error
        servers[ExitReason.INTERRUPT_WINDOW] = self._interrupt
        servers[ExitReason.MSR] = self._msr_written
        servers[ExitReason.SHUTDOWN] = self._shut_down
        servers[ExitReason.BUDGET] = servers[ExitReason.BREAKPOINT] = self._go_on
        return servers

    def _access(self, bus: Bus) -> Server:
        read, write, complete, spend = bus.read, bus.write, self._cpu.complete, self._clock.spend
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
        self._board.fpu_error.raise_error()
        self._halt(leave)

    def _interrupt(self, _: Exit) -> None:
        vector = self._board.acknowledge()
        self.interrupt_counts[vector] += 1
        if self.taken is not None:
            self.taken(vector)
        self._cpu.interrupt(vector)

    def _msr_written(self, leave: Exit) -> None:
        self._board.apic_base_written(leave.value)

    def _shut_down(self, _: Exit) -> None:
        self._end = End.TRIPLE_FAULT

    def _go_on(self, _: Exit) -> None:
        """The budget is used up; or who wanted the guest to be left there wants it no more."""

    def _left_astray(self, leave: Exit) -> None:
        raise AssertionError(f"engine left with {leave}")

    def _halt(self, _: Exit) -> None:
        """Let virtual time pass until an interrupt is due; a guest that none can reach has ended."""
        while not self._cpu.interrupt_waits and not self._ended():
            if not self._cpu.interrupts_enabled:
                if not (self.stays_halted and self.input_open):
                    stop = self.want_of_firmware()
                    self._end = End.HALTED if stop is None else stop.end
                    return
                self._wait()
            elif not self._idle():
                self._end = End.HALTED
                return
            self._clock.run_due()
            self._do_posted()

    def _idle(self) -> bool:
        """Let time pass, at most until the next event; False if there is nothing to wait for."""
        if self.pace is None and self._clock.skip_to_next_event(self._limit_ns):
            return True
        if self._clock.ns_to_next_event is None and not (
            self.input_open or self._board.media.is_busy or self._mailbox.posted
        ):
            return False
        self._wait()
        return True

    def _wait(self) -> None:
        """Let time pass as the host's does."""
        if self.pace is not None:
            self.pace.idle()
        else:
            self._mailbox.sleep(IDLE_SECONDS)


def _slice(instructions: int, seconds: float) -> int:
    """How many instructions to grant at a time, if so many have taken so long."""
    return min(SLICE_INSNS, max(LEAST_SLICE_INSNS, int(instructions * SLICE_SECONDS / (seconds or SLICE_SECONDS))))
