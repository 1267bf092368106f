"""-M TYPE,...: which of QEMU's PCs a machine is to be."""

from __future__ import annotations

import argparse
import re
from typing import get_args

from bt.arguments import nearest
from bt.cli.options import HELP, Choice, pairs
from bt.errors import BadUsage
from bt.machine.config import MachineConfig, MachineName

WITHOUT_EFFECT = (
    "accel", "usb", "pcspk-audiodev", "smm", "vmport", "kernel-irqchip", "hpet", "acpi", "graphics", "mem-merge",
    "dump-guest-core", "sata", "smbus", "nvdimm", "igd-passthru", "suppress-vmdesc",
)  # fmt: skip
_Q35 = re.compile(r"q35|pc-q35-[\d.]+")
LISTING = """\
Supported machines are:
pc                   PC with PCI, a 440FX with PIIX (default; also pc-i440fx-..., and q35, whose place it takes)
isapc                PC with ISA only"""


class ChooseMachine(Choice):
    """-M TYPE,...: a second one adds to the first; `help` lists what there is."""

    def listing(self, text: str) -> str | None:
        return LISTING if text in (*HELP, "type=help") else None

    def choose(self, given: argparse.Namespace, option: str, text: str) -> None:
        setattr(given, self.dest, parse_machine(text, given.machine))
        said = dict(pairs(text))
        if any(_Q35.fullmatch(name) for name in (*said, said.get("type", ""))):
            given.notes.append(f"{option}: bt has QEMU's pc, a 440FX with PIIX; no q35")
        if said.get("accel", "tcg") not in ("tcg", "on"):
            from bt.cli.qemu.without_effect import NO_KVM

            given.notes.append(f"{option}: {NO_KVM}")


def parse_machine(text: str, unnamed: MachineName = MachineConfig.machine) -> MachineName:
    """-M's argument: QEMU's names and versions of the PC, `unnamed` if it has none. Raises BadUsage."""
    kind: str = unnamed
    for number, (option, value) in enumerate(pairs(text)):
        if option == "type":
            kind = value
        elif number == 0 and option not in WITHOUT_EFFECT:
            kind = option
        elif option not in WITHOUT_EFFECT:
            raise BadUsage(f"-M {text}: bt does not know {option}{nearest(option, WITHOUT_EFFECT)}")
    if kind == "isapc":
        return "isapc"
    if kind == "pc" or kind.startswith("pc-i440fx") or _Q35.fullmatch(kind):
        return "pc"
    raise BadUsage(f"-M {text}: there are {', '.join(get_args(MachineName))}")
