import numpy as np
import pytest

from heads import save_head
from vagan.data.sources.bids import entities_of, find_scans, import_bids, is_bids
from vagan.data.sources.files import ImportOptions
from vagan.errors import ManifestError


def plain(path):
    """Images without a desc entity."""
    return None if "desc" in entities_of(path.name) else 0


@pytest.fixture
def dataset(tmp_path):
    """Four subjects; the first has two sessions, two runs and a prepared image; tables in two places."""
    root = tmp_path / "ds ü"
    for subject in ("01", "02", "03"):
        save_head(root / f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz")
    for session in ("m00", "m12"):
        save_head(root / f"sub-04/ses-{session}/anat/sub-04_ses-{session}_run-01_T1w.nii.gz")
    save_head(root / "sub-04/ses-m00/anat/sub-04_ses-m00_run-02_T1w.nii.gz")
    save_head(root / "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz")
    save_head(root / "sub-02/anat/sub-02_space-T1w_desc-preproc_T1w.nii.gz")
    save_head(root / "sub-03/anat/sub-03_desc-brain_mask.nii.gz")
    (root / "participants.tsv").write_text(
        "participant_id\tdiagnosis\tage\nsub-01\tCN\t70\nsub-02\tAD\t71\n03\tCN\tn/a\nsub-04\tCN\t73\n",
        encoding="utf-8",
    )
    (root / "sub-04/sub-04_sessions.tsv").write_text(
        "session_id\tdiagnosis\nses-m00\tCN\nses-m12\tAD\n", encoding="utf-8"
    )
    return root


def test_raw_scans_one_for_each_visit_of_the_wanted_participants(dataset, tmp_path):
    table = find_scans(dataset, rank=plain)
    assert list(table["id"]) == ["sub-01", "sub-02", "sub-03", "sub-04_ses-m00", "sub-04_ses-m12"]
    assert table["image"][3].endswith("run-01_T1w.nii.gz")
    assert table["mask"][2].endswith("sub-03_desc-brain_mask.nii.gz")
    assert (table["mask"].drop(2) == "").all()
    assert list(find_scans(dataset, rank=plain, participants=["02", "sub-03"])["subject"]) == ["sub-02", "sub-03"]
    table = find_scans(dataset / "derivatives" / "x", rank=plain, class_column="diagnosis")
    assert list(table["class"]) == ["CN"]
    assert is_bids(dataset)
    (tmp_path / "pictures" / "cats").mkdir(parents=True)
    assert not is_bids(tmp_path / "pictures")


def test_the_class_is_that_of_the_session_before_that_of_the_participant(dataset):
    table = find_scans(dataset, rank=plain, class_column="diagnosis").set_index("id")
    assert list(table["class"]) == ["CN", "AD", "CN", "CN", "AD"]
    assert list(table["age"]) == ["70", "71", "", "73", "73"]


def test_scans_tsv_tells_of_the_image_that_is_taken(dataset):
    """As Clinica writes ADNI's field strengths."""
    for session, lines in {
        "m00": "anat/sub-04_ses-m00_run-02_T1w.nii.gz\t3\nanat/sub-04_ses-m00_run-01_T1w.nii.gz\t1.5\n",
        "m12": "pet/sub-04_ses-m12_pet.nii.gz\tn/a\nanat/sub-04_ses-m12_acq-x_T1w.nii.gz\t3\n",
    }.items():
        path = dataset / f"sub-04/ses-{session}/sub-04_ses-{session}_scans.tsv"
        path.write_text(f"filename\tmri_field\n{lines}", encoding="utf-8")
    (dataset / "sub-02/sub-02_scans.tsv").write_text(
        "filename\tage\nanat/sub-02_T1w.nii.gz\t71.5\n", encoding="utf-8"
    )
    table = find_scans(dataset, rank=plain).set_index("id")
    # the last one of another name, as of a derivative, but the only T1w
    assert list(table["mri_field"]) == ["", "", "", "1.5", "3"]
    assert table["age"]["sub-02"] == "71.5"  # before that of the participant
    assert table["age"]["sub-04_ses-m00"] == "73"


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        ("sub-1/anat/sub-1_T1w.nii.gz", "backup/sub-1/anat/sub-1_T1w.nii.gz", ""),
        ("sub-1/anat/sub-1_run-2_T1w.nii.gz", ".Trash-1000/sub-1/anat/sub-1_T1w.nii.gz", ""),
        ("sub-1/anat/sub-1_run-2_T1w.nii.gz", "sub-1/anat/.ipynb_checkpoints/sub-1_run-1_T1w.nii.gz", ""),
        ("sub-1/anat/sub-1_run-2_T1w.nii.gz", "sub-1/anat/._sub-1_run-1_T1w.nii.gz", ""),
        ("sub-1/anat/sub-1_run-2_T1w.nii.gz", "sub-1/anat/sub-1_run-10_T1w.nii.gz", "a later run-"),
        (
            "sub-1/anat/sub-1_run-2_T1w.nii.gz",
            "sub-1/anat/sub-1_ce-gadolinium_run-1_T1w.nii.gz",
            "contrast agent, ce-",
        ),
        ("sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_acq-fast_T1w.nii.gz", "acq- or rec-"),
        ("sub-1/anat/sub-1_rec-norm_T1w.nii.gz", "sub-1/anat/sub-1_acq-a_rec-norm_T1w.nii.gz", "acq- or rec-"),
    ],
)
def test_which_scan_of_a_visit_is_taken_and_why_not_the_other(better, worse, why, tmp_path):
    for name in (worse, better):
        save_head(tmp_path / name)
    dropped = []
    assert list(find_scans(tmp_path, rank=plain, dropped=dropped)["image"]) == [str(tmp_path / better)]
    told = [(reason, path) for path, reason, _ in dropped]
    name = better.rsplit("/", 1)[-1]
    assert told == (
        [(f"another scan of its visit is preferred: {name} ({why})", str(tmp_path / worse))] if why else []
    )


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("sub-01", ""),
        ("1", ""),
        ("sub-O1", "no table of the dataset has its subject: sub-01; did you mean 'sub-O1'?"),
        ("patient", "no table of the dataset has its subject: sub-01; known: patient"),
    ],
)
def test_a_subject_in_no_table_is_named_beside_the_nearest_that_has_no_image(label, reason, dataset):
    table = (dataset / "participants.tsv").read_text(encoding="utf-8")
    (dataset / "participants.tsv").write_text(table.replace("sub-01", label), encoding="utf-8")
    dropped = []
    found = find_scans(dataset, rank=plain, class_column="diagnosis", dropped=dropped)
    assert [why for path, why, _ in dropped if "sub-01_T1w" in path] == ([reason] if reason else [])
    assert ("sub-01" in set(found["subject"])) == (not reason)


