"""A disk that is full, that cannot be written to, that vanishes. Needs the right to mount, as root has."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file

from heads import QUICK, save_head
from torture.children import Child, start, wait_for
from torture.corpus import Workshop
from torture.kills import TRAINING
from torture.stops import command
from vagan.cli.app import main
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.preprocessing import pipeline
from vagan.training.engine.run_folder import RunFolder

SIZE = "12m"
SLOW = TRAINING | {"training.generator_updates": "40"}


def mount(place: Path, *options: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={SIZE}", *options]), "tmpfs", place], check=True)


def unmount(place: Path) -> None:
    subprocess.run(["umount", "-l", place], check=False)


def can_mount(place: Path) -> bool:
    try:
        mount(place)
    except (OSError, subprocess.CalledProcessError):
        return False
    unmount(place)
    return True


def fill(place: Path) -> Path:
    """Take all space that is left."""
    path = place / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def disk(workshop: Workshop, share: float = 1.0) -> dict[str, Any]:
    """Each trouble once; ``failures`` tells what was not as it should be."""
    place = workshop.good / "disk"
    if not can_mount(place):
        return {"not measured": "this needs the right to mount a file system", "failures": []}
    cohort = make_synthetic_cohort(workshop.good / "small", n=60, size=(16, 17), seed=3).path
    heads = workshop.good / "heads"
    for number in range(3):
        save_head(heads / f"s{number}.nii.gz", seed=number)
    pipeline.make_pipeline = lambda *_, **__: QUICK
    troubles: dict[str, Callable[[], list[str]]] = {
        "a training fills the disk": lambda: _full_training(cohort, place, workshop.good),
        "a preprocessing fills the disk": lambda: _full_preprocessing(heads, place, workshop.good),
        "a cohort that does not fit": lambda: _refused(["synth", place / "c", "--images", 3000, "--size", "64x64"],
                                                       place, workshop.good),
        "a folder that cannot be written to": lambda: _read_only(cohort, heads, place, workshop),
        "a mount that vanishes under a training": lambda: _vanished(cohort, place, workshop.good),
    }  # fmt: skip
    found: dict[str, Any] = {}
    failures = []
    for name, trouble in troubles.items():
        mount(place)
        try:
            wrong = trouble()
        finally:
            unmount(place)
        found[name] = "; ".join(wrong) or "as it should be"
        failures += [f"{name}: {text}" for text in wrong]
    return found | {"failures": failures}


def _complaint(child: Child, code: int, *names: str) -> list[str]:
    lines = child.lines()
    wrong = [] if code == 2 else [f"exit {code}: {child.told()[-400:]}"]
    wrong += [] if len(lines) == 1 else [f"{len(lines)} lines: {child.told()[-400:]}"]
    wrong += [f"does not say {name!r}: {lines[:1]}" for name in names if lines and name not in lines[0]]
    return wrong + ([f"traceback: {child.told()[-400:]}"] if "Traceback" in child.told() else [])


def _full_training(cohort: Path, place: Path, logs: Path) -> list[str]:
    run, whole = RunFolder(place / "run"), RunFolder(logs / "whole")
    child = start(lambda: main(command(cohort, run.path, SLOW)), logs / "log")
    wait_for(run.checkpoint, child)
    filler = fill(place)
    wrong = _complaint(child, child.ended(), str(run.path), "space")
    try:
        kept = torch.load(run.checkpoint, weights_only=True)["updates"]
        load_file(run.model / "model.safetensors")
        if run.metrics.exists():  # there is none before the first update of the generator
            pd.read_csv(run.metrics)
    except Exception as error:  # whatever a broken file leads to
        return [*wrong, f"what was saved is broken: {error}"]
    filler.unlink()
    for folder in (run, whole):
        child = start(lambda folder=folder: main(command(cohort, folder.path, SLOW)), logs / "log")
        code = child.ended(patience_s=300)
        wrong += [] if code == 0 else [f"does not go on after update {kept}: {child.told()[-300:]}"]
    ours, theirs = (load_file(folder.model / "model.safetensors") for folder in (run, whole))
    return wrong + [f"{name} differs" for name in theirs if not torch.equal(ours[name], theirs[name])][:1]


def _full_preprocessing(heads: Path, place: Path, logs: Path) -> list[str]:
    arguments = ["preprocess", str(heads), str(place / "out"), "--jobs", "1"]
    (place / "out").mkdir()
    filler = fill(place)
    child = start(lambda: main(arguments), logs / "log")
    wrong = _complaint(child, child.ended(), str(place), "space")
    filler.unlink()
    child = start(lambda: main(arguments), logs / "log")
    code = child.ended(patience_s=300)
    return wrong + ([] if code == 0 else [f"does not go on: {child.told()[-300:]}"])


def _refused(arguments: list[object], place: Path, logs: Path) -> list[str]:
    child = start(lambda: main([str(argument) for argument in arguments]), logs / "log")
    wrong = _complaint(child, child.ended(patience_s=300), str(place), "space")
    left = [path.name for path in place.iterdir()]
    return wrong + ([f"left behind: {left}"] if left else [])


def _read_only(cohort: Path, heads: Path, place: Path, workshop: Workshop) -> list[str]:
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    model, image = workshop.model, workshop.imported.parent / "arrays" / "ill" / "0.npy"
    wrong = []
    for arguments in (
        command(cohort, place / "run", SLOW),
        ["synth", place / "c", "--images", 20, "--size", "16x16"],
        ["preprocess", heads, place / "out", "--jobs", 1],
        ["attribute", model, image, "--out", place / "maps"],
        ["import", "folder", image.parents[1], place / "imported"],
        ["export", model, place / "hub"],
    ):
        child = start(lambda arguments=arguments: main([str(part) for part in arguments]), workshop.good / "log")
        wrong += [f"{arguments[0]}: {text}" for text in _complaint(child, child.ended(), str(place), "ead-only")]
    return wrong


def _vanished(cohort: Path, place: Path, logs: Path) -> list[str]:
    run = RunFolder(place / "run")
    child = start(
        lambda: main(command(cohort, run.path, SLOW | {"training.generator_updates": "2000"})), logs / "log"
    )
    wait_for(run.checkpoint, child)
    time.sleep(1)
    unmount(place)
    wrong = _complaint(child, child.ended(), str(run.path), "mounted")
    left = [path.name for path in place.iterdir()]
    return wrong + ([f"wrote below the mount: {left}"] if left else [])
