"""Simulated subjects: anatomy, size, age, sex, and course of the disease."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float32

from vagan.geometry import Grid
from vagan.seeding import numpy_generator
from vagan.simulation.base import PART_OF, REGIONS
from vagan.simulation.fields import Vectors, smooth_noise, spacing_of
from vagan.simulation.morphology import LogVolumes

Subtype = Literal["", "hippocampal", "ventricular"]

DISEASE: Mapping[Subtype, Mapping[str, float]] = {
    "": {},
    "hippocampal": {"hippocampus": -0.40, "ventricle": 0.20},
    "ventricular": {"hippocampus": -0.15, "ventricle": 0.55},
}
"""Logarithm of the volume ratio at severity 1."""

LATE_STAGE = {"temporal": -0.18}  # what comes to it at severity 1, and from `LATE_FROM` on in proportion
LATE_FROM = 0.6

SEVERITY = (0.4, 1.0)
ASYMMETRY = 0.15  # standard deviation of the difference between the sides, relative to their mean

AGES = (60.0, 82.0)  # years at the first visit
YEARS_BETWEEN = (1.0, 4.0)
AGE_MEAN = 71.0
AGING_PER_YEAR = {"hippocampus": -0.006, "ventricle": 0.015, "temporal": -0.002}
NATURE = {"hippocampus": 0.06, "ventricle": 0.12, "temporal": 0.02}
"""Standard deviation of the log volumes among people of one age; half of its variance is the sides' own."""

SIZE = {"F": 0.89, "M": 0.93}  # length of a head over that of the MNI template, which is larger than most
SIZE_SD = 0.025

ANATOMY = Grid.spanning((-98, -134, -120), (98, 98, 116), 4.0)
ANATOMY_MM = ((2.5, 28.0), (1.2, 11.0))
"""Standard deviation and smoothness of the velocities that make one anatomy of another."""


@dataclass(frozen=True)
class Visit:
    """One scan of a subject."""

    session: str
    age_years: float
    normal: LogVolumes  # what nature and age made of the regions
    disease: LogVolumes = field(default_factory=dict)  # what the disease adds; nothing in a healthy subject

    @property
    def ill(self) -> bool:
        """Whether the scan belongs to the class of interest."""
        return bool(self.disease)

    @property
    def log_volumes(self) -> LogVolumes:
        """All together."""
        return {name: self.normal[name] + self.disease.get(name, 0.0) for name in REGIONS}


@dataclass(frozen=True)
class Subject:
    """A person with one or two healthy scans, or a healthy one and a later one with the disease."""

    number: int
    sex: Literal["F", "M"]
    size: float
    subtype: Subtype
    severity: float
    visits: tuple[Visit, ...]

    @property
    def name(self) -> str:
        """As in BIDS."""
        return f"sub-{self.number:04d}"


def draw_subject(
    number: int, subtype: Subtype, *, seed: int, strength: float = 1.0, healthy_follow_up: bool = False
) -> Subject:
    """Draw a subject; the same arguments give the same one.

    Each ``number``, from 1, has its own randomness under the cohort's ``seed``. ``subtype`` is that of the disease
    that the second visit finds, ``""`` for healthy subjects; ``strength`` a factor of all that the disease does. With
    ``healthy_follow_up`` healthy subjects come twice, as far apart as patients; nothing else changes by it.

    Healthy subjects are scanned at the age that they would have two visits later, with a follow-up at the age of the
    visit before too, so that both classes are of the same age on average.
    """
    rng = numpy_generator(seed, "atrophy subject", number)
    sex: Literal["F", "M"] = "F" if rng.random() < 0.5 else "M"
    size = float(SIZE[sex] + SIZE_SD * rng.standard_normal())
    first_age, years = rng.uniform(*AGES), rng.uniform(*YEARS_BETWEEN)
    own = {part: rng.standard_normal() for part in NATURE}
    regions = PART_OF.items()
    nature = {name: NATURE[part] * (own[part] + rng.standard_normal()) / np.sqrt(2) for name, part in regions}

    def normal(age: float) -> LogVolumes:
        return {name: float(nature[name] + AGING_PER_YEAR[part] * (age - AGE_MEAN)) for name, part in regions}

    severity = float(rng.uniform(*SEVERITY))
    uneven = {part: ASYMMETRY * rng.standard_normal() for part in NATURE}
    if not subtype:
        ages = [first_age + years] * healthy_follow_up + [first_age + 2 * years]
        visits = tuple(Visit(f"ses-{n:02d}", age, normal(age)) for n, age in enumerate(ages, start=1))
        return Subject(number, sex, size, "", 0.0, visits)
    changes = {part: severity * (strength * change) for part, change in DISEASE[subtype].items()}
    if severity > LATE_FROM:
        share = (severity - LATE_FROM) / (1 - LATE_FROM)
        changes |= {part: strength * share * change for part, change in LATE_STAGE.items()}
    disease = {
        name: changes[part] * (1 + uneven[part] * (1 if name.endswith("left") else -1))
        for name, part in regions
        if part in changes
    }
    after = first_age + years
    visits = (Visit("ses-01", first_age, normal(first_age)), Visit("ses-02", after, normal(after), disease))
    return Subject(number, sex, size, subtype, severity, visits)


def anatomy_velocity(number: int, brain: Float32[np.ndarray, "x y z"], *, seed: int) -> Vectors:
    """Velocity, on `ANATOMY`, whose flow takes points of a subject's head, of the template's size, to the base.

    It gives each subject an own anatomy by a smooth, invertible warp; ``brain`` stays in its place on average.
    """
    rng = numpy_generator(seed, "atrophy anatomy", number)
    parts = [
        sum(
            np.float32(amount) * smooth_noise(rng, ANATOMY.shape, sigma / spacing_of(ANATOMY))
            for amount, sigma in ANATOMY_MM
        )
        for _ in range(3)
    ]
    return np.stack([part - np.average(part, weights=brain).astype(np.float32) for part in parts])
