import numpy as np
import pytest
import torch

from shapes import SPACES
from vagan.effect import baseline_image, difference, effect_map, without_effect


@pytest.mark.parametrize("space", SPACES)
def test_a_zero_map_leaves_the_image_exactly_as_it_is(space, rng):
    images = torch.randn(2, 1, *space, generator=rng)
    assert torch.equal(baseline_image(images, torch.zeros_like(images)), images)


def test_the_tanh_bound_has_no_identity():
    images = torch.ones(1, 1, 2, 3)
    assert baseline_image(images, torch.zeros_like(images), "tanh").max() < 0.77


@pytest.mark.parametrize("space", SPACES)
def test_the_effect_is_minus_the_map_and_positive_where_the_class_is_brighter(space, rng):
    healthy = torch.rand(2, 1, *space, generator=rng)
    disease = torch.zeros_like(healthy)
    disease[..., 2:4] = 0.5
    images, raw_map = healthy + disease, -disease
    effect = effect_map(images, baseline_image(images, raw_map))
    torch.testing.assert_close(effect, disease)
    torch.testing.assert_close(effect, -raw_map)


def test_an_observed_difference_is_an_effect_and_can_be_taken_away_again():
    earlier, later = np.array([0.0, 1.0]), np.array([0.5, 0.25])
    assert difference(later, earlier).tolist() == [0.5, -0.75]  # positive where the class made it brighter
    assert np.array_equal(without_effect(later, difference(later, earlier)), earlier)
