"""A picture of the screen as a file."""

from __future__ import annotations

from pathlib import Path

from bt.devices.display.render import Image
from bt.errors import BadUsage

FORMATS = {".png": "PNG", ".ppm": "PPM"}  # what a file's name ends in: what Pillow calls it


def check_name(path: Path) -> None:
    """Raises BadUsage for a file that `save` would not write."""
    if path.suffix.lower() not in FORMATS:
        raise BadUsage(f"{path}: a screenshot is a .png or a .ppm file")
    if not path.parent.is_dir():
        raise BadUsage(f"{path}: there is no directory {path.parent}")


def save(image: Image, path: Path) -> None:
    """Write it there. Raises BadUsage if that cannot be done."""
    import PIL.Image  # 36 ms, for those who want a picture

    picture = PIL.Image.frombytes("RGB", (image.width, image.height), image.rgb)
    check_name(path)
    try:
        picture.save(path, FORMATS[path.suffix.lower()])
    except OSError as error:
        raise BadUsage(f"{path}: {error.strerror or error}") from error


def next_name(path: Path) -> Path:
    """The first of shot-1.png, shot-2.png... that there is not yet, for shot.png."""
    number = 1
    while (found := path.with_stem(f"{path.stem}-{number}")).exists():
        number += 1
    return found
