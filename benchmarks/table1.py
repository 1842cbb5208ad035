"""How do all methods score on the paper's synthetic images (its Table 1), and what do classifiers miss.

Trains, for each seed, VA-GAN, the paper's classifier and its CAM variant; once VA-GAN on permuted labels; scores
every method on the same test images; writes ``table1.md``, ``table1.json``, ``figure4.pdf`` and ``recall.pdf`` to
``benchmarks/results``. Three hours or so on two cores; times of a map hold for an idle machine. The same command
again goes on where it stopped.

    python benchmarks/table1.py --work runs/table1
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from cohorts import kept
from matplotlib.figure import Figure
from paper import TABLE1
from scipy import stats
from study import keep, options_of, settings_of

from vagan.attribution.registry import METHODS
from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort, square_regions
from vagan.evaluation.evaluate import EvaluationOptions, evaluate_runs
from vagan.evaluation.ground_truth import CEILING
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.evaluation.runs import RunSelection
from vagan.evaluation.statistics import bootstrap_interval
from vagan.reporting.report import build_report
from vagan.training.config import load_config
from vagan.training.engine.loop import train

CLASSIFIERS = ("classifier", "cam-classifier")
PERMUTED = "VA-GAN, permuted labels"


def main() -> None:
    options = _parse()
    cohort = kept(options.work / "cohort", make_synthetic_cohort, n=options.images)
    for seed in options.seeds:
        for name, settings in _trainings(seed, options).items():
            train(cohort, options.work / f"{name}-{seed}", load_config("fast", settings), monitor=mean_ncc)
    first = options.seeds[0]
    if not options.without_permuted:
        permuted = {"training.permute_labels": "true", **settings_of(options, first)}
        train(cohort, options.work / "permuted", load_config("fast", permuted), monitor=mean_ncc)

    tables = []
    for seed in options.seeds:
        runs = [options.work / f"{name}-{seed}" for name in ("vagan", *CLASSIFIERS)]
        methods = [name for name, entry in METHODS.items() if entry.cost <= options.most_passes]
        tables.append(_score(cohort, runs, options.work / f"results-{seed}", seed, options, methods=methods))
    if not options.without_permuted:
        alone = _score(
            cohort, [options.work / "permuted"], options.work / "results-permuted", first, options, methods=["vagan"]
        )
        alone["method"] = alone["method"].replace("VA-GAN", PERMUTED)
        tables.append(alone[alone["method"] == PERMUTED])
    _write(pd.concat(tables, ignore_index=True), cohort, options)


def _parse() -> argparse.Namespace:
    parser = options_of(__doc__, "runs/table1")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument(
        "--limit", type=int, help="random test images of each class to score, the same for all methods"
    )
    parser.add_argument("--subset", type=int, default=16, help="images for methods with many passes for a map")
    parser.add_argument(
        "--most-passes", type=int, default=1000, help="leave out methods with more for a map: a minute a map at 1500"
    )
    parser.add_argument("--without-permuted", action="store_true", help="leave out the control on permuted labels")
    return parser.parse_args()


def _trainings(seed: int, options: argparse.Namespace) -> dict[str, dict[str, str]]:
    common = settings_of(options, seed)
    return {"vagan": common} | {name: {"method": name, **common} for name in CLASSIFIERS}


def _score(
    cohort: Cohort,
    runs: list[Path],
    out: Path,
    seed: int,
    options: argparse.Namespace,
    *,
    methods: list[str] | None = None,
) -> pd.DataFrame:
    if not (out / "summary.json").is_file():
        what = EvaluationOptions(limit=options.limit, subset=options.subset, parts=square_regions, device="auto")
        evaluate_runs(cohort, runs, out, what, RunSelection(methods=methods))
        build_report(out)
    seconds = json.loads((out / "summary.json").read_text(encoding="utf-8"))["map_seconds"]
    rows = pd.read_csv(out / "scores.csv", dtype={"case": str, "subject": str})
    subtypes = cohort.manifest.table.set_index("id")["subtype"]
    return rows.assign(seed=seed, subtype=rows["case"].map(subtypes), map_seconds=rows["method"].map(seconds))


def _write(rows: pd.DataFrame, cohort: Cohort, options: argparse.Namespace) -> None:
    scores = rows[(rows["label"] == 1) & (rows["metric"] == "ncc")]
    differences = _differences(scores)
    table = {}
    for method, found in scores.groupby("method", sort=False):
        by_image = found.groupby("case")["value"].mean()
        by_seed = found.groupby("seed")["value"].mean()
        about = rows[rows["method"] == method]
        recalls = about[about["metric"].str.startswith("recall/")]
        sizes = about[about["metric"] == "mean_abs"].groupby("label")["value"].mean()
        table[method] = {
            "ncc": float(by_seed.mean()),
            "std_over_images": float(found.groupby("seed")["value"].std(ddof=0).mean()),
            "ci95_over_images": list(bootstrap_interval(by_image.to_numpy())),
            "by_seed": [float(value) for value in by_seed],
            "ci95_over_seeds": _t_interval(by_seed.to_numpy()),
            "images": int(found.groupby("seed")["case"].nunique().max()),
            "baseline_response_ratio": float(sizes.get(0, np.nan) / sizes[1]) if 0 in sizes else None,
            "mean_abs": float(sizes[1]),
            "recall": {
                f"{metric.split('/')[1]}, subtype {subtype}": float(part["value"].mean())
                for (metric, subtype), part in recalls.groupby(["metric", "subtype"])
            },
            "seconds_per_map": float(about["map_seconds"].mean()) if about["map_seconds"].notna().any() else None,
            "difference_to_vagan": differences.get(method),
        }
    runs = [
        json.loads((options.work / f"results-{seed}" / "summary.json").read_text(encoding="utf-8"))
        for seed in options.seeds
    ]
    result = {
        "command": " ".join(["python", "benchmarks/table1.py", *sys.argv[1:]]),
        "seeds": options.seeds,
        "settings": options.set,
        "cohort": {"source": cohort.metadata.source, "hash": cohort.metadata.content_hash},
        "methods": table,
        "paper": {name: {"mean": mean, "std": std} for name, (mean, std) in TABLE1.items()},
        "classifiers": {name: about for run in runs for name, about in run["classifiers"].items()},
        "train_seconds": {name: value for run in runs for name, value in run["train_seconds"].items()},
    }
    keep("table1", result, _markdown(table), out=options.out)
    _recall_figure(table).savefig(options.out / "recall.pdf")
    figure = options.work / f"results-{options.seeds[0]}" / "figures" / "examples.pdf"
    (options.out / "figure4.pdf").write_bytes(figure.read_bytes())
    print(_markdown(table))


def _differences(scores: pd.DataFrame) -> dict[str, dict[str, float | list[float]]]:
    """Differences to VA-GAN over the images that a method was scored on, each image's mean over seeds.

    Methods with many passes for a map were scored on one random subset, the same for all of them. p-values are
    Wilcoxon's, with Holm's correction for the number of methods.
    """
    means = scores.groupby(["method", "case"])["value"].mean()
    vagan = means["VA-GAN"]
    found = {}
    for method in means.index.get_level_values("method").unique().difference([CEILING, "VA-GAN"]):
        own = means[method]
        gaps = own.to_numpy() - vagan[own.index].to_numpy()
        interval, p_value = bootstrap_interval(gaps), stats.wilcoxon(gaps).pvalue
        found[method] = {"mean": float(gaps.mean()), "ci95": list(interval), "p": p_value, "images": len(gaps)}
    largest = 0.0
    for rank, entry in enumerate(sorted(found.values(), key=lambda entry: entry["p"])):  # Holm (1979)
        largest = max(largest, min(1.0, (len(found) - rank) * entry.pop("p")))
        entry["p_holm"] = float(largest)
    return found


def _t_interval(values: np.ndarray) -> list[float] | None:
    if len(values) < 2:
        return None
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return [float(values.mean() - half), float(values.mean() + half)]


def _markdown(table: dict) -> str:
    head = (
        "| method | NCC, mean ± std | 95 % over images | seeds | paper | difference to VA-GAN | p (Holm) "
        "| centre A / B | off-centre A / B | M(x0)/M(x1) | mean abs map | s per map | images |\n"
        + "|---" * 13
        + "|\n"
    )
    lines = []
    for name, row in sorted(table.items(), key=lambda item: (item[0] == CEILING, -item[1]["ncc"])):
        low, high = row["ci95_over_images"]
        paper = "{:.2f} ± {:.2f}".format(*TABLE1[name]) if name in TABLE1 else ""
        gap = row["difference_to_vagan"]
        recall = row["recall"]
        cells = [
            name,
            f"{row['ncc']:.3f} ± {row['std_over_images']:.3f}",
            f"[{low:.3f}, {high:.3f}]",
            " ".join(f"{value:.3f}" for value in row["by_seed"]),
            paper,
            f"{gap['mean']:+.3f}" if gap else "",
            f"{gap['p_holm']:.1e}" if gap else "",
            *(
                " / ".join(f"{recall.get(f'{part}, subtype {s}', math.nan):.2f}" for s in "AB") if recall else ""
                for part in ("centre", "off-centre")
            ),
            f"{row['baseline_response_ratio']:.2f}" if row["baseline_response_ratio"] is not None else "",
            f"{row['mean_abs']:.2g}",
            f"{row['seconds_per_map']:.3f}" if row["seconds_per_map"] else "",
            str(row["images"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return head + "\n".join(lines) + "\n"


def _recall_figure(table: dict) -> Figure:
    """How much of the central and of the off-centre square each method finds, at equal map area."""
    names = [name for name, row in sorted(table.items(), key=lambda item: -item[1]["ncc"]) if row["recall"]]
    figure = Figure(figsize=(7, 0.45 * len(names) + 1), layout="constrained")
    axes = figure.add_subplot()
    for shift, part, colour in ((-0.18, "centre", "#0072B2"), (0.18, "off-centre", "#D55E00")):
        found = [[v for key, v in table[name]["recall"].items() if key.startswith(part)] for name in names]
        values = [np.mean(values) for values in found]
        axes.barh(np.arange(len(names)) + shift, values, height=0.36, color=colour, label=f"{part} square")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="fraction of the square among the strongest pixels (as many as both squares have)")
    axes.legend(loc="lower right", frameon=False)
    return figure


if __name__ == "__main__":
    main()
