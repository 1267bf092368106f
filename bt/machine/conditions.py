"""What one run goes on until, armed while it lasts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bt import arguments
from bt.api.received import Received
from bt.api.stops import Address, GuestTime, Insns, Limit, Pattern, Until
from bt.clock.virtual_clock import NEVER_NS, VirtualClock
from bt.devices.serial.uart16550 import Uart16550
from bt.end import End
from bt.engine.protocol import Engine, Exit
from bt.machine.loop import Loop
from bt.x86.exits import ExitReason

_KINDS = (Pattern, Address, Insns, GuestTime)


class Conditions:
    """Which of several things ends a run, and which has."""

    def __init__(self, until: Until | Sequence[Until], limit: Limit | None) -> None:
        """BadUsage for what is none of bt/api/stops.py."""
        wanted = (until,) if isinstance(until, _KINDS) else until
        good = isinstance(wanted, list | tuple) and all(isinstance(each, _KINDS) for each in wanted)
        arguments.require(good, "until", until, "Pattern, Address, Insns or GuestTime is wanted, or a list of them")
        arguments.instance("limit", limit, (Insns, GuestTime, type(None)), "Insns or GuestTime is wanted")
        self._limit = limit
        self._patterns = [each for each in wanted if isinstance(each, Pattern)]
        self._addresses = {each.linear: each for each in wanted if isinstance(each, Address)}
        counts = [each for each in wanted if isinstance(each, Insns)]
        times = [each for each in wanted if isinstance(each, GuestTime)]
        self._insns = min(counts, key=lambda each: each.count, default=None)
        self._time = min(times, key=lambda each: each.ns, default=None)
        self._by_insns = self._by_ns = False  # whether one of `until` is the first limit of its kind
        self.met: Until | None = None
        self.match: re.Match[bytes] | None = None

    def limits(self, clock: VirtualClock, limit: int | None) -> tuple[int | None, int]:
        """The count of instructions and the guest's time at which the run ends at the latest; `limit`: another one."""
        insns, ns = limit, NEVER_NS
        if isinstance(self._limit, Insns):
            insns = _earlier(insns, clock.insns + self._limit.count)
        elif isinstance(self._limit, GuestTime):
            ns = clock.now_ns + self._limit.ns
        if self._insns is not None:
            wanted = clock.insns + self._insns.count
            self._by_insns = insns is None or wanted <= insns
            insns = _earlier(insns, wanted)
        if self._time is not None:
            wanted = clock.now_ns + self._time.ns
            self._by_ns = wanted <= ns
            ns = min(ns, wanted)
        return insns, ns

    def judge(self, end: End) -> End:
        """How a run ended that has ended so: a limit may be what it was to run until."""
        if end is End.MAX_INSNS and self._by_insns:
            self.met = self._insns
        elif end is End.GUEST_TIME and self._by_ns:
            self.met = self._time
        return End.UNTIL if self.met is not None else end

    @contextmanager
    def armed(self, cpu: Engine, loop: Loop, received: Received, uart: Uart16550) -> Iterator[None]:
        """While the block lasts, `met` and `match` say what has come, and the loop ends at once then."""

        def matched(pattern: Pattern, match: re.Match[bytes]) -> None:
            if self.met is None:
                self.met, self.match = pattern, match
                loop.come_true()

        def stopped(leave: Exit) -> None:
            before(leave)
            if self.met is None and leave.address in self._addresses:
                self.met = self._addresses[leave.address]
                loop.come_true()

        before = loop.server(ExitReason.BREAKPOINT)
        try:
            if self._addresses:
                cpu.stop_before(self._addresses)
                cpu.pass_breakpoint()
                loop.serve(ExitReason.BREAKPOINT, stopped)
            if self._patterns:
                uart.send_at_once(True)
                received.watch(self._patterns, matched)
                received.look()
            yield
        finally:
            if self._patterns:
                received.watch(())
                uart.send_at_once(False)
            if self._addresses:
                loop.serve(ExitReason.BREAKPOINT, before)
                cpu.stop_before(())


def _earlier(limit: int | None, other: int) -> int:
    return other if limit is None else min(limit, other)
