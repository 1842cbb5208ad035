import json
import os
import pickle
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.errors import CohortError


@pytest.fixture
def cohort(tmp_path):
    return make_synthetic_cohort(tmp_path / "cohort", n=20, size=(18, 17)).path


def change(cohort, **facts):
    """Other facts in the store."""
    path = cohort / "cohort.zarr" / "zarr.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["attributes"] |= facts
    path.write_text(json.dumps(values), encoding="utf-8")


SENSELESS = {
    "affine of three numbers": {"affine": [[1, 2, 3]]},
    "affine of NaN": {"affine": [[float("nan")] * 4] * 4},
    "negative spacing": {"spacing_mm": [-1.0, 1.0]},
    "spacing without end": {"spacing_mm": [float("inf"), 1.0]},
    "pipeline of words": {"pipeline": {"steps": "all"}},
    "size of other axes": {"preparation": {"size": [18, 17, 16]}},
    "no range of intensity": {"preparation": {"intensity": "per-image", "low": 3.0, "high": 3.0}},
}


@pytest.mark.parametrize("facts", SENSELESS.values(), ids=SENSELESS)
def test_facts_that_make_no_sense_are_refused(facts, cohort):
    change(cohort, **facts)
    with pytest.raises(CohortError, match=r"cohort\.zarr is damaged \(.*\); make the cohort again"):
        Cohort(cohort)


@pytest.mark.parametrize("name", ["images", "effects"])
@pytest.mark.parametrize("instead", [None, "a folder"])
def test_pixels_that_are_lost_are_missed_when_the_cohort_is_opened(name, instead, cohort):
    (file,) = (path for path in (cohort / "cohort.zarr" / name / "c").rglob("*") if path.is_file())
    file.unlink()
    if instead:
        file.mkdir()
    with pytest.raises(CohortError, match=rf"no such file as .*cohort\.zarr/{name}/c/0/.*; make the cohort again"):
        Cohort(cohort)


def test_a_store_without_images_is_refused_by_us_alone(cohort):
    (cohort / "cohort.zarr" / "images" / "zarr.json").unlink()
    with warnings.catch_warnings(), pytest.raises(CohortError, match="it holds no images"):
        warnings.simplefilter("error")
        Cohort(cohort)
    shutil.rmtree(cohort / "cohort.zarr" / "images")
    with pytest.raises(CohortError, match="it holds no images"):
        Cohort(cohort)


@pytest.mark.parametrize("large", [True, False])
def test_images_come_in_the_order_asked_for_however_they_are_read(cohort, large, monkeypatch):
    monkeypatch.setattr("vagan.data.cohort.LARGE_BYTES", 1 if large else 2**40)
    opened = Cohort(cohort)
    stored = zarr.open_group(cohort / "cohort.zarr", mode="r")["images"][...]
    for rows in ([5, 0, 11, 5, 3], [0, -1]):  # near each other and not
        np.testing.assert_array_equal(opened.images(rows), stored[rows])
    with pytest.raises(CohortError, match=r"images of .* are damaged"):
        opened.images([len(stored)])


def test_images_held_in_memory_are_the_same_and_are_not_read_again(cohort):
    opened = Cohort(cohort)
    held, too_small = (opened.in_memory([7, 2, 5, 2], memory_bytes=size) for size in (2**20, 10))
    expected = opened.images([5, 2, 2]), opened.images([2, 3])
    assert all(np.array_equal(one.images([2, 3]), expected[1]) for one in (held, too_small))
    shutil.rmtree(cohort / "cohort.zarr" / "images")
    assert np.array_equal(held.images([5, 2, 2]), expected[0])
    assert np.array_equal(held.in_memory([5, 2], memory_bytes=0).images([5, 2, 2]), expected[0])
    for one, rows in ((held, [2, 3]), (too_small, [5, 2]), (opened, [5, 2])):
        assert not one.images(rows).isfinite().all()  # what is lost is no image


