import json
import shutil
import warnings

import numpy as np
import pytest
import zarr

from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_cohort
from vagan.errors import CohortError


@pytest.fixture
def cohort(tmp_path):
    return make_cohort(tmp_path / "cohort", images=20, size=(18, 17)).path


def change(cohort, **facts):
    """Other facts in the store."""
    path = cohort / "cohort.zarr" / "zarr.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["attributes"] |= facts
    path.write_text(json.dumps(values), encoding="utf-8")


SENSELESS = {
    "affine of three numbers": {"affine": [[1, 2, 3]]},
    "affine of NaN": {"affine": [[float("nan")] * 4] * 4},
    "flat affine": {"affine": [[0, 0, 0, 0]] * 4},
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


def test_facts_that_make_sense_are_not(cohort):
    affine = ((1.0, 0.0, 0.0, -9.0), (0.0, 0.0, 2.0, 0.0), (0.0, -3.0, 0.0, 4.0), (0.0, 0.0, 0.0, 1.0))
    pipeline = {"steps": [{"step": "rescale", "low": 1.0}]}
    change(cohort, affine=affine, spacing_mm=[1, 2.5], pipeline=pipeline, preparation={"size": [18, 17]})
    facts = Cohort(cohort).facts
    assert (facts.affine, facts.spacing_mm, facts.pipeline) == (affine, (1.0, 2.5), pipeline)


@pytest.mark.parametrize("name", ["images", "effects"])
@pytest.mark.parametrize("instead", [None, "a folder"])
def test_pixels_that_are_lost_are_missed_when_the_cohort_is_opened(name, instead, cohort):
    (file,) = (path for path in (cohort / "cohort.zarr" / name / "c").rglob("*") if path.is_file())
    file.unlink()
    if instead:
        file.mkdir()
    with pytest.raises(
        CohortError, match=rf"cohort\.zarr/{name}/c/0/.* there is no such file; make the cohort again"
    ):
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
    rows = [5, 0, 11, 5, 3]
    np.testing.assert_array_equal(opened.images(rows), stored[rows])
    with pytest.raises(CohortError, match=r"images of .* are damaged"):
        opened.images([len(stored)])
