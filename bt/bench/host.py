"""What the figures depend on besides the code."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def facts() -> dict[str, str]:
    """Processor, kernel and versions; nothing that names the machine or its owner."""
    return {
        "processor": processor(),
        "processors available": str(len(os.sched_getaffinity(0))),
        "load average": f"{os.getloadavg()[0]:.2f}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "llvmlite": version("llvmlite"),
        "capstone": version("capstone"),
    }


def processor() -> str:
    """The host processor's name."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
