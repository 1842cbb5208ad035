"""The paper's synthetic images (Section 4.2), in 2-D and 3-D, with the exact effect and counterfactual.

Every image is smooth noise. Images of the class of interest also hold two bright squares: one in the centre, and one
towards the far (subtype A) or the near corner (B). A classifier needs only the central one; a map should show both.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from vagan.data.cohort import Cohort, write_cohort
from vagan.data.manifest import Manifest
from vagan.data.preparation import IntensityRule, Preparation, rescale_intensity
from vagan.data.schema import CohortCase, CohortMetadata
from vagan.data.splits import assign_splits
from vagan.errors import CohortError
from vagan.seeding import numpy_generator

NOISE_STD = 50.0
NOISE_SIGMA_VOX = 2.5
AMPLITUDE = 100.0

MEAN_AGE, AGE_STD = 70.0, 8.0
OLDER_BY = 8.0  #: Years that the class of interest is older on average than the baseline class, where there are ages.

MAX_IMAGES = 10**7
FIXED_RANGE = (-250.0, 350.0)
"""Five standard deviations of the noise below and above what an image can hold: nothing is clipped in practice."""

Pattern = Literal["squares", "discs", "sites"]
Subtype = Literal["", "A", "B"]
Mask = NDArray[np.float32]

PAPER_EXTENT = 112
SQUARE_VOX = 20
JITTER_VOX = (-5, 4)
RING_RADIUS, RING_WIDTH = 0.36, 0.05  #: In extents of the image.


def _at_two_places(
    add: Callable[[Mask, list[int]], None], size: tuple[int, ...], subtype: Subtype, rng: np.random.Generator
) -> Mask:
    """A shape in the centre, and another one towards the far (A) or near (B) corner, jittered along each axis."""
    mask = np.zeros(size, np.float32)
    if subtype:
        direction = 1 if subtype == "A" else -1
        jitter = zip(size, _jitter(size, rng), strict=True)
        add(mask, [extent // 2 for extent in size])
        add(mask, [extent // 2 + direction * _shift(extent) + wobble for extent, wobble in jitter])
    return mask


def _at_three_sites(size: tuple[int, ...], subtype: Subtype, rng: np.random.Generator) -> Mask:
    """Squares at three places on the diagonal, each there half of the time, at least one; subtypes are alike."""
    mask = np.zeros(size, np.float32)
    places = [[extent // 2 + part * _shift(extent) for extent in size] for part in (-1, 0, 1)]
    jitters = [_jitter(size, rng) for _ in places]
    present = np.zeros(len(places), bool)
    while subtype and not present.any():
        present = rng.random(len(places)) < 0.5
    for place, jitter, is_there in zip(places, jitters, present, strict=True):
        if is_there:
            _add_square(mask, [middle + wobble for middle, wobble in zip(place, jitter, strict=True)])
    return mask


def _shift(extent: int) -> int:
    return int(extent / 3.5 + 0.5)


def _jitter(size: tuple[int, ...], rng: np.random.Generator) -> list[int]:
    drawn = rng.integers(*JITTER_VOX, size=len(size), endpoint=True)
    return [round(wobble * extent / PAPER_EXTENT) for wobble, extent in zip(drawn, size, strict=True)]


def _add_square(mask: Mask, middle: list[int]) -> None:
    sides = [round(SQUARE_VOX * extent / PAPER_EXTENT) for extent in mask.shape]
    starts = [max(centre - side // 2, 0) for centre, side in zip(middle, sides, strict=True)]
    mask[tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))] = 1


def _add_disc(mask: Mask, middle: list[int]) -> None:
    """All pixels within a distance at which the disc, or ball, has the square's content."""
    unit_ball = math.pi ** (mask.ndim / 2) / math.gamma(mask.ndim / 2 + 1)
    radii = [SQUARE_VOX * extent / PAPER_EXTENT / unit_ball ** (1 / mask.ndim) for extent in mask.shape]
    grids = np.ogrid[tuple(slice(extent) for extent in mask.shape)]
    # a square of even side has its centre half a pixel before its middle pixel
    axes = zip(grids, middle, radii, strict=True)
    mask[sum(((grid - centre + 0.5) / radius) ** 2 for grid, centre, radius in axes) <= 1] = 1


PATTERNS: dict[Pattern, Callable[[tuple[int, ...], Subtype, np.random.Generator], Mask]] = {
    "squares": partial(_at_two_places, _add_square),
    "discs": partial(_at_two_places, _add_disc),
    "sites": _at_three_sites,
}
"""The paper's squares; discs, or balls, in their places and of their size; squares at one to three sites."""
CLASS_NAMES: dict[Pattern, str] = {"squares": "two squares", "discs": "two discs", "sites": "one to three squares"}


@dataclass(frozen=True)
class SyntheticCase:
    """One image of the cohort, with what is true about it. Arrays have the shape ``space``."""

    image: NDArray[np.float32]
    effect: NDArray[np.float32]  #: The paper's ground truth, the 0/1 mask of the squares.
    counterfactual: NDArray[np.float32]
    """The same image without the squares, of the same age and scaled by the same rule."""


