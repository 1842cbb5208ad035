"""The observed effect: the change between two aligned scans of a subject."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from vagan.constants import BACKGROUND
from vagan.effect import difference
from vagan.errors import CohortError
from vagan.geometry import Grid, Matrix, nearest_rigid, resample, transform_points
from vagan.preprocessing.registration import Brain, align
from vagan.preprocessing.scan import Scan

Intensity = Literal["none", "linear", "smooth"]
"""How the earlier scan's intensities are matched to the later one's. ``none``: not, as in the paper. ``linear``: one
gain and offset. ``smooth``: then the slowly varying ratio of the two, the coils' residual shading, is divided out."""

MIN_VOXELS = 100
INSIDE = 0.9
"""Share of a voxel of the earlier scan, once interpolated, that must be of its brain."""
TRIM = 2.5
SMOOTH_MM = 10.0
"""Of the Gaussian. N4 with its finest spline, of about 25 mm, leaves two scans different fields of that scale."""
ROUNDS = 6
"""Of a Gaussian mean and means of the rest."""
CHANGED = 2.5
"""In robust standard deviations: voxels whose log ratio is farther from that around them may have changed their
tissue, and tell nothing of the shading. The effect would be taken out with it."""

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Observed:
    """An observed effect on the grid of the later scan."""

    effect: Array
    """Later minus earlier scan, positive where it became brighter; 0 outside the mask."""
    mask: Mask
    """What is brain in both scans; in the earlier one, which is interpolated, by nine tenths at least."""
    shading: Array
    """Logarithm of what evened the earlier scan's shading, if its intensities were matched by ``smooth``; else 0."""
    facts: dict[str, Any]
    """How it was made."""


def observe(before: Scan, after: Scan, *, intensity: Intensity = "smooth", zero: float = -1.0) -> Observed:
    """Lay the earlier scan onto the later one, match its intensities, and subtract it.

    Both are prepared scans of one subject on the common grid, with their brains; `CohortError` if these have next to
    nothing in common. The later scan stays as it is, because it is the image whose map is scored; the earlier one is
    interpolated once more, by cubic splines, half as bright beyond the edge of its brain, where it was stripped.
    ``zero`` is the prepared intensity of the later scan that was 0 in the scanner: shading multiplies what is above.
    """
    moved, inside, facts = _laid_onto(before, after)
    mask = inside & _mask(after)
    if (common := int(mask.sum())) < MIN_VOXELS:
        raise CohortError(f"two scans of a subject must show the same brain; aligned, they share {common} voxels")
    matched, shading = moved, np.zeros(mask.shape, np.float32)
    if intensity != "none":
        gain, offset = linear_match(moved[mask], after.image[mask])
        matched = (gain * moved + offset).astype(np.float32)
        facts |= {"gain": gain, "offset": offset}
    if intensity == "smooth":
        shading = smooth_log_ratio(matched - zero, after.image - zero, mask, after.grid.spacing_mm).astype(np.float32)
        matched = ((matched - zero) * np.exp(shading) + zero).astype(np.float32)
        facts |= {"shading_sd": float(shading[mask].std())}
    effect = np.where(mask, difference(after.image, matched), 0).astype(np.float32)
    facts |= {"intensity": intensity, "mask_ml": float(mask.sum()) * after.grid.voxel_ml}
    return Observed(effect, mask, shading, facts)


