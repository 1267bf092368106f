"""`python -m guest_images.fetch [NAME...]` (`make guests`): get third-party guests out of Debian packages.

Needs apt and dpkg, but no root: the package is downloaded into a temporary directory and the files wanted are
unpacked from it, nothing is installed. What is there already and has a known hash is left alone.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from bt.errors import BadUsage, BtError
from guest_images.third_party import ThirdPartyImage, directory, manifest


class FetchError(BtError):
    """A third-party guest could not be fetched, or is not what the manifest says."""

    exit_code = 1


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(names: Sequence[str], into: Path) -> list[Path]:
    """Fetch the images called `names` (all, if none are named) into a directory; their paths, in the manifest's order.

    Raises BadUsage for an unknown name, FetchError for everything that goes wrong on the way.
    """
    known = manifest()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadUsage(f"no third-party guest is called {unknown[0]!r}; there are {', '.join(known)}")
    wanted = [image for image in known.values() if not names or image.name in names]
    missing = [image for image in wanted if not _is_present(into, image)]
    for package, images in groupby(sorted(missing, key=lambda image: image.package), lambda image: image.package):
        try:
            into.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=into, prefix=".download-") as scratch:
                _fetch_from_package(package, list(images), Path(scratch), into)
        except OSError as error:
            raise FetchError(
                f"{into}: {error.strerror or error}; set BT_GUESTS to a directory you can write"
            ) from error
    return [into / image.name for image in wanted]


def _is_present(into: Path, image: ThirdPartyImage) -> bool:
    path = into / image.name
    return path.is_file() and sha256_of(path) in image.sha256.values()


def _fetch_from_package(package: str, images: Sequence[ThirdPartyImage], scratch: Path, into: Path) -> None:
    archive = _download(package, [version for image in images for version in image.sha256], scratch)
    version = _run("dpkg-deb", "--field", str(archive), "Version", cwd=scratch).strip()
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


def _download(package: str, known_versions: Sequence[str], scratch: Path) -> Path:
    """Download a version we know if the archive still has one, else the newest (for `_check` to judge)."""
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise FetchError(f"{package}: no {program} here; fetching needs a Debian system or a relative of it")
    try:
        return _download_once(package, known_versions, scratch)
    except FetchError as error:
        if os.geteuid() != 0:
            raise FetchError(
                f"{error}; if the package lists are old, run `sudo apt-get update` and try again"
            ) from error
    # One unreachable source or architecture makes the whole update fail although our package's list has arrived:
    # the second download tells.
    with contextlib.suppress(FetchError):
        _run("apt-get", "update", "--quiet", cwd=scratch)
    return _download_once(package, known_versions, scratch)


def _download_once(package: str, known_versions: Iterable[str], scratch: Path) -> Path:
    rows = [row.split("|") for row in _run("apt-cache", "madison", package, cwd=scratch).splitlines()]
    offered = [row[1].strip() for row in rows if len(row) > 2]
    if not offered:
        raise FetchError(f"{package}: not in apt's package lists (it is in Debian 12, main)")
    known = set(known_versions)
    version = next((each for each in offered if each in known), offered[0])
    # as root, apt drops to a user that may not write here, and warns about it
    sandbox = ("-o", "APT::Sandbox::User=root") if os.geteuid() == 0 else ()
    _run("apt-get", *sandbox, "--quiet", "download", f"{package}={version}", cwd=scratch)
    archives = list(scratch.glob("*.deb"))
    if len(archives) != 1:
        raise FetchError(f"{package}: apt-get download left {len(archives)} packages instead of one")
    return archives[0]


def _run(*command: str, cwd: Path) -> str:
    """Run a Debian tool; its output, or FetchError with the last thing it complained about."""
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
        raise FetchError(f"{' '.join(command)}: {complaints[0] if complaints else f'exit code {done.returncode}'}")
    return done.stdout


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
