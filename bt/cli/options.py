"""What the command lines of several commands have in common: the guest, sizes, errors in one line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from zlib import MAX_WBITS, decompressobj
from zlib import error as ZlibError  # noqa: N812, as other errors are spelt

import guest_images
from bt.arguments import closest
from bt.boot.detect import wants_long_mode
from bt.boot.placement import check_ram_size
from bt.errors import BadImage, BadUsage
from bt.x86 import cpu_model
from guest_images import third_party

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

    from bt.cli.qemu.without_effect import Option

_HEAD_BYTES: Final = 4096  # of an image, which say what it is
_UNITS = {"B": 0, "K": 10, "M": 20, "G": 30}


def _none() -> Mapping[str, Option]:
    return {}


HELP = ("help", "?")  # as an argument: what is there to choose from?


class Parser(argparse.ArgumentParser):
    """argparse with QEMU's idea of a command line, and errors as one line through BadUsage.

    What follows an option that has an argument is its argument, whatever it begins with; one dash or two are the same;
    nothing is abbreviated, and there are no bundles of letters.
    """

    def __init__(
        self,
        prog: str,
        description: str,
        epilog: str | Callable[[], str] | None = None,
        without_effect: Callable[[], Mapping[str, Option]] = _none,
        usage: str | None = None,
    ) -> None:
        """`without_effect`: options that are taken, and only noted: asked for when one comes that is none of its own.

        What there is to say of them is in `notes` of what `parse_args` returns.
        """
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog if isinstance(epilog, str) else None,
            allow_abbrev=False,
            formatter_class=_Formatter,
        )
        self._without_effect = without_effect
        self._make_epilog = epilog if callable(epilog) else None

    def parse_args(  # type: ignore[override]  # to all that is called here
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        given = argparse.Namespace() if namespace is None else namespace
        given.notes = []
        return super().parse_args(list(self._known(iter(args or ()), given.notes)), given)

    def _known(self, words: Iterator[str], notes: list[str]) -> Iterator[str]:
        """The words that argparse is to see, each option with its argument behind an equals sign."""
        options = self._option_string_actions
        for word in words:
            name, equals, value = word.partition("=")
            if not word.startswith("-") or word == "-":
                yield word
                continue
            if name not in options:
                name = next((other for other in (name[1:], f"-{name}") if other in options), name)
            if name not in options:
                self._note(name, value if equals else None, words, notes)
            elif options[name].nargs == 0 or equals:
                yield f"{name}{equals}{value}"
            else:
                argument = next(words, None)
                yield name if argument is None else f"{name}={argument}"

    def _note(self, name: str, value: str | None, words: Iterator[str], notes: list[str]) -> None:
        """Take an option that there is not, with its argument, and note why nothing happens. Raises BadUsage."""
        table = self._without_effect()
        option = table.get(name.lstrip("-"))
        if option is None:
            spellings = {spelled.lstrip("-"): spelled for spelled in self._option_string_actions}
            spellings |= {each: f"-{each}" for each in table}
            meant = closest(name.lstrip("-"), spellings)
            hint = f"did you mean {spellings[meant]}? " if meant else ""
            raise BadUsage(f"{name}: no such option; {hint}`{self.prog} --help` lists them")
        if option.has_argument and value is None and (value := next(words, None)) is None:
            raise BadUsage(f"{name}: its argument is missing")
        if note := option.note(value or ""):
            notes.append(f"{' '.join(filter(None, (name, value)))}: {note}")

    def format_help(self) -> str:
        if self._make_epilog is not None:
            self.epilog = self._make_epilog()
        return super().format_help()

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """As argparse does, but for its silence where nobody reads it, or there is no room."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        raise BadUsage(f"{message}; see `{self.prog} --help`")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. argparse asks for one with each option, and shutil, of which argparse has the width,
    takes 5 ms to import.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    if (chosen := os.environ.get("COLUMNS", "")).isdecimal() and int(chosen):
        return int(chosen)
    try:
        return os.get_terminal_size().columns or 80
    except OSError:
        return 80


class Choice(argparse.Action):
    """An option whose argument is looked at when it comes: what comes of it may be notes, or a list of what there is,
    which ends the program.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        text = str(values)
        listing = self.listing(text)
        if listing is not None:
            print(listing)
            parser.exit()
        self.choose(namespace, f"{option_string} {text}", text)

    def listing(self, text: str) -> str | None:
        """What there is, if the argument asks for that."""
        return None

    def choose(self, given: argparse.Namespace, option: str, text: str) -> None:
        """Take the argument; `option` is the option with it, as it was given. Raises BadUsage."""
        raise NotImplementedError


class _ChooseCpu(Choice):
    """--cpu MODEL; `--cpu help` lists the models, as `-cpu help` does in QEMU."""

    def listing(self, text: str) -> str | None:
        return cpu_model.listing() if text.partition(",")[0] in HELP else None

    def choose(self, given: argparse.Namespace, option: str, text: str) -> None:
        name = text.partition(",")[0]
        if name not in cpu_model.MODELS:
            from bt.cli.qemu.processors import replacement

            if model := replacement(name):
                given.notes.append(f"{option}: bt has no such processor; the guest finds a {model}")
                text = model
        setattr(given, self.dest, text)


def chosen_cpu(given: argparse.Namespace, image: Path | None) -> str:
    """The CPU model that a command line asks for, or the one that its image wants."""
    if given.cpu is not None or image is None:
        return given.cpu or cpu_model.DEFAULT
    return guest_images.cpu_for(image) or (
        cpu_model.LONG_MODE_DEFAULT if _wants_long_mode(image) else cpu_model.DEFAULT
    )


def _wants_long_mode(image: Path) -> bool:
    """By its first bytes, unpacked; what cannot be read, or waits for a writer, is somebody else's to say."""
    try:
        if not image.is_file():
            return False
        with image.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if head.startswith(b"\x1f\x8b"):
                head = decompressobj(MAX_WBITS | 16).decompress(head, _HEAD_BYTES)
    except (OSError, ZlibError):
        return False
    return wants_long_mode(head)


