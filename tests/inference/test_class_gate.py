import pandas as pd
import pytest
import torch
from torch import nn

from vagan.attribution.vagan import VAGAN
from vagan.cli.options import parse_interval
from vagan.data.covariates import Covariate
from vagan.data.preparation import Preparation
from vagan.errors import ConfigError
from vagan.inference.attributor import Attributor
from vagan.inference.strategies import ClassGate, decide
from vagan.model.folder import ModelSpec

INTERVAL = (0.3, 0.6)


@pytest.mark.parametrize(
    ("probabilities", "label", "abstained"),
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
def test_decisions_of_hand_worked_cases(probabilities, label, abstained):
    assert decide(probabilities, INTERVAL) == (label, abstained, probabilities)


class Brightness(nn.Module):
    """Logits of three classes by the image's mean: 0 for the first, 1 and 2 for the others."""

    def forward(self, images):
        return -8 * (images.flatten(1).mean(dim=1, keepdim=True) - torch.tensor([[0.0, 1.0, 2.0]])).abs()


class Adding(nn.Module):
    """Subtracts 1 for the first task and 2 for the second, and the covariate behind them."""

    def forward(self, images, condition):
        amounts = condition[:, 0] + 2 * condition[:, 1] + (condition[:, 2] if condition.shape[1] > 2 else 0)
        return torch.zeros_like(images) - amounts.reshape(-1, *[1] * (images.ndim - 1))


def gated(space, covariates=()):
    spec = ModelSpec(
        kind="map-generator", num_spatial_dims=len(space), channels=1, shape=space, width=1,
        classes=("none", "first", "second"), covariates=covariates, preparation=Preparation(), rule="none",
    )  # fmt: skip
    method = VAGAN(Adding(), covariates=covariates)
    return Attributor([method], spec, gate=ClassGate(Brightness()), reject_interval=INTERVAL)


@pytest.mark.parametrize("space", [(7, 8), (4, 5, 6)])
def test_each_image_gets_the_map_of_its_class_and_nothing_in_the_baseline_class(space):
    means = torch.tensor([2.0, 0.0, 1.0, 0.5, 0.0, 2.0])
    images = means.reshape(-1, 1, *[1] * len(space)).expand(-1, 1, *space).clone()
    attributor = gated(space)
    found = attributor.attribute(images)
    assert [one.label for one in found.decisions] == [2, 0, 1, 1, 0, 2]
    assert [one.abstained for one in found.decisions] == [False, False, False, True, False, False]
    expected = torch.tensor([2.0, 0, 1, 1, 0, 2]).reshape(-1, 1, *[1] * len(space)).expand_as(images)
    assert torch.equal(found.effect, expected)
    assert torch.equal(found.counterfactual, images - expected)
    assert torch.equal(torch.cat([attributor.effect(image[None]) for image in images]), expected)
    assert (attributor.name, found.unit) == ("VA-GAN, predicted classes", "intensity")


def test_covariates_stay_with_their_image_and_the_temperature_divides_logits():
    attributor = gated((7, 8), (Covariate(name="age", mean=0, std=8),))
    images = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1, 1).expand(3, 1, 7, 8)
    effect = attributor.effect(images, pd.DataFrame({"age": [3, 5, 7]}))
    assert effect.amax(dim=(1, 2, 3)).tolist() == [0, 1 + 5 / 8, 2 + 7 / 8]
    images = torch.full((1, 1, 7, 8), 0.25)
    sure, unsure = (ClassGate(Brightness(), temperature=t).probabilities(images)[0] for t in (1.0, 4.0))
    torch.testing.assert_close((sure[0] / sure[1]).log(), torch.tensor(8 * 0.5))
    torch.testing.assert_close((unsure[0] / unsure[1]).log(), torch.tensor(2 * 0.5))


def test_reject_intervals_are_read_and_checked():
    assert parse_interval("0.35:0.65") == (0.35, 0.65)
    assert parse_interval("0.5:0.5") == (0.5, 0.5)
    for text in ("0.4", "a:b", "0.6:0.4", "0:2", "nan:1"):
        with pytest.raises(ConfigError, match="reject_interval"):
            parse_interval(text)
