"""Each rule by which ADNI's tables are read, with the row that needs it."""

import math
from datetime import date
from pathlib import Path

import pytest

from vagan.data.sources.adni.scans import (
    FoundScan,
    ImageFacts,
    facts_of,
    find_scans,
    listed_images,
    precedence,
    refusal,
)
from vagan.data.sources.adni.study import Covariates, Diagnosis, class_of, label_of, read_diagnoses
from vagan.data.sources.adni.tables import (
    clean,
    day,
    loni,
    number,
    ptid,
    read_adni_csv,
    read_tables,
    rid,
    visit,
    whole,
)
from vagan.errors import ManifestError


def tables_of(**frames):
    import pandas as pd

    return {name: pd.DataFrame(rows).fillna("").astype(str) for name, rows in frames.items()}


def scan(subject="002_S_0295", image="45108", series="13407", description="MPRAGE", made=date(2006, 4, 18)):
    return FoundScan(Path("x.nii"), subject, image, series, description, made)


def facts(description, image="1", folder=None, **more):
    found = scan(image=image, description=folder or "".join(c if c.isalnum() else "_" for c in description))
    values = {"day": None, "visit": "", "field": "", "series_type": "", "scanner": "", "phase": "", "sex": ""}
    return ImageFacts(found, description=description, age=math.nan, sources=(), notes=(), **(values | more))


CELLS = {
    clean: [(cell, "") for cell in ("", " ", "-4", '"-4"', "-4.0", "NA", "n/a", "NaN", "-1")],
    number: [("3", 3), ("3.0", 3), (" 12.33 ", 12.33), ("0", 0)],
    whole: [("3.0", 3), ("-4", None), ("", None)],
    day: [
        *[(cell, date(2006, 4, 8)) for cell in ("2006-04-08", "2006/4/8", "4/8/2006", "04/08/06")],
        *[(cell, date(2006, 4, 8)) for cell in ("2006-04-08 00:00:00.0", "2006-04-08_10_31_05.0")],
        *[(cell, None) for cell in ("", "-4", "31/12/2006", "2006-13-01", "April 2006", "20060408")],
    ],
    visit: [
        *[(cell, "bl") for cell in ("bl", "sc", "scmri", "m0", "M00", "m000", "ADNI Screening", "ADNI Baseline")],
        *[("ADNI2 Screening MRI-New Pt", "bl"), ("m06", "m06"), ("M6", "m06"), ("m108", "m108")],
        *[("ADNI1/GO Month 12", "m12"), ("ADNIGO Month 3 MRI", "m03")],
        # only their phase knows what these are
        *[(cell, "") for cell in ("v06", "init", "y1", "4_bl", "ADNI2 Year 1 Visit", "uns1", "f", "nv", "")],
        ("ADNI2 Initial Visit-Cont Pt", ""),
    ],
    ptid: [("ADNI_011_S_10501_MR_x", "011_S_10501")],
    rid: [("011_S_10501", 10501), ("002_S_0295", 295), ("295", 295), ("295.0", 295), ("-4", None)],
    loni: [(cell, "45108") for cell in ("I45108", "45108", "45108.0", "D45108", " i45108 ")],
}


@pytest.mark.parametrize(
    ("read", "cell", "expected"), [(read, *pair) for read, pairs in CELLS.items() for pair in pairs]
)
def test_cells_of_each_kind(read, cell, expected):
    assert read(cell) == expected
    assert visit("", "v11", "m24", "m12") == "m24"  # the first that tells one
    assert all(math.isnan(number(other)) for other in ("", "-4", "<200", ">1700", "12a"))


