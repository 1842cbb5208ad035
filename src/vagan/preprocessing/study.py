"""Preprocessing of a study: scans, failures, quality-control pages and the cohort."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from vagan.constants import BACKGROUND
from vagan.data.cohort import Cohort, write_cohort
from vagan.data.manifest import Manifest
from vagan.data.preparation import Preparation
from vagan.data.schema import STORE, CohortCase, CohortMetadata
from vagan.data.sources.files import make_manifest
from vagan.data.splits import DRAWN, SubjectLists
from vagan.data.volume import read_volume
from vagan.errors import CohortError, ManifestError, OutputError, PreprocessingError
from vagan.geometry import Grid
from vagan.preprocessing.brain import already_stripped
from vagan.preprocessing.derivatives import DerivativePaths, ScanRecord, read_record, read_whole, write_description
from vagan.preprocessing.pipeline import Pipeline
from vagan.preprocessing.runner import FAILED, Failures, Outcome, prepare_all
from vagan.preprocessing.scan import Scan
from vagan.preprocessing.sources import collect_scans, jobs_of, repeated_rows
from vagan.progress import Bar

COHORT = "cohort"  # the cohort's folder among the derivatives


def pack_cohort(
    out: Path,
    table: pd.DataFrame,
    pipeline: Pipeline,
    *,
    baseline: str | None,
    seed: int,
    lists: SubjectLists = DRAWN,
) -> Cohort:
    """Make the cohort of all prepared scans of a table, in ``out/cohort``; an up-to-date one is left as it is.

    ``table`` has the columns ``id``, ``subject``, ``session``, ``class``; optionally ``split``, ``label`` (0: the
    baseline class) and covariates. Rows whose scan failed are left out. Lists, else table, else seed give the split.
    """
    all_paths = DerivativePaths.of_all(out, pipeline, table)
    whole = [read_whole(paths, pipeline) is not None for paths in all_paths]
    if not any(whole):
        raise ManifestError(f"no prepared scan is in {out}; failed.csv has the reasons")
    files = [str(paths.image.relative_to(out)) for paths, good in zip(all_paths, whole, strict=True) if good]
    table = table[whole].reset_index(drop=True).assign(image=[str(Path("..") / name) for name in files])
    if baseline is None and "label" in table:  # the class whose label is 0
        named = set(table["class"][table["label"] == "0"])
        baseline = named.pop() if len(named) == 1 else None
    if lists != DRAWN:
        table = table.drop(columns="split", errors="ignore")
    manifest, path = make_manifest(table, baseline=baseline, seed=seed, lists=lists), out / COHORT
    made_from = digest_of_records(path, manifest)
    if (path / STORE).is_dir():
        old = Cohort(path)
        if old.metadata.made_from == made_from and old.manifest.table.astype(str).equals(manifest.table.astype(str)):
            return old
    metadata = CohortMetadata(
        source=f"{len(table)} T1-weighted scans",
        preparation=Preparation(low=-1.0, high=1.0),
        spacing_mm=pipeline.grid.spacing_mm.tolist(),
        affine=pipeline.grid.affine.tolist(),
        pipeline=pipeline.model_dump(mode="json"),
        made_from=made_from,
    )

    def case_at(row: int) -> CohortCase:
        return CohortCase(read_volume(out / files[row]).array[None])

    return write_cohort(path, manifest, metadata, case_at)


def digest_of_records(cohort: Path, manifest: Manifest) -> str:
    """Digest of what the scans of a manifest were made from and with."""
    digest = hashlib.blake2b(digest_size=8)
    for name in manifest.table["image"]:
        image, record = _derivative(cohort, name)
        if record is not None:
            digest.update(f"{image.name} {record.source_hash} {record.pipeline_hash}\n".encode())
    return digest.hexdigest()


def is_stale(cohort: Cohort) -> bool:
    """Whether scans were prepared anew since the cohort was packed."""
    made_from = cohort.metadata.made_from
    return bool(made_from) and digest_of_records(cohort.path, cohort.manifest) != made_from


def scan_of(cohort: Cohort, row: int) -> Scan:
    """A scan of a cohort as it came out of the preprocessing: with its brain, and its place in the scanner.

    Where the derivatives are not there (any more), or never were, the brain is what is brighter than the background,
    holes filled, and the cohort's own space stands for the scanner's.
    """
    if cohort.metadata.affine is None or len(cohort.shape) != 3:
        raise CohortError(f"{cohort.path} must hold volumes with an affine, and it has none")
    image = cohort.images([row])[0, 0].numpy()
    grid = Grid(cohort.shape, np.array(cohort.metadata.affine))
    prepared, record = _derivative(cohort.path, _source_of(cohort, row))
    mask = prepared.with_name(prepared.name.replace("desc-preproc_T1w", "desc-brain_mask"))
    if record is not None and mask != prepared and mask.is_file():
        return Scan(image, grid, read_volume(mask).array > 0, np.array(record.template_from_scanner))
    return Scan(image, grid, already_stripped((image - BACKGROUND).astype(np.float32)))


def zero_of(cohort: Cohort, row: int) -> float:
    """The prepared intensity that was 0 in the scanner; the background's if the record is not there."""
    _, record = _derivative(cohort.path, _source_of(cohort, row))
    for step in record.steps if record else ():
        if step["step"] == "rescale":
            low, high = step["found"]["low"], step["found"]["high"]
            return float(BACKGROUND - 2 * low / (high - low))
    return BACKGROUND


