"""How do all methods score on simulated atrophy: a Table 2 on volumes whose effects are known in each voxel.

Makes the cohort (`vagan atrophy`), trains for each seed VA-GAN with every way of applying its map, beside it the
classifier that predicts classes, the classifier to be explained and its CAM variant; scores every method on the same
test images, VA-GAN with known and with predicted classes, and beside them the constant map and the supervised twin
(see `individuality` and `supervised_twin`); writes ``table3d.md``, ``table3d.json`` and figures to
``benchmarks/results``. Hours on two cores. The same command again goes on where it stopped.

    python benchmarks/table3d.py --work runs/table3d
    python benchmarks/table3d.py --name table3d-short --work runs/table3d-short \
        --set training.generator_updates=60 schedule.boosted_critic_updates=60  # two thirds of the schedule
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from cohorts import kept
from individual_maps.measures import individual_share
from individuality import CONSTANT, HypotheticalEffects
from study import as_table, column, keep, options_of, settings_of, with_seeds
from supervised_twin import train_twin

from vagan.attribution.registry import METHODS
from vagan.data.cohort import Cohort
from vagan.evaluation.evaluate import EvaluationOptions, evaluate_runs
from vagan.evaluation.ground_truth import CEILING
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.evaluation.runs import WITHOUT_MODEL, RunSelection
from vagan.inference.attributor import Attributor
from vagan.inference.strategies import CLASS_GATE_FOLDER, REJECT_INTERVAL
from vagan.model.folder import TrainedModel
from vagan.reporting.report import build_report
from vagan.simulation.study import make_atrophy_cohort
from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.engine.run_folder import RunFolder

PRESET = "brain"
WASSERSTEIN = str(Path(__file__).with_name("brain_wasserstein.yaml"))
RUNS: dict[str, dict[str, str]] = {
    "warp": {"generator.output": "warp"},
    # an effect on intensity means nothing at another brain's edges, so effects are not transferred
    "add": {"generator.output": "add", "loss.effect_transfer_weight": "0", "schedule.distillation_updates": "0"},
    "classifier": {"method": "classifier", "classifier.width": "16", "classifier.updates": "300"},
    # its maps stay large to the end: an update takes five times as long as the other classifier's of this width
    "cam-classifier": {"method": "cam-classifier", "classifier.width": "8", "classifier.updates": "200"},
}
CLASS_GATE = {"method": "label-classifier"}
TWIN = "supervised twin, {} error"
TOGETHER = "warp"
"""Of what several generators, trained with other seeds, are also scored together."""
MEMBERS_APART = 100
"""In seeds."""
CONTROLS = ("gradient magnitude", "group mean difference", "random map", CONSTANT)
MAX_PASSES = 300
"""For a map. The perturbation of 1500 steps is left out, its authors' version of 100 steps is in."""
COLUMNS = {
    "share of ceiling": ("share_of_ceiling",),
    "hippocampus L": ("recall/hippocampus_left",),
    "hippocampus R": ("recall/hippocampus_right",),
    "ventricle L": ("recall/ventricle_left",),
    "ventricle R": ("recall/ventricle_right",),
    "temporal L": ("recall/temporal_left",),
    "temporal R": ("recall/temporal_right",),
    "severity": ("severity_correlation",),
    "hippocampi grow": ("regional/hippocampus_left", "regional/hippocampus_right"),
    "ventricles grow": ("regional/ventricle_left", "regional/ventricle_right"),
    "M(x0)/M(x1)": ("baseline_response_ratio",),
    "swap gain": ("swap_gain",),
    "volumes: hippocampi": ("volume/hippocampus",),
    "ventricles": ("volume/ventricle",),
    "temporal": ("volume/temporal",),
    "amplitude": ("amplitude_slope",),
    "Dice": ("dice",),
    "lesions found": ("lesion_recall",),
    "false ones": ("false_lesions",),
}
"""Means of these scores. Recalls at equal map area; rank correlations of the map's size with the severity, and of its
mean in a region with the effect's; swap gain and volumes see `individuality`; lesions by thresholds that need no
truth, false ones of each image."""


