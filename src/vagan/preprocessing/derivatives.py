"""Preprocessed scans on disk, as BIDS derivatives.

For each scan a folder ``sub-X[/ses-Y]/anat`` with the image, the brain's mask, the transform, a few slices for
quality control, and last of all the JSON record: a scan whose record is there is whole.
"""

import json
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from vagan.data.volume import write_volume
from vagan.errors import PreprocessingError
from vagan.files import digest_of, read_text, replacing, without_folders, write_json, write_text
from vagan.geometry import LPS_FROM_RAS
from vagan.preprocessing.pipeline import Pipeline, Prepared
from vagan.preprocessing.registration import PACKAGED

DESCRIPTION = "dataset_description.json"
RAW = "raw"  # what sidecars call the dataset of the sources
BIDS_VERSION = "1.10.0"
MNI = "MNI152NLin2009aSym"
SPATIAL_REFERENCE = "https://nist.mni.mcgill.ca/icbm-152-nonlinear-atlases-2009/"  # of the packaged template
IGNORED = ("*.html", "failed.csv", "cohort", "*_slices.npz", "*_xfm.txt")
"""What BIDS has no names for (yet), by the rules of ``.bidsignore``."""


class ScanRecord(BaseModel):
    """The JSON file of a prepared scan, written last. It also holds what BIDS asks of a sidecar."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str  # name of the raw file
    source_hash: str  # digest of its bytes, and of those of a mask that came with it
    pipeline_hash: str  # `Pipeline.key` of the settings it was made with
    space: str
    steps: list[dict[str, Any]]
    raw_shape: tuple[int, ...]
    raw_affine: list[list[float]]
    template_from_scanner: list[list[float]]
    files: dict[str, str]  # names and digests of what was written
    seconds: float


@dataclass(frozen=True)
class DerivativePaths:
    """Where the files of a scan are."""

    out: Path
    folder: Path
    stem: str
    space: str
    image: Path  # the prepared scan, in [-1, 1]
    mask: Path  # the brain on the same grid
    record: Path
    slices: Path
    transform: Path  # the map from the template's to the scanner's mm, in ITK's text form

    @classmethod
    def of(cls, out: Path, pipeline: Pipeline, subject: str, session: str) -> "DerivativePaths":
        """The paths of a pipeline's results."""
        visit = [name for name in (label("sub", subject), label("ses", session)) if name]
        folder, stem = out.joinpath(*visit, "anat"), "_".join(visit)
        space = MNI if pipeline.template in (PACKAGED, "") else "custom"
        resolution = f"{pipeline.grid.spacing_mm[0]:g}".replace(".", "p")
        prepared = f"{stem}_space-{space}_res-{resolution}_desc"
        return cls(
            *(out, folder, stem, space),
            image=folder / f"{prepared}-preproc_T1w.nii.gz",
            mask=folder / f"{prepared}-brain_mask.nii.gz",
            record=folder / f"{prepared}-preproc_T1w.json",
            slices=folder / f"{prepared}-steps_slices.npz",
            transform=folder / f"{stem}_from-T1w_to-{space}_mode-image_xfm.txt",
        )

    @classmethod
    def of_all(cls, out: Path, pipeline: Pipeline, table: pd.DataFrame) -> "list[DerivativePaths]":
        """The paths of all rows of a table with the columns ``subject`` and ``session``."""
        return [cls.of(out, pipeline, *visit) for visit in zip(table["subject"], table["session"], strict=True)]


def label(prefix: str, name: str) -> str:
    """``ADNI_007`` -> ``sub-ADNI007``; an empty name stays empty."""
    bare = re.sub(r"[^A-Za-z0-9]", "", name.removeprefix(f"{prefix}-"))
    if name and not bare:
        raise PreprocessingError(f"a {prefix} needs letters or digits in its name, found {name!r}")
    return f"{prefix}-{bare}" if bare else ""


def read_record(path: Path) -> ScanRecord | None:
    """The record of a whole scan; None if there is none or it is damaged."""
    try:
        return ScanRecord.model_validate_json(read_text(path))
    except (OSError, ValueError):
        return None


def read_whole(paths: DerivativePaths, pipeline: Pipeline) -> ScanRecord | None:
    """The record of a scan that was made with these settings and whose files are those that it lists.

    Runs with different settings may have met in one folder; then a record can lie beside another run's image.
    """
    record = read_record(paths.record)
    if record is None or record.pipeline_hash != pipeline.key:
        return None
    found = {path.name: digest_of(path) for path in (paths.image, paths.mask, paths.transform) if path.is_file()}
    return record if found == record.files else None


def write_prepared(
    paths: DerivativePaths,
    prepared: Prepared,
    slices: dict[str, NDArray[np.uint8]],
    pipeline: Pipeline,
    *,
    source: Path,
    source_hash: str,
    seconds: float,
) -> None:
    """Write all files of a scan, each whole, the record last."""
    scan = prepared.scan
    write_volume(paths.image, scan.image, scan.grid.affine, space=pipeline.space)
    mask = scan.mask if scan.mask is not None else scan.image > -1
    write_volume(paths.mask, mask, scan.grid.affine, space=pipeline.space)
    # what BIDS asks of an image in another space and resolution; of paths, those in the dataset
    depth = next((depth for depth, name in enumerate(source.parts) if name.startswith("sub-")), -1)
    template = Path(pipeline.template).name
    sidecar = {
        "Resolution": f"{pipeline.grid.spacing_mm[0]:g} mm isotropic",
        "Sources": [f"bids:{RAW}:{quote(str(PurePosixPath(*source.parts[depth:])))}"],
        "SpatialReference": SPATIAL_REFERENCE if template == PACKAGED else template,
    }
    write_json(paths.mask.with_name(paths.mask.name.replace(".nii.gz", ".json")), sidecar | {"Type": "Brain"})
    write_text(paths.transform, itk_text(np.linalg.inv(scan.template_from_scanner)))
    with replacing(paths.slices) as temporary:
        np.savez_compressed(temporary, **slices)  # type: ignore[arg-type]
    record = ScanRecord(
        source=source.name,
        source_hash=source_hash,
        pipeline_hash=pipeline.key,
        space=paths.space,
        steps=prepared.record,
        raw_shape=prepared.raw_grid.shape,
        raw_affine=prepared.raw_grid.affine.tolist(),
        template_from_scanner=scan.template_from_scanner.tolist(),
        files={path.name: digest_of(path) for path in (paths.image, paths.mask, paths.transform)},
        seconds=round(seconds, 2),
    )
    write_json(paths.record, sidecar | {"SkullStripped": True} | json.loads(record.model_dump_json()))


def write_description(out: Path, pipeline: Pipeline, source: Path) -> None:
    """``dataset_description.json`` of a derivative dataset."""
    url, settings = f"file://{quote(source.name)}", without_folders(pipeline.model_dump(mode="json"))
    about = {
        "Name": "T1-weighted scans prepared by vagan",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "vagan", "Version": version("vagan"), "Pipeline": settings}],
        "SourceDatasets": [{"URL": url}],
        "DatasetLinks": {RAW: url},
    }
    write_json(out / DESCRIPTION, about)
    write_text(out / ".bidsignore", "\n".join(IGNORED) + "\n")


def itk_text(scanner_from_template: NDArray[np.floating[Any]]) -> str:
    """A linear transform as ITK, ANTs and Slicer read it."""
    lps = LPS_FROM_RAS @ scanner_from_template @ LPS_FROM_RAS
    numbers = " ".join(f"{value:.17g}" for value in [*lps[:3, :3].ravel(), *lps[:3, 3]])
    return (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n"
    )
