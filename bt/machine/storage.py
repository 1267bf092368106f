"""The parts that disks are behind: IDE channels, floppy controller, virtio; and what CMOS RAM says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from bt.devices.chipset.dma8237 import Dma8237Pair
from bt.devices.device import Device, Line
from bt.devices.pci.function import SUBSYSTEM, Bar, Identity, PciFunction, Space
from bt.devices.pci.piix3 import IDE_BUS_MASTER, ide_function
from bt.devices.storage.ata.ide_channel import IdeChannel
from bt.devices.storage.floppy.floppy_controller import FloppyController
from bt.devices.storage.floppy.floppy_media import FloppyDrive
from bt.firmware import cmos
from bt.machine.board import Board, Part
from bt.machine.media import Drive, Media
from bt.machine.place import places

FLOPPY_DMA = 2
TRANSLATION_LBA = 1
# a transitional block device (OASIS Virtio 1.1, 4.1.2.3): an ID below 1040h, its type in the subsystem
VIRTIO_IDENTITY = Identity(0x1AF4, 0x1001, 0x010000, interrupt_pin=1)
VIRTIO_BLOCK = 2
VIRTIO_PORTS, VIRTIO_MEMORY = 0, 4  # numbers of its regions


def ide_channel(b: Board, number: int, irq: Line) -> IdeChannel:
    """Channel 0 or 1 with its drives; what is imported only if there are any takes 2 ms."""
    channel = IdeChannel(irq)
    for index, (drive, disk) in b.media.of("ide").items():
        if index // 2 != number:
            continue
        if drive.media == "cdrom":
            from bt.devices.storage.ata.atapi_cdrom import AtapiCdrom

            cdrom = AtapiCdrom(b.clock, disk, f"BT{index + 1:05}", post=b.post)
            channel.connect(cdrom, index % 2)
            b.media.connect(drive, cdrom)
        else:
            from bt.devices.storage.ata.ata_disk import AtaDisk

            assert disk is not None
            channel.connect(AtaDisk(b.clock, disk, f"BT{index + 1:05}", post=b.post), index % 2)
    return channel


def bus_master(b: Board, number: int) -> Device:
    """The one of channel 0 or 1, whose interrupt it watches."""
    from bt.devices.storage.ata.bus_master_ide import BusMasterIde

    channel = b.part(f"IDE {number + 1}", IdeChannel)
    master = BusMasterIde(b.dma_memory, channel.irq, channel.pump_dma)
    channel.connect_dma(master)
    return master


def ide_pci_function(b: Board) -> PciFunction:
    """The function whose only region is the bus masters."""
    masters = (b.on_ports("bus master 1", 8), b.on_ports("bus master 2", 8))

    def place(address: int | None) -> None:
        for number, each in enumerate(masters):
            each(None if address is None else address + 8 * number)

    return ide_function(places({IDE_BUS_MASTER: place}))


def floppy_controller(b: Board, irq: Line) -> FloppyController:
    dma = b.part("DMA", Dma8237Pair)
    drives = []
    for drive, disk in b.media.of("floppy").values():
        drives.append(FloppyDrive(disk))
        b.media.connect(drive, drives[-1])
    controller = FloppyController(b.clock, irq, dma, drives, b.post)
    dma.connect(FLOPPY_DMA, controller)
    return controller


def virtio_parts(drives: Sequence[Drive], slot: int) -> Iterator[Part]:
    """A PCI function for each virtio disk, from `slot` on."""
    for drive in drives:
        if drive.interface == "virtio" and drive.index is not None:
            yield Part(f"virtio disk {drive.index}", f"PCI {slot:x}.0", (), partial(_virtio, drive.index))
            slot += 1


def _virtio(index: int, b: Board, irq: Sequence[Line]) -> PciFunction:
    from bt.devices.storage.virtio import virtio_pci
    from bt.devices.storage.virtio.virtio_blk import VirtioBlk

    _, disk = b.media.of("virtio")[index]
    assert disk is not None
    name = f"virtio disk {index}"
    interrupt = Line(f"{name} interrupt")
    transport = virtio_pci.VirtioTransport(VirtioBlk(b.clock, b.dma_memory, disk, post=b.post), interrupt)
    b.add_device(f"{name} (ports)", virtio_pci.VirtioPciLegacy(transport))
    b.add_device(f"{name} (memory)", virtio_pci.VirtioPciModern(transport))
    function = PciFunction(
        name,
        VIRTIO_IDENTITY,
        {
            VIRTIO_PORTS: Bar(virtio_pci.LEGACY_BYTES, Space.IO),
            VIRTIO_MEMORY: Bar(virtio_pci.MEMORY_BYTES, Space.MEMORY),
        },
        moved=places(
            {
                VIRTIO_PORTS: b.on_ports(f"{name} (ports)", virtio_pci.LEGACY_BYTES),
                VIRTIO_MEMORY: b.on_memory(f"{name} (memory)", virtio_pci.MEMORY_BYTES),
            }
        ),
        defaults={SUBSYSTEM + 2: VIRTIO_BLOCK, SUBSYSTEM + 3: 0},
    )
    for capability in virtio_pci.capabilities(VIRTIO_MEMORY):
        function.add_capability(virtio_pci.VENDOR_CAPABILITY, capability)
    interrupt.watch(function.set_interrupt)
    return function


def floppy_kinds(media: Media) -> list[int]:
    """What CMOS RAM says of each diskette drive."""
    return [FloppyDrive(disk).kind for _, disk in media.of("floppy").values()]


def cmos_values(media: Media, boot_order: str) -> dict[int, int]:
    """What the setup program would have left, see bt/firmware/cmos.py. `boot_order`: letters as QEMU's -boot has."""
    floppies = [cmos.FloppyDrive(kind) for kind in floppy_kinds(media)]
    disks: list[cmos.DiskGeometry | None] = [None] * 4
    for index, (drive, disk) in media.of("ide").items():
        if drive.media == "disk" and disk is not None:
            from bt.devices.storage.ata.ata_identify import HEADS, SECTORS_PER_TRACK, default_cylinders

            disks[index] = cmos.DiskGeometry(default_cylinders(disk.sectors), HEADS, SECTORS_PER_TRACK, TRANSLATION_LBA)
    order = [cmos.BOOT_LETTERS[letter] for letter in boot_order]
    return cmos.values(floppies=floppies, disks=disks, boot_order=order)
