"""Heads for tests of the preprocessing: made up, or the MNI152 brain in another pose."""

from pathlib import Path

import nibabel as nib
import numpy as np

from vagan.geometry import Grid, resample, transform_points
from vagan.preprocessing.brain import StripSkull
from vagan.preprocessing.pipeline import Pipeline
from vagan.preprocessing.steps import Conform, Rescale

SPACING_MM = (5.0, 6.0, 7.0)
SHAPE = (26, 25, 20)

QUICK = Pipeline(
    steps=(
        StripSkull(method="none", brain_ml=(100, 5000), second_opinion=False),
        Conform(spacing_mm=8.0, shape=(16, 18, 17), center_mm=(0, 0, 0)),
        Rescale(),
    )
)
"""A pipeline of well under a second: no registration, no N4."""


def ball(seed=0, shape=SHAPE, spacing=SPACING_MM):
    """A ball of 55 mm with texture, brighter on its left; 0 outside. Array and affine, RAS+, centred."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * (np.array(shape) - 1) / 2
    places = transform_points(affine, np.moveaxis(np.indices(shape), 0, -1))
    texture = np.random.default_rng(seed).normal(100, 5, shape)
    inside = np.linalg.norm(places, axis=-1) < 55
    left = np.linalg.norm(places - (-25, 10, 5), axis=-1) < 15
    return np.where(inside, texture + 60 * left, 0).astype(np.float32), affine


def oriented(image, codes):
    """The same image with its axes along the given directions."""
    there = nib.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), there))


def save_head(path: Path, seed=0, codes="RAS", **more):
    """Write a ball as NIfTI with its axes along the given directions."""
    array, affine = ball(seed, **more)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(oriented(image, codes), path)
    return path


def rotation(degrees):
    """Rotations about x, y and z, one after the other, as a 4x4 matrix."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(4)
        a, b = [other for other in range(3) if other != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def posed(image, mask, grid, pose, *, spacing_mm, shape, noise=0.02, bias=0.1, seed=0):
    """A head moved by ``pose`` (scanner mm from the head's own), with a coil's shading and Rician noise."""
    center = transform_points(pose, transform_points(grid.affine, np.argwhere(mask).mean(axis=0)))
    onto = Grid.upright(shape, spacing_mm, center)
    back = np.linalg.inv(pose)
    moved, brain = resample(image, grid, onto, back), resample(mask, grid, onto, back) > 0.5
    rng = np.random.default_rng(seed)
    along = np.stack(np.meshgrid(*[np.linspace(-1, 1, extent) for extent in shape], indexing="ij"))
    shading = np.exp(bias * np.tensordot(rng.normal(size=3), along, 1))
    level = noise * float(image.max())
    noisy = np.hypot(moved * shading + rng.normal(0, level, shape), rng.normal(0, level, shape))
    return noisy.astype(np.float32), brain, onto
