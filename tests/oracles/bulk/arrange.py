"""Operands with which instructions neither fault nor do nothing: each function changes a batch's start states."""

from __future__ import annotations

from bt.x86.opcodes import Method
from tests.cases import layout
from tests.cases.model import FLAG_BITS
from tests.oracles.bulk.batch import Batch

_EAX, _ECX, _EDX, _EBX, _ESP, _EBP, _ESI, _EDI = range(8)
_SYSTEM_FLAGS = 0x1B_7000
"""IOPL, NT, RF, VM, VIF, VIP: what POPF and IRET at CPL 3 must not take over, but for NT."""
_ID = FLAG_BITS["id"]

DATA_SELECTORS = (layout.DATA_SELECTOR, layout.DATA_SELECTOR & ~3, layout.CODE_SELECTOR, 0x07, 0x0F, 0)
"""What DS, ES, FS and GS can be loaded with: flat segments of the GDT and LDT, and null.

Not a null selector with an RPL: any interrupt of the host makes it 0, for IRET to an outer level does.
"""
_ANY_SELECTORS = (*DATA_SELECTORS, layout.CODE_SELECTOR & ~3, 1, 2, 3, 0x17, 0xFFF7, 0xFFFB)
"""The last three lie behind the ends of LDT and GDT."""


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) * (value >> bits - 1)


def divide(batch: Batch) -> None:
    """A dividend made of a divisor, a quotient that fits and a remainder."""
    random, width = batch.random, batch.variant.width
    signed = batch.variant.form.name == "idiv"
    whole, top = 1 << width, 1 << width - 1
    edges = (0, 1, 2, top - 1, top, top + 1, whole - 1)
    divisors, dividends = [], []
    for value in batch.operands(width):
        divisor = value or random.choice((1, top, whole - 1))
        quotient = random.choice((*edges, random.randrange(whole)))
        if signed:
            wanted = _signed(divisor, width) * _signed(quotient, width)
            rest = random.choice((0, 1, abs(_signed(divisor, width)) - 1)) % abs(_signed(divisor, width))
            # the remainder has the sign of the dividend
            negative = wanted < 0 or (wanted == 0 and random.getrandbits(1))
            dividends.append((wanted - rest if negative else wanted + rest) & whole * whole - 1)
        else:
            dividends.append(divisor * quotient + random.choice((0, 1, divisor - 1)) % divisor)
        divisors.append(divisor)
    batch.set_operands(width, divisors)
    if width == 8:
        batch.set_part(_EAX, 16, dividends)
    else:
        batch.set_part(_EAX, width, [value & whole - 1 for value in dividends])
        batch.set_part(_EDX, width, [value >> width for value in dividends])


