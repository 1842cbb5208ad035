"""SIGTERM and Ctrl-C; a lost process of several."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torture.children import start, wait_for
from torture.corpus import Workshop
from torture.kills import TRAINING
from vagan.cli.app import main
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.training.engine.run_folder import RunFolder

MOST_SECONDS = 10
LONG = TRAINING | {"training.generator_updates": "100000", "training.checkpoint_seconds": "1e6"}


def command(cohort: Path, run: Path, settings: dict[str, str], *more: str) -> list[str]:
    return ["train", str(cohort), str(run), *more, "--set", *(f"{key}={value}" for key, value in settings.items())]


def stopped(workshop: Workshop, share: float = 1.0) -> dict[str, Any]:
    """Seconds from a signal to the end, and what was saved."""
    cohort = make_synthetic_cohort(workshop.good / "stops", n=60, size=(16, 17), seed=3).path
    rng = np.random.default_rng(0)
    failures, seconds = [], []
    count = max(1, round(5 * share))
    for number in (signal.SIGTERM, signal.SIGINT):
        for attempt in range(count):
            run = RunFolder(workshop.good / f"stopped-{number}-{attempt}")
            child = start(lambda run=run: main(command(cohort, run.path, LONG)), workshop.good / "log")
            wait_for(run.log, child)
            time.sleep(float(rng.uniform(0.5, 3)))
            begin = time.perf_counter()
            child.send(number)
            code = child.ended(patience_s=60)
            seconds.append(time.perf_counter() - begin)
            saved = run.checkpoint.is_file() and torch.load(run.checkpoint, weights_only=True)["updates"]
            if (code, len(child.lines())) != (130, 1) or not saved or seconds[-1] > MOST_SECONDS:
                failures.append(
                    f"signal {number}: exit {code}, {seconds[-1]:.1f} s, {saved} updates: {child.lines()}"
                )
    lost = _lost_process(cohort, workshop.good / "two")
    return {
        "signals": len(seconds),
        "longest, s": max(seconds),
        "a lost process of two": lost or "told, and resumed",
        "failures": failures + ([lost] if lost else []),
    }


def _lost_process(cohort: Path, path: Path) -> str:
    """Kill one process of two; an empty string if the run says so, and goes on."""
    settings = LONG | {"training.accumulate": "2", "training.checkpoint_seconds": "0"}
    code = "from vagan.cli.app import main; main()"
    job = subprocess.Popen(
        [sys.executable, "-c", code, *command(cohort, path, settings, "--devices", "2")],
        text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    run = RunFolder(path)
    deadline = time.monotonic() + 300
    while not run.checkpoint.is_file() and time.monotonic() < deadline and job.poll() is None:
        time.sleep(0.1)
    others = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text(encoding="ascii").split()
    if not others:
        job.kill()
        return f"the second process did not start: {job.communicate()[1][-300:]}"
    os.kill(int(others[0]), signal.SIGKILL)
    begin = time.monotonic()
    _, told = job.communicate(timeout=120)
    if job.returncode != 2 or "another process of this training has ended" not in told or "Traceback" in told:
        return f"exit {job.returncode} after {time.monotonic() - begin:.0f} s: {told[-300:]}"
    done = torch.load(run.checkpoint, weights_only=True)["updates"]
    child = start(lambda: main(command(cohort, path, settings)), path.with_name("log of one"))
    while child.pid and torch.load(run.checkpoint, weights_only=True)["updates"] <= done:
        if time.monotonic() > deadline + 300:
            break
        time.sleep(0.1)
    child.send(signal.SIGINT)
    ended = child.ended()
    return "" if ended == 130 else f"not resumed: exit {ended}: {child.told()[-300:]}"
