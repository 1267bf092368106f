"""The images of the sessions: fetched ones, ones built of fetched packages, empty disks."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from guest_images.apt import FetchError
from guest_images.disks.made import made
from guest_images.third_party import locate


def required(name: str) -> Path:
    """The image that `make guests` fetches under this name; without it the test says so and is skipped, but in CI."""
    path = locate(name)
    if path is None:
        assert "BT_REQUIRE_GUESTS" not in os.environ, f"{name} was fetched, and yet it is not found"
        pytest.skip(f"{name} is not here: make guests")
    return path


def fetched(name: str) -> Callable[[Path], Path]:
    """As `required`, when it is wanted."""
    return lambda _scratch: required(name)


def empty_disk(mib: int) -> Callable[[Path], Path]:
    """A disk of zeros, made anew for each session."""

    def make(scratch: Path) -> Path:
        path = scratch / f"empty-{mib}.img"
        with path.open("wb") as file:
            file.truncate(mib << 20)
        return path

    return make


def built(name: str) -> Callable[[Path], Path]:
    """The disk that guest_images/disks makes under this name, to be read only."""

    def find(_scratch: Path) -> Path:
        try:
            return made(name)
        except FetchError as error:
            if "BT_REQUIRE_GUESTS" in os.environ:
                raise
            pytest.skip(str(error))

    return find


def copy_of(name: str) -> Callable[[Path], Path]:
    """The same, to be written."""

    def make(scratch: Path) -> Path:
        # sparse, and on a file system that can share blocks, no copy at all
        subprocess.run(["cp", "--reflink=auto", "--sparse=always", built(name)(scratch), scratch / name], check=True)
        return scratch / name

    return make


def unzipped(name: str) -> Callable[[Path], Path]:
    """A fetched image unpacked, for a VM that does not do it itself."""

    def make(scratch: Path) -> Path:
        path = scratch / name.removesuffix(".gz")
        path.write_bytes(gzip.decompress(fetched(name)(scratch).read_bytes()))
        return path

    return make
