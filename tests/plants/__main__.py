"""Plants each fault in a copy of the tree and has its test run there: `python -m tests.plants [--list] [NAME ...]`.

Prints a line a plant. Exit status 0 if every test turned red, 1 if a fault survived or a test is red without it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bt.codegen.store import Store
from tests.plants.plant import ROOT, Plant, plants

PARTS = ("bt", "guest_images", "tests", "pyproject.toml")
BUILD_SECONDS, TESTS_SECONDS = 600, 900
HANG_SECONDS = 30  # the limit of one test: the library has been built before
# bt, the copy's and not the one that is installed, with its library
_BUILD = """
import sys, bt, bt.engine.library.library
assert bt.__file__.startswith(sys.argv[1]), bt.__file__
bt.engine.library.library.load_library()
"""
_TESTS_FAILED = 1  # pytest's exit status; also that of a test that came to its limit


class Tree:
    """A copy of what the tests need, with a cache of its own that begins with what is compiled already."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tree"
        self.path.mkdir()
        for part in PARTS:
            source, target = ROOT / part, self.path / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "fetched"))
            else:
                shutil.copy(source, target)
        cache = folder / "cache"
        compiled = Store().directory
        if compiled.is_dir():
            shutil.copytree(compiled, cache, ignore=shutil.ignore_patterns("*.lock"))
        self._environment = {**os.environ, "PYTHONPATH": str(self.path), "BT_CACHE_DIR": str(cache)}

    @contextmanager
    def planted(self, plant: Plant) -> Iterator[None]:
        """The tree with a fault, which goes away again."""
        files = {self.path / change.file for change in plant.changes}
        sound = {path: path.read_text(encoding="utf-8") for path in files}
        plant.apply(self.path)
        try:
            yield
        finally:
            for path, text in sound.items():
                path.write_text(text, encoding="utf-8")

    def build(self) -> str:
        """Build the library; what went wrong, or nothing."""
        return self._run(["-c", _BUILD, str(self.path)], BUILD_SECONDS)[1]

    def is_red(self, tests: Sequence[str]) -> bool:
        """Whether any of the tests fails. RuntimeError if they do not run."""
        options = ["-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-o", f"everyday_seconds={HANG_SECONDS}"]
        status, said = self._run(["-m", "pytest", *options, *tests], TESTS_SECONDS)
        if status not in (0, _TESTS_FAILED) and status > 0:
            raise RuntimeError(f"pytest {' '.join(tests)}: status {status}\n{said}")
        return status != 0

    def _run(self, arguments: Sequence[str], seconds: float) -> tuple[int, str]:
        """Exit status (negative: the signal that ended it), and the output of what failed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr if done.returncode else "")


@contextmanager
def tree() -> Iterator[Tree]:
    """A tree to plant faults in."""
    with tempfile.TemporaryDirectory(prefix="bt-plants-") as folder:
        yield Tree(Path(folder))


def verdict(place: Tree, plant: Plant) -> str:
    """What became of a planted fault: `red`, `SURVIVED`, or `does not build` with the reason."""
    with place.planted(plant):
        trouble = place.build()
        if trouble:
            return f"does not build: {trouble.strip().splitlines()[-1]}"
        return "red" if place.is_red([plant.test]) else "SURVIVED"


def main(arguments: Sequence[str] | None = None) -> int:
    known = plants()
    parser = argparse.ArgumentParser(prog="python -m tests.plants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which faults to plant; all without a name")
    parser.add_argument("--list", action="store_true", help="show what there is, and the test that catches it")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no such plant: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.names or known]
    if options.list:
        for plant in chosen:
            print(f"{plant.name}: {plant.says}\n    {plant.test}")
        return 0
    with tree() as place:
        trouble = place.build()
        if trouble or place.is_red([plant.test for plant in chosen]):
            print(f"red without any fault planted: run the tests first\n{trouble}", file=sys.stderr)
            return 1
        survived = False
        for plant in chosen:
            started = time.monotonic()
            result = verdict(place, plant)
            survived |= result != "red"
            print(f"{result:10}{time.monotonic() - started:6.1f} s  {plant.name}", flush=True)
    return int(survived)


if __name__ == "__main__":
    sys.exit(main())