def test_a_cohort_at_half_the_resolution_has_means_of_blocks_also_in_memory(cohort):
    opened = Cohort(cohort)
    half = opened.downsampled(2)
    assert (half.shape, opened.shape) == ((9, 9), (18, 17))
    whole, rows = opened.images([3, 1]), [3, 1]
    torch.testing.assert_close(half.images(rows)[:, :, 4, 5], whole[:, :, 8:10, 10:12].mean((2, 3)))
    torch.testing.assert_close(half.images(rows)[:, :, 4, 8], whole[:, :, 8:10, 16].mean(2))  # its border is repeated
    torch.testing.assert_close(half.effects(rows)[0, 0, 0, 0], opened.effects(rows)[0, 0, :2, :2].mean())
    assert torch.equal(half.in_memory([1, 2, 3], memory_bytes=2**20).images(rows), half.images(rows))
    held = opened.in_memory(rows, memory_bytes=2**20)
    assert torch.equal(held.downsampled(2).images(rows), half.images(rows))
    assert held.downsampled(1) is held


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cohort_and_a_selection_go_through_a_data_loader(cohort, workers):
    opened = Cohort(cohort)
    opened.images([0])  # a store that has been read must still work in forked processes
    for dataset, rows in ((opened, range(20)), (opened.select(split="train"), opened.manifest.indices("train"))):
        batches = list(DataLoader(dataset, batch_size=3, num_workers=workers))
        assert torch.equal(torch.cat([batch.row for batch in batches]), torch.tensor(list(rows)))
        assert torch.equal(torch.cat([batch.image for batch in batches]), opened.images(list(rows)))
        labels = opened.manifest.table["label"].to_numpy()[list(rows)]
        assert torch.equal(torch.cat([batch.label for batch in batches]), torch.tensor(labels))


def test_pixels_that_are_cut_are_damage(cohort):
    opened = Cohort(cohort)
    os.truncate(cohort / "cohort.zarr" / "images" / "c" / "0" / "0" / "0" / "0", 100)
    with pytest.raises(CohortError, match=r"images of .* are damaged"):
        opened.images([0, 3])


def test_a_cohort_is_a_sequence_and_can_be_pickled(cohort):
    opened = pickle.loads(pickle.dumps(Cohort(cohort)))
    assert len(opened) == len(list(opened)) == 20
    assert opened[-1].row == 19
    assert "20 images of 18x17" in repr(opened)
    with pytest.raises(IndexError):
        opened[20]
    affine = ((1.0, 0.0, 0.0, -9.0), (0.0, 0.0, 2.0, 0.0), (0.0, -3.0, 0.0, 4.0), (0.0, 0.0, 0.0, 1.0))
    pipeline = {"steps": [{"step": "rescale", "low": 1.0}]}
    change(cohort, affine=affine, spacing_mm=[1, 2.5], pipeline=pipeline, preparation={"size": [18, 17]})
    facts = Cohort(cohort).metadata
    assert (facts.affine, facts.spacing_mm, facts.pipeline) == (affine, (1.0, 2.5), pipeline)


def test_a_selection_is_a_view_of_rows(cohort):
    opened = Cohort(cohort)
    chosen = opened.select(split="test", label=1)
    rows = opened.manifest.indices("test", 1)
    np.testing.assert_array_equal(chosen.rows, rows)
    np.testing.assert_array_equal(opened.select("test", label="two squares").rows, rows)
    assert len(opened.select()) == 20
    part = opened.select()[4:8]
    assert (len(part), part.ids, part.labels.tolist()) == (4, ("00004", "00005", "00006", "00007"), [0, 1, 0, 1])
    assert torch.equal(part.images, opened.images([4, 5, 6, 7]))
    assert torch.equal(part.effects, opened.effects([4, 5, 6, 7]))
    assert torch.equal(part.counterfactuals, opened.counterfactuals([4, 5, 6, 7]))
    assert part[1].row == 5
    assert part.covariates.to_dict("list") == {"subtype": ["", "A", "", "B"]}
    assert "4 of 20 images" in repr(part)
    table = pd.read_csv(cohort / "manifest.csv", dtype=str, keep_default_na=False).drop(columns="subtype")
    table.to_csv(cohort / "manifest.csv", index=False)
    assert Cohort(cohort).select().covariates is None


@pytest.mark.parametrize("asked", [{"split": "trian"}, {"label": 2}, {"label": "squares"}])
def test_a_selection_of_what_is_not_there_is_refused(cohort, asked):
    with pytest.raises(CohortError, match="(train|0 to 1|two squares)"):
        Cohort(cohort).select(**asked)


CHANGES = {
    "replaced": lambda path: make_synthetic_cohort(path, n=20, size=(18, 17), seed=1),
    "of another length": lambda path: make_synthetic_cohort(path, n=24, size=(18, 17)),
    "other labels": lambda path: (path / "manifest.csv").write_text("id\n", encoding="utf-8"),
    "deleted": shutil.rmtree,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_cohort_that_changes_while_it_is_in_use_is_noticed(cohort, change):
    opened = Cohort(cohort)
    opened.images([0, 19])
    CHANGES[change](cohort)
    with pytest.raises(CohortError, match="was changed while it was in use"):
        opened.images([0, 3])
    if change == "replaced":
        with pytest.raises(CohortError, match="holds another cohort"):
            pickle.loads(pickle.dumps(opened))
