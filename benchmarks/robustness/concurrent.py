"""Two processes on one folder: trainings, preprocessings, and readers while a training writes."""

import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from robustness.kills import ENDLESS, TRAINING, partial_files, preprocessing, small_cohort, train_command, write_scans
from robustness.processes import start
from vagan.cli.app import main
from vagan.data.cohort import Cohort
from vagan.model.folder import load_model
from vagan.training.engine.run_folder import RunFolder

SECONDS, PAIRS = 10, 4


def concurrent(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """Nothing is lost or torn, and a second training is refused."""
    cohort, run = small_cohort(folder), RunFolder(folder / "run")
    failures: list[str] = []
    settings = ENDLESS | {"training.checkpoint_seconds": "0"}
    first = start(lambda: main(train_command(cohort, run.path, settings)), folder / "first")
    first.wait_for(run.checkpoint)
    second = start(lambda: main(train_command(cohort, run.path, TRAINING)), folder / "second")
    code = second.wait()
    if code != 2 or "another training is running" not in " ".join(second.messages()):
        failures.append(f"a second training: exit {code}: {second.stderr()[-300:]}")
    reads, until = 0, time.monotonic() + SECONDS * share
    while time.monotonic() < until or not reads:
        try:
            load_model(run.path)
            pd.read_csv(run.metrics)
            torch.load(run.checkpoint, weights_only=True)
            run.seconds()
            reads += 1
        except Exception as error:  # whatever a torn file leads to
            failures.append(f"reading while a training writes: {type(error).__name__} {error}")
    first.send(signal.SIGINT)
    if first.wait() != 130:
        failures.append(f"the first training: {first.stderr()[-300:]}")
    pairs = max(1, round(PAIRS * share))
    failures += _two_preprocessings(folder, pairs)
    return {"reads of a run that is being written": reads, "pairs of preprocessings": pairs, "failures": failures}


def _two_preprocessings(folder: Path, pairs: int) -> list[str]:
    source = write_scans(folder / "scans")
    preprocessing(source, folder / "alone")()
    failures = []
    for number in range(pairs):
        out = folder / f"both-{number}"
        for child in [start(preprocessing(source, out), folder / f"log{which}") for which in (1, 2)]:
            if child.wait() != 0:
                failures.append(f"one of two preprocessings: {child.stderr()[-300:]}")
        failures += partial_files(out)
        if len({Cohort(path / "cohort").metadata.content_hash for path in (out, folder / "alone")}) > 1:
            failures.append("two preprocessings made another cohort than one")
        failures += [f"left behind: {path.name}" for path in out.rglob(".*")]
    return failures
