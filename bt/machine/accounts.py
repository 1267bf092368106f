"""What serving the guest costs the host, by what it was left for: kept where somebody wants to know (`--stats`)."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import NamedTuple

from bt.engine.protocol import Exit
from bt.memory.bus import COUNTED_ADDRESSES, Bus
from bt.x86.exits import ExitReason

Server = Callable[[Exit], None]


class Served(NamedTuple):
    """Exits that were alike. `device`, `address` and `access` ("read", "write") of those for a device, else empty."""

    reason: str
    device: str
    address: int | None
    access: str
    times: int
    seconds: float


class Accounts:
    """Of one machine: at 0.4 us an exit. Addresses beyond COUNTED_ADDRESSES are counted together."""

    def __init__(self, ports: Bus, mmio: Bus) -> None:
        self._buses = {ExitReason.IO: ports, ExitReason.MMIO: mmio}
        self._notes: dict[tuple[int, int | None, int], list[int]] = {}  # count and nanoseconds

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
