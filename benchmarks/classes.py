"""Several classes of interest: is one generator that is told the class as good as one for each, at what cost.

The paper's synthetic images, their two subtypes as classes of their own: both have the central square, each has
another one besides. Trains one generator for both classes and one for each alone, and scores the test images of each
class. Writes ``classes.json`` and ``classes.md`` to ``benchmarks/results``. The same command again goes on where it
stopped.

    python benchmarks/classes.py --size 56 56 --seeds 0 1 2
"""

import argparse
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from cohorts import kept
from machine import describe_machine

from vagan.attribution.generator import VAGAN
from vagan.data.cohort import MANIFEST, Cohort
from vagan.data.sources.synthetic import make_cohort
from vagan.evaluation.evaluate import CEILING, evaluate
from vagan.evaluation.scores import mean_ncc
from vagan.training.config import load_config
from vagan.training.loop import train

RESULTS = Path(__file__).parent / "results"
CLASSES = ("type A", "type B")


def main() -> None:
    options = _parse()
    cohort = kept(options.work / "cohort", make_two_classes, images=options.images, size=tuple(options.size))
    found: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        settings = dict(setting.split("=", 1) for setting in options.set) | {"training.seed": str(seed)}
        for name, interest in {"together": "", **{f"{name} alone": name for name in CLASSES}}.items():
            config = load_config("fast", {**settings, "training.interest": interest})
            run = train(cohort, options.work / f"{name.replace(' ', '-')}-{seed}", config, monitor=mean_ncc)
            figures = {"training_seconds": run.seconds()}
            for label, about in enumerate(CLASSES, start=1):
                if interest in ("", about):
                    figures |= _scores(cohort, run.path, about, label)
            found.setdefault(name, []).append(figures)
            print(seed, name, {key: round(value, 3) for key, value in figures.items()}, flush=True)
    result = {
        "settings": options.set,
        "images": options.images,
        "size": options.size,
        "seeds": options.seeds,
        "generators": found,
        **describe_machine(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "classes.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "classes.md").write_text(_markdown(found), encoding="utf-8")
    print(_markdown(found))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/classes"), help="where the cohort and runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, nargs="+", default=[112, 112])
    parser.add_argument("--set", nargs="*", default=[], help="settings of all trainings, e.g. training.threads=1")
    return parser.parse_args()


def make_two_classes(folder: Path, *, images: int, size: tuple[int, ...]) -> Cohort:
    """The paper's cohort, the subtype in place of the class."""
    made = make_cohort(folder.with_name("paper"), images=images, size=size).path
    table = pd.read_csv(made / MANIFEST, dtype=str, keep_default_na=False)
    for label, (subtype, name) in enumerate(zip("AB", CLASSES, strict=True), start=1):
        table.loc[table["subtype"] == subtype, ["label", "class"]] = [str(label), name]
    table.to_csv(made / MANIFEST, index=False)
    return Cohort(shutil.move(made, folder))


def _scores(cohort: Cohort, run: Path, name: str, label: int) -> dict[str, float]:
    method, _ = VAGAN.load(run, interest=name)
    summary = evaluate({method.name: method}, cohort, interest=label).summary
    return {
        f"{name}: ncc": summary[method.name]["ncc"]["mean"],
        f"{name}: ceiling": summary[CEILING]["ncc"]["mean"],
        f"{name}: energy_ratio": summary[method.name]["energy_ratio"]["mean"],
    }


def _markdown(found: dict[str, list[dict[str, float]]]) -> str:
    head = "| generator | NCC of type A (seeds) | NCC of type B (seeds) | training, s |\n" + "|---" * 4 + "|\n"
    lines = []
    for name, runs in found.items():
        cells = [name]
        for about in CLASSES:
            values = [run[f"{about}: ncc"] for run in runs if f"{about}: ncc" in run]
            cells.append(f"{np.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})" if values else "")
        cells.append(f"{np.mean([run['training_seconds'] for run in runs]):.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
