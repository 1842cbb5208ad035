"""Velocity fields that change the volume of one region each.

A velocity whose divergence is 1 in a region and balanced by a negative one beside it makes the region smaller and its
neighbourhood larger, and ends there. The divergence is prescribed by a screened Poisson equation. Tissue that shrinks
makes room for fluid; ventricles grow at the cost of the tissue around them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfftn, rfftfreq, rfftn
from scipy.ndimage import distance_transform_edt, gaussian_filter

from vagan.geometry import Coordinates, Grid
from vagan.simulation.base import PART_OF, REGIONS, Base
from vagan.simulation.fields import Vectors, Warp, integrate_velocity, sample, spacing_of

REGION_GRID = Grid.spanning((-86, -96, -64), (86, 60, 60), 2.0)  # holds all that moves, in template space

SOFT_MM = 1.0  # blur of a region's border
SCREENING_MM = 40.0  # a velocity fades over this length, were it not balanced
BALANCE_MM = {"hippocampus": 3.0, "ventricle": 10.0, "temporal": 8.0}  # width of the tissue that gives or takes space
STILL_MM = (10.0, 18.0)  # velocities fade to exactly 0 between these distances from the region
TISSUE_YIELDS = 0.01  # how readily tissue fills the space of shrunken tissue, where fluid has 1
TERRITORY_MM = 6.0  # changes of the image this near to a region are the region's
PROBES = (-1.0, -0.6, -0.3, -0.1, 0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0)
COURSE = {"hippocampus": -1.0, "ventricle": 1.0, "temporal": -0.2}
"""Multiples of the velocities are measured together, in about the proportions in which they occur."""

LogVolumes = Mapping[str, float]  # natural logarithm of new over old volume; regions that are not named keep theirs


@dataclass(frozen=True)
class Morphology:
    """The regions of a base and the velocities that change them."""

    masks: Float32[np.ndarray, "region x y z"]  # soft masks of `REGIONS` on `REGION_GRID`
    velocities_mm: Float32[np.ndarray, "region 3 x y z"]  # one for each region, of divergence 1 in it
    amounts: Float64[np.ndarray, "region probe"]
    log_volumes: Float64[np.ndarray, "region probe"]
    """Multiples of the velocities, negative for loss, and the logarithm of the volume ratios that they give."""

    @classmethod
    def of(cls, base: Base) -> "Morphology":
        """Find velocities for a base, and measure what they do, so that they do it."""
        coordinates = REGION_GRID.coordinates()

        def onto(mask: NDArray[np.bool_], sigma_mm: float = SOFT_MM) -> NDArray[np.float32]:
            soft = gaussian_filter(mask.astype(np.float32), sigma_mm / spacing_of(base.grid))
            return sample(soft[None], base.grid, coordinates)[0]

        masks = np.stack([onto(base.regions[name]) for name in REGIONS])
        fluid, near_brain = onto(base.fluid), onto(base.brain, 3.0)
        taken = masks.sum(0).clip(0, 1)
        raw = []
        for name, mask in zip(REGIONS, masks, strict=True):
            distance = (distance_transform_edt(mask < 0.5) * spacing_of(REGION_GRID)).astype(np.float32)
            yields = (1 - fluid) if name.startswith("ventricle") else fluid**2 + TISSUE_YIELDS * (1 - fluid)
            beside = np.clip(1.5 - distance / BALANCE_MM[PART_OF[name]], 0, 1) * yields * (1 - taken)
            begin, end = STILL_MM
            moves = _smooth_step((end - distance) / (end - begin)) * _smooth_step(near_brain * 2)
            raw.append(_flow_out_of(mask, beside) * moves)
        amounts = np.outer([COURSE[part] for part in PART_OF.values()], PROBES)
        model = cls(masks, np.stack(raw), amounts, amounts)
        before = model.volumes_ml(coordinates)
        after = [model.volumes_ml(model.flow(given)(coordinates)) for given in amounts.T]
        return replace(model, log_volumes=np.log(np.array(after) / before).T)

    def deformation(self, log_volumes: LogVolumes) -> Warp:
        """The pull-back that changes the regions' volumes."""
        given = [
            np.interp(log_volumes.get(name, 0.0) * np.sign(amounts[-1]), known * np.sign(amounts[-1]), amounts)
            for name, known, amounts in zip(REGIONS, self.log_volumes, self.amounts, strict=True)
        ]
        return self.flow(np.array(given))

    def flow(self, amounts: NDArray[np.float64]) -> Warp:
        """Flow against the velocities, each times an amount; it pulls back, so that what it draws together grows."""
        velocity = np.zeros_like(self.velocities_mm[0])
        for amount, unit in zip(amounts, self.velocities_mm, strict=True):
            velocity -= np.float32(amount) * unit
        return integrate_velocity(velocity, REGION_GRID)

    def volumes_ml(self, template_coordinates: Coordinates) -> NDArray[np.float64]:
        """Volumes of the regions in a space whose points, one per voxel of `REGION_GRID`, map to these."""
        masks = sample(self.masks, REGION_GRID, template_coordinates, outside="zeros")
        return masks.sum((1, 2, 3), dtype=float) * REGION_GRID.voxel_ml

    def territory_at(self, template_coordinates: Coordinates) -> UInt8[np.ndarray, "x y z"]:
        """Number of the region whose territory these coordinates are in, from 1; 0 elsewhere."""
        origin = REGION_GRID.origin_mm.astype(np.float32)[:, None, None, None]
        index = np.rint((template_coordinates - origin) / np.float32(spacing_of(REGION_GRID))).astype(int)
        last = np.array(REGION_GRID.shape)[:, None, None, None] - 1
        return self.territories[tuple(index.clip(0, last))]  # its border is nobody's

    @cached_property
    def territories(self) -> UInt8[np.ndarray, "x y z"]:
        """Number of the nearest region, from 1, and 0 where none is near."""
        distances = np.stack([distance_transform_edt(mask < 0.5) for mask in self.masks]) * spacing_of(REGION_GRID)
        return np.where(distances.min(0) <= TERRITORY_MM, distances.argmin(0) + 1, 0).astype(np.uint8)


def _flow_out_of(source: NDArray[np.float32], sink: NDArray[np.float32]) -> Vectors:
    """Gradient whose divergence is ``source``, and as much negative in the ``sink``."""
    divergence = source - sink * (source.sum() / sink.sum())
    step = spacing_of(REGION_GRID)
    axes = [fftfreq(n, step) for n in source.shape[:-1]] + [rfftfreq(source.shape[-1], step)]
    waves = np.meshgrid(*[2 * np.pi * axis for axis in axes], indexing="ij", sparse=True)
    potential = -rfftn(divergence) / (sum(wave**2 for wave in waves) + SCREENING_MM**-2)
    return np.stack([irfftn(1j * wave * potential, s=source.shape) for wave in waves]).astype(np.float32)


def _smooth_step(values: NDArray[np.float32]) -> NDArray[np.float32]:
    clipped = values.clip(0, 1)
    return clipped**2 * (3 - 2 * clipped)