class TestFiles:
    def test_names(self, tmp_path):
        for name in (
            *("All_Subjects_DXSUM_24Nov2026", "NEUROBAT", "PTDEMOG"),
            *("Key_MRI_05Feb2025", "study_a_All_Images_1Jan2026"),
        ):
            (tmp_path / f"{name}.csv").write_text("RID\n1\n", encoding="utf-8")
        assert set(read_tables(tmp_path)) == {"DXSUM", "PTDEMOG", "KEY_MRI", "ALL_IMAGES"}

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (
                ["DXSUM_05Feb2025", "All_Subjects_DXSUM_24Nov2026"],
                "DXSUM, found All_Subjects.*, DXSUM_05Feb2025.csv; keep the newest",
            ),
            (["MRIQC"], r"the table of diagnoses, DXSUM; found MRIQC"),
        ],
    )
    def test_what_cannot_be_used_is_told(self, names, message, tmp_path):
        for name in names:
            (tmp_path / f"{name}.csv").write_text("RID\n1\n", encoding="utf-8")
        with pytest.raises(ManifestError, match=message):
            read_tables(tmp_path)
        with pytest.raises(ManifestError, match="does not exist or is a file"):
            read_tables(tmp_path / "none")

    def test_lists_of_several_downloads_are_one(self, tmp_path):
        (tmp_path / "DXSUM.csv").write_text("RID\n1\n", encoding="utf-8")
        for image in (7, 8):
            text = f'"Image Data ID","Subject","Description"\n"I{image}","002_S_0295","MPRAGE"\n'
            (tmp_path / f"list {image}.csv").write_text(text, encoding="utf-8-sig")
        assert list(listed_images(read_tables(tmp_path))) == [("7", "MPRAGE"), ("8", "MPRAGE")]

    def test_marks_quotes_cases_and_encodings(self, tmp_path):
        path = tmp_path / "x.csv"
        path.write_bytes('\ufeff"Rid","Image Data ID","Note"\r\n"7"," I12 ","-4"\r\n'.encode())
        assert read_adni_csv(path).to_dict("records") == [{"RID": "7", "IMAGE_DATA_ID": "I12", "NOTE": ""}]
        path.write_bytes("RID,NOTE\n7,50 \xb5g\n".encode("cp1252"))
        assert read_adni_csv(path)["NOTE"][0] == "50 \xb5g"

    def test_the_tree_of_one_subject_alone_and_older_names_and_nifti_beside_dicom(self, tmp_path):
        folder = tmp_path / "002_S_0295" / "MP-RAGE" / "2006-04-18_08_20_30.0" / "S13407"
        folder.mkdir(parents=True)
        for slice_ in (1, 2):
            (folder / f"ADNI_002_S_0295_MR_MP-RAGE__br_raw_20060418193713091_{slice_}_S13407_I13721.dcm").touch()
        (found,) = find_scans(tmp_path / "002_S_0295")
        assert found == FoundScan(folder, "002_S_0295", "13721", "13407", "MP-RAGE", date(2006, 4, 18))
        path = folder / "ADNI_002_S_0295_MR_MP-RAGE_Br_20060418193713091_S13407_I13721.nii"
        path.touch()
        assert [found.path for found in find_scans(tmp_path)] == [path]

    def test_dicom_without_a_suffix_is_known_by_its_mark_and_other_files_are_not_taken(self, tmp_path):
        folder = tmp_path / "002_S_0295" / "MP-RAGE" / "2006-04-18_08_20_30.0" / "I13721"
        folder.mkdir(parents=True)
        (folder / ".DS_Store").write_bytes(bytes(128) + b"DICM")
        (folder / "readme").write_text("no image", encoding="utf-8")
        with pytest.raises(ManifestError, match="found none"):
            find_scans(tmp_path)
        (folder / "1.2.840.113619.2.5").write_bytes(bytes(128) + b"DICM" + bytes(8))
        (found,) = find_scans(tmp_path)
        assert found == FoundScan(folder, "002_S_0295", "13721", "", "MP-RAGE", date(2006, 4, 18))

    def test_a_flat_folder_is_read_by_the_names_of_its_files(self, tmp_path):
        name = "ADNI_002_S_0295_MR_MPR__GradWarp__N3_Br_20070319113435930_S13408_I45108.nii.gz"
        (tmp_path / name).touch()
        (tmp_path / "other.nii").touch()
        named, other = find_scans(tmp_path)
        assert named == FoundScan(tmp_path / name, "002_S_0295", "45108", "13408", "MPR__GradWarp__N3", None)
        assert (other.path, other.subject) == (tmp_path / "other.nii", "")


