"""What kind of image is this, and how is it started.

In this order: what the user says, bzImage, multiboot 1, multiboot 2, PVH, plain ELF, boot sector; gzip'ed ones are
unpacked first. Whatever
is wrong with a file ends in one line that names what it is, and RAM is written only when nothing is.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG

from bt import arguments
from bt.boot.loaders import elf, linux, multiboot
from bt.boot.loaders.boot_sector import LARGEST, is_boot_sector
from bt.boot.loaders.boot_sector import load as load_boot_sector
from bt.boot.loaders.flat import load as load_flat
from bt.boot.loaders.information import Module
from bt.boot.placement import PhysicalMemory
from bt.boot.state import EntryState
from bt.errors import BadImage, BadUsage
from bt.memory.map_layout import low_ram
from bt.x86 import cpu_model

Source = str | os.PathLike[str] | bytes

_LARGEST_FILE = 1 << 32  # bytes; physical memory ends there
_LARGE_FILE = 16 << 20  # bytes; a larger one is looked at before it is read, for it may be a disk image
_GZIP = b"\x1f\x8b"
_MULTIBOOT_2, _MULTIBOOT_2_BYTES = bytes.fromhex("d65052e8"), 32768  # its magic number, and how far it may be
_XEN_NOTE = b"Xen\0"


def wants_long_mode(contents: bytes) -> bool:
    """Whether an image says that it is a kernel for 64-bit processors. It is started in 32-bit mode nevertheless."""
    if linux.is_bzimage(contents):
        return linux.is_64_bit(contents)
    return elf.is_elf(contents) and elf.is_64_bit(contents)


def _refuse_long_mode(name: str, contents: bytes) -> None:
    """Raise BadImage for what is of no use to a processor without long mode."""
    if wants_long_mode(contents):
        what = "a 64-bit Linux kernel" if linux.is_bzimage(contents) else "an ELF for 64-bit x86"
        advice = f"give --cpu {cpu_model.LONG_MODE_DEFAULT}"
        raise BadImage(f"{name}: {what}, and this processor has 32 bits: {advice}, or take one for i386")


def load(
    image: Source,
    ram: PhysicalMemory,
    *,
    append: str = "",
    initrd: Source | None = None,
    modules: Sequence[Module] = (),
    flat: int | None = None,
    boot_sector: bool = False,
    name: str | None = None,
    long_mode: bool = False,
) -> EntryState:
    """Put a guest image into `ram` and say how to enter it.

    `image` is a path, or the image itself; either may be gzip'ed. `name` is what errors and the multiboot command line
    call it (default: the file's name). `append` is the command line. `initrd` goes to Linux as it is; for multiboot a
    string lists modules the way QEMU's -initrd does, "FILE [ARGS],FILE [ARGS]..." with ",," for a comma, and other
    sources are one module. `modules` are further multiboot modules. `flat` starts a raw image at that physical
    address, `boot_sector` one in real mode whatever else it looks like. `long_mode`: the processor has it.

    Raises BadImage if a file cannot be used, BadUsage if the options do not go together or are of the wrong type.
    """
    _check_types(image, append=append, initrd=initrd, modules=modules, flat=flat, boot_sector=boot_sector, name=name)
    name = name or (os.path.basename(os.fspath(image)) if not isinstance(image, bytes) else "image")
    command_line = _encode(name, append)
    if flat is not None and boot_sector:
        raise BadUsage(
            f"{name}: --flat {flat:#x} is entered in 32-bit mode, --boot-sector in real mode; give one of them"
        )
    if flat is not None:
        _refuse(name, "a raw image", append=append, initrd=initrd, modules=modules)
        return load_flat(name, _read(image), ram, flat)
    if boot_sector:
        return _load_boot_sector(name, _read(image), ram, append=append, initrd=initrd, modules=modules)
    contents = read_guest(name, image, low_ram(ram.size))
    if not long_mode:
        _refuse_long_mode(name, contents)
    if linux.is_bzimage(contents):
        _refuse(name, "a Linux kernel", modules=modules)
        ramdisk = None if initrd is None else _read(initrd)
        return linux.load(name, contents, ram, command_line=command_line, initrd=ramdisk)
    if not elf.is_elf(contents):
        _refuse_disk(name, contents)
    header = multiboot.find_header(name, contents)
    if header is not None:
        listed = [*_modules_from(initrd), *modules]
        full_line = _encode(name, f"{name} {append}" if append else name)
        return multiboot.load(name, contents, header, ram, command_line=full_line, modules=listed)
    if _MULTIBOOT_2 in contents[:_MULTIBOOT_2_BYTES]:
        from bt.boot.loaders import multiboot2  # a loader that others need not wait for

        if (header_2 := multiboot2.find_header(name, contents)) is not None:
            listed = [*_modules_from(initrd), *modules]
            line = _encode(name, append)
            return multiboot2.load(name, contents, header_2, ram, command_line=line, modules=listed)
    if _XEN_NOTE in contents and elf.is_elf(contents):
        from bt.boot.loaders import pvh

        if (entry := pvh.find_entry(name, contents)) is not None:
            listed = [*_modules_from(initrd), *modules]
            return pvh.load(name, contents, entry, ram, command_line=_encode(name, append), modules=listed)
    if elf.is_elf(contents):
        _refuse(name, "an ELF without multiboot header", append=append, initrd=initrd, modules=modules)
        return elf.load(name, contents, ram)
    if is_boot_sector(contents) and len(contents) <= LARGEST:
        return _load_boot_sector(name, contents, ram, append=append, initrd=initrd, modules=modules)
    raise _unknown(name, contents)


def _refuse_disk(name: str, contents: bytes) -> None:
    """Raise BadImage for a disk image: it may well have a boot sector, or a boot loader with a multiboot header."""
    from bt.boot.files import foreign

    foreign.refuse_disk(name, foreign.glance_at(contents))


def _unknown(name: str, contents: bytes) -> BadImage:
    """What is wrong with an image that nobody starts."""
    from bt.boot.files import foreign

    if not contents:
        return BadImage(f"{name}: the file is empty")
    foreign.refuse_known(name, foreign.glance_at(contents))
    if not any(contents[: foreign.HEAD]):
        return BadImage(f"{name}: begins with {min(len(contents), foreign.HEAD)} zeroes, not a guest")
    return BadImage(
        f'{name}: not a bzImage (no "HdrS" at 0x202) nor multiboot nor ELF nor boot sector; '
        "for a raw image give --flat ADDRESS"
    )


def _check_types(image: object, *, initrd: object, modules: object, flat: object, **others: object) -> None:
    """Raise BadUsage, naming the argument, unless each is of a type that can be meant."""
    for argument, source in (("image", image), ("initrd", initrd)):
        optional = source is None and argument == "initrd"
        path = source.__fspath__() if isinstance(source, os.PathLike) else source
        good = optional or isinstance(source, bytes) or isinstance(path, str)
        arguments.require(good, argument, source, "a path, or the image itself as bytes, is wanted")
    listed = isinstance(modules, Sequence) and all(isinstance(each, Module) for each in modules)
    arguments.require(listed, "modules", modules, "a sequence of Module is wanted")
    if flat is not None:
        wanted = "a physical address of 32 bits is wanted"
        arguments.whole_number("flat", flat, wanted, least=0, most=(1 << 32) - 1)
    arguments.instance("append", others["append"], str, "text is wanted")
    arguments.instance("name", others["name"], (str, type(None)), "text is wanted")
    arguments.instance("boot_sector", others["boot_sector"], bool, "True or False is wanted")


def _load_boot_sector(
    name: str,
    contents: bytes,
    ram: PhysicalMemory,
    *,
    append: str,
    initrd: Source | None,
    modules: Sequence[Module],
) -> EntryState:
    _refuse(name, "a boot sector", append=append, initrd=initrd, modules=modules)
    if contents and not is_boot_sector(contents):
        from bt.boot.files import foreign

        foreign.refuse_known(name, foreign.glance_at(contents))
    return load_boot_sector(name, contents, ram)


def read_guest(name: str, source: Source, ram_size: int) -> bytes:
    """The image, unpacked if it is gzip'ed. Raises BadImage, for a large foreign file without reading all of it."""
    if not isinstance(source, bytes):
        _refuse_large(name, Path(source))
    contents = _read(source)
    if contents.startswith(_GZIP):
        from bt.boot.files.unpack import gunzip  # and zlib with it: hardly anybody needs them

        return gunzip(name, contents, ram_size)
    return contents


def _refuse_large(name: str, path: Path) -> None:
    """Raise BadImage for a large file that is known not to be a guest: disk images can be larger than our memory."""
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode) or status.st_size <= _LARGE_FILE:
            return
        from bt.boot.files import foreign

        glance = foreign.glance_at_file(path)
    except (OSError, ValueError):
        return  # `_read` says it
    if glance.head.startswith((_GZIP, elf.MAGIC)) or linux.is_bzimage(glance.head):
        return
    foreign.refuse_disk(name, glance)
    if multiboot.find_header(name, glance.head) is None:
        foreign.refuse_known(name, glance)


