import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from shapes import SPACES
from vagan.axes import spatial_mean
from vagan.model.ood import MahalanobisOOD, image_features
from vagan.nn.unet import MapGenerator


@pytest.fixture
def features(rng):
    mixing = torch.randn(4, 4, generator=rng)
    training = torch.randn(300, 4, generator=rng) @ mixing + 7 * (torch.arange(300) % 2)[:, None]
    return training, np.arange(300) % 2, torch.randn(100, 4, generator=rng) @ mixing


def test_distances_are_those_of_mahalanobis_and_survive_the_disk(features, tmp_path):
    training, labels, validation = features
    ood = MahalanobisOOD.fit(training, labels, validation)
    values = training.double().numpy()
    means = [values[labels == label].mean(axis=0) for label in (0, 1)]
    inside = np.concatenate([values[labels == label] - means[label] for label in (0, 1)])
    inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(inside).covariance_)
    expected = [min(mahalanobis(row, mean, inverse) for mean in means) for row in validation.numpy()[:20]]
    np.testing.assert_allclose(ood.scores(validation[:20]), expected, rtol=1e-3)
    assert ood.threshold == pytest.approx(np.quantile(ood.scores(validation).numpy(), 0.99), rel=1e-5)
    assert MahalanobisOOD.load(tmp_path) is None
    ood.save(tmp_path)
    again = MahalanobisOOD.load(tmp_path)
    assert torch.equal(again.scores(validation), ood.scores(validation))
    assert again.threshold == ood.threshold


@pytest.mark.parametrize("space", SPACES)
def test_features_are_means_of_every_level_whatever_the_image_is_said_to_be(space, rng):
    generator = MapGenerator(len(space), width=4, conditions=2).eval()
    images = torch.randn(2, 1, *space, generator=rng)
    found = image_features(generator, images)
    assert found.shape == (2, 4 + 8 + 16 + 32)
    reached = []
    generator.bottom.register_forward_hook(lambda _, __, output: reached.append(output))
    generator(images, torch.eye(2))
    torch.testing.assert_close(found[:, -32:], spatial_mean(reached[0]))
