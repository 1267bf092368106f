"""What the device tests share: a clock to push, wires to look at, and a state round trip through JSON."""

import json

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Device, Line


class Edges:
    """Counts the rising edges of a wire."""

    def __init__(self, line: Line) -> None:
        self.count = 0
        line.on_rise(self._rise)

    def _rise(self) -> None:
        self.count += 1


def pass_time(clock: VirtualClock, ns: int) -> None:
    """Let `ns` nanoseconds pass on a clock of one instruction a nanosecond, running events where they fall."""
    end = clock.insns + ns
    while clock.insns < end:
        clock.advance(clock.budget(end - clock.insns))
        clock.run_due()


def transplant(source: Device, target: Device) -> None:
    """Restore `target` from the state of `source` as a snapshot file would."""
    target.restore(json.loads(json.dumps(source.state())))
