"""What goes over the APIC bus."""

from enum import IntEnum
from typing import NamedTuple

LOWEST_LEGAL_VECTOR = 16
BROADCAST = 0xFF  # as physical destination


class DeliveryMode(IntEnum):
    """Bits 10:8 of interrupt commands, local vectors and redirection entries (SDM vol. 3A, table "Delivery mode")."""

    FIXED = 0b000
    LOWEST_PRIORITY = 0b001
    SMI = 0b010
    NMI = 0b100
    INIT = 0b101
    START_UP = 0b110
    EXTINT = 0b111


RESERVED_MODE = 0b011


class Message(NamedTuple):
    """An interrupt on its way to the processors that `destination` names: by APIC identifier, or logically."""

    vector: int
    mode: int  # a DeliveryMode, or reserved
    destination: int
    logical: bool
    level: bool  # level-triggered: its end of interrupt is told to the I/O APIC
