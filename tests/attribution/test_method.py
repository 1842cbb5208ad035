import pytest
import torch
from torch import nn

from vagan.attribution.method import class_scores
from vagan.errors import ModelError


def test_a_model_that_works_in_place_does_not_change_the_images():
    class InPlace(nn.Module):
        def forward(self, images):
            return images.mul_(2).flatten(1)

    images = torch.ones(1, 1, 1, 2)
    assert class_scores(InPlace(), images, 0).tolist() == [2.0]
    assert images.tolist() == [[[[1.0, 1.0]]]]


class Pair(nn.Module):
    def forward(self, images):
        return images.flatten(1), None


@pytest.mark.parametrize(
    ("model", "target", "found"),
    [
        (nn.Flatten(), -1, "class from 0 to 1: found -1"),
        (nn.Flatten(), 2, "class from 0 to 1: found 2"),
        (nn.Identity(), 1, r"found shape \(3, 1, 1, 2\) for 3 images"),
        (nn.Flatten(0), 1, r"found shape \(6,\) for 3 images"),
        (nn.Flatten(1, 2), 1, r"found shape \(3, 1, 2\)"),
        (Pair(), 1, "a tuple for 3 images"),
    ],
)
def test_what_is_not_logits_is_an_error(model, target, found):
    with pytest.raises(ModelError, match=found):
        class_scores(model, torch.ones(3, 1, 1, 2), target)
    assert class_scores(nn.Flatten(0, 2), torch.ones(3, 1, 1, 2), 1).tolist() == [1.0] * 3
