"""Trainings and preprocessings killed at random moments, and given the same command again."""

import itertools
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from heads import QUICK, save_head
from torture.corpus import Workshop
from trainings import SETTINGS
from vagan.data.audit.defects import find_problems
from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.data.volume import read_volume
from vagan.preprocessing.pack import pack_cohort
from vagan.preprocessing.runner import prepare_all
from vagan.preprocessing.sources import collect_scans, jobs_of
from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.engine.run_folder import RunFolder

Work = Callable[[], object]

TRAINING = SETTINGS | {
    "training.generator_updates": "2",
    "training.validate_every": "100",
    "training.validation_images": "1",
    "schedule.critic_updates": "1",
    "schedule.consolidation_updates": "1",
    "generator.calibration_images": "4",
}
"""A handful of updates, each of them saved."""
SCANS = 3
KILLS = 50


def training(cohort: Path, run: Path) -> Work:
    """Without the pictures, which would take most of the time."""
    return lambda: train(Cohort(cohort), run, load_config(settings=TRAINING))


def preprocessing(source: Path, out: Path) -> Work:
    """Without the pages, which would take most of the time."""

    def work() -> None:
        table = collect_scans(source)
        outcomes = list(prepare_all(jobs_of(table), QUICK, out))
        assert {outcome.status for outcome in outcomes} <= {"done", "kept"}
        pack_cohort(out, table, QUICK, baseline="CN", seed=0)

    return work


