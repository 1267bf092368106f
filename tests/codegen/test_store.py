"""The disk cache: whatever happens to its files, the caller gets what it would have built."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from bt.codegen.store import Store, source_key

SECTIONS = {"code": bytes(range(256)) * 5, "empty": b"", "table": b"\x01\x02\x03"}


def build_never() -> dict[str, bytes]:
    raise AssertionError("must come from disk")


def plain(sections: object) -> dict[str, bytes]:
    assert isinstance(sections, dict)
    return {name: bytes(content) for name, content in sections.items()}


def save(store: Store, name: str, key: str, sections: dict[str, bytes]) -> None:
    store.get(name, key, lambda: sections)


def entry(directory: Path) -> Path:
    (file,) = directory.glob("*.bin")
    return file


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = Store(tmp_path / "made" / "on demand")
    assert store.load("runtime", "k") is None
    assert plain(store.get("runtime", "k", lambda: SECTIONS)) == SECTIONS
    assert plain(Store(store.directory).get("runtime", "k", build_never)) == SECTIONS
    assert store.directory.stat().st_mode & 0o777 == 0o700
    loaded = store.load("runtime", "k")
    assert loaded is not None
    assert list(loaded) == list(SECTIONS)
    loaded["code"][:1] = b"!"  # a cell of its own: native code is told where it is, nobody else sees it
    assert plain(Store(store.directory).get("runtime", "k", build_never)) == SECTIONS


def test_the_key_and_the_name_must_match(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, "a", "k", SECTIONS)
    assert store.load("a", "other") is None
    assert store.load("b", "k") is None
    entry(tmp_path).rename(store._path("a", "other"))  # right digest, wrong key inside
    assert store.load("a", "other") is None


@pytest.mark.parametrize("name", ["", "../x", "a-b", ".hidden", "A"])
def test_names_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="store name"):
        save(Store(tmp_path), name, "k", SECTIONS)


def test_every_flipped_bit_and_every_truncation_counts_as_absent(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, "a", "k", SECTIONS)
    file = entry(tmp_path)
    whole = file.read_bytes()
    generator = random.Random(8259)
    for at in [*range(160), *(generator.randrange(len(whole)) for _ in range(200))]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << generator.randrange(8)
        file.write_bytes(damaged)
        assert store.load("a", "k") is None, at
    for size in [*range(160), *(generator.randrange(len(whole)) for _ in range(50))]:
        file.write_bytes(whole[:size])
        assert store.load("a", "k") is None, size
    file.write_bytes(whole + b"\0")
    assert store.load("a", "k") is None


def test_a_damaged_entry_is_replaced_in_silence(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, "a", "k", {"old": b"old"})
    entry(tmp_path).write_bytes(b"btstore\1" + bytes(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain(store.get("a", "k", lambda: SECTIONS)) == SECTIONS
        assert plain(store.get("a", "k", build_never)) == SECTIONS


def test_code_that_others_could_have_written_is_not_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, "a", "k", SECTIONS)
    assert entry(tmp_path).stat().st_mode & 0o777 == 0o600
    entry(tmp_path).chmod(0o620)
    assert store.load("a", "k") is None
    entry(tmp_path).chmod(0o600)
    assert store.load("a", "k") is not None
    entry(tmp_path).rename(tmp_path / "elsewhere")
    store._path("a", "k").symlink_to(tmp_path / "elsewhere")
    assert store.load("a", "k") is None


def test_without_a_writable_directory_it_warns_once_and_works(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "cache")
    with pytest.warns(UserWarning, match="no code cache .*set BT_CACHE_DIR"):
        assert plain(store.get("a", "k", lambda: SECTIONS)) == SECTIONS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain(store.get("a", "k2", lambda: SECTIONS)) == SECTIONS


def test_a_failing_build_leaves_nothing_and_no_lock(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail() -> dict[str, bytes]:
        raise RuntimeError("LLVM is not well")

    with pytest.raises(RuntimeError):
        store.get("a", "k", fail)
    assert list(tmp_path.glob("*.bin")) == []
    assert plain(store.get("a", "k", lambda: SECTIONS)) == SECTIONS


def test_the_newest_four_of_a_name_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, "other", "k", SECTIONS)
    abandoned, in_use = tmp_path / ".a-1-00.tmp", tmp_path / ".a-2-00.tmp"
    for temporary in (abandoned, in_use):
        temporary.touch()
    os.utime(abandoned, (1, 1))
    for number in range(7):
        save(store, "a", str(number), SECTIONS)
        os.utime(store._path("a", str(number)), ns=(0, time.time_ns() - (10 - number) * 10**9))
    assert [n for n in range(7) if store.load("a", str(n))] == [3, 4, 5, 6]
    assert store.load("other", "k")
    assert not abandoned.exists()
    assert in_use.exists()


def test_two_processes_build_once(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from bt.codegen.store import Store
log = Path(sys.argv[1], "log")
def build():
    with log.open("a") as file:
        file.write("built\\n")
    time.sleep(0.5)
    return {"code": b"made"}
print(bytes(Store(Path(sys.argv[1], "cache")).get("a", "k", build)["code"]))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["b'made'\n", "b'made'\n"]
    assert (tmp_path / "log").read_text() == "built\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"BT_CACHE_DIR": "/x/y", "XDG_CACHE_HOME": "/xdg", "HOME": "/h"}, "/x/y"),
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/h"}, "/xdg/bt"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/bt"),
        ({"HOME": "/h"}, "/h/.cache/bt"),
    ],
)
def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    for name in ("BT_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Store().directory == Path(expected)


def test_loading_5_megabytes_is_quick(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, "big", "k", {"code": random.Random(1).randbytes(5 << 20)})
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        assert store.load("big", "k")
        best = min(best, time.process_time() - start)
    assert best < 0.015


def test_the_source_key_follows_every_python_file(tmp_path: Path) -> None:
    package = tmp_path / "one" / "package"
    (package / "inner").mkdir(parents=True)
    (package / "a.py").write_text("a = 1")
    (package / "inner" / "b.py").write_text("b = 1")
    keys = [source_key([package])]
    (package / "inner" / "b.py").write_text("b = 2")
    keys.append(source_key([package]))
    (package / "inner" / "b.py").rename(package / "inner" / "c.py")
    keys.append(source_key([package]))
    (package / "d.py").touch()
    keys.append(source_key([package]))
    assert len(set(keys)) == 4
    (package / "notes.txt").write_text("not code")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.py").write_text("no")
    moved = package.rename(tmp_path / "package")
    assert source_key([moved]) == keys[-1]


def test_the_source_key_of_100_files_is_quick(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"m{number}.py").write_bytes(b"x" * 10_000)
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        source_key([tmp_path])
        best = min(best, time.process_time() - start)
    assert best < 0.005