class TestClass:
    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            ({"DIAGNOSIS": "2", "DXAD": "1"}, "MCI"),
            ({"DIAGNOSIS": "3.0"}, "AD"),
            ({"DIAGNOSIS": "", "DXNORM": "", "DXMCI": "1", "DXAD": "0"}, "MCI"),
            ({"DXMCI": "1", "DXAD": "1"}, ""),  # contradicts itself
            ({"DIAGNOSIS": "4"}, ""),
        ],
    )
    def test_of_a_row(self, row, expected):
        assert class_of(row) == expected

    def test_screen_failures_and_missed_visits_do_not_count_and_entries_tell_missing_dates(self):
        rows = [{"RID": 1, "VISCODE": code, "DIAGNOSIS": 2, "USERDATE": "2006-01-02"} for code in ("f", "nv", "uns1")]
        (only,) = read_diagnoses(tables_of(DXSUM=rows))[1]
        assert (only.visit, only.day) == ("", date(2006, 1, 2))  # an unscheduled one can still be found by its date
        (only,) = read_diagnoses(tables_of(DXSUM=[{"PTID": "011_S_10501", "VISCODE2": "sc", "DIAGNOSIS": 3}]))[10501]
        assert (only.name, only.visit) == ("AD", "bl")


NEAR, FAR = date(2008, 3, 20), date(2006, 3, 1)
MADE = date(2008, 3, 1)


def entry(name, code, when):
    return Diagnosis(name, code, when)


def days_off(days):
    return date.fromordinal(MADE.toordinal() + days)


JOINS = {
    "the same visit": ([entry("MCI", "bl", FAR), entry("AD", "m24", NEAR)], "m24", "AD", "high", "m24, 19 days"),
    "the nearer row": ([entry("MCI", "bl", date(2008, 1, 1)), entry("AD", "bl", NEAR)], "bl", "AD", "", ""),
    "no dates": ([entry("AD", "m24", None)], "m24", "AD", "medium", ""),
    "too far off, but another nearby": (
        [entry("MCI", "bl", FAR), entry("AD", "m24", days_off(8))], "bl", "AD", "low",
        "8 days apart; the diagnosis of visit bl is too far off",
    ),
    "too far off": ([entry("MCI", "m24", FAR)], "m24", "MCI", "low", "visit m24, although 731 days apart"),
    **{
        f"without a visit, {days} days": ([entry("MCI", "m36", days_off(365)), entry("AD", "", days_off(days))], "",
                                          "AD", sure, "")
        for days, sure in ((0, "medium"), (30, "medium"), (31, "low"), (90, "low"))
    },
}  # fmt: skip


class TestJoin:
    @pytest.mark.parametrize(("entries", "code", "name", "confidence", "join"), JOINS.values(), ids=JOINS)
    def test_visit_before_date(self, entries, code, name, confidence, join):
        found = label_of(entries, code, MADE, 90)
        assert found.name == name
        assert found.confidence == (confidence or found.confidence)
        assert join in found.join

    def test_tables_that_disagree_about_the_scan_make_it_less_sure(self):
        assert label_of([entry("AD", "m24", MADE)], "m24", MADE, 90, sure_of_scan=False).confidence == "medium"

    def test_without_visit_and_date_there_is_no_label(self):
        assert label_of([entry("MCI", "bl", MADE)], "", None, 90) is None
        assert label_of([entry("AD", "", days_off(91))], "", MADE, 90) is None


