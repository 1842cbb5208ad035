import inspect

import pytest
import torch
from torch import nn

from models import linear_model
from shapes import NETWORK_SPACES, SPACES
from vagan.attribution.gradients import IntegratedGradients, reference_images
from vagan.errors import ConfigError, ModelError
from vagan.nn.classifier import CAMClassifier


def smooth_model(space):
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(space).numel(), 5), nn.Softplus(), nn.Linear(5, 2))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(("baseline", "value"), [("background", -1.0), ("zero", 0.0), (0.25, 0.25)])
def test_of_a_linear_model_it_is_the_difference_times_the_weights(space, target, baseline, value, rng):
    images = torch.randn(3, 2, *space, generator=rng)
    model = linear_model(space, channels=2)
    weights = model[1].weight[target].detach().reshape(1, 2, *space)
    maps = IntegratedGradients(model, target, reference=baseline, steps=3).attribute(images)
    torch.testing.assert_close(maps, (images - value) * weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("space", SPACES)
def test_a_baseline_image_is_used_for_every_image(space, rng):
    images, baseline = torch.randn(5, 1, *space, generator=rng), torch.randn(1, *space, generator=rng)
    model = linear_model(space)
    weights = model[1].weight[1].detach().reshape(1, 1, *space)
    for given in (baseline, baseline[None]):
        maps = IntegratedGradients(model, reference=given, steps=2).attribute(images)
        torch.testing.assert_close(maps, (images - baseline) * weights, rtol=1e-5, atol=1e-6)


def test_one_step_is_the_gradient_half_way_times_the_difference(rng):
    model, images = smooth_model((7, 8)), torch.randn(2, 1, 7, 8, generator=rng)
    half_way = ((images - 1) / 2).requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(half_way)[:, 1].sum(), half_way)
    maps = IntegratedGradients(model, steps=1).attribute(images)
    torch.testing.assert_close(maps, gradient * (images + 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("space", NETWORK_SPACES)
def test_maps_add_up_to_the_gain_in_score(space, rng):
    images = torch.randn(2, 1, *space, generator=rng)
    model = CAMClassifier(len(space), width=2)
    model(images)
    model.eval()
    method = IntegratedGradients(model, steps=100)
    assert method.cost == 100
    with torch.no_grad():
        gains = model(images)[:, 1] - model(torch.full_like(images, -1.0))[:, 1]
    sums = torch.stack([one.sum() for one in method.attribute(images)])
    torch.testing.assert_close(sums, gains, rtol=0.03, atol=0.01)


def test_the_gain_of_one_relu_is_shared_in_proportion_to_the_differences():
    # relu(x1 + x2 - 1) from 0 to (3, 1): the gain is 3, shared in proportion to the differences
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2, bias=False))
    model[1].weight.data, model[1].bias.data = torch.ones(1, 2), torch.tensor([-1.0])
    model[3].weight.data = torch.tensor([[0.0], [1.0]])
    images = torch.tensor([[[[3.0, 1.0]]]])
    fine = IntegratedGradients(model, reference="zero", steps=1000)
    torch.testing.assert_close(fine.attribute(images), torch.tensor([[[[2.25, 0.75]]]]), rtol=2e-3, atol=0)


def test_mistakes_are_clear_errors():
    model, images = linear_model((7, 8)), torch.zeros(2, 1, 7, 8)
    with pytest.raises(ConfigError, match="at least 1 step: found 0"):
        IntegratedGradients(model, steps=0)
    with pytest.raises(ModelError, match=r"\(2, 1, 7, 8\): found \(8, 7\)"):
        IntegratedGradients(model, reference=torch.zeros(8, 7)).attribute(images)
    with pytest.raises(ConfigError, match="found 'black'"):
        inspect.unwrap(reference_images)("black", images)  # past the checks of types, as for users
