"""A snapshot of a machine in memory: everything that decides what its guest does next.

with machine.snapshot() as snapshot:
    machine.run(max_insns=10**9)
    machine.restore(snapshot)  # as if it had not run
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Device
from bt.engine.vcpu import Vcpu, VcpuSnapshot
from bt.errors import BadUsage, Closed
from bt.memory.bus import Bus
from bt.memory.map import Layout
from bt.memory.ram_copy import MemoryCopy, RamCopy


@dataclass(frozen=True)
class Parts:
    """What of a machine is in a snapshot."""

    cpu: Vcpu
    clock: VirtualClock
    board: Sequence[Device]
    buses: Sequence[Bus]  # on which there may be devices of the user's
    counts: tuple[list[int], ...]  # of exits, of restarts

    def devices(self) -> list[Device]:
        """All of them, each once. Raises BadUsage for one that does not say what its state is."""
        found: dict[int, Device] = {id(device): device for device in self.board}
        for bus in self.buses:
            for region in bus.regions:
                device = region.device
                if not isinstance(device, Device):
                    raise BadUsage(f"{device.name}: no snapshots with it: make it a bt.devices.device.Device")
                found[id(device)] = device
        return list(found.values())

    def shape(self, devices: Sequence[Device]) -> dict[str, object]:
        """What another machine must have in common with this one, with these devices, to take over its state."""
        return {
            "bytes of memory": self.cpu.ram.size,
            "bytes of other memory in the map": [memory.size for memory in self.cpu.memory.memories[1:]],
            "CPU": f"{self.cpu.model.name} with {' '.join(sorted(self.cpu.model.features))}",
            "clock": type(self.clock).__name__,
            "devices": [device.name for device in devices],
        }


@dataclass(frozen=True)
class Snapshot:
    """What `Machine.snapshot` has taken, good for any machine of the same shape under any engine.

    It holds a copy of RAM: all pages that were ever touched; of ROM and windows, too, wherever they are in the map, if
    anywhere. `close`, or the end of `with`, gives that back.
    """

    instructions: int  # retired when it was taken
    _shape: dict[str, object]
    _cpu: VcpuSnapshot
    _devices: bytes  # what each has saved, pickled: a tenth of deepcopy's time, and nobody else's
    _clock: dict[str, Any]
    _counts: tuple[tuple[int, ...], ...]
    _ram: RamCopy
    _layout: Layout
    _memories: tuple[MemoryCopy, ...]  # of what the map knows beside RAM

    @classmethod
    def take(cls, parts: Parts) -> Snapshot:
        """Of a machine between two runs."""
        devices = parts.devices()
        return cls(
            parts.cpu.instructions,
            parts.shape(devices),
            parts.cpu.snapshot(),
            pickle.dumps([device.save() for device in devices], pickle.HIGHEST_PROTOCOL),
            parts.clock.state(),
            tuple(tuple(each) for each in parts.counts),
            RamCopy(parts.cpu),
            parts.cpu.memory.layout(),
            tuple(MemoryCopy(memory) for memory in parts.cpu.memory.memories[1:]),
        )

    def put_back(self, parts: Parts) -> None:
        """Raises BadUsage, with nothing changed, if it is a machine of another shape, and Closed."""
        devices = parts.devices()
        states = pickle.loads(self._devices)
        self._check(parts, devices, states)
        parts.clock.restore(self._clock)
        for device, saved in zip(devices, states, strict=True):
            device.load(saved)
        for each, saved_counts in zip(parts.counts, self._counts, strict=True):
            each[:] = saved_counts
        parts.cpu.memory.restore_layout(self._layout)
        for copy, memory in zip(self._memories, parts.cpu.memory.memories[1:], strict=True):
            copy.put_back(memory)
        self._ram.put_back(parts.cpu)
        parts.cpu.restore(self._cpu)  # last: wires lead into it

    def _check(self, parts: Parts, devices: Sequence[Device], states: Sequence[dict[str, Any]]) -> None:
        if self._ram.closed:
            raise Closed("this snapshot is closed: take another")
        for what, value in parts.shape(devices).items():
            if value != self._shape[what]:
                raise BadUsage(f"snapshot of another machine: its {what} {self._shape[what]}, here {value}")
        for device, saved in zip(devices, states, strict=True):
            device.check(saved)

    def close(self) -> None:
        """Give the copies back; twice is fine."""
        self._ram.close()
        for copy in self._memories:
            copy.close()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
