"""The buses a guest reaches devices through: the 64 Ki port space and memory-mapped IO."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Protocol

from bt.errors import BtError
from bt.memory.native_registers import NativeRegister, NativeRegisters

PORT_WIDTH_BITS = 16
# What an engine may do at an address of a small bus with the byte kept for it: read it, write it, or take it for the
# number of a native register.
NATIVE_READ, NATIVE_WRITE, NATIVE_CODE = 1, 2, 4

# What one access of the processor takes in guest time, one constant a bus.
PORT_ACCESS_NS = 1_000  # an ISA cycle of 8 bits is 6 clocks of 8.33 MHz, with recovery about 1 us: guests count on it
DEVICE_WINDOW_ACCESS_NS = 250  # a PCI read is about 8 clocks of 33 MHz

COUNTED_ADDRESSES = 4096  # a guest that probes all of memory must not fill the host's
ELSEWHERE = -1  # the key of what is not counted by its own address

_WHOLE_SIZES = {widest: frozenset(size for size in (1, 2, 4, 8) if size <= widest) for widest in (1, 2, 4, 8)}


class BusConflict(BtError):
    """Two devices want the same addresses, or one wants addresses the bus does not have."""


class ByteCells(Protocol):
    """Writable byte storage: a bytearray, a memoryview, an mmap, a ctypes array of c_uint8."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class BusDevice(Protocol):
    """What the bus must know of a device; `bt.devices.device.Device` is the usual one."""

    @property
    def name(self) -> str: ...
    @property
    def widest_access(self) -> int:
        """Bytes of the widest access the device takes in one piece: 1, 2, 4 or 8."""

    @property
    def latches(self) -> frozenset[int]:
        """Offsets that are plain storage: a read returns the last byte written, a write does nothing else."""

    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, size: int, value: int) -> None: ...
    def adopt_latch(self, offset: int, cells: ByteCells, index: int) -> None:
        """From now on keep the latch at `offset` in `cells[index]`, its present value included."""

    def release_latch(self, offset: int) -> None:
        """From now on keep the latch at `offset` yourself, its present value included."""

    @property
    def mirrors(self) -> frozenset[int]:
        """Offsets whose byte the device knows beforehand, most of the time: reading it does nothing else."""

    def adopt_mirror(self, offset: int, mirror: "Mirror") -> None:
        """From now on show in `mirror` what a read at `offset` returns."""

    def release_mirror(self, offset: int) -> None:
        """From now on show it no more."""

    def native_registers(self) -> Mapping[int, NativeRegister]:
        """Registers that native code answers for, by offset; they are neither latches nor mirrors."""

    def native_window(self) -> NativeRegister | None:
        """The same for a device on a wide bus: all its registers, or what it leaves to native code of them."""


class Mirror:
    """A register that an engine reads without asking its device, while the device shows it."""

    def __init__(self, values: ByteCells, native_access: ByteCells, address: int) -> None:
        self._values, self._native_access, self._address = values, native_access, address

    def show(self, value: int) -> None:
        """From now on a read returns `value`."""
        self._values[self._address] = value
        self._native_access[self._address] = NATIVE_READ

    def hide(self) -> None:
        """The next read is for the device itself."""
        self._native_access[self._address] = 0


class Region:
    """`length` addresses from `start`, which the device sees as offsets from `offset`."""

    __slots__ = ("device", "end", "length", "offset", "start", "whole_sizes")

    def __init__(self, device: BusDevice, start: int, length: int, offset: int) -> None:
        self.device, self.start, self.length, self.offset = device, start, length, offset
        self.end = start + length
        self.whole_sizes = _WHOLE_SIZES[device.widest_access]  # access sizes the device takes in one piece

    def __str__(self) -> str:
        return f"{self.device.name} at {self.start:#x}-{self.end - 1:#x}"


