"""`bt run IMAGE`: run a guest until it ends, and exit with its status."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, Unpack, get_args

from bt import __version__, machine
from bt.boot.files.medium import Medium
from bt.cli import console, devices, drives, library, options
from bt.end import End, statuses
from bt.errors import BadUsage
from bt.machine.config import AfterTripleFault, Sinks

if TYPE_CHECKING:
    from bt.cli.qemu.without_effect import Option
    from bt.x86.fault_chain import Failure

WIDTH = 110
RESULT_SCHEMA = "bt.run/1"
EPILOG = """\
IMAGE is a built-in or fetched guest (see `bt images`), a multiboot or plain ELF file, or a Linux bzImage; gzip'ed, too.
On a terminal every key is the guest's, Ctrl-C too; Ctrl-A x stops, Ctrl-A c switches, Ctrl-A h lists the keys.

exit status (a signal that ends bt, SIGTERM or SIGHUP or the SIGPIPE of closed output, is none: the shell adds 128):
{statuses}

taken for QEMU's sake, with a note where something is missing:
{taken}

BT_DEBUG=1 to 5 in the environment shows on stderr what gets translated, in growing detail (docs/debugging.md)"""


def main(arguments: Sequence[str]) -> int:
    return execute(parser().parse_args(arguments)).status


def execute(given: Namespace, *, stays_halted: bool = False) -> machine.Result:
    """Run the guest of a command line, and say on stderr what there is to say of it.

    `stays_halted`: one that has halted for good is still there while somebody may look at it.
    """
    for note in given.notes:
        print(f"bt: {note}", file=sys.stderr)
    image, medium = chosen(given)
    with _pid_file(given), console.Console(given) as outside:
        record = _open_record(given.json) if given.json else None  # before the run: its result must not be lost
        pc = powered_on(given, image, medium, **outside.sinks())
        if os.environ.get("BT_DEBUG"):
            from bt.inspect.explanation import debug  # what disassembles is no part of an ordinary start

            debug.attach(pc, debug.level(), lambda line: print(line, file=sys.stderr))
        if given.log:
            from bt.cli import log

            log.attach(pc, given.log, given.log_file)
        if given.stats:
            pc.keep_accounts()
        if given.triple_fault == "reset":
            _tell_of_triple_fault(pc, image if medium is None else None)
        if given.is_stopped:
            pc.pause()
        pc.stays_halted = stays_halted
        with outside.attached(pc):
            result = pc.run(max_insns=given.max_insns, timeout=given.timeout)
            if outside.gdb is not None:
                outside.gdb.ended(result.status)
    if record is not None:
        import json  # which nobody needs who asks for no record

        json.dump(_record(given, pc.config.cpu, result), record, indent=1)
        record.write("\n")
        record.flush()
    if given.stats:
        from bt.cli.stats import show  # rich takes longer to import than a small guest to run

        show(result)
    if result.reason is End.TRIPLE_FAULT:
        _show_triple_fault(pc, result.fault_chain, image if medium is None else None)
    elif result.reason.needs_a_word:
        detail = f": {result.detail}" if result.detail else ""
        print(f"bt: {result.reason.sentence} after {result.instructions:,} instructions{detail}", file=sys.stderr)
    return result


def _show_triple_fault(pc: machine.Machine, chain: Sequence[Failure], kernel: Path | None) -> None:
    from bt.inspect.fault_report import describe_triple_fault
    from bt.symbols.elf_symbols import Symbols

    lines = describe_triple_fault(pc.cpu, chain, Symbols(b"" if kernel is None else _contents(kernel)))
    print("bt:", "\n".join(lines), file=sys.stderr)


def _tell_of_triple_fault(pc: machine.Machine, kernel: Path | None) -> None:
    """The first says more than the resets that follow."""

    def show() -> None:
        from bt.x86 import fault_chain

        pc.triple_faulted(lambda: None)
        _show_triple_fault(pc, fault_chain.read(pc.cpu.state), kernel)

    pc.triple_faulted(show)


def powered_on(given: Namespace, image: Path | None, medium: Medium | None, **sinks: Unpack[Sinks]) -> machine.Machine:
    """The machine that a command line asks for, with what `chosen` says of it, about to start.

    `sinks`: who gets what its ports send, by the names that `Machine` has for them.
    """
    config = configured(given, image, medium)
    pc = machine.Machine(config, library=library.load(config.cpu), **sinks)
    begin(pc, given, image, medium)
    return pc


def configured(given: Namespace, image: Path | None, medium: Medium | None) -> machine.MachineConfig:
    """What it is made of."""
    return machine.MachineConfig(
        memory=given.memory,
        cpu=options.chosen_cpu(given, image),
        engine=given.engine,
        tier=given.tier,
        clock=console.chosen_clock(given),
        no_reboot=given.no_reboot,
        triple_fault=given.triple_fault,
        rtc_base=_rtc_base(given.rtc) if given.rtc else machine.MachineConfig.rtc_base,
        devices=devices.chosen_devices(given),
        graphics=not given.nographic,
        vga=given.vga,
        **drives.config_options(given, image, medium),
    )


def begin(pc: machine.Machine, given: Namespace, image: Path | None, medium: Medium | None) -> None:
    """Have it start with its firmware, or with a kernel."""
    if drives.boots_firmware(image, medium):
        pc.boot()
    else:
        assert image is not None
        pc.load(
            image,
            append=given.append,
            initrd=options.chosen_initrd(given),
            flat=given.flat,
            boot_sector=bool(given.boot_sector),
        )


def chosen(given: Namespace) -> tuple[Path | None, Medium | None]:
    """The guest that is named, and what kind of disk it is, if any."""
    image = None if _boots_by_itself(given) else options.chosen_image(given)
    return image, None if image is None or given.flat is not None or given.boot_sector else _medium(image)


def parser(program: str = "bt run") -> options.Parser:
    """`program`: what it calls itself."""
    parser = options.Parser(
        program, "Run a guest until it ends.", _epilog, _without_effect, f"{program} [OPTION]... [IMAGE]"
    )
    options.add_guest(parser, machine.MachineConfig.memory)
    parser.set_defaults(boots_firmware=False)
    drives.add_options(parser)
    devices.add_options(parser)
    console.add_options(parser)
    add = parser.add_argument_group("how it runs, and how it ends").add_argument
    add("-e", "--engine", choices=("bt", "interp"), default="bt", help="translate (bt, the default) or interpret")
    add("-rtc", metavar="base=TIME", type=_checked_rtc, default="",
        help="what the clock shows at first: utc, localtime, or 2024-05-01T12:00:00 (default 2000-01-01)")  # fmt: skip
    options.add_tier(parser)
    add("--clock", choices=("icount", "host"),
        help="time from instructions (deterministic, the default) or the host's (default with a display)")  # fmt: skip
    add("-no-reboot", action="store_true", help="end when the guest resets the machine")
    add("--triple-fault", choices=get_args(AfterTripleFault), default=machine.MachineConfig.triple_fault,
        help="end with its chain of faults (default), or reset the machine, as QEMU does")  # fmt: skip
    add("-S", dest="is_stopped", action="store_true", help="the guest waits for `cont` in the monitor")
    add("--max-insns", metavar="N", type=options.count, help="stop after N instructions")
    add("--timeout", metavar="SECONDS", type=options.seconds, help="stop after that much time")
    add("-pidfile", metavar="FILE", help="write the number of bt's process there")
    add = parser.add_argument_group("what it tells").add_argument
    add("-d", metavar="ITEMS", dest="log", help="log of the guest as QEMU's: int,cpu_reset,in_asm,exec,guest_errors")
    add("-D", metavar="FILE", dest="log_file", help="where it goes (default stderr)")
    add("--stats", action="store_true", help="show what the run cost, on stderr")
    add("--json", metavar="FILE", help="write the result there (- for stdout)")
    return parser


def _checked_rtc(text: str) -> str:
    from bt.cli.qemu import rtc

    return rtc.checked(text)


def _rtc_base(text: str) -> datetime:
    from bt.cli.qemu import rtc

    return rtc.base(text)


def _pid_file(given: Namespace) -> AbstractContextManager[None]:
    if given.pidfile is None:
        return nullcontext()
    from bt.cli.qemu import pidfile

    return pidfile.written(given.pidfile)


def _boots_by_itself(given: Namespace) -> bool:
    """No kernel is named: the machine starts its firmware."""
    is_asked_to = bool(given.drives or given.bios or given.boots_firmware)
    return not (given.image or given.kernel or given.boot_sector) and is_asked_to


def _medium(image: Path) -> Medium | None:
    """What kind of disk the image is, if any."""
    from bt.boot.files.medium import medium_of

    try:
        return medium_of(image)
    except OSError:
        return None  # the loader says what is wrong


def _contents(image: Path) -> bytes:
    """The image once more; nothing if somebody has taken it away."""
    try:
        return image.read_bytes()
    except OSError:
        return b""


def _without_effect() -> Mapping[str, Option]:
    from bt.cli.qemu.without_effect import OPTIONS

    return OPTIONS


def _epilog() -> str:
    from textwrap import fill

    taken = fill(" ".join(f"-{name}" for name in _without_effect()), WIDTH, break_on_hyphens=False)
    return EPILOG.format(statuses="\n".join(_statuses()), taken=taken)


def _statuses() -> Iterator[str]:
    for status, ends in statuses().items():
        shown = "odd" if status is None else str(status)
        yield f"{shown:>5}  {'; '.join(end.sentence for end in ends)}"


def _open_record(path: str) -> TextIO:
    if path == "-":
        return sys.stdout
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise BadUsage(f"--json {path}: {error.strerror}") from error


def _record(given: Namespace, model: str, result: machine.Result) -> dict[str, Any]:
    return {
        "schema": RESULT_SCHEMA,
        "version": __version__,
        "image": given.image or given.kernel or given.boot_sector,
        "append": given.append,
        "engine": given.engine,
        "cpu": model,
        "memory_bytes": given.memory,
        "reason": result.reason,
        "detail": result.detail,
        "fault_chain": [vars(failure) for failure in result.fault_chain],
        "status": result.status,
        "instructions": result.instructions,
        "resets": result.resets,
        "host_cycles": result.host_cycles,
        "wall_seconds": result.seconds,
        "cpu_seconds": result.cpu_seconds,
        "exits": result.exits,
        "statistics": result.statistics,
        "time_account": dict(result.time_account),
        "refused": result.refused,
    }
