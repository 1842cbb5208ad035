"""Effect maps of brain scans: through the preprocessing and back onto the raw scan's own grid."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from vagan.attribution.registry import LoadedMethod
from vagan.data.image_file import name_of
from vagan.data.sources.bids import mask_beside
from vagan.data.volume import write_like, write_vectors, write_vectors_like, write_volume
from vagan.errors import ImageFileError, ModelError
from vagan.files import replacing
from vagan.geometry import Grid
from vagan.inference.certainty_files import certainty_arrays, describe_certainty
from vagan.inference.decision_files import describe_decision
from vagan.inference.deformation_files import (
    DISPLACEMENT,
    IN_MM,
    LOG_JACOBIAN,
    deformation_arrays,
    deforming,
    describe_deformation,
)
from vagan.inference.ood_files import describe_likeness
from vagan.inference.overlay import save_overlay
from vagan.inference.sidecar import describe
from vagan.inference.written import Written
from vagan.model.folder import ModelSpec
from vagan.preprocessing.brain import StripSkull
from vagan.preprocessing.pipeline import Pipeline, Prepared
from vagan.preprocessing.scan import RawScan, Scan, read_scan
from vagan.preprocessing.sources import given_by_name

TRUST = "VAGAN_TRUST_COMMANDS"
"""Variable of the environment without which no model makes us run a program."""


def check_scan(path: Path, facts: ModelSpec) -> None:
    """Read a scan and raise an error if it cannot be one, or the model's record of the preprocessing is unusable."""
    _pipeline(facts)
    _read(path)


def write_scan_maps(loaded: LoadedMethod, path: Path, out: Path) -> Written:
    """Write the map of one scan on its own grid and in the template's space, a mosaic, and the description.

    Returns
    -------
    Written
        Its path is the map on the scan's own grid: its shape, affine, units and codes.
    """
    pipeline, stem = _pipeline(loaded.facts), name_of(path)
    raw = _read(path)
    prepared = _as_prepared(raw, pipeline) or pipeline.run(raw, given=given_by_name(path))
    scan = prepared.scan
    images = torch.from_numpy(scan.image)[None, None]
    effect = loaded.method.attribute(images.to(loaded.device))[0, 0].cpu().numpy()
    on_raw = prepared.to_raw(effect)
    template_path = out / f"{stem}_space-template_effect.nii.gz"
    write_volume(template_path, effect, scan.grid.affine)
    raw_path = out / f"{stem}_effect.nii.gz"
    write_like(raw_path, on_raw, raw.volume)
    save_overlay(out / f"{stem}_overlay.png", _grey(raw.scan.image)[None], on_raw[None])
    save_overlay(out / f"{stem}_space-template_overlay.png", scan.image[None], effect[None])
    deformation = {}
    if (method := deforming(loaded.method)) is not None:
        deformation = _write_deformation(*deformation_arrays(method, images.to(loaded.device)), raw, prepared, out)
    certainty = certainty_arrays(loaded.method, images.to(loaded.device))
    for kind, values in certainty.items():
        write_volume(out / f"{stem}_space-template_{kind}.nii.gz", values[0], scan.grid.affine)
        write_like(out / f"{stem}_{kind}.nii.gz", prepared.to_raw(values[0]), raw.volume)
    rescaled = next((step["found"] for step in prepared.record if step["step"] == "rescale"), None)
    about = {
        **describe(loaded, path, effect[None], scale=_half_range(rescaled)),
        **describe_decision(loaded.method, images.to(loaded.device), loaded.facts.classes),
        **describe_likeness(loaded.method, images.to(loaded.device)),
        **deformation,
        **describe_certainty(loaded.method, certainty),
        "warnings": list(raw.warnings),
        "template_from_scanner": scan.template_from_scanner.tolist(),
        "preprocessing": prepared.record,
    }
    with replacing(out / f"{stem}_effect.json") as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Written(raw_path, scan.image[None], effect[None], scan.grid.affine)


def _read(path: Path) -> RawScan:
    """A scan with its brain, if a mask lies beside it: as `vagan preprocess` reads it."""
    mask = mask_beside(path)
    return read_scan(path, Path(mask) if mask else None)


def _write_deformation(
    field: NDArray[np.float32], log_ratio: NDArray[np.float32], raw: RawScan, prepared: Prepared, out: Path
) -> dict[str, Any]:
    """Write displacement and log-Jacobian in the template's space and on the scan's own grid."""
    stem, affine = name_of(raw.path), prepared.scan.grid.affine
    vectors = np.tensordot(affine[:3, :3], field, axes=1).astype(np.float32)
    write_vectors(out / f"{stem}_space-template_{DISPLACEMENT}.nii.gz", vectors, affine)
    write_volume(out / f"{stem}_space-template_{LOG_JACOBIAN}.nii.gz", log_ratio, affine)
    # in the scanner's space they also point as the head lies there, and are as long as there
    turned = np.tensordot(np.linalg.inv(prepared.scan.template_from_scanner[:3, :3]), vectors, axes=1)
    on_raw = np.stack([prepared.to_raw(component.astype(np.float32)) for component in turned])
    write_vectors_like(out / f"{stem}_{DISPLACEMENT}.nii.gz", on_raw, raw.volume)
    write_like(out / f"{stem}_{LOG_JACOBIAN}.nii.gz", prepared.to_raw(log_ratio), raw.volume)
    return describe_deformation(on_raw, log_ratio, IN_MM)


def _pipeline(facts: ModelSpec) -> Pipeline:
    try:
        pipeline = Pipeline.model_validate(facts.pipeline)
    except ValidationError as error:
        raise ModelError(
            f"the model's record of its preprocessing is unusable: {error.errors()[0]['msg']}; train it again"
        ) from error
    for step in pipeline.steps:
        if isinstance(step, StripSkull) and step.method.startswith("command:") and not os.environ.get(TRUST):
            raise ModelError(
                f"the model's preprocessing runs a program, {step.method!r}, and a stranger's model could run any: "
                f"set {TRUST}=1 if you trust it"
            )
    return pipeline


def _as_prepared(raw: RawScan, pipeline: Pipeline) -> Prepared | None:
    """A scan that is on the common grid and in [-1, 1] has been through the pipeline before."""
    grid, image = pipeline.grid, raw.scan.image
    same_place = raw.scan.grid.shape == grid.shape and np.abs(raw.scan.grid.affine - grid.affine).max() < 1e-3
    if not same_place or image.min() < -1 - 1e-5 or image.max() > 1 + 1e-5:
        return None
    scan = Scan(image.clip(-1, 1), Grid(grid.shape, grid.affine))
    return Prepared(scan, raw.scan.grid, [{"step": "read", "prepared": "before"}])


def _grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = (float(value) for value in np.percentile(image, (0.5, 99.5)))
    if low == high:
        raise ImageFileError(f"the scan must have contrast: almost all of it is {low:g}")
    return ((image - low) * (2 / (high - low)) - 1).clip(-1, 1).astype(np.float32)


def _half_range(found: dict[str, float] | None) -> float:
    return (found["high"] - found["low"]) / 2 if found else 1.0