def _read(source: Source) -> bytes:
    """The bytes of a regular file, or the bytes given. Raises BadImage."""
    if isinstance(source, bytes):
        return source
    path = Path(source)
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise BadImage(f"{path}: not a regular file")
        if status.st_size > _LARGEST_FILE:
            raise BadImage(f"{path}: {status.st_size} bytes are more than 32 bits can address")
        return path.read_bytes()
    except OSError as error:
        raise BadImage(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise BadImage(f"{str(path)!r}: {error}") from error


def _encode(name: str, command_line: str) -> bytes:
    if "\0" in command_line:
        raise BadUsage(f"{name}: the command line contains a NUL, which would end it")
    try:
        return os.fsencode(command_line)
    except UnicodeEncodeError as error:
        raise BadUsage(f"{name}: the command line cannot be encoded: {error.reason}") from error


def _refuse(
    name: str, what: str, *, append: str = "", initrd: Source | None = None, modules: Sequence[Module] = ()
) -> None:
    """Options that would otherwise be dropped silently."""
    given = [option for option, value in (("-append", append), ("-initrd", initrd), ("modules", modules)) if value]
    if given:
        raise BadUsage(f"{name}: {what} cannot take {', '.join(given)}; leave it out")


def _modules_from(initrd: Source | None) -> list[Module]:
    match initrd:
        case None | "":
            return []
        case bytes():
            return [Module(initrd)]
        case str():
            return [_module(each.replace("\0", ",")) for each in initrd.replace(",,", "\0").split(",")]
        case _:
            return [_module(os.fspath(initrd), spaces_end_path=False)]


def _module(specification: str, *, spaces_end_path: bool = True) -> Module:
    """A module from "FILE ARGS". Its string is like the kernel's: the file's base name, then the arguments."""
    path, _, arguments = specification.partition(" ") if spaces_end_path else (specification, "", "")
    line = f"{os.path.basename(path)} {arguments}" if arguments else os.path.basename(path)
    return Module(_read(path), _encode(path, line))
