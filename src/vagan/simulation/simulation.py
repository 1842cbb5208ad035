"""One scan of one subject on any grid, with and without the disease."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from vagan.constants import BACKGROUND
from vagan.data.preparation import rescale_intensity
from vagan.data.schema import CohortCase
from vagan.geometry import SIGMA_OF_FWHM, Coordinates, Grid, affine_of, move
from vagan.seeding import numpy_generator
from vagan.simulation.base import Base, load_base
from vagan.simulation.fields import Image, Warp, integrate_velocity, sample, smooth_noise, spacing_of
from vagan.simulation.morphology import REGION_GRID, LogVolumes, Morphology
from vagan.simulation.subject import ANATOMY, Subject, Visit, anatomy_velocity

PIVOT_MM = np.array([0.0, -17.0, 12.0])  # the middle of the brain, about which heads turn
SHADING = Grid.spanning((-200, -200, -200), (200, 200, 200), 20.0)
SHADING_MM = 45.0


@dataclass(frozen=True)
class Protocol:
    """How much scans differ: standard deviations, but for the ranges."""

    turn_deg: float  # of the pose, about each axis
    shift_mm: float  # of the pose, along each axis
    zoom: float  # of the pose, the logarithm of the scale
    gamma: tuple[float, float] = (0.85, 1.25)  # range of the exponent of intensities, a subject's own
    gamma_drift: float = 0.03  # its change from scan to scan
    shading: float = 0.02  # logarithm of the coil's brightness
    noise: tuple[float, float] = (0.008, 0.02)  # range of the noise, relative to white matter


PREPARED = Protocol(turn_deg=0.8, shift_mm=0.8, zoom=0.01)  # left after bias correction and registration
RAW = Protocol(turn_deg=6.0, shift_mm=6.0, zoom=0.0, shading=0.12)  # a scan as it leaves the scanner


def draw_pose(rng: np.random.Generator, protocol: Protocol) -> NDArray[np.float64]:
    """Matrix that takes points in the scanner to the head."""
    angles = np.deg2rad(protocol.turn_deg) * rng.standard_normal(3)
    turned = Rotation.from_euler("xyz", angles * (1, -1, 1)).as_matrix()
    turned *= np.exp(protocol.zoom * rng.standard_normal())
    return affine_of(turned, PIVOT_MM - turned @ PIVOT_MM + protocol.shift_mm * rng.standard_normal(3))


def shading(rng: np.random.Generator, coordinates: Coordinates, protocol: Protocol) -> Image:
    """Factor by which the coil brightens these coordinates."""
    field = protocol.shading * smooth_noise(rng, SHADING.shape, SHADING_MM / spacing_of(SHADING))
    return np.exp(sample(field[None].astype(np.float32), SHADING, coordinates)[0])


def noise_pair(rng: np.random.Generator, shape: tuple[int, ...], protocol: Protocol) -> NDArray[np.float32]:
    """Noise of the real and the imaginary part of a scan, for `magnitude`."""
    return np.float32(rng.uniform(*protocol.noise)) * rng.standard_normal((2, *shape), dtype=np.float32)


def magnitude(image: Image, noise: NDArray[np.float32]) -> Image:
    """What is seen of an image in complex noise: Rician values."""
    return np.hypot(image + noise[0], noise[1])


BOX_MM = (166.4, 208.0, 145.6)
"""The box around `PIVOT_MM` that prepared scans fill: 128x160x112 voxels of 1.3 mm; as in ``vagan preprocess``."""
DIVISOR = 8  # networks halve images three times
PERCENTILES = (1.0, 99.0)  # intensities of the brain that become -1 and 1; as in ``vagan preprocess``


def prepared_grid(spacing_mm: float) -> Grid:
    """The grid of prepared scans: the box, in whole multiples of eight voxels."""
    x, y, z = (int(np.ceil(round(extent / spacing_mm / DIVISOR, 6))) * DIVISOR for extent in BOX_MM)
    return Grid.upright((x, y, z), spacing_mm, PIVOT_MM)


@lru_cache(maxsize=1)
def _prepared_base(name: str) -> tuple[Base, Morphology]:
    base = load_base(name)
    return base, Morphology.of(base)


@dataclass(frozen=True)
class Clean:
    """A scan without noise and shading: what is there, and what would be."""

    present: Image  # intensities
    healthy: Image  # the same without the disease; equal where it moves nothing, and in the healthy
    brain: NDArray[np.bool_]  # where the brain is, with and without the disease
    template: Coordinates  # where each point's tissue comes from in the template


@dataclass(frozen=True)
class Simulation:
    """A base, ready to be made subjects of."""

    base: Base
    morphology: Morphology
    seed: int
    _anatomies: dict[int, Warp] = field(default_factory=dict, init=False)
    _blurs: dict[float, tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict, init=False)

    @classmethod
    def on(cls, base: str, *, seed: int) -> "Simulation":
        """Load a base by its name in `BASES` and prepare it; takes seconds when first done."""
        return cls(*_prepared_base(base), seed)

    def volumes_ml(self, subject: Subject, visit: Visit) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Volumes of `REGIONS` in the subject's own size: as they are, and as they would be without the disease."""
        own = self.anatomy(subject)(REGION_GRID.coordinates())

        def volumes(changes: LogVolumes) -> NDArray[np.float64]:
            return self.morphology.volumes_ml(self.morphology.deformation(changes)(own)) * subject.size**3

        present = volumes(visit.log_volumes)
        return present, volumes(visit.normal) if visit.ill else present

    def brain_ml(self, subject: Subject) -> float:
        """Volume of the brain with its fluid, in the subject's own size."""
        anatomy = self.anatomy(subject)
        inside = sample(self._soft_brain[None], self.base.grid, anatomy(anatomy.grid.coordinates()), outside="zeros")
        return float(inside.sum(dtype=float)) * anatomy.grid.voxel_ml * subject.size**3

    def clean(
        self, subject: Subject, visit: Visit, at: Coordinates, *, spacing_mm: float, gamma: float, head: bool = False
    ) -> Clean:
        """What is ``at`` these points of the subject's own, template-sized space.

        ``spacing_mm`` is the distance of the points, to which the base is blurred first; ``gamma`` the exponent of
        intensities. With ``head`` it is the whole head, if the base has one; else the brain with fluid around it.
        """
        image, brain = self._blurred(spacing_mm)
        if head and self.base.head is not None:
            image = self.base.head
        own = self.anatomy(subject)(at)

        def seen(template: Coordinates) -> NDArray[np.float32]:
            return sample(image[None], self.base.grid, template)[0].clip(0) ** np.float32(gamma)

        template = self.morphology.deformation(visit.log_volumes)(own)
        present = seen(template)
        healthy = seen(self.morphology.deformation(visit.normal)(own)) if visit.ill else present
        # the skull does not shrink with the brain: what the disease leaves at the border is fluid
        inside = sample(brain[None], self.base.grid, own, outside="zeros")[0] > 0.5
        return Clean(present, healthy, inside, template)

    def prepared(self, subject: Subject, visit: Visit, grid: Grid) -> CohortCase:
        """A scan as the preprocessing would give it, with the exact effect and counterfactual."""
        rng = numpy_generator(self.seed, "atrophy scan", subject.number, subject.visits.index(visit))
        coordinates = grid.coordinates()
        gamma = self.gamma(subject, rng)
        posed = move(draw_pose(rng, PREPARED), coordinates)
        clean = self.clean(subject, visit, posed, spacing_mm=spacing_of(grid), gamma=gamma)
        bright = shading(rng, coordinates, PREPARED)
        noise = noise_pair(rng, grid.shape, PREPARED)
        seen = magnitude(clean.present * bright, noise)
        low, high = np.percentile(seen[clean.brain], PERCENTILES).astype(np.float32)

        def scaled(image: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.where(clean.brain, rescale_intensity(image, low, high), np.float32(BACKGROUND))

        image = scaled(seen)
        regions = np.where(clean.brain, self.morphology.territory_at(clean.template), 0).astype(np.float32)
        if not visit.ill:
            return CohortCase(image[None], np.zeros_like(image)[None], image[None], regions[None])
        effect = scaled(clean.present) - scaled(clean.healthy)
        counterfactual = scaled(magnitude(clean.healthy * bright, noise))
        return CohortCase(image[None], effect[None], counterfactual[None], regions[None])

    def anatomy(self, subject: Subject) -> Warp:
        """The map from the subject's template-sized space to the base."""
        if subject.number not in self._anatomies:
            self._anatomies.clear()  # a subject's scans come one after the other
            velocity = anatomy_velocity(subject.number, self.brain_weight, seed=self.seed)
            self._anatomies[subject.number] = integrate_velocity(velocity, ANATOMY, outside="border")
        return self._anatomies[subject.number]

    @cached_property
    def brain_weight(self) -> Image:
        """The brain on `ANATOMY`, for `anatomy_velocity`."""
        return sample(self._soft_brain[None], self.base.grid, ANATOMY.coordinates(), outside="zeros")[0]

    def gamma(self, subject: Subject, rng: np.random.Generator) -> float:
        """Contrast of one of the subject's scans."""
        own = numpy_generator(self.seed, "atrophy contrast", subject.number).uniform(*PREPARED.gamma)
        return float(own + PREPARED.gamma_drift * rng.standard_normal())

    @cached_property
    def _soft_brain(self) -> NDArray[np.float32]:
        return self.base.brain.astype(np.float32)

    def _blurred(self, spacing_mm: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        ratio = spacing_mm / spacing_of(self.base.grid)
        if ratio <= 1.5:
            return self.base.image, self._soft_brain
        if spacing_mm not in self._blurs:
            sigma = np.sqrt(ratio**2 - 1) * SIGMA_OF_FWHM
            image, brain = (gaussian_filter(values, sigma) for values in (self.base.image, self._soft_brain))
            self._blurs[spacing_mm] = image, brain
        return self._blurs[spacing_mm]
