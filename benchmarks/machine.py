"""Where and on what a result was measured."""

import os
import platform
import subprocess
from importlib.metadata import version


def describe_machine() -> dict:
    """Processor, cores, versions and the commit of the code."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, encoding="utf-8", check=False
    )
    return {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("vagan", "torch", "numpy")}},
        "commit": commit.stdout.strip(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
