"""8259A data sheet, the AT's cascade and ELCR, and what Linux does to the pair."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt.devices.chipset.pic8259 import Pic8259Pair
from bt.devices.device import Line
from tests.devices.board import Edges, transplant

MASTER, SLAVE, ELCR = 0, 2, 4
EOI = 0x20
READ_IRR, READ_ISR, POLL, SET_SPECIAL_MASK, RESET_SPECIAL_MASK = 0x0A, 0x0B, 0x0C, 0x68, 0x48


class Board:
    def __init__(self) -> None:
        self.intr = Line("INTR")
        self.edges = Edges(self.intr)
        self.pic = Pic8259Pair(self.intr)

    def initialize(self, master_icw4: int = 0x01, slave_icw4: int = 0x01, masks: tuple[int, int] = (0, 0)) -> None:
        """As an AT's firmware or Linux's init_8259A() does, with vectors 0x20 and 0x28."""
        for chip, base, icw3, icw4, mask in (
            (MASTER, 0x20, 0x04, master_icw4, masks[0]),
            (SLAVE, 0x28, 0x02, slave_icw4, masks[1]),
        ):
            self.out(chip, 0x11)
            for value in (base, icw3, icw4, mask):
                self.out(chip + 1, value)

    def out(self, offset: int, value: int) -> None:
        self.pic.write(offset, 1, value)

    def read(self, offset: int) -> int:
        return self.pic.read(offset, 1)

    def irr(self, chip: int) -> int:
        self.out(chip, READ_IRR)
        return self.read(chip)

    def isr(self, chip: int) -> int:
        self.out(chip, READ_ISR)
        return self.read(chip)

    def eoi(self, irq: int) -> None:
        if irq >= 8:
            self.out(SLAVE, EOI)
        self.out(MASTER, EOI)


@pytest.fixture
def board() -> Board:
    board = Board()
    board.initialize()
    return board


def test_nothing_interrupts_before_initialization() -> None:
    board = Board()
    board.pic.line(1).raise_()
    assert not board.intr.level
    board.out(MASTER, 0x11)
    board.out(MASTER + 1, 0x20)
    board.out(MASTER + 1, 0x04)
    assert not board.intr.level
    board.out(MASTER + 1, 0x01)
    assert not board.intr.level  # ICW1 forgot the edge
    board.pic.line(1).lower()
    board.pic.line(1).raise_()
    assert board.intr.level


@pytest.mark.parametrize("irq", [n for n in range(16) if n != 2])
def test_every_line_has_its_vector(board: Board, irq: int) -> None:
    board.pic.line(irq).raise_()
    assert board.intr.level
    assert board.irr(SLAVE if irq >= 8 else MASTER) == 1 << irq % 8
    assert board.pic.acknowledge() == 0x20 + irq
    assert not board.intr.level
    assert board.isr(MASTER) == (1 << irq if irq < 8 else 0x04)
    assert board.isr(SLAVE) == (1 << irq - 8 if irq >= 8 else 0)
    board.eoi(irq)
    assert (board.isr(MASTER), board.isr(SLAVE)) == (0, 0)
    assert not board.intr.level  # one edge, one interrupt


def test_irq2_is_the_cascade(board: Board) -> None:
    with pytest.raises(KeyError):
        board.pic.line(2)


def test_linux_probe_and_mask_readback() -> None:
    """probe_8259A(): a mask written with the cascade open must read back, or there is no PIC."""
    board = Board()
    board.out(SLAVE + 1, 0xFF)
    board.out(MASTER + 1, 0xFB)
    assert board.read(MASTER + 1) == 0xFB
    board.initialize(masks=(0xFB, 0xFF))
    assert (board.read(MASTER + 1), board.read(SLAVE + 1)) == (0xFB, 0xFF)


def test_requests_are_remembered_while_masked(board: Board) -> None:
    board.out(MASTER + 1, 0xFF)
    board.pic.line(4).raise_()
    assert not board.intr.level
    assert board.irr(MASTER) == 0x10
    board.out(MASTER + 1, 0xEF)
    assert board.intr.level


def test_request_withdrawn_before_it_is_acknowledged_is_spurious(board: Board) -> None:
    board.pic.line(5).raise_()
    board.pic.line(5).lower()
    assert not board.intr.level
    assert board.pic.acknowledge() == 0x27
    assert board.isr(MASTER) == 0  # which is how a kernel tells it from a real IRQ 7


def test_slave_request_withdrawn_leaves_the_master_spurious(board: Board) -> None:
    board.pic.line(12).raise_()
    board.pic.line(12).lower()
    assert board.pic.acknowledge() == 0x27


def test_slave_request_polled_away_leaves_the_master_spurious(board: Board) -> None:
    board.pic.line(9).raise_()
    board.out(SLAVE, POLL)
    assert board.read(SLAVE) == 0x81
    assert not board.intr.level
    assert board.pic.acknowledge() == 0x27


def test_priorities_nest_fully(board: Board) -> None:
    for irq in (5, 3, 10, 1):
        board.pic.line(irq).raise_()
    assert board.pic.acknowledge() == 0x21
    assert not board.intr.level  # 3, 5 and 10 have lower priority
    board.pic.line(0).raise_()
    assert board.intr.level  # 0 has higher
    assert board.pic.acknowledge() == 0x20
    for irq, following in ((0, None), (1, 10), (10, 3), (3, 5)):
        board.eoi(irq)
        assert board.intr.level == (following is not None)
        if following is not None:
            assert board.pic.acknowledge() == 0x20 + following
    board.eoi(5)
    assert not board.intr.level


def test_two_slave_requests_come_one_after_the_other(board: Board) -> None:
    board.pic.line(14).raise_()
    board.pic.line(11).raise_()
    assert board.pic.acknowledge() == 0x2B
    board.eoi(11)
    assert board.intr.level
    assert board.pic.acknowledge() == 0x2E
    board.eoi(14)
    assert not board.intr.level


def test_slave_in_auto_eoi_does_not_lose_its_second_request() -> None:
    board = Board()
    board.initialize(master_icw4=3, slave_icw4=3)
    board.pic.line(14).raise_()
    board.pic.line(11).raise_()
    assert [board.pic.acknowledge(), board.pic.acknowledge()] == [0x2B, 0x2E]
    assert not board.intr.level


def test_special_fully_nested_master_lets_a_higher_slave_request_through() -> None:
    for icw4, nested in ((0x01, False), (0x11, True)):
        board = Board()
        board.initialize(master_icw4=icw4)
        board.pic.line(14).raise_()
        board.pic.acknowledge()
        board.pic.line(8).raise_()
        assert board.intr.level == nested


def test_auto_eoi_leaves_nothing_in_service() -> None:
    board = Board()
    board.initialize(master_icw4=3)
    board.pic.line(3).raise_()
    assert board.pic.acknowledge() == 0x23
    assert board.isr(MASTER) == 0
    board.pic.line(6).raise_()
    assert board.intr.level


def test_level_triggered_input_requests_again_until_lowered(board: Board) -> None:
    board.out(ELCR, 0x20)
    board.pic.line(5).raise_()
    assert board.pic.acknowledge() == 0x25
    board.eoi(5)
    assert board.intr.level
    board.pic.line(5).lower()
    assert not board.intr.level
    board.pic.line(5).raise_()
    assert board.intr.level


def test_elcr_has_no_bits_for_the_isa_only_interrupts(board: Board) -> None:
    board.out(ELCR, 0xFF)
    board.out(ELCR + 1, 0xFF)
    assert (board.read(ELCR), board.read(ELCR + 1)) == (0xF8, 0xDE)


@pytest.mark.parametrize(("elcr", "served"), [(0x00, 1), (0x20, 3)])
def test_a_shared_wire_asks_until_its_last_driver_is_served(board: Board, elcr: int, served: int) -> None:
    """Level-triggered, as PCI's INTx; an edge-triggered input never hears of the second one that holds it high."""
    board.out(ELCR, elcr)
    disk, network = (board.pic.line(5).driver(name) for name in ("disk", "network"))
    disk.raise_()
    network.raise_()
    acknowledged = 0
    for driver in (None, disk, network):  # whom the handler serves: at first it looks at the wrong device
        if board.intr.level:
            assert board.pic.acknowledge() == 0x25
            acknowledged += 1
        if driver is not None:
            driver.lower()
        board.eoi(5)
    assert acknowledged == served
    assert not board.intr.level


