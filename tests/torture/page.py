"""The page that tells what the campaign found, written from its figures alone."""

# ruff: noqa: E501  (tables of cases, a line each)

from collections.abc import Mapping
from typing import Any

INTRODUCTION = """# How hard it is to break

*Written by `make torture`; do not edit. The figures are in [reliability.json](../../benchmarks/results/reliability.json).*

`make torture` kills trainings, fills disks, feeds broken and hostile files to every door, and watches memory over long
runs. A chapter can be repeated alone: `PYTHONPATH=tests:benchmarks python -m torture "bad inputs"`. What a chapter is
and where it looks stands in `tests/torture`.
"""

MEANINGS = {
    "killed trainings": "Trainings of a small 2-D cohort, killed with SIGKILL: half of them after a random time, half of "
    "them right before a random touch of a file in the run folder, while checkpoints are written among others. Then the "
    "same command again. *Equal* means the same bits of the model and of every figure as in a training that was never "
    "killed.",
    "killed preprocessings": "The same with the preprocessing of three scans and the cohort that is packed of them.",
    "stopped": "SIGTERM and Ctrl-C: seconds until everything is saved and the process has ended. And a process of two "
    "that train together, killed: the run stops with a message and resumes.",
    "disk": "A small file system that fills up while a training or a preprocessing writes, a folder that cannot be "
    "written to, and a mount that vanishes: one clear line, the older checkpoint as it was, and the same command goes on "
    "when there is space again.",
    "two at once": "Two trainings in one run folder, two preprocessings into one folder, reports while a training runs.",
    "bad inputs": "Damaged, misplaced, nonsensical and hostile inputs at every door of the command line. Each must be "
    "answered with exit code 2 and one line that names the file or the option and what to do; within ten seconds of "
    "processor time and 2 GB; without a traceback, a warning or a change on disk.",
    "uploads": "Damaged, hostile, endless and slow uploads to `vagan serve`, and requests of foreign hosts and other "
    "sites: each is answered with a refusal or with a sentence that names the file.",
    "fuzzing": "Random mutations of good files, given to the readers of the package: they may refuse, with the package's "
    "own errors, but never fail in another way or hang.",
    "long trainings": "Memory, open files and threads over many training steps; slopes are those of a straight line "
    "through the second half.",
    "many attributions": "The same over many attributions of image files.",
    "many clients": "Clients that all send images to `vagan serve` at the same time, for a minute.",
}


def write_page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of all chapters that were run."""
    parts = [INTRODUCTION]
    for name, figures in results.items():
        shown = {key: value for key, value in figures.items() if key not in HIDDEN}
        rows = [f"| {key} | {_cell(value)} |" for key, value in shown.items()]
        failures = figures["failures"]
        told = (
            "Nothing failed."
            if not failures
            else f"**{len(failures)} failed:** " + "; ".join(map(_plain, failures[:9]))
        )
        where = f"{figures['machine']['processor']}, {figures['machine']['cores']} cores, commit {figures['commit']}"
        parts.append(
            f"## {name.capitalize()}\n\n{MEANINGS[name]}\n\n| | |\n| --- | --- |\n"
            + "\n".join(rows)
            + f"\n\n{told} ({figures['seconds']} s; {where})\n"
        )
    return "\n".join(parts)


HIDDEN = ("failures", "seconds", "machine", "versions", "commit")


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_cell(entry)}" for name, entry in value.items())
    return f"{value:.3g}" if isinstance(value, float) else _plain(value)


def _plain(value: object) -> str:
    return " ".join(str(value).split())[:300].replace("|", "\\|").replace("<", "&lt;")
