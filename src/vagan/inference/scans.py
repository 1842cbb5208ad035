"""Raw brain scans: the model's preprocessing, and maps on the grid of the scan."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from vagan.constants import BACKGROUND, RANGE
from vagan.data.preparation import rescale_intensity
from vagan.data.sources.bids import mask_beside
from vagan.data.volume import Volume, make_volume, write_like, write_vectors_like, write_volume
from vagan.deformation import warp
from vagan.effect import difference
from vagan.errors import ImageFileError, ModelError
from vagan.geometry import Grid, resample
from vagan.inference.attribution import Array, Attribution, View, first
from vagan.inference.files import IN_MM
from vagan.inference.overlay import Overlays
from vagan.model.folder import ModelSpec
from vagan.preprocessing.brain import StripSkull
from vagan.preprocessing.pipeline import Pipeline, Prepared
from vagan.preprocessing.scan import RawScan, Scan, read_scan
from vagan.preprocessing.sources import upstream_of

TRUST = "VAGAN_TRUST_COMMANDS"
"""Variable of the environment with the sha256 of the one command that a model may run."""
TEMPLATE = "space-template_"


@dataclass(frozen=True)
class ScanImage:
    """A scan of a head, which `Pipeline` prepares; see `vagan.inference.attribution.SourceImage`.

    Maps are written twice: on the scan's own grid, and in the template's space (``_space-template_``).
    """

    raw: RawScan
    pipeline: Pipeline

    @property
    def path(self) -> Path:
        return self.raw.path

    @property
    def volume(self) -> Volume:
        return self.raw.volume

    @property
    def intensity_scale(self) -> float:
        found = next((step["found"] for step in self._prepared.record if step["step"] == "rescale"), None)
        return (found["high"] - found["low"]) / 2 if found else 1.0

    def prepared(self) -> Array:
        """``(1, *space)`` in [-1, 1], in the template's space."""
        return self._prepared.scan.image[None]

    def write(self, stem: Path, kind: str, values: Array) -> tuple[Path, Array]:
        """Write in the template's space and on the scan's own grid: its shape, affine, units and codes."""
        return self._write(stem, kind, values, self._prepared.to_raw(values[0])[None])

    def write_effect(self, stem: Path, one: Attribution, overlays: Overlays) -> tuple[Path, Array]:
        """Write the effect, and the prepared scan without it, in the template's space and on the scan's own grid.

        There, a deformation is applied to the scan at its own resolution: it is smooth, and its effect is not.
        """
        prepared, fine, effect = self._prepared, self._prepared.fine, first(one.effect)
        own = prepared.to_raw(effect[0])[None]
        if one.counterfactual is not None:
            counterfactual, to_raw = first(one.counterfactual), partial(prepared.to_raw, outside=BACKGROUND)
            changed = to_raw(counterfactual[0])[None]
            if one.deformation is not None and fine is not None:
                moved, grid = first(one.deformation.to_counterfactual), prepared.scan.grid
                sharp = _warped(fine.image, displacement_between(moved, grid, fine.grid))
                rest = difference(
                    counterfactual[0], _warped(prepared.scan.image, moved)
                )  # what is added, if anything
                shown = to_raw(fine.image, fine.grid)[None]
                changed = (to_raw(sharp, fine.grid) + prepared.to_raw(rest))[None].clip(*RANGE)
                own = difference(changed, shown) if one.inserts else difference(shown, changed)
            self._write(stem, "counterfactual", counterfactual, changed)
        path, own = self._write(stem, "effect", effect, own)
        overlays.add(_beside(stem, "overlay.png"), _grey(self.raw.scan.image)[None], own)
        overlays.add(_beside(stem, f"{TEMPLATE}overlay.png"), self.prepared(), effect)
        return path, own

    def _write(self, stem: Path, kind: str, values: Array, own: Array) -> tuple[Path, Array]:
        path, affine = _beside(stem, f"{kind}.nii.gz"), self._prepared.scan.grid.affine
        write_volume(_beside(stem, f"{TEMPLATE}{kind}.nii.gz"), values[0], affine, space=self.pipeline.space)
        write_like(path, own[0], self.raw.volume)
        return path, own

    def write_displacement(self, stem: Path, field: Array) -> tuple[Array, str]:
        """Write vectors in mm in the template's space, and on the scan's own grid as the head lies there."""
        scan = self._prepared.scan
        vectors = np.tensordot(scan.grid.affine[:3, :3], field, axes=1).astype(np.float32)
        in_template = make_volume(vectors[0], scan.grid.affine)
        write_vectors_like(_beside(stem, f"{TEMPLATE}displacement.nii.gz"), vectors, in_template)
        # in the scanner's space they also point as the head lies there, and are as long as there
        turned = np.tensordot(np.linalg.inv(scan.template_from_scanner[:3, :3]), vectors, axes=1)
        own = np.stack([self._prepared.to_raw(component.astype(np.float32)) for component in turned])
        write_vectors_like(_beside(stem, "displacement.nii.gz"), own, self.raw.volume)
        return own, IN_MM

    def view(self, effect: Array) -> View:
        """Prepared scan and effect in the template's space."""
        return View(self.prepared(), effect, self._prepared.scan.grid.affine)

    def describe(self) -> dict[str, Any]:
        return {
            "warnings": list(self.raw.warnings),
            "template_from_scanner": self._prepared.scan.template_from_scanner.tolist(),
            "preprocessing": self._prepared.record,
        }

    @cached_property
    def _prepared(self) -> Prepared:
        upstream = upstream_of(self.raw.path)
        return _as_prepared(self.raw, self.pipeline) or self.pipeline.run(self.raw, upstream=upstream)


def read_scan_image(path: Path, spec: ModelSpec) -> ScanImage:
    """Read a scan and, if a mask lies beside it, its brain: as `vagan preprocess` does."""
    pipeline, mask = pipeline_of(spec), mask_beside(path)
    return ScanImage(read_scan(path, Path(mask) if mask else None), pipeline)


def displacement_between(field: Array, grid: Grid, onto: Grid) -> Array:
    """A displacement in voxels of one grid, in voxels of another one in the same space; 0 where it does not reach."""
    turned = np.tensordot(np.linalg.inv(onto.affine[:3, :3]) @ grid.affine[:3, :3], field, axes=1)
    return np.stack([resample(component.astype(np.float32), grid, onto) for component in turned])


def _warped(image: Array, displacement: Array) -> Array:
    return warp(torch.from_numpy(image)[None, None], torch.from_numpy(displacement)[None])[0, 0].numpy()


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}_{ending}")


def pipeline_of(spec: ModelSpec) -> Pipeline:
    """The preprocessing that a model's scans go through; one that runs a program must be trusted."""
    try:
        pipeline = Pipeline.model_validate(spec.pipeline)
    except ValidationError as error:
        defect = error.errors()[0]["msg"]
        raise ModelError(f"the model's record of its preprocessing is unusable: {defect}; train it again") from error
    for step in pipeline.steps:
        if isinstance(step, StripSkull) and step.method.startswith("command:"):
            digest = hashlib.sha256(step.method.encode()).hexdigest()
            if os.environ.get(TRUST) != digest:
                raise ModelError(
                    f"the model's preprocessing runs a program, {step.method!r}, and an untrusted model could run "
                    f"any: set {TRUST}={digest} if you trust this command"
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


def _grey(image: Array) -> Array:
    low, high = map(float, np.percentile(image, (0.5, 99.5)))
    if low == high:
        raise ImageFileError(f"the scan must have contrast: almost all of it is {low:g}")
    return rescale_intensity(image, low, high)
