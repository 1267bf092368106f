"""The manifest of guests that other people made, and where fetched ones lie."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_MANIFEST = Path(__file__).with_name("third_party.toml")


class ThirdPartyImage(NamedTuple):
    """One file of a Debian package; `sha256` maps the package versions we know to the file's hash in hex.

    `architecture`: whose package it is, if not this host's or everybody's.
    """

    name: str
    description: str
    package: str
    path: str
    licence: str
    sha256: Mapping[str, str]
    architecture: str = ""


def manifest() -> dict[str, ThirdPartyImage]:
    """All third-party images by name, as third_party.toml lists them."""
    import tomllib  # 5 ms that a command that names a file need not wait for

    tables = tomllib.loads(_MANIFEST.read_text("utf-8"))
    return {name: ThirdPartyImage(name=name, **table) for name, table in tables.items()}


def directory() -> Path:
    """Where fetched images lie: $BT_GUESTS, or guest_images/fetched in a checkout, or the user's data directory."""
    chosen = os.environ.get("BT_GUESTS")
    if chosen:
        return Path(chosen)
    here = Path(__file__).resolve().parent
    if (here.parent / "pyproject.toml").is_file():
        return here / "fetched"
    data_home = os.environ.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else Path.home() / ".local" / "share") / "bt" / "guests"


def locate(name: str) -> Path | None:
    """The fetched image of that name; None if it is unknown or has not been fetched."""
    path = directory() / name
    return path if path.is_file() and name in manifest() else None
