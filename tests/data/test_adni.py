"""From a look-alike of an ADNI download to a manifest."""

import re

import pandas as pd
import pytest

from lookalike import small_study, write_download, write_rows
from vagan.data.manifest import Manifest
from vagan.data.sources.adni.study import AdniOptions, import_adni
from vagan.data.splits import SubjectLists
from vagan.data.table import read_table
from vagan.errors import ManifestError
from vagan.preprocessing.sources import collect_scans, repeated_rows

SHOTS = [shot for person in small_study() for visit in person.visits for shot in visit.shots]


@pytest.fixture
def download(tmp_path):
    return write_download(tmp_path, small_study())


def imported(download, tmp_path, **options):
    import_adni(download.images, download.tables, tmp_path / "study", AdniOptions(**options))
    table, dropped = (read_table(tmp_path / "study" / f"{name}.csv") for name in ("manifest", "dropped"))
    return table.set_index("id"), dropped


def test_the_study(download, tmp_path):
    table, dropped = imported(download, tmp_path)
    assert table["class"].to_dict() == {
        "002_S_0295_blx1p5T": "MCI",
        "002_S_0295_blx3T": "MCI",
        "002_S_0295_m12x1p5T": "MCI",
        "002_S_0295_m24x1p5T": "AD",
        "002_S_0413_blx1p5T": "MCI",
        "002_S_0413_m06x1p5T": "AD",
        "002_S_0413_m12x1p5T": "MCI",
        "007_S_0091_blx1p5T": "AD",
        "011_S_10501_blx3T": "AD",
        "011_S_4020_blx3T": "MCI",
        "011_S_4020_m12x3T": "AD",
    }
    assert (table["label"] == table["class"].map({"MCI": "0", "AD": "1"})).all()
    assert list(table["image_id"]) == ["1002", "1004", "1011", "1021", "1101", "1102", "1103", "1601", "1401",
                                       "1301", "1303"]  # fmt: skip
    assert all(
        download.path_of(image).samefile(path) for image, path in zip(table["image_id"], table["image"], strict=True)
    )
    assert table["label_confidence"].to_dict() == dict.fromkeys(table.index, "high") | {
        "007_S_0091_blx1p5T": "low",
        "002_S_0295_m24x1p5T": "medium",  # tables disagree about its date
    }
    assert table["notes"]["002_S_0295_m24x1p5T"].startswith("dates: path 2008-03-08, M")
    assert table["date"]["002_S_0295_m24x1p5T"] == "2008-03-08"
    row = table.loc["002_S_0413_m12x1p5T"]
    assert list(row[["age", "sex", "site", "field_strength", "date"]]) == ["82.0", "F", "002", "1.5", "2007-03-09"]
    assert table.loc["002_S_0295_m24x1p5T", "adas13"] == "31"
    assert table.loc["002_S_0295_m12x1p5T", "adas13"] == ""  # -4
    assert table.loc["002_S_0295_blx3T", "date"] == "2006-03-21"
    scans = collect_scans(tmp_path / "study")
    assert len(scans) == len(table)
    assert repeated_rows(scans).empty  # fields, visits and subjects stay apart in BIDS names
    assert {"class", "label", "split", "age", "field_strength"} <= set(scans)
    Manifest.read(tmp_path / "study" / "manifest.csv")
    reasons = dropped.set_index("image_id")["reason"]
    assert set(table["image_id"]) | set(reasons.index) == {str(shot.image) for shot in SHOTS}
    assert not set(table["image_id"]) & set(reasons.index)
    for image, words in REASONS.items():
        assert words in reasons[image]
    assert "not among the images" in reasons["1202"]


REASONS = {
    "1001": "another image of the visit (MPR; ; N3); taken was I1002",
    "1003": "repeated scan; taken was I1002",
    "1005": "another image of the visit",
    "1201": "class CN, not one of MCI AD",
    "1302": "repeated scan; taken was I1303",
    "1402": "without correction of the gradients' distortion",
    "1403": "T1-weighted",
    "1501": "no diagnosis: visit bl, none within 90 days of 2006-03-09",
}


def test_other_classes_and_fields(download, tmp_path):
    table, dropped = imported(download, tmp_path, classes=("CN", "AD"), one_field="1.5")
    assert table["class"].to_dict() == {
        "002_S_0295_m24x1p5T": "AD",
        "002_S_0413_m06x1p5T": "AD",
        "005_S_1001_blx1p5T": "CN",
        "007_S_0091_blx1p5T": "AD",
    }
    reasons = dropped.set_index("image_id")["reason"]
    assert reasons["1004"] == "field strength 3, not 1.5"
    assert table["label_join"]["007_S_0091_blx1p5T"] == "visit bl, although 400 days apart"


def test_without_any_table_of_images_visits_are_known_by_their_dates(tmp_path):
    """Only the diagnoses are there: the nearest in time counts, and sessions are called by their days."""
    download = write_download(tmp_path, small_study())
    for path in download.tables.glob("*.csv"):
        if "DXSUM" not in path.name:
            path.unlink()
    table, _ = imported(download, tmp_path)
    assert table.loc["002_S_0413_d20060907", "class"] == "AD"
    assert set(table["label_join"]) == {"date, 0 days apart", "date, 12 days apart", "date, 20 days apart"}
    assert set(table["label_confidence"]) == {"medium"}
    assert set(table["field_strength"]) == {""}
    (tmp_path / "study" / "manifest.csv").unlink()
    with pytest.raises(ManifestError, match="the first reason: field strength unknown, not 3"):
        imported(download, tmp_path, one_field="3")


def test_the_summary_counts_and_names_nobody(download, tmp_path):
    text = import_adni(download.images, download.tables, tmp_path / "study")
    assert text == (tmp_path / "study" / "summary.md").read_text(encoding="utf-8")
    assert "11 images of 5 subjects." in text
    assert re.search(r"^1\.5 +7 +3$", text, re.M)
    assert "3 subjects went from the first class to the last one, 1 came back." in text
    assert "_S_" not in text


def test_published_subject_lists_decide(download, tmp_path):
    lists = SubjectLists(frozenset({"002S0413"}), frozenset({"011S10501", "999S9999"}))
    table, _ = imported(download, tmp_path, lists=lists)
    of_subject = table.groupby("subject")["split"].unique().str.join(" ").to_dict()
    assert of_subject == {"002_S_0295": "train", "002_S_0413": "test", "007_S_0091": "train",
                          "011_S_10501": "validation", "011_S_4020": "train"}  # fmt: skip
    assert "1 subjects of the given lists have no image here" in (tmp_path / "study/summary.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": ("MCI",)}, "two or three of CN, MCI and AD, found MCI"),
        ({"classes": ("MCI", "LMCI")}, "found MCI LMCI"),
        ({"one_field": "7"}, "no scan .* is left of 19"),
        ({}, r"MCI and AD are needed: in .* none is AD by the diagnoses in .*;"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(tmp_path, options, words):
    download = write_download(tmp_path, small_study())
    if not options:
        path = download.tables / "All_Subjects_DXSUM_24Nov2026.csv"
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig").to_dict("records")
        write_rows(path, rows[:2], bom=True)
    with pytest.raises(ManifestError, match=words):
        imported(download, tmp_path, **options)
    with pytest.raises(ManifestError, match="below folders such as 002_S_0295"):
        import_adni(download.tables, download.tables, tmp_path / "study")
    assert not (tmp_path / "study").exists()
