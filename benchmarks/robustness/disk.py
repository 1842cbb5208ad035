"""A disk that is full, read-only, or unmounted. Needs the right to mount a file system, as root has."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from heads import QUICK
from models import save_random_generator
from robustness.kills import TRAINING, same_weights, small_cohort, train_command, write_scans
from robustness.processes import Child, start
from vagan.cli.app import main
from vagan.preprocessing import pipeline
from vagan.training.engine.run_folder import RunFolder

SIZE = "12m"
SLOW = TRAINING | {"training.generator_updates": "40"}


def mount(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], check=True)


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


def disk(folder: Path, _share: float = 1.0) -> dict[str, Any]:
    """Each kind of failure once, whatever the share."""
    place, logs = folder / "disk", folder / "logs"
    if not can_mount(place):
        return {"not measured": "this needs the right to mount a file system", "failures": []}
    logs.mkdir()
    cohort, scans = small_cohort(folder), write_scans(folder / "scans")
    pipeline.make_pipeline = lambda *_, **__: QUICK  # in this process and its forks
    cases: dict[str, Callable[[], list[str]]] = {
        "disk full during training": lambda: _full_during_training(cohort, place, logs),
        "disk full during preprocessing": lambda: _full_during_preprocessing(scans, place, logs),
        "no inodes left": lambda: _no_inodes(cohort, place, logs),
        "cohort larger than the disk": lambda: _cohort_too_large(place, logs),
        "read-only folder": lambda: _read_only(cohort, scans, place, folder),
        "unmounted during training": lambda: _unmounted(cohort, place, logs),
    }
    failures = []
    for name, case in cases.items():
        mount(place)
        try:
            failures += [f"{name}: {text}" for text in case()]
        finally:
            unmount(place)
    return {"cases": "; ".join(cases), "failures": failures}


def _wrong_refusal(child: Child, *names: str, timeout_s: float = 120) -> list[str]:
    """What is wrong with how a command failed: exit code 2 and one line with the names are right."""
    code, lines = child.wait(timeout_s=timeout_s), child.messages()
    if code != 2 or len(lines) != 1 or "Traceback" in child.stderr():
        return [f"exit {code}, {len(lines)} lines: {child.stderr()[-400:]}"]
    return [f"does not say {name!r}: {lines[0]}" for name in names if name not in lines[0]]


def _run(arguments: list[object], logs: Path) -> Child:
    return start(lambda: main([str(argument) for argument in arguments]), logs / "log")


def _not_completed(child: Child) -> list[str]:
    return [] if child.wait(timeout_s=300) == 0 else [f"does not continue: {child.stderr()[-300:]}"]


def _full_during_training(cohort: Path, place: Path, logs: Path) -> list[str]:
    run, whole = RunFolder(place / "run"), RunFolder(logs / "whole")
    child = _run(train_command(cohort, run.path, SLOW), logs)
    child.wait_for(run.checkpoint)
    filler = fill(place)
    wrong = _wrong_refusal(child, str(run.path), "space")
    try:
        torch.load(run.checkpoint, weights_only=True)
        load_file(run.model / "model.safetensors")
        if run.metrics.exists():  # there is none before the first update of the generator
            pd.read_csv(run.metrics)
    except Exception as error:  # whatever a broken file leads to
        return [*wrong, f"what was saved is broken: {error}"]
    filler.unlink()
    for folder in (run, whole):
        wrong += _not_completed(_run(train_command(cohort, folder.path, SLOW), logs))
    return wrong + ([] if same_weights(run, whole) else ["resumed with other weights"])


def _full_during_preprocessing(scans: Path, place: Path, logs: Path) -> list[str]:
    arguments = ["preprocess", scans, place / "out", "--jobs", 1]
    (place / "out").mkdir()
    filler = fill(place)
    wrong = _wrong_refusal(_run(arguments, logs), str(place), "space")
    filler.unlink()
    return wrong + _not_completed(_run(arguments, logs))


def _no_inodes(cohort: Path, place: Path, logs: Path) -> list[str]:
    subprocess.run(["mount", "-o", "remount,nr_inodes=30", place], check=True)
    for number in range(25):
        (place / f"filler-{number}").touch()
    wrong = _wrong_refusal(_run(train_command(cohort, place / "run", SLOW), logs), str(place), "space")
    wrong += _wrong_refusal(
        _run(["synth", place / "c", "--images", 20, "--size", "16x16"], logs), str(place), "space"
    )
    for number in range(25):
        (place / f"filler-{number}").unlink()
    subprocess.run(["mount", "-o", "remount,nr_inodes=1000", place], check=True)
    return wrong + _not_completed(_run(train_command(cohort, place / "run", SLOW), logs))


def _cohort_too_large(place: Path, logs: Path) -> list[str]:
    child = _run(["synth", place / "c", "--images", 3000, "--size", "64x64"], logs)
    wrong = _wrong_refusal(child, str(place), "space", timeout_s=300)
    return wrong + [f"left behind: {path.name}" for path in place.iterdir()]


def _read_only(cohort: Path, scans: Path, place: Path, folder: Path) -> list[str]:
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    model, pictures = save_random_generator(folder / "model"), folder / "pictures"
    rng = np.random.default_rng(1)
    for name in ("healthy", "ill"):
        (pictures / name).mkdir(parents=True)
        for number in range(6):
            np.save(pictures / name / f"{number}.npy", rng.random((24, 20)))
    wrong = []
    for arguments in (
        train_command(cohort, place / "run", SLOW),
        ["synth", place / "c", "--images", 20, "--size", "16x16"],
        ["preprocess", scans, place / "out", "--jobs", 1],
        ["attribute", model, pictures / "ill" / "0.npy", "--out", place / "maps"],
        ["import", "folder", pictures, place / "imported"],
        ["export", model, place / "hub"],
    ):
        child = _run(arguments, folder)
        wrong += [f"{arguments[0]}: {text}" for text in _wrong_refusal(child, str(place), "ead-only")]
    return wrong


def _unmounted(cohort: Path, place: Path, logs: Path) -> list[str]:
    run = RunFolder(place / "run")
    child = _run(train_command(cohort, run.path, SLOW | {"training.generator_updates": "2000"}), logs)
    child.wait_for(run.checkpoint)
    time.sleep(1)
    unmount(place)
    wrong = _wrong_refusal(child, str(run.path), "mounted")
    return wrong + [f"wrote below the mount: {path.name}" for path in place.iterdir()]
