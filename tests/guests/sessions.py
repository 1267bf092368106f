"""The guests that must run, each with the session that a person who knows QEMU's manual would have with it."""

from __future__ import annotations

from tests.guests.busybox import BUSYBOX
from tests.guests.debian import debian
from tests.guests.images import built, copy_of, fetched, unzipped
from tests.guests.memtest import MEMTEST
from tests.guests.session import Ends, Keys, Press, Screen, Send, Serial, Session, Shot, Step

EXIT_PORT = "-device isa-debug-exit,iobase=0xf4,iosize=4"
GRUB_PROMPT: tuple[Step, ...] = (
    Screen(r"GNU GRUB  version 2\.06"),
    Press("c"),
    Screen(r"grub> *$"),
)


def greetings(device: str) -> tuple[Step, ...]:
    """GRUB's prompt, by which a guest of ours is loaded from a CD that the firmware calls `device`."""
    return (
        Keys(f"multiboot ({device})/hello.elf n=2\n"),
        Keys("boot\n"),
        Serial(r"hello\nHello, world\nHello, world\nresult=000008e4\n"),
        Ends(1),
    )


def services(machine: str, medium: str, drive: str, name: str = "") -> Session:
    """The boot sector that calls the BIOS, from a floppy disk or a hard disk; `name` unless it is the machine's."""
    number, geometry = {"floppy": ("00", "0002 0012"), "disk": ("80", "0010 003f")}[medium]
    said = (
        rf"services of the BIOS, drive {number}",
        r"KiB of memory 027f",
        r"range 00000000 0009fc00 01",
        r"range 00100000 00[ef][0-9a-f]{2}000 01",
        rf"heads, sectors {geometry}",
        r"sector 40 by cylinder, head, sector",
        {"floppy": "no extensions", "disk": "sector 100 by its number"}[medium],
        r"the clock ticks",
        r"type a line: ",
    )
    return Session(
        f"services-{medium}-{name or machine.split()[1]}",
        f"{machine} -m 16 -drive file={{image}},{drive}",
        (
            *(Serial(line) for line in said),
            *(Screen(line.rstrip()) for line in said),
            Keys("Hello, BIOS\n"),
            Screen(r"^type a line: Hello, BIOS\ndone$"),
            Serial(r"Hello, BIOS\ndone"),
        ),
        {"image": copy_of(f"services-{medium}.img")},
    )


