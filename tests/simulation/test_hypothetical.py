"""Effects that a simulated scan could have had."""

import numpy as np
import pytest

from vagan.simulation.base import REGIONS
from vagan.simulation.hypothetical import effect_if, mean_disease, region_shares
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.subject import draw_subject

GRID = prepared_grid(5.2)


@pytest.fixture(scope="module")
def patient():
    simulation = Simulation.on("mni152", seed=0)
    subject = draw_subject(2, "hippocampal", seed=0)
    return simulation, subject, subject.visits[-1]


def test_own_disease_gives_the_own_effect_and_none_no_effect(patient):
    simulation, subject, visit = patient
    found = effect_if(simulation, subject, visit, visit.disease, GRID)
    np.testing.assert_allclose(found, simulation.prepared(subject, visit, GRID).effect, atol=2e-3)
    assert np.abs(effect_if(*patient, {}, GRID)).max() == 0


def test_mean_disease_counts_missing_regions_as_none():
    found = mean_disease([{"ventricle_left": 0.4}, {"ventricle_left": 0.2, "temporal_left": -0.1}])
    assert found["ventricle_left"] == pytest.approx(0.3)
    assert found["temporal_left"] == pytest.approx(-0.05)
    assert found["hippocampus_left"] == 0
    assert tuple(found) == REGIONS


def test_region_shares_sum_to_the_volumes(patient):
    simulation, subject, visit = patient
    fine = prepared_grid(2.6)
    found = region_shares(simulation, subject, visit, fine).sum((1, 2, 3)) * fine.voxel_ml
    true = simulation.volumes_ml(subject, visit)[0] / subject.size**3
    np.testing.assert_allclose(found, true, rtol=0.06)  # but for the scan's pose, whose size varies
