"""Debian packages that disks are made of, whole: which ones, in which versions, and where fetched ones lie.

`python -m guest_images.debian_packages` asks apt which packages the sets of debian_packages.toml need today and pins
them there; try the guests then.
"""

import hashlib
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from bt.errors import BtError
from guest_images.apt import Apt

ARCHITECTURE = "i386"
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

    def archive(self, directory: Path) -> Path:
        """Where it lies, once fetched."""
        return directory / "packages" / self.file


def package_sets() -> dict[str, list[DebianPackage]]:
    """The pinned packages of each set by the set's name."""
    tables = tomllib.loads(files("guest_images").joinpath(_MANIFEST).read_text("utf-8"))
    pins = {file.split("_")[0]: DebianPackage(file, sha256) for file, sha256 in tables["pins"].items()}
    return {name: [pins[each] for each in members] for name, members in tables["members"].items()}


def _pin() -> str:
    """The manifest anew: what stands above the pins stays, members and pins are today's."""
    path = Path(__file__).with_name(_MANIFEST)
    text = path.read_text("utf-8")
    tables = tomllib.loads(text)
    left_out = set(tables["left_out"])
    with tempfile.TemporaryDirectory() as scratch:
        apt = Apt(Path(scratch), ARCHITECTURE)
        members: dict[str, list[str]] = {}
        for name, wanted in tables["wanted"].items():
            members[name] = [file for file in apt.closure(wanted) if file.split("_")[0] not in left_out]
        packages = {file: DebianPackage(file, "") for each in members.values() for file in each}
        apt.download_all([f"{each.name}={each.version}" for each in packages.values()])
        pins = {file: hashlib.sha256((Path(scratch) / file).read_bytes()).hexdigest() for file in sorted(packages)}
    lines = [text.partition("[members]")[0].rstrip(), "", "[members]"]
    for name, some in members.items():
        lines += [f"{name} = [", *(f'    "{file.split("_")[0]}",' for file in sorted(some)), "]"]
    lines += ["", _PINS, *(f'"{file}" = "{sha256}"' for file, sha256 in pins.items()), ""]
    return "\n".join(lines)


def main() -> int:
    try:
        text = _pin()
    except BtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    Path(__file__).with_name(_MANIFEST).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
