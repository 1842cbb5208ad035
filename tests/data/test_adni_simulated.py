"""The look-alike that is made of simulated raw scans: the import finds again what was simulated."""

import nibabel as nib
import numpy as np
import pandas as pd

from simulate import simulate
from vagan.data.sources.adni.study import AdniOptions, import_adni
from vagan.data.splits import SubjectLists
from vagan.data.table import read_table
from vagan.simulation.raw import write_tables
from vagan.simulation.subject import draw_subject

GROUPS = ("", "hippocampal", "", "ventricular")


def simulated_download(root, people):
    """In place of each head a few voxels that tell whose it is."""
    rows = [
        {
            "id": f"{person.name}_{visit.session}", "subject": person.name, "session": visit.session,
            "label": int(visit.ill), "class": "atrophy" if visit.ill else "baseline", "split": "train",
            "severity": person.severity * visit.ill, "age": round(visit.age_years, 2), "sex": person.sex,
        }
        for person in people
        for visit in person.visits
    ]  # fmt: skip
    write_tables(root / "raw", pd.DataFrame(rows), "made up")
    for number, row in enumerate(rows):
        folder = root / "raw" / row["subject"] / row["session"] / "anat"
        folder.mkdir(parents=True)
        image = nib.Nifti1Image(np.full((3, 4, 5), 100 + number, np.float32), np.diag([2.0, 3, 4, 1]))
        nib.save(image, folder / f"{row['subject']}_{row['session']}_T1w.nii.gz")
    return simulate(root / "raw", root / "download")


def test_the_import_takes_each_simulated_scan_once_with_its_class_age_and_field(tmp_path):
    people = [draw_subject(n + 1, GROUPS[n % 4], seed=3, healthy_follow_up=True) for n in range(20)]
    download = simulated_download(tmp_path / "simulated ü", people)
    root = download.tables.parent
    lists = SubjectLists.read(root / "test_subjects.txt", root / "validation_subjects.txt")
    import_adni(download.images, download.tables, root / "study", AdniOptions(lists=lists))
    table = read_table(root / "study" / "manifest.csv")
    truth = read_table(root / "truth.csv").set_index("image_id")["scan"]
    assert sorted(table["image_id"]) == sorted(truth.index)
    for image, path in zip(table["image_id"], table["image"], strict=True):
        one, other = nib.load(path), nib.load(truth[image])
        assert np.array_equal(one.get_fdata(), other.get_fdata())
        np.testing.assert_allclose(one.affine, other.affine)
    # names are given in the order of the simulated ones
    visits = [visit for person in people for visit in person.visits]
    table = table.sort_values("image_id", key=lambda ids: ids.astype(int))
    wanted = np.array(["AD" if visit.ill else "MCI" for visit in visits])
    wrong = table[table["class"].to_numpy() != wanted]
    assert len(wrong) == 1  # of the one that reverts
    assert (wrong["split"] == "test").all()
    np.testing.assert_allclose(table["age"].astype(float), [visit.age_years for visit in visits], atol=0.1)
    assert set(table["field_strength"]) == {"1.5", "3"}
    assert table.groupby("subject")["field_strength"].nunique().max() == 1
    assert table["subject"].str.fullmatch(r"\d{3}_S_\d{5}").any()
    assert (table["label_confidence"] == "medium").sum() == (table["notes"] != "").sum() > 0
    assert (table["adas13"] == "").any()
