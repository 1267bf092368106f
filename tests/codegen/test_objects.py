"""The file of compiled modules: many processes add to it, any of them may die at any moment, and nothing goes wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from hashlib import blake2b
from pathlib import Path

import pytest

from bt.codegen.objects import KEY_BYTES, Objects
from bt.codegen.store import Store

CONTENT = {name: random.Random(name).randbytes(size) for name, size in (("a", 900), ("b", 1), ("c", 0), ("d", 3000))}


def key(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=KEY_BYTES).digest()


def opened(path: Path, limit: int = 1 << 20) -> Objects:
    """One that is not expected to be refused anything."""

    def fail(error: OSError) -> None:
        raise error

    return Objects(path, fail, limit=limit)


def filled(path: Path) -> Objects:
    objects = opened(path)
    for name, content in CONTENT.items():
        objects.add(key(name), content)
    return objects


def known(objects: Objects) -> dict[str, bytes]:
    found = {name: objects.get(key(name)) for name in CONTENT}
    return {name: content for name, content in found.items() if content is not None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "objects.bin"


def test_what_is_added_is_found_by_this_and_by_others(path: Path) -> None:
    first, early = opened(path), opened(path)
    assert known(first) == {}
    assert not path.exists()
    for name, content in CONTENT.items():
        first.add(key(name), content)
    assert known(first) == known(opened(path)) == CONTENT
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    size = path.stat().st_size
    early.add(key("a"), CONTENT["a"])
    assert path.stat().st_size == size
    assert known(early) == CONTENT


def test_a_torn_end_goes_and_the_rest_stays(path: Path) -> None:
    """At each length that a killed writer may have left."""
    filled(path)
    whole = path.read_bytes()
    ends = [8]
    for content in CONTENT.values():
        ends.append(ends[-1] + KEY_BYTES + 16 + 4 + len(content))
    assert ends[-1] == len(whole)
    names = list(CONTENT)
    for size in [*range(1100), *range(len(whole) - 50, len(whole))]:
        path.write_bytes(whole[:size])
        sound = sum(end <= size for end in ends[1:])
        objects = opened(path)
        assert list(known(objects)) == names[:sound], size
        objects.add(key("new"), b"new")
        again = opened(path)
        assert list(known(again)) == names[:sound], size
        assert again.get(key("new")) == b"new", size


def test_damage_counts_as_absent(path: Path) -> None:
    filled(path)
    whole = path.read_bytes()
    generator = random.Random(8259)
    for at in [*range(60), *(generator.randrange(len(whole)) for _ in range(300))]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        found = known(opened(path))
        assert found.items() <= CONTENT.items(), at
        assert len(found) < len(CONTENT), at
        filled(path)
        assert known(opened(path)) == CONTENT, at
    path.write_bytes(bytes(10_000))
    assert known(filled(path)) == CONTENT


def test_what_others_could_have_written_is_not_run(path: Path) -> None:
    filled(path)
    path.chmod(0o620)
    assert known(opened(path)) == {}
    assert known(filled(path)) == CONTENT  # another file in its place
    assert path.stat().st_mode & 0o777 == 0o600
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    assert known(opened(path)) == {}
    assert known(filled(path)) == CONTENT
    assert not path.is_symlink()


def test_the_file_stays_small_and_keeps_what_was_used_last(path: Path) -> None:
    """Objects that are found again in every version stay, however old they are."""
    limit, size = 100_000, 1000
    lasting = {f"lasting {n}".encode().ljust(KEY_BYTES): bytes([n]) * size for n in range(10)}
    for version in range(100):
        objects = opened(path, limit)
        for name, content in lasting.items():
            if objects.get(name) is None:
                assert version == 0
                objects.add(name, content)
        for number in range(20):
            name = f"{version}.{number}".encode().ljust(KEY_BYTES)
            assert objects.get(name) is None
            objects.add(name, random.Random(name).randbytes(size))
        objects.close()
        assert path.stat().st_size <= limit
    objects = opened(path, limit)
    assert all(objects.get(name) == content for name, content in lasting.items())
    newest = [objects.get(f"99.{number}".encode().ljust(KEY_BYTES)) for number in range(20)]
    assert None not in newest
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_was_replaced_meanwhile_is_found_out(path: Path) -> None:
    limit = 20_000
    waiting = opened(path, limit)
    waiting.add(key("a"), b"a")
    inode, other = path.stat().st_ino, opened(path, limit)
    for number in range(30):
        other.add(key(str(number)), bytes(1000))
    assert path.stat().st_ino != inode
    waiting.add(key("b"), b"b")
    assert opened(path).get(key("b")) == b"b"


ADDING = """
import random, sys
from pathlib import Path
from bt.codegen.objects import Objects
def fail(error): raise error
number, count = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
objects = Objects(Path(sys.argv[1]), fail, limit=int(sys.argv[4]))
for at in range(count):
    name = f"{number}.{at}"
    objects.add(name.encode().ljust(20), random.Random(name).randbytes(2000))
