"""`vagan evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vagan.errors import ConfigError


def evaluate(
    cohort: Path,
    *runs: Path,
    out: Path,
    methods: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    interest: Annotated[str, Parameter(name="--class")] = "",
    limit: int | None = None,
    subset: int = 20,
    severity: str | None = None,
    judge: Path | None = None,
    predicted_labels: Annotated[bool, Parameter(negative=())] = False,
    abstain: str = "",
    ensemble: Annotated[bool, Parameter(negative=())] = False,
    examples: int = 4,
    seed: int = 0,
    device: str = "auto",
    longitudinal: Annotated[bool, Parameter(negative=())] = False,
    pairs: Literal["first-last", "first-first", "last-first", "all"] = "first-last",
    intensities: Literal["smooth", "linear", "none"] = "smooth",
    months: float = 0.0,
) -> None:
    """Score the models of one or more runs, beside controls, on a cohort's test images.

    Leaves scores.csv (a row for each case, method and metric), summary.json and table.md; with --longitudinal, where
    the truth is what changed in subjects that went from the baseline class to the class of interest, table2.md,
    pairs.csv and all maps and observed effects as NIfTI too.

    Parameters
    ----------
    cohort
        Cohort folder, with known effects for all scores but the energy.
    runs
        Run folders. None is needed where --methods names controls alone.
    out
        Folder for the results; `vagan report` turns it into a page.
    methods
        Which to score, e.g. vagan integrated-gradients cam [default: all that the runs allow, and the controls].
    interest
        Name of the class of interest; needed where a run knows several.
    limit
        Score this many random test images of each class [default: all].
    subset
        Score methods that need many passes through a network for a map on this many images, the same for all of
        them: integrated gradients, occlusion, perturbation.
    severity
        Column of the manifest with numbers, e.g. a clinical score: correlate the size of the maps with it.
    judge
        Run of a classifier that none of the maps were made with: is an image without its effect one of the baseline
        class to it, how far is it from those, and how much had to change? Needs no known effects.
    predicted_labels
        Score the maps of map generators also where the classifier in the run folder decides which class an image is
        of (see `vagan attribute --class auto`), and how well it decides.
    abstain
        With --predicted-labels: undecided between these probabilities of a class of interest [default: 0.35:0.65].
    ensemble
        Score the mean map of all runs of map generators as well, and whether it is wrong where they differ.
    examples
        Show this many random images in the report, beside the best, the median and the worst one.
    seed
        Decides which, and which are shown.
    device
        auto, cpu, cuda or mps.
    longitudinal
        Score against follow-up scans: subjects of the baseline class at their first scan and of the class of interest
        later, at the same field strength. The ceiling comes from subjects whose class stayed the same.
    pairs
        Which two scans: the first and the last one of the class of interest; the first and the first of the class of
        interest; the two around the change; or all.
    intensities
        How the first scan's are matched to the later one's: a gain and an offset and then what is left of the coils'
        shading (smooth), gain and offset alone (linear), or not at all, as in the paper (none).
    months
        Least time between two scans.
    """
    if not runs and not methods:
        raise ConfigError(
            "what is to be scored? name one or more run folders after the cohort, or by --methods what needs no run, "
            "such as group-mean or random"
        )
    if longitudinal:
        from vagan.data.cohort import Cohort as CohortFolder
        from vagan.evaluation.longitudinal.evaluate import LongitudinalOptions, evaluate_longitudinal

        options = LongitudinalOptions(rule=pairs, intensity=intensities, least_months=months)
        told = evaluate_longitudinal(
            CohortFolder(cohort),
            runs,
            out,
            options,
            methods=methods,
            interest=interest,
            limit=limit,
            subset=subset,
            seed=seed,
            device=device,
        )
        print(told)
        return
    from vagan.cli.options import parse_interval
    from vagan.data.cohort import Cohort
    from vagan.evaluation.compare import compare_runs
    from vagan.inference.class_gate import REJECT_INTERVAL

    print(
        compare_runs(
            Cohort(cohort),
            runs,
            out,
            methods=methods,
            interest=interest,
            limit=limit,
            subset=subset,
            severity=severity,
            judge=judge,
            labels=None if not predicted_labels else parse_interval(abstain) if abstain else REJECT_INTERVAL,
            ensemble=ensemble,
            examples=examples,
            seed=seed,
            device=device,
        )
    )