def add_guest(parser: Parser, default_memory: int) -> None:
    """The options that say what runs, as `bt run` has them; `chosen_image` and `chosen_initrd` read them."""
    add = parser.add_argument_group("the guest").add_argument
    add("image", metavar="IMAGE", nargs="?", help="the guest")
    add("-m", "--memory", metavar="SIZE", type=memory_size, default=default_memory,
        help="memory as QEMU has it: 64, 64M, 1G (default 128M)")  # fmt: skip
    add("-cpu", metavar="MODEL", action=_ChooseCpu,
        help=f"{', '.join(cpu_model.MODELS)} (default {cpu_model.DEFAULT}, for 64-bit kernels "
             f"{cpu_model.LONG_MODE_DEFAULT}), as in pentium3,+nx; or help")  # fmt: skip
    add("-kernel", metavar="FILE", help="the same as IMAGE")
    add("-initrd", metavar="FILE", help="initial RAM disk; multiboot modules as 'FILE ARGS,FILE ARGS'")
    add("-append", metavar="TEXT", default="", help="the guest's command line")
    add("--boot-sector", metavar="FILE", help="start FILE as a BIOS would, in real mode at 0000:7C00; there is no BIOS")
    add("--flat", metavar="ADDRESS", type=address, help="IMAGE is raw code: load and enter it there, 32-bit")


def add_tier(parser: Parser) -> None:
    """What the translator may do."""
    parser.add_argument("--tier", choices=("1", "2", "auto"), default="auto",
        help="1: stencils; 2: code as itself as soon as it can; auto (default): where that pays")  # fmt: skip


def chosen_image(given: argparse.Namespace) -> Path:
    """The file that IMAGE or its like names. Raises BadUsage unless it is named once, BadImage if it is no guest."""
    ways = {"IMAGE": given.image, "-kernel": given.kernel, "--boot-sector": given.boot_sector}
    named = {way: name for way, name in ways.items() if name}
    if len(named) > 1:
        raise BadUsage(f"{' and '.join(f'{way} {name}' for way, name in named.items())}: give one of them")
    if not named:
        raise BadUsage("no IMAGE; `bt images` lists what there is, `bt run hello` is a start")
    return find_image(*named.values())


def chosen_initrd(given: argparse.Namespace) -> str | None:
    """-initrd, which may name a fetched image too; everything else is for the loader to judge."""
    name: str | None = given.initrd
    if name is None or os.path.exists(name):
        return name
    fetched = third_party.locate(name)
    return str(fetched) if fetched is not None else name


def memory_size(text: str) -> int:
    """Bytes of guest memory as QEMU's -m has them: a number of MiB, or one with B, K, M or G behind it; or size=64M."""
    first = text.strip().partition(",")[0].upper().removeprefix("SIZE=")  # slots= and maxmem= are for memory to come
    match = re.fullmatch(r"(\d+)([BKMG]?)B?", first)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 64, 64M or 1G")
    size = int(match[1]) << _UNITS[match[2] or "M"]
    try:
        check_ram_size(size, text)
    except BadUsage as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return size


def address(text: str) -> int:
    """A 32-bit physical or linear address: decimal, or hexadecimal with 0x."""
    try:
        value = int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no address; write 0x7c00") from None
    if not 0 <= value < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text}: addresses have 32 bits")
    return value


def pairs(text: str) -> list[tuple[str, str]]:
    """QEMU's lists: a comma in a value is written twice, what has no = is a switch that is on."""
    found = []
    for each in text.replace(",,", "\0").split(","):
        name, is_given, value = each.partition("=")
        found.append((name, value.replace("\0", ",") if is_given else "on"))
    return found


def count(text: str) -> int:
    """A positive number; 1e9 and 5_000 are fine."""
    try:
        value = int(float(text)) if "e" in text.lower() else int(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text}: must be positive")
    return value


def seconds(text: str) -> float:
    """A positive time in seconds."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be a positive time in seconds")
    return value


def find_image(name: str) -> Path:
    """The file behind IMAGE: a built-in guest, a fetched guest, or a path. BadImage if it is none of them.

    Names win over files: a file called like a guest is written ./name.
    """
    if (built_in := guest_images.find(name)) is not None:
        return built_in.path
    if (fetched := third_party.locate(name)) is not None:
        return fetched
    if Path(name).exists():
        return Path(name)
    if name in third_party.manifest():
        raise BadImage(f"{name}: not fetched yet; run `python -m guest_images.fetch {name}` (make guests)")
    raise BadImage(f"{name}: no such file, and no guest of this name; `bt images` lists the guests")