SESSIONS = (
    BUSYBOX,
    debian("sysvinit", "-M pc"),
    debian("systemd", "-M pc"),
    debian("cloud", "-M pc -cpu qemu64", "cloud-amd64", "virtio"),
    Session(
        "installer-serial",
        "-M pc -m 512 -kernel {kernel} -initrd {initrd} -append console=ttyS0",
        (
            Serial(r"Select a language"),
            Serial(r"English"),
            Send("\r"),
            Serial(r"Select your location"),
        ),
        {"kernel": fetched("debian-12-linux"), "initrd": fetched("debian-12-initrd")},
    ),
    Session(
        "installer-vga",
        "-M pc -m 512 -kernel {kernel} -initrd {initrd} -append 'vga=normal fb=false nomodeset'",
        (
            Screen(r"Select a language"),
            Shot("installer-language"),
            Press("ret"),
            Screen(r"Select your location"),
            Press("down down up"),
            Shot("installer-location"),
        ),
        {"kernel": fetched("debian-12-linux"), "initrd": fetched("debian-12-initrd")},
    ),
    *MEMTEST,
    Session(
        "grub-floppy",
        "-M isapc -m 64 -drive file={image},if=floppy,format=raw,readonly=on -boot a "
        f"-drive file={{guests}},format=raw,index=0,media=disk {EXIT_PORT}",
        (*GRUB_PROMPT, Keys("ls\n"), Screen(r"\(fd0\)"), Shot("grub-floppy"), *greetings("hd0")),
        {"image": fetched("grub-rescue-floppy.img"), "guests": copy_of("grub.iso")},
    ),
    Session(
        "grub-cd",
        f"-M pc -m 64 -cdrom {{image}} -boot d -drive file={{guests}},format=raw,if=virtio,readonly=on {EXIT_PORT}",
        (*GRUB_PROMPT, Keys("ls (cd)/boot/grub\n"), Screen(r"i386-pc/"), Shot("grub-cd"), *greetings("hd0")),
        {"image": fetched("grub-rescue-cdrom.iso"), "guests": built("grub.iso")},
    ),
    Session(
        "grub-firmware",
        f"-M pc -m 64 -bios {{image}} -cdrom {{guests}} {EXIT_PORT}",
        (*GRUB_PROMPT, Keys("ls\n"), Screen(r"\(ata2\)"), Shot("grub-firmware"), *greetings("ata2")),
        {"image": fetched("grub-firmware.bin"), "guests": built("grub.iso")},
    ),
    Session(
        "grub-menu",
        f"-M pc -m 64 -cdrom {{image}} {EXIT_PORT}",
        (
            Screen(r"\*Greetings"),
            Shot("grub-menu"),
            Press("down"),
            Screen(r"\*Prime numbers"),
            Press("ret"),
            Serial(r"sieve\nresult=403c6241\n"),
            Ends(1),
        ),
        {"image": built("grub.iso")},
    ),
    Session(
        "grub-64",
        f"-M pc -m 64 -cpu qemu64 -cdrom {{image}} {EXIT_PORT}",
        (
            Screen(r"\*Greetings"),
            Press("down down down"),
            Screen(r"\*64-bit mode"),
            Press("ret"),
            Serial(r"hello64\nHello, 64-bit world\nresult=4504aaa12149504a\n"),
            Ends(1),
        ),
        {"image": built("grub.iso")},
    ),
    Session(
        "isolinux-menu",
        f"-M pc -m 64 -cdrom {{image}} {EXIT_PORT}",
        (
            Screen(r"A menu of ours"),
            Screen(r"Prime numbers"),
            Shot("isolinux-menu"),
            Press("down ret"),
            Serial(r"sieve\nresult=403c6241\n"),
            Ends(1),
        ),
        {"image": built("isolinux.iso")},
    ),
    services("-M isapc", "floppy", "if=floppy,format=raw -boot a"),
    services("-M pc", "floppy", "if=floppy,format=raw -boot a"),
    services("-M isapc", "disk", "if=ide,format=raw"),
    services("-M pc", "disk", "if=ide,format=raw"),
    services("-M pc", "disk", "if=virtio,format=raw", "virtio"),
    Session(
        "gnumach",
        "-M pc -m 64 -kernel {image} -append console=com0",
        (
            Serial(r"GNU Mach 1\.8"),
            Serial(r"(?i)bios32|pci"),
            Serial(r"No bootstrap code loaded with the kernel"),
        ),
        {"image": fetched("gnumach-1.8-486.gz")},
        {"image": unzipped("gnumach-1.8-486.gz")},
    ),
    Session(
        "ipxe-iso",
        "-M pc -m 64 -cdrom {image}",
        (
            Screen(r"ISOLINUX 6\.04"),
            Screen(r"iPXE 1\.0\.0\+"),
            Screen(r"No more network devices"),
        ),
        {"image": fetched("ipxe.iso")},
    ),
    Session(
        "ipxe-kernel",
        "-M pc -m 64 -kernel {image}",
        (
            Screen(r"iPXE initialising devices\.\.\.ok"),
            Screen(r"iPXE 1\.0\.0\+"),
            Screen(r"No more network devices"),
        ),
        {"image": fetched("ipxe.lkrn")},
    ),
    Session(
        "u-boot",
        # Without a display: it calls the VGA BIOS with data segments of 64 KiB, where that reads a monitor's EDID at a
        # 32-bit address. This is #GP in real mode too (SDM vol. 3A 6.15, interrupt 13); QEMU's TCG checks no limits.
        "-M pc -m 128 -vga none -bios {image}",
        (
            Serial(r"U-Boot 2023\.01"),
            Serial(r"Hit any key to stop autoboot"),
            Send(" "),
            Serial(r"=> $"),
            Send("echo hello\r"),
            Serial(r"\nhello\n=> $"),
            Send("pci\r"),
            Serial(r"00\.01\.01"),
        ),
        {"image": fetched("u-boot-qemu-x86.rom")},
    ),
    Session(
        "u-boot-64",
        "-M pc -m 128 -cpu qemu64 -vga none -bios {image}",
        (
            Serial(r"Jumping to 64-bit U-Boot"),
            Serial(r"Hit any key to stop autoboot"),
            Send(" "),
            Serial(r"=> $"),
            Send("echo hello\r"),
            Serial(r"\nhello\n=> $"),
            Send("bdinfo\r"),
            Serial(r"Build +=\s64-bit"),
        ),
        {"image": fetched("u-boot-qemu-x86_64.rom")},
    ),
)
