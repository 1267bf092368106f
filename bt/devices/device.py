"""What devices are made of: registers at offsets, and wires between devices."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from bt.errors import BadUsage
from bt.memory.bus import ByteCells, Mirror
from bt.memory.native_registers import NativeRegister


class Line:
    """A wire: an interrupt request, the INTR pin, a gate. Starts low.

    Who made it drives it with `set`. Further devices each drive it through a `driver` of their own: the wire is high
    while any of them holds it high (wired-OR), as a level-triggered interrupt is shared.
    """

    # a machine has 50 of them: the fewer objects each is, the less the collector looks at
    __slots__ = ("_driven_wire", "_holders", "_observers", "driven", "level", "name")

    def __init__(self, name: str, driven_wire: "Line | None" = None) -> None:
        self.name = name
        self.level = False  # of the wire
        self.driven = False  # what `set` has made of it
        self._holders = 0  # how many hold it high
        self._driven_wire = driven_wire  # by this driver
        self._observers: tuple[Callable[[bool], None], ...] = ()

    def driver(self, name: str) -> "Line":
        """One more driver of this wire; its `level` and its observers are its own."""
        return Line(name, self)

    def watch(self, observer: Callable[[bool], None]) -> None:
        """Call `observer(level)` at every change from now on: True is the rising edge."""
        self._observers += (observer,)

    def on_rise(self, observer: Callable[[], None]) -> None:
        """Call `observer()` at every rising edge from now on."""
        self.watch(lambda level: observer() if level else None)

    def set(self, level: bool) -> None:
        """Drive the wire; observers hear of it only if its level changes."""
        if level != self.driven:
            self.driven = level
            self._hold(level)

    def _hold(self, level: bool) -> None:
        self._holders += 1 if level else -1
        high = self._holders > 0
        if high != self.level:
            self.level = high
            if self._driven_wire is not None:
                self._driven_wire._hold(high)
            for observer in self._observers:
                observer(high)

    def raise_(self) -> None:
        self.set(True)

    def lower(self) -> None:
        self.set(False)

    def pulse(self) -> None:
        """Make a rising edge whatever the level, and leave the wire low, unless another driver holds it high.

        An 8259 forgets a request whose wire falls before it was acknowledged: interrupt wires want `raise_`.
        """
        self.lower()
        self.raise_()
        self.lower()


class Device:
    """Registers at byte offsets; where they are mapped is the bus's business.

    Time and wires are handed to the constructor. Everything the guest can change is state: `state()` is JSON, and
    `restore()` of it, after the clock's, continues where the device was; it drives the device's wires as they were.
    A device that has been restored already knows that level of its input, and does nothing about it. Snapshots call
    `save` and `load`, which see to it that both are of one version.
    """

    version: ClassVar[int] = 1  # of what `state()` returns: one more whenever that becomes something else

    widest_access: int = 1  # bytes; the bus splits what is wider
    latches: frozenset[int] = frozenset()  # offsets that are plain storage, see BusDevice
    mirrors: frozenset[int] = frozenset()  # offsets that are shown to engines, see BusDevice
    fields: ClassVar[tuple[str, ...]] = ()  # attributes that are state and JSON as they are

    _latch_cells: dict[int, tuple[ByteCells, int]]  # of those that have latches

    def __init__(self, name: str) -> None:
        self.name = name
        self._mirrors: dict[int, Mirror] = {}  # of the offsets that are on a bus with such
        if self.latches:
            own = bytearray(len(self.latches))
            self._latch_cells = {offset: (own, index) for index, offset in enumerate(self.latches)}

    def read(self, offset: int, size: int) -> int:
        """The `size` bytes at `offset`, little-endian; may have the side effects the data sheet gives reading."""
        raise NotImplementedError(f"{self.name} has no read")

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the `size` bytes of `value` at `offset`."""
        raise NotImplementedError(f"{self.name} has no write")

    def reset(self) -> None:
        """What the RESET pin does: the machine starts again, and the guest finds what it finds at power-on."""

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {name: getattr(self, name) for name in self.fields}
        if self.latches:
            state["latches"] = [self.latch(offset) for offset in sorted(self.latches)]
        return state

    def restore(self, state: dict[str, Any]) -> None:
        for name in self.fields:
            setattr(self, name, state[name])
        if self.latches:
            for offset, value in zip(sorted(self.latches), state["latches"], strict=True):
                self.set_latch(offset, value)

    def save(self) -> dict[str, Any]:
        """`state()` with what `load` must know of it; JSON too. Parts of it may be the device's, and change with it."""
        return {"device": self.name, "version": self.version, "state": self.state()}

    def check(self, saved: dict[str, Any]) -> None:
        """Raises BadUsage unless `load` can take it."""
        if saved["version"] != self.version:
            raise BadUsage(
                f"{saved['device']}: the snapshot has its state in version {saved['version']}, "
                f"here it is version {self.version}: take it with this bt"
            )

    def load(self, saved: dict[str, Any]) -> None:
        """Be as when `save` was called, and keep parts of `saved`. Raises BadUsage if that was another version."""
        self.check(saved)
        self.restore(saved["state"])

    def native_registers(self) -> Mapping[int, NativeRegister]:
        """What native code answers for on the port bus, by offset (bt/devices/native.py)."""
        return {}

    def native_window(self) -> NativeRegister | None:
        """What answers for the device where it is in memory."""
        return None

    def latch(self, offset: int) -> int:
        """The byte last written to the latch at `offset`."""
        cells, index = self._latch_cells[offset]
        return cells[index]

    def set_latch(self, offset: int, value: int) -> None:
        cells, index = self._latch_cells[offset]
        cells[index] = value

    def adopt_latch(self, offset: int, cells: ByteCells, index: int) -> None:
        """Keep the latch at `offset` in `cells[index]` from now on, its present value included."""
        cells[index] = self.latch(offset)
        self._latch_cells[offset] = (cells, index)

    def release_latch(self, offset: int) -> None:
        """Keep the latch at `offset` in the device again, its present value included."""
        own = bytearray((self.latch(offset),))
        self._latch_cells[offset] = (own, 0)

    def adopt_mirror(self, offset: int, mirror: Mirror) -> None:
        """Show in `mirror` what reads at `offset` return. Whoever has mirrors shows them at each change, and here."""
        self._mirrors[offset] = mirror

    def release_mirror(self, offset: int) -> None:
        """Show what reads at `offset` return no more."""
        del self._mirrors[offset]
