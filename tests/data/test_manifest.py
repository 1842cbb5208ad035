import pandas as pd
import pytest

from vagan.data.manifest import Manifest, find_defects, label_classes
from vagan.errors import LeakageError, ManifestError


def table(**columns):
    rows = {
        "id": ["a", "b", "c", "007"],
        "subject": ["s1", "s2", "s3", "s4"],
        "session": ["", "", "", ""],
        "label": [0, 1, 0, 1],
        "class": ["healthy", "ill", "healthy", "ill"],
        "split": ["train", "train", "test", "validation"],
    }
    return pd.DataFrame(rows | columns)


def test_rows_are_found_by_part_and_class():
    manifest = Manifest(table())
    assert manifest.classes == ("healthy", "ill")
    assert manifest.indices("train").tolist() == [0, 1]
    assert manifest.indices("train", 1).tolist() == [1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 0, 0, 0], "class": ["x"] * 4}, "two classes are needed, found one: 'x'"),
        ({"label": [0, 2, 0, 2]}, r"labels must be 0 for the baseline class, then 1, 2 .*\[0.0, 2.0\]"),
        ({"label": [0, 1, 0, None]}, "labels must be 0"),
        ({"class": ["healthy", "ill", "well", "ill"]}, "each class name must belong to one label"),
    ],
)
def test_each_defect_is_named(columns, message):
    with pytest.raises(ManifestError, match=message):
        Manifest(table(**columns))


def test_all_defects_are_listed_at_once_and_a_subject_in_two_parts_is_leakage():
    defects = find_defects(table(id=["a", "a", "c", "d"], split=["train", "x", "y", "test"]))
    assert len(defects) == 3
    with pytest.raises(LeakageError, match="'s1' is in train and test"):
        Manifest(table(subject=["s1", "s2", "s1", "s3"]))


def test_the_baseline_class_is_known_by_its_usual_names_or_asked_for():
    assert label_classes(["AD", "CN", "AD"], None) == {"CN": 0, "AD": 1}
    assert label_classes(["b", "c", "a"], "b") == {"b": 0, "a": 1, "c": 2}
    with pytest.raises(ManifestError, match="which class is the baseline. found cat, dog; .*`baseline`"):
        label_classes(["cat", "dog"], None)
    with pytest.raises(ManifestError, match="no class is called 'cta'; did you mean 'cat'"):
        label_classes(["cat", "dog"], "cta")
