"""Maps of a disease that moves tissue: generators that deform against one that adds.

Synthetic images: a bright ellipse with smooth texture, which in patients has shrunk: the texture inside with it, and
that around it is stretched. For each image of a patient the image before is known, and with it the exact
effect and the change of area. Trains with each way of applying the map, and reports NCC with the effect on test
images, and for generators that deform the mean log-Jacobian inside the ellipse beside the true one. Writes
``deforming.json`` to ``benchmarks/results``.

    python benchmarks/deforming.py
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, map_coordinates
from study import keep

from vagan import Attributor, load_config, train
from vagan.data.cohort import write_cohort
from vagan.data.manifest import Manifest
from vagan.data.preparation import Preparation
from vagan.data.schema import CohortCase, CohortMetadata
from vagan.evaluation.metrics.agreement import mean_ncc

SHAPE = (48, 40)
RADII, SHRINKAGE = (13.0, 10.0), 0.8
REACH = 1.7
"""Radii of the ellipse around it that the shrinkage moves."""
CASES = {
    "add": {"generator.output": "add"},
    "warp": {"generator.output": "warp"},
    "warp+add": {"generator.output": "warp+add"},
    "warp, smoothness weight 100": {"generator.output": "warp", "loss.smoothness_weight": "100"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--updates", type=int, default=120)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {}
    with TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            cohort = make_ellipses(Path(folder) / f"cohort{seed}", options.images, seed)
            for name in options.only:
                settings = CASES[name] | {
                    "training.seed": str(seed),
                    "training.generator_updates": str(options.updates),
                    "training.num_threads": str(options.threads),
                    "training.validate_every": "1000",
                }
                begin = time.perf_counter()
                run = train(cohort, Path(folder) / f"{name}{seed}", load_config("fast", settings))
                figures = {**_figures(run.path, cohort), "seconds": time.perf_counter() - begin}
                found.setdefault(name, []).append(figures)
                print(seed, name, {key: round(value, 3) for key, value in figures.items()}, flush=True)
    result = {"options": vars(options), "true_log_area": 2 * np.log(SHRINKAGE), "cases": found}
    keep("deforming", result)


def make_ellipses(path: Path, count: int, seed: int):
    """Half of the images of patients; a fifth each for validation and test."""

    def case(row: int) -> CohortCase:
        rng = np.random.default_rng((seed, row))
        texture = gaussian_filter(rng.standard_normal(SHAPE), 2.5)
        texture *= 0.15 / texture.std()
        centre = np.array(SHAPE) / 2 + rng.uniform(-3, 3, 2)
        radii = np.array(RADII) * rng.uniform(0.9, 1.1)
        offsets = np.stack(np.indices(SHAPE)) - centre[:, None, None]
        radius = np.linalg.norm(offsets / radii[:, None, None], axis=0)
        healthy = -0.5 + 1.0 / (1 + np.exp((radius - 1) * 12)) + texture  # an edge about two pixels wide
        before = np.interp(radius, (0, SHRINKAGE, REACH), (0, 1, REACH), right=np.inf)  # where it was, in radii
        stretch = np.where(radius < REACH, before / np.maximum(radius, 1e-9), 1)
        places = centre[:, None, None] + offsets * stretch
        image = map_coordinates(healthy, places, order=3, mode="nearest") if row % 2 else healthy
        healthy, image = (part.clip(-1, 1).astype(np.float32)[None] for part in (healthy, image))
        return CohortCase(image, image - healthy, healthy)

    split = np.array(["train", "train", "train", "validation", "test"])[np.arange(count) // 2 % 5]
    table = pd.DataFrame(
        {
            "id": [f"{row:05d}" for row in range(count)],
            "subject": [f"{row:05d}" for row in range(count)],
            "session": "",
            "label": [row % 2 for row in range(count)],
            "class": [("healthy", "ill")[row % 2] for row in range(count)],
            "split": split,
        }
    )
    metadata = CohortMetadata(source="shrinking ellipses", preparation=Preparation(low=-1.0, high=1.0))
    return write_cohort(path, Manifest(table), metadata, case)


def _figures(run: Path, cohort) -> dict[str, float]:
    method = Attributor.load(run)
    rows = cohort.manifest.indices("test", label=1)
    healthy = cohort.images(cohort.manifest.indices("test", label=0))
    images, effects = cohort.images(rows), cohort.effects(rows)
    found = method.attribute(images)
    maps = found.effect
    figures = {
        "ncc": float(mean_ncc(maps, effects)),
        "map": float(maps.abs().mean()),
        "true_map": float(effects.abs().mean()),
        "baseline_map": float(method.effect(healthy).abs().mean()),
    }
    if found.deformation is not None:
        inside = images > 0  # of the ellipse as it is now
        log_ratio = found.deformation.log_jacobian
        figures["log_area_inside"] = float(log_ratio[inside].mean())
        figures["log_area_outside"] = float(log_ratio[~inside].mean())
    return figures


if __name__ == "__main__":
    main()
