"""`vagan check`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vagan.errors import CohortError


def check(path: Path, *, confounders: Annotated[bool, Parameter(negative=())] = False, seed: int = 0) -> None:
    """Validate a manifest or a cohort: missing, unreadable, NaN, wrong shape, duplicates, leakage.

    Warns of bit depths, voxel sizes and places that differ, and of nearly black or constant images.

    Also reports how far the classes differ in age, sex, site, field strength and scanner where these are known: maps
    show such differences too. Exit code 0 if there is no problem, 2 otherwise.

    Parameters
    ----------
    path
        A cohort folder or a manifest.csv.
    confounders
        Screen the training images of a cohort for confounders too: are the classes separable by the corners, the
        border, the background, brightness, frequencies or a coarse image alone? Each is cross-validated by subject
        and compared with shuffled labels.
    seed
        Selects the images that are screened, and the shuffles.
    """
    from vagan.data.audit.balance import describe_balance
    from vagan.data.audit.defects import Problem, find_problems
    from vagan.data.audit.shortcuts import confounder_table, find_confounders
    from vagan.data.cohort import Cohort
    from vagan.data.manifest import Manifest
    from vagan.data.schema import MANIFEST, STORE

    if not path.exists():
        raise CohortError(f"{path} does not exist; give a cohort folder or a manifest.csv")
    is_cohort = (path / STORE).is_dir()
    found = find_problems(path)
    problems, warned = ([one for one in found if one.is_warning == which] for which in (False, True))
    if not problems and is_cohort and (cohort := Cohort(path)).metadata.made_from:
        from vagan.preprocessing.study import is_stale  # needs an extra

        if is_stale(cohort):
            problems = [Problem("scans were prepared again since", remedy="run the same `vagan preprocess` again")]
    lines = [] if problems else describe_balance(Manifest.read(path / MANIFEST if path.is_dir() else path))
    if confounders and not problems:
        if not is_cohort:
            raise CohortError(f"`confounders` needs the images of a cohort, and {path} is none; give a cohort folder")
        cohort = Cohort(path)
        lines += confounder_table(find_confounders(cohort, seed=seed), cohort.manifest.classes[0])
    lines += map(str, [*warned, *(problems if len(problems) > 1 else ())])
    print(*lines, sep="\n", end="\n" if lines else "")
    if problems:
        raise CohortError(str(problems[0]) if len(problems) == 1 else f"{len(problems)} problems found in {path}")
    warnings = sum(line.startswith(("warning:", "perhaps:")) for line in lines)
    see = f"but see the warning{'s' if warnings > 1 else ''} above: maps may show that"
    print(f"no file is defective in {path}, {see}" if warnings else f"no problem found in {path}")
