"""Whether one generator conditioned on the class is as good as one per class, and at what cost.

The paper's synthetic images, their two subtypes as classes of their own: both have the central square, each has
another one besides. Trains one generator for both classes and one for each alone, and scores the test images of each
class. Writes ``classes.json`` and ``classes.md`` to ``benchmarks/results``. The same command again goes on where it
stopped.

    python benchmarks/classes.py --size 56 56 --seeds 0 1 2
    # volumes, by smaller networks: classes-3d.json
    python benchmarks/classes.py --size 18 20 16 --images 4000 --set generator.width=8 critic.width=8
"""

import shutil
from pathlib import Path
from statistics import mean

import pandas as pd
from cohorts import kept
from study import as_table, column, keep, named, options_of, settings_of, with_seeds

from vagan.data.cohort import Cohort
from vagan.data.schema import MANIFEST
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.evaluation.evaluate import EvaluationOptions, evaluate
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.inference.attributor import Attributor
from vagan.training.config import load_config
from vagan.training.engine.loop import train

CLASSES = ("type A", "type B")


def main() -> None:
    options = options_of(__doc__, "runs/classes", images=10_000, size=(112, 112)).parse_args()
    cohort = kept(options.work / "cohort", make_two_classes, images=options.images, size=tuple(options.size))
    found: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for name, interest in {"together": "", **{f"{name} alone": name for name in CLASSES}}.items():
            alone = {"training.class_of_interest": interest} if interest else {}
            config = load_config("fast", settings_of(options, seed) | alone)
            run = train(cohort, options.work / f"{name.replace(' ', '-')}-{seed}", config, monitor=mean_ncc)
            figures = {"training_seconds": run.seconds()}
            for about in CLASSES:
                if interest in ("", about):
                    figures |= _scores(cohort, run.path, about)
            found.setdefault(name, []).append(figures)
            print(seed, name, {key: round(value, 3) for key, value in figures.items()}, flush=True)
    result = {
        "settings": options.set,
        "images": options.images,
        "size": options.size,
        "seeds": options.seeds,
        "generators": found,
    }
    keep(named("classes", options.size), result, _markdown(found), out=options.out)
    print(_markdown(found))


def make_two_classes(folder: Path, *, images: int, size: tuple[int, ...]) -> Cohort:
    """The paper's cohort, the subtype in place of the class."""
    made = make_synthetic_cohort(folder.with_name("paper"), n=images, size=size).path
    table = pd.read_csv(made / MANIFEST, dtype=str, keep_default_na=False)
    for label, (subtype, name) in enumerate(zip("AB", CLASSES, strict=True), start=1):
        table.loc[table["subtype"] == subtype, ["label", "class"]] = [str(label), name]
    table.to_csv(made / MANIFEST, index=False)
    return Cohort(shutil.move(made, folder))


def _scores(cohort: Cohort, run: Path, name: str) -> dict[str, float]:
    method = Attributor.load(run, class_of_interest=name)
    evaluation = evaluate([method], cohort, EvaluationOptions(class_of_interest=name))
    scores = evaluation.summary[method.name]
    return {
        f"{name}: ncc": scores["ncc"]["mean"],
        f"{name}: ceiling": evaluation.ceiling["ncc"]["mean"],
        f"{name}: baseline_response_ratio": scores["baseline_response_ratio"]["mean"],
    }


def _markdown(found: dict[str, list[dict[str, float]]]) -> str:
    head = ["generator", *(f"NCC of {name} (seeds)" for name in CLASSES), "training, s"]
    rows = []
    for name, runs in found.items():
        scores = [with_seeds(column(runs, f"{about}: ncc")) for about in CLASSES]
        rows.append([name, *scores, f"{mean(column(runs, 'training_seconds')):.0f}"])
    return as_table(head, rows)


if __name__ == "__main__":
    main()
