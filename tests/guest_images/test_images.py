"""The built-in guests: rebuilt bytes; runs under QEMU, Linux programs and C twins against one transcript."""

import shutil
import subprocess
from pathlib import Path

import pytest

import guest_images
from bt.errors import BadImage
from guest_images.build import BUILT, CATALOGUE, MAX_IMAGE_BYTES, build_all

NATIVE = Path(guest_images.__file__).parent / "native"
QEMU = shutil.which("qemu-system-i386")
GCC = shutil.which("gcc")
# The debug-exit convention: a guest's 0 and 1.
SUCCESS, FAILURE = 1, 3
# name, options, and how many operations that is: sizes other than the defaults.
OTHER_SIZES = [
    ("sieve", "n=2 size=1000", 2000),
    ("crc", "n=1", 65536),
    ("quicksort", "n=3 size=1001", 3003),
    ("quicksort", "n=1 size=1", 1),
    ("matmul", "n=1", 96**3),
    ("strings", "n=3", 677592),
    ("fib-calls", "n=1", 21891),
    ("switch", "n=27", 5935),
    ("sha256", "n=3", 49152),
    ("mandel-x87", "n=1", 148138),
    ("mandel-sse2", "n=1", 148138),
    ("nbody-x87", "n=7", 70),
    ("nbody-sse2", "n=7", 70),
    ("memcpy-sse", "n=1", 262144),
]

needs_qemu = pytest.mark.skipif(QEMU is None, reason="qemu-system-i386 is not installed")
needs_gcc = pytest.mark.skipif(GCC is None, reason="gcc is not installed")


def run_qemu(image: Path, options: str = "", cpu: str = "qemu32") -> tuple[str, int]:
    """Serial output and exit status of a multiboot image or boot sector under QEMU's emulator."""
    program = f"{QEMU}".replace("i386", "x86_64") if cpu.startswith("qemu64") else QEMU
    command = (
        f"{program} -accel tcg -m 64 -display none -serial stdio -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=4"
    )
    boot = (
        ["-drive", f"format=raw,file={image}"]
        if image.suffix == ".bin"
        else ["-kernel", str(image), "-append", options]
    )
    arguments = [*command.split(), "-cpu", cpu, *boot]
    result = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return result.stdout.decode("ascii").replace("\r\n", "\n"), result.returncode


def run_program(program: Path, options: str = "") -> tuple[str, int]:
    result = subprocess.run(
        [str(program), *([options] if options else [])], capture_output=True, timeout=60, check=False
    )
    return result.stdout.decode("ascii"), result.returncode


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the C twins, compiled for i386."""
    folder = tmp_path_factory.mktemp("twins")
    for source in sorted(NATIVE.glob("*.c")):
        arguments = [
            str(GCC),
            "-O2",
            "-m32",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            str(folder / source.stem),
            str(source),
        ]
        result = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if "sys/cdefs.h" in result.stderr or "cannot find -l" in result.stderr or "bits/" in result.stderr:
            pytest.skip("gcc cannot compile for i386 here")
        assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def linux_program(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An executable copy of the Linux program of the guest named by the parameter; skips where i386 code cannot run."""
    source = guest_images.image(request.param).linux_path
    assert source is not None
    program = tmp_path / source.name
    shutil.copyfile(source, program)
    program.chmod(0o755)
    try:
        run_program(program, "n=0" if request.param != "switch" else "n=1")
    except OSError:
        pytest.skip("this host does not run i386 programs")
    return program


@pytest.mark.slow
def test_rebuilding_gives_the_packaged_bytes() -> None:
    built = build_all()
    packaged = {str(path.relative_to(BUILT)): path.read_bytes() for path in BUILT.rglob("*") if path.is_file()}
    assert sorted(built) == sorted(packaged)
    for name, content in built.items():
        assert content == packaged[name], f"{name}: run `make images` and commit the result"


def test_images_are_small() -> None:
    assert max(len(image.read()) for image in guest_images.images()) < MAX_IMAGE_BYTES


def test_names_follow_the_catalogue() -> None:
    assert guest_images.names() == [guest.name for guest in CATALOGUE]
    assert len(set(guest_images.names())) == len(CATALOGUE)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(BadImage, match=r"nothing: no built-in guest of this name; there are hello, sieve"):
        guest_images.image("nothing")


# what the others are told differs with the firmware: tests/boot/loaders/test_multiboot2.py and test_pvh.py compare it
@needs_qemu
@pytest.mark.parametrize(
    "name",
    [
        image.name
        for image in guest_images.images()
        if image.format in ("multiboot", "boot sector") and image.name != "long-matrix"  # test_long_mode.py
    ],
)
def test_runs_under_qemu_as_the_manifest_says(name: str) -> None:
    image = guest_images.image(name)
    assert run_qemu(image.path, cpu=image.cpu or "qemu32") == (image.transcript, image.exit_status)


@pytest.mark.parametrize(
    ("name", "linux_program"),
    [(image.name, image.name) for image in guest_images.images() if image.linux_file],
    indirect=["linux_program"],
)
def test_linux_programs_say_the_same(name: str, linux_program: Path) -> None:
    image = guest_images.image(name)
    assert run_program(linux_program) == (image.transcript, image.exit_status)


@needs_gcc
@pytest.mark.parametrize("name", [source.stem for source in sorted(NATIVE.glob("*.c"))])
def test_twins_say_the_same(name: str, twins: Path) -> None:
    image = guest_images.image(name)
    assert run_program(twins / name) == (image.transcript, image.exit_status)


@needs_gcc
@pytest.mark.parametrize(
    ("name", "options", "ops", "linux_program"), [(*row, row[0]) for row in OTHER_SIZES], indirect=["linux_program"]
)
def test_other_sizes_agree_with_the_twins(name: str, options: str, ops: int, linux_program: Path, twins: Path) -> None:
    output, status = run_program(linux_program, options)
    assert status == SUCCESS
    assert f"\nops={ops}\n" in output
    assert run_program(twins / name, options) == (output, status)


@needs_qemu
@pytest.mark.parametrize(("name", "options", "ops"), OTHER_SIZES[:3])
def test_options_reach_the_guest_through_multiboot(name: str, options: str, ops: int) -> None:
    output, status = run_qemu(guest_images.image(name).path, options)
    assert status == SUCCESS
    assert f"\nops={ops}\n" in output


@needs_qemu
@pytest.mark.parametrize("options", ["n=3 hz=5000", "n=1 hz=100"])
def test_minikernel_says_the_same_at_any_timer_rate(options: str) -> None:
    image = guest_images.image("minikernel")
    rounds = int(options[2])
    output, status = run_qemu(image.path, options)
    assert (output, status) == (image.transcript.replace("ops=140", f"ops={140 * rounds}"), SUCCESS)


@needs_qemu
def test_smc_scales() -> None:
    output, status = run_qemu(guest_images.image("smc").path, "n=7")
    assert status == SUCCESS
    assert output.endswith("\nresult=00000054\nops=84\n")


@needs_qemu
def test_impossible_size_fails_the_self_check() -> None:
    output, status = run_qemu(guest_images.image("sieve").path, "size=3")
    assert (output, status) == ("sieve\nself-check failed\n", FAILURE)


@needs_qemu
def test_system_calls_through_sysenter() -> None:
    output, status = run_qemu(guest_images.image("nano-syscall").path, "n=100 via=sysenter")
    assert (output, status) == ("nano-syscall\nresult=00000064\nops=100\n", SUCCESS)
