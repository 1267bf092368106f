"""Guests whose every option has a transcript: the default ones are the manifest's, the others lie in `transcripts`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

TRANSCRIPTS: Final = Path(__file__).parent / "transcripts"

OPTIONS: Final = {
    "v86-matrix": "vme=on accesses=on",
    "real-mode-matrix": "accesses=on",
    "faults-matrix": "strict=on",
    "gate-matrix": "strict=on",
    "segment-matrix": "accesses=on",
    "paging-matrix": "reserved=on",
    "task-matrix": "strict=on",
    "fp-matrix": "strict=on",
}
"""What QEMU's emulator does not do, and Bochs does: CR4.VME, segment limits, all of SGDT's base (SDM vol. 3B, 8086
emulation; vol. 3A 5.3; vol. 2, SGDT, where processors are as Bochs); the rest is in guest_images/README.md."""

NX_GUEST: Final = "paging-matrix"
NX_OPTIONS: Final = "nx=on reserved=on"
NX_TRANSCRIPT: Final = "paging-matrix-nx"
"""Execute disable, on the processors that have it."""


def transcript(name: str) -> str:
    """What the guest says with its `OPTIONS`."""
    return (TRANSCRIPTS / f"{name}.txt").read_text(encoding="ascii")