def order_of_service(board: Board) -> list[int]:
    """Raise the master's eight inputs but the cascade, and see in which order they are served."""
    for irq in (0, 1, 3, 4, 5, 6, 7):
        board.pic.line(irq).lower()
        board.pic.line(irq).raise_()
    order = []
    while board.intr.level:
        order.append(board.pic.acknowledge() - 0x20)
        board.out(MASTER, 0x60 | order[-1])
    return order


@pytest.mark.parametrize(
    ("commands", "order"),
    [
        ([], [0, 1, 3, 4, 5, 6, 7]),
        ([0xC4], [5, 6, 7, 0, 1, 3, 4]),  # set priority: 4 is lowest
        ([0xC7], [0, 1, 3, 4, 5, 6, 7]),
        ([0xE3], [4, 5, 6, 7, 0, 1, 3]),  # rotate on specific EOI
        ([0x40], [0, 1, 3, 4, 5, 6, 7]),  # no operation
    ],
)
def test_rotation(board: Board, commands: list[int], order: list[int]) -> None:
    for command in commands:
        board.out(MASTER, command)
    assert order_of_service(board) == order


def test_rotate_on_non_specific_eoi(board: Board) -> None:
    board.pic.line(4).raise_()
    board.pic.acknowledge()
    board.out(MASTER, 0xA0)
    assert board.isr(MASTER) == 0
    assert order_of_service(board) == [5, 6, 7, 0, 1, 3, 4]


