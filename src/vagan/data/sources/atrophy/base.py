"""Real brains that ship in packages, on a lattice of 1 mm in MNI space, with their regions."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from vagan.data.sources.atrophy.fields import Lattice
from vagan.data.sources.atrophy.regions import Masks, Tissue, find_regions, temporal_horns
from vagan.data.volume import read_volume
from vagan.errors import CohortError, MissingExtraError

TEMPLATE = Lattice((-98.0, -134.0, -72.0), 1.0, (197, 233, 189))
"""The lattice of the MNI152 template (ICBM 2009a, symmetric)."""

NILEARN_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
KINDS = ("t1", "gm", "wm")

CSF_LEVEL = 0.3
"""Intensity of fluid where white matter has 1."""


@dataclass(frozen=True)
class Base:
    """A brain that all subjects are variations of.

    Attributes
    ----------
    lattice
        Points in MNI space.
    image
        T1-weighted intensities: white matter 1; around the brain the level of fluid.
    brain
        Where the brain is.
    fluid
        Ventricles, sulci, and all around the brain.
    regions
        Masks, by name; see `regions`.
    """

    name: str
    lattice: Lattice
    image: Float32[np.ndarray, "x y z"]
    brain: NDArray[np.bool_]
    fluid: NDArray[np.bool_]
    regions: Masks


def load_base(name: str) -> Base:
    """Load a brain by its name in `BASES`."""
    if name not in BASES:
        raise CohortError(f"the base must be one of {', '.join(BASES)}, found {name!r}")
    return BASES[name]()


def _mni152() -> Base:
    """The average of 152 brains, with its maps of grey and white matter."""
    image, grey, white = (_packaged("nilearn", f"datasets/data/{NILEARN_FILE.format(kind)}") for kind in KINDS)
    grey, white = grey / grey.max(), white / white.max()
    brain = binary_fill_holes(image > 0.1 * image.max())
    csf = brain & (grey + white < 0.5)
    tissue: dict[Tissue, NDArray[np.bool_]] = {"csf": csf, "grey": brain & (grey > 0.5), "brain": brain & ~csf}
    scaled = np.where(brain, image / np.median(image[white > 0.8]), CSF_LEVEL).astype(np.float32)
    regions = find_regions(TEMPLATE, tissue)
    horns = temporal_horns(TEMPLATE, regions)
    drawn = scaled + horns * (np.minimum(scaled, CSF_LEVEL) - scaled)
    return Base("mni152", TEMPLATE, drawn, brain, csf | ~brain | (horns > 0.5), regions)


def _packaged(package: str, path: str) -> NDArray[np.float32]:
    """A file of a package, which need not be imported for it."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise MissingExtraError(f"simulated atrophy needs the brain in {package}: pip install 'vagan[mri]'")
    volume = read_volume(Path(found.origin).parent / path)
    if volume.array.shape != TEMPLATE.shape or not np.allclose(volume.affine, TEMPLATE.affine):
        raise CohortError(
            f"{path} of {package} must have {TEMPLATE.shape} points of 1 mm, found {volume.array.shape}"
        )
    return volume.array


BASES: dict[str, Callable[[], Base]] = {"mni152": _mni152}
