"""The built-in guests: small multiboot kernels of our own, packaged ready to run.

    >>> image("sieve").description

Every guest prints its name, `result=` (checksum, hexadecimal) and `ops=` (operations done, decimal) on COM1 and leaves
through the debug-exit port; options such as `n=1000` come on the command line. Made by `build` from `sources/`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bt.errors import BadImage

_BUILT = Path(__file__).parent / "built"  # importlib.resources takes 15 ms to import


class Image(NamedTuple):
    """A built-in guest.

    `kind`: "demo", "compute", "fp", "nano", "check", "system", "long" or "boot". `format`: "multiboot", "multiboot 2",
    "PVH" or "boot sector".
    `parameters`: command-line options and their defaults; work grows linearly with n. `ops`: the unit `ops=` counts.
    `transcript` and `exit_status`: serial output and exit status (debug-exit convention, 1 = guest's 0) of a run with
    defaults. `linux_file`: the same code as a Linux i386 program. `cpu`: the model that it is for, None: any.
    """

    name: str
    kind: str
    format: str
    description: str
    file: str
    sha256: str
    linux_file: str | None
    parameters: Mapping[str, str]
    ops: str
    transcript: str
    exit_status: int
    cpu: str | None

    def read(self) -> bytes:
        """The ELF file, or the boot sector."""
        return (_BUILT / self.file).read_bytes()

    @property
    def path(self) -> Path:
        """Where that file lies; BadImage if the package is not installed as plain files."""
        return _on_disk(self.file)

    @property
    def linux_path(self) -> Path | None:
        """The Linux i386 program made of the same code, None for guests that need the whole machine.

        A package installer may have dropped the execute permission: copy the file to run it.
        """
        return _on_disk(self.linux_file) if self.linux_file else None


def _on_disk(name: str) -> Path:
    path = _BUILT / name
    if not path.is_file():
        raise BadImage(f"guest_images/built/{name}: not there as a file; reinstall bt unzipped or run `make images`")
    return path


def _manifest() -> dict[str, Image]:
    import json  # which who runs an image of their own does without

    try:
        entries = json.loads((_BUILT / "manifest.json").read_text(encoding="ascii"))
    except (FileNotFoundError, NotADirectoryError):
        raise BadImage("guest_images/built/manifest.json: missing; run `make images`") from None
    return {entry["name"]: Image(**entry) for entry in entries}


def names() -> list[str]:
    """Names of the built-in guests, in catalogue order."""
    return list(_manifest())


def images() -> list[Image]:
    """All built-in guests, in catalogue order."""
    return list(_manifest().values())


def find(name: str) -> Image | None:
    """The built-in guest `name`, if there is one."""
    return _manifest().get(name)


def cpu_for(path: Path) -> str | None:
    """The CPU model that a guest is for, if it is a built-in one with a model of its own."""
    if path.parent != _BUILT:
        return None
    return next((image.cpu for image in images() if image.file == path.name), None)


def image(name: str) -> Image:
    """The built-in guest `name`; BadImage lists the names there are."""
    manifest = _manifest()
    if name not in manifest:
        raise BadImage(f"{name}: no built-in guest of this name; there are {', '.join(manifest)}")
    return manifest[name]
