"""Scores of individual maps in ``benchmarks/individual_maps``, and the effects that they need."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vagan.simulation.base import REGIONS
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.subject import draw_subject

FOLDER = Path(__file__).parents[1] / "benchmarks" / "individual_maps"
measures, swapped_disease = (
    SimpleNamespace(**runpy.run_path(str(FOLDER / f"{name}.py"))) for name in ("measures", "swapped_disease")
)
GRID = prepared_grid(5.2)


@pytest.mark.parametrize(
    ("score", "constant", "supervised", "share"),
    # none where supervision does not help
    [(0.92, 0.89, 0.95, 0.5), (0.89, 0.89, 0.95, 0), (0.83, 0.89, 0.95, -1), (0.9, 0.89, 0.89, np.nan)],
)
def test_individual_share(score, constant, supervised, share):
    assert measures.individual_share(score, constant, supervised) == pytest.approx(share, nan_ok=True)


# orthogonal patterns of mean 0: ncc of p and q is 0, of p and p + q it is sqrt(1/2)
P, Q = np.array([1.0, -1, 0, 0]), np.array([0.0, 0, 1, -1])


def _cases(*patterns):
    return np.stack(patterns)[:, None, :, None]


def test_swaps_worked_by_hand():
    effects, swapped = _cases(P, Q), _cases(Q, P)
    found = measures.swap_test(effects, effects, swapped)
    assert found.gain == pytest.approx(1)
    assert found.ceiling == pytest.approx(1)
    assert found.share == pytest.approx(1)
    effects, swapped = _cases(P, Q), _cases(Q, P)
    assert measures.swap_test(_cases(P + Q, P + Q), effects, swapped).gain == pytest.approx(0)
    # of P + Q / 2: ncc with P 1 / sqrt(1.25), with Q half of it
    effects, swapped = _cases(P, Q), _cases(Q, P)
    found = measures.swap_test(_cases(P + Q / 2, Q + P / 2), effects, swapped)
    assert found.gain == pytest.approx(0.5 / np.sqrt(1.25))
    assert np.isnan(measures.swap_test(_cases(P, P), _cases(P, P), _cases(P, P)).share)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_partners_are_others_and_each_once(count):
    found = measures.partners(count, np.random.default_rng(0))
    assert (found != np.arange(count)).all()
    assert sorted(found) == list(range(count))


def test_volumes_worked_by_hand():
    # a region of one whole voxel that halved and a half voxel that kept its volume: 1.5 now, 2 + 0.5 before
    shares = np.array([[[1.0, 0.5, 0.0]]])
    log_ratios = np.array([[[np.log(0.5), 0.0, 3.0]]])
    assert measures.volume_changes(log_ratios, shares) == pytest.approx(np.log(1.5 / 2.5))
    assert np.isnan(measures.volume_changes(np.zeros((1, 1, 4)), np.zeros((1, 1, 4)))).all()
    true = np.array([[1.0, 1], [2, 2], [3, 3]])
    predicted = np.array([[1.0, 3], [2, 2], [3, 1]])  # left in order, right in reverse
    found = measures.volume_correlations(predicted, true, ("ventricle_left", "ventricle_right"), np.arange(3))
    assert found["volume/ventricle"]["mean"] == pytest.approx(0)
    assert found["volume/ventricle"]["n"] == 3
    # groups differ by (0, 2), mean maps by (0, 1): maps are half as large as they should be
    images, baseline = np.array([[1.0, 3], [1, 5]]), np.array([[1.0, 2], [1, 2]])
    maps, none = np.array([[0.0, 0.5], [0, 1.5]]), np.zeros((2, 2))
    assert measures.amplitude_without_truth(images, baseline, maps, none) == pytest.approx(2)


@pytest.fixture(scope="module")
def patient():
    simulation = Simulation.on("mni152", seed=0)
    subject = draw_subject(2, "hippocampal", seed=0)
    return simulation, subject, subject.visits[-1]


def test_own_disease_gives_the_own_effect_and_none_no_effect(patient):
    simulation, subject, visit = patient
    found = swapped_disease.effect_if(simulation, subject, visit, visit.disease, GRID)
    np.testing.assert_allclose(found, simulation.prepared(subject, visit, GRID).effect, atol=2e-3)
    assert np.abs(swapped_disease.effect_if(*patient, {}, GRID)).max() == 0


def test_mean_disease_counts_missing_regions_as_none():
    found = swapped_disease.mean_disease([{"ventricle_left": 0.4}, {"ventricle_left": 0.2, "temporal_left": -0.1}])
    assert found["ventricle_left"] == pytest.approx(0.3)
    assert found["temporal_left"] == pytest.approx(-0.05)
    assert found["hippocampus_left"] == 0
    assert tuple(found) == REGIONS


def test_region_shares_sum_to_the_volumes(patient):
    simulation, subject, visit = patient
    fine = prepared_grid(2.6)
    found = swapped_disease.region_shares(simulation, subject, visit, fine).sum((1, 2, 3)) * fine.voxel_ml
    true = simulation.volumes_ml(subject, visit)[0] / subject.size**3
    np.testing.assert_allclose(found, true, rtol=0.06)  # but for the scan's pose, whose size varies
