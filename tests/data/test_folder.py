import re

import imageio.v3 as imageio
import numpy as np
import pytest

from vagan.data.schema import DROPPED
from vagan.data.sources.files import describe_dropped
from vagan.data.sources.folder import import_folder
from vagan.data.table import read_table
from vagan.errors import ManifestError

IN_EACH = 12


@pytest.fixture
def source(tmp_path):
    for number in range(2 * IN_EACH):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 18), dtype=np.uint8)
        path = tmp_path / "images" / ("sick" if number % 2 else "healthy") / f"p{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(path, pixels)
    return tmp_path / "images"


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "healthy/.DS_Store", "sick/._p01.png", "sick/Thumbs.db", "__MACOSX/sick/p01.png",
     "sick/.ipynb_checkpoints/p01.png", ".git/p01.png", "sick/__MACOSX/._p01.png"],
)  # fmt: skip
def test_files_of_systems_and_editors_never_count(name, source, tmp_path):
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_bytes(b"\0\5\x16\7 no image")
    cohort = import_folder(source, tmp_path / "cohort")
    assert len(cohort) == 2 * IN_EACH
    assert read_table(tmp_path / "cohort" / DROPPED).empty


@pytest.mark.parametrize(
    ("moves", "lines"),
    [
        ({}, []),
        ({"notes.txt": None}, ["1 × not an image file"]),
        ({"../p01.png": "p01.png"}, ["1 × beside the folders"]),
        ({"deeper/p01.png": "p01.png"}, ["1 × in a folder inside"]),
        ({f"deeper/p0{n}.png": f"p0{n}.png" for n in (1, 3)}, ["2 × in a folder", "WARNING: 2 of 12.*'sick'"]),
        ({f"p0{n}.bmp": f"p0{n}.png" for n in (1, 3)}, ["2 × not an image file of", "WARNING: 2 of 12.*'sick'"]),
    ],
)
def test_what_is_left_out_is_counted_by_reason_and_a_class_that_lost_much_is_named(moves, lines, source, tmp_path):
    for target, name in moves.items():
        path = source / "sick" / target
        path.parent.mkdir(exist_ok=True)
        (source / "sick" / name).rename(path) if name else path.write_text("notes", encoding="utf-8")
    cohort = import_folder(source, tmp_path / "cohort")
    printed = describe_dropped(read_table(tmp_path / "cohort" / DROPPED), cohort.manifest.table)
    assert len(printed) == len(lines)
    for line, pattern in zip(printed, lines, strict=True):
        assert re.search(pattern, line)


def test_the_baseline_class_is_asked_for_before_any_file_is_read(source, tmp_path):
    (source / "healthy").rename(source / "cat")
    (source / "cat" / "p00.png").write_text("no picture", encoding="utf-8")
    with pytest.raises(ManifestError, match="which class is the baseline. found cat, sick"):
        import_folder(source, tmp_path / "cohort")
