"""`vagan evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vagan.cli.options import parse_interval
from vagan.errors import ConfigError


def evaluate(
    cohort: Path,
    *runs: Path,
    out: Path,
    methods: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    class_of_interest: Annotated[str, Parameter(name="--class")] = "",
    limit: int | None = None,
    subset: int = 20,
    method_seconds: float | None = None,
    severity: str | None = None,
    classifier: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    predicted_classes: Annotated[bool, Parameter(negative=())] = False,
    reject_interval: str = "",
    ensemble: Annotated[bool, Parameter(negative=())] = False,
    examples: int = 4,
    seed: int = 0,
    device: str = "auto",
    longitudinal: Annotated[bool, Parameter(negative=())] = False,
    intensities: Literal["smooth", "linear", "none"] = "smooth",
    min_months: float = 0.0,
    exclude_seen: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Score the models of one or more runs, beside controls, on a cohort's test images.

    Writes scores.csv (a row for each case, method and metric), summary.json and table.md. With --longitudinal, maps
    are compared with what changed in subjects that converted from the baseline class to the class of interest; this
    also writes table2.md, pairs.csv, and all maps and observed effects as NIfTI.

    Parameters
    ----------
    cohort
        Cohort folder. Most metrics need one with known effects.
    runs
        Run folders. None is needed if --methods names only controls.
    out
        Folder for the results; `vagan report` makes a page of it.
    methods
        Methods to score, e.g. vagan integrated-gradients cam; as tables call them is fine too [default: all that the
        runs allow, and the controls].
    class_of_interest
        Name of the class of interest; needed if a run has several.
    limit
        Score this many random test images of each class [default: all].
    subset
        Score methods that need many forward passes per map (integrated gradients, occlusion, perturbation) on this
        many images, the same for all of them.
    method_seconds
        Score these methods on as many images of the subset as take about this long, at least one. For a quick look:
        the number of images then depends on the machine.
    severity
        Numeric column of the manifest, e.g. a clinical score, to correlate with the size of the maps.
    classifier
        Runs of independent classifiers, best two of different architectures (--method classifier and
        cam-classifier), which score the counterfactuals: flip rate and kernel distance. Needs no known effects.
    predicted_classes
        Score map generators also with the class that the classifier in the run folder predicts for each image, and
        with maps weighted by its probabilities (see `vagan attribute --predict-class` and --expected), and this
        classifier.
    reject_interval
        With --predicted-classes: abstain between these probabilities of a class of interest [default: 0.35:0.65].
    ensemble
        Score the mean map of all map generators as well, and whether its uncertainty predicts its error.
    examples
        Show this many random images in the report, besides the best, the median and the worst one.
    seed
        Random seed of subset and examples.
    device
        auto, cpu, cuda or mps.
    longitudinal
        Score against follow-up scans of subjects that are of the baseline class at their first scan and of the class
        of interest later: the first and the last scan at the same field strength. The ceiling comes from subjects
        whose class stayed the same.
    intensities
        Matching of the first scan's intensities to the later one's: gain, offset and residual shading (smooth), gain
        and offset (linear), or none, as in the paper.
    min_months
        Least time between two scans.
    exclude_seen
        Leave out test images that a run was trained or validated on, by pixels or subject; otherwise they are an
        error.
    """
    if not runs and not methods:
        raise ConfigError("nothing to score: give run folders after the cohort, or controls by --methods random-map")

    from vagan.data.cohort import Cohort
    from vagan.evaluation.evaluate import EvaluationOptions, evaluate_runs
    from vagan.evaluation.runs import RunSelection

    options = EvaluationOptions(
        class_of_interest=class_of_interest,
        limit=limit,
        subset=subset,
        method_seconds=method_seconds,
        severity=severity,
        examples=examples,
        seed=seed,
        device=device,
    )
    interval = parse_interval(reject_interval)
    selection = RunSelection(
        methods=methods,
        ensemble=ensemble,
        reject_interval=interval if predicted_classes else None,
        classifiers=classifier or (),
        exclude_seen=exclude_seen,
    )
    given = (Cohort(cohort), runs, out, options, selection)
    if not longitudinal:
        evaluation = evaluate_runs(*given)
        print(*filter(None, (evaluation.to_text(), evaluation.rules.get("verdict"))), sep="\n")
        print(f"all metrics: {out / 'table.md'}; next: vagan report {out}")
        return
    from vagan.evaluation.longitudinal.evaluate import evaluate_longitudinal

    print(evaluate_longitudinal(*given, intensity=intensities, min_months=min_months))
