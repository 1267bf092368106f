"""The bus: routing, splitting, overlap, unassigned addresses and latches."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt.devices.debug.post_port import PostPort
from bt.devices.device import Device, Line
from bt.devices.serial.uart16550 import Uart16550
from bt.memory.bus import COUNTED_ADDRESSES, ELSEWHERE, NATIVE_READ, NATIVE_WRITE, Bus, BusConflict


class Recorder(Device):
    """Reads as offset + 0x10 a byte; keeps a list of all accesses."""

    def __init__(self, name: str = "recorder", widest_access: int = 1) -> None:
        super().__init__(name)
        self.widest_access = widest_access
        self.log: list[tuple[str, int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        value = int.from_bytes(bytes(offset + 0x10 + i for i in range(size)), "little")
        self.log.append(("read", offset, size, value))
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append(("write", offset, size, value))


@pytest.fixture(params=[16, 32], ids=["ports", "mmio"])
def bus(request: pytest.FixtureRequest) -> Bus:
    return Bus("test bus", request.param)


def test_device_sees_offsets(bus: Bus) -> None:
    device = Recorder()
    bus.attach(device, 0x20, 2)
    bus.attach(device, 0xA0, 2, offset=2)
    assert [bus.read(address, 1) for address in (0x20, 0x21, 0xA0, 0xA1)] == [0x10, 0x11, 0x12, 0x13]
    assert [(region.start, region.length, region.offset) for region in bus.regions] == [(0x20, 2, 0), (0xA0, 2, 2)]


@pytest.mark.parametrize(
    ("widest", "address", "size", "pieces"),
    [
        (1, 0x100, 4, [(0, 1), (1, 1), (2, 1), (3, 1)]),
        (2, 0x100, 4, [(0, 2), (2, 2)]),
        (4, 0x100, 4, [(0, 4)]),
        (4, 0x101, 2, [(1, 2)]),
        (4, 0x106, 4, [(6, 2)]),  # the upper half is nobody's
        (4, 0x107, 2, [(7, 1)]),
        (4, 0x0FE, 4, [(0, 2)]),
        (4, 0x0FF, 2, [(0, 1)]),
        (8, 0x100, 8, [(0, 8)]),
        (4, 0x100, 8, [(0, 4), (4, 4)]),
    ],
)
def test_accesses_are_split_to_what_the_device_takes(
    bus: Bus, widest: int, address: int, size: int, pieces: list[tuple[int, int]]
) -> None:
    device = Recorder(widest_access=widest)
    bus.attach(device, 0x100, 8)
    value = bus.read(address, size)
    expected = bytes(a - 0x100 + 0x10 if 0x100 <= a < 0x108 else 0xFF for a in range(address, address + size))
    assert value == int.from_bytes(expected, "little")
    bus.write(address, size, value)
    reads = [(offset, n) for kind, offset, n, _ in device.log if kind == "read"]
    writes = [(offset, n) for kind, offset, n, _ in device.log if kind == "write"]
    assert reads == writes == pieces
    # the same bytes went back to where they came from
    assert [entry[1:] for entry in device.log[: len(pieces)]] == [entry[1:] for entry in device.log[len(pieces) :]]


def test_access_straddling_two_devices_reaches_both(bus: Bus) -> None:
    left, right = Recorder("left", 4), Recorder("right", 4)
    bus.attach(left, 0x70, 2)
    bus.attach(right, 0x72, 2)
    assert bus.read(0x70, 4) == 0x11101110
    bus.write(0x71, 2, 0xBBAA)
    assert left.log[-1] == ("write", 1, 1, 0xAA)
    assert right.log[-1] == ("write", 0, 1, 0xBB)


def test_nobody_answers_ones_and_is_counted_once_an_access(bus: Bus) -> None:
    assert [bus.read(0xCFC, size) for size in (1, 2, 4, 8)] == [0xFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF]
    bus.write(0xCF8, 4, 0x80000000)
    assert bus.unassigned_reads == {0xCFC: 4}
    assert bus.unassigned_writes == {0xCF8: 1}


def test_probing_everything_does_not_grow_the_counters_for_ever(bus: Bus) -> None:
    for address in range(COUNTED_ADDRESSES + 10):
        bus.read(address, 1)
        bus.read(address, 1)
    assert len(bus.unassigned_reads) == COUNTED_ADDRESSES + 1
    assert bus.unassigned_reads[ELSEWHERE] == 20
    assert bus.unassigned_reads[0] == 2


def test_end_of_the_port_space() -> None:
    ports = Bus("ports", 16)
    device = Recorder()
    ports.attach(device, 0xFFFF, 1)
    assert ports.read(0xFFFF, 2) == 0xFF10
    assert ports.read(0x10000, 1) == 0xFF


@pytest.mark.parametrize(("start", "length"), [(0x3F8, 8), (0x3F0, 9), (0x3FF, 1), (0x3FA, 2), (0x3F0, 0x20)])
def test_overlap_names_both(bus: Bus, start: int, length: int) -> None:
    bus.attach(Recorder("COM1"), 0x3F8, 8)
    with pytest.raises(BusConflict, match=r"test bus: floppy at .* overlaps COM1 at 0x3f8-0x3ff"):
        bus.attach(Recorder("floppy"), start, length)
    bus.attach(Recorder("below"), 0x3F7, 1)
    bus.attach(Recorder("above"), 0x400, 1)


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0xFFFF, 2), (0x10000, 1), (0x10, 0)])
def test_addresses_outside_the_bus_are_refused(start: int, length: int) -> None:
    with pytest.raises(BusConflict, match="outside the bus's 16-bit addresses"):
        Bus("ports", 16).attach(Recorder(), start, length)


def test_what_is_no_device_is_told_how_to_be_one(bus: Bus) -> None:
    class Lamp:
        """Has what a device needs of its own, and not the rest."""

        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None: ...

    with pytest.raises(TypeError, match=r"^Lamp is no device: derive it from bt\.Device$"):
        bus.attach(Lamp(), 0, 1)  # type: ignore[arg-type]


def test_values_are_cut_to_the_access_size(bus: Bus) -> None:
    device = Recorder()
    bus.attach(device, 0x10, 1)
    bus.write(0x10, 1, 0xFFFFFF12)
    assert device.log == [("write", 0, 1, 0x12)]


def native(bus: Bus, kinds: int = NATIVE_WRITE) -> frozenset[int]:
    """Addresses of latches, where an engine may write without asking; or of `kinds` of access."""
    return frozenset(a for a in range(1 << 16) if bus.native_access[a] & kinds)


def test_latches_live_in_the_bus_storage() -> None:
    storage = (ctypes.c_uint8 * 65536)()  # what an engine would map
    ports = Bus("ports", 16, latch_values=storage)
    post = PostPort()
    post.write(3, 1, 0x77)  # written before it was attached
    ports.attach(post, 0x80, 16)
    assert native(ports) == frozenset(range(0x80, 0x90))
    assert storage[0x83] == 0x77
    storage[0x80] = 0xA5  # a guest's OUT, served by the engine
    assert post.code == ports.read(0x80, 1) == 0xA5
    ports.write(0x8E, 2, 0x1234)
    assert (storage[0x8E], storage[0x8F]) == (0x34, 0x12)
    saved = post.state()
    post.reset()
    assert not any(storage)
    post.restore(saved)
    assert (storage[0x80], storage[0x83], storage[0x8E]) == (0xA5, 0x77, 0x34)


def test_only_the_part_attached_becomes_latches() -> None:
    ports = Bus("ports", 16)
    ports.attach(PostPort(), 0x80, 1)
    assert native(ports) == {0x80}


def test_latch_storage_must_cover_the_bus() -> None:
    with pytest.raises(ValueError, match="256 bytes, not 65536"):
        Bus("ports", 16, latch_values=bytearray(256))


def test_a_region_that_is_detached_is_nobody_s(bus: Bus) -> None:
    device, other = Recorder(), Recorder("other")
    region = bus.attach(device, 0x100, 4)
    bus.attach(other, 0x104, 4)
    bus.detach(region)
    assert [each.device.name for each in bus.regions] == ["other"]
    assert bus.read(0x102, 4) == 0x1110FFFF
    assert device.log == []
    bus.attach(Recorder("successor"), 0x100, 4)
    with pytest.raises(ValueError, match="not in list"):
        bus.detach(region)


def test_a_region_moves_and_may_overlap_where_it_was(bus: Bus) -> None:
    device = Recorder()
    bus.attach(Recorder("neighbour"), 0x110, 4)
    region = bus.move(bus.attach(device, 0x100, 8, offset=2), 0x104)
    assert (region.start, region.end, region.offset) == (0x104, 0x10C, 2)
    assert [bus.read(address, 1) for address in (0x103, 0x104, 0x10B, 0x10C)] == [0xFF, 0x12, 0x19, 0xFF]
    with pytest.raises(BusConflict, match="recorder at 0x109-0x110 overlaps neighbour at 0x110-0x113"):
        bus.move(region, 0x109)
    with pytest.raises(BusConflict, match="outside the bus"):
        bus.move(region, -1)
    assert bus.read(0x104, 1) == 0x12, "what was refused has changed nothing"


def test_latches_and_mirrors_come_and_go_with_their_region() -> None:
    ports = Bus("ports", 16)
    post, uart = PostPort(), Uart16550(Line("IRQ4"), lambda byte: None)
    latches, enables = ports.attach(post, 0x80, 4), ports.attach(uart, 0x20, 2)
    ports.write(0x82, 1, 0x5A)
    ports.write(0x21, 1, 0x0B)
    latches, enables = ports.move(latches, 0x90), ports.move(enables, 0x30)
    assert native(ports) == {0x90, 0x91, 0x92, 0x93}
    assert [ports.native_access[port] for port in (0x21, 0x31)] == [0, NATIVE_READ]
    assert [ports.read(port, 1) for port in (0x21, 0x31, 0x82, 0x92)] == [0xFF, 0x0B, 0xFF, 0x5A]
    ports.latch_values[0x92] = 0x5B  # a guest's OUT, served by the engine
    ports.detach(latches)
    ports.detach(enables)
    assert native(ports, 0xFF) == frozenset()
    ports.latch_values[0x92] = ports.latch_values[0x31] = 0  # whoever has these addresses next
    uart.write(1, 1, 0x07)
    assert (post.read(2, 1), uart.read(1, 1), ports.latch_values[0x31]) == (0x5B, 0x07, 0)
    assert native(ports, 0xFF) == frozenset()
    ports.attach(uart, 0x20, 2)
    assert (ports.native_access[0x21], ports.latch_values[0x21]) == (NATIVE_READ, 0x07)


def test_a_latch_at_two_places_is_one() -> None:
    ports, post = Bus("ports", 16), PostPort()
    first = ports.attach(post, 0x80, 1)
    alias = ports.attach(post, 0x84, 1)
    ports.write(0x84, 1, 0x12)
    assert (ports.latch_values[0x80], ports.read(0x84, 1)) == (0x12, 0x12)
    assert native(ports) == {0x80}
    ports.detach(first)
    assert native(ports) == frozenset()
    assert ports.read(0x84, 1) == 0x12
    ports.detach(alias)
    assert post.code == 0x12


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["attach", "move", "detach"]), st.integers(0, 250), st.integers(1, 12)), max_size=20
    )
)
def test_any_coming_and_going_leaves_a_byte_map(steps: list[tuple[str, int, int]]) -> None:
    buses = Bus("small", 16), Bus("large", 32)
    spans: list[tuple[int, int]] = []
    for what, start, length in steps:
        at = length % len(spans) if spans else 0
        others = spans if what == "attach" else spans[:at] + spans[at + 1 :]
        size = length if what == "attach" or not spans else spans[at][1]
        is_free = all(start + size <= first or first + taken <= start for first, taken in others)
        for bus in buses:
            regions = {region.start: region for region in bus.regions}
            try:
                if what == "attach":
                    bus.attach(Recorder(), start, length)
                elif spans and what == "move":
                    bus.move(regions[spans[at][0]], start)
                elif spans:
                    bus.detach(regions[spans[at][0]])
            except BusConflict:
                assert not is_free
        if what == "detach":
            spans = others
        elif is_free and (what == "attach" or spans):
            spans = [*others, (start, size)]
    expected = {first + i: 0x10 + i for first, length in spans for i in range(length)}
    for bus in buses:
        assert {address: bus.read(address, 1) for address in range(270)} == {
            address: expected.get(address, 0xFF) for address in range(270)
        }


@given(
    spans=st.lists(st.tuples(st.integers(0, 250), st.integers(1, 12), st.sampled_from([1, 2, 4])), max_size=12),
    accesses=st.lists(st.tuples(st.integers(0, 255), st.sampled_from([1, 2, 4, 8])), min_size=1, max_size=20),
)
def test_small_and_large_buses_agree_with_a_byte_map(
    spans: list[tuple[int, int, int]], accesses: list[tuple[int, int]]
) -> None:
    buses = Bus("small", 16), Bus("large", 32)
    bytes_at: dict[int, int] = {}
    for start, length, widest in spans:
        taken = any(address in bytes_at for address in range(start, start + length))
        for bus in buses:
            if taken:
                with pytest.raises(BusConflict):
                    bus.attach(Recorder(widest_access=widest), start, length)
            else:
                bus.attach(Recorder(widest_access=widest), start, length)
        if not taken:
            bytes_at.update((start + i, 0x10 + i) for i in range(length))
    for address, size in accesses:
        expected = bytes(bytes_at.get(a, 0xFF) for a in range(address, address + size))
        assert [bus.read(address, size) for bus in buses] == [int.from_bytes(expected, "little")] * 2
