"""Trainings and preprocessings that are killed or interrupted, then given the same command again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from heads import QUICK, save_head
from robustness.processes import Work, count_events, killed_at_event, start
from trainings import SETTINGS
from vagan.cli.app import main
from vagan.data.audit.defects import find_problems
from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.data.volume import read_volume
from vagan.preprocessing.runner import prepare_all
from vagan.preprocessing.sources import collect_scans, jobs_of
from vagan.preprocessing.study import pack_cohort
from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.engine.run_folder import RunFolder

TRAINING = SETTINGS | {
    "training.generator_updates": "2",
    "training.validate_every": "100",
    "training.validation_images": "1",
    "schedule.critic_updates": "1",
    "schedule.distillation_updates": "1",
    "generator.bn_recalibration_images": "4",
}
"""A few updates, with a checkpoint after each."""
ENDLESS = TRAINING | {"training.generator_updates": "100000", "training.checkpoint_seconds": "1e6"}
KILLS, SIGNALS = 50, 5
MAX_SECONDS_TO_STOP = 10


def small_cohort(folder: Path) -> Path:
    return make_synthetic_cohort(folder / "cohort", n=60, size=(16, 17), seed=3).path


def train_command(cohort: Path, run: Path, settings: dict[str, str], *more: str) -> list[str]:
    return ["train", str(cohort), str(run), *more, "--set", *(f"{key}={value}" for key, value in settings.items())]


def preprocessing(source: Path, out: Path) -> Work:
    """Without the quality-control pages, which would take most of the time."""

    def work() -> None:
        table = collect_scans(source)
        outcomes = list(prepare_all(jobs_of(table), QUICK, out))
        assert {outcome.status for outcome in outcomes} <= {"done", "kept"}
        pack_cohort(out, table, QUICK, baseline="CN", seed=0)

    return work


def write_scans(folder: Path) -> Path:
    """Three scans and their table."""
    rows = ["image,subject,session,class,split"]
    for number in range(3):
        save_head(folder / f"s{number}.nii.gz", seed=number)
        rows.append(f"s{number}.nii.gz,s{number},m0,{('CN', 'AD')[number % 2]},{('train', 'test')[number // 2]}")
    (folder / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def killed_trainings(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """Kill each training once, resume it, and compare it with one that was never killed."""
    cohort = small_cohort(folder)
    whole = RunFolder(folder / "whole")

    def work(run: Path) -> Work:
        return lambda: train(Cohort(cohort), run, load_config(settings=TRAINING))

    work(whole.path)()  # in this process, so that its forks have all they need in memory
    return _kill_and_resume(work, folder, round(KILLS * share), lambda run: _same_training(RunFolder(run), whole))


def killed_preprocessings(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """The same with preprocessings of three scans and the cohort that is packed from them."""
    source, whole = write_scans(folder / "scans"), folder / "whole"
    preprocessing(source, whole)()
    return _kill_and_resume(
        lambda out: preprocessing(source, out), folder, round(KILLS * share), lambda out: _same_scans(out, whole)
    )


def _kill_and_resume(
    work: Callable[[Path], Work], folder: Path, count: int, is_equal: Callable[[Path], bool]
) -> dict[str, Any]:
    """Alternately after a random time and right before a random file access."""
    rng, log = np.random.default_rng(0), folder / "log"
    events = count_events(work(folder / "counted"), folder / "counted", log)
    begin = time.perf_counter()
    assert start(work(folder / "timed"), log).wait() == 0
    seconds = time.perf_counter() - begin
    found = dict.fromkeys(("killed", "at a file access", "resumed", "equal", "partial files", "temporary files"), 0)
    failures: list[str] = []
    for number in range(3 * count):
        out = folder / f"killed-{number:03d}"
        out.mkdir()
        at_event = number % 2 == 1
        if at_event:
            child = start(killed_at_event(work(out), out, int(rng.integers(1, events + 1))), log)
        else:
            child = start(work(out), log)
            time.sleep(float(rng.uniform(0.02, 0.95)) * seconds)
            child.send(signal.SIGKILL)
        if child.wait() != -signal.SIGKILL:
            continue  # it had finished before
        partial = partial_files(out)
        resumed = start(work(out), log)
        found["killed"] += 1
        found["at a file access"] += at_event
        found["partial files"] += len(partial)
        failures += partial
        if resumed.wait() != 0:
            failures.append(f"{out.name}: {resumed.stderr()[-300:]}")
            continue
        equal = is_equal(out)
        found["resumed"] += 1
        found["equal"] += equal
        found["temporary files"] += any(path.is_file() for path in out.rglob(".*"))
        failures += [] if equal else [f"{out.name}: not equal"]
        shutil.rmtree(out)
        if found["killed"] >= max(1, count):
            break
    return found | {"file accesses": events, "failures": failures}


READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda file: json.loads(file.read_bytes()),
    ".pt": lambda file: torch.load(file, weights_only=True),
    ".safetensors": load_file,
    ".csv": pd.read_csv,
    ".gz": read_volume,
    ".npz": lambda file: [np.load(file)[name] for name in np.load(file).files],
}


def partial_files(folder: Path) -> list[str]:
    """Files under their final names that cannot be read to their end."""
    bad = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in READERS and path.is_file() and not hidden:
            try:
                READERS[path.suffix](path)
            except Exception as error:  # whatever a broken file leads to
                bad.append(f"{path.relative_to(folder)}: {type(error).__name__} {error}")
    return bad


def same_weights(one: RunFolder, other: RunFolder) -> bool:
    ours, theirs = (load_file(run.model / "model.safetensors") for run in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _same_training(run: RunFolder, whole: RunFolder) -> bool:
    tables = [pd.read_csv(folder.metrics).drop(columns="seconds") for folder in (run, whole)]
    return same_weights(run, whole) and tables[0].equals(tables[1])


def _same_scans(out: Path, whole: Path) -> bool:
    if find_problems(out / "cohort"):
        return False
    if Cohort(out / "cohort").metadata.content_hash != Cohort(whole / "cohort").metadata.content_hash:
        return False
    names = {path.relative_to(whole) for path in whole.rglob("*.nii.gz")}
    return names == {path.relative_to(out) for path in out.rglob("*.nii.gz")} and all(
        np.array_equal(read_volume(out / name).array, read_volume(whole / name).array) for name in names
    )


def interrupted_trainings(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """SIGTERM and Ctrl-C: seconds until everything is saved; and one process of two killed."""
    cohort = small_cohort(folder)
    rng = np.random.default_rng(0)
    failures, seconds = [], []
    for number in (signal.SIGTERM, signal.SIGINT):
        for attempt in range(max(1, round(SIGNALS * share))):
            run = RunFolder(folder / f"{number}-{attempt}")
            child = start(lambda run=run: main(train_command(cohort, run.path, ENDLESS)), folder / "log")
            child.wait_for(run.log)
            time.sleep(float(rng.uniform(0.5, 3)))
            begin = time.perf_counter()
            child.send(number)
            code = child.wait(timeout_s=60)
            seconds.append(time.perf_counter() - begin)
            saved = _updates(run)
            if (code, len(child.messages())) != (130, 1) or not saved or seconds[-1] > MAX_SECONDS_TO_STOP:
                failures.append(f"signal {number}: exit {code}, {seconds[-1]:.1f} s, {saved} updates")
    failures += _one_of_two_processes_killed(cohort, RunFolder(folder / "two"))
    failures += _cohort_stopped(folder / "stopped")
    return {"signals": len(seconds), "longest time to stop, s": max(seconds), "failures": failures}


def _cohort_stopped(folder: Path) -> list[str]:
    """SIGTERM while a cohort is written: nothing of it is left."""
    folder.mkdir()
    arguments = ["synth", str(folder / "c"), "--images", "100000", "--size", "64x64"]
    child = start(lambda: main(arguments), folder.with_name("log of synth"))
    while not list(folder.glob(".c.*")) and not child.stderr():
        time.sleep(0.1)
    child.send(signal.SIGTERM)
    left = [] if (code := child.wait()) == 130 else [f"a cohort stopped: exit {code}: {child.stderr()[-300:]}"]
    return left + [f"a cohort stopped: left behind: {path.name}" for path in folder.iterdir()]


def _updates(run: RunFolder) -> int:
    return int(torch.load(run.checkpoint, weights_only=True)["updates"]) if run.checkpoint.is_file() else 0


def _one_of_two_processes_killed(cohort: Path, run: RunFolder) -> list[str]:
    """The run must end with a message, and resume in one process."""
    settings = ENDLESS | {"training.accumulate_grad_batches": "2", "training.checkpoint_seconds": "0"}
    job = subprocess.Popen(
        [sys.executable, "-m", "vagan", *train_command(cohort, run.path, settings, "--devices", "2")],
        text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not run.checkpoint.is_file() and time.monotonic() < deadline and job.poll() is None:
        time.sleep(0.1)
    others = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text(encoding="ascii").split()
    if not others:
        job.kill()
        return [f"the second process did not start: {job.communicate()[1][-300:]}"]
    os.kill(int(others[0]), signal.SIGKILL)
    _, message = job.communicate(timeout=120)
    if job.returncode != 2 or "process" not in message or "Traceback" in message:
        return [f"one of two processes killed: exit {job.returncode}: {message[-300:]}"]
    done = _updates(run)
    child = start(lambda: main(train_command(cohort, run.path, settings)), run.path.with_name("log of one"))
    deadline = time.monotonic() + 300
    while _updates(run) <= done and time.monotonic() < deadline:
        time.sleep(0.1)
    child.send(signal.SIGINT)
    code = child.wait()
    return [] if code == 130 else [f"not resumed: exit {code}: {child.stderr()[-300:]}"]
