import numpy as np
import pytest
from scipy import ndimage

from vagan.data.sources.synthetic import CLASS_NAMES, PATTERNS, make_case

SIZES = [(112, 112), (96, 80), (56, 28, 40)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_a_mask_of_the_class_of_interest_alone(pattern, size):
    rng = np.random.default_rng(0)
    assert not PATTERNS[pattern](size, "", rng).any()
    for subtype in ("A", "B"):
        mask = PATTERNS[pattern](size, subtype, rng)
        assert mask.shape == size
        assert set(np.unique(mask)) == {0, 1}
    assert pattern in CLASS_NAMES


@pytest.mark.parametrize("size", SIZES)
def test_discs_are_where_the_squares_are_and_as_large(size):
    for seed, subtype in enumerate("ABAB"):
        square, disc = (PATTERNS[name](size, subtype, np.random.default_rng(seed)) for name in ("squares", "discs"))
        assert disc.sum() == pytest.approx(square.sum(), rel=0.15)
        centres = [ndimage.center_of_mass(mask) for mask in (square, disc)]
        np.testing.assert_allclose(*centres, atol=0.8)
        overlap = (square * disc).sum() / square.sum()
        assert 0.7 < overlap < 1


def test_each_site_is_there_about_half_of_the_time_and_never_none():
    rng = np.random.default_rng(1)
    counts, where = [], np.zeros(3)
    for _ in range(400):
        labels, count = ndimage.label(PATTERNS["sites"]((112, 112), "A", rng))
        counts.append(count)
        for centre in ndimage.center_of_mass(labels > 0, labels, range(1, count + 1)):
            where[round((centre[0] - 55.5) / 32) + 1] += 1
    assert set(counts) == {1, 2, 3}
    np.testing.assert_allclose(where / 400, 4 / 7, atol=0.08)  # a half, given that there is one at all


def test_half_the_amplitude_is_half_the_difference():
    whole, half = (make_case(3, subtype="B", intensity="fixed", amplitude=amplitude) for amplitude in (100.0, 50.0))
    differences = [case.image - case.counterfactual for case in (whole, half)]
    np.testing.assert_allclose(differences[0], 2 * differences[1], atol=1e-5)