def known(tables, found=None):
    return facts_of(tables, [found or scan()])[0]


class TestImages:
    def test_the_first_table_wins_and_disagreements_are_noted(self):
        found = known(
            tables_of(
                MRIQC=[{"LONIIMAGE": "I45108", "VISCODE2": "m06", "STUDYDATE": "2006-05-02",
                        "MAGNETICFIELDSTRENGTH": "1.494"}],
                KEY_MRI=[{"IMAGE_ID": "45108", "IMAGE_VISIT": "v04", "IMAGE_DATE": "2006/04/18",
                          "MAGNETIC_FIELD_STRENGTH": "1.5", "SERIES_TYPE": "T1w"}],
                ALL_IMAGES=[{"IMAGE_ID": "45108", "VISIT": "ADNI Screening",
                             "MAGNETIC_FIELD_STRENGTH": "3.0"}],
            )
        )  # fmt: skip
        assert (found.visit, found.field, found.day) == ("m06", "1.5", date(2006, 4, 18))
        assert found.sources == ("KEY_MRI", "MRIQC", "ALL_IMAGES")
        assert found.notes == (
            "dates: path 2006-04-18, KEY_MRI 2006-04-18, MRIQC 2006-05-02",
            "visits: MRIQC m06, ALL_IMAGES bl",
            "field: KEY_MRI 1.5, MRIQC 1.5, ALL_IMAGES 3",
        )

    def test_a_series_is_known_by_its_own_number_and_of_its_own_subject_alone(self):
        tables = tables_of(MRIQC=[{"LONISERIES": "13407", "LONIIMAGE": "1", "MAGNETICFIELDSTRENGTH": "3"}])
        assert known(tables, scan(image="")).field == "3"
        assert known(tables_of(KEY_MRI=[{"IMAGE_ID": "45108", "SUBJECT_ID": "005_S_0001"}])).sources == ()

    @pytest.mark.parametrize(
        ("cell", "field"),
        [("3.0", "3"), ("3T", "3"), ("2.9", "3"), ("1.5 Tesla MRI", "1.5"), ("1.494", "1.5"), ("7", "7"), ("", "")],
    )
    def test_nominal_field_strength(self, cell, field):
        assert known(tables_of(KEY_MRI=[{"IMAGE_ID": "45108", "MAGNETIC_FIELD_STRENGTH": cell}])).field == field


class TestChoice:
    def test_the_order_of_the_authors(self):
        names = ["MPR____N3", "MT1__N3m", "MPR__GradWarp__N3", "MPR__GradWarp__B1_Correction__N3",
                 "MT1__GradWarp__N3m", "MPR__GradWarp__B1_Correction__N3__Scaled", "MPRAGE",
                 "MPR-R__GradWarp__B1_Correction__N3"]  # fmt: skip
        images = [facts(name, image=str(n), folder=name) for n, name in enumerate(names)]
        order = [image.description for image in sorted(images, key=precedence)]
        assert order == [names[k] for k in (4, 3, 2, 1, 0, 5, 6, 7)]
        equals = [facts("MPRAGE", image=str(n)) for n in (1002, 999)]
        assert min(equals, key=precedence).scan.image_id == "999"
        # the folder tells the processing where tables name the sequence
        images = [facts("MPRAGE", image=str(n), folder=name) for n, name in enumerate(names[:2])]
        assert [image.scan.image_id for image in sorted(images, key=precedence)] == ["1", "0"]

    @pytest.mark.parametrize(
        ("accepted", "names"),
        [
            (True, "MPRAGE, MP-RAGE, ADNI       MPRAGE #2, IR-FSPGR, Sag IR-SPGR, Accelerated Sagittal MPRAGE"),
            (True, "MT1; N3m, MPR; ; N3, T1w"),
            (False, "Axial T2 STAR, Sagittal 3D FLAIR, 3 Plane Localizer, B1-Calibration PA, Axial DTI, MPRAGE_ND"),
            (False, "MPR; GradWarp; N3; Mask, HighResHippocampus, , PD T2 FSE"),
        ],
    )
    def test_what_is_t1_weighted(self, accepted, names):
        assert {bool(refusal(facts(name))) for name in names.split(", ")} == {not accepted}

    def test_a_folder_outweighs_the_series_type_and_that_the_name(self):
        assert "not known as T1" in refusal(facts("MPRAGE", series_type="T1w", folder="MPR__GradWarp__N3__Mask"))
        assert "distortion" in refusal(facts("MPRAGE", series_type="T1w", folder="MPRAGE_ND"))
        assert refusal(facts("Protocol 7", series_type="T1w")) == ""
        assert "series type FLAIR" in refusal(facts("MPRAGE", series_type="FLAIR"))

    def test_what_is_a_second_scan_of_the_visit(self):
        for name in ("MPR-R; GradWarp; N3", "MPRAGE repeat", "MPRAGE_RPT", "Sag IR-SPGR REP"):
            folder = "".join(c if c.isalnum() or c == "-" else "_" for c in name)
            assert facts(name).is_repeat, name
            assert facts("MPRAGE", folder=folder).is_repeat, folder
        assert not any(facts(name).is_repeat for name in ("MPRAGE", "MPR; ; N3", "MP-RAGE", "MPRAGE report"))


