"""`vagan check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from vagan.errors import CohortError

if TYPE_CHECKING:
    from vagan.data.cohort import Cohort


def check(path: Path, *, confounders: Annotated[bool, Parameter(negative=())] = False, seed: int = 0) -> None:
    """List every defect of a manifest or a cohort: missing, unreadable, NaN, wrong shape, duplicate, leakage.

    Of volumes it tells spacing, orientation and the amount of brain too. Where age, sex, site, field strength or
    scanner are known it shows how far the classes lie apart in them, and warns, because a map would show that.
    Exit code 0 if there is none, 2 otherwise.

    Parameters
    ----------
    path
        A cohort folder or a manifest.csv.
    confounders
        Look for shortcuts in the training images of a cohort too: can the classes be told apart by the corners, the
        border, the background, brightness, frequencies, a coarse image, or age, sex, site and scanner alone? Each is
        cross-validated by subject and compared with shuffled labels. A map shows what it warns of.
    seed
        Decides which images are looked at, and the shuffles.
    """
    from vagan.data.audit.defects import describe_balance, describe_volumes, find_problems
    from vagan.data.audit.shortcuts import confounder_table, find_confounders
    from vagan.data.cohort import Cohort as CohortFolder
    from vagan.data.schema import STORE

    problems = find_problems(path)
    if not problems and (path / STORE).is_dir() and _is_stale(CohortFolder(path)):
        problems.append("stale: scans were prepared anew since; run the same `vagan preprocess` again")
    for line in describe_volumes(path):
        print(line)
    for line in describe_balance(path):
        print(line)
    if confounders and not problems:
        if not (path / STORE).is_dir():
            raise CohortError(
                f"confounders are looked for in a cohort's images: {path} is none; give a cohort folder"
            )
        cohort = CohortFolder(path)
        for line in confounder_table(find_confounders(cohort, seed=seed), cohort.manifest.classes[0]):
            print(line)
    for problem in problems:
        print(problem)
    if problems:
        raise CohortError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found in {path}")
    print(f"no problem found in {path}")


def _is_stale(cohort: "Cohort") -> bool:
    if not cohort.metadata.made_from:
        return False
    from vagan.preprocessing.pack import is_stale  # needs an extra

    return is_stale(cohort)
