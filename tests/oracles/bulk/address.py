"""Memory operands that lie at a given address, by every way there is to say so."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from tests.oracles.bulk.batch import Batch
from tests.oracles.bulk.variant import Address

_EBX, _ESP, _EBP, _ESI, _EDI = 3, 4, 5, 6, 7
_MODES_16 = ((_EBX, _ESI), (_EBX, _EDI), (_EBP, _ESI), (_EBP, _EDI), (_ESI, None), (_EDI, None), (_EBP, None),
             (_EBX, None))  # fmt: skip
"""Base and index by ModRM.rm (SDM vol. 2, table 2-1)."""
_WHOLE = (1 << 32) - 1


def place_address(batch: Batch) -> None:
    """Give base and index such values in every record that the address is that of the operand."""
    address, target = batch.variant.address, batch.variant.operand
    if address is None or target is None:
        return
    base, index = address.base, address.index
    rest = target - address.displacement
    if address.bits == 16:
        if base is not None:
            indexes = batch.get(index) if index is not None else [0] * batch.count
            batch.set_low(base, [rest - value & 0xFFFF for value in indexes])
    elif base is None and index is not None:
        # bits that the scale shifts out are anything
        high = [batch.random.getrandbits(32) & ~(_WHOLE // address.scale) for _ in range(batch.count)]
        batch.set(index, [address.value & _WHOLE // address.scale | bits for bits in high])
    elif base is not None and index in (None, base):
        batch.set(base, [address.value] * batch.count)
    elif base is not None and index is not None:
        batch.set(base, [rest - value * address.scale & _WHOLE for value in batch.get(index)])


def encode_address(
    random: Random, reg: int, target: int, bits: int, busy: tuple[int, ...], fixed: Mapping[int, int]
) -> tuple[bytes, Address]:
    """ModRM, SIB and displacement for an operand at `target`; registers in `busy` take no part.

    `fixed` registers have a value already, so the displacement makes up for it.
    """
    if bits == 16:
        return _encode_16(random, reg, target, busy)
    free = [number for number in range(8) if number not in busy and number not in fixed and number != _ESP]
    kind = random.randrange(6 if len(free) > 1 else 2)
    if kind == 0 or not free:
        return bytes([reg << 3 | 5]) + target.to_bytes(4, "little"), Address(None, None, 1, target, 32)
    if kind == 1 and (fixed or _ESP not in busy):
        base, value = random.choice(list(fixed.items())) if fixed else (_ESP, target - random.randint(-128, 127))
        return _with_base(random, reg, base, None, 0, target - value, 32 if fixed else 8, value)
    base = random.choice(free)
    if kind in (1, 2):
        distance = random.choice((0, random.randint(-128, 127), random.getrandbits(32)))
        if distance == 0 and base != _EBP:
            return bytes([reg << 3 | base]), Address(base, None, 1, 0, 32, target)
        return _with_base(random, reg, base, None, 0, distance, 32, target - distance & _WHOLE)
    index, shift = random.choice(free), random.randrange(4)
    value = random.choice((random.getrandbits(32), random.getrandbits(8)))
    if kind == 3:
        displacement = target - (value << shift) & _WHOLE
        code = bytes([reg << 3 | 4, shift << 6 | index << 3 | 5]) + displacement.to_bytes(4, "little")
        return code, Address(None, index, 1 << shift, displacement, 32, value)
    if index == base:
        return _with_base(random, reg, base, index, shift, target - value * (1 + (1 << shift)), 32, value)
    distance = random.choice((0, random.randint(-128, 127), random.getrandbits(32)))
    return _with_base(random, reg, base, index, shift, distance, 32, 0)


def _with_base(
    random: Random, reg: int, base: int, index: int | None, shift: int, displacement: int, size: int, value: int
) -> tuple[bytes, Address]:
    """Base, perhaps index, and a displacement of 8 bits where it fits and nobody wants `size` bits."""
    displacement &= _WHOLE
    signed = displacement - (1 << 32) * (displacement >> 31)
    short = -128 <= signed < 128 and (size == 8 or random.random() < 0.8)
    code = bytes([(0x40 if short else 0x80) | reg << 3 | (base if index is None and base != _ESP else 4)])
    if index is not None or base == _ESP:
        code += bytes([shift << 6 | (_ESP if index is None else index) << 3 | base])
    code += displacement.to_bytes(4, "little")[: 1 if short else 4]
    return code, Address(base, index, 1 << shift, displacement, 32, value)


def _encode_16(random: Random, reg: int, target: int, busy: tuple[int, ...]) -> tuple[bytes, Address]:
    usable = [rm for rm, mode in enumerate(_MODES_16) if not set(mode) & set(busy)]
    if not usable or random.random() < 0.2:
        return bytes([reg << 3 | 6]) + (target & 0xFFFF).to_bytes(2, "little"), Address(None, None, 1, target, 16)
    rm = random.choice(usable)
    base, index = _MODES_16[rm]
    size = random.choice((0, 1, 2)) if rm != 6 else random.choice((1, 2))
    displacement = random.choice((random.getrandbits(16), random.getrandbits(7)))
    if size < 2:
        displacement = random.randint(-128, 127) * size & 0xFFFF
    code = bytes([size << 6 | reg << 3 | rm]) + displacement.to_bytes(2, "little")[:size]
    return code, Address(base, index, 1, displacement, 16)