class Bus:
    """Routes accesses of 1, 2, 4 or 8 bytes, little-endian, to the devices attached.

    An access wider than its device takes, or reaching beyond it, is halved until the pieces fit and served from the
    lowest address upwards, as the ISA bus splits cycles. Nobody at an address: reads give all ones, writes vanish;
    both are counted by address in `unassigned_reads` and `unassigned_writes`: the first
    `COUNTED_ADDRESSES` of them, the others together as `ELSEWHERE`.
    """

    def __init__(
        self,
        name: str,
        width_bits: int,
        access_ns: int = 0,
        latch_values: ByteCells | None = None,
        native_access: ByteCells | None = None,
        native: NativeRegisters | None = None,
    ) -> None:
        """A bus of 2**`width_bits` addresses; an access takes `access_ns` nanoseconds of the guest's time.

        A bus no wider than the port space keeps the latches and mirrors of its devices in one byte an address,
        `latch_values`, and NATIVE_* bits that say what an engine may do there without asking in another,
        `native_access`; give storage of that many bytes, or leave it to the bus. `native` has what native code serves.
        """
        self.name = name
        self.width_bits = width_bits
        self.access_ns = access_ns
        self.unassigned_reads: Counter[int] = Counter()
        self.unassigned_writes: Counter[int] = Counter()
        self._regions: list[Region] = []  # disjoint; ascending on a bus that is not small
        self._starts: list[int] = []  # of those
        self._native: dict[int, NativeRegister | None] = {}  # by address: registers that an engine need not ask for
        self._offers: dict[BusDevice, dict[int, NativeRegister | None]] = {}  # by device: what else could be
        self._native_registers = NativeRegisters() if native is None else native
        self._is_small = width_bits <= PORT_WIDTH_BITS
        self._by_address: dict[int, Region] = {}  # of a small bus, which has no need of an order
        # reading a byte takes 160 ns through the dictionary, 250 ns by bisection (20 regions)
        self._find: Callable[[int], Region | None] = self._by_address.get if self._is_small else self._bisect
        self.latch_values = self._cells(latch_values)
        self.native_access = self._cells(native_access)

    @property
    def regions(self) -> tuple[Region, ...]:
        """Everything attached, in ascending order of address."""
        return tuple(sorted(self._regions, key=attrgetter("start")))

    def attach(self, device: BusDevice, start: int, length: int, offset: int = 0) -> Region:
        """Give `device` the addresses [`start`, `start` + `length`), which it sees as offsets from `offset`.

        The region is for `detach` and `move`. Raises BusConflict, with nothing changed, if another region is in the way
        or the addresses are outside the bus; TypeError for what is no device.
        """
        try:
            new = Region(device, start, length, offset)
        except AttributeError:
            raise TypeError(f"{type(device).__name__} is no device: derive it from bt.Device") from None
        self._check_room(new)
        self._insert(new)
        return new

    def detach(self, region: Region) -> None:
        """Take the device away from there: nobody is at these addresses then. ValueError unless it is attached."""
        self._regions.remove(region)
        if not self._is_small:
            self._starts.remove(region.start)
            self._native_registers.remove_window(region.start)
            return
        for address in range(region.start, region.end):
            del self._by_address[address]
            if address in self._native:
                self._ask_again(address, region.device, address - region.start + region.offset)

    def move(self, region: Region, start: int) -> Region:
        """Have the device answer from `start` on instead, which the guest may ask for while it runs.

        Raises BusConflict, with nothing changed, if there is no room for it; ValueError unless it is attached.
        """
        new = Region(region.device, start, region.length, region.offset)
        self.detach(region)
        try:
            self._check_room(new)
        except BusConflict:
            self._insert(region)
            raise
        self._insert(new)
        return new

    def answers(self, address: int) -> bool:
        """Whether a device is attached there."""
        return self._find(address) is not None

    def places(self) -> list[tuple[int, int, str]]:
        """First address, the one behind the last, and name of each device that is attached, ascending."""
        return [(region.start, region.end, region.device.name) for region in self.regions]

    def _check_room(self, new: Region) -> None:
        """Raises BusConflict if there is none."""
        if new.start < 0 or new.length <= 0 or new.end > 1 << self.width_bits:
            raise BusConflict(
                f"{self.name}: {new} is outside the bus's {self.width_bits}-bit addresses: move the device"
            )
        if self._is_small and self._by_address.keys().isdisjoint(range(new.start, new.end)):
            return  # the usual case, without a look at all regions
        for old in self._regions:
            if old.start < new.end and new.start < old.end:
                raise BusConflict(f"{self.name}: {new} overlaps {old}: move one of them")

    def _insert(self, new: Region) -> None:
        if self._is_small:
            self._regions.append(new)
            self._by_address.update(dict.fromkeys(range(new.start, new.end), new))
            if offers := self._offers_of(new.device):
                self._serve_natively(new, offers)
            return
        position = bisect_right(self._starts, new.start)
        self._regions.insert(position, new)
        self._starts.insert(position, new.start)
        if (window := new.device.native_window()) is not None:
            self._native_registers.add_window(window, new.start, new.length, new.offset)

    def _offers_of(self, device: BusDevice) -> dict[int, NativeRegister | None]:
        """Offsets of the device that an engine may answer for, and does not yet; what does, if that is native code."""
        offers = self._offers.get(device)
        if offers is None:
            offers = self._offers[device] = {
                **dict.fromkeys(device.latches),
                **dict.fromkeys(device.mirrors),
                **device.native_registers(),
            }
        return offers

    def _ask_again(self, address: int, device: BusDevice, offset: int) -> None:
        """Have engines ask for the register there, which is the device's at `offset`."""
        self._offers[device][offset] = self._native.pop(address)
        if self.native_access[address] & NATIVE_CODE:
            self._native_registers.remove(self.latch_values[address])
        self.native_access[address] = 0
        if offset in device.latches:
            device.release_latch(offset)
        elif offset in device.mirrors:
            device.release_mirror(offset)

    def _serve_natively(self, region: Region, offers: dict[int, NativeRegister | None]) -> None:
        """Have an engine answer for registers there. One that has two places is served at the first."""
        device, from_offset = region.device, region.start - region.offset
        for offset in offers.keys() & range(region.offset, region.offset + region.length):
            address = offset + from_offset
            native = self._native[address] = offers.pop(offset)
            if native is not None:
                if number := self._native_registers.add(native, offset):
                    self.latch_values[address] = number
                    self.native_access[address] = NATIVE_CODE
            elif offset in device.latches:
                device.adopt_latch(offset, self.latch_values, address)
                self.native_access[address] = NATIVE_READ | NATIVE_WRITE
            else:
                device.adopt_mirror(offset, Mirror(self.latch_values, self.native_access, address))

    def _cells(self, given: ByteCells | None) -> ByteCells:
        """One byte an address of a small bus."""
        wanted = 1 << self.width_bits if self._is_small else 0
        if given is None:
            return bytearray(wanted)
        if len(given) != wanted:
            raise ValueError(f"{self.name}: latch storage has {len(given)} bytes, not {wanted}")
        return given

    def read(self, address: int, size: int) -> int:
        """Read `size` bytes at `address`."""
        region = self._find(address)
        if region is not None and size in region.whole_sizes and address + size <= region.end:
            return region.device.read(address - region.start + region.offset, size)
        if size == 1 or self._nobody_at(address, size):
            self._count(self.unassigned_reads, address)
            return (1 << 8 * size) - 1
        half = size // 2
        low = self.read(address, half)
        return low | self.read(address + half, size - half) << 8 * half

    def write(self, address: int, size: int, value: int) -> None:
        """Write the low `size` bytes of `value` at `address`."""
        value &= (1 << 8 * size) - 1
        region = self._find(address)
        if region is not None and size in region.whole_sizes and address + size <= region.end:
            region.device.write(address - region.start + region.offset, size, value)
        elif size == 1 or self._nobody_at(address, size):
            self._count(self.unassigned_writes, address)
        else:
            half = size // 2
            self.write(address, half, value)
            self.write(address + half, size - half, value >> 8 * half)

    def _bisect(self, address: int) -> Region | None:
        position = bisect_right(self._starts, address) - 1
        if position >= 0 and address < self._regions[position].end:
            return self._regions[position]
        return None

    def _count(self, counter: Counter[int], address: int) -> None:
        counter[address if address in counter or len(counter) < COUNTED_ADDRESSES else ELSEWHERE] += 1

    def _nobody_at(self, address: int, size: int) -> bool:
        if self._is_small:
            return self._by_address.keys().isdisjoint(range(address, address + size))
        position = bisect_right(self._starts, address + size - 1) - 1
        return position < 0 or self._regions[position].end <= address