def test_the_class_column_is_found_in_other_case_and_ids_that_all_differ_are_told(dataset):
    (dataset / "sub-04/sub-04_sessions.tsv").unlink()
    (dataset / "participants.tsv").write_text("participant_id\tDiagnosis\nsub-01\tAD\n", encoding="utf-8")
    assert "AD" in set(find_scans(dataset, rank=plain, class_column="diagnosis")["class"])
    (dataset / "participants.tsv").write_text("participant_id\tdiagnosis\nsub-X01\tAD\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="no table .* has its subject: sub-01; did you mean 'sub-X01'"):
        find_scans(dataset, rank=plain, class_column="diagnosis")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"participants": ["9"]}, "no T1w image of 9"),
        ({"class_column": "diagnosys"}, "did you mean 'diagnosis'"),
        ({"rank": lambda path: None}, "of this kind"),
    ],
)
def test_mistakes_are_told(dataset, more, words):
    with pytest.raises(ManifestError, match=words):
        find_scans(dataset, **{"rank": plain} | more)


def test_the_lowest_rank_of_a_visit_is_taken(dataset):
    table = find_scans(dataset, rank=lambda path: 0 if "desc-preproc" in path.name or "run-02" in path.name else 1)
    names = [name.rsplit("/", 1)[1] for name in table["image"]]
    assert names[1] == "sub-02_space-T1w_desc-preproc_T1w.nii.gz"
    assert names[3:] == ["sub-04_ses-m00_run-02_T1w.nii.gz", "sub-04_ses-m12_run-01_T1w.nii.gz"]


def test_prepared_images_become_a_cohort_that_knows_where_it_lies(tmp_path):
    root = tmp_path / "prepared"
    lines = ["participant_id\tgroup"]
    for number in range(8):
        name = f"sub-{number:02d}"
        save_head(root / name / "anat" / f"{name}_desc-preproc_T1w.nii.gz", seed=number)
        lines.append(f"{name}\t{['CN', 'AD', 'CN', 'AD', 'CN', 'AD', 'n/a', 'CN'][number]}")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    cohort = import_bids(root, tmp_path / "cohort", ImportOptions(seed=1), class_column="group")
    assert len(cohort.manifest) == 7
    assert cohort.metadata.spacing_mm == (5, 6, 7)
    assert np.array(cohort.metadata.affine)[0] == pytest.approx([5, 0, 0, -62.5])
    assert "sub-06" in (tmp_path / "cohort" / "dropped.csv").read_text(encoding="utf-8")
