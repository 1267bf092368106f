"""The planted faults fit the tree as it is, and their tests exist. (`python -m tests.plants` plants them.)"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.plants.__main__ import tree, verdict
from tests.plants.plant import ROOT, Change, Misfit, Plant, plants

PLANTS = plants()


@pytest.mark.parametrize("name", PLANTS)
def test_it_fits(tmp_path: Path, name: str) -> None:
    """It changes bt, in one place a hunk, to something that is Python still."""
    plant = PLANTS[name]
    files = {change.file for change in plant.changes}
    for file in files:
        assert file.startswith("bt/")
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    plant.apply(tmp_path)
    for file in files:
        assert (tmp_path / file).read_text(encoding="utf-8") != (ROOT / file).read_text(encoding="utf-8")
        compile((tmp_path / file).read_text(encoding="utf-8"), file, "exec")


@pytest.mark.parametrize("name", PLANTS)
def test_its_test_exists(name: str) -> None:
    path, _, rest = PLANTS[name].test.partition("::")
    function = rest.partition("[")[0]
    wanted = f"def {function}(" if function else "=>"  # a whole file of cases
    assert wanted in (ROOT / path).read_text(encoding="utf-8")
    assert PLANTS[name].says


@pytest.mark.parametrize(
    ("hunk", "before", "after"),
    [
        ("-1,3 +1,3 @@ def f\n a\n-b\n+c\n d\n", "a\nb\nd\n", "a\nc\nd\n"),
        ("-7,2 +9 @@\n a\n-b\n", "a\nb\n", "a\n"),
        ("-1 +1,2 @@\n+a\n \n", "\n", "a\n\n"),
        ("-1 +1 @@\n--- b\n+++ b/c\n", "-- b\n", "++ b/c\n"),
    ],
)
def test_hunks_are_read(tmp_path: Path, hunk: str, before: str, after: str) -> None:
    """As `git diff` writes them; also lines that look like heads of files."""
    path = tmp_path / "x.patch"
    head = "Two\nwords.\n\nCaught by: t.py::t[a b]\n\ndiff --git a/f b/f\nindex 1..2 100644\n--- a/f\n+++ b/f\n@@ "
    path.write_text(head + hunk, encoding="utf-8")
    assert Plant.read(path) == Plant("x", "Two words.", "t.py::t[a b]", (Change("f", before, after),))


@pytest.mark.parametrize(
    "text", ["words", "Caught by: t\n", "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n", "Caught by: t\n@@ -1 +1 @@\n-a\n"]
)
def test_what_is_no_plant_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.patch"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Misfit):
        Plant.read(path)


@pytest.mark.parametrize(("before", "places"), [("no\n", 0), ("a\n", 2)])
def test_what_does_not_fit_changes_nothing(tmp_path: Path, before: str, places: int) -> None:
    file = tmp_path / "f"
    file.write_text("a\nb\na\n", encoding="utf-8")
    plant = Plant("p", "", "t", (Change("f", "b\n", "c\n"), Change("f", before, "")))
    with pytest.raises(Misfit, match=f"p: a hunk fits {places} places of f, not one"):
        plant.apply(tmp_path)
    assert file.read_text(encoding="utf-8") == "a\nb\na\n"


@pytest.mark.slow
def test_planted_faults_turn_their_tests_red() -> None:
    """Two of them, one of which hangs."""
    with tree() as place:
        assert {name: verdict(place, PLANTS[name]) for name in ("fp-ready-kept", "page-fault-on-page-fault")} == {
            "fp-ready-kept": "red",
            "page-fault-on-page-fault": "red",
        }
