"""Ensembles of maps that are known."""

import pytest
import torch

from shapes import SPACES
from vagan.errors import ConfigError
from vagan.inference.attributor import Attributor


class Times:
    name, cost = "times", 1

    def __init__(self, factor, convention="signed", unit="intensity"):
        self.factor, self.convention, self.unit = factor, convention, unit

    def attribute(self, images, covariates=None):
        return self.factor * images


@pytest.mark.parametrize("space", SPACES)
def test_mean_std_and_agreement_by_hand(space, rng):
    images = torch.randn((2, 1, *space), generator=rng)
    ensemble = Attributor([Times(1.0), Times(2.0), Times(-0.6)])
    found = ensemble.attribute(images)
    torch.testing.assert_close(found.effect, 0.8 * images)
    torch.testing.assert_close(found.counterfactual, 0.2 * images)
    torch.testing.assert_close(found.uncertainty.std, images.abs() * (torch.tensor([1, 2, -0.6])).std())
    torch.testing.assert_close(found.uncertainty.sign_agreement, torch.full_like(images, 1 / 3))
    assert (ensemble.name, ensemble.cost, found.members, found.unit) == ("times, mean of 3", 3, 3, "intensity")


def test_equal_members_agree_and_others_are_refused(rng):
    images = torch.randn((2, 1, 7, 8), generator=rng)
    ensemble = Attributor([Times(2.0), Times(2.0)])
    found = ensemble.attribute(images)
    torch.testing.assert_close(found.effect, 2 * images)
    assert not found.uncertainty.std.any()
    assert (found.uncertainty.sign_agreement == 1).all()
    assert (ensemble.attribute(0 * images).uncertainty.sign_agreement == 0).all()  # no sign, nothing to agree on
    assert Attributor([Times(2.0)]).attribute(images).uncertainty is None
    of_scores = Attributor([Times(1.0, unit="class score"), Times(2.0, unit="class score")]).attribute(images)
    assert (of_scores.unit, of_scores.counterfactual) == ("class score", None)
    for other in (Times(1.0, "absolute"), Times(1.0, unit="none")):
        with pytest.raises(ConfigError, match="convention and unit"):
            Attributor([Times(1.0), other])
    with pytest.raises(ConfigError, match="no method"):
        Attributor([])
