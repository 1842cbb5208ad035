"""Scores of individual maps, with hand-worked answers."""

import numpy as np
import pytest

from vagan.evaluation.metrics.individual import (
    amplitude_without_truth,
    individual_share,
    partners,
    swap_test,
    volume_changes,
    volume_correlations,
)


@pytest.mark.parametrize(
    ("score", "constant", "supervised", "share"),
    [(0.92, 0.89, 0.95, 0.5), (0.89, 0.89, 0.95, 0), (0.83, 0.89, 0.95, -1)],
)
def test_individual_share(score, constant, supervised, share):
    assert individual_share(score, constant, supervised) == pytest.approx(share)


def test_no_share_where_supervision_does_not_help():
    assert np.isnan(individual_share(0.9, 0.89, 0.89))


# orthogonal patterns of mean 0: ncc of p and q is 0, of p and p + q it is sqrt(1/2)
P, Q = np.array([1.0, -1, 0, 0]), np.array([0.0, 0, 1, -1])


def _cases(*patterns):
    return np.stack(patterns)[:, None, :, None]


def test_swaps_worked_by_hand():
    effects, swapped = _cases(P, Q), _cases(Q, P)
    found = swap_test(effects, effects, swapped)
    assert found.gain == pytest.approx(1)
    assert found.ceiling == pytest.approx(1)
    assert found.share == pytest.approx(1)
    effects, swapped = _cases(P, Q), _cases(Q, P)
    assert swap_test(_cases(P + Q, P + Q), effects, swapped).gain == pytest.approx(0)
    # of P + Q / 2: ncc with P 1 / sqrt(1.25), with Q half of it
    effects, swapped = _cases(P, Q), _cases(Q, P)
    found = swap_test(_cases(P + Q / 2, Q + P / 2), effects, swapped)
    assert found.gain == pytest.approx(0.5 / np.sqrt(1.25))
    assert np.isnan(swap_test(_cases(P, P), _cases(P, P), _cases(P, P)).share)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_partners_are_others_and_each_once(count):
    found = partners(count, np.random.default_rng(0))
    assert (found != np.arange(count)).all()
    assert sorted(found) == list(range(count))


def test_volumes_worked_by_hand():
    # a region of one whole voxel that halved and a half voxel that kept its volume: 1.5 now, 2 + 0.5 before
    shares = np.array([[[1.0, 0.5, 0.0]]])
    log_ratios = np.array([[[np.log(0.5), 0.0, 3.0]]])
    assert volume_changes(log_ratios, shares) == pytest.approx(np.log(1.5 / 2.5))
    assert np.isnan(volume_changes(np.zeros((1, 1, 4)), np.zeros((1, 1, 4)))).all()
    true = np.array([[1.0, 1], [2, 2], [3, 3]])
    predicted = np.array([[1.0, 3], [2, 2], [3, 1]])  # left in order, right in reverse
    found = volume_correlations(predicted, true, ("ventricle_left", "ventricle_right"), np.arange(3))
    assert found["volume/ventricle"]["mean"] == pytest.approx(0)
    assert found["volume/ventricle"]["n"] == 3
    # groups differ by (0, 2), mean maps by (0, 1): maps are half as large as they should be
    images, baseline = np.array([[1.0, 3], [1, 5]]), np.array([[1.0, 2], [1, 2]])
    maps, none = np.array([[0.0, 0.5], [0, 1.5]]), np.zeros((2, 2))
    assert amplitude_without_truth(images, baseline, maps, none) == pytest.approx(2)
