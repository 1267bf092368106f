"""`Machine.from_qemu`: the machine of a QEMU command line, for Python."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from bt.cli import run
from bt.cli.qemu import defaults
from bt.machine.config import Sinks

if TYPE_CHECKING:
    from bt.machine import Machine


def machine(arguments: Sequence[str], **sinks: Unpack[Sinks]) -> Machine:
    """Parsed as `bt-qemu` does, about to start. Raises what the parser and `Machine` raise; notes are warnings."""
    from bt.machine import Machine

    given = run.parser("Machine.from_qemu").parse_args(arguments)
    defaults.boot_as_qemu(given)
    for note in given.notes:
        warnings.warn(note, stacklevel=3)
    image, medium = run.chosen(given)
    made = Machine(run.configured(given, image, medium), **sinks)
    try:
        run.begin(made, given, image, medium)
    except BaseException:
        made.close()
        raise
    return made
