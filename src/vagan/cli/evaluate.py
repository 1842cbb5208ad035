"""`vagan evaluate`."""

from pathlib import Path


def evaluate(cohort: Path, *runs: Path, out: Path, limit: int | None = None, seed: int = 0) -> None:
    """Score the models of one or more runs on a cohort's test images.

    Leaves scores.csv (a row for each case, method and metric), summary.json and table.md.

    Parameters
    ----------
    cohort
        Cohort folder, with known effects for all scores but the energy.
    runs
        Run folders.
    out
        Folder for the results; `vagan report` turns it into a page.
    limit
        Score this many random test images of each class [default: all].
    seed
        Decides which, and which are shown.
    """
    from vagan.data.cohort import Cohort
    from vagan.evaluation.compare import compare_runs

    print(compare_runs(Cohort(cohort), runs, out, limit=limit, seed=seed))