def test_rotate_in_auto_eoi() -> None:
    board = Board()
    board.initialize(master_icw4=3)
    board.out(MASTER, 0x80)
    board.pic.line(4).raise_()
    board.pic.acknowledge()
    board.pic.line(3).raise_()
    board.pic.line(6).raise_()
    assert [board.pic.acknowledge(), board.pic.acknowledge()] == [0x26, 0x23]
    board.out(MASTER, 0x00)  # clears it: 3 stays lowest
    board.pic.line(4).lower()
    board.pic.line(4).raise_()
    board.pic.acknowledge()
    assert order_of_service(board) == [4, 5, 6, 7, 0, 1, 3]


def test_specific_eoi_ends_only_its_level(board: Board) -> None:
    board.pic.line(6).raise_()
    board.pic.acknowledge()
    board.pic.line(1).raise_()
    board.pic.acknowledge()
    board.out(MASTER, 0x66)
    assert board.isr(MASTER) == 0x02
    board.out(MASTER, EOI)
    assert board.isr(MASTER) == 0


def test_special_mask_mode_lets_lower_levels_interrupt(board: Board) -> None:
    board.pic.line(3).raise_()
    board.pic.acknowledge()
    board.pic.line(6).raise_()
    assert not board.intr.level
    board.out(MASTER + 1, 0x08)
    board.out(MASTER, SET_SPECIAL_MASK)
    assert board.intr.level
    assert board.pic.acknowledge() == 0x26
    board.out(MASTER, EOI)  # passes over level 3, which is masked
    assert board.isr(MASTER) == 0x08
    board.pic.line(7).raise_()
    board.out(MASTER, RESET_SPECIAL_MASK)
    assert not board.intr.level


def test_poll_acknowledges(board: Board) -> None:
    board.out(MASTER, POLL)
    assert board.read(MASTER) == 0
    board.pic.line(4).raise_()
    board.out(MASTER, POLL)
    assert board.read(MASTER) == 0x84
    assert not board.intr.level
    assert board.isr(MASTER) == 0x10
    board.out(MASTER, POLL)
    assert board.read(MASTER + 1) == 0  # either address polls


def test_read_register_selection_is_kept(board: Board) -> None:
    board.pic.line(3).raise_()
    board.pic.acknowledge()
    board.out(MASTER, READ_ISR)
    assert [board.read(MASTER), board.read(MASTER)] == [0x08, 0x08]
    board.out(MASTER, READ_IRR)
    assert [board.read(MASTER), board.read(MASTER)] == [0x00, 0x00]


def test_initialization_without_icw4_and_single() -> None:
    board = Board()
    board.out(MASTER, 0x12)  # single, no ICW4
    board.out(MASTER + 1, 0x47)
    board.out(MASTER + 1, 0xFE)  # already OCW1
    assert board.read(MASTER + 1) == 0xFE
    board.pic.line(0).raise_()
    assert board.pic.acknowledge() == 0x40


def test_icw1_clears_mask_service_and_edges(board: Board) -> None:
    board.pic.line(1).raise_()
    board.pic.acknowledge()
    board.pic.line(6).raise_()
    board.out(MASTER + 1, 0xAA)
    board.initialize()
    assert (board.read(MASTER + 1), board.isr(MASTER), board.irr(MASTER)) == (0, 0, 0)


@given(
    ops=st.lists(
        st.one_of(
            st.tuples(st.just("out"), st.sampled_from([0, 1, 2, 3]), st.integers(0, 255).filter(lambda v: not v & 16)),
            st.tuples(st.just("line"), st.sampled_from([n for n in range(16) if n != 2]), st.integers(0, 1)),
            st.tuples(st.just("ack"), st.just(0), st.just(0)),
        ),
        max_size=40,
    )
)
def test_whatever_happens_intr_means_an_acknowledge_finds_something(ops: list[tuple[str, int, int]]) -> None:
    board, twin = Board(), Board()
    board.initialize()
    for kind, where, value in ops:
        match kind:
            case "out":
                board.out(where, value)
            case "line":
                board.pic.line(where).set(bool(value))
            case _:
                had_request = board.intr.level
                vector = board.pic.acknowledge()
                assert 0x20 <= vector <= 0x2F
                if had_request:
                    assert board.pic.line(vector - 0x20).level
                else:
                    assert vector == 0x27
    transplant(board.pic, twin.pic)
    assert twin.intr.level == board.intr.level
    assert twin.pic.acknowledge() == board.pic.acknowledge()
