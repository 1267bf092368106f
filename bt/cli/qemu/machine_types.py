"""-M TYPE,...: which of QEMU's PCs a machine is to be."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, get_args

from bt.arguments import nearest
from bt.cli.options import pairs
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


class ChooseMachine(argparse.Action):
    """-M TYPE,...: a second one adds to the first; `help` lists what there is, and ends the program."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        text = str(values)
        if text in ("help", "?", "type=help"):
            print(LISTING)
            parser.exit()
        kind = parse_machine(text, namespace.machine)
        setattr(namespace, self.dest, kind)
        given = dict(pairs(text))
        if any(_Q35.fullmatch(name) for name in (*given, given.get("type", ""))):
            namespace.notes.append(f"{option_string} {text}: bt has QEMU's pc, a 440FX with PIIX; no q35")
        if given.get("accel", "tcg") not in ("tcg", "on"):
            namespace.notes.append(f"{option_string} {text}: guests are translated, with no help of the host's kernel")


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
