"""A map comes back onto the raw file's own grid, whatever the file: places are worked out with nibabel alone."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from heads import QUICK, ball, oriented, rotation
from vagan.data.volume import write_like
from vagan.geometry import transform_points
from vagan.preprocessing.scan import read_scan

CODES = ["".join(axes) for order in permutations(("RL", "AP", "SI")) for axes in product(*order)]
SUFFIXES = (".nii.gz", ".nii", ".mgz")
SPOT_MM = np.array([-25.0, 10.0, 5.0])


def field(places):
    """Smooth, and different along each axis and in each direction."""
    return np.exp(-(np.linalg.norm(places - SPOT_MM, axis=-1) ** 2) / 800)


def save_oblique(path, codes):
    """The ball with anisotropic voxels (5 x 6 x 7 mm), tilted, its axes along ``codes``; NIfTI as scaled int16."""
    array, affine = ball()
    tilted = rotation((7, -5, 11)) @ affine
    kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
    image = oriented(kind(array, tilted.astype(np.float32)), codes)
    if kind is nib.Nifti1Image:
        image.header.set_xyzt_units("mm")
        image.set_data_dtype(np.int16)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("number", "codes"), list(enumerate(CODES)))
def test_a_map_returns_to_its_place_in_a_file_of_any_axes(number, codes, tmp_path):
    path = save_oblique(tmp_path / f"a{SUFFIXES[number % 3]}", codes)
    raw = read_scan(path)
    assert raw.volume.orientation_code == codes
    assert raw.warnings == ()
    prepared = QUICK.run(raw)
    grid = prepared.scan.grid
    in_template = field(transform_points(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1)))
    write_like(tmp_path / "map.nii.gz", prepared.to_raw(in_template.astype(np.float32)), raw.volume)

    own, back = nib.load(path), nib.load(tmp_path / "map.nii.gz")
    assert back.shape == own.shape
    assert np.array_equal(back.affine, own.affine)
    places = nib.affines.apply_affine(own.affine, np.moveaxis(np.indices(own.shape), 0, -1))
    inside = own.get_fdata() > 50
    values = back.get_fdata()
    assert np.corrcoef(values[inside], field(places)[inside])[0, 1] >= 0.98
    weights = values * (np.linalg.norm(places - SPOT_MM, axis=-1) < 30)
    landmark = (places * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()
    truth = field(places) * (weights > 0)
    expected = (places * truth[..., None]).sum(axis=(0, 1, 2)) / truth.sum()
    assert np.linalg.norm(landmark - expected) < 0.5