def in_child(work: Work, *, folder: Path | None = None, event: int = 0, delay_s: float | None = None) -> int:
    """Do some work in a process of its own, started in no time since it is a copy of this one.

    Parameters
    ----------
    folder, event
        Kill it right before it touches a file of the folder for the n-th time.
    delay_s
        Kill it after this time.

    Returns
    -------
    int
        Its exit code; -9 if it was killed.
    """
    child = os.fork()
    if child == 0:
        _be_child(work, folder, event)
    if delay_s is not None:
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _be_child(work: Work, folder: Path | None, event: int) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    log = os.open("/tmp/vagan-torture-child.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    code = 1
    try:
        if event:
            sys.addaudithook(_killer(str(folder), event))
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _killer(folder: str, event: int) -> Callable[[str, tuple[Any, ...]], None]:
    count = itertools.count(1)

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name in TOUCHES and folder in str(arguments[0]) and next(count) == event:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


TOUCHES = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"})
"""What Python tells of: before a file is made, opened, renamed into its place, or removed."""


def touches_of(work: Work, folder: Path) -> int:
    """How often some work touches files of a folder."""
    reader, writer = os.pipe()
    counted = [0]

    def counting() -> None:
        def hook(name: str, arguments: tuple[Any, ...]) -> None:
            counted[0] += name in TOUCHES and str(folder) in str(arguments[0])

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os.write(writer, str(counted[0]).encode())

    assert in_child(counting) == 0, Path("/tmp/vagan-torture-child.log").read_text(encoding="utf-8")
    os.close(writer)
    with os.fdopen(reader) as pipe:
        return int(pipe.read())


def partial_files(folder: Path) -> list[str]:
    """Files under their final names that are not whole."""
    bad = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file() or any(part.startswith(".") for part in path.parts[1:]):
            continue
        try:
            _read_whole(path)
        except Exception as error:  # whatever a broken file leads to
            bad.append(f"{path.relative_to(folder)}: {type(error).__name__} {error}")
    return bad


def _read_whole(path: Path) -> None:
    readers: dict[str, Callable[[Path], object]] = {
        ".json": lambda file: json.loads(file.read_bytes()),
        ".pt": lambda file: torch.load(file, weights_only=True),
        ".safetensors": load_file,
        ".csv": pd.read_csv,
        ".gz": read_volume,
        ".npz": lambda file: [np.load(file)[name] for name in np.load(file).files],
    }
    if path.suffix in readers:
        readers[path.suffix](path)


def killed_trainings(workshop: Workshop, share: float = 1.0, *, seed: int = 0) -> dict[str, Any]:
    """Kill trainings once each, at random moments, go on, and compare with one that was never killed."""
    cohort = make_synthetic_cohort(workshop.good / "kills", n=60, size=(16, 17), seed=3)
    cohort.images([0])
    whole = RunFolder(workshop.good / "whole-run")
    training(cohort.path, whole.path)()  # in this process, so that its copies have all they need in memory
    counted = workshop.good / "counted-run"
    touches = touches_of(training(cohort.path, counted), counted)

    def check(run: Path) -> bool:
        return _same_training(RunFolder(run), whole)

    return _campaign(
        lambda run: training(cohort.path, run),
        workshop.good / "killed-runs",
        _count(share),
        touches,
        check,
        seed=seed,
    )


def killed_preprocessings(workshop: Workshop, share: float = 1.0, *, seed: int = 0) -> dict[str, Any]:
    """The same with preprocessings of a few scans and the cohort that is packed of them."""
    source = workshop.good / "heads"
    rows = []
    for number in range(SCANS):
        save_head(source / f"s{number}.nii.gz", seed=number)
        rows.append(f"s{number}.nii.gz,s{number},m0,{('CN', 'AD')[number % 2]},{('train', 'test')[number // 2]}")
    (source / "manifest.csv").write_text("image,subject,session,class,split\n" + "\n".join(rows), encoding="utf-8")
    whole = workshop.good / "prepared-whole"
    preprocessing(source, whole)()
    counted = workshop.good / "prepared-counted"
    touches = touches_of(preprocessing(source, counted), counted)

    def check(out: Path) -> bool:
        return _same_files(out, whole)

    return _campaign(
        lambda out: preprocessing(source, out),
        workshop.good / "killed-preparations",
        _count(share),
        touches,
        check,
        seed=seed,
    )


def _count(share: float) -> int:
    return max(1, round(KILLS * share))


def _campaign(
    work: Callable[[Path], Work], folder: Path, count: int, touches: int, check: Callable[[Path], bool], *, seed: int
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    begin = time.perf_counter()
    assert in_child(work(folder / "timed")) == 0
    seconds = time.perf_counter() - begin
    found = {"killed": 0, "while touching a file": 0, "finished": 0, "equal": 0, "partial files": 0, "left over": 0}
    failures: list[str] = []
    number = 0
    while found["killed"] < count and number < 3 * count:
        out = folder / f"{number:03d}"
        out.mkdir(parents=True)
        number += 1
        at_touch = number % 2 == 0
        if at_touch:
            code = in_child(work(out), folder=out, event=int(rng.integers(1, touches + 1)))
        else:
            code = in_child(work(out), delay_s=float(rng.uniform(0.02, 0.95)) * seconds)
        if code != -signal.SIGKILL:
            continue  # it was faster
        found["killed"] += 1
        found["while touching a file"] += at_touch
        partial = partial_files(out)
        found["partial files"] += len(partial)
        failures += partial
        if in_child(work(out)) != 0:
            failures.append(f"{out.name}: {Path('/tmp/vagan-torture-child.log').read_text(encoding='utf-8')[-300:]}")
            continue
        found["finished"] += 1
        found["equal"] += check(out)
        if not check(out):
            failures.append(f"{out.name}: not equal")
        found["left over"] += bool([path for path in out.rglob(".*") if path.is_file()])
        shutil.rmtree(out)
    return found | {"moments": touches, "failures": failures}


def _same_training(run: RunFolder, whole: RunFolder) -> bool:
    ours, theirs = (load_file(folder.model / "model.safetensors") for folder in (run, whole))
    tables = [pd.read_csv(folder.metrics).drop(columns="seconds") for folder in (run, whole)]
    return (
        ours.keys() == theirs.keys()
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
        and tables[0].equals(tables[1])
    )


def _same_files(out: Path, whole: Path) -> bool:
    if find_problems(out / "cohort"):
        return False
    if Cohort(out / "cohort").metadata.content_hash != Cohort(whole / "cohort").metadata.content_hash:
        return False
    names = {path.relative_to(whole) for path in whole.rglob("*.nii.gz")}
    return names == {path.relative_to(out) for path in out.rglob("*.nii.gz")} and all(
        np.array_equal(read_volume(out / name).array, read_volume(whole / name).array) for name in names
    )
