"""A campaign: one episode after the other, each with a machine of its own, and what went wrong in any of them.

An episode is its machine's name and a list of actions, which alone decide what happens. One that goes wrong is made as
short as can be and kept as a file of lines, `--replay` of which does it again.
"""

from __future__ import annotations

import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from bt.engine.library.library import Library, load_library
from tests.robustness.devices.access import Misbehaved
from tests.robustness.devices.coverage import Coverage
from tests.robustness.devices.target import Action, Files, Target, digest
from tests.robustness.devices.traffic import episode

MACHINES = ("pc", "pc", "pc by instructions", "pc by instructions", "isapc", "isapc by instructions")  # how often which
LAST = (Action("time", 3_000_000_000), Action("snapshot"), Action("screen"), Action("reset"), Action("snapshot"))
HANGS_AFTER_SECONDS = 10.0  # of the processor's time, in one episode: they take less than one
SHORTENING_SECONDS, TRY_SECONDS = 20.0, 2.0  # of it, to make a finding shorter, and for each try


@dataclass(frozen=True)
class Finding:
    """What went wrong, shortest, and where: findings with the same `where` are one fault."""

    where: str
    machine: str
    actions: tuple[Action, ...]
    details: str

    def lines(self) -> Iterator[str]:
        yield f"machine {self.machine}"
        yield from (action.to_line() for action in self.actions)
        yield from (f"# {line}" for line in self.details.splitlines())


@dataclass
class Totals:
    episodes: int = 0
    actions: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    most_growth: int = 0  # bytes
    slowest: tuple[float, str] = (0.0, "")  # an action
    alike: Counter[str] = field(default_factory=Counter)  # how often each fault was met


class Campaign:
    """Episodes from one seed, findings and totals."""

    def __init__(self, seed: str, directory: Path, library: Library | None = None) -> None:
        """`directory` gets the images that machines have."""
        self.seed = seed
        self.files = Files(directory)
        self.library = load_library() if library is None else library
        self.coverage: Coverage | None = None
        self.totals = Totals()
        self.findings: dict[str, Finding] = {}
        self.found: Callable[[Finding], None] = lambda finding: None  # called for each, when it is found

    def run(self, seconds: float, episodes: int) -> None:
        """Until the time is over, so many episodes have been, or the user wants no more."""
        start, cpu = time.monotonic(), time.process_time()
        before = digest(self.files.untouchable)
        with suppress(KeyboardInterrupt):
            while self.totals.episodes < episodes and time.monotonic() - start < seconds:
                self._one(self.totals.episodes)
                self.totals.episodes += 1
                self.totals.seconds = time.monotonic() - start
                self.totals.cpu_seconds = time.process_time() - cpu
        if digest(self.files.untouchable) != before:
            raise Misbehaved("a read-only image has been written to")

    def _one(self, number: int) -> None:
        random = Random(f"{self.seed}.{number}")
        machine = random.choice(MACHINES)
        done: list[Action] = []
        found = self._attempt(machine, lambda target: (*episode(random, target), *LAST), done)
        self.totals.actions += len(done)
        if found is not None:
            self.totals.alike[found.where] += 1
            if found.where not in self.findings:
                self.findings[found.where] = found = self.shortened(found)
                self.found(found)

    def replay(self, machine: str, actions: Iterable[Action], seconds: float | None = None) -> Finding | None:
        """What goes wrong, if anything does; what takes more than `seconds` hangs."""
        given = tuple(actions)
        return self._attempt(machine, lambda target: given, [], seconds)

    def _attempt(
        self,
        machine: str,
        make: Callable[[Target], Iterable[Action]],
        done: list[Action],
        seconds: float | None = None,
    ) -> Finding | None:
        try:
            with (
                _time_limit(seconds or HANGS_AFTER_SECONDS),
                self.coverage.watch() if self.coverage is not None else nullcontext(),
            ):
                self._perform(machine, make, done)
        except Exception as error:
            return Finding(_where(error), machine, tuple(done), traceback.format_exc())
        return None

    def _perform(self, machine: str, make: Callable[[Target], Iterable[Action]], done: list[Action]) -> None:
        target = Target(machine, self.files, self.library)
        try:
            for action in make(target):
                done.append(action)
                target.perform(action)
            self.totals.most_growth = max(self.totals.most_growth, target.check_memory())
        finally:
            seconds, action = target.slowest
            self.totals.slowest = max(self.totals.slowest, (seconds, action.to_line()))
            target.close()

    def shortened(self, found: Finding) -> Finding:
        """Leave out as much as can be, with the same fault at the end."""
        piece, end = len(found.actions) // 2, time.process_time() + SHORTENING_SECONDS
        while piece and time.process_time() < end:
            at = 0
            while at < len(found.actions) and time.process_time() < end:
                less = self.replay(found.machine, found.actions[:at] + found.actions[at + piece :], TRY_SECONDS)
                if less is not None and less.where == found.where:
                    found = less
                else:
                    at += piece
            piece //= 2
        return found


def _where(error: BaseException) -> str:
    """The innermost line of bt's own, and the kind of exception; of what was noticed from outside, the words."""
    if isinstance(error, Misbehaved):
        return str(error).partition(":")[0]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/bt/" in frame.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} in {place}"


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Misbehaved("hangs: " + "".join(traceback.format_stack(frame)[-3:]))

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run_campaign(
    seed: str,
    seconds: float,
    episodes: int,
    coverage: Coverage | None = None,
    found: Callable[[Finding], None] = lambda finding: None,
) -> Campaign:
    """One with its images in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        campaign = Campaign(seed, Path(directory))
        campaign.coverage, campaign.found = coverage, found
        campaign.run(seconds, episodes)
        return campaign
