"""What serving the guest costs the host, by what it was left for: kept where somebody wants to know (`--stats`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from time import perf_counter_ns
from typing import NamedTuple

from bt.engine.protocol import Engine, Exit
from bt.memory.bus import COUNTED_ADDRESSES, Bus
from bt.x86.exits import ExitReason

Server = Callable[[Exit], None]
SAMPLE_SECONDS = 0.005
_DEVICES = ("io", "mmio")
# what of the engine's time is no guest code, by counters of host cycles
_WORK = (("decoding", "decode_cycles"), ("translation", "translate_cycles"), ("TLB fills", "tlb_fill_cycles"))


class Served(NamedTuple):
    """Exits that were alike. `device`, `address` and `access` ("read", "write") of those for a device, else empty."""

    reason: str
    device: str
    address: int | None
    access: str
    times: int
    seconds: float


class Accounts:
    """Of one machine: at 0.4 us an exit, and a look every SAMPLE_SECONDS.

    Addresses beyond COUNTED_ADDRESSES are counted together.
    """

    def __init__(self, ports: Bus, mmio: Bus) -> None:
        self._buses = {ExitReason.IO: ports, ExitReason.MMIO: mmio}
        self._notes: dict[tuple[int, int | None, int], list[int]] = {}  # count and nanoseconds
        self._samples = self._in_units = 0

    def around(self, server: Server, reason: ExitReason) -> Server:
        """What is to serve in its place."""
        notes, has_address = self._notes, reason in self._buses

        def serve(leave: Exit) -> None:
            key = (leave.code, leave.address, leave.write) if has_address else (leave.code, None, 0)
            note = notes.get(key)
            if note is None:
                if len(notes) >= COUNTED_ADDRESSES:
                    key = leave.code, None, leave.write
                note = notes.setdefault(key, [0, 0])
            start = perf_counter_ns()
            server(leave)
            note[0] += 1
            note[1] += perf_counter_ns() - start

        return serve

    @contextmanager
    def sampling(self, engine: Engine) -> Iterator[None]:
        """Look time and again, in another thread, whether the engine is in tier 2.

        That thread runs while generated code does, which is without the interpreter lock, and hardly ever else.
        """
        over = Event()

        def look() -> None:
            while not over.wait(SAMPLE_SECONDS):
                self._samples += 1
                self._in_units += engine.in_unit

        thread = Thread(target=look, name="bt accounts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def time(self, seconds: float, host_cycles: int, statistics: Mapping[str, int]) -> tuple[tuple[str, float], ...]:
        """What all runs of the machine, so many seconds and cycles of the host, went to, in seconds, most first.

        Nothing where the engine does not tell it apart.
        """
        if not host_cycles or "run_cycles" not in statistics:
            return ()
        second = host_cycles / seconds
        parts = {name: statistics[key] / second for name, key in _WORK}
        guest = statistics["run_cycles"] / second - sum(parts.values())
        parts["tier 2"] = guest * self._in_units / max(self._samples, 1)
        parts["tier 1 and the interpreter"] = guest - parts["tier 2"]
        parts["making units"] = statistics["make_ns"] / 1e9
        served = self.served()
        parts["exits for devices"] = sum(each.seconds for each in served if each.reason in _DEVICES)
        parts["other exits"] = sum(each.seconds for each in served if each.reason not in _DEVICES)
        parts["the rest, in Python"] = seconds - sum(parts.values())
        return tuple(sorted(parts.items(), key=lambda part: -part[1]))

    def served(self) -> tuple[Served, ...]:
        """All that was served, what took longest first."""
        found = []
        for (code, address, is_write), (count, ns) in self._notes.items():
            reason = ExitReason(code)
            bus = self._buses.get(reason)
            device = "" if bus is None else self._device(bus, address)
            access = "" if bus is None else "write" if is_write else "read"
            found.append(Served(reason.name.lower(), device, address, access, count, ns / 1e9))
        return tuple(sorted(found, key=lambda each: -each.seconds))

    @staticmethod
    def _device(bus: Bus, address: int | None) -> str:
        """Who is there now."""
        if address is None:
            return "others"
        return next((each.device.name for each in bus.regions if each.start <= address < each.end), "nobody")