def main() -> None:
    options = _parse()
    cohort = kept(
        options.work / "cohort",
        make_atrophy_cohort,
        subjects=options.subjects,
        spacing_mm=options.spacing_mm,
        jobs=options.jobs,
    )
    hypothetical = HypotheticalEffects(cohort, options.work, limit=options.limit)
    found: dict[str, list[dict[str, float]]] = {CONSTANT: [hypothetical.of_constant_map()]}
    seconds: dict[str, list[float]] = {}
    for seed in options.seeds:
        for method, scores in _scores_of_all(cohort, seed, hypothetical, seconds, options).items():
            found.setdefault(method, []).append(scores)
    result = {
        "options": {name: value for name, value in vars(options).items() if name not in ("work", "out", "name")},
        "cohort": {"source": cohort.metadata.source, "hash": cohort.metadata.content_hash},
        "seeds": options.seeds,
        "runs": {name: RUNS[name] for name in options.runs},
        "preset": PRESET,
        "settings": options.set,
        "training_seconds": seconds,
        "methods": found,
        "over_best_classifier": _ratios(found),
        "individual_share": _individual_shares(found),
    }
    keep(options.name, result, _markdown(found) + _notes(result, options), out=options.out)
    for kind in ("pdf", "png"):
        figure = _results(options.seeds[0], options) / "figures" / f"examples.{kind}"
        (options.out / f"{options.name}.{kind}").write_bytes(figure.read_bytes())
    if TOGETHER in options.runs:
        expected = Attributor.load(options.work / f"seed-{options.seeds[0]}" / TOGETHER, expected=True)
        hypothetical.figure(expected, options.out / f"{options.name}-individual.png")
    print(_markdown(found))


def _parse() -> argparse.Namespace:
    parser = options_of(__doc__, "runs/table3d")
    parser.set_defaults(seeds=[0, 1])
    parser.add_argument("--name", default="table3d", help="of the files of results")
    parser.add_argument("--subjects", type=int, default=1200)
    parser.add_argument("--spacing-mm", type=float, default=2.6)
    parser.add_argument("--jobs", type=int, default=0, help="processes that simulate; 0 for one on each core")
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--members", type=int, default=2, help="generators whose mean map is scored too; 1 for none")
    parser.add_argument(
        "--twins", nargs="*", default=["squared"], choices=["squared", "absolute"], help="errors of supervised twins"
    )
    parser.add_argument("--twin-updates", type=int, default=600, help="of a supervised twin")
    parser.add_argument("--limit", type=int, default=24, help="random test images of each class, the same for all")
    parser.add_argument("--subset", type=int, default=4, help="images for methods with many passes for a map")
    return parser.parse_args()


def _scores_of_all(
    cohort: Cohort,
    seed: int,
    hypothetical: HypotheticalEffects,
    seconds: dict[str, list[float]],
    options: argparse.Namespace,
) -> dict[str, dict[str, float]]:
    """Of every method, and of several generators together; adds how long each training took."""
    runs = [_train(cohort, name, seed, 0, options) for name in options.runs]
    generators = [run.path for name, run in zip(options.runs, runs, strict=True) if "generator.output" in RUNS[name]]
    gates = [_train_gate(cohort, path, seed, options) for path in generators]
    seconds.setdefault("class gate", []).append(sum(gate.seconds() for gate in gates))
    for name, run in zip(options.runs, runs, strict=True):
        seconds.setdefault(name, []).append(run.seconds())
    needed = WITHOUT_MODEL | {RUNS[name].get("method", "map-generator") for name in options.runs}
    methods = [name for name, entry in METHODS.items() if entry.cost <= MAX_PASSES and entry.needs in needed]
    decides = REJECT_INTERVAL if gates else None
    paths = [run.path for run in runs]
    scores = _score(cohort, paths, _results(seed, options), options, methods=methods, reject_interval=decides)
    scores[CEILING] |= hypothetical.of_exact_effects()
    if len(generators) == 1:
        named = f"VA-GAN ({generators[0].name})"
        scores = {name.replace("VA-GAN", named, 1): values for name, values in scores.items()}
    for path in generators:
        for method in (Attributor.load(path), Attributor.load(path, expected=True)):
            names = method.name.replace("VA-GAN", f"VA-GAN ({path.name})"), f"{method.name} ({path.name})"
            scores[names[0] if names[0] in scores else names[1]] |= hypothetical.of_method(method)
    for error in options.twins if generators else ():
        model = TrainedModel.load(generators[0])
        config = load_config(PRESET, settings_of(options, seed))
        folder = options.work / f"seed-{seed}-twin-{error}-{options.twin_updates}"
        twin = train_twin(cohort, folder, config, model.spec, updates=options.twin_updates, error=error)
        only = {"methods": ["vagan"]}
        found = _score(cohort, [twin], options.work / f"results-{folder.name}", options, **only)["VA-GAN"]
        scores[TWIN.format(error)] = found | hypothetical.of_method(Attributor.load(twin))
    if options.members > 1:
        members = [_train(cohort, TOGETHER, seed, member, options) for member in range(options.members)]
        seconds.setdefault(f"{options.members} of {TOGETHER}", []).append(sum(run.seconds() for run in members))
        folder = options.work / f"results-{seed}-of-{options.members}"
        paths = [run.path for run in members]
        found = _score(cohort, paths, folder, options, methods=["vagan"], ensemble=True)
        for name in found.keys() - scores.keys():  # the other members, and the mean of all
            scores[name.replace("VA-GAN,", f"VA-GAN ({TOGETHER}),")] = found[name]
    return scores


