import pandas as pd
import pytest
import torch
from torch import nn

from vagan.data.covariates import Covariate
from vagan.errors import ConfigError
from vagan.inference.class_gate import Decided, Labeller, decide, parse_band
from vagan.inference.generator import VAGAN

BAND = (0.3, 0.6)


@pytest.mark.parametrize(
    ("probabilities", "label", "undecided"),
    [
        ((0.8, 0.2), 0, False),
        ((0.7, 0.3), 0, False),  # at most the first number: baseline
        ((0.6, 0.4), 1, True),
        ((0.4, 0.6), 1, False),  # at least the second: the class
        ((0.75, 0.1, 0.15), 0, False),
        ((0.1, 0.3, 0.6), 2, False),
        ((0.1, 0.5, 0.4), 1, True),  # surely ill, but with what?
    ],
)
def test_decisions_of_hand_worked_cases(probabilities, label, undecided):
    assert decide(probabilities, BAND) == (label, undecided, probabilities)


class Brightness(nn.Module):
    """Logits of three classes by the image's mean: 0 for the first, 1 and 2 for the others."""

    def forward(self, images):
        means = images.flatten(1).mean(dim=1, keepdim=True)
        return -8 * (means - torch.tensor([[0.0, 1.0, 2.0]])).abs()


class Adding(nn.Module):
    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward(self, images, condition=None):
        more = 0 if condition is None else condition[:, 0].reshape(-1, *[1] * (images.ndim - 1))
        return torch.full_like(images, self.amount) + more


@pytest.mark.parametrize("space", [(7, 8), (4, 5, 6)])
def test_each_image_gets_the_map_of_its_class_and_nothing_in_the_baseline_class(space):
    means = torch.tensor([2.0, 0.0, 1.0, 0.5, 0.0, 2.0])
    images = means.reshape(-1, 1, *[1] * len(space)).expand(-1, 1, *space).clone()
    method = Decided([VAGAN(Adding(-1.0)), VAGAN(Adding(-2.0))], Labeller(Brightness()), BAND)
    assert [one.label for one in method.decisions(images)] == [2, 0, 1, 1, 0, 2]
    assert [one.undecided for one in method.decisions(images)] == [False, False, False, True, False, False]
    expected = torch.tensor([2.0, 0, 1, 1, 0, 2]).reshape(-1, 1, *[1] * len(space)).expand_as(images)
    assert torch.equal(method.attribute(images), expected)
    one_by_one = torch.cat([method.attribute(image[None]) for image in images])
    assert torch.equal(one_by_one, expected)


def test_what_is_known_stays_with_its_image():
    age = Covariate(name="age", mean=0, spread=1)
    methods = [VAGAN(Adding(0.0), covariates=[age]) for _ in range(2)]
    images = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1, 1).expand(3, 1, 7, 8)
    told = Decided(methods, Labeller(Brightness()), BAND).knowing(pd.DataFrame({"age": [3, 5, 7]}))
    assert told.attribute(images).amax(dim=(1, 2, 3)).tolist() == [0, -5, -7]
    assert told.subjects is not None


def test_the_temperature_divides_logits():
    images = torch.full((1, 1, 7, 8), 0.25)
    sure, unsure = (Labeller(Brightness(), temperature=t).probabilities(images)[0] for t in (1.0, 4.0))
    torch.testing.assert_close((sure[0] / sure[1]).log(), torch.tensor(8 * 0.5))
    torch.testing.assert_close((unsure[0] / unsure[1]).log(), torch.tensor(2 * 0.5))


def test_bands_are_read_and_checked():
    assert parse_band("0.35:0.65") == (0.35, 0.65)
    assert parse_band("0.5:0.5") == (0.5, 0.5)
    for text in ("0.4", "a:b", "0.6:0.4", "0:2", "nan:1"):
        with pytest.raises(ConfigError, match="a band must"):
            parse_band(text)
