"""A whole study through the preprocessing: scans, what failed, pages to look at, and the cohort."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from vagan.data.manifest import read_table
from vagan.data.splits import DRAWN, SubjectLists
from vagan.errors import ManifestError, OutputError, PreprocessingError
from vagan.files import replacing
from vagan.preprocessing.derivatives import Place, write_description
from vagan.preprocessing.pipeline import Pipeline
from vagan.preprocessing.runner import Outcome, prepare_all
from vagan.preprocessing.sources import collect_scans, jobs_of, repeated_rows
from vagan.preprocessing.store import pack_cohort
from vagan.progress import Bar
from vagan.reporting.scan_pages import page_of, write_group_page, write_scan_page

FAILED = "failed.csv"


def prepare_study(
    source: Path,
    out: Path,
    pipeline: Pipeline,
    *,
    level: Literal["participant", "group"] | None = None,
    participants: Sequence[str] = (),
    class_column: str = "class",
    classes: Sequence[str] = (),
    baseline: str | None = None,
    seed: int = 0,
    lists: SubjectLists = DRAWN,
    processes: int = 0,
    scheduler: str = "",
) -> str:
    """Prepare every scan of a source; see ``vagan preprocess --help`` for the parameters.

    Returns
    -------
    str
        What was done, in a line or two.

    Raises
    ------
    PreprocessingError
        If not one scan could be prepared; the reasons are in ``failed.csv``.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"the output must be a folder: {out} is a file; choose another name")
    if processes < 0:
        raise PreprocessingError(f"--jobs must be 1 or more, or 0 for one on each core; found {processes}")
    table = collect_scans(source, participants=participants, class_column=class_column)
    repeated = repeated_rows(table)
    unique = table.drop(repeated.index).reset_index(drop=True)
    told = []
    if level != "group":
        outcomes = _prepare(unique, repeated, out, pipeline, processes=processes, scheduler=scheduler, source=source)
        counts = Counter(outcome.status for outcome in outcomes)
        told.append(
            f"{counts['done']} scans prepared, {counts['kept']} kept from before, {counts['failed']} failed in {out}"
            + (f" (see {out / FAILED})" if counts["failed"] else "")
        )
        if counts["failed"] == len(outcomes):
            raise PreprocessingError(f"no scan could be prepared: {outcomes[0].reason} (all reasons: {out / FAILED})")
    if level != "participant":
        write_group_page(out, Place.of_all(out, pipeline, unique))
        if "class" in unique:
            known = unique["class"].isin(classes) if classes else unique["class"].ne("")
            cohort = pack_cohort(
                out, unique[known].reset_index(drop=True), pipeline, baseline=baseline, seed=seed, lists=lists
            )
            told.append(
                f"cohort of {len(cohort.manifest)} scans in {cohort.path}; next: vagan train {cohort.path} RUN"
            )
        else:
            told.append(f"no class known (column {class_column!r}), so no cohort was made")
    return "\n".join(told)


def _prepare(
    table: pd.DataFrame,
    repeated: pd.DataFrame,
    out: Path,
    pipeline: Pipeline,
    *,
    processes: int,
    scheduler: str,
    source: Path,
) -> list[Outcome]:
    write_description(out, pipeline, source)
    jobs = jobs_of(table)
    count = min(processes or os.cpu_count() or 1, len(jobs))
    outcomes = [
        Outcome(job, "failed", "another scan has the same subject and session; give each visit a session")
        for job in jobs_of(repeated)
    ]
    try:
        with Bar(len(jobs), "preparing scans") as bar:
            for outcome in prepare_all(jobs, pipeline, out, processes=count, scheduler=scheduler):
                outcomes.append(outcome)
                if outcome.status != "failed":
                    place = Place.of(out, pipeline, outcome.job.subject, outcome.job.session)
                    if outcome.status == "done" or not page_of(place).is_file():
                        write_scan_page(place)
                bar.advance(f"{sum(done.status == 'failed' for done in outcomes)} failed")
    finally:
        _write_failures(out, outcomes)
    return outcomes


def _write_failures(out: Path, outcomes: list[Outcome]) -> None:
    """The scans of this run that failed, and those of earlier runs that were not tried again."""
    tried = {str(outcome.job.image) for outcome in outcomes}
    rows = [
        [str(outcome.job.image), outcome.job.subject, outcome.job.session, outcome.reason]
        for outcome in outcomes
        if outcome.status == "failed"
    ]
    failed = pd.DataFrame(rows, columns=["image", "subject", "session", "reason"])
    path = out / FAILED
    try:
        old = read_table(path) if path.is_file() else failed[:0]
    except ManifestError:
        old = failed[:0]  # damaged: it is written anew
    if "image" in old:
        failed = pd.concat([old[~old["image"].isin(tried)], failed])
    with replacing(path) as temporary:
        failed.to_csv(temporary, index=False)