def make_case(
    index: int,
    *,
    subtype: Subtype,
    size: tuple[int, ...] = (112, 112),
    seed: int = 0,
    intensity: IntensityRule = "per-image",
    pattern: Pattern = "squares",
    amplitude: float = AMPLITUDE,
    ageing: float = 0.0,
    age: float = MEAN_AGE,
) -> SyntheticCase:
    """Draw one image; the same arguments give the same image, whatever was drawn before.

    ``index`` is its position in the cohort, where each has its own noise, ``size`` its spatial shape, to which the
    squares keep the paper's proportion; ``subtype`` is empty for the baseline class. With the ``intensity``
    ``per-image`` (the paper) its own minimum and maximum go to -1 and 1, so that even the exact counterfactual does
    not correlate perfectly with the squares; with ``fixed`` those of one range for all. ``pattern``, see `PATTERNS`,
    is what the class adds and where, ``amplitude`` how much; the noise's standard deviation is 50. ``ageing`` is how
    much brighter a ring is for ten years more, whatever the class, and ``age`` the subject's in years; there is no
    ring at 70, and a dark one below.
    """
    rng = numpy_generator(seed, "synthetic image", index)
    noise = gaussian_filter(rng.standard_normal(size, dtype=np.float32), NOISE_SIGMA_VOX * min(size) / PAPER_EXTENT)
    noise *= np.float32(NOISE_STD / noise.std())
    effect = PATTERNS[pattern](size, subtype, rng)
    healthy = noise + effect_of_age(size, ageing=ageing, years=age - MEAN_AGE) if ageing else noise
    raw = healthy + np.float32(amplitude) * effect
    return SyntheticCase(_scale(raw, intensity), effect, _scale(healthy, intensity))


def effect_of_age(size: tuple[int, ...], *, ageing: float, years: float) -> NDArray[np.float32]:
    """What so many years add to an image before it is scaled, see `make_case`: a soft ring, or shell.

    The off-centre square is a part of the ring.
    """
    grids = np.ogrid[tuple(slice(extent) for extent in size)]
    radius = np.sqrt(sum(((grid + 0.5) / extent - 0.5) ** 2 for grid, extent in zip(grids, size, strict=True)))
    ring = np.exp(-0.5 * ((radius - RING_RADIUS) / RING_WIDTH) ** 2).astype(np.float32)
    return np.float32(ageing * years / 10) * ring


def square_regions(effects: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Split masks ``(case, channel, *space)`` into the central square and the other one."""
    parts = {"centre": np.zeros_like(effects), "off-centre": np.zeros_like(effects)}
    for index in np.ndindex(effects.shape[:2]):
        labels, _ = label(effects[index])
        central = labels == labels[tuple(extent // 2 for extent in labels.shape)]
        parts["centre"][index] = effects[index] * central
        parts["off-centre"][index] = effects[index] * ~central
    return parts


def _scale(raw: NDArray[np.float32], intensity: IntensityRule) -> NDArray[np.float32]:
    low, high = (raw.min(), raw.max()) if intensity == "per-image" else FIXED_RANGE
    return rescale_intensity(raw, low, high)


def make_synthetic_cohort(
    path: Path | str,
    *,
    n: int = 10_000,
    size: tuple[int, ...] = (112, 112),
    seed: int = 0,
    intensity: IntensityRule = "per-image",
    pattern: Pattern = "squares",
    amplitude: float = AMPLITUDE,
    ageing: float = 0.0,
) -> Cohort:
    """Write the synthetic cohort: half baseline, a quarter of each subtype, 64/16/20 % train/validation/test.

    Splits are stratified by subtype, so that both occur in every part. ``n`` is the number of images in all; the
    paper has 10,000. For the others see `make_case`; the size has two or three numbers. With ``ageing`` there is a
    column ``age``: normally distributed, the class of interest older by `OLDER_BY` years, a standard deviation.
    """
    if not 20 <= n <= MAX_IMAGES or min(size) < 16 or len(size) not in (2, 3):
        needed = f"20 to {MAX_IMAGES} images of at least 16 pixels along 2 or 3 axes"
        raise CohortError(f"{needed} are needed, found {n} of {size}")
    if not math.isfinite(amplitude) or amplitude == 0:
        raise CohortError(f"the amplitude must be a finite number other than 0, found {amplitude}")
    subtypes: list[Subtype] = [("", "A", "", "B")[row % 4] for row in range(n)]
    ids, labels = [f"{row:05d}" for row in range(n)], [int(bool(subtype)) for subtype in subtypes]
    classes = [CLASS_NAMES[pattern] if label else "baseline" for label in labels]
    table = pd.DataFrame({"id": ids, "subject": ids, "session": "", "label": labels, "class": classes})
    table["split"] = assign_splits(table.assign(subtype=subtypes), strata=("label", "subtype"), seed=seed)
    table["subtype"] = subtypes
    ages = np.full(n, MEAN_AGE)
    if ageing:
        drawn = numpy_generator(seed, "ages").normal(MEAN_AGE - OLDER_BY / 2, AGE_STD, n)
        ages = np.round(drawn + OLDER_BY * table["label"].to_numpy(), 1)
        table["age"] = ages

    def case_at(row: int) -> CohortCase:
        case = make_case(
            row, subtype=subtypes[row], size=size, seed=seed, intensity=intensity, pattern=pattern,
            amplitude=amplitude, ageing=ageing, age=float(ages[row]),
        )  # fmt: skip
        return CohortCase(case.image[None], case.effect[None], case.counterfactual[None])

    metadata = CohortMetadata(
        source=f"synthetic {pattern}: {n} images of {'x'.join(map(str, size))}, "
        f"seed {seed}, intensity {intensity}, amplitude {amplitude:g}" + (f", ageing {ageing:g}" if ageing else ""),
        preparation=Preparation(intensity=intensity, low=FIXED_RANGE[0], high=FIXED_RANGE[1]),
    )
    return write_cohort(Path(path), Manifest(table), metadata, case_at)
