"""Two at once: trainings in one run folder, preprocessings into one folder, readers while a training writes."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from heads import save_head
from torture.children import start, wait_for
from torture.corpus import Workshop
from torture.kills import TRAINING, partial_files, preprocessing
from torture.stops import LONG, command
from vagan.cli.app import main
from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.model.folder import load_model
from vagan.training.engine.run_folder import RunFolder


def together(workshop: Workshop, share: float = 1.0) -> dict[str, Any]:
    """Nothing is lost, and who has to wait is told so."""
    cohort = make_synthetic_cohort(workshop.good / "small", n=60, size=(16, 17), seed=3).path
    found: dict[str, Any] = {}
    failures: list[str] = []
    run = RunFolder(workshop.good / "run")
    first = start(
        lambda: main(command(cohort, run.path, LONG | {"training.checkpoint_seconds": "0"})), run.path.with_name("1")
    )
    wait_for(run.checkpoint, first)
    second = start(lambda: main(command(cohort, run.path, TRAINING)), run.path.with_name("2"))
    code = second.ended()
    told = " ".join(second.lines())
    if code != 2 or f"process {first.pid}" not in told:
        failures.append(f"a second training: exit {code}: {second.told()[-300:]}")
    found["a second training is told whose the folder is"] = f"process {first.pid}" in told
    reads, until = 0, time.monotonic() + 10 * share
    while time.monotonic() < until or not reads:
        try:
            load_model(run.path)
            pd.read_csv(run.metrics)
            torch.load(run.checkpoint, weights_only=True)
            run.seconds()
            run._repr_html_()
            reads += 1
        except Exception as error:  # whatever a torn file leads to
            failures.append(f"reading while a training writes: {type(error).__name__} {error}")
    found["model, metrics and checkpoint read while a training wrote them, times"] = reads
    first.send(2)
    if first.ended() != 130:
        failures.append(f"the first training: {first.told()[-300:]}")
    outcome = _preprocessings(workshop.good, pairs=max(1, round(4 * share)))
    found["two preprocessings into one folder, pairs"] = outcome["pairs"]
    return found | {"failures": failures + outcome["failures"]}


def _preprocessings(folder: Path, *, pairs: int) -> dict[str, Any]:
    source = folder / "heads"
    rows = []
    for number in range(3):
        save_head(source / f"s{number}.nii.gz", seed=number)
        rows.append(f"s{number}.nii.gz,s{number},m0,{('CN', 'AD')[number % 2]},{('train', 'test')[number // 2]}")
    (source / "manifest.csv").write_text("image,subject,session,class,split\n" + "\n".join(rows), encoding="utf-8")
    preprocessing(source, folder / "alone")()
    failures = []
    for number in range(pairs):
        out = folder / f"both-{number}"
        children = [start(preprocessing(source, out), folder / f"log{which}") for which in (1, 2)]
        for child in children:
            if child.ended() != 0:
                failures.append(f"one of two preprocessings: {child.told()[-300:]}")
        failures += partial_files(out)
        hashes = {Cohort(path / "cohort").metadata.content_hash for path in (out, folder / "alone")}
        if len(hashes) > 1:
            failures.append("two preprocessings made another cohort than one")
        if left := [path.name for path in out.rglob(".*")]:
            failures.append(f"left behind: {left[:3]}")
    return {"pairs": pairs, "failures": failures}