"""


def adding(path: Path, number: int, count: int, limit: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ADDING, str(path), str(number), str(count), str(limit)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def sound(path: Path, limit: int) -> list[str]:
    """The names of the objects that processes have added, all of which must be right."""
    objects = opened(path, limit)
    names = []
    for number in range(4):
        for at in range(2000):
            name = f"{number}.{at}"
            content = objects.get(name.encode().ljust(KEY_BYTES))
            if content is not None:
                assert content == random.Random(name).randbytes(2000)
                names.append(name)
    return names


@pytest.mark.parametrize("limit", [10 << 20, 200_000], ids=["room for all", "rewritten again and again"])
def test_processes_add_at_the_same_time(path: Path, limit: int) -> None:
    processes = [adding(path, number, 300, limit) for number in range(4)]
    for process in processes:
        go(process)
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    names = sound(path, limit)
    assert len(names) == 4 * 300 if limit > 1 << 20 else 40 < len(names) <= 100
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("limit", [10 << 20, 60_000], ids=["room for all", "rewritten again and again"])
def test_a_writer_that_is_killed_does_no_harm(path: Path, limit: int) -> None:
    """At a different moment each time; the next one goes on with all that was there."""
    generator, before = random.Random(1), 0
    for number in range(12):
        process = adding(path, number % 4, 2000, limit)
        go(process)
        time.sleep(0.01 + generator.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it was through already: give it more to do"
        after = opened(path, limit)
        after.add(key("mine"), b"mine")
        assert opened(path, limit).get(key("mine")) == b"mine"
        names = sound(path, limit)
        assert len(names) >= before or limit < 1 << 20
        before = len(names)
    assert before > 0


def test_files_of_former_versions_go(tmp_path: Path) -> None:
    former = ("object.gates-68f11f95af119e4a.bin", "object.runtime.fp.lock", ".object.runtime.fp-77-0123abcd.tmp")
    others = ("library.lock", "library-8d0e2481e27fef8f.bin", "objects.bin", "object.txt", ".library-77-0123abcd.tmp")
    for name in (*former, *others):
        (tmp_path / name).touch()
    Store(tmp_path).objects().close()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(others)


def test_a_directory_that_cannot_be_written_is_warned_of_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    objects = Store(tmp_path / "file" / "cache").objects()
    with pytest.warns(UserWarning, match="no code cache .*set BT_CACHE_DIR"):
        objects.add(key("a"), b"a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objects.add(key("b"), b"b")


def test_looking_through_many_objects_is_quick(path: Path) -> None:
    objects = opened(path, 64 << 20)
    for number in range(500):
        objects.add(os.urandom(KEY_BYTES), random.Random(number).randbytes(20_000))
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        opened(path).close()
        best = min(best, time.process_time() - start)
    assert best < 0.1
