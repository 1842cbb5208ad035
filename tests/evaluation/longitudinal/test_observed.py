"""Observed effects of made-up brains, whose exact effect is known."""

import numpy as np
import pytest

from brains import GRID, exact_effect, places, prepared
from heads import rotation
from vagan.errors import CohortError
from vagan.evaluation.longitudinal.observed import linear_match, observe, smooth_log_ratio
from vagan.evaluation.metrics.agreement import ncc
from vagan.geometry import Grid, transform_points
from vagan.preprocessing.scan import Scan


@pytest.fixture(scope="module")
def pose():
    """The earlier head, turned by 2.7 degrees and moved by 1.8 mm."""
    matrix = rotation((1.5, -1, 2))
    matrix[:3, 3] = (1.2, -0.8, 1.0)
    return matrix


def agreement(one, other):
    return float(ncc(one[None, None], other[None, None])[0])


def test_the_same_scan_twice_has_no_effect_and_an_effect_is_what_the_later_scan_has_more():
    scan = prepared()
    found = observe(scan, scan)
    assert np.abs(found.effect).max() < 0.02
    assert np.array_equal(found.mask, scan.mask)
    assert found.facts["shift_mm"] < 0.02
    found = observe(prepared(), prepared(disease=1.0))
    assert agreement(found.effect, exact_effect(disease=1.0)) > 0.97
    assert found.effect.min() < -0.6  # ventricles are dark
    assert found.effect[~found.mask].max() == found.effect[~found.mask].min() == 0
    scan = prepared()
    far = np.zeros(GRID.shape, bool)
    far[:4, :4, :4] = True
    with pytest.raises(CohortError, match="must show the same brain"):
        observe(Scan(scan.image, GRID, far), scan)


def test_the_pose_is_found(pose):
    after = prepared(disease=1.0, noise=0.02, draw=1)
    found = observe(prepared(pose=pose, noise=0.02, draw=2), after)
    brain = places(GRID)[after.mask]
    wrong = transform_points(np.array(found.facts["before_from_after"]), brain) - transform_points(
        np.linalg.inv(pose), brain
    )
    assert np.linalg.norm(wrong, axis=-1).mean() < 0.4  # a tenth of a voxel
    assert found.facts["turn_deg"] == pytest.approx(2.7, abs=0.3)


@pytest.mark.parametrize(
    ("disturbed", "least", "unmatched"),
    [
        ({}, 0.97, 1.0),
        ({"gain": 1.1}, 0.97, 0.9),
        ({"gain": 1.1, "shading": 0.1}, 0.95, 0.9),
        ({"gain": 1.1, "shading": 0.1, "noise": 0.02}, 0.92, 0.9),
    ],
)
def test_position_gain_and_shading_are_undone(pose, disturbed, least, unmatched):
    after = prepared(disease=1.0, noise=disturbed.get("noise", 0), draw=1)
    before = prepared(pose=pose, draw=2, **disturbed)
    truth = exact_effect(disease=1.0)
    scores = {
        how: agreement(observe(before, after, intensity=how).effect, truth) for how in ("none", "linear", "smooth")
    }
    assert scores["smooth"] > least
    assert scores["none"] < unmatched
    assert agreement(after.image - before.image, truth) < 0.5  # without any of this
    if "shading" in disturbed:
        assert scores["smooth"] > scores["linear"] > scores["none"]


def test_the_earlier_brains_edge_is_left_out_where_its_interpolation_needs_what_was_stripped():
    shift = np.eye(4)
    shift[0, 3] = 0.3 * GRID.spacing_mm[0]
    before, after = prepared(pose=shift), prepared()
    found = observe(before, after).mask
    # voxel i of the later scan lies three tenths of the way from voxel i of the earlier one to voxel i - 1
    edge = after.mask & before.mask & ~np.roll(before.mask, 1, axis=0)
    whole = after.mask & before.mask & ~edge
    assert edge.sum() > 100
    assert found[whole].mean() > 0.98
    assert found[edge].mean() < 0.02


