"""The corpus of bad inputs, tried out on the command line in this process, a sample of it in processes of its own."""

import os
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import numpy as np

from torture.answers import MOST_MB, Answer
from torture.corpus import Command, Workshop, all_defects, try_out

SAMPLE = 12


def bad_inputs(workshop: Workshop, share: float = 1.0) -> dict[str, Any]:
    """Count the doors, the defects, and the answers that were not as they should be."""
    rng = np.random.default_rng(0)
    chosen = [defect for defect in all_defects() if rng.random() < share]
    doors = Counter(defect.door for defect in chosen)
    failures, seconds, megabytes = [], [0.0], [0.0]
    for defect in chosen:
        answer, wrong = try_out(defect, workshop)
        seconds.append(answer.seconds)
        megabytes.append(answer.peak_mb)
        failures += [f"{defect.id}: {text}" for text in wrong]
    sample = [chosen[place] for place in rng.permutation(len(chosen))[: max(1, round(SAMPLE * share))]]
    peaks = []
    for defect in sample:
        answer, wrong = try_out(defect, workshop, _in_a_process)
        peaks.append(answer.peak_mb)
        failures += [f"{defect.id}, as a process: {text}" for text in wrong]
    return {
        "defects": len(chosen),
        "doors": dict(sorted(doors.items())),
        "answered as they should be": len(chosen) - len({text.split(": ")[1] for text in failures}),
        "longest answer, s of a processor": max(seconds),
        "most memory for an answer, MB": max(megabytes),
        "tried as processes of their own too": len(sample),
        "most memory of such a process, MB": max(peaks),
        "failures": failures,
    }


def _in_a_process(command: Command) -> Answer:
    """With a limit on its memory, of which the libraries' code alone takes some."""
    arguments = [sys.executable, "-c", "from vagan.cli.app import main; main()", *map(str, command)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    ) as job:  # fmt: skip
        try:
            out, error = job.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            job.kill()
            out, error = job.communicate()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    error = re.sub(r"^.*(?:it/s|s/it).*\n", "", error, flags=re.M)
    peak_mb = used.ru_maxrss / 1024  # of the largest so far
    assert peak_mb < MOST_MB or cpu, time.perf_counter() - begin
    return Answer(job.returncode, out, error, cpu, peak_mb)
