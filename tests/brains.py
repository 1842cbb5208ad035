"""A made-up brain as a formula, so that any pose, illness and grid of it is exact, and effects are known."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import torch

from heads import oriented, rotation
from tables import table_of, write_made_up
from vagan.data.schema import CohortCase
from vagan.geometry import Grid, transform_points
from vagan.preprocessing.scan import Scan

SEMI_AXES_MM = np.array([60.0, 74.0, 56.0])
GRID = Grid.upright((38, 46, 36), (4.0, 4.0, 4.0), (0, 0, 0))

GREY, FLUID = 100.0, 30.0


def brain_at(points, seed=0, disease=0.0):
    """Intensities of a subject's brain at points in mm, and whether they lie in it; ventricles grow with disease."""
    rng = np.random.default_rng(seed)
    inside = np.linalg.norm(points / (SEMI_AXES_MM * rng.normal(1, 0.02, 3)), axis=-1) < 1
    folds = np.zeros(points.shape[:-1])
    for _ in range(24):
        wave = rng.normal(size=3)
        wave *= 2 * np.pi / rng.uniform(18, 40) / np.linalg.norm(wave)
        folds += rng.uniform(2, 7) * np.cos(points @ wave + rng.uniform(0, 2 * np.pi))
    size = rng.normal(1, 0.1) * (1 + 0.5 * disease)
    values = GREY + folds
    for center in ((14, 0, 6), (-14, 0, 6), (26, -12, -22), (-26, -12, -22)):
        radii = np.array([7, 20, 9]) * size if center[2] > 0 else np.array([6, 10, 6]) * (1 + 0.6 * disease)
        depth = np.linalg.norm((points - np.array(center)) / radii, axis=-1)
        values = FLUID + (values - FLUID) / (1 + np.exp(-12 * (depth - 1)))
    return np.where(inside, values, 0), inside


def places(grid):
    return transform_points(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))


def prepared(grid=GRID, pose=None, *, noise=0.0, shading=0.0, gain=1.0, draw=0, **more):
    """A scan as it comes out of the preprocessing: in [-1, 1], -1 outside the brain.

    ``pose`` takes a point of the grid to its place in the brain.
    """
    points = places(grid) if pose is None else transform_points(pose, places(grid))
    values, inside = brain_at(points, **more)
    rng = np.random.default_rng([draw, 5])
    field = np.exp(shading * np.tensordot(points / 60, rng.normal(size=3), 1) / np.sqrt(3))
    values = gain * values * field + np.where(inside, rng.normal(0, noise * GREY, grid.shape), 0)
    return Scan((values / 75 - 1).clip(-1, 1).astype(np.float32) * inside - ~inside, grid, inside)


def exact_effect(grid=GRID, pose=None, *, gain=1.0, seed=0, disease=0.0, before=0.0):
    """What the disease did between two noiseless scans on one grid, in prepared intensity."""
    scans = [prepared(grid, pose, gain=gain, seed=seed, disease=ill).image for ill in (before, disease)]
    return scans[1] - scans[0]


def raw_head(seed, disease, codes, *, draw=0, spacing_mm=(5.0, 5.5, 6.0), shape=(30, 32, 24)):
    """A stripped head of the scanner: turned and shifted, with noise and shading, 0 outside, axes along ``codes``."""
    rng = np.random.default_rng([seed, draw])
    pose = rotation(rng.normal(0, 3, 3))
    pose[:3, 3] = rng.normal(0, 2, 3)
    grid = Grid.upright(shape, spacing_mm, (0, 0, 0))
    points = transform_points(pose, places(grid))
    values, inside = brain_at(points, seed, disease)
    field = np.exp(0.1 * np.tensordot(points / 60, rng.normal(size=3), 1))
    noisy = np.hypot(values * field + rng.normal(0, 2, shape), rng.normal(0, 2, shape)) * rng.uniform(0.9, 1.1)
    image = nib.Nifti1Image(np.where(inside, noisy, 0).astype(np.float32), grid.affine)
    image.header.set_xyzt_units("mm")
    return oriented(image, codes)


@dataclass(frozen=True)
class Visited:
    """A visit of a made-up patient."""

    subject: str
    session: str
    label: int
    disease: float
    split: str = "test"


COARSE = Grid.upright((20, 24, 19), (7.0, 7.0, 7.0), (0, 0, 0))


def write_brains(folder, visits, *, noise=0.02, pose_sd=0.7, grid=COARSE):
    """A cohort of prepared brains, each visit in a slightly different pose, with shading, gain and noise."""
    names = [visit.subject for visit in visits]
    table = table_of(
        [visit.label for visit in visits],
        ("MCI", "AD"),
        [visit.split for visit in visits],
        id=[f"{visit.subject}_{visit.session}" for visit in visits],
        subject=names,
        session=[visit.session for visit in visits],
        field_strength="3",
        adas13=[f"{10 + 15 * visit.label + len(names) - place}" for place, visit in enumerate(visits)],
    )

    def case_at(row):
        visit, rng = visits[row], np.random.default_rng([row, 7])
        pose = rotation(rng.normal(0, pose_sd, 3))
        pose[:3, 3] = rng.normal(0, pose_sd, 3)
        gain = rng.normal(1, 0.03)
        seed = sorted(set(names)).index(visit.subject)
        scan = prepared(grid, pose, noise=noise, shading=0.03, gain=gain, draw=row, seed=seed, disease=visit.disease)
        return CohortCase(scan.image[None])

    return write_made_up(folder, table, case_at, spacing_mm=grid.spacing_mm.tolist(), affine=grid.affine.tolist())


def patients(converters=3, stable=3, learned=3):
    """Test subjects that convert within 24 months or do not, and some of each class to train and validate on."""
    visits = [
        Visited(f"c{n}", code, label, label) for n in range(converters) for code, label in (("bl", 0), ("m24", 1))
    ]
    visits += [Visited(f"s{n}", code, n % 2, float(n % 2)) for n in range(stable) for code in ("bl", "m24")]
    return visits + [
        Visited(f"{split}{n}", "bl", n % 2, float(n % 2), split)
        for split in ("train", "validation")
        for n in range(2 * learned)
    ]


class Oracle:
    """Knows what the disease did to each subject, but for its pose."""

    convention, unit, cost = "signed", "none", 1

    def __init__(self, cohort, name="oracle"):
        self.name = name
        self._images = cohort.images(np.arange(len(cohort.manifest)))
        self._subjects = list(cohort.manifest.table["subject"])

    def attribute(self, images, covariates=None):
        rows = [int((self._images - image).abs().flatten(1).sum(1).argmin()) for image in images]
        seeds = [sorted(set(self._subjects)).index(self._subjects[row]) for row in rows]
        return torch.from_numpy(np.stack([exact_effect(COARSE, seed=seed, disease=1.0)[None] for seed in seeds]))
