"""`vagan evaluate`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def evaluate(
    cohort: Path,
    *runs: Path,
    out: Path,
    methods: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    limit: int | None = None,
    subset: int = 20,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Score the models of one or more runs, beside controls, on a cohort's test images.

    Leaves scores.csv (a row for each case, method and metric), summary.json and table.md.

    Parameters
    ----------
    cohort
        Cohort folder, with known effects for all scores but the energy.
    runs
        Run folders.
    out
        Folder for the results; `vagan report` turns it into a page.
    methods
        Which to score, e.g. vagan integrated-gradients cam [default: all that the runs allow, and the controls].
    limit
        Score this many random test images of each class [default: all].
    subset
        Score methods that need many passes through a network for a map on this many images, the same for all of
        them: integrated gradients, occlusion, perturbation.
    seed
        Decides which, and which are shown.
    device
        auto, cpu, cuda or mps.
    """
    from vagan.data.cohort import Cohort
    from vagan.evaluation.compare import compare_runs

    print(
        compare_runs(Cohort(cohort), runs, out, methods=methods, limit=limit, subset=subset, seed=seed, device=device)
    )