def _source_of(cohort: Cohort, row: int) -> str:
    return str(cohort.manifest.table["image"][row]) if "image" in cohort.manifest.table else "none"


def _derivative(cohort: Path, source: str) -> tuple[Path, ScanRecord | None]:
    """File that a row was packed from, and its record if that is still there."""
    image = Path(os.path.normpath(cohort / source))  # the cohort's folder need not be there yet
    return image, read_record(image.with_name(image.name.removesuffix(".nii.gz") + ".json"))


class Pages(NamedTuple):
    """What makes the pages that a study is checked by; `vagan.reporting.scan_pages` has one."""

    page_of: Callable[[DerivativePaths], Path]
    write_scan: Callable[[DerivativePaths], Path]
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

    Returns what was done, in a line or two. Pages are made only if it is said how. Raises `PreprocessingError` if not
    one scan could be prepared; the reasons are in ``failed.csv``.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"the output must be a folder: {out} is a file; choose another name")
    if processes < 0:
        raise PreprocessingError(f"`processes` must be 1 or more, or 0 for one on each core; found {processes}")
    table = collect_scans(source, participants=participants, class_column=class_column)
    repeated = repeated_rows(table)
    unique = table.drop(repeated.index).reset_index(drop=True)
    report = []
    if level != "group":
        write_description(out, pipeline, source)
        jobs, reason = jobs_of(unique), "another scan has the same subject and session; give each visit a session"
        processes = min(processes or os.cpu_count() or 1, len(jobs))
        running = prepare_all(jobs, pipeline, out, processes=processes, scheduler=scheduler)
        refused = (Outcome(job, "failed", reason) for job in jobs_of(repeated))
        outcomes = _follow(chain(running, refused), len(table), out, pipeline, pages)
        counts = Counter(outcome.status for outcome in outcomes)
        new, kept, failed = (counts[status] for status in ("done", "kept", "failed"))
        done = f"{new} scans prepared, {kept} kept from before, {failed} failed in {out}"
        report.append(done + (f" (see {out / FAILED})" if failed else ""))
        if failed == len(outcomes):
            raise PreprocessingError(f"no scan could be prepared: {outcomes[0].reason} (all reasons: {out / FAILED})")
    if level != "participant":
        failures = Failures(out)
        if not participants:
            failures.forget_others(set(table["image"]))
        failures.write_table()
        if pages:
            pages.write_group(out, DerivativePaths.of_all(out, pipeline, unique))
        if "class" not in unique:
            return "\n".join([*report, f"no class known (column {class_column!r}), so no cohort was made"])
        known = unique["class"].isin(classes) if classes else unique["class"].ne("")
        labelled = unique[known].reset_index(drop=True)
        cohort = pack_cohort(out, labelled, pipeline, baseline=baseline, seed=seed, lists=lists)
        missing = len(labelled) - len(cohort)
        lost = f" ({missing} of {len(labelled)} are not prepared: {out / FAILED})" if missing else ""
        report.append(f"cohort of {len(cohort)} scans in {cohort.path}{lost}; next: vagan train {cohort.path} RUN")
    return "\n".join(report)


def _follow(done: Iterable[Outcome], count: int, out: Path, pipeline: Pipeline, pages: Pages | None) -> list[Outcome]:
    outcomes, failures = [], Failures(out)
    try:
        with Bar(count, "preparing scans") as bar:
            for outcome in done:
                outcomes.append(outcome)
                failures.record(outcome)
                if pages and outcome.status != "failed":
                    paths = DerivativePaths.of(out, pipeline, outcome.job.subject, outcome.job.session)
                    if outcome.status == "done" or not pages.page_of(paths).is_file():
                        pages.write_scan(paths)
                status = f"{sum(one.status == 'failed' for one in outcomes)} failed"
                bar.advance(status, skipped=outcome.status == "kept")
    finally:
        failures.write_table()
    return outcomes
