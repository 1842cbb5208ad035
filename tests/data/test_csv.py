import os

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest

from vagan.data.schema import DROPPED
from vagan.data.sources.csv import import_csv
from vagan.data.sources.files import ImportOptions, import_files
from vagan.data.volume import write_volume
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


@pytest.mark.parametrize("cell", ["NA", "n/a", "#N/A", "", " "])
def test_images_without_a_class_are_left_out_with_the_reason(cell, folder):
    cohort = import_csv(table(folder, [cell, *CLASSES[1:]]), folder / "cohort")
    assert len(cohort) == NUMBER - 1
    dropped = pd.read_csv(folder / "cohort" / DROPPED)
    assert list(dropped["image"]) == [str(folder / "p0.png")]
    assert "class" in dropped["reason"][0]


def test_a_class_may_be_called_na_if_it_is_named_and_names_differ_in_more_than_case(folder):
    classes = ["NA", "AD"] * (NUMBER // 2)
    cohort = import_csv(
        table(folder, classes), folder / "cohort", classes=["AD", "NA"], options=ImportOptions(baseline="NA")
    )
    assert cohort.manifest.classes == ("NA", "AD")
    with pytest.raises(VaganError):
        import_csv(table(folder, classes), folder / "other")
    with pytest.raises(ManifestError, match=r"'AD' and 'ad'"):
        import_csv(table(folder, ["ad", "control", *CLASSES[2:]]), folder / "cohort")


def test_an_empty_mask_is_no_effect_and_masks_are_resized_with_their_images(folder):
    for i in range(NUMBER):
        mask = np.zeros((16, 18), np.uint8)
        mask[4:8, 6:12] = 255 * (i % 2)
        imageio.imwrite(folder / f"m{i}.png", mask)
    path = table(folder, CLASSES)
    pd.read_csv(path).assign(effect=[f"m{i}.png" for i in range(NUMBER)]).to_csv(path, index=False)
    cohort = import_csv(path, folder / "cohort", ImportOptions(size=(8, 9)))
    healthy, ill = (cohort.effects(cohort.manifest.table.index[cohort.manifest.table["label"] == k]) for k in (0, 1))
    assert healthy.shape[1:] == (1, 8, 9)
    assert not healthy.any()
    assert (ill[:, 0].sum((1, 2)) > 0).all()
    assert (ill[:, 0, 2:4, 3:6] > 100).all()


def test_bit_depths_are_not_mixed_under_one_range(folder):
    imageio.imwrite(folder / "p3.png", np.random.default_rng(0).integers(0, 65535, (16, 18), dtype=np.uint16))
    with pytest.raises(VaganError, match=r"p3\.png has 16"):
        import_csv(table(folder, CLASSES), folder / "cohort")
    import_csv(table(folder, CLASSES), folder / "cohort", ImportOptions(intensity="per-image"))


def test_volumes_of_other_voxel_sizes_are_refused(tmp_path):
    for i in range(NUMBER):
        values = np.random.default_rng(i).normal(size=(8, 9, 10)).astype(np.float32)
        write_volume(tmp_path / f"p{i}.nii.gz", values, np.diag([2, 2, 2.5 if i == 5 else 2, 1.0]))
    rows = pd.DataFrame({"image": [f"p{i}.nii.gz" for i in range(NUMBER)], "class": CLASSES})
    rows.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(VaganError, match=r"p5\.nii\.gz has 2 x 2 x 2\.5 mm"):
        import_csv(tmp_path / "table.csv", tmp_path / "cohort")


def test_a_file_name_that_is_not_utf8_is_one_line(folder):
    name = os.fsdecode(b"p\xe4.png")
    (folder / "p1.png").rename(folder / name)
    rows = pd.DataFrame({"image": [str(folder / f"p{i}.png") for i in range(NUMBER)], "class": CLASSES})
    rows = rows.assign(id=range(NUMBER), subject=range(NUMBER)).astype(str)
    rows.loc[1, "image"] = str(folder / name)
    with pytest.raises(VaganError, match="UTF-8"):
        import_files(rows, folder / "cohort", ImportOptions(), source="a test")
    cohort = import_files(rows, folder / "cohort", ImportOptions(drop_bad=True), source="a test")
    assert len(cohort) == NUMBER - 1
