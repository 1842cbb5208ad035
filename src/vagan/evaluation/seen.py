"""Images that a model was trained on are not scored, whatever cohort they come in."""

import copy
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vagan.data.cohort import Cohort
from vagan.data.fingerprint import fingerprints, is_among, is_repeated
from vagan.errors import LeakageError
from vagan.evaluation.maps import Rows
from vagan.training.engine.run_folder import RunFolder

WHICH = "are among the training or validation images"


def require_unseen(
    cohort: Cohort, rows: Rows, runs: Iterable[Path], *, exclude: bool = False, tell: bool = True
) -> Rows:
    """Rows of a cohort that none of the runs was trained or validated on; `LeakageError` if none remains.

    An image counts as seen if its pixels are those of one of the run's images but for a linear change of intensity,
    or if its subject is one of the run's, provided that subjects are more than names of single images and that the
    cohort holds other images of the run; otherwise subjects of the same name, perhaps of other people, are a warning.
    Seen images are a `LeakageError` unless they are to be excluded.
    """
    found, table = fingerprints(cohort, rows), cohort.manifest.table.iloc[rows]
    remarks: list[str] = []
    twins = np.flatnonzero(is_repeated(found))
    if len(twins):
        remarks.append(
            f"{len(twins)} of {len(rows)} images to score are copies of others, e.g. {table['id'].iloc[twins[0]]!r}; "
            "scores count them more than once: see `vagan check`"
        )
    named = table["subject"].ne(table["id"]).to_numpy()
    seen = np.zeros(len(rows), bool)
    for run in sorted({run.resolve() for run in runs}):
        folder = RunFolder(run if RunFolder(run).cohort.exists() else run.parent)
        seen_by_run = folder.read_seen() if folder.cohort.exists() else None  # exported models hold no fingerprints
        if seen_by_run is None:
            continue
        pixels = is_among(found, seen_by_run[0])
        subjects = table["subject"].isin(seen_by_run[1]).to_numpy() & named
        everything = np.arange(len(cohort) if subjects.any() else 0)
        if pixels.any() or is_among(fingerprints(cohort, everything), seen_by_run[0]).any():
            pixels |= subjects
        elif subjects.any():
            remarks.append(
                f"{subjects.sum()} of {len(rows)} images to score have subjects of the same names as those that "
                f"{run} was trained on, e.g. {table['subject'][subjects].iloc[0]!r}; check that they are other people"
            )
        if pixels.any() and not exclude:
            raise LeakageError(
                f"{pixels.sum()} of {len(rows)} images to score {WHICH} of {run} (by their pixels or subjects), e.g. "
                f"{table['id'].to_numpy()[pixels][0]!r}; give a cohort with the split of its training, or leave them "
                "out with `exclude_seen`"
            )
        seen |= pixels
    for remark in remarks if tell else ():
        print(f"warning: {remark}", file=sys.stderr, flush=True)
    if seen.all() and len(seen):
        raise LeakageError(f"all {len(rows)} images to score {WHICH} of the runs; give a cohort of other images")
    return rows[~seen]


def without_seen(cohort: Cohort, runs: Iterable[Path], *, exclude: bool) -> tuple[Cohort, dict[str, str]]:
    """The cohort without the test images that the runs have seen, and a rule for the results, if there are any."""
    rows = cohort.manifest.indices("test")
    excluded = np.setdiff1d(rows, require_unseen(cohort, rows, runs, exclude=exclude))
    if not len(excluded):
        return cohort, {}
    rest = copy.copy(cohort)
    rest.manifest = replace(cohort.manifest, excluded=frozenset(excluded.tolist()))
    return rest, {"excluded": f"{len(excluded)} of {len(rows)} test images: they {WHICH} of a run"}
