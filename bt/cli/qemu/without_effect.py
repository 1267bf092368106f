"""QEMU's options that bt takes and does nothing about: a row each, with what there is to say of it.

Only what a guest can do without is here: of a disk in a format that bt cannot read, say, nothing would be left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Option(NamedTuple):
    """A row. `why`: for the user, why nothing happens; `fine`: a regular expression for arguments that ask for nothing
    which there is not.
    """

    why: str
    has_argument: bool = True
    fine: str | None = None

    def note(self, argument: str) -> str:
        """The line for the user; empty if nothing is missing."""
        return "" if self.fine is not None and re.fullmatch(self.fine, argument) else self.why


NO_KVM = "guests are translated, with no help of the host's kernel"
_NO_NETWORK = "bt has no network yet; the guest finds no card"
_NO_SOUND = "bt makes no sound; the guest finds no sound card"
_NO_USB = "bt has no USB; keyboard and mouse are PS/2"
_NO_WINDOW = "bt opens no window"
_ONE_MACHINE = "bt has one kind of PC"
_MEMORY = "the guest's memory is bt's own"
_NO_MIGRATION = "bt neither sends nor takes running machines"
_HOST = "what bt may do is for who starts it to say"

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "enable-kvm": Option(NO_KVM, has_argument=False),
        "accel": Option(NO_KVM, fine="tcg(,.*)?"),
        "no-kvm": Option(NO_KVM, has_argument=False, fine=""),
        "smp": Option("bt has one processor, and tells the guest so", fine="(cpus=)?1|1,.*|cpus=1,.*"),
        "icount": Option("time follows instructions anyway, one a nanosecond (--clock icount)"),
        "singlestep": Option("blocks are translated as ever", has_argument=False),
        "one-insn-per-tb": Option("blocks are translated as ever", has_argument=False),
        "net": Option(_NO_NETWORK, fine="none"),
        "nic": Option(_NO_NETWORK, fine="none"),
        "netdev": Option(_NO_NETWORK),
        "redir": Option(_NO_NETWORK),
        "tftp": Option(_NO_NETWORK),
        "soundhw": Option(_NO_SOUND),
        "audio": Option(_NO_SOUND, fine="(driver=)?none.*"),
        "audiodev": Option(_NO_SOUND, fine="(driver=)?none.*"),
        "usb": Option(_NO_USB, has_argument=False),
        "usbdevice": Option(_NO_USB),
        "vnc": Option("bt has no VNC server yet; --display terminal shows the screen", fine="none"),
        "spice": Option("bt has no Spice server; --display terminal shows the screen"),
        "full-screen": Option(_NO_WINDOW, has_argument=False),
        "no-quit": Option(_NO_WINDOW, has_argument=False),
        "no-frame": Option(_NO_WINDOW, has_argument=False),
        "alt-grab": Option(_NO_WINDOW, has_argument=False),
        "ctrl-grab": Option(_NO_WINDOW, has_argument=False),
        "show-cursor": Option(_NO_WINDOW, has_argument=False),
        "sdl": Option(f"{_NO_WINDOW}; --display terminal shows the screen here", has_argument=False),
        "portrait": Option(_NO_WINDOW, has_argument=False),
        "rotate": Option(_NO_WINDOW),
        "g": Option(_NO_WINDOW),
        "k": Option("the guest has a US keyboard", fine="en-us"),
        "qmp": Option("bt has no QMP server yet; -monitor takes the same addresses", fine="none"),
        "qmp-pretty": Option("bt has no QMP server yet; -monitor takes the same addresses", fine="none"),
        "parallel": Option("bt has no parallel port", fine="none|null"),
        "virtioconsole": Option("bt has no virtio console"),
        "trace": Option("bt has no trace events; -d logs what the guest does"),
        "plugin": Option("bt has no plugins"),
        "dfilter": Option("-d logs every address"),
        "name": Option("", fine=".*"),
        "uuid": Option("the guest finds another in its SMBIOS tables"),
        "smbios": Option("the guest finds bt's SMBIOS tables"),
        "acpitable": Option("the guest finds bt's ACPI tables"),
        "no-acpi": Option("the guest finds ACPI tables (-M isapc has none)", has_argument=False),
        "no-hpet": Option("", has_argument=False, fine=""),
        "no-fd-bootchk": Option("the firmware checks diskettes for a signature", has_argument=False),
        "win2k-hack": Option("", has_argument=False, fine=""),
        "fw_cfg": Option("the guest does not find it"),
        "option-rom": Option("the firmware does not find it"),
        "no-shutdown": Option("bt ends when the guest switches the machine off", has_argument=False),
        "action": Option("bt ends, or goes on, as without it", fine="reboot=reset|shutdown=poweroff"),
        "watchdog": Option("bt has no watchdog"),
        "watchdog-action": Option("bt has no watchdog"),
        "daemonize": Option("bt stays where it was started", has_argument=False),
        "no-user-config": Option("", has_argument=False, fine=""),
        "readconfig": Option("its devices are not there"),
        "echr": Option("keys for the console begin with Ctrl-A"),
        "mem-path": Option(_MEMORY),
        "mem-prealloc": Option(_MEMORY, has_argument=False),
        "overcommit": Option(_MEMORY),
        "balloon": Option(_MEMORY),
        "numa": Option(_ONE_MACHINE),
        "dtb": Option(_ONE_MACHINE),
        "set": Option(_ONE_MACHINE),
        "compat": Option(_ONE_MACHINE),
        "object": Option("nothing here makes use of it"),
        "tpmdev": Option("bt has no TPM"),
        "fsdev": Option("bt has no 9p file system"),
        "virtfs": Option("bt has no 9p file system"),
        "iscsi": Option("bt has no iSCSI"),
        "loadvm": Option(_NO_MIGRATION),
        "incoming": Option(_NO_MIGRATION),
        "only-migratable": Option(_NO_MIGRATION, has_argument=False),
        "seed": Option("what bt does follows from the command line alone"),
        "chroot": Option(_HOST),
        "runas": Option(_HOST),
        "sandbox": Option(_HOST, fine="off"),
        "msg": Option("messages are as they are"),
    }
)

_NOT_LOGGED = "out_asm op op_opt op_ind op_plugin cpu fpu mmu pcall unimp page nochain plugin strace vpu tid trace"
LOG_ITEMS = frozenset(_NOT_LOGGED.split())  # of -d, with its trace:PATTERN

_CARDS = (
    "e1000 e1000e e1000-82540em rtl8139 ne2k_pci ne2k_isa pcnet i82550 i82551 i82557b i82559er vmxnet3 tulip "
    "virtio-net virtio-net-pci usb-net"
)
_USB = (
    "qemu-xhci nec-usb-xhci usb-ehci ich9-usb-ehci1 ich9-usb-uhci1 piix3-usb-uhci piix4-usb-uhci pci-ohci usb-hub "
    "usb-kbd usb-mouse usb-tablet usb-audio"
)
_SOUND = (
    "AC97 ES1370 intel-hda ich9-intel-hda hda-output hda-duplex hda-micro sb16 adlib gus cs4231a virtio-sound "
    "virtio-sound-pci"
)
_VIRTIO = (
    "virtio-rng-pci virtio-rng virtio-balloon virtio-balloon-pci virtio-serial virtio-serial-pci virtconsole "
    "virtserialport virtio-9p-pci vhost-vsock-pci vmware-svga"
)
# what -device does not add, and why nothing happens
DEVICES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(_CARDS.split(), _NO_NETWORK),
        **dict.fromkeys(_USB.split(), _NO_USB),
        **dict.fromkeys(_SOUND.split(), _NO_SOUND),
        **dict.fromkeys(_VIRTIO.split(), "bt has no such device; the guest does not find it"),
        **dict.fromkeys(("VGA", "isa-vga", "virtio-vga", "cirrus-vga", "bochs-display"), "the machine has its VGA"),
        **dict.fromkeys(("ahci", "ich9-ahci"), "bt has no SATA; disks are IDE"),
        "isa-serial": "the machine has COM1 and COM2",
        "i8042": "the machine has one",
        "edu": "bt has no such device; the guest does not find it",
    }
)
