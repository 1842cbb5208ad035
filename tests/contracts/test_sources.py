"""What every source of images must do: the same cohort from the same input, whole or not at all."""

import imageio.v3 as imageio
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from vagan.data.audit.defects import find_problems
from vagan.data.cohort import Cohort
from vagan.data.sources.bids import import_bids
from vagan.data.sources.csv import import_csv
from vagan.data.sources.folder import import_folder
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.errors import OutputError
from vagan.simulation.study import make_atrophy_cohort

SHAPES = {"2-D": (21, 18), "3-D": (18, 17, 20)}


def write_files(folder, shape):
    rng = np.random.default_rng(0)
    rows = []
    for name in ("control", "patient"):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            values = rng.integers(0, 255, shape).astype(np.uint8)
            path = folder / name / (f"{number:02d}.png" if len(shape) == 2 else f"{number:02d}.npy")
            imageio.imwrite(path, values) if len(shape) == 2 else np.save(path, values)
            rows.append({"image": f"{name}/{path.name}", "class": name})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder


def write_bids(folder):
    rng = np.random.default_rng(0)
    lines = ["participant_id\tdiagnosis"]
    for number in range(24):
        subject = f"sub-{number:02d}"
        lines.append(f"{subject}\t{('control', 'patient')[number % 2]}")
        path = folder / subject / "anat" / f"{subject}_desc-preproc_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(rng.random((18, 17, 20), dtype=np.float32), np.diag([2.0, 3.0, 4.0, 1.0])), path)
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


# a new source is one more line here: (folder for its input, shape, output) -> cohort
SOURCES = {
    "synthetic": lambda source, shape, out: make_synthetic_cohort(out, n=40, size=shape),
    "folder": lambda source, shape, out: import_folder(write_files(source, shape), out),
    "csv": lambda source, shape, out: import_csv(write_files(source, shape) / "table.csv", out),
}
SOURCES_3D = {
    "bids": lambda source, _, out: import_bids(write_bids(source), out, class_column="diagnosis"),
    "atrophy": lambda _, __, out: make_atrophy_cohort(out, subjects=20, spacing_mm=8.0, jobs=1),
}
"""On grids of their own."""
SOURCES |= SOURCES_3D
every_source = pytest.mark.parametrize(  # of simulated atrophy a subject takes seconds
    "name", [pytest.param(name, marks=pytest.mark.long if name == "atrophy" else ()) for name in SOURCES]
)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@every_source
@every_shape
def test_the_cohort_is_sound_and_the_same_when_opened_again(name, shape, tmp_path):
    cohort = SOURCES[name](tmp_path / "source", shape, tmp_path / "cohort")
    assert find_problems(cohort.path) == []
    table = cohort.manifest.table
    images = cohort.images(np.arange(len(table)))
    assert images.shape == (len(table), 1, *(cohort.shape if name in SOURCES_3D else shape))
    assert images.min() >= -1
    assert images.max() <= 1
    assert cohort.manifest.classes[0] in ("baseline", "control")
    assert {"train", "validation", "test"} == set(table["split"])
    for split in ("train", "validation", "test"):
        assert set(table["label"][table["split"] == split]) == {0, 1}
    again = Cohort(str(cohort.path))
    assert again.metadata == cohort.metadata
    assert again.metadata.content_hash
    pd.testing.assert_frame_equal(again.manifest.table, table, check_dtype=False)


@every_source
@pytest.mark.parametrize("name_of_table", ["thesis.tex", "manifest.csv"])
def test_a_folder_with_other_things_in_it_is_never_touched(name, name_of_table, tmp_path):
    (tmp_path / "study" / "images").mkdir(parents=True)
    (tmp_path / "study" / name_of_table).write_text("years of work", encoding="utf-8")
    with pytest.raises(OutputError, match="study holds (images|thesis)"):
        SOURCES[name](tmp_path / "source", (21, 18), tmp_path / "study")
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == sorted(["images", name_of_table])


@every_source
def test_a_failure_while_writing_leaves_the_older_cohort(name, tmp_path, monkeypatch):
    cohort = SOURCES[name](tmp_path / "first", (21, 18), tmp_path / "cohort")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("vagan.data.cohort._create_array", full)
    with pytest.raises(OutputError, match="no space"):
        SOURCES[name](tmp_path / "second", (21, 18), tmp_path / "cohort")
    assert Cohort(cohort.path).metadata == cohort.metadata
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