def test_registration_to_the_template_may_have_scaled_the_two_scans_differently(pose):
    """Prepared scans whose template maps differ in scale: between two scans of one head only a rigid map is right."""
    larger = np.diag([1.03, 1.03, 1.03, 1.0])
    after = prepared(disease=1.0)
    shrunk = prepared(pose=pose @ np.linalg.inv(larger))  # the template's mm are the head's times 1.03
    found = observe(Scan(shrunk.image, shrunk.grid, shrunk.mask, larger), after)
    assert agreement(found.effect, exact_effect(disease=1.0)) > 0.95
    brain = places(GRID)[after.mask]
    wrong = transform_points(np.array(found.facts["before_from_after"]), brain) - transform_points(
        larger @ np.linalg.inv(pose), brain
    )
    assert np.linalg.norm(wrong, axis=-1).mean() < 0.4


def test_a_gain_is_not_diluted_by_noise():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 20_000)
    onto = 1.3 * values - 0.2
    noisy = [part + rng.normal(0, size, 20_000) for part, size in ((values, 0.3), (onto, 0.39))]
    gain, offset = linear_match(*noisy)
    assert gain == pytest.approx(1.3, abs=0.03)  # least squares would give 1.19
    assert offset == pytest.approx(-0.2, abs=0.02)
    onto[:1000] += 3  # changed tissue
    assert linear_match(values, onto) == pytest.approx((1.3, -0.2), abs=1e-3)


@pytest.mark.parametrize("changed", [40, 85])
def test_the_ratio_of_two_shadings_is_found_and_changed_tissue_is_not_taken_for_one(changed):
    grid = Grid.upright((30, 34, 28), (4.0, 3.0, 5.0), (0, 0, 0))
    points = places(grid)
    mask = np.linalg.norm(points / (50, 45, 60), axis=-1) < 1
    shading = 0.1 * np.tanh(points[..., 0] / 40)
    before = np.full(grid.shape, 100, np.float32)
    after = (before * np.exp(shading)).astype(np.float32)
    after[12:18, 14:20, 12:16] = changed
    ratio = smooth_log_ratio(before, after, mask, grid.spacing_mm)
    inner = np.linalg.norm(points / (30, 30, 40), axis=-1) < 1
    assert np.abs(ratio - shading)[inner].max() < 0.03


@pytest.mark.parametrize(("wave_mm", "least", "most"), [(50, 0.9, 1.05), (25, 0.1, 0.35), (12, -0.05, 0.05)])
def test_waves_as_long_as_n4_leaves_them_are_found_whole_and_short_ones_left_alone(wave_mm, least, most):
    grid = Grid.upright((60, 34, 28), (2.0, 3.0, 3.0), (0, 0, 0))
    wave = 0.03 * np.cos(2 * np.pi * places(grid)[..., 0] / wave_mm)
    before = np.full(grid.shape, 100, np.float32)
    after = (before * np.exp(wave)).astype(np.float32)
    found = smooth_log_ratio(before, after, np.ones(grid.shape, bool), grid.spacing_mm)
    inner = np.s_[12:-12]  # 1 - (1 - exp(-2 (pi 10 / wave)^2))^6 of an endless wave: 0.97, 0.23, 0.00
    assert least < (found * wave)[inner].sum() / (wave**2)[inner].sum() < most


def test_one_ratio_everywhere_is_found_exactly_and_none_where_nothing_is_bright():
    grid = Grid.upright((30, 34, 28), (4.0, 3.0, 5.0), (0, 0, 0))
    mask = np.linalg.norm(places(grid) / (50, 45, 60), axis=-1) < 1
    after = np.full(grid.shape, 128, np.float32)
    np.testing.assert_allclose(smooth_log_ratio(after / 2, after, mask, grid.spacing_mm)[mask], np.log(2))
    assert not smooth_log_ratio(np.zeros_like(after), after, mask, grid.spacing_mm).any()
