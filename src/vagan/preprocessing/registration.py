"""Linear registration of a brain to a brain with SimpleITK, the template, and the registration step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import binary_dilation

from vagan.data.volume import read_volume
from vagan.errors import MissingExtraError, PreprocessingError, require_extra
from vagan.files import digest_of
from vagan.geometry import LPS_FROM_RAS, Grid, Matrix, affine_of, bounds_of, nearest_rigid, resample, transform_points
from vagan.preprocessing.brain import already_stripped
from vagan.preprocessing.scan import Facts, Scan, Step

try:
    import SimpleITK as sitk
except ImportError as error:
    raise MissingExtraError("brain scans need SimpleITK: pip install 'vagan[mri]'") from error

# ITK's sums depend on the number of threads; scans, not their parts, are the parallel work
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

Dof = Literal[6, 7, 12]

MARGIN_MM = 8.0
EDGE_MM = 4.0
COARSE_MM = 5.0
SEED = 20180618


@dataclass(frozen=True)
class Brain:
    """A brain to register: intensities, and where it is."""

    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    grid: Grid

    @property
    def center_mm(self) -> NDArray[np.float64]:
        """Centre of mass of the mask."""
        return transform_points(self.grid.affine, (np.argwhere(self.mask[::2, ::2, ::2]) * 2.0).mean(axis=0))

    def cropped(self) -> "Brain":
        """The brain alone, zero around it, in its bounding box with a small margin."""
        margin = np.ceil(MARGIN_MM / self.grid.spacing_mm).astype(int)
        low, high = bounds_of(self.mask)
        low, high = np.maximum(low - margin, 0), np.minimum(high + margin, self.mask.shape)
        inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        mask = self.mask[inside]
        return Brain(np.where(mask, self.image[inside], 0).astype(np.float32), mask, self.grid.box(low, high))

    def coarse(self) -> "Brain":
        """The same at the resolution of the first guess."""
        shape = np.ceil(self.grid.spacing_mm * self.grid.shape / COARSE_MM).astype(int)
        linear = self.grid.affine[:3, :3] * (COARSE_MM / self.grid.spacing_mm)
        onto = Grid(tuple(shape.tolist()), affine_of(linear, self.grid.origin_mm))
        return Brain(resample(self.image, self.grid, onto), resample(self.mask, self.grid, onto) > 0.5, onto)


def register(moving: Brain, fixed: Brain, dof: Dof) -> tuple[Matrix, float]:
    """Find the linear map that lays one brain onto another: ``moving`` the subject's, ``fixed`` the template's.

    Rough alignment from the centres of mass and several tilts of the head, a similarity at 4 mm, then at 2 and
    1 mm the map of the wanted degrees of freedom. Mattes' mutual information leads to the neighbourhood whatever the
    contrast; correlation, which is sharper between T1-weighted brains without bias, finds the place in it.

    ``dof`` is 12 for an affine map, 7 for rotation, shift and one scale, 6 for the rigid map nearest to the affine
    one, because a rigid search alone is drawn by the difference in size between a brain and a larger template.
    Returns the matrix that takes points of the template, in mm RAS+, to the scan; and the correlation of the two
    brains' intensities in the template's brain and just around it, 0 to 1.
    """
    fixed_brain, moving_brain = fixed.cropped(), moving.cropped()
    center = fixed_brain.center_mm
    pair, coarse = _Pair(fixed_brain, moving_brain), _Pair(fixed_brain.coarse(), moving_brain.coarse())
    start = _first_guess(coarse, center, moving_brain.center_mm - center)
    near = 0.01  # mm; the rest is for the last stage
    similarity = _refine(pair, start, [(4, 4.0, 0.5), (2, 2.0, 0.2)], step=1.0, precision=near)
    pair.correlation = True
    if dof == 7:
        # unsmoothed: noise averages out, but shading that is left and the edges of the masks do not
        found = _refine(pair, similarity, [(1, 0.0, 0.1)], step=0.2)
        return matrix_of(found), pair.last_metric
    affine = sitk.AffineTransform(similarity.GetMatrix(), similarity.GetTranslation(), similarity.GetCenter())
    affine = _refine(pair, affine, [(2, 2.0, 0.2), (1, 0.0, 0.1)], step=0.5)
    matrix = matrix_of(affine)
    return (nearest_rigid(matrix, center) if dof == 6 else matrix), pair.last_metric


def align(moving: Brain, fixed: Brain) -> tuple[Matrix, float]:
    """Find the rigid map between two scans of one brain that lie near each other already.

    Each is in mm of its true size, a few millimetres and degrees from the other. Returns what `register` does.
    """
    pair = _Pair(fixed.cropped(), moving.cropped())
    pair.correlation = True
    start = sitk.Euler3DTransform()
    start.SetCenter((LPS_FROM_RAS[:3, :3] @ fixed.center_mm).tolist())
    found = _refine(pair, start, [(4, 4.0, 1.0), (2, 2.0, 0.5), (1, 1.0, 0.2)], step=1.0)
    return matrix_of(found), pair.last_metric


class _Pair:
    correlation = False
    last_metric = 0.0

    def __init__(self, fixed: Brain, moving: Brain) -> None:
        # with both sides of the brain's edge: seen from inside alone, a brain that is too large fits too well
        around = binary_dilation(fixed.mask, iterations=round(EDGE_MM / float(fixed.grid.spacing_mm.mean())))
        self.fixed, self.fixed_mask = to_itk(fixed.image, fixed.grid), to_itk(around, fixed.grid)
        self.moving = to_itk(moving.image, moving.grid)

    def method(self, sampling: Sequence[float]) -> sitk.ImageRegistrationMethod:
        method = sitk.ImageRegistrationMethod()
        if self.correlation:
            method.SetMetricAsCorrelation()
        else:
            method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricFixedMask(self.fixed_mask)
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentagePerLevel(list(sampling), SEED)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerScalesFromPhysicalShift()
        return method


def _first_guess(pair: _Pair, center: NDArray[np.float64], shift: NDArray[np.float64]) -> Any:
    """Best of a few tilts and turns with centres of mass on each other, compared without optimisation."""
    tried, method = [], pair.method([1.0])
    for tilt, roll, turn in product(*map(np.deg2rad, ([-30, -15, 0, 15, 30], [-20, 0, 20], [-20, 0, 20]))):
        guess, euler = sitk.Similarity3DTransform(), sitk.Euler3DTransform()
        guess.SetCenter((LPS_FROM_RAS[:3, :3] @ center).tolist())
        guess.SetTranslation((LPS_FROM_RAS[:3, :3] @ shift).tolist())
        euler.SetRotation(tilt, roll, turn)
        guess.SetMatrix(euler.GetMatrix())
        method.SetInitialTransform(guess)
        tried.append((method.MetricEvaluate(pair.fixed, pair.moving), guess))
    return min(tried, key=lambda one: one[0])[1]


def _refine(
    pair: _Pair, start: Any, levels: list[tuple[int, float, float]], *, step: float, precision: float = 0.001
) -> Any:
    """Optimise at each level: by how much images are shrunk and blurred (mm), and the part of voxels that counts."""
    shrink, sigmas_mm, sampling = zip(*levels, strict=True)
    method = pair.method(sampling)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(sigmas_mm)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    # the tolerance on the gradient is off, or the search ends half a millimetre early
    method.SetOptimizerAsRegularStepGradientDescent(
        step, precision, 200, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-12
    )
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(pair.fixed, pair.moving)
    value = -method.GetMetricValue()
    pair.last_metric = float(np.sqrt(max(value, 0))) if pair.correlation else value  # ITK gives the square
    return start


def to_itk(values: NDArray[np.generic], grid: Grid) -> Any:
    """An image for SimpleITK; its first axis is numpy's last, so that the array is turned around."""
    spacing = grid.spacing_mm
    lps = LPS_FROM_RAS @ grid.affine
    stored = values.astype(np.uint8) if values.dtype == bool else values
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def matrix_of(transform: Any) -> Matrix:
    """A linear transform of SimpleITK as a matrix on RAS+ points."""
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    center, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    return LPS_FROM_RAS @ affine_of(linear, shift + center - linear @ center) @ LPS_FROM_RAS


