"""Every method that explains a network, on two networks made by hand whose maps can be written down."""

import math

import pytest
import torch
from torch import nn

from shapes import NETWORK_SPACES
from vagan.attribution.registry import METHODS
from vagan.axes import spatial_mean
from vagan.errors import ModelError
from vagan.nn.layers import conv

WITH_NETWORK = [name for name, entry in METHODS.items() if "training" not in entry.needs and entry.needs != "nothing"]
RATE = 0.25

OPTIONS = {
    "occlusion": {"window": 1, "stride": 1, "reference": "background"},
    "additive-perturbation": {"updates": 1, "learning_rate": RATE},
    "additive-perturbation-1500-steps": {"updates": 1, "learning_rate": RATE},
}
"""Windows of one pixel, and single steps of Adam, can be followed by hand."""


class Dense:
    """Logits (0, v . relu(W x + b)), or without the ReLU; of three hidden units the last is never active."""

    def __init__(self, space, hidden):
        self.pixels = math.prod(space)
        self.weights = (
            torch.linspace(-1, 1, 3 * self.pixels, dtype=torch.float64).roll(7).reshape(3, self.pixels) / self.pixels
        )
        self.bias = torch.tensor([3.0, 2.0, -9.0], dtype=torch.float64)
        self.votes = torch.tensor([2.0, -3.0, 0.1], dtype=torch.float64)
        self.hidden = hidden
        first, last = nn.Linear(self.pixels, 3).double(), nn.Linear(3, 2, bias=False).double()
        with torch.no_grad():
            first.weight.copy_(self.weights)
            first.bias.copy_(self.bias)
            last.weight.copy_(torch.stack([0 * self.votes, self.votes]))
        self.network = nn.Sequential(nn.Flatten(), first, *([nn.ReLU()] if hidden else []), last)

    def slope(self, images, *, only_supporting=False):
        """Derivative of the class score by the pixels; constant, as no unit switches anywhere in [-1, 1]."""
        votes = self.votes.clone()
        if self.hidden:
            votes[2] = 0
        if only_supporting:
            votes = votes.clamp(min=0)
        return (votes @ self.weights).reshape(1, *images.shape[1:]).expand_as(images)

    def guided(self, images):
        return self.slope(images, only_supporting=True)

    def share(self, images):
        """Share of a pixel in the score's gain over an image of -1."""
        return self.slope(images) * (images + 1)

    def first_step(self, images):
        """Adam's first step is its rate, against the sign of the probability's slope; the effect is its opposite."""
        return RATE * self.slope(images).sign()


class Averaged(nn.Module):
    """Logits that are means over space of voted feature maps, linear in the image or rectified."""

    def __init__(self, space, hidden):
        super().__init__()
        self.features = nn.Sequential(conv(len(space), 1, 2, kernel=1), *([nn.ReLU()] if hidden else []))
        self.dense = nn.Linear(2, 2, bias=False)
        self.hidden = hidden
        with torch.no_grad():
            self.features[0].weight.copy_(torch.tensor([2.0, -1.0]).reshape(2, *[1] * (len(space) + 1)))
            self.dense.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 1.0]]))

    def forward(self, images):
        return self.dense(spatial_mean(self.features(images)))

    def activation(self, images):
        if self.hidden:
            return 3 * (2 * images).clamp(min=0) + (-images).clamp(min=0)
        return 3 * 2 * images - images

    def activation_per_pixel(self, images):
        return self.activation(images) / images[0].numel()


class Adding(nn.Module):
    """Map generator M(x) = 1/4 - x/2, or M(x) = 1/4 - relu(x)/2: no counterfactual leaves the range of images."""

    def __init__(self, _space, hidden):
        super().__init__()
        self.hidden = hidden

    def forward(self, images):
        return 0.25 - (images.relu() if self.hidden else images) / 2

    def effect(self, images):
        return (images.clamp(min=0) if self.hidden else images) / 2 - 0.25


ANSWERS = {
    "vagan": (Adding, Adding.effect),
    "guided-backprop": (Dense, Dense.guided),
    "integrated-gradients": (Dense, Dense.share),
    "occlusion": (Dense, Dense.share),
    "additive-perturbation": (Dense, Dense.first_step),
    "additive-perturbation-1500-steps": (Dense, Dense.first_step),
    "cam": (Averaged, Averaged.activation),
    "grad-cam": (Averaged, Averaged.activation_per_pixel),
}


def make(name, space, *, hidden):
    kind, answer = ANSWERS[name]
    model = kind(space, hidden)
    options = {"layer": "features"} if name == "grad-cam" else OPTIONS.get(name, {})
    network = getattr(model, "network", model).double()
    make = METHODS[name].make
    return (lambda: make(network, **options)), (lambda images: answer(model, images))


@pytest.fixture
def images(space, rng):
    return torch.rand(3, 1, *space, generator=rng, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("hidden", [False, True], ids=["linear", "two-layer"])
@pytest.mark.parametrize("space", NETWORK_SPACES)
@pytest.mark.parametrize("name", WITH_NETWORK)
def test_the_map_is_the_one_worked_out_by_hand(name, space, hidden, images):
    method, answer = make(name, space, hidden=hidden)
    if (name, hidden) == ("guided-backprop", False):
        with pytest.raises(ModelError, match="ReLU"):
            method().attribute(images)
        return
    expected = answer(images)
    # Adam's epsilon and Captum's single precision are seen in the fifth digit
    size = expected.abs().max().item()
    torch.testing.assert_close(method().attribute(images), expected, rtol=1e-3, atol=1e-4 * size, check_dtype=False)
