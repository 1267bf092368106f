"""How a run ends: one table that `Result`, the command line, its help, the README and the tests read.

What a guest writes to the debug-exit port becomes an odd exit status (bt/devices/debug/debug_exit.py), so bt's own are
even.
"""

from __future__ import annotations

from enum import StrEnum


class End(StrEnum):
    """A way to end: its name (`Result.reason`, `--json`), the exit status of `bt run` and a sentence.

    `status` is None where the guest chooses it.
    """

    status: int | None
    sentence: str

    def __new__(cls, name: str, status: int | None, sentence: str) -> End:
        end = str.__new__(cls, name)
        end._value_ = name
        end.status, end.sentence = status, sentence
        return end

    EXIT = "exit", None, "the guest wrote v to the debug-exit port: v * 2 + 1"
    HALTED = "halted", 0, "the guest halted for good"
    POWER_OFF = "power-off", 0, "the guest switched the machine off"
    RESET = "reset", 0, "the guest reset the machine, with -no-reboot"
    UNTIL = "until", 0, "what it was to run until has come (in Python)"
    BAD_USAGE = "usage", 2, "bad usage or image"
    BIOS_SERVICE = "bios-service", 2, "a boot sector called the BIOS"
    NO_HANDLER = "no-handler", 2, "a boot sector had no handler for an interrupt"
    MAX_INSNS = "max-insns", 4, "stopped by --max-insns"
    TIMEOUT = "timeout", 4, "stopped by --timeout"
    GUEST_TIME = "guest-time", 4, "stopped by a limit of the guest's time (in Python)"
    TRIPLE_FAULT = "shutdown", 6, "triple fault"
    RESET_LOOP = "reset-loop", 10, "the guest reset the machine three times with no output in between"
    PANIC = "panic", 8, "the guest's kernel panicked, and said so by pvpanic"
    INTERNAL_ERROR = "internal-error", 70, "internal error"
    INTERRUPTED = "interrupted", 130, "stopped by the user"

    def exit_status(self, guest: int = 0) -> int:
        """The status for the shell; `guest`: what the guest made of it, if it did."""
        return guest if self.status is None else self.status

    @property
    def needs_a_word(self) -> bool:
        """Whether bt says on stderr what happened: a status alone, unless zero or the guest's own, says too little."""
        return bool(self.status)


def statuses() -> dict[int | None, list[End]]:
    """The ends by exit status, ascending, the guest's own first."""
    found: dict[int | None, list[End]] = {}
    for end in sorted(End, key=lambda end: -1 if end.status is None else end.status):
        found.setdefault(end.status, []).append(end)
    return found
