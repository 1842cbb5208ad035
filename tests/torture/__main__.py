"""Run the campaign, chapter by chapter, and write what it found.

Each chapter's figures replace its older ones in benchmarks/results/reliability.json; from that the page
docs/explanation/reliability.md is written anew. The work is done in memory (/dev/shm) where there is such a place.
"""

import argparse
import json
import os
import re
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from machine import describe_machine

from torture.corpus import Workshop
from torture.page import write_page
from vagan.files import replacing

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "reliability.json"
PAGE = ROOT / "docs" / "explanation" / "reliability.md"

LIBRARIES = re.compile(r"/\S*/site-packages/")

CHAPTERS = {
    "killed trainings": "kills.killed_trainings",
    "killed preprocessings": "kills.killed_preprocessings",
    "stopped": "stops.stopped",
    "disk": "disk.disk",
    "two at once": "together.together",
    "bad inputs": "doors.bad_inputs",
    "uploads": "attacks.uploads",
    "fuzzing": "fuzz.fuzzing",
    "long trainings": "long_runs.long_training",
    "many attributions": "long_runs.many_attributions",
    "many clients": "long_runs.many_clients",
}
"""What each runs: called with a workshop and the share of the campaign, it returns figures and ``failures``."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("chapters", nargs="*", default=list(CHAPTERS), metavar="CHAPTER", help=", ".join(CHAPTERS))
    parser.add_argument("--share", type=float, default=1.0, help="part of the whole campaign")
    options = parser.parse_args()
    torch.set_num_threads(1)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    failed = []
    for name in options.chapters:
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="vagan-torture-", dir=memory) as folder:
            module, function = CHAPTERS[name].split(".")
            chapter = getattr(import_module(f"torture.{module}"), function)
            try:
                figures: dict[str, Any] = chapter(Workshop(Path(folder)), options.share)
            except Exception as error:  # the other chapters are run all the same
                traceback.print_exc()
                figures = {"failures": [f"the chapter broke off: {type(error).__name__}: {error}"]}
        figures |= {"seconds": round(time.perf_counter() - begin), **describe_machine()}
        _keep(name, figures)
        failed += [f"{name}: {failure}" for failure in figures["failures"]]
        print(f"{name}: {len(figures['failures'])} failures, {figures['seconds']} s", flush=True)
    for failure in failed:
        print(failure)
    raise SystemExit(bool(failed))


def _anywhere(value: Any) -> Any:
    """Figures without the names of this machine's folders."""
    if isinstance(value, dict):
        return {key: _anywhere(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_anywhere(entry) for entry in value]
    return LIBRARIES.sub("", value).replace(f"{ROOT}/", "") if isinstance(value, str) else value


def _keep(name: str, figures: dict[str, Any]) -> None:
    figures = _anywhere(figures)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    kept[name] = figures
    with replacing(RESULTS) as temporary:
        ordered = {chapter: kept[chapter] for chapter in CHAPTERS if chapter in kept}
        temporary.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with replacing(PAGE) as temporary:
        temporary.write_text(write_page(ordered), encoding="utf-8")


if __name__ == "__main__":
    main()