class TestCovariates:
    def of(self, tables, **more):
        return Covariates(tables).of(facts("MPRAGE", **({"day": date(2008, 7, 1)} | more)), 90)

    AGES = (
        {"STUDY_ENTRY": [{"SUBJECT_ID": "002_S_0295", "ENTRY_AGE": "70.5", "ENTRY_DATE": "2006-07-01"}]},
        {"PTDEMOG": [{"RID": 295, "PTDOBYY": "1936", "PTDOBMM": "1"}]},
    )  # fmt: skip

    @pytest.mark.parametrize("tables", AGES)
    def test_age_at_the_scan(self, tables):
        assert self.of(tables_of(**tables))["age"] == "72.5"
        assert self.of(tables_of(), day=None)["age"] == ""
        # a year without a month is taken in its middle
        assert self.of(tables_of(PTDEMOG=[{"RID": 295, "PTDOBYY": "1936.0"}]))["age"] == "72.0"

    def test_sex_and_site(self):
        found = self.of(tables_of(PTDEMOG=[{"RID": 295, "PTGENDER": "2"}]))
        assert (found["site"], found["sex"]) == ("002", "F")
        assert self.of(tables_of(), sex="Female")["sex"] == "F"

    @pytest.mark.parametrize(("table", "column", "name"), [
        ("ADAS", "TOTAL13", "adas13"), ("MMSE", "MMSCORE", "mmse"),
    ])  # fmt: skip
    def test_every_table_of_scores_is_asked(self, table, column, name):
        row = {"RID": 295, "VISCODE": "m24", "EXAMDATE": "2008-07-01", column: "21"}
        assert self.of(tables_of(**{table: [row]}), visit="m24")[name] == "21"

    def test_scores_of_the_visit_or_nearest_in_time(self):
        rows = [{"RID": 295, "VISCODE2": "m12", "VISDATE": "2008-07-02", "TOTAL13": "20"},
                {"RID": 295, "VISCODE2": "m24", "VISDATE": "2008-09-01", "TOTAL13": "30"},
                {"RID": 295, "VISCODE2": "m36", "VISDATE": "2009-09-01", "TOTAL13": "-4"}]  # fmt: skip
        assert self.of(tables_of(ADAS=rows), visit="m24")["adas13"] == "30"
        assert self.of(tables_of(ADAS=rows))["adas13"] == "20"
        assert self.of(tables_of(ADAS=rows), day=date(2009, 9, 1))["adas13"] == ""
