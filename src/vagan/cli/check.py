"""`vagan check`."""

from pathlib import Path

from vagan.errors import CohortError


def check(path: Path) -> None:
    """List every defect of a manifest or a cohort: missing, unreadable, NaN, wrong shape, duplicate, leakage.

    Exit code 0 if there is none, 2 otherwise.

    Parameters
    ----------
    path
        A cohort folder or a manifest.csv.
    """
    from vagan.data.checks import find_problems

    problems = find_problems(path)
    for problem in problems:
        print(problem)
    if problems:
        raise CohortError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found in {path}")
    print(f"no problem found in {path}")