PACKAGED = "mni152"


class Register(Step):
    """Lay the brain onto the template's by a linear map, which from then on is part of the grid."""

    step: Literal["register"] = "register"
    dof: Dof = 7
    """6: rotation and shift. 7: and one scale, as in the authors' code. 12: affine."""
    template: str = PACKAGED
    """``mni152`` (ICBM 2009a symmetric, brain only, from nilearn), or a NIfTI file."""
    template_mask: str = ""
    """The template's brain, where the file shows a whole head."""
    template_hash: str = ""
    """Digest of the template's files, filled in when they are not packaged."""
    least_similarity: Annotated[float, Field(ge=-1, le=1)] = 0.5
    """Correlation with the template below which the result is rejected: another contrast, or laid wrongly."""

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """The same voxels, now in the template's mm."""
        if scan.mask is None:
            raise PreprocessingError("registration is from brain to brain: put a strip-skull step before it")
        template = load_template(self.template, self.template_mask, self.template_hash)
        scan_from_template, similarity = register(Brain(scan.image, scan.mask, scan.grid), template, self.dof)
        if similarity < self.least_similarity:
            raise PreprocessingError(
                f"the registered brain must resemble the template (correlation {self.least_similarity:g} or more), "
                f"found {similarity:.2f}; is it T1-weighted? is its mask right?"
            )
        template_from_scan = np.linalg.inv(scan_from_template)
        grid = Grid(scan.grid.shape, template_from_scan @ scan.grid.affine)
        scale = float(np.cbrt(np.linalg.det(template_from_scan[:3, :3])))
        registered = Scan(scan.image, grid, scan.mask, template_from_scan @ scan.template_from_scanner)
        return registered, {"similarity": similarity, "scale": scale, "matrix": template_from_scan.tolist()}


@lru_cache(maxsize=2)
def load_template(template: str, mask: str, digest: str = "") -> Brain:
    """Read the template; an error if it is not there, or its files have another digest than the one given."""
    if template == PACKAGED:
        require_extra("mri", "nilearn", what="the packaged template")
        from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

        image: Any = load_mni152_template(resolution=1)
        grid = Grid(image.shape, np.asarray(image.affine, float))
        inside = np.asarray(load_mni152_brain_mask(resolution=1).dataobj) > 0
        return Brain(np.asarray(image.dataobj, np.float32), inside, grid)
    files = [Path(name) for name in (template, mask) if name]
    head = read_volume(files[0])
    if digest and digest_of(*files) != digest:
        raise PreprocessingError(f"{template} must be the training's template, of digest {digest}; put it there")
    grid = Grid(head.array.shape, head.affine)
    if not mask:
        if (head.array == 0).mean() < 0.3:
            raise PreprocessingError(f"{template} is not 0 outside a brain; name its brain's mask as `template_mask`")
        return Brain(head.array, already_stripped(head.array), grid)
    brain = read_volume(Path(mask)).array > 0
    if brain.shape != head.array.shape:
        raise PreprocessingError(f"{mask} must have the shape of {template}, {head.array.shape}, found {brain.shape}")
    return Brain(head.array, brain, grid)
