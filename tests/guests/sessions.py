"""The guests that must run, each with the session that a person who knows QEMU's manual would have with it."""

from __future__ import annotations

from tests.guests.busybox import BUSYBOX
from tests.guests.debian import debian
from tests.guests.images import fetched, unzipped
from tests.guests.session import Keys, Press, Run, Screen, Send, Serial, Session, Shot, Step

# Test 3 has begun, so tests 0 to 2 are through.
MEMTEST: tuple[Step, ...] = (
    Screen(r"Memtest86\+ v6\.10"),
    Screen(r"Test #3"),
    Screen(r"Pass:  0        Errors: 0"),
    Shot("memtest"),
)
GRUB_PROMPT: tuple[Step, ...] = (
    Screen(r"GNU GRUB  version 2\.06"),
    Press("c"),
    Screen(r"grub> *$"),
)

SESSIONS = (
    BUSYBOX,
    debian("sysvinit", "-M pc"),
    debian("systemd", "-M pc"),
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
        "-M pc -m 512 -kernel {kernel} -initrd {initrd} -append vga=normal",
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
    Session("memtest-bin", "-M pc -m 64 -kernel {image}", MEMTEST, {"image": fetched("memtest86+ia32.bin")}),
    Session("memtest-iso", "-M pc -m 64 -cdrom {image}", MEMTEST, {"image": fetched("memtest86+ia32.iso")}),
    Session(
        "grub-floppy",
        "-M isapc -m 64 -drive file={image},if=floppy,format=raw,readonly=on -boot a",
        (*GRUB_PROMPT, Keys("ls\n"), Screen(r"\(fd0\)"), Shot("grub-floppy")),
        {"image": fetched("grub-rescue-floppy.img")},
    ),
    Session(
        "grub-cd",
        "-M pc -m 64 -cdrom {image}",
        (*GRUB_PROMPT, Keys("ls (cd)/boot/grub\n"), Screen(r"i386-pc/"), Shot("grub-cd")),
        {"image": fetched("grub-rescue-cdrom.iso")},
    ),
    Session(
        "grub-firmware",
        "-M pc -m 64 -bios {image}",
        (*GRUB_PROMPT, Keys("echo hello\n"), Screen(r"^hello$"), Shot("grub-firmware")),
        {"image": fetched("grub-firmware.bin")},
    ),
    Session(
        "gnumach",
        "-M pc -m 64 -kernel {image} -append console=com0",
        (
            Serial(r"GNU Mach 1\.8"),
            Serial(r"(?i)bios32|pci"),
            Serial(r"No bootstrap code loaded with the kernel"),
        ),
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
        "u-boot",
        "-M pc -m 128 -bios {image}",
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
)
