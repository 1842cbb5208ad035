"""Which scans of whom are compared: each rule with the rows that need it."""

import pandas as pd
import pytest

from vagan.data.manifest import Manifest
from vagan.errors import CohortError
from vagan.evaluation.longitudinal.pairs import find_pairs


def manifest_of(*rows, **columns):
    """Rows ``(subject, date, label, field)``, all test scans."""
    table = pd.DataFrame(rows, columns=["subject", "date", "label", "field_strength"])
    table["id"] = [f"{subject}-{row}" for row, subject in enumerate(table["subject"])]
    table["session"], table["split"] = table["date"], "test"
    table["class"] = table["label"].map({0: "MCI", 1: "AD", 2: "other"})
    for name, values in columns.items():
        table[name] = values
    return Manifest(table)


LONG = [
    ("a", "2006-01-01", 0, "1.5"),
    ("a", "2007-01-01", 0, "1.5"),
    ("a", "2006-02-01", 0, "3"),
    ("a", "2008-01-01", 1, "1.5"),
    ("a", "2009-01-01", 1, "1.5"),
    ("a", "2010-01-01", 1, "7"),
]


def test_the_first_scan_is_paired_with_the_last_at_one_field_strength():
    (pair,) = find_pairs(manifest_of(*LONG)).converters
    assert (pair.before, pair.after, pair.field) == (0, 4, "1.5")


def test_the_order_is_that_of_time_not_of_rows_and_of_two_fields_the_longer_interval():
    pairs = find_pairs(manifest_of(*reversed(LONG)))
    assert [(pair.before, pair.after) for pair in pairs.converters] == [(5, 1)]
    assert pairs.converters[0].months == pytest.approx(36, abs=0.1)
    three = [("a", "2005-01-01", 0, "3"), ("a", "2011-01-01", 1, "3")]
    (pair,) = find_pairs(manifest_of(*LONG, *three)).converters
    assert pair.field == "3"


def test_who_gives_no_pair_and_why():
    pairs = find_pairs(
        manifest_of(
            *LONG,
            *[("b", "2006-01-01", 1, "3"), ("b", "2007-01-01", 0, "3")],
            *[("c", "2006-01-01", 0, "3"), ("c", "2006-07-01", 1, "3"), ("c", "2007-01-01", 0, "3")],
            *[("d", "2006-01-01", 0, "1.5"), ("d", "2007-01-01", 1, "3")],
            *[("e", "2006-01-01", 0, "3"), ("e", "2006-03-01", 1, "3")],
            ("f", "2006-01-01", 0, "3"),
        ),
        min_months=6.0,
    )
    assert [pair.subject for pair in pairs.converters] == ["a"]
    assert pairs.left_out == {
        "b": "its first scan is of the class of interest already",
        "c": "it went back to the baseline class",
        "d": "no two scans of both classes at one field strength",
        "e": "its scans are less than 6 months apart",
    }


def test_stable_subjects_are_as_far_apart_as_the_converters():
    pairs = find_pairs(
        manifest_of(
            *LONG,  # 36 months
            *[("s", f"{year}-01-01", 0, "3") for year in (2006, 2007, 2009, 2012)],
            *[("t", f"{year}-01-01", 1, field) for year, field in ((2006, "3"), (2009, "1.5"))],
        )
    )
    (pair,) = pairs.stable
    assert (pair.subject, pair.before, pair.after, pair.kind) == ("s", 6, 8, "stable")


def test_there_are_no_more_stable_subjects_than_converters():
    stable = [(f"s{n}", f"{year}-01-01", 0, "3") for n in range(5) for year in (2006, 2007 + n)]
    assert [pair.subject for pair in find_pairs(manifest_of(*LONG, *stable)).stable] == ["s2"]  # 36 months


def test_ages_or_sessions_order_scans_without_dates():
    rows = [("a", "", 1, "3"), ("a", "", 0, "3")]
    assert find_pairs(manifest_of(*rows, age=["71.5", "70"])).converters[0].months == pytest.approx(18)
    assert find_pairs(manifest_of(*rows, session=["ses-M024", "bl"])).converters[0].months == 24
    with pytest.raises(CohortError, match="no column of the manifest tells it for every scan"):
        find_pairs(manifest_of(*rows, session=["x", "y"]))


def test_other_parts_and_other_classes_do_not_count():
    rows = [*LONG, ("b", "2006-01-01", 0, "3"), ("b", "2007-01-01", 1, "3")]
    splits = ["test"] * 6 + ["train"] * 2
    assert [pair.subject for pair in find_pairs(manifest_of(*rows, split=splits)).converters] == ["a"]
    others = [("c", "2006-01-01", 0, "3"), ("c", "2006-06-01", 2, "3"), ("c", "2007-01-01", 1, "3")]
    assert len(find_pairs(manifest_of(*LONG, *others)).converters) == 2
    with pytest.raises(CohortError, match=r"no test subject goes from MCI to AD .*; a: it went back"):
        find_pairs(manifest_of(("a", "2006-01-01", 0, "3"), ("a", "2007-01-01", 1, "3"), ("a", "2008-01-01", 0, "3")))
