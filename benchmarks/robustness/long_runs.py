"""Memory, open files and threads over long runs."""

import contextlib
import gc
import io
import os
import threading
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import torch

from models import save_random_generator
from robustness.kills import TRAINING
from vagan.cli.app import main
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.training.config import load_config
from vagan.training.engine.loop import train

STEPS, ATTRIBUTIONS = 10_000, 1000
SAMPLES = 40
MAX_GROWTH_MB = {"training": 1.0, "attribution": 5.0}
"""Of memory, for 1,000 steps or 1,000 images."""


class Gauge:
    """Memory in MB, open files and threads of this process, by how much was done."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, int, int]] = []

    def record(self, done: int) -> None:
        """Measure now, after so much was done."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        megabytes = pages * os.sysconf("SC_PAGESIZE") / 2**20
        self.rows.append((done, megabytes, len(os.listdir("/proc/self/fd")), threading.active_count()))

    def figures(self, unit: str, max_mb: float) -> dict[str, Any]:
        """Slopes over the second half."""
        late = np.array(self.rows[len(self.rows) // 2 :], float)
        per_thousand = [float(np.polyfit(late[:, 0], late[:, place], 1)[0] * 1000) for place in (1, 2, 3)]
        failures = [f"memory grows by {per_thousand[0]:.2f} MB in 1,000 {unit}"] if per_thousand[0] > max_mb else []
        failures += [f"{what} grow" for what, slope in zip(("files", "threads"), per_thousand[1:], strict=True)
                     if slope > 0.5]  # fmt: skip
        return {
            unit: int(late[-1, 0]),
            "memory at the end, MB": float(late[-1, 1]),
            f"growth of memory for 1,000 {unit}, MB": per_thousand[0],
            f"growth of open files for 1,000 {unit}": per_thousand[1],
            f"growth of threads for 1,000 {unit}": per_thousand[2],
            "failures": failures,
        }


def long_training(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """One training of many small updates."""
    cohort = make_synthetic_cohort(folder / "cohort", n=60, size=(16, 16), seed=3)
    updates = round(STEPS * share) // 2
    every = max(1, updates // SAMPLES)
    settings = TRAINING | {
        "training.generator_updates": str(updates),
        "training.validate_every": str(every),
        "training.batch_size": "1",
        "training.checkpoint_seconds": "5",
        "generator.width": "1",
        "critic.width": "1",
        "schedule.critic_updates": "1",
    }
    gauge = Gauge()

    def monitor(*_: torch.Tensor) -> float:
        gauge.record(2 * (len(gauge.rows) + 1) * every)
        return 0.0

    train(cohort, folder / "run", load_config(settings=settings), monitor=monitor)
    return gauge.figures("steps", MAX_GROWTH_MB["training"])


def many_attributions(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """The same few images again and again, with all that is written for them."""
    model, images = save_random_generator(folder / "model"), [folder / f"{number}.png" for number in range(5)]
    for number, path in enumerate(images):
        imageio.imwrite(path, np.random.default_rng(number).integers(0, 255, (24, 20), dtype=np.uint8))
    command = ["attribute", str(model), *map(str, images), "--out", str(folder / "maps")]
    gauge = Gauge()
    for done in range(1, max(8, round(ATTRIBUTIONS * share) // len(images)) + 1):
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                main(command)
            except SystemExit as ended:
                if ended.code:
                    raise RuntimeError(f"exit code {ended.code}") from ended
        gauge.record(done * len(images))
    return gauge.figures("images", MAX_GROWTH_MB["attribution"])
