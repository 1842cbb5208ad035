import itertools

import pytest
import torch
from torch import nn

from models import linear_model
from shapes import SPACES
from vagan.attribution.perturbation import Occlusion
from vagan.errors import ConfigError


def reference(model, images, *, window, stride, fill, target=1):
    """One image and one window at a time; the last window along an axis begins so that it reaches the border."""
    model.eval()
    maps = torch.zeros_like(images)
    starts = [[k * stride for k in range(-(-(extent - window) // stride) + 1)] for extent in images.shape[2:]]
    with torch.no_grad():
        for image, total in zip(images, maps, strict=True):
            score, counts = model(image[None])[0, target], torch.zeros_like(image)
            for corner in itertools.product(*starts):
                place = (slice(None), *(slice(start, start + window) for start in corner))
                covered = image.clone()
                covered[place] = fill
                total[place] += score - model(covered[None])[0, target]
                counts[place] += 1
            total.div_(counts)
    return maps


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("window", "stride"), [(3, 2), (4, 4), (7, 1)])
def test_equals_a_slow_loop_over_windows(space, window, stride, rng):
    images = torch.randn(2, 2, *space, generator=rng)
    model = nn.Sequential(*linear_model(space, channels=2), nn.Tanh())
    found = Occlusion(model, window=window, stride=stride, reference=0.5).attribute(images)
    expected = reference(model, images, window=window, stride=stride, fill=0.5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_windows_are_an_eighth_of_the_image_half_apart_and_filled_with_each_images_mean(rng):
    space = (33, 40)
    model, images = nn.Sequential(*linear_model(space), nn.Tanh()), torch.randn(2, 1, *space, generator=rng)
    alone = [
        Occlusion(model, window=4, stride=2, reference=image.mean().item()).attribute(image[None]) for image in images
    ]
    torch.testing.assert_close(Occlusion(model).attribute(images), torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_in_volumes_windows_are_a_quarter_and_side_by_side(rng):
    space = (17, 20, 24)
    model, images = nn.Sequential(*linear_model(space), nn.Tanh()), torch.randn(1, 1, *space, generator=rng)
    expected = Occlusion(model, window=4, stride=4).attribute(images)
    seen = []
    model.register_forward_pre_hook(lambda module, arguments: seen.append(len(arguments[0])))
    torch.testing.assert_close(Occlusion(model).attribute(images), expected)
    assert sum(seen) == 1 + 5 * 5 * 6  # the whole image once, then every place


def test_mistakes_are_clear_errors():
    model = linear_model((7, 8))
    with pytest.raises(ConfigError, match="found stride 3, window 2"):
        Occlusion(model, window=2, stride=3).attribute(torch.zeros(1, 1, 7, 8))
    with pytest.raises(ConfigError, match=r"window 8, image \(7, 8\)"):
        Occlusion(model, window=8).attribute(torch.zeros(1, 1, 7, 8))