def linear_match(values: NDArray[np.floating[Any]], onto: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Gain and offset that bring values to others of the same voxels.

    The gain is the ratio of standard deviations, which noise in either does not bias, of the voxels that lie within
    2.5 robust standard deviations of the line.
    """
    kept = np.ones(len(values), bool)
    gain, offset = 1.0, 0.0
    for _ in range(5):
        spread = float(values[kept].std())
        if spread == 0:
            raise CohortError("a scan must have contrast within the brain, found one intensity")
        gain = float(onto[kept].std()) / spread
        offset = float(onto[kept].mean()) - gain * float(values[kept].mean())
        rest = onto - gain * values - offset
        scale = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
        kept = np.abs(rest) <= max(TRIM * scale, 1e-6)
    return gain, offset


def smooth_log_ratio(before: Array, after: Array, mask: Mask, spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slowly varying part of ``log(after / before)``, over voxels that did not change their tissue.

    A Gaussian mean, then the mean of what it left, and so on (twicing; Tukey 1977): a field as wide as the Gaussian
    is found nearly whole, of which one mean finds half; a change as small as a ventricle's rim is still left alone.
    Intensities must be above zero, on one grid.
    """
    bright = 0.3 * float(np.median(after[mask]))
    usable = mask & (before > bright) & (after > bright)
    log_ratio = np.zeros(mask.shape)
    log_ratio[usable] = np.log(after[usable] / before[usable])
    smooth = np.zeros(mask.shape)
    if not usable.any():
        return smooth
    for _ in range(ROUNDS):
        rest = log_ratio - smooth
        weights = (usable & (np.abs(rest) <= CHANGED * 1.4826 * np.median(np.abs(rest[usable])))).astype(float)
        total = gaussian_filter(weights, SMOOTH_MM / spacing_mm)
        mean = gaussian_filter(weights * rest, SMOOTH_MM / spacing_mm)
        smooth += np.where(total > 1e-3, mean / np.maximum(total, 1e-3), 0)
    return smooth


def _laid_onto(before: Scan, after: Scan) -> tuple[Array, Mask, dict[str, Any]]:
    """The earlier scan and its brain on the later one's grid."""
    (moving, moving_from_template), (fixed, fixed_from_template) = _true_size(before), _true_size(after)
    moving_from_fixed, similarity = align(moving, fixed)
    before_from_after = np.linalg.inv(moving_from_template) @ moving_from_fixed @ fixed_from_template
    image = resample(_extended(before), before.grid, after.grid, before_from_after, outside=-1.0, order=3)
    mask = resample(_mask(before), before.grid, after.grid, before_from_after) > INSIDE
    turn = float(np.degrees(np.arccos(np.clip((np.trace(moving_from_fixed[:3, :3]) - 1) / 2, -1, 1))))
    center = fixed.center_mm
    shift = float(np.linalg.norm(transform_points(moving_from_fixed, center) - center))
    facts = {"before_from_after": before_from_after.tolist(), "turn_deg": turn, "shift_mm": shift}
    return image.clip(-1, 1), mask, facts | {"similarity": similarity}


def _true_size(scan: Scan) -> tuple[Brain, Matrix]:
    """A prepared brain in mm of its head, upright as in the template, and where a point of the template is there.

    Registration to the template scales; between two scans of one head only a rigid map is right.
    """
    scanner_from_template: Matrix = np.linalg.inv(scan.template_from_scanner).astype(np.float64)
    rigid = nearest_rigid(scanner_from_template, scan.grid.center_mm)
    upright_from_template: Matrix = np.linalg.inv(rigid) @ scanner_from_template
    place = Grid(scan.grid.shape, upright_from_template @ scan.grid.affine)
    onto = Grid.upright(scan.grid.shape, np.diag(place.affine)[:3], place.center_mm)
    mask = resample(_mask(scan), place, onto) > 0.5
    # from 0: outside the brain there is nothing
    image = resample(np.where(_mask(scan), scan.image + 1, 0).astype(np.float32), place, onto)
    return Brain(image, mask, onto), upright_from_template


def _extended(scan: Scan) -> Array:
    """The image, each voxel outside the brain half as bright as the nearest in it: fluid and bone are darker."""
    brain = _mask(scan)
    nearest = distance_transform_edt(~brain, return_distances=False, return_indices=True)
    image = scan.image[tuple(nearest)]
    return np.where(brain, image, (image + BACKGROUND) / 2).astype(np.float32)


def _mask(scan: Scan) -> Mask:
    return scan.image > -1 if scan.mask is None else scan.mask
