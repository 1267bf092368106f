"""The south bridge: PCI interrupts to the 8259s, reset control, the ISA bridge's and the IDE function's registers."""

from collections.abc import Callable, Sequence
from typing import Any

from bt.devices.device import Device, Line
from bt.devices.pci.function import Bar, Identity, PciFunction, Space

ISA_IDENTITY = Identity(0x8086, 0x7000, 0x060100, status=0x0200, multifunction=True)
ISA_DEFAULTS = {
    0x4C: 0x4D,  # ISA I/O recovery
    0x4E: 0x03,  # X-bus chip selects
    0x60: 0x80, 0x61: 0x80, 0x62: 0x80, 0x63: 0x80,  # PIRQs routed nowhere
    0x69: 0x02,  # top of memory
    0x70: 0x80,  # motherboard device IRQ
    0x76: 0x0C, 0x77: 0x0C,  # motherboard DMA
    0x78: 0x02,  # programmable chip select
    0xA0: 0x08, 0xA8: 0x0F,  # SMI
}  # fmt: skip
IDE_IDENTITY = Identity(0x8086, 0x7010, 0x010180, status=0x0280)
IDE_BUS_MASTER = 4  # the number of its only region
IDE_BARS = {IDE_BUS_MASTER: Bar(16, Space.IO)}

FIRST_PIRQ, PIRQ_COUNT = 0x60, 4
ROUTED_NOWHERE, ROUTE = 1 << 7, 0x0F
NOT_ROUTABLE = frozenset({0, 1, 2, 8, 13})

RESET_CPU, SYSTEM_RESET = 1 << 2, 1 << 1  # of the reset control register


def pirq_of(device: int, pin: int) -> int:
    """Which PIRQ INTx# of slot `device` leads to (`pin`: 1 is INTA#): slots take them in turn."""
    return (device + pin - 2) % PIRQ_COUNT


class IsaBridge(PciFunction):
    """Intel 82371SB PIIX3 (data sheet 290550), function 0: PIRQ route control registers 60h-63h.

    An interrupt line is high while any PCI pin routed to it is; several functions share a PIRQ and several PIRQs a
    line. Whether the 8259 takes it as a level is its ELCR's business. Other registers are storage.
    """

    def __init__(self, irqs: Sequence[Line], name: str = "ISA bridge") -> None:
        """`irqs`: wires of its own to the 16 interrupt inputs."""
        self._irqs = irqs
        self._driven = set[int]()  # those that are high
        self._asserted = [set[str]() for _ in range(PIRQ_COUNT)]  # names of the functions that pull each PIRQ
        super().__init__(name, ISA_IDENTITY, defaults=ISA_DEFAULTS)

    def connect(self, function: PciFunction, device: int, pin: int = 1) -> None:
        """Wire INTx# of a function in slot `device` as the mainboard does."""
        pirq = pirq_of(device, pin)

        def changed(level: bool) -> None:
            (self._asserted[pirq].add if level else self._asserted[pirq].discard)(function.name)
            self._drive()

        function.intx.watch(changed)

    def written(self, offset: int, size: int) -> None:
        if offset < FIRST_PIRQ + PIRQ_COUNT and offset + size > FIRST_PIRQ:
            self._drive()

    def state(self) -> dict[str, Any]:
        return super().state() | {"asserted": [sorted(names) for names in self._asserted]}

    def restore(self, state: dict[str, Any]) -> None:
        self._asserted = [set(names) for names in state["asserted"]]
        super().restore(state)

    def _drive(self) -> None:
        high = set()
        for pirq, functions in enumerate(self._asserted):
            route = self._config[FIRST_PIRQ + pirq]
            if functions and not route & ROUTED_NOWHERE and route & ROUTE not in NOT_ROUTABLE:
                high.add(route & ROUTE)
        for number in sorted(high ^ self._driven):
            self._irqs[number].set(number in high)
        self._driven = high


class ResetControl(Device):
    """Port CF9h (82371SB data sheet 290550, "RC"): bit 2 rising resets, the whole system if bit 1 is set."""

    fields = ("_value",)

    def __init__(self, reset: Callable[[bool], None], name: str = "reset control") -> None:
        """`reset(hard)` is called; hard: everything, not the processor alone."""
        super().__init__(name)
        self._reset = reset
        self._value = 0

    def read(self, offset: int, size: int) -> int:
        return self._value

    def write(self, offset: int, size: int, value: int) -> None:
        hard = bool(value & SYSTEM_RESET)
        rises = value & RESET_CPU and not self._value & RESET_CPU
        self._value = value & SYSTEM_RESET  # bit 2 clears itself
        if rises:
            self._reset(hard)

    def reset(self) -> None:
        self._value = 0


def ide_function(moved: Callable[[int, int | None], None], name: str = "IDE function") -> PciFunction:
    """Function 1: what firmware and drivers look for; the channels are at the ISA addresses."""
    return PciFunction(name, IDE_IDENTITY, IDE_BARS, moved=moved)
