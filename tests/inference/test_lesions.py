"""Masks and boxes of maps: what the scores of masks call marked, on the map's own grid."""

import imageio.v3 as imageio
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from vagan.data.volume import read_volume
from vagan.inference.lesions import write_mask


def blobs():
    """Two bright blocks, a darker one of either sign, and a speck."""
    values = np.zeros((17, 23), np.float32)
    values[2:5, 3:7] = 0.5
    values[10:16, 11:20] = -0.8
    values[12, 13] = -1.5
    values[7:9, 18:20] = 0.2  # below
    values[0, 22] = 0.9  # a speck
    return values


def test_masks_and_boxes_worked_by_hand(tmp_path):
    path = write_mask(tmp_path / "one", blobs()[None], 0.3)
    assert path == tmp_path / "one_mask.png"
    expected = np.zeros((17, 23), np.uint8)
    expected[2:5, 3:7] = expected[10:16, 11:20] = 255
    np.testing.assert_array_equal(imageio.imread(path), expected)
    table = pd.read_csv(tmp_path / "one_lesions.csv")
    assert table.columns.tolist() == ["first_0", "last_0", "first_1", "last_1", "pixels", "mean", "extreme"]
    large, small = table.itertuples(index=False)
    assert large[:5] == (10, 15, 11, 19, 54)
    assert (large.mean, large.extreme) == pytest.approx((-0.8 - 0.7 / 54, -1.5))
    assert small[:5] == (2, 4, 3, 6, 12)
    assert not imageio.imread(write_mask(tmp_path / "none", np.zeros((1, 9, 7), np.float32), 0.0)).any()
    assert len(pd.read_csv(tmp_path / "none_lesions.csv")) == 0
    values = np.zeros((3, 12, 10), np.float32)
    values[1, 2:5, 1:4] = 0.6
    values[2, 2:5, 1:4] = -0.7
    assert imageio.imread(write_mask(tmp_path / "rgb", values, 0.3)).sum() == 255 * 9
    assert pd.read_csv(tmp_path / "rgb_lesions.csv")["mean"].tolist() == pytest.approx([-0.7])


def test_a_volume_is_marked_where_it_lies(tmp_path):
    """On the same grid in a scanner's orientation; boxes in mm."""
    affine = np.array([[0, -2.0, 0, 9], [0, 0, 3.0, -4], [1.5, 0, 0, 1], [0, 0, 0, 1]])
    values = np.zeros((8, 9, 11), np.float32)
    values[1:4, 2:4, 5:9] = 1.0
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "scan_effect.nii.gz")
    volume = read_volume(tmp_path / "scan_effect.nii.gz")
    mask = nib.load(write_mask(tmp_path / "scan", volume.array[None], 0.5, volume))
    np.testing.assert_allclose(mask.affine, affine)
    np.testing.assert_array_equal(mask.get_fdata(), values)
    (row,) = pd.read_csv(tmp_path / "scan_lesions.csv").itertuples(index=False)
    assert row[:6] == pytest.approx((3, 5, 11, 20, 2.5, 5.5))  # 9 - 2 j, 3 k - 4, 1.5 i + 1
    assert row.pixels == 24