def _train(cohort: Cohort, name: str, seed: int, member: int, options: argparse.Namespace) -> RunFolder:
    """A run; member 0 of an ensemble is the run that stands alone as well."""
    preset = PRESET if RUNS[name].get("generator.output") == "warp" else WASSERSTEIN
    config = load_config(preset, RUNS[name] | settings_of(options, seed + MEMBERS_APART * member))
    folder = options.work / f"seed-{seed}" / (f"{name}-{member}" if member else name)
    return train(cohort, folder, config, monitor=mean_ncc)


def _train_gate(cohort: Cohort, path: Path, seed: int, options: argparse.Namespace) -> RunFolder:
    """The classifier that predicts classes, in the run folder of a map generator."""
    return train(cohort, path / CLASS_GATE_FOLDER, load_config(PRESET, settings_of(options, seed) | CLASS_GATE))


def _results(seed: int, options: argparse.Namespace) -> Path:
    """Scores are kept as long as the same runs are compared."""
    return options.work / f"results-{seed}-of-{'-'.join(options.runs)}"


def _score(
    cohort: Cohort, paths: list[Path], out: Path, options: argparse.Namespace, **more: Any
) -> dict[str, dict[str, float]]:
    """Mean of each score over test images, by method."""
    if not (out / "summary.json").is_file():
        what = EvaluationOptions(limit=options.limit, subset=options.subset, severity="severity", device="auto")
        evaluate_runs(cohort, paths, out, what, RunSelection(**more))
        build_report(out)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    ceiling = summary["ceiling"]["ncc"]["mean"]
    return {
        method: {name: entry["mean"] for name, entry in scores.items()}
        | {"share_of_ceiling": scores["ncc"]["mean"] / ceiling}
        for method, scores in (summary["methods"] | {CEILING: summary["ceiling"]}).items()
    }


def _ratios(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """NCC of each VA-GAN over that of the best method that explains a classifier, means of the seeds."""
    means = {method: float(np.mean([scores["ncc"] for scores in seeds])) for method, seeds in found.items()}
    ours = ("VA-GAN", "supervised", CEILING, *CONTROLS)
    theirs = [value for name, value in means.items() if not name.startswith(ours)]
    return {name: value / max(theirs) for name, value in means.items() if theirs and name.startswith("VA-GAN")}


def _individual_shares(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Of each VA-GAN, by means of the seeds; empty where the supervised twin is not above the constant map."""
    means = {method: float(np.mean([scores["ncc"] for scores in seeds])) for method, seeds in found.items()}
    supervised = means.get(TWIN.format("squared"), 0.0)
    shares = {
        name: individual_share(value, means[CONSTANT], supervised)
        for name, value in means.items()
        if name.startswith("VA-GAN")
    }
    return {name: share for name, share in shares.items() if np.isfinite(share)}


def _markdown(found: dict[str, list[dict[str, float]]]) -> str:
    rows = []
    for method, seeds in sorted(found.items(), key=lambda item: -np.mean(column(item[1], "ncc"))):
        others = [[value for key in keys for value in column(seeds, key)] for keys in COLUMNS.values()]
        rows.append(
            [method, with_seeds(column(seeds, "ncc")), *(f"{np.mean(one):.2f}" if one else "" for one in others)]
        )
    return as_table(["method", "NCC, mean (seeds)", *COLUMNS], rows)


def _notes(result: dict, options: argparse.Namespace) -> str:
    ratios = ", ".join(f"{name} {ratio:.3f}" for name, ratio in result["over_best_classifier"].items())
    shares = ", ".join(f"{name} {share:.2f}" for name, share in result["individual_share"].items())
    shares = f" Individual share: {shares}." if shares else ""
    over = f" NCC over that of the best method that explains a classifier: {ratios}." if ratios else ""
    return (
        f"\n{len(result['seeds'])} seeds, up to {options.limit} test images of each class, {options.subset} for "
        "methods with many passes. Recalls at equal map area; severity: rank correlation with the map's size; grow: "
        "of its mean in a region with the effect's; swap gain and volumes: see the documentation of metrics; lesions "
        "by thresholds that need no truth. Maps that know no direction are compared with the effect's size."
        f"{over}{shares} A number behind VA-GAN's output: the same training, seeds {MEMBERS_APART} higher.\n"
    )


if __name__ == "__main__":
    main()
