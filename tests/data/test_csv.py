import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest

from vagan.data.schema import DROPPED
from vagan.data.sources.csv import import_csv
from vagan.data.sources.files import ImportOptions
from vagan.errors import ManifestError, VaganError

NUMBER = 20


@pytest.fixture
def folder(tmp_path):
    for i in range(NUMBER):
        pixels = np.random.default_rng(i).integers(0, 255, (16, 18), dtype=np.uint8)
        imageio.imwrite(tmp_path / f"p{i}.png", pixels)
    return tmp_path


def table(folder, classes, head=("image", "class", "age"), **options):
    rows = pd.DataFrame({head[0]: [f"p{i}.png" for i in range(NUMBER)], head[1]: classes, head[2]: range(60, 80)})
    rows.to_csv(folder / "table.csv", index=False, **options)
    return folder / "table.csv"


CLASSES = ["control", "AD"] * (NUMBER // 2)


@pytest.mark.parametrize(
    ("head", "options"),
    [
        (("image", "class", "age"), {}),
        (("Image", "CLASS", "age"), {"sep": ";"}),
        ((" image", "class ", "age"), {"sep": "\t", "encoding": "utf-16"}),
    ],
)
def test_a_table_in_any_form_gives_the_same_cohort(head, options, folder):
    cohort = import_csv(table(folder, CLASSES, head, **options), folder / "cohort")
    plain = import_csv(table(folder, CLASSES), folder / "plain")
    assert cohort.manifest.table.equals(plain.manifest.table)
    assert cohort.manifest.classes == ("control", "AD")


@pytest.mark.parametrize("cell", ["NA", "n/a", "#N/A", "", " "])
def test_images_without_a_class_are_left_out_with_the_reason(cell, folder):
    cohort = import_csv(table(folder, [cell, *CLASSES[1:]]), folder / "cohort")
    assert len(cohort) == NUMBER - 1
    dropped = pd.read_csv(folder / "cohort" / DROPPED)
    assert list(dropped["image"]) == [str(folder / "p0.png")]
    assert "class" in dropped["reason"][0]


def test_classes_that_differ_in_case_alone_are_both_named(folder):
    with pytest.raises(ManifestError, match=r"'AD' and 'ad'"):
        import_csv(table(folder, ["ad", "control", *CLASSES[2:]]), folder / "cohort")


def test_a_class_may_be_called_na_if_it_is_named(folder):
    classes = ["NA", "AD"] * (NUMBER // 2)
    cohort = import_csv(
        table(folder, classes), folder / "cohort", classes=["AD", "NA"], options=ImportOptions(baseline="NA")
    )
    assert cohort.manifest.classes == ("NA", "AD")
    with pytest.raises(VaganError):
        import_csv(table(folder, classes), folder / "other")
