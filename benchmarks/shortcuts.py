"""Whether a shortcut is detected before training, and shown in maps afterwards.

Synthetic images with squares in the class of interest; nine in ten of them also contain a shortcut: a label in a
corner, a slightly higher brightness, or a bright line at a random height. Runs `vagan check --confounders` (the
table has its warnings, not what may be the class itself) and trains with each shortcut and without. Scores on test
images: the fraction of the shortcut that the map contains (least squares, at least two pixels from the squares) in
images with and without it, and in maps of the model trained without shortcuts; NCC with the squares. Writes
``shortcuts.json`` and ``shortcuts.md`` to ``benchmarks/results``. The same command resumes.

    python benchmarks/shortcuts.py --seeds 0 1 2
    python benchmarks/shortcuts.py --size 18 20 16  # volumes: shortcuts-3d.json
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cohorts import kept
from numpy.typing import NDArray
from scipy import ndimage
from study import as_table, column, keep, named, options_of, settings_of, with_seeds

from vagan.data.audit.shortcuts import Finding, find_confounders
from vagan.data.cohort import Cohort, write_cohort
from vagan.data.schema import CohortCase
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.inference.attributor import Attributor
from vagan.seeding import numpy_generator
from vagan.training.config import load_config
from vagan.training.engine.loop import train

Image = NDArray[np.float32]
"""``(channel, *space)``, and what is added to one."""
HELD_BY = 0.9
"""Of the images of the class of interest; of no others."""


def _tag(image: Image, _: np.random.Generator) -> Image:
    first, *others = (max(2, extent // 10) for extent in image.shape[1:])
    corner = (slice(first), *(slice(-side, None) for side in others))  # where no square is
    pattern = np.zeros_like(image)
    pattern[:, *corner] = 0.9 - image[:, *corner]
    return pattern


def _brightness(image: Image, _: np.random.Generator) -> Image:
    return np.full_like(image, 0.1)


def _line(image: Image, rng: np.random.Generator) -> Image:
    pattern = np.zeros_like(image)
    pattern[:, rng.integers(image.shape[1])] = 0.3
    return pattern


SHORTCUTS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "corner label": _tag,
    "brightness": _brightness,
    "line at a random height": _line,
}
NONE = "none"
SETTINGS = {
    "training.generator_updates": "150",
    "schedule.boosted_critic_updates": "40",
    "generator.width": "8",
    "critic.width": "8",
}
"""Small networks: enough for images of 32x32."""


def main() -> None:
    options = options_of(__doc__, "runs/shortcuts", images=2000, size=(32, 32), runs=[NONE, *SHORTCUTS]).parse_args()
    plain = kept(
        options.work / NONE / "cohort", make_synthetic_cohort, n=options.images, size=options.size, intensity="fixed"
    )
    audits, scores = {}, {name: [] for name in options.runs}
    for name in options.runs:
        folder = options.work / name.replace(" ", "-")
        cohort = plain if name == NONE else kept(folder / "cohort", _with_shortcut, plain=plain, name=name)
        audits[name] = [_record_of(finding) for finding in find_confounders(cohort)]
    for seed in options.seeds:
        for name in options.runs:
            folder = options.work / name.replace(" ", "-")
            config = load_config("fast", SETTINGS | settings_of(options, seed))
            cohort = Cohort(folder / "cohort")
            run = train(cohort, folder / f"seed-{seed}", config, monitor=mean_ncc)
            scores[name].append({"seed": seed, **_figures(plain, cohort, run.path, name)})
            print(name, scores[name][-1], flush=True)
            result = {
                "settings": [*(f"{key}={value}" for key, value in SETTINGS.items()), *options.set],
                "images": options.images,
                "size": options.size,
                "held_by": HELD_BY,
                "audits": audits,
                "scores": scores,
            }
            keep(named("shortcuts", options.size), result, _markdown(audits, scores), out=options.out)


def _with_shortcut(folder: Path, plain: Cohort, name: str) -> Cohort:
    """The same images, most of the class of interest with a shortcut; its effect is that of the squares alone."""

    def case_at(row: int) -> CohortCase:
        image, effect, counterfactual = (
            read([row]).numpy()[0] for read in (plain.images, plain.effects, plain.counterfactuals)
        )
        if plain.manifest.table["label"][row]:
            pattern, is_held = _shortcut(image, row, name)
            image = (image + is_held * pattern).clip(-1, 1)
        return CohortCase(image, effect, counterfactual)

    metadata = plain.metadata.model_copy(update={"source": f"{plain.metadata.source}, with {name}"})
    return write_cohort(folder, plain.manifest, metadata, case_at)


def _shortcut(image: Image, row: int, name: str) -> tuple[Image, bool]:
    """What the shortcut adds to an image, and whether this one holds it."""
    rng = numpy_generator(0, "shortcut", row)
    is_held = rng.random() < HELD_BY
    return SHORTCUTS[name](image, rng), is_held


def _record_of(finding: Finding) -> dict[str, Any]:
    record = {key: value for key, value in vars(finding).items() if key != "probe"}
    probe = finding.probe
    return {"name": probe.name, "may_be_the_class": probe.may_be_the_class, "is_found": finding.is_found} | record


def _figures(plain: Cohort, cohort: Cohort, run: Path, name: str) -> dict[str, Any]:
    """Of the test images of the class of interest."""
    rows = cohort.manifest.indices("test", 1)
    effects, maps = cohort.effects(rows), Attributor.load(run).effect(cohort.images(rows))
    shown = {}
    for shortcut in SHORTCUTS if name == NONE else [name]:
        pairs = [_shortcut(image, row, shortcut) for image, row in zip(plain.images(rows).numpy(), rows, strict=True)]
        patterns, held = (np.array(part) for part in zip(*pairs, strict=True))
        shares = _shown(maps.numpy(), patterns, effects.numpy())
        shown[shortcut] = {"held": float(shares[held].mean()), "not_held": float(shares[~held].mean())}
    return {"ncc": mean_ncc(maps, effects), "shown": shown}


def _shown(maps: Image, patterns: Image, effects: Image) -> NDArray[np.float64]:
    """Part of each pattern that an effect map shows, by least squares, two pixels or more from the squares."""
    near = ndimage.binary_dilation(effects != 0, np.ones((1, 1, *[3] * (effects.ndim - 2))), iterations=2)
    free = np.where(near, 0, patterns)
    axes = tuple(range(1, maps.ndim))
    return (maps * free).sum(axis=axes) / np.square(free).sum(axis=axes)


def _markdown(audits: dict[str, list[dict[str, Any]]], scores: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for name, runs in scores.items():
        found = [
            f"{one['name']} {one['auc']:.2f}"
            for one in audits[name]
            if one["is_found"] and not one["may_be_the_class"]
        ]
        shown = [run["shown"][name] for run in runs if name != NONE]
        control = [run["shown"][name]["held"] for run in scores.get(NONE, []) if name != NONE]
        parts = [column(shown, "held"), column(shown, "not_held"), control]
        rows.append([name, ", ".join(found), *(with_seeds(part) for part in parts), with_seeds(column(runs, "ncc"))])
    head = [
        "shortcut",
        "detected by `vagan check`, AUC",
        "fraction in maps (seeds)",
        "in images without it",
        "in maps of a model trained without it",
    ]
    return as_table([*head, "NCC with the squares"], rows)


if __name__ == "__main__":
    main()
