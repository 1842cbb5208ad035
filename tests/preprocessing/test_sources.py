from pathlib import Path

import pytest

from heads import save_head
from vagan.preprocessing.sources import collect_scans, jobs_of, repeated_rows, upstream_of


def test_a_folder_of_scans_and_a_folder_for_each_class(tmp_path):
    for name in ("b", "a"):
        save_head(tmp_path / "flat" / f"{name}.nii.gz")
        save_head(tmp_path / "classes" / "CN" / f"{name}.nii.gz")
    save_head(tmp_path / "classes" / "AD" / "c.nii")
    assert list(collect_scans(tmp_path / "flat")["subject"]) == ["a", "b"]
    table = collect_scans(tmp_path / "classes")
    assert list(zip(table["subject"], table["class"], strict=True)) == [("c", "AD"), ("a", "CN"), ("b", "CN")]


def test_a_table_with_paths_beside_it(tmp_path):
    save_head(tmp_path / "x" / "a.nii.gz")
    (tmp_path / "t.csv").write_text(
        "image,subject,session,group,mask\nx/a.nii.gz,s1,m00,CN,\nx/a.nii.gz,s1,m06,AD,m.nii\n", encoding="utf-8"
    )
    table = collect_scans(tmp_path / "t.csv", class_column="group")
    assert list(table["id"]) == ["s1_m00", "s1_m06"]
    assert list(table["class"]) == ["CN", "AD"]
    first, second = jobs_of(table)
    assert (first.image, first.mask) == (tmp_path / "x" / "a.nii.gz", None)
    assert second.mask == tmp_path / "m.nii"


def test_a_visit_that_comes_twice_is_found_whatever_its_spelling(tmp_path):
    (tmp_path / "t.csv").write_text(
        "image,subject,session\na.nii,sub-01,\nb.nii,0_1,\nc.nii,01,m06\n", encoding="utf-8"
    )
    assert list(repeated_rows(collect_scans(tmp_path / "t.csv"))["subject"]) == ["0_1"]


@pytest.mark.parametrize(
    ("name", "upstream"),
    [
        ("sub-1_T1w.nii.gz", "raw"),
        ("t1_linear/sub-1_space-MNI152NLin2009cSym_desc-Crop_res-1x1x1_T1w.nii.gz", "t1-linear"),
        ("sub-1_space-MNI152NLin2009cSym_res-1x1x1_T1w.nii.gz", "t1-linear"),
        ("sub-1_ses-2_T1w_space-MNI152NLin2009cSym_desc-Crop_res-1x1x1_T1w.nii.gz", "t1-linear"),
        ("sub-1_run-2_desc-preproc_T1w.nii.gz", "fmriprep"),
        ("sub-1_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz", "raw"),
    ],
)
def test_others_output_is_known_by_its_name(name, upstream):
    assert upstream_of(Path(name)) == upstream


def test_a_caps_of_clinica(tmp_path):
    visit = tmp_path / "caps" / "subjects" / "sub-1" / "ses-M000" / "t1_linear"
    stem = "sub-1_ses-M000_space-MNI152NLin2009cSym"
    for name in (f"{stem}_desc-Crop_res-1x1x1_T1w", f"{stem}_res-1x1x1_T1w"):
        save_head(visit / f"{name}.nii.gz")
    (job,) = jobs_of(collect_scans(tmp_path / "caps"))
    assert (job.subject, job.session, job.upstream) == ("sub-1", "ses-M000", "t1-linear")
    assert "desc-Crop" in job.image.name


def test_derivatives_of_fmriprep_with_their_masks_and_the_datasets_classes(tmp_path):
    folder = tmp_path / "bids" / "derivatives" / "fmriprep" / "sub-1" / "anat"
    for name in ("desc-preproc_T1w", "desc-brain_mask", "space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w"):
        save_head(folder / f"sub-1_{name}.nii.gz")
    (tmp_path / "bids" / "participants.tsv").write_text("participant_id\tdx\nsub-1\tCN\n", encoding="utf-8")
    table = collect_scans(folder.parents[1], class_column="dx")
    (job,) = jobs_of(table)
    assert (job.image, job.mask, job.upstream) == (
        folder / "sub-1_desc-preproc_T1w.nii.gz",
        folder / "sub-1_desc-brain_mask.nii.gz",
        "fmriprep",
    )
    assert list(table["class"]) == ["CN"]


def test_a_mask_beside_a_scan_is_its_mask_and_no_scan(tmp_path):
    scan = save_head(tmp_path / "a_T1w.nii.gz")
    mask = save_head(tmp_path / "a_desc-brain_mask.nii.gz")
    for source in (tmp_path, scan):
        (job,) = jobs_of(collect_scans(source))
        assert (job.image, job.mask) == (scan, mask)
