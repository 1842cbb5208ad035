"""A study in the layout of Clinica's ADNI converter, whose diagnoses are told for each session."""

from heads import QUICK, save_head
from vagan.data.cohort import Cohort
from vagan.data.splits import SubjectLists
from vagan.evaluation.longitudinal.pairs import find_pairs
from vagan.preprocessing.study import prepare_study

COURSES = {"002S0295": "MCI AD", "002S0413": "MCI MCI", "011S4020": "CN MCI", "011S10501": "AD n/a"}


def test_clinicas_adni_becomes_a_cohort_of_the_wanted_classes(tmp_path):
    bids = tmp_path / "bids ü"
    lines = ["participant_id\talternative_id_1\tsex\tdiagnosis_sc"]
    for number, (name, course) in enumerate(COURSES.items()):
        who = f"sub-ADNI{name}"
        lines.append(f"{who}\t{name[:3]}_S_{name[4:]}\tM\tEMCI")
        sessions = ["session_id\texamination_date\tage\tdiagnosis\tMMSE"]
        for year, diagnosis in enumerate(course.split()):
            session = f"ses-M{12 * year:03d}"
            save_head(bids / who / session / "anat" / f"{who}_{session}_T1w.nii.gz", seed=10 * number + year)
            sessions.append(f"{session}\t{2010 + year}-05-0{number + 1}\t{70 + year}\t{diagnosis}\tn/a")
        (bids / who / f"{who}_sessions.tsv").write_text("\n".join(sessions) + "\n", encoding="utf-8")
    (bids / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "prepared"
    told = prepare_study(
        *(bids, out, QUICK),
        class_column="diagnosis",
        classes=("MCI", "AD"),
        baseline="MCI",
        lists=SubjectLists(test=frozenset({"ADNI002S0295"})),
        processes=1,
    )
    assert "8 scans prepared" in told
    table = Cohort(out / "cohort").manifest.table
    assert dict(zip(table["id"], table["class"], strict=True)) == {
        "sub-ADNI002S0295_ses-M000": "MCI",
        "sub-ADNI002S0295_ses-M012": "AD",
        "sub-ADNI002S0413_ses-M000": "MCI",
        "sub-ADNI002S0413_ses-M012": "MCI",
        "sub-ADNI011S10501_ses-M000": "AD",
        "sub-ADNI011S4020_ses-M012": "MCI",
    }
    assert set(table["subject"][table["split"] == "test"]) == {"sub-ADNI002S0295"}
    assert table["age"].tolist() == ["70", "71", "70", "71", "70", "71"]
    (pair,) = find_pairs(Cohort(out / "cohort").manifest).converters
    assert (pair.subject, round(pair.months)) == ("sub-ADNI002S0295", 12)
