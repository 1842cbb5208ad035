"""Scores against hand-worked values, identities, other libraries and slow loops."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tables import one_case
from vagan.errors import ConfigError
from vagan.evaluation.metrics.agreement import (
    amplitude_slope,
    apply_convention,
    average_precision,
    compared_with,
    mean_abs,
    mean_ncc,
    ncc,
    ncc_brain,
    pointing_game,
    relevance_mass,
    relevance_rank,
)
from vagan.evaluation.metrics.base import truth_mask
from vagan.evaluation.metrics.regions import region_recall
from vagan.evaluation.metrics.registry import METRICS

SHAPES = [(3, 1, 7, 8), (2, 1, 7, 8, 9), (2, 3, 5, 4)]
OF_PLACE = [
    *(average_precision, relevance_mass, relevance_rank, pointing_game),
    *(partial(metric.function, threshold=0.5) for metric in METRICS.values() if "threshold" in metric.needs),
]


def random_pair(shape, seed=0):
    """Noisy maps and sparse effects of either sign; every case has both truth and background, no effect is faint."""
    generator = np.random.default_rng(seed)
    effects = generator.choice([-1, 1], shape) * generator.uniform(0.5, 2, shape) * (generator.random(shape) < 0.3)
    return effects + generator.normal(size=shape), effects


class TestNCC:
    def test_hand_worked(self):
        # means 1 and 2; centred (-1, 0, 1) and (-1, -1, 2): (1 + 0 + 2) / sqrt(2 * 6)
        assert ncc(one_case(0, 1, 2), one_case(1, 1, 4)) == pytest.approx([3 / np.sqrt(12)])

    @pytest.mark.parametrize("shape", SHAPES)
    def test_is_pearsons_correlation_over_all_pixels_of_each_case(self, shape):
        maps, effects = random_pair(shape)
        pairs = [(m.ravel(), e.ravel()) for m, e in zip(maps, effects, strict=True)]
        np.testing.assert_allclose(ncc(maps, effects), [np.corrcoef(m, e)[0, 1] for m, e in pairs], rtol=1e-12)

    def test_not_rounded_far_from_zero_and_a_mean_of_its_cases(self):
        maps, effects = (x.astype(np.float32) for x in random_pair((3, 1, 7, 8)))
        far = maps + np.float32(1000)
        exact = [np.corrcoef(f.ravel().astype(float), e.ravel())[0, 1] for f, e in zip(far, effects, strict=True)]
        np.testing.assert_allclose(ncc(far, effects), exact, rtol=1e-6)
        mean = mean_ncc(*(torch.tensor(values, requires_grad=True) for values in (maps, effects)))
        assert mean == pytest.approx(sum(ncc(maps, effects)) / 3)
        inside = np.arange(8) < np.array([3, 5, 8]).reshape(3, 1, 1, 1)
        cropped = [ncc(maps[[k], ..., :n], effects[[k], ..., :n])[0] for k, n in enumerate((3, 5, 8))]
        np.testing.assert_allclose(ncc_brain(maps, effects, inside & np.ones_like(maps, bool)), cropped, rtol=1e-6)

    @pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
    def test_zero_for_constants_even_where_their_mean_is_rounded(self, value):
        maps, effects = random_pair((3, 1, 7, 8))
        constant = np.full_like(maps, value)
        assert ncc(constant, effects).tolist() == ncc(maps, constant).tolist() == [0, 0, 0]


class TestAveragePrecision:
    def test_hand_worked_and_limits(self):
        # ranking by size: -4 (hit, precision 1/1), 3 (miss), 2 (hit, 2/3), 1 (miss); each hit is half the recall
        assert average_precision(one_case(-4, 3, 2, 1), one_case(5, 0, -1, 0)) == pytest.approx([(1 + 2 / 3) / 2])
        truth = one_case(1, 0, 0, 1, 0)
        assert average_precision(truth, truth) == pytest.approx([1])
        assert average_precision(np.ones_like(truth), truth) == pytest.approx([2 / 5])

    def test_equal_strengths_count_as_scikit_learn_counts_them(self):
        rng = np.random.default_rng(0)
        maps, effects = rng.integers(-3, 4, (5, 1, 7, 8)), rng.integers(0, 2, (5, 1, 7, 8))
        expected = [average_precision_score(e.ravel(), np.abs(m).ravel()) for m, e in zip(maps, effects, strict=True)]
        np.testing.assert_allclose(average_precision(maps, effects), expected, rtol=1e-12)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_slow_loop(self, shape):
        maps, effects = random_pair(shape)
        expected = []
        for m, e in zip(np.abs(maps), effects != 0, strict=True):
            ranked = [hit for _, hit in sorted(zip(m.ravel(), e.ravel(), strict=True), reverse=True)]
            precisions = [sum(ranked[: i + 1]) / (i + 1) for i, hit in enumerate(ranked) if hit]
            expected.append(sum(precisions) / len(precisions))
        np.testing.assert_allclose(average_precision(maps, effects), expected, rtol=1e-12)


class TestRelevance:
    def test_mass_and_rank_hand_worked(self):
        assert relevance_mass(one_case(-3, 1, 4, 2), one_case(1, 0, -1, 0)) == pytest.approx([7 / 10])
        assert relevance_mass(one_case(0, 0, 0), one_case(1, 0, 0)).tolist() == [0]
        # the three strongest are -9, 8 and -7; the first and the last of them lie in the truth
        assert relevance_rank(one_case(-9, 8, -7, 1, 2), one_case(1, 0, 1, 0, 1)) == pytest.approx([2 / 3])

    def test_rank_of_ties_is_the_mean_over_all_ways_to_break_them(self):
        strength, truth = [5, 2, 2, 2, 2, 1], [0, 1, 0, 1, 0, 1]
        outcomes = []
        for places in itertools.permutations(range(6)):
            ranked = sorted(range(6), key=lambda i, places=places: (-strength[i], places[i]))
            outcomes.append(sum(truth[i] for i in ranked[:3]) / 3)
        assert relevance_rank(one_case(*strength), one_case(*truth)) == pytest.approx([np.mean(outcomes)])

    @pytest.mark.parametrize("shape", SHAPES)
    def test_slow_loops(self, shape):
        maps, effects = random_pair(shape)
        masses, ranks = [], []
        for m, e in zip(maps, effects, strict=True):
            strengths = {index: abs(m[index]) for index in np.ndindex(m.shape)}
            truth = {index for index in strengths if e[index] != 0}
            masses.append(sum(strengths[index] for index in truth) / sum(strengths.values()))
            top = sorted(strengths, key=strengths.__getitem__, reverse=True)[: len(truth)]
            ranks.append(len(truth & set(top)) / len(truth))
        np.testing.assert_allclose(relevance_mass(maps, effects), masses, rtol=1e-12)
        np.testing.assert_allclose(relevance_rank(maps, effects), ranks, rtol=1e-12)


class TestTruth:
    def test_hand_worked(self):
        # a tenth of the largest, 2, just counts; what is fainter does not, whatever its sign
        effects = np.array([[0.2, -2, 0.19, 0], [-0.0009, 0.0099, 0.0, 0.01]]).reshape(2, 1, 2, 2)
        expected = np.array([[1, 1, 0, 0], [0, 1, 0, 1]]).reshape(2, 1, 2, 2) == 1
        np.testing.assert_array_equal(truth_mask(effects), expected)
        masks = (np.random.default_rng(0).random((3, 1, 7, 8)) < 0.3).astype(np.float32)
        masks[1] = 0
        np.testing.assert_array_equal(truth_mask(masks), masks != 0)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_neither_amplitude_nor_sign_matter_and_the_mask_is_its_own(self, shape):
        effects = np.random.default_rng(0).normal(size=shape) ** 3
        mask = truth_mask(effects)
        assert mask.any()
        assert not mask.all()
        np.testing.assert_array_equal(truth_mask(-0.25 * effects), mask)
        np.testing.assert_array_equal(truth_mask(np.where(mask, effects, 0)), mask)

    @pytest.mark.parametrize("function", OF_PLACE)
    def test_faint_effects_change_no_score_of_a_place(self, function):
        maps, effects = random_pair((3, 1, 7, 8))
        faint = np.where(effects == 0, 0.01 * np.random.default_rng(1).normal(size=effects.shape), effects)
        np.testing.assert_array_equal(function(maps, faint), function(maps, effects))


def test_pointing_game_hand_worked():
    maps = np.array([[1, -5, 2, 3], [5, 0, 2, 5]]).reshape(2, 1, 2, 2)
    effects = np.array([[0, 1, 0, 0], [0, 1, 1, 2]]).reshape(2, 1, 2, 2)
    assert pointing_game(maps, effects).tolist() == [1, 0.5]
    _, effects = random_pair((3, 1, 7, 8))
    np.testing.assert_allclose(pointing_game(np.ones_like(effects), effects), (effects != 0).mean((1, 2, 3)))


def test_mean_abs_hand_worked():
    assert mean_abs(np.array([[-1, 2], [0, 0.5]]).reshape(2, 1, 1, 2)) == pytest.approx([1.5, 0.25])


class TestAmplitudeSlope:
    def test_hand_worked(self):
        # (1 * 2 + -3 * -1) / (4 + 1); the 100 outside the truth does not count
        assert amplitude_slope(one_case(1, 100, -3), one_case(2, 0, -1)) == pytest.approx([1])

    @pytest.mark.parametrize("shape", SHAPES)
    def test_is_the_least_squares_solution_inside_the_truth(self, shape):
        maps, effects = random_pair(shape)
        expected = [
            np.linalg.lstsq(e[e != 0][:, None], m[e != 0], rcond=None)[0][0]
            for m, e in zip(maps, effects, strict=True)
        ]
        np.testing.assert_allclose(amplitude_slope(maps, effects), expected, rtol=1e-10)


class TestRegionRecall:
    def test_pixels_weigh_by_their_squared_effect_and_ties_count_by_chance(self):
        maps, region = one_case(-9, 8, 7, 1, 0), one_case(1, 0, -3, 2, 0)
        recalls = [region_recall(maps, region, area)[0] for area in range(1, 6)]
        assert recalls == pytest.approx([1 / 14, 1 / 14, 10 / 14, 1, 1])
        assert region_recall(one_case(3, 1, 1, 1, 1), one_case(0, 1, 0, 0, 1), 3) == pytest.approx([0.5])

    @pytest.mark.parametrize("shape", SHAPES)
    def test_is_relevance_rank_when_the_area_is_that_of_the_region(self, shape):
        maps, effects = random_pair(shape)
        regions = (effects != 0).astype(float)
        for case in range(len(maps)):
            one = slice(case, case + 1)
            area = int(np.count_nonzero(regions[one]))
            assert region_recall(maps[one], regions[one], area) == pytest.approx(
                relevance_rank(maps[one], regions[one])
            )

    @pytest.mark.parametrize("area", [0, 6])
    def test_refuses_impossible_areas(self, area):
        with pytest.raises(ValueError, match="1 to 5 pixels"):
            region_recall(one_case(1, 2, 3, 4, 5), one_case(1, 0, 0, 0, 0), area)


class TestConventions:
    def test_hand_worked(self):
        maps = one_case(-2, 0, 3)
        assert apply_convention(maps, "signed").tolist() == maps.tolist()
        assert apply_convention(maps, "absolute").tolist() == one_case(2, 0, 3).tolist()
        assert apply_convention(maps, "positive").tolist() == one_case(0, 0, 3).tolist()
        assert maps.tolist() == one_case(-2, 0, 3).tolist()

    @pytest.mark.parametrize("name", ["signed", "absolute", "positive"])
    def test_names_the_nearest_of_an_unknown_one(self, name):
        # TypeError: as for shapes
        with pytest.raises((ConfigError, TypeError), match=name):
            apply_convention(one_case(1), name[:-1])


def test_maps_without_a_direction_are_compared_with_the_size_of_effects():
    effects = np.array([[[[-1.0, 2.0, 0.0]]]], np.float32)
    assert np.array_equal(compared_with(effects, "signed"), effects)
    for convention in ("absolute", "positive"):
        assert np.array_equal(compared_with(effects, convention), np.array([[[[1.0, 2.0, 0.0]]]]))
