"""`python -m guest_images.fetch [NAME...]` (`make guests`): get third-party guests out of Debian packages.

Needs apt and dpkg, but no root: packages are downloaded into a temporary directory and the files wanted are unpacked
from them, nothing is installed. What is there already and has a known hash is left alone. A NAME is an image of
third_party.toml or a set of packages of debian_packages.toml, which are kept whole: disks are made of them.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from bt.errors import BadUsage, BtError
from guest_images.apt import Apt, FetchError, run
from guest_images.debian_packages import ALL, ARCHITECTURE, DebianPackage, package_sets
from guest_images.third_party import ThirdPartyImage, directory, manifest


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(names: Sequence[str], into: Path) -> list[Path]:
    """Fetch what is called `names` (all, if none are named) into a directory; the paths, in the manifests' order.

    Raises BadUsage for an unknown name, FetchError, which tells of each package, for everything that goes wrong on
    the way; what could be had is there then.
    """
    known, sets = manifest(), package_sets()
    unknown = [name for name in names if name not in known and name not in sets]
    if unknown:
        raise BadUsage(f"no third-party guest is called {unknown[0]!r}; there are {', '.join([*known, *sets])}")
    wanted = [image for image in known.values() if not names or image.name in names]
    missing = [image for image in wanted if not _is_present(into, image)]
    packages = dict.fromkeys(each for name, members in sets.items() if not names or name in names for each in members)
    lacking = [package for package in packages if not _is_whole(package.archive(into), package)]
    failures: list[str] = []

    def attempt(step: Callable[[Path], None]) -> None:
        try:
            into.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=into, prefix=".download-") as scratch:
                step(Path(scratch))
        except FetchError as error:
            failures.append(str(error))
        except OSError as error:
            raise FetchError(
                f"{into}: {error.strerror or error}; set BT_GUESTS to a directory you can write"
            ) from error

    for _, group in groupby(sorted(missing, key=_origin), _origin):
        attempt(partial(_fetch_from_package, list(group), into))
    for _, packages_there in groupby(sorted(lacking, key=_architecture), _architecture):
        attempt(partial(_fetch_packages, list(packages_there), into))
    if failures:
        raise FetchError("; ".join(failures))
    return [into / image.name for image in wanted] + [package.archive(into) for package in packages]


def _origin(image: ThirdPartyImage) -> tuple[str, str]:
    return image.package, image.architecture


def _architecture(package: DebianPackage) -> str:
    """By whose package lists it is found."""
    return ARCHITECTURE if package.architecture == ALL else package.architecture


def _is_present(into: Path, image: ThirdPartyImage) -> bool:
    path = into / image.name
    return path.is_file() and sha256_of(path) in image.sha256.values()


def _is_whole(path: Path, package: DebianPackage) -> bool:
    return path.is_file() and sha256_of(path) == package.sha256


def _fetch_from_package(images: Sequence[ThirdPartyImage], into: Path, scratch: Path) -> None:
    package, architecture = _origin(images[0])
    archive = Apt(scratch, architecture).download(package, [version for image in images for version in image.sha256])
    version = run("dpkg-deb", "--field", str(archive), "Version", cwd=scratch).strip()
    _unpack(archive, {image.path: scratch / image.name for image in images})
    for image in images:
        _check(image, version, scratch / image.name)
    for image in images:
        # same file system, so nobody ever sees half an image
        os.replace(scratch / image.name, into / image.name)


def _check(image: ThirdPartyImage, version: str, path: Path) -> None:
    actual = sha256_of(path)
    expected = image.sha256.get(version)
    if actual == expected:
        return
    known = f"expected {expected}" if expected else "; ".join(f"expected {h} ({v})" for v, h in image.sha256.items())
    hint = "" if expected else ": the archive has a version bt does not know; try it, then add it to third_party.toml"
    raise FetchError(f"{image.name}: wrong SHA-256 in {image.package} {version}: {known}, got {actual}{hint}")


def _fetch_packages(packages: Sequence[DebianPackage], into: Path, scratch: Path) -> None:
    try:
        apt = Apt(scratch, _architecture(packages[0]))
        archives = apt.download_all([f"{each.name}={each.version}" for each in packages])
    except FetchError as error:
        complaint = str(error).partition(": ")[2]
        raise FetchError(
            f"{len(packages)} packages for disks: {complaint}; if Debian has replaced a version, run "
            "`python -m guest_images.debian_packages`, which pins the present ones, and try the guests"
        ) from error
    found = {archive.name: archive for archive in archives}
    for package in packages:
        archive = found.get(package.file)
        actual = sha256_of(archive) if archive else "nothing"
        if archive is None or actual != package.sha256:
            raise FetchError(f"{package.file}: wrong SHA-256: expected {package.sha256}, got {actual}")
        package.archive(into).parent.mkdir(exist_ok=True)
        os.replace(archive, package.archive(into))


def _unpack(archive: Path, targets: dict[str, Path]) -> None:
    """Copy files, by their paths inside the package, to `targets`. The rest of the package stays packed."""
    missing = dict(targets)
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as unpacker:
        assert unpacker.stdout is not None
        try:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as tar:
                for member in tar:
                    target = missing.pop(member.name.removeprefix("./"), None)
                    content = tar.extractfile(member) if target else None
                    if target and content:
                        with target.open("wb") as out:
                            shutil.copyfileobj(content, out)
                    if not missing:
                        break
        except tarfile.TarError as error:
            raise FetchError(f"{archive.name}: cannot be unpacked: {error}") from error
        finally:
            unpacker.kill()  # with everything found there is no need to unpack the rest
    if missing:
        raise FetchError(f"{archive.name}: has no {next(iter(missing))}; the package has changed, see third_party.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m guest_images.fetch", description="Fetch third-party guest images.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="what to fetch (default: everything)")
    options = parser.parse_args(arguments)
    try:
        for path in fetch(options.names, directory()):
            print(f"{path}  {path.stat().st_size:,} bytes")
    except BtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
