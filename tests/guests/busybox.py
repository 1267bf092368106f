"""Thirty commands to Debian's kernel and BusyBox: tools, processes, disks of each kind, a CD, time, power."""

from __future__ import annotations

from tests.guests.images import built, empty_disk, fetched
from tests.guests.session import Ends, Run, Send, Serial, Session, Step

ARGUMENTS = (
    "-M pc -m 256 -kernel {kernel} -initrd {initrd} "
    "-drive file={ata},format=raw,if=ide,index=0 "
    "-drive file={virtio},format=raw,if=virtio "
    "-cdrom {cd} "
    "-append 'console=tty0 console=ttyS0 quiet'"
)

SINCE_BOOT = "cut -d ' ' -f 1 /proc/uptime"
CD_SHA256 = "50f813101ae092e8961f5e52628d0c663ea3887e40986c8205fda0bddc3d000b"
CHILDREN = r"child 1\n(.*\n)*child 2\n(.*\n)*child 3\n(.*\n)*all"
A_SECOND = '{d = $2 - $1; print (d > 0.98 && d < 1.4) ? "a second" : d}'


def disk(device: str) -> tuple[Step, ...]:
    """A file system made, filled, checked and read again; the caches are dropped, so it comes from the disk."""
    there, sums = f"/media/{device}", f"/tmp/{device}"
    return (
        Run(f"mke2fs /dev/{device}", r"Block size=1024"),
        Run(f"mkdir -p {there}; mount -t ext2 /dev/{device} {there}; df -k {there}", rf"/dev/{device} .* {there}\n"),
        Run(f"dd if=/dev/urandom of={there}/random bs=4k count=2000 2>&1", r"2000\+0 records out"),
        Run(f"cp -r /lib/modules {there}; cd {there}; sha256sum random modules/* >{sums}; cd; wc -l <{sums}", r"\d\n"),
        Run(f"umount {there}; e2fsck -f -n /dev/{device}; echo status $?", r"Pass 5: [^$]*status 0\n"),
        Run(f"echo 3 >/proc/sys/vm/drop_caches; mount -t ext2 /dev/{device} {there} && echo mounted", r"\nmounted\n"),
        Run(f"cd {there}; sha256sum -c -s {sums} && echo whole; cd", r"\nwhole\n"),
    )


BUSYBOX = Session(
    "busybox",
    ARGUMENTS,
    (
        Serial(r"bt# "),
        Run("uname -sr", r"Linux 6\.1\.0-50-686"),
        Run("echo $((6 * 7))", r"\b42\n"),
        Run("free -k | awk '/^Mem:/ {print ($2 > 200000 && $2 < 262144) ? \"as given\" : $2}'", r"\nas given"),
        Run(
            "seq 1 100000 | gzip | gunzip | sha256sum",
            "b2bc7d3f8b652d2ec96865b68ad8f80e22cca174abe1aed7889e242a747d590f",
        ),
        Run("seq 1 1000 | awk '{sum += $1 * $1} END {print sum}'", "333833500"),
        Run("seq 1 20000 | sort -r | md5sum", "c7345da82422f5bbfb30e41a05540dc3"),
        Run("dd if=/dev/zero bs=1M count=8 2>/dev/null | sha256sum", "2daeb1f36095b44b"),
        Run("dd if=/dev/zero bs=1 count=20000 2>&1 | tail -n 1", r"20000\+0 records out"),
        Run("i=0; while [ $i -lt 100 ]; do /bin/busybox true; i=$((i + 1)); done; echo forked $i", "forked 100"),
        Run("for i in 1 2 3; do (sleep 0.$((i * 3)); echo child $i) & done; wait; echo all", CHILDREN),
        Run("yes | head -c 1000000 | wc -c", r"\n1000000\n"),
        Send("vi note\n"),
        Serial(r"note.*(1/1|100%|\[New)"),
        Send("ifirst\rsecond"),
        Serial("second"),
        Send("\x1b"),
        Serial("- note"),
        Send("kyyjp"),
        Serial("Put 1 lines"),
        Send(":wq\r"),
        Serial(r"bt# "),
        Run("cat note", r"first\nsecond\nfirst\n"),
        Run("sed -i -e s/second/2nd/ note; tr a-z A-Z <note | tac", r"FIRST\n2ND\nFIRST\n"),
        Run("echo $(ls /sys/block)", r"\nsda sr0 vda\n"),
        *disk("sda"),
        *disk("vda"),
        Run("cp /media/sda/random /media/vda/copy; cmp /media/sda/random /media/vda/copy && echo same", r"\nsame\n"),
        Run(
            "umount /media/sda /media/vda; mkdir -p /media/cd; mount -t iso9660 -o ro /dev/sr0 /media/cd && echo cd",
            r"\ncd\n",
        ),
        Run("ls /media/cd/boot/grub", "i386-pc"),
        Run("dd if=/dev/sr0 bs=2048 count=1000 2>/dev/null | sha256sum", CD_SHA256),
        Run(f"a=$({SINCE_BOOT}); sleep 1; b=$({SINCE_BOOT}); echo $a $b | awk '{A_SECOND}'", r"\na second\n"),
        Run("a=$(date +%s); sleep 2; b=$(date +%s); echo $((b - a)) $(($(date +%Y) > 1999))", r"\n[23] 1\n"),
        Run("kill -9 $$; echo still $?", r"\nstill 0\n"),
        Send("sync; poweroff -f\n"),
        Ends(0),
    ),
    {
        "kernel": fetched("debian-12-linux"),
        "initrd": built("initramfs.gz"),
        "ata": empty_disk(64),
        "virtio": empty_disk(65),
        "cd": fetched("grub-rescue-cdrom.iso"),
    },
)
