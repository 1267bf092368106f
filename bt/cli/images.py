"""`bt images`: the guests that are built in, and those made by others that can be fetched."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

import guest_images
from bt.cli import options
from guest_images import third_party


def main(arguments: Sequence[str]) -> int:
    options.Parser("bt images", "List the guests that are built in or fetched.").parse_args(arguments)
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "options", "what it does"):
        table.add_column(heading, no_wrap=heading == "name")
    for image in guest_images.images():
        defaults = " ".join(f"{name}={value}" for name, value in image.parameters.items())
        table.add_row(image.name, image.kind, defaults, image.description)
    for other in third_party.manifest().values():
        there = "fetched" if third_party.locate(other.name) else "not fetched"
        table.add_row(other.name, there, "", other.description)
    console = Console()
    console.print(table)
    console.print(
        "\nOptions go into -append: bt run sieve -append 'n=100 size=4096'."
        " What is not fetched, `python -m guest_images.fetch` gets.",
        highlight=False,
    )
    return 0
