"""Debian packages that disks are made of, whole: which ones, in which versions, and where fetched ones lie.

`python -m guest_images.debian_packages [SET...]` asks apt which packages the sets of debian_packages.toml need today,
all or these, and pins them there; try the guests then.
"""

import hashlib
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from bt.errors import BadUsage, BtError
from guest_images.apt import Apt

ARCHITECTURE = "i386"
ALL = "all"
_MANIFEST = "debian_packages.toml"
_PINS = "[pins]"


@dataclass(frozen=True)
class DebianPackage:
    """A package file as apt names it: NAME_VERSION_ARCHITECTURE.deb, with the epoch's colon as %3a."""

    file: str
    sha256: str

    @property
    def name(self) -> str:
        return self.file.split("_")[0]

    @property
    def version(self) -> str:
        return self.file.split("_")[1].replace("%3a", ":")

    @property
    def architecture(self) -> str:
        """ALL, where one file serves every architecture."""
        return self.file.removesuffix(".deb").split("_")[2]

    def archive(self, directory: Path) -> Path:
        """Where it lies, once fetched."""
        return directory / "packages" / self.file


def _manifest() -> tuple[str, dict[str, Any]]:
    text = files("guest_images").joinpath(_MANIFEST).read_text("utf-8")
    return text, tomllib.loads(text)


def package_sets() -> dict[str, list[DebianPackage]]:
    """The pinned packages of each set by the set's name."""
    _, tables = _manifest()
    pinned = [DebianPackage(file, sha256) for file, sha256 in tables["pins"].items()]
    known = {(each.name, each.architecture): each for each in pinned}
    sets: dict[str, list[DebianPackage]] = {}
    for name, members in tables["members"].items():
        own = tables["architectures"].get(name, ARCHITECTURE)
        sets[name] = [known.get((each, own)) or known[each, ALL] for each in members]
    return sets


def packages_of(name: str, *wanted: str) -> list[DebianPackage]:
    """Those packages of a set whose names are, or if they end in "-" begin with, one that is wanted."""
    begins = tuple(each for each in wanted if each.endswith("-"))
    return [each for each in package_sets()[name] if each.name in wanted or each.name.startswith(begins)]


def _pin(names: Sequence[str]) -> str:
    """The manifest anew: what stands above the members stays, members and pins of these sets are today's."""
    text, tables = _manifest()
    left_out = set(tables["left_out"])
    sets = package_sets()
    for architecture in sorted({tables["architectures"].get(name, ARCHITECTURE) for name in names}):
        with tempfile.TemporaryDirectory() as scratch:
            apt = Apt(Path(scratch), architecture)
            found: dict[str, list[DebianPackage]] = {}
            for name in names:
                if tables["architectures"].get(name, ARCHITECTURE) == architecture:
                    closure = [DebianPackage(file, "") for file in apt.closure(tables["wanted"][name])]
                    found[name] = [package for package in closure if package.name not in left_out]
            wanted = {package.file: package for each in found.values() for package in each}
            apt.download_all([f"{each.name}={each.version}" for each in wanted.values()])
            for name, each in found.items():
                hashes = [hashlib.sha256((Path(scratch) / package.file).read_bytes()).hexdigest() for package in each]
                sets[name] = [replace(package, sha256=sha256) for package, sha256 in zip(each, hashes, strict=True)]
    lines = [text.partition("[members]")[0].rstrip(), "", "[members]"]
    for name in tables["wanted"]:
        lines += [f"{name} = [", *(f'    "{each.name}",' for each in sorted(sets[name], key=_file)), "]"]
    pins = {package.file: package.sha256 for each in sets.values() for package in each}
    lines += ["", _PINS, *(f'"{file}" = "{pins[file]}"' for file in sorted(pins)), ""]
    return "\n".join(lines)


def _file(package: DebianPackage) -> str:
    return package.file


def main() -> int:
    try:
        known = _manifest()[1]["wanted"]
        if unknown := [name for name in sys.argv[1:] if name not in known]:
            raise BadUsage(f"no set of packages is called {unknown[0]!r}; there are {', '.join(known)}")
        text = _pin(sys.argv[1:] or list(known))
    except BtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    Path(__file__).with_name(_MANIFEST).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
