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
    slow_limit: int = 50,
    seed: int = 0,
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
    slow_limit
        The same for methods that need many passes for a map; they are among the images of the others.
    seed
        Decides which, and which are shown.
    """
    from vagan.data.cohort import Cohort
    from vagan.evaluation.compare import compare_runs

    print(compare_runs(Cohort(cohort), runs, out, methods=methods, limit=limit, slow_limit=slow_limit, seed=seed))
