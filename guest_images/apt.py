"""Packages by apt, without installing them and without root: for this host's architecture or for another one."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bt.errors import BtError


class FetchError(BtError):
    """A third-party guest could not be fetched, or is not what the manifest says."""

    exit_code = 1


def run(*command: str, cwd: Path) -> str:
    """Run a Debian tool; its output, or FetchError with the last thing it complained about."""
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
        raise FetchError(f"{' '.join(command)}: {complaints[0] if complaints else f'exit code {done.returncode}'}")
    return done.stdout


class Apt:
    """apt with this host's package lists; for another `architecture` with lists of its own, kept in `scratch`.

    A host need not know of the other architecture, and its package lists stay as they are.
    """

    def __init__(self, scratch: Path, architecture: str = "") -> None:
        for program in ("apt-get", "apt-cache", "dpkg-deb"):
            if shutil.which(program) is None:
                raise FetchError(f"no {program} here; fetching needs a Debian system or a relative of it")
        self._scratch = scratch
        self._own_lists = bool(architecture)
        # as root, apt drops to a user that may not write here, and warns about it
        self._options = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
        if architecture:
            lists, status = scratch / "lists", scratch / "status"
            (lists / "partial").mkdir(parents=True)
            (scratch / "archives" / "partial").mkdir(parents=True)
            status.touch()
            settings = {
                "APT::Architecture": architecture,
                "APT::Architectures": architecture,
                "Acquire::Languages": "none",
                "Dir::State::Lists": str(lists),
                "Dir::State::status": str(status),  # nothing is installed
                "Dir::Cache": str(scratch),
            }
            self._options += [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
            self._update()

    def closure(self, packages: Sequence[str]) -> list[str]:
        """File names (NAME_VERSION_ARCHITECTURE.deb) of these packages and of all that they depend on."""
        command = ("install", "--no-install-recommends", "--print-uris", "--yes", *packages)
        lines = run("apt-get", *self._options, *command, cwd=self._scratch).splitlines()
        return [line.split()[1] for line in lines if line.startswith("'")]

    def download(self, package: str, known_versions: Sequence[str]) -> Path:
        """The archive of a version we know if there still is one, else of the newest."""
        try:
            return self._download(package, known_versions)
        except FetchError as error:
            if self._own_lists:
                raise
            if os.geteuid() != 0:
                raise FetchError(
                    f"{error}; if the package lists are old, run `sudo apt-get update` and try again"
                ) from error
        self._update()
        return self._download(package, known_versions)

    def download_all(self, wanted: Sequence[str]) -> list[Path]:
        """The archives of packages given as NAME=VERSION, by one call of apt."""
        run("apt-get", *self._options, "--quiet", "download", *wanted, cwd=self._scratch)
        return sorted(self._scratch.glob("*.deb"))

    def _update(self) -> None:
        # One unreachable source or architecture makes the whole update fail although our package's list has arrived:
        # the download after it tells.
        with contextlib.suppress(FetchError):
            run("apt-get", "update", "--quiet", *self._options, cwd=self._scratch)

    def _download(self, package: str, known_versions: Sequence[str]) -> Path:
        listed = run("apt-cache", *self._options, "madison", package, cwd=self._scratch).splitlines()
        offered = [row[1].strip() for row in (line.split("|") for line in listed) if len(row) > 2]
        if not offered:
            raise FetchError(f"{package}: not in apt's package lists (it is in Debian 12, main)")
        version = next((each for each in offered if each in known_versions), offered[0])
        archives = self.download_all([f"{package}={version}"])
        if len(archives) != 1:
            raise FetchError(f"{package}: apt-get download left {len(archives)} packages instead of one")
        return archives[0]
