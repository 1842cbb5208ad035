"""Parts by subject: proportions, reproducibility, published lists."""

import pandas as pd
import pytest

from vagan.data.splits import SubjectLists, assign_splits
from vagan.errors import LeakageError, ManifestError


@pytest.fixture
def table():
    """Sixty subjects with two rows each, the first of label 0 for forty of them; half of those go to 1."""
    first = [0] * 40 + [1] * 20
    later = [1] * 20 + [0] * 20 + [1] * 20
    rows = [
        (f"{n:03d}_S_{n + 1000}", label) for n, pair in enumerate(zip(first, later, strict=True)) for label in pair
    ]
    return pd.DataFrame(rows, columns=["subject", "label"])


def test_a_subject_is_in_one_part_and_counts_by_its_first_row(table):
    table["split"] = assign_splits(table, seed=4)
    assert table.groupby("subject")["split"].nunique().max() == 1
    first = table.drop_duplicates("subject")
    counts = first.groupby("label")["split"].value_counts().to_dict()
    assert counts == {
        **{(0, "test"): 8, (0, "train"): 26, (0, "validation"): 6},
        **{(1, "test"): 4, (1, "train"): 13, (1, "validation"): 3},
    }


def test_lists_in_any_spelling(table, tmp_path):
    (tmp_path / "test.txt").write_text("\ufeffsub-000S1000\n001_S_1001  # x\n\n# a comment\n", encoding="utf-8")
    (tmp_path / "validation.txt").write_text("002_S_1002\n999_S_9999\n", encoding="utf-8")
    lists = SubjectLists.read(tmp_path / "test.txt", tmp_path / "validation.txt")
    parts = assign_splits(table, lists=lists).groupby(table["subject"]).first()
    assert list(parts[:3]) == ["test", "test", "validation"]
    assert set(parts[3:]) == {"train"}
    assert len(lists.absent(table["subject"])) == 1
    assert lists.describe_absent(table["subject"]).startswith("1 listed subjects have no image")


def test_with_test_subjects_given_validation_is_drawn_from_the_others(table):
    parts = assign_splits(table, lists=SubjectLists(test=frozenset({"000S1000"})))
    assert (parts == "test").sum() == 2
    assert (parts == "validation").sum() == 2 * (8 + 4)


def test_mistakes_in_lists_are_told(table, tmp_path):
    with pytest.raises(ManifestError, match="such as '000_S_1000'; found '999S9999'"):
        assign_splits(table, lists=SubjectLists(test=frozenset({"999S9999"})))
    with pytest.raises(ManifestError, match="must be a text file"):
        SubjectLists.read(tmp_path / "none")
    (tmp_path / "empty").write_text("# nobody\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="one subject per line"):
        SubjectLists.read(tmp_path / "empty")


def test_the_parts_of_a_seed_are_the_same_in_every_release():
    """Whoever trained on them must not find a test subject among the training subjects later."""
    table = pd.DataFrame({"subject": list("abcdefghij"), "label": [1, 0] * 5})
    parts = assign_splits(table, test=0.4, validation=0.34)
    members = {part: "".join(table["subject"][parts == part]) for part in ("test", "validation", "train")}
    assert members == {"test": "befg", "validation": "hi", "train": "acdj"}
    assert not assign_splits(table, seed=1, test=0.4).equals(assign_splits(table, seed=2, test=0.4))


def test_any_columns_can_be_strata_and_names_may_have_marks():
    table = pd.DataFrame({"subject": list("abcdefgh"), "label": 0, "site": list("xxxxyyyy")})
    parts = assign_splits(table, strata=("label", "site"), test=0.5, validation=0.5)
    assert parts.name == "split"
    for site in "xy":
        counts = parts[table["site"] == site].value_counts().to_dict()
        assert counts == {"test": 2, "validation": 1, "train": 1}
    lists = SubjectLists(test=frozenset({"subAz09Za"}))
    assert lists.part_of(" sub-subA_z0-9 Za ") == "test"
    assert lists.part_of("subAZ09ZA") == ""
    assert SubjectLists(validation=frozenset({"1"})).part_of("1") == "validation"


def test_of_many_mistakes_the_first_is_named_and_the_others_are_counted():
    for test, validation, more in (
        ("1234", "3210", r" \(and 2 more\)"),
        ("123", "210", r" \(and 1 more\)"),
        ("1", "1", ""),
    ):
        with pytest.raises(LeakageError, match=rf"'1' is among test and validation subjects{more}; correct"):
            SubjectLists(frozenset(test), frozenset(validation))
