import os
import re
from contextlib import nullcontext
from functools import partial

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest

from vagan.cli.check import check
from vagan.data.audit.defects import find_problems
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


def test_names_of_classes_differ_in_more_than_case(folder):
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


def deep(path):
    imageio.imwrite(path, np.random.default_rng(0).integers(0, 65535, (16, 18), dtype=np.uint16))


def dark(path):
    imageio.imwrite(path, np.random.default_rng(0).integers(0, 3, (16, 18), dtype=np.uint8))


def volume(path, spacing=2.0, shift=0.0):
    affine = np.diag([2, 2, spacing, 1.0])
    affine[0, 3] = shift
    write_volume(
        path, np.random.default_rng(list(path.name.encode())).normal(size=(8, 9, 10)).astype(np.float32), affine
    )


@pytest.mark.parametrize(
    ("name", "write", "options", "refused", "words"),
    [
        ("p3.png", deep, {}, True, "bit depth.*p3.png has 16 bits"),
        ("p3.png", deep, {"intensity": "per-image"}, False, "bit depth.*p3.png has 16 bits"),
        ("p3.png", dark, {}, False, "nearly black or constant.* 00003"),
        ("p3.nii.gz", partial(volume, spacing=2.5), {}, True, "voxel size.*p3.nii.gz has 2 x 2 x 2.5 mm"),
        ("p3.nii.gz", partial(volume, spacing=2.5), {"size": (8, 9, 10)}, False, "voxel size.*2 x 2 x 2.5 mm"),
        ("p3.nii.gz", partial(volume, shift=3), {}, False, r"place.*p3.nii.gz has its first voxel at \(3, 0, 0\) mm"),
        ("p3.nii.gz", volume, {}, False, ""),
    ],
)
def test_mixtures_are_refused_or_told_by_import_and_check(name, write, options, refused, words, *, folder, capsys):
    suffix = name.removeprefix("p3")
    for i in range(NUMBER if suffix == ".nii.gz" else 0):
        volume(folder / f"p{i}.nii.gz")
    write(folder / name)
    rows = pd.DataFrame({"image": [f"p{i}{suffix}" for i in range(NUMBER)], "class": CLASSES})
    rows.to_csv(folder / "table.csv", index=False)
    with pytest.raises(VaganError, match=words) if refused else nullcontext():
        cohort = import_csv(folder / "table.csv", folder / "cohort", ImportOptions(**options))
    if refused:
        return
    found = [str(problem) for problem in find_problems(folder / "cohort")]
    if not words:
        assert found == []
        return
    assert re.search(words, " ".join(cohort.metadata.warnings))
    assert [line for line in found if re.search(f"^warning: .*{words}", line)] == found
    check(folder / "cohort")  # no error
    assert re.search(words, capsys.readouterr().out)


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
