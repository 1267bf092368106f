"""Memory operands of the instructions that load FP control and state: nothing unmasked, nothing reserved."""

from __future__ import annotations

import struct

from tests.oracles.bulk.batch import Batch
from tests.oracles.bulk.states import States


def control_word(batch: Batch, states: States) -> None:
    """FLDCW."""
    _patch(batch, [struct.pack("<H", states.control()) for _ in range(batch.count)])


def mxcsr(batch: Batch, states: States) -> None:
    """LDMXCSR."""
    _patch(batch, [struct.pack("<I", states.mxcsr()) for _ in range(batch.count)])


def environment(batch: Batch, states: States) -> None:
    """FLDENV."""
    _patch(batch, [_environment(batch, states) for _ in range(batch.count)])


def registers(batch: Batch, states: States) -> None:
    """FRSTOR."""
    contents = [_environment(batch, states) + b"".join(states.stack() for _ in range(8)) for _ in range(batch.count)]
    _patch(batch, contents)


def image(batch: Batch, states: States) -> None:
    """FXRSTOR."""
    _patch(batch, states.images(batch.count))


def _patch(batch: Batch, contents: list[bytes]) -> None:
    assert batch.variant.operand is not None
    batch.patch(batch.variant.operand, contents)


def _environment(batch: Batch, states: States) -> bytes:
    """The protected-mode layouts (SDM vol. 1, figures 8-9 and 8-11), with anything for pointers."""
    tags = batch.random.getrandbits(16)
    head = (states.control(), states.status(), tags)
    if batch.variant.operand_bits == 16:
        return struct.pack("<3H", *head) + batch.random.randbytes(8)
    return struct.pack("<3I", *head) + batch.random.randbytes(16)
