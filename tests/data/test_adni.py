"""From a look-alike of an ADNI download to a manifest, with the tables of today, of 2018, and of both."""

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
GENERATIONS = {"today": {"legacy": False}, "legacy": {"today": False}, "both": {}}


@pytest.fixture(params=GENERATIONS.values(), ids=GENERATIONS)
def download(request, tmp_path):
    return write_download(tmp_path, small_study(), **request.param)


def imported(download, tmp_path, **options):
    import_adni(download.images, download.tables, tmp_path / "study", AdniOptions(**options))
    table, dropped = (read_table(tmp_path / "study" / f"{name}.csv") for name in ("manifest", "dropped"))
    return table.set_index("id"), dropped


def test_every_generation_of_tables_gives_the_same_study(download, tmp_path):
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
    assert table["label_source"].str.match(r"DXSUM(_PDXCONV)?\.(DIAGNOSIS|DXCHANGE|DXCURREN|DXMCI|DXAD)").all()
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
    listed = download.tables.joinpath("my_collection_11_24_2026.csv").exists()
    every = {str(shot.image) for shot in SHOTS}
    assert set(table["image_id"]) | set(reasons.index) == every - (set() if listed else {"1202"})
    assert not set(table["image_id"]) & set(reasons.index)
    for image, words in REASONS.items():
        assert words in reasons[image]
    assert not listed or "not among the images" in reasons["1202"]


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


def test_other_classes_fields_and_less_doubt(download, tmp_path):
    table, dropped = imported(download, tmp_path, classes=("CN", "AD"), one_field="1.5", least_confidence="high")
    assert table["class"].to_dict() == {"002_S_0413_m06x1p5T": "AD", "005_S_1001_blx1p5T": "CN"}
    reasons = dropped.set_index("image_id")["reason"]
    assert reasons["1004"] == "field strength 3, not 1.5"
    assert "low confidence only: visit bl, although 400 days apart" in reasons["1601"]


def test_what_failed_quality_control_yields_to_the_next_image(tmp_path):
    download = write_download(tmp_path, small_study(), legacy=False)
    (failing,) = (shot for shot in SHOTS if shot.image == 1102)
    failed = [{"loni_image": "I1002", "series_quality": "4"}]
    write_rows(download.tables / "MAYOADIRL_MRI_IMAGEQC_12_08_15.csv", failed)
    write_rows(download.tables / "MRIQUALITY.csv", [{"LONIUID": f"S{failing.series}", "PASS": "0"}])
    table, dropped = imported(download, tmp_path)
    assert table.loc["002_S_0295_blx1p5T", "image_id"] == "1001"
    reasons = dropped.set_index("image_id")["reason"]
    assert reasons["1002"] == "failed the study's quality control (MRI_IMAGEQC)"
    assert reasons["1102"] == "failed the study's quality control (MRIQUALITY)"


def test_without_any_table_of_images_visits_are_known_by_their_dates(tmp_path):
    """Only the diagnoses are there: the nearest in time counts, and sessions are called by their days."""
    download = write_download(tmp_path, small_study(), legacy=False)
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
    assert "| images | 11 |" in text
    assert "| subjects | 5 |" in text
    assert "| images at 1.5 T | 7 |" in text
    assert "3 subjects went from MCI to AD, 1 came back." in text
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
    download = write_download(tmp_path, small_study(), legacy=False)
    if not options:
        path = download.tables / "All_Subjects_DXSUM_24Nov2026.csv"
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig").to_dict("records")
        write_rows(path, rows[:2], bom=True)
    with pytest.raises(ManifestError, match=words):
        imported(download, tmp_path, **options)
    with pytest.raises(ManifestError, match="below folders such as 002_S_0295"):
        import_adni(download.tables, download.tables, tmp_path / "study")
    assert not (tmp_path / "study").exists()
