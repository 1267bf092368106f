"""The processor and the run: `stop`, `cont`, `system_reset`, `quit`, `info registers`, `info status`, counts."""

from __future__ import annotations

from bt import __version__
from bt.inspect.cpu_dump import dump
from bt.machine import Machine
from bt.monitor.command import Command, lines
from bt.x86.exits import ExitReason


def _stop(pc: Machine, rest: str) -> str:
    pc.pause()
    return ""


def _cont(pc: Machine, rest: str) -> str:
    pc.resume()
    return ""


def _quit(pc: Machine, rest: str) -> str:
    pc.stop()
    pc.resume()
    return ""


def _reset(pc: Machine, rest: str) -> str:
    pc.reset()
    return ""


def _power_down(pc: Machine, rest: str) -> str:
    pc.power_button()
    return ""


def _nmi(pc: Machine, rest: str) -> str:
    pc.cpu.nmi()
    return ""


def _status(pc: Machine, rest: str) -> str:
    return f"VM status: {'running' if pc.is_running else 'paused'}\n"


def _registers(pc: Machine, rest: str) -> str:
    return "\n" + lines(["CPU#0", *dump(pc.cpu.state)])


def _cpus(pc: Machine, rest: str) -> str:
    return "* CPU #0:\n"


def _version(pc: Machine, rest: str) -> str:
    return f"bt {__version__}\n"


def _irq(pc: Machine, rest: str) -> str:
    counts = sorted(pc.interrupts.items())
    return lines(["interrupts taken, by vector:", *(f" {vector:#04x}: {count}" for vector, count in counts)])


def _statistics(pc: Machine, rest: str) -> str:
    """What docs/results.md explains."""
    counts = {
        "instructions": pc.cpu.instructions,
        "guest time (ns)": pc.clock.now_ns,
        **{f"exits for {name}": count for name, count in pc.exits.items()},
    }
    return lines([f"{name:<32} {count:>20,}" for name, count in counts.items()])


def _translations(pc: Machine, rest: str) -> str:
    counts = pc.cpu.statistics()
    return lines([f"{name:<32} {count:>20,}" for name, count in counts.items()])


COMMANDS = (
    Command(("stop", "s"), "", "stop emulation", _stop),
    Command(("cont", "c"), "", "resume emulation", _cont),
    Command(("system_reset",), "", "reset the system", _reset),
    Command(("system_powerdown",), "", "send system power down event", _power_down),
    Command(("nmi",), "", "inject an NMI", _nmi),
    Command(("quit", "q"), "", "quit the emulator", _quit),
)
INFO = (
    Command(("registers",), "", "show the cpu registers", _registers),
    Command(("cpus",), "", "show infos for each CPU", _cpus),
    Command(("status",), "", "show the current VM status (running|paused)", _status),
    Command(("irq",), "", "show the interrupts statistics", _irq),
    Command(("stats",), "", f"show counts of this machine, {len(ExitReason)} kinds of exits among them", _statistics),
    Command(("translations",), "", "show what the engine counted", _translations),
    Command(("version",), "", "show the version", _version),
)
