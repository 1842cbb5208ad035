"""From prepared scans to a cohort, and whether the cohort still belongs to them."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd

from vagan.data.cohort import STORE, Cohort, CohortCase, CohortFacts, write_cohort
from vagan.data.manifest import REQUIRED, Manifest, label_classes
from vagan.data.preparation import Preparation
from vagan.data.splits import assign_splits
from vagan.data.volume import read_volume
from vagan.errors import CohortError, ManifestError
from vagan.preprocessing.derivatives import Place, read_record, read_whole
from vagan.preprocessing.pipeline import Pipeline

COHORT = "cohort"
"""The cohort's folder among the derivatives."""


def pack_cohort(out: Path, table: pd.DataFrame, pipeline: Pipeline, *, baseline: str | None, seed: int) -> Cohort:
    """Make the cohort of all prepared scans of a table; an up-to-date one is left as it is.

    Parameters
    ----------
    out
        Folder of the derivatives; the cohort becomes its folder ``cohort``.
    table
        Columns ``id``, ``subject``, ``session``, ``class``; optionally ``split`` and covariates. Rows whose scan
        failed are left out.
    pipeline
        That they were made with.
    baseline, seed
        The baseline class's name, and what decides the split where the table gives none.
    """
    places = Place.of_all(out, pipeline, table)
    whole = [read_whole(place, pipeline) is not None for place in places]
    if not any(whole):
        raise ManifestError(f"no prepared scan is in {out}; failed.csv has the reasons")
    table = table[whole].reset_index(drop=True)
    files = [str(place.image.relative_to(out)) for place, good in zip(places, whole, strict=True) if good]
    table = table.assign(image=[str(Path("..") / name) for name in files])
    labels = label_classes(list(table["class"]), baseline)
    table = table.assign(label=table["class"].map(labels))
    if "split" not in table:
        table = table.assign(split=assign_splits(table, seed=seed))
    rest = [name for name in table if name not in REQUIRED]
    manifest = Manifest(table[[*REQUIRED, *rest]])
    path = out / COHORT
    made_from = digest_of_records(path, manifest)
    if (path / STORE).is_dir():
        old = Cohort(path)
        if old.facts.made_from == made_from and old.manifest.table.astype(str).equals(manifest.table.astype(str)):
            return old
    facts = CohortFacts(
        source=f"{len(table)} T1-weighted scans",
        preparation=Preparation(low=-1.0, high=1.0),
        spacing_mm=tuple(float(value) for value in pipeline.grid.spacing_mm),
        affine=tuple(tuple(float(value) for value in row) for row in pipeline.grid.affine),
        pipeline=pipeline.model_dump(mode="json"),
        made_from=made_from,
    )

    def case_at(row: int) -> CohortCase:
        volume = read_volume(out / files[row])
        if volume.array.shape != pipeline.grid.shape:
            raise CohortError(f"{files[row]} must have the shape {pipeline.grid.shape}, found {volume.array.shape}")
        return CohortCase(np.asarray(volume.array, np.float32)[None])

    return write_cohort(path, manifest, facts, case_at)


def digest_of_records(cohort: Path, manifest: Manifest) -> str:
    """Digest of what the scans of a manifest were made from and with."""
    digest = hashlib.blake2b(digest_size=8)
    for name in manifest.table["image"]:
        image = Path(os.path.normpath(cohort / name))  # the cohort's folder need not be there yet
        record = read_record(image.with_name(image.name.removesuffix(".nii.gz") + ".json"))
        if record is not None:
            digest.update(f"{image.name} {record.source_hash} {record.pipeline_hash}\n".encode())
    return digest.hexdigest()


def is_stale(cohort: Cohort) -> bool:
    """Whether scans were prepared anew since the cohort was packed."""
    made_from = cohort.facts.made_from
    return bool(made_from) and digest_of_records(cohort.path, cohort.manifest) != made_from
