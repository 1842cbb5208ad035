"""Measure robustness, all of it or the chapters named, and write what was found.

Each replaces its older figures in benchmarks/results/robustness_tests.json; docs/explanation/robustness.md is written
from that file. With ``--share``, less is done and nothing written, as in ``make test-long``. The work is done in
memory (/dev/shm) where that exists.
"""

import argparse
import json
import os
import tempfile
import time
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from vagan.files import replacing

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "robustness_tests.json"
PAGE = ROOT / "docs" / "explanation" / "robustness.md"

CHAPTERS = {
    "killed trainings": (
        "kills.killed_trainings",
        "Trainings of a small 2-D cohort, killed with SIGKILL: half of them at a random time, half right before a "
        "random access to a file of the run folder. The same command then resumes. *Equal* means the same bits in "
        "the weights and in every logged value as in a training that was never killed.",
    ),
    "killed preprocessings": (
        "kills.killed_preprocessings",
        "The same for the preprocessing of three scans and the cohort that is packed from them.",
    ),
    "interrupted trainings": (
        "kills.interrupted_trainings",
        "SIGTERM and Ctrl-C: the time until everything is saved and the process has ended. Then one of two processes "
        "of a distributed training is killed: the run must stop with a message, and resume. SIGTERM while a cohort "
        "is written leaves nothing of it.",
    ),
    "disk": (
        "disk.disk",
        "A file system that fills up, has no inodes left, is read-only, or is unmounted while a command writes: exit "
        "code 2 and one line, earlier checkpoints intact, and the same command continues once there is space.",
    ),
    "concurrent commands": (
        "concurrent.concurrent",
        "Two trainings in one run folder, two preprocessings into one folder, and a reader of a run that is being "
        "written.",
    ),
    "mutated files": (
        "fuzz.fuzzing",
        "Random mutations of good files. A reader may refuse them with one of the package's errors; any other "
        "exception, or more than ten seconds, is a failure. A *wrong answer* is what was read although it cannot be "
        "used: values that are not finite, constant images, tables with defects. *Data lost*: files beside the "
        "mutated one that changed. *Escapes*: programs started, connections, pickles opened, and files written "
        "elsewhere.",
    ),
    "long training": (
        "long_runs.long_training",
        "Memory, open files and threads over many updates; slopes of a straight line through the second half.",
    ),
    "many attributions": ("long_runs.many_attributions", "The same over many calls of `vagan attribute`."),
}
"""The function of each, called with an empty folder and a share of the work, and what it does."""

INTRODUCTION = """# Robustness

*Written by `make robustness`; do not edit. The values are in
[robustness_tests.json](../../benchmarks/results/robustness_tests.json).*

`make robustness` kills trainings, fills disks, mutates files, and measures memory over long runs, for about an hour.
To repeat one part: `PYTHONPATH=tests:benchmarks python -m robustness "killed trainings"`. The code is in
`benchmarks/robustness`. Each section names the commit that it was measured at. Invalid input to every command is
part of the ordinary tests (`tests/cli/test_invalid_input.py`).
"""
NOT_SHOWN = ("failures", "seconds", "machine", "versions", "commit")


def main() -> None:
    from machine import describe_machine  # of benchmarks/

    parser = argparse.ArgumentParser(prog="make robustness", description=__doc__)
    parser.add_argument("chapters", nargs="*", default=list(CHAPTERS), metavar="CHAPTER", help=", ".join(CHAPTERS))
    parser.add_argument(
        "--share", type=float, default=1.0, help="part of the work; unless it is 1, nothing is written"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    failed = []
    for name in options.chapters:
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="vagan-robustness-", dir=memory) as folder:
            try:
                figures = run(name, Path(folder), options.share)
            except Exception as error:  # the others are run all the same
                traceback.print_exc()
                figures = {"failures": [f"did not finish: {type(error).__name__}: {error}"]}
        figures |= {"seconds": round(time.perf_counter() - begin), **describe_machine()}
        if options.share == 1:
            _save(name, figures)
        failed += [f"{name}: {failure}" for failure in figures["failures"]]
        print(f"{name}: {len(figures['failures'])} failures, {figures['seconds']} s", flush=True)
    print("\n".join(failed))
    raise SystemExit(bool(failed))


def run(name: str, folder: Path, share: float = 1.0) -> dict[str, Any]:
    """Figures of a chapter, with ``failures``."""
    module, function = CHAPTERS[name][0].split(".")
    figures: dict[str, Any] = getattr(import_module(f"robustness.{module}"), function)(folder, share)
    return figures


def _save(name: str, figures: dict[str, Any]) -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    results[name] = figures | {"failures": len(figures["failures"])}
    ordered = {chapter: results[chapter] for chapter in CHAPTERS if chapter in results}
    for path, text in (
        (RESULTS, json.dumps(ordered, indent=1, ensure_ascii=False) + "\n"),
        (PAGE, page(ordered)),
    ):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of all chapters that have results."""
    parts = [INTRODUCTION]
    for name, figures in results.items():
        rows = [f"| {key} | {_cell(value)} |" for key, value in figures.items() if key not in NOT_SHOWN]
        where = f"{figures['machine']['processor']}, {figures['machine']['cores']} cores, commit {figures['commit']}"
        parts.append(
            f"## {name.capitalize()}\n\n{CHAPTERS[name][1]}\n\n| | |\n| --- | --- |\n"
            + "\n".join(rows)
            + f"\n\nFailures: {figures['failures']} ({figures['seconds']} s; {where})\n"
        )
    return "\n".join(parts)


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_cell(entry)}" for name, entry in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
