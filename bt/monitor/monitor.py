"""The monitor of one machine: a line in, the answer out. A command is a line in the table of its family."""

from __future__ import annotations

from bt.errors import BtError
from bt.machine import Machine
from bt.monitor import chipset, desk, dump, media, paging, running
from bt.monitor.command import Command, lines


class Monitor:
    """Human commands as QEMU has them. It may be used while the guest runs in another thread, and while it does not."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        own = (
            Command(("help", "?"), "[cmd]", "show the help", self._help),
            Command(("info",), "[subcommand]", "show various information about the system state", self._info),
        )
        tables = (*running.COMMANDS, *dump.COMMANDS, *desk.COMMANDS, *media.COMMANDS, *own)
        self.commands = _by_name(tables)
        self.information = _by_name((*running.INFO, *paging.INFO, *chipset.INFO, *media.INFO))

    def execute(self, line: str) -> str:
        """Do a command; what it has to say, in whole lines. Nothing is raised for what is wrong with the line."""
        name, rest = _split(line)
        if not name:
            return ""
        command = self.commands.get(name)
        if command is None:
            return f"unknown command: '{name}'\n"
        try:
            return self._machine.ask(lambda: command.function(self._machine, rest))
        except BtError as error:
            return f"{error}\n"

    def names(self, beginning: str = "") -> list[str]:
        """Commands that begin so, for completion: behind "info " those of `info`."""
        table, before = self.commands, ""
        if beginning.startswith("info "):
            table, before = self.information, "info "
        return sorted(before + name for name in table if (before + name).startswith(beginning))

    def _info(self, machine: Machine, rest: str) -> str:
        name, arguments = _split(rest)
        if not name:
            return self._listing(self.information, "info ")
        command = self.information.get(name)
        if command is None:
            return f"unknown command: 'info {name}'\n"
        return command.function(machine, arguments)

    def _help(self, machine: Machine, rest: str) -> str:
        name, _ = _split(rest)
        if name == "info":
            return self._listing(self.information, "info ")
        if not name:
            return self._listing(self.commands)
        command = self.commands.get(name)
        return f"unknown command: '{name}'\n" if command is None else f"{command.usage}\n"

    @staticmethod
    def _listing(table: dict[str, Command], before: str = "") -> str:
        return lines(sorted({before + command.usage for command in table.values()}))


def _by_name(table: tuple[Command, ...]) -> dict[str, Command]:
    return {name: command for command in table for name in command.names}


def _split(line: str) -> tuple[str, str]:
    """The word in front and the rest: a format may follow x and print at once."""
    line = line.strip()
    end = next((at for at, letter in enumerate(line) if letter.isspace() or letter == "/"), len(line))
    return line[:end], line[end:].lstrip()
