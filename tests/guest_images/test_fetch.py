"""Fetching third-party guests: a package made here, apt played by shell scripts. No network."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bt.errors import BadUsage
from guest_images import fetch as fetching
from guest_images import third_party
from guest_images.apt import FetchError
from guest_images.debian_packages import DebianPackage, package_sets
from guest_images.fetch import fetch
from guest_images.third_party import ThirdPartyImage, directory, locate, manifest

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")

CONTENT = b"a kernel" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass(frozen=True)
class Archive:
    """A pretended Debian archive: one package, and the scripts that answer for apt."""

    root: Path

    def script(self, name: str, body: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    @property
    def log(self) -> list[str]:
        path = self.root / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: guests\nVersion: 1+deb12u2\nArchitecture: all\nMaintainer: nobody <no@example.org>\nDescription: x\n"
    )
    (tree / "boot").mkdir()
    (tree / "boot" / "linux").write_bytes(CONTENT)
    (tree / "boot" / "other").write_bytes(b"other")
    subprocess.run(["dpkg-deb", "--build", tree, tmp_path / "guests.deb"], check=True, capture_output=True)
    (tmp_path / "bin").mkdir()
    made = Archive(tmp_path)
    made.script("apt-cache", "echo ' guests | 1+deb12u3 | new'; echo ' guests | 1+deb12u2 | old'")
    made.script("apt-get", f'echo "$@" >>{tmp_path}/log; cp {tmp_path}/guests.deb guests_1_all.deb')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return made


def _image(**changes: object) -> ThirdPartyImage:
    fields = {
        "name": "linux",
        "description": "",
        "package": "guests",
        "path": "boot/linux",
        "licence": "",
        "sha256": {"1+deb12u2": SHA256},
    }
    return ThirdPartyImage(**fields | changes)  # type: ignore[arg-type]  # a row of changes has several types


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def offer(*images: ThirdPartyImage) -> None:
        monkeypatch.setattr(fetching, "manifest", lambda: {image.name: image for image in images})
        monkeypatch.setattr(fetching, "package_sets", dict)

    return offer


def test_fetch_downloads_a_version_it_knows_once(
    archive: Archive, offered: Callable[..., None], tmp_path: Path
) -> None:
    offered(
        _image(), _image(name="other", path="boot/other", sha256={"1+deb12u2": hashlib.sha256(b"other").hexdigest()})
    )
    into = tmp_path / "a" / "b"
    assert fetch([], into) == [into / "linux", into / "other"]
    assert (into / "linux").read_bytes() == CONTENT
    assert sorted(path.name for path in into.iterdir()) == ["linux", "other"]
    assert [line.split()[-1] for line in archive.log] == ["guests=1+deb12u2"]
    fetch(["linux"], into)
    assert len(archive.log) == 1, "present: nothing to download"
    (into / "linux").write_bytes(b"damaged")
    fetch([], into)
    assert len(archive.log) == 2
    assert (into / "linux").read_bytes() == CONTENT


def test_wrong_hash_prints_both(archive: Archive, offered: Callable[..., None], tmp_path: Path) -> None:
    offered(_image(sha256={"1+deb12u2": "0" * 64}))
    with pytest.raises(FetchError, match=f"expected {'0' * 64}, got {SHA256}$"):
        fetch([], tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_unknown_version_prints_all_hashes(archive: Archive, offered: Callable[..., None], tmp_path: Path) -> None:
    offered(_image(sha256={"1+deb12u1": "1" * 64}))
    with pytest.raises(FetchError, match=r"in guests 1\+deb12u2: expected 1{64} \(1\+deb12u1\), got") as caught:
        fetch([], tmp_path / "into")
    assert SHA256 in str(caught.value)
    assert "1" * 64 in str(caught.value)
    assert "add it to third_party.toml" in str(caught.value)
    assert archive.log[0].endswith("guests=1+deb12u3"), "the newest, as none is known"


def test_package_without_the_file(archive: Archive, offered: Callable[..., None], tmp_path: Path) -> None:
    offered(_image(path="boot/nothing"))
    with pytest.raises(FetchError, match="has no boot/nothing"):
        fetch([], tmp_path / "into")


def test_failing_update_does_not_matter_if_the_package_then_comes(
    archive: Archive, offered: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stale lists: the download fails, root updates (which fails for another source), the second download works."""
    offered(_image())
    archive.script(
        "apt-get",
        f"""echo "$1" >>{tmp_path}/log
        case "$*" in
        update*) touch {tmp_path}/updated; echo 'E: no i386' >&2; exit 100;;
        *) [ -e {tmp_path}/updated ] || {{ echo 'E: 404 Not Found' >&2; exit 100; }}
           cp {tmp_path}/guests.deb guests_1_all.deb;;
        esac""",
    )
    monkeypatch.setattr("os.geteuid", lambda: 0)
    fetch([], tmp_path / "into")
    assert "update" in archive.log
    (tmp_path / "updated").unlink()
    (tmp_path / "into" / "linux").unlink()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(FetchError, match=r"404 Not Found; if the package lists are old, run `sudo apt-get update`"):
        fetch([], tmp_path / "into")


def test_not_in_the_lists(archive: Archive, offered: Callable[..., None], tmp_path: Path) -> None:
    offered(_image())
    archive.script("apt-cache", "exit 0")
    with pytest.raises(FetchError, match="guests: not in apt's package lists"):
        fetch([], tmp_path / "into")


def test_no_apt(
    archive: Archive, offered: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(_image())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="no apt-get here"):
        fetch([], tmp_path / "into")


