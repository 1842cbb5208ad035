"""Masks, lesions and boxes: worked by hand, against slow loops and scikit-image."""

import numpy as np
import pytest
from skimage.measure import label, regionprops

from shapes import SPACES
from tables import one_case
from vagan.evaluation.metrics.detection import dice, false_lesions, lesion_recall, otsu_threshold
from vagan.inference.lesions import components


def picture(*lines):
    """A case from drawn lines: a pixel is the digit there, or 0."""
    return np.array([[float(mark) if mark.isdigit() else 0.0 for mark in line] for line in lines])[None, None]


TWO_LESIONS = picture("11........", "11........", "..........", "......1111", "......1111", "......1111")


class TestDice:
    def test_hand_worked_and_limits(self):
        # marked: -3 and 2; truth: first and last; one in common: 2 * 1 / (2 + 2)
        assert dice(one_case(-3, 2, 0.5, 0), one_case(-1, 0, 0, 1), 1.0) == pytest.approx([0.5])
        assert dice(one_case(1, 2), one_case(0, 1), 1.0).tolist() == [1]
        effects = one_case(0, -2, 1)
        assert dice(effects, effects, 0.0).tolist() == [1]
        assert dice(effects, effects, 9.0).tolist() == [0]
        assert dice(one_case(1, 0, 0), effects, 0.0).tolist() == [0]
        assert dice(0 * effects, 0 * effects, 0.0).tolist() == [1]

    @pytest.mark.parametrize("threshold", [-0.1, np.nan, np.inf])
    def test_refuses_impossible_thresholds(self, threshold):
        with pytest.raises(ValueError, match="must be a number from 0"):
            dice(one_case(1, 0), one_case(1, 0), threshold)


class TestOtsu:
    def test_divides_two_groups_as_an_exhaustive_search_does(self):
        generator = np.random.default_rng(0)
        strengths = np.concatenate([generator.normal(1, 0.1, 300), generator.normal(4, 0.4, 100)])
        signs = generator.choice([-1, 1], 400)
        found = otsu_threshold((strengths * signs).reshape(2, 1, 10, 20))

        def variance_within(threshold):
            low, high = strengths[strengths <= threshold], strengths[strengths > threshold]
            return len(low) * low.var() + len(high) * high.var()

        best = min(variance_within(t) for t in np.sort(strengths)[:-1])
        assert variance_within(found) == pytest.approx(best, rel=0.02)
        assert ((strengths > found) == (np.arange(400) >= 300)).all()

    @pytest.mark.parametrize("value", [0.0, 0.3, -2.0])
    def test_marks_nothing_in_constant_maps(self, value):
        maps = np.full((2, 1, 3, 4), value, dtype=np.float32)
        threshold = otsu_threshold(maps)
        assert threshold == abs(np.float32(value))
        assert not (np.abs(maps.astype(np.float64)) > threshold).any()


class TestComponents:
    def test_corners_touch_and_specks_are_left_out(self):
        mask = picture("1.1...", ".1....", ".....1", "....1.")[0, 0] > 0
        numbers = components(mask)  # the diagonal pair below is a speck of two
        assert numbers.tolist() == [[1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6]
        numbers = components(picture("11..1", "....."[:5])[0, 0] > 0)
        assert numbers.tolist() == [[1, 1, 0, 0, 0], [0] * 5]
        assert not components(np.zeros((3, 4), bool)).any()

    @pytest.mark.parametrize("space", SPACES)
    def test_as_scikit_image_finds_them(self, space):
        mask = np.random.default_rng(2).random(space) < 0.25
        numbers = components(mask)
        theirs = [region for region in regionprops(label(mask, connectivity=mask.ndim)) if region.area >= 3]
        assert numbers.max() == len(theirs) > 0
        for number, region in enumerate(theirs, start=1):
            assert sorted(map(tuple, np.argwhere(numbers == number))) == sorted(map(tuple, region.coords))


class TestLesions:
    def test_hand_worked(self):
        # of the small lesion one pixel of four is marked, of the large one one of twelve: less than a tenth
        maps = picture("..........", ".9333.....", "....3.....", "......4...", "4.........", "444.......")
        # the component at the left has nothing in the truth, the speck does not count, the other has 1 of 5 in it
        assert lesion_recall(maps, TWO_LESIONS, 1.0).tolist() == [0.5]
        assert false_lesions(maps, TWO_LESIONS, 1.0).tolist() == [1]
        # above 3.5 what is left of the other is a speck
        assert lesion_recall(maps, TWO_LESIONS, 3.5).tolist() == [0.5]
        assert false_lesions(maps, TWO_LESIONS, 4.5).tolist() == [0]
        effects = np.concatenate([TWO_LESIONS, 0 * TWO_LESIONS], axis=1)
        np.testing.assert_array_equal(lesion_recall(effects[:, ::-1], effects, 0.5), 1)
        np.testing.assert_array_equal(false_lesions(effects[:, ::-1], effects, 0.5), 0)

    @pytest.mark.parametrize("metric", [lesion_recall, false_lesions])
    def test_slow_loop(self, metric):
        rng = np.random.default_rng(4)
        effects = (rng.random((6, 1, 12, 15)) < 0.2).astype(float)
        maps = np.where(rng.random(effects.shape) < 0.5, effects, rng.random(effects.shape) < 0.2)
        expected = []
        for map_, effect in zip(maps[:, 0], effects[:, 0], strict=True):
            pair = [map_ > 0, effect > 0] if metric is false_lesions else [effect > 0, map_ > 0]
            numbers = label(pair[0], connectivity=2)
            parts = [pair[1][numbers == n] for n in range(1, numbers.max() + 1) if (numbers == n).sum() >= 3]
            shares = [part.sum() / len(part) for part in parts]
            found = sum(share >= 0.1 for share in shares)
            expected.append(len(shares) - found if metric is false_lesions else found / len(shares))
        assert len(set(expected)) > 1
        np.testing.assert_allclose(metric(maps, effects, 0.0), expected)