def limits(batch: Batch) -> None:
    """BOUND: an index between its limits, ends included."""
    width, variant = batch.variant.operand_bits, batch.variant
    assert variant.operand is not None
    indexes, contents = [], []
    for data in batch.memory(variant.operand, width // 4):
        values = [_signed(int.from_bytes(part, "little"), width) for part in (data[: width // 8], data[width // 8 :])]
        lower, upper = min(values), max(values)
        indexes.append(batch.random.choice((lower, upper, batch.random.randint(lower, upper))))
        contents.append(b"".join(value.to_bytes(width // 8, "little", signed=True) for value in (lower, upper)))
    batch.patch(variant.operand, contents)
    batch.set_part(variant.reg, width, [index & (1 << width) - 1 for index in indexes])


def bit_offset(batch: Batch) -> None:
    """BT and its kin in memory: an offset in a register reaches 128 bits to either side."""
    if batch.variant.operand is not None and batch.variant.form.operands[1].method is Method.REGISTER:
        width = batch.variant.operand_bits
        offsets = batch.choose(range(-128, 128))
        batch.set_part(batch.variant.reg, width, [offset & (1 << width) - 1 for offset in offsets])


def comparand(batch: Batch) -> None:
    """CMPXCHG and CMPXCHG8B: every other time the accumulator equals the destination."""
    if batch.variant.form.name == "cmpxchg8b":
        assert batch.variant.operand is not None
        found = batch.memory(batch.variant.operand, 8)
        pairs = zip(batch.get(_EDX), batch.get(_EAX), found, strict=True)
        batch.patch(
            batch.variant.operand,
            [
                old if batch.random.getrandbits(1) else (high << 32 | low).to_bytes(8, "little")
                for high, low, old in pairs
            ],
        )
        return
    width = batch.variant.width
    accumulators = batch.part(_EAX, width)
    both = zip(accumulators, batch.operands(width), strict=True)
    batch.set_operands(width, [wanted if batch.random.getrandbits(1) else old for wanted, old in both])


def xlat(batch: Batch) -> None:
    """EBX + AL within the window, from a table that may begin before it."""
    places = batch.choose(range(batch.where.window_bytes))
    pairs = zip(places, batch.part(_EAX, 8), strict=True)
    starts = [batch.where.window + place - index for place, index in pairs]
    if batch.variant.address_bits == 16:
        batch.set_low(_EBX, starts)
    else:
        batch.set(_EBX, starts)


def string(batch: Batch) -> None:
    """ESI and EDI apart or overlapping, a few elements, and elements that are often equal."""
    random, variant = batch.random, batch.variant
    batch.window[:] = bytes(random.choices((0, 0, 0, 0xFF, random.randrange(256)), k=len(batch.window)))
    for row, kind in enumerate(batch.choose((0, 1, 2))):  # mostly the same everywhere, so that REPE goes on
        if kind:
            start = row * batch.window_bytes
            batch.window[start : start + batch.where.window_bytes] = bytes([kind - 1]) * batch.where.window_bytes
    if variant.form.name == "scas":
        batch.set(_EAX, batch.choose((0, 0x01010101, 0xFFFFFFFF, random.getrandbits(32))))
    sources = [batch.where.window + offset for offset in batch.choose(range(32, 62))]
    targets = [batch.where.window + offset for offset in batch.choose(range(32, 93))]
    setter = batch.set_low if variant.address_bits == 16 else batch.set
    setter(_ESI, sources)
    setter(_EDI, targets)
    if variant.repeated:
        setter(_ECX, batch.choose(range(9)))


def limited_shift(batch: Batch) -> None:
    """SHLD and SHRD of 16 bits: by more than 16 the result is undefined (SDM vol. 2 SHLD)."""
    if batch.variant.operand_bits == 16 and batch.variant.form.operands[2].method is not Method.IMMEDIATE:
        batch.set_part(_ECX, 8, [count if count & 31 <= 16 else count & 0xEF for count in batch.part(_ECX, 8)])


def branch_target(batch: Batch) -> None:
    """An indirect target."""
    batch.set_operands(batch.variant.operand_bits, batch.choose(batch.where.pads))


def counted(batch: Batch) -> None:
    """LOOP and JCXZ: a count that is often about to be zero, in 32 or in 16 bits."""
    batch.set(_ECX, batch.choose((0, 1, 2, 0xFFFFFFFF, 0x10000, 0x10001, 0x1FFFF, batch.random.getrandbits(32))))


def _stack_words(batch: Batch, *columns: list[int]) -> None:
    """Words of the operand size, the first at ESP."""
    size = batch.variant.operand_bits // 8
    mask = (1 << 8 * size) - 1
    rows = zip(*columns, strict=True)
    batch.patch(batch.where.middle, [b"".join((v & mask).to_bytes(size, "little") for v in row) for row in rows])


def return_address(batch: Batch) -> None:
    """RET: a pad at the top of the stack."""
    _stack_words(batch, batch.choose(batch.where.pads))


def _junk_above(batch: Batch, value: int) -> list[int]:
    """Selectors in slots of 32 bits, whose upper half is not looked at."""
    return [batch.random.getrandbits(16) << 16 | value for _ in range(batch.count)]


def far_return(batch: Batch) -> None:
    """RETF to the same privilege level."""
    _stack_words(batch, batch.choose(batch.where.pads), _junk_above(batch, layout.CODE_SELECTOR))


def _flag_images(batch: Batch) -> list[int]:
    """EFLAGS with everything that CPL 3 must not change; not TF and AC, which would end the program."""
    random = batch.random
    return [flags & ~2 ^ (random.getrandbits(32) & (_SYSTEM_FLAGS | _ID | 0x202)) for flags in batch.flags]


def interrupt_return(batch: Batch) -> None:
    """IRET to the same privilege level."""
    selectors = _junk_above(batch, layout.CODE_SELECTOR)
    _stack_words(batch, batch.choose(batch.where.pads), selectors, _flag_images(batch))


def pop_flags(batch: Batch) -> None:
    """POPF of anything."""
    _stack_words(batch, _flag_images(batch))


def far_target(batch: Batch) -> None:
    """JMP and CALL through a far pointer, if that is in memory."""
    if batch.variant.operand is None:
        return
    size, selector = batch.variant.operand_bits // 8, layout.CODE_SELECTOR.to_bytes(2, "little")
    batch.patch(
        batch.variant.operand, [pad.to_bytes(size, "little") + selector for pad in batch.choose(batch.where.pads)]
    )


def _selectors(batch: Batch, stack_segment: bool) -> list[int]:
    return batch.choose((layout.DATA_SELECTOR,) if stack_segment else DATA_SELECTORS)


def load_selector(batch: Batch) -> None:
    """MOV to a segment register."""
    batch.set_operands(16, _selectors(batch, batch.variant.reg == 2))


def pop_selector(batch: Batch) -> None:
    """POP of a segment register."""
    _stack_words(batch, _selectors(batch, batch.variant.form.operands[0].number == 2))


def load_far_pointer(batch: Batch) -> None:
    """LDS and the like: the selector behind the offset."""
    assert batch.variant.operand is not None
    values = _selectors(batch, batch.variant.form.name == "lss")
    place = batch.variant.operand + batch.variant.operand_bits // 8
    batch.patch(place, [value.to_bytes(2, "little") for value in values])


def any_selector(batch: Batch) -> None:
    """LAR, LSL, VERR, VERW: descriptors of ours, and none."""
    batch.set_operands(16, batch.choose(_ANY_SELECTORS))


def no_overflow(batch: Batch) -> None:
    """INTO that does nothing."""
    batch.set_flags(flags & ~FLAG_BITS["of"] for flags in batch.flags)


def lengths(batch: Batch) -> None:
    """PCMPESTRI and its kin: lengths of either sign, many of them shorter than a register."""
    for register in (_EAX, _EDX):
        batch.set(register, [value & 0xFFFFFFFF for value in batch.choose((*range(-18, 19), 0x100, -1 << 31))])


def masked_store(batch: Batch) -> None:
    """MASKMOVQ and MASKMOVDQU: (E)DI in the window."""
    places = [batch.where.window + offset for offset in batch.choose(range(batch.where.window_bytes - 15))]
    (batch.set_low if batch.variant.address_bits == 16 else batch.set)(_EDI, places)
