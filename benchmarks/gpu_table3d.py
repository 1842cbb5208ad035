"""The table of volumes on an NVIDIA GPU, within a given time: everything that needs one, in one command.

Runs other benchmarks one after the other, with a long schedule that only a GPU affords: `table3d.py` at 2.6 mm with
three seeds, the same at 1.3 mm with one, the critic at full size of `accelerator.py`, and the tests that need a GPU.
A step that outruns the rest of the time is stopped; trainings save where they are, and the same command resumes them
(supervised twins begin again). Small results, the figures and ``gpu_table3d.log`` go to ``--out``, which is not the
folder of committed results, as a part of these would replace the whole; cohorts and runs go to ``--work``. The exit
code is 1 if a step failed.

    python benchmarks/gpu_table3d.py --minutes 9
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).parent
LONG = ("training.generator_updates=1000", "schedule.critic_updates=5", "training.validate_every=100")
"""Settings: 5,400 updates of the critic, where the preset ``brain`` makes 1,900."""
SMALL = ("--subjects", "40", "--limit", "4")
"""Options of a short trial on any machine."""
SHORT = ("schedule.boosted_critic_updates=2", "schedule.critic_updates=1", "training.generator_updates=2",
         "training.validation_images=2", "training.batch_size=2", "training.downsampling=1", "classifier.updates=2",
         )  # fmt: skip
SECONDS_TO_SAVE = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="for all steps together")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu-table3d"))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-table3d/results"))
    parser.add_argument("--trial", action="store_true", help="tiny trainings at 5.2 mm alone, on any device")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    end, failed = time.monotonic() + 60 * options.minutes, False
    with (options.out / "gpu_table3d.log").open("a", encoding="utf-8") as log:
        for name, command in _steps(options).items():
            begin = time.monotonic()
            code = _run(command, until=end, log=log) if end - begin > SECONDS_TO_SAVE else None
            failed |= bool(code)
            outcome = "out of time" if code is None else f"exit code {code}"
            for where in (log, sys.stdout):
                print(f"{name}: {outcome}, {time.monotonic() - begin:.0f} s", file=where, flush=True)
    sys.exit(failed)


def _steps(options: argparse.Namespace) -> dict[str, list[str]]:
    """Commands, the most wanted first."""
    if options.trial:
        return {"5.2 mm": _table(options, "trial", 5.2, [0], SHORT, *SMALL, "--twin-updates", "2")}
    return {
        "2.6 mm": _table(options, "table3d-gpu", 2.6, [0, 1, 2], LONG, "--twin-updates", "2000"),
        "full-size critic": [
            sys.executable, str(HERE / "accelerator.py"), "--cases", "128x160x112, batch 12", "--repetitions", "3",
            "--out", str(options.out),
        ],
        "tests": [sys.executable, "-m", "pytest", "-q", "-m", "gpu"],
        "1.3 mm": _table(options, "table3d-gpu-full-size", 1.3, [0], LONG, "--subjects", "300"),
    }  # fmt: skip


def _table(
    options: argparse.Namespace,
    name: str,
    spacing_mm: float,
    seeds: Sequence[int],
    settings: Sequence[str],
    *more: str,
) -> list[str]:
    """A command that trains deforming generators, their class gates and supervised twins, and scores all."""
    folders = ["--work", str(options.work / f"{spacing_mm:g}-mm"), "--out", str(options.out)]
    what = ["--name", name, "--spacing-mm", f"{spacing_mm:g}", "--runs", "warp", "--members", "1"]
    chosen = ["--seeds", *map(str, seeds), "--set", *settings]
    return [sys.executable, str(HERE / "table3d.py"), *folders, *what, *more, *chosen]


def _run(command: list[str], *, until: float, log: TextIO) -> int | None:
    """Exit code of a step; None if it had to be stopped, in time to save."""
    running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        return running.wait(timeout=max(1.0, until - time.monotonic() - SECONDS_TO_SAVE))
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(timeout=SECONDS_TO_SAVE)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        return None


if __name__ == "__main__":
    main()
