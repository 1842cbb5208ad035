"""Where and on what a result was measured."""

import os
import platform
import subprocess
from importlib.metadata import version

import torch


def describe_machine() -> dict:
    """Processor, cores, versions and the commit of the code; dirty if something but results differs from it."""
    commit = _git("describe", "--always")
    code = (":/", ":!/benchmarks/results", ":!/docs/explanation/robustness.md")  # the page is made of results
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *code)
    return {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()} | _accelerator(),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("vagan", "torch", "numpy")}},
        "commit": f"{commit}-dirty" if changed else commit,
    }


def _accelerator() -> dict[str, str]:
    return {"accelerator": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False).stdout.strip()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
