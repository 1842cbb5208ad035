"""Ensembles of maps that are known."""

import pytest
import torch

from shapes import SPACES
from vagan.errors import ConfigError
from vagan.inference.ensemble import Ensemble


class Times:
    name = "times"

    def __init__(self, factor, convention="signed"):
        self.factor, self.convention = factor, convention

    def attribute(self, images):
        return self.factor * images


@pytest.mark.parametrize("space", SPACES)
def test_mean_spread_and_agreement_by_hand(space, rng):
    images = torch.randn((2, 1, *space), generator=rng)
    ensemble = Ensemble([Times(1.0), Times(2.0), Times(-0.6)])
    torch.testing.assert_close(ensemble.attribute(images), 0.8 * images)
    torch.testing.assert_close(ensemble.spread(images), images.abs() * (torch.tensor([1, 2, -0.6])).std())
    torch.testing.assert_close(ensemble.agreement(images), torch.full_like(images, 1 / 3))
    assert ensemble.maps(images).shape == (3, *images.shape)
    assert ensemble.name == "times, mean of 3"


def test_equal_members_are_one_and_sure(rng):
    images = torch.randn((2, 1, 7, 8), generator=rng)
    ensemble = Ensemble([Times(2.0), Times(2.0)])
    torch.testing.assert_close(ensemble.attribute(images), 2 * images)
    assert not ensemble.spread(images).any()
    assert (ensemble.agreement(images) == 1).all()
    assert (ensemble.agreement(0 * images) == 0).all()  # no sign, nothing to agree on


def test_members_must_be_several_and_alike():
    with pytest.raises(ConfigError, match="found 1 of signed"):
        Ensemble([Times(1.0)])
    with pytest.raises(ConfigError, match="found 2 of absolute, signed"):
        Ensemble([Times(1.0), Times(1.0, "absolute")])