def test_damaged_package(archive: Archive, offered: Callable[..., None], tmp_path: Path) -> None:
    offered(_image())
    whole = (tmp_path / "guests.deb").read_bytes()
    (tmp_path / "guests.deb").write_bytes(whole[: len(whole) - 100])
    with pytest.raises(FetchError):
        fetch([], tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_directory_that_cannot_be_written(archive: Archive, offered: Callable[..., None], tmp_path: Path) -> None:
    offered(_image())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FetchError, match="set BT_GUESTS to a directory you can write"):
        fetch([], tmp_path / "file" / "into")


def test_command_line(
    archive: Archive,
    offered: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    offered(_image())
    monkeypatch.setenv("BT_GUESTS", str(tmp_path / "guests"))
    assert fetching.main(["linux"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/guests/linux  8,000 bytes\n"
    assert fetching.main(["minix"]) == 2
    assert capsys.readouterr().err == "no third-party guest is called 'minix'; there are linux\n"


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="called 'minix'; there are debian-12-linux"):
        fetch(["minix"], tmp_path)


def test_one_that_fails_does_not_keep_the_others_away(
    archive: Archive, offered: Callable[..., None], tmp_path: Path
) -> None:
    offered(
        _image(name="first", path="boot/nothing", package="a"), _image(), _image(name="last", package="z", path="x")
    )
    with pytest.raises(FetchError, match=r"has no boot/nothing.*; guests_1_all.deb: has no x"):
        fetch([], tmp_path / "into")
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["linux"]


def test_another_architecture_has_lists_of_its_own(
    archive: Archive, offered: Callable[..., None], tmp_path: Path
) -> None:
    """They are fetched every time, as any user; that one source of them fails says nothing of the package."""
    offered(_image(architecture="i386"))
    archive.script(
        "apt-get",
        f"""echo "$@" >>{tmp_path}/log
        case "$*" in
        *update*) exit 100;;
        *) cp {tmp_path}/guests.deb guests_1_all.deb;;
        esac""",
    )
    fetch([], tmp_path / "into")
    update, download = archive.log
    assert "update" in update.split()
    for command in (update, download):
        assert "APT::Architectures=i386" in command.split()
        assert f"Dir::State::Lists={tmp_path / 'into'}/.download-" in command
    assert (tmp_path / "into" / "linux").read_bytes() == CONTENT


def _package_set(archive: Archive, monkeypatch: pytest.MonkeyPatch, sha256: str) -> DebianPackage:
    package = DebianPackage("guests_2%3a1+deb12u2_all.deb", sha256)
    monkeypatch.setattr(fetching, "manifest", dict)
    monkeypatch.setattr(fetching, "package_sets", lambda: {"disk": [package], "another disk": [package]})
    root = archive.root
    archive.script(
        "apt-get",
        f"""echo "$@" >>{root}/log
        case "$*" in *update*) ;; *) cp {root}/guests.deb {package.file};; esac""",
    )
    return package


def test_packages_for_disks_are_kept_whole(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (tmp_path / "guests.deb").read_bytes()
    package = _package_set(archive, monkeypatch, hashlib.sha256(whole).hexdigest())
    into = tmp_path / "into"
    assert fetch(["disk"], into) == [into / "packages" / package.file]
    assert (into / "packages" / package.file).read_bytes() == whole
    assert archive.log[-1].split()[-1] == "guests=2:1+deb12u2"
    commands = len(archive.log)
    fetch([], into)
    assert len(archive.log) == commands, "present: nothing to download"


def test_packages_that_are_not_what_was_pinned(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = _package_set(archive, monkeypatch, "0" * 64)
    with pytest.raises(FetchError, match=f"wrong SHA-256: expected {'0' * 64}, got "):
        fetch([], tmp_path / "into")
    assert not package.archive(tmp_path / "into").exists()
    archive.script("apt-get", "echo \"E: Version '2:1+deb12u2' for 'guests' was not found\" >&2; exit 100")
    gone = (
        r"1 packages for disks: .*Version '2:1\+deb12u2' for 'guests' was not found; if Debian has replaced a version"
    )
    with pytest.raises(FetchError, match=gone):
        fetch([], tmp_path / "into")


def test_pinned_packages() -> None:
    for members in package_sets().values():
        names = [package.name for package in members]
        assert len(set(names)) == len(names) > 0
        for package in members:
            assert len(bytes.fromhex(package.sha256)) == 32
            assert package.file == f"{package.name}_{package.version.replace(':', '%3a')}_{package.file.split('_')[2]}"


def test_manifest() -> None:
    for name, image in manifest().items():
        assert name == image.name
        assert image.sha256
        assert all(len(bytes.fromhex(value)) == 32 for value in image.sha256.values())
        assert not image.path.startswith(("/", "."))


def test_directory_and_locate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BT_GUESTS", raising=False)
    assert directory().parts[-2:] == ("guest_images", "fetched")
    # an installed package has no pyproject.toml above it
    monkeypatch.setattr(third_party, "__file__", str(tmp_path / "site-packages" / "guest_images" / "third_party.py"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert directory() == tmp_path / "data" / "bt" / "guests"
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert directory() == tmp_path / ".local" / "share" / "bt" / "guests"
    monkeypatch.setenv("BT_GUESTS", str(tmp_path))
    assert directory() == tmp_path
    assert locate("debian-12-linux") is None
    (tmp_path / "debian-12-linux").write_bytes(b"")
    (tmp_path / "stranger").write_bytes(b"")
    assert locate("debian-12-linux") == tmp_path / "debian-12-linux"
    assert locate("stranger") is None
