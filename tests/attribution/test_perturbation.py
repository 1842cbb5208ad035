import numpy as np
import pytest
import torch
from torch import nn

from models import linear_model
from shapes import SPACES
from vagan.attribution.perturbation import AdditivePerturbation
from vagan.attribution.registry import METHODS
from vagan.errors import ConfigError


def reference(model, image, *, w1, w2, rate, updates):
    """Eq. 5 for one image with b = 2, by numpy: derivatives written out, Adam written out."""
    weights, biases = (parameter.detach().numpy() for parameter in (model[1].weight, model[1].bias))
    mask = np.zeros(image.shape)
    first, second = np.zeros(image.shape), np.zeros(image.shape)
    for step in range(1, updates + 1):
        logits = weights @ (image + mask).ravel() + biases
        probability = 1 / (1 + np.exp(logits[0] - logits[1]))
        slope = probability * (1 - probability) * (weights[1] - weights[0])
        gradient = slope.reshape(image.shape) + w1 * np.sign(mask)
        for index in np.ndindex(image.shape):
            for axis in range(1, image.ndim):
                neighbour = list(index)
                neighbour[axis] += 1
                if neighbour[axis] < image.shape[axis]:
                    rise = mask[tuple(neighbour)] - mask[index]
                    gradient[tuple(neighbour)] += 2 * w2 * rise
                    gradient[index] -= 2 * w2 * rise
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        mask = mask - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return -mask


@pytest.mark.parametrize("space", SPACES)
def test_equals_a_slow_loop_over_single_images(space, rng):
    images = torch.randn(2, 1, *space, generator=rng, dtype=torch.float64)
    model = linear_model(space).double()
    method = AdditivePerturbation(model, map_weight=3e-3, variation_weight=0.5, learning_rate=0.02, updates=12)
    for image, found in zip(images, method.attribute(images), strict=True):
        expected = reference(model, image.numpy(), w1=3e-3, w2=0.5, rate=0.02, updates=12)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-9)


def test_the_objective_worked_by_hand():
    # logits equal: probability 1/2. mask [[0, 1], [-2, 0]]: |m| sums to 3.
    # Differences along rows of the table: 1, 2; along columns: -2, -1; squares sum to 10, cubes of magnitudes to 18.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model[1].weight.data.zero_()
    model[1].bias.data.zero_()
    images = torch.zeros(2, 1, 2, 2)
    masks = torch.stack([torch.tensor([[[0.0, 1.0], [-2.0, 0.0]]]), torch.zeros(1, 2, 2)])
    squares = AdditivePerturbation(model, map_weight=0.1, variation_weight=0.01)
    assert squares.objective(images, masks).tolist() == pytest.approx([0.5 + 0.3 + 0.1, 0.5])
    cubes = AdditivePerturbation(model, map_weight=0.1, variation_weight=0.01, exponent=3.0)
    assert cubes.objective(images, masks).tolist() == pytest.approx([0.5 + 0.3 + 0.18, 0.5])


def test_the_variants_are_the_published_numbers():
    names = ("map_weight", "variation_weight", "exponent", "learning_rate", "updates", "cost")
    published = {
        "additive-perturbation-1500-steps": (1e-2, 1e-5, 2.0, 1e-2, 1500),
        "additive-perturbation": (1e-2, 0.1, 2.0, 0.1, 100),
    }
    for slug, expected in published.items():
        entry = METHODS[slug]
        made = entry.make(nn.Identity())
        assert tuple(getattr(made, name) for name in names) == (*expected, expected[-1])
        assert entry.cost == made.cost


def test_mistakes_are_clear_errors():
    with pytest.raises(ConfigError, match=r"must not be negative.*map_weight=-1"):
        AdditivePerturbation(nn.Identity(), map_weight=-1.0)
    with pytest.raises(ConfigError, match=r"updates at least 1.*updates=0"):
        AdditivePerturbation(nn.Identity(), updates=0)
