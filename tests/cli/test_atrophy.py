import nibabel as nib
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--subjects", 5, "at least 20 subjects are needed, found 5"),
        ("--spacing-mm", 0.2, "voxels must be of 1 to 8 mm, found 0.2"),
        ("--spacing-mm", "nan", "voxels must be of 1 to 8 mm, found nan"),
        ("--raw-spacing-mm", 0.5, "voxels must be of 1 to 8 mm, found 0.5"),
        ("--strength", 0, "the strength must be above 0 and at most 2, found 0"),
        ("--base", "mni", "the base must be one of mni152, robex, colin27, or a NIfTI file, found 'mni'"),
        ("--base", "nowhere.nii.gz", "nowhere.nii.gz does not exist"),
        ("--jobs", -1, "--jobs must be 0 or more, found -1"),
    ],
)
def test_bad_options_are_told_in_one_line(refused, tmp_path, option, value, message):
    assert message in refused("atrophy", tmp_path / "out", option, value)


def test_a_base_that_is_no_brain_in_mni_space(refused, tmp_path):
    image = np.zeros((40, 50, 45), np.float32)
    image[10:20, 10:20, 10:20] = 1 + np.random.default_rng(0).random((10, 10, 10))
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "cube.nii.gz")
    assert "must lie in MNI space" in refused("atrophy", tmp_path / "out", "--base", tmp_path / "cube.nii.gz")


def test_folders_with_other_things_in_them_are_refused_before_any_work(refused, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.tex").write_text("years of work", encoding="utf-8")
    assert "study holds thesis.tex" in refused("atrophy", tmp_path / "study")
    assert "study holds thesis.tex" in refused("atrophy", tmp_path / "out", "--raw", tmp_path / "study")
