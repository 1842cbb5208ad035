"""Preprocessing of a study: scans, failures, quality-control pages and the cohort."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from vagan.data.splits import DRAWN, SubjectLists
from vagan.errors import OutputError, PreprocessingError
from vagan.preprocessing.derivatives import DerivativePaths, write_description
from vagan.preprocessing.failures import FAILED, Failures
from vagan.preprocessing.pack import pack_cohort
from vagan.preprocessing.pipeline import Pipeline
from vagan.preprocessing.runner import Outcome, prepare_all
from vagan.preprocessing.sources import collect_scans, jobs_of, repeated_rows
from vagan.progress import Bar


class Pages(NamedTuple):
    """What makes the pages that a study is checked by; `vagan.reporting.scan_pages` has one."""

    page_of: Callable[[DerivativePaths], Path]
    """Where the page of a scan is."""
    write_scan: Callable[[DerivativePaths], Path]
    """Writes the page of a scan."""
    write_group: Callable[[Path, Sequence[DerivativePaths]], Path]
    """Writes the page of all scans in a folder of derivatives."""


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
    pages: Pages | None = None,
) -> str:
    """Prepare every scan of a source; see ``vagan preprocess --help`` for the other parameters.

    Returns what was done, in a line or two. Pages are made only if it is said how.

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
    report = []
    if level != "group":
        outcomes = _prepare(
            unique, repeated, out, pipeline, processes=processes, scheduler=scheduler, source=source, pages=pages
        )
        counts = Counter(outcome.status for outcome in outcomes)
        report.append(
            f"{counts['done']} scans prepared, {counts['kept']} kept from before, {counts['failed']} failed in {out}"
            + (f" (see {out / FAILED})" if counts["failed"] else "")
        )
        if counts["failed"] == len(outcomes):
            raise PreprocessingError(f"no scan could be prepared: {outcomes[0].reason} (all reasons: {out / FAILED})")
    if level != "participant":
        failures = Failures(out)
        if not participants:
            failures.forget_others(set(table["image"]))
        failures.write_table()
        if pages:
            pages.write_group(out, DerivativePaths.of_all(out, pipeline, unique))
        if "class" in unique:
            known = unique["class"].isin(classes) if classes else unique["class"].ne("")
            labelled = unique[known].reset_index(drop=True)
            cohort = pack_cohort(out, labelled, pipeline, baseline=baseline, seed=seed, lists=lists)
            missing = len(labelled) - len(cohort.manifest)
            report.append(
                f"cohort of {len(cohort.manifest)} scans in {cohort.path}"
                + (f" ({missing} of {len(labelled)} are not prepared: {out / FAILED})" if missing else "")
                + f"; next: vagan train {cohort.path} RUN"
            )
        else:
            report.append(f"no class known (column {class_column!r}), so no cohort was made")
    return "\n".join(report)


def _prepare(
    table: pd.DataFrame,
    repeated: pd.DataFrame,
    out: Path,
    pipeline: Pipeline,
    *,
    processes: int,
    scheduler: str,
    source: Path,
    pages: Pages | None,
) -> list[Outcome]:
    write_description(out, pipeline, source)
    jobs = jobs_of(table)
    count = min(processes or os.cpu_count() or 1, len(jobs))
    outcomes = []
    failures = Failures(out)
    try:
        with Bar(len(jobs), "preparing scans") as bar:
            for outcome in prepare_all(jobs, pipeline, out, processes=count, scheduler=scheduler):
                outcomes.append(outcome)
                failures.record(outcome)
                if outcome.status != "failed":
                    paths = DerivativePaths.of(out, pipeline, outcome.job.subject, outcome.job.session)
                    if pages and (outcome.status == "done" or not pages.page_of(paths).is_file()):
                        pages.write_scan(paths)
                figures = f"{sum(done.status == 'failed' for done in outcomes)} failed"
                bar.advance(figures, for_nothing=outcome.status == "kept")
        reason = "another scan has the same subject and session; give each visit a session"
        for job in jobs_of(repeated):
            outcomes.append(Outcome(job, "failed", reason))
            failures.record(outcomes[-1])
    finally:
        failures.write_table()
    return outcomes
