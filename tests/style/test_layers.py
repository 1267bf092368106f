"""A layer imports only from layers above it in the list (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = (
    "end",
    "errors",
    "arguments",
    "record",
    "host",
    "codegen",
    "x86",
    "memory",
    "engine",
    "clock",
    "disks",
    "chardev",
    "devices",
    "firmware",
    "boot",
    "symbols",
    "api",
    "machine",
    "inspect",
    "console",
    "monitor",
    "gdb",
    "bench",
    "cli",
)
DOORS = {("machine", "bt.cli.qemu.machine")}  # Machine.from_qemu: there is one parser of QEMU's command lines
GUEST_IMAGES_MAY_USE = {"errors"}
USERS_OF_GUEST_IMAGES = {"bench", "cli"}


def imported_modules(source: str) -> set[str]:
    """Names of the modules a file imports, wherever in the file; relative ones begin with dots."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {f"bt.{alias.name}" for alias in node.names} if module == "bt" else {module}
    return found


def violations(layer: str, source: str) -> list[str]:
    """What a file of `layer` imports and must not."""
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    bad = []
    for module in sorted(imported_modules(source)):
        package, _, rest = module.partition(".")
        # bt itself holds the version, which is no layer's
        wrong_layer = package == "bt" and rest not in ("", "__version__") and rest.split(".")[0] not in allowed
        wrong_guests = package == "guest_images" and layer not in USERS_OF_GUEST_IMAGES
        wrong_side = package in ("tests", "benchmarks") or module.startswith("..")  # one dot stays in the folder
        if (wrong_layer and (layer, module) not in DOORS) or wrong_guests or wrong_side:
            bad.append(module)
    return bad


def files_by_layer() -> list[tuple[str, Path]]:
    files = sorted((ROOT / "bt").rglob("*.py"))
    named = [(path.relative_to(ROOT / "bt").with_suffix("").parts[0], path) for path in files]
    return [(layer, path) for layer, path in named if layer not in ("__init__", "__main__")]


def test_every_layer_is_listed() -> None:
    assert {layer for layer, _ in files_by_layer()} <= set(LAYERS)


def test_layers_import_downwards_only() -> None:
    found = {
        str(path.relative_to(ROOT)): bad
        for layer, path in files_by_layer()
        if (bad := violations(layer, path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_guest_images_stand_alone() -> None:
    for path in (ROOT / "guest_images").rglob("*.py"):
        modules = imported_modules(path.read_text(encoding="utf-8"))
        layers = {module.split(".")[1] for module in modules if module.startswith("bt.")}
        assert layers <= GUEST_IMAGES_MAY_USE, path.name


@pytest.mark.parametrize(
    ("layer", "source", "expected"),
    [
        ("x86", "from bt.engine.library.library import load_library", ["bt.engine.library.library"]),
        ("x86", "def f():\n    import bt.machine", ["bt.machine"]),
        ("devices", "from bt import cli", ["bt.cli"]),
        ("engine", "import guest_images", ["guest_images"]),
        ("x86", "from ..engine import library", ["..engine"]),
        ("cli", "from tests.engines import ENGINES", ["tests.engines"]),
        (
            "engine",
            "from bt.x86 import flags\nfrom bt.engine import library\nfrom bt.errors import BtError\nfrom .x import y",
            [],
        ),
    ],
)
def test_the_rule_itself(layer: str, source: str, expected: list[str]) -> None:
    assert violations(layer, source) == expected
