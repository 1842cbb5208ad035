import pytest
import torch

from shapes import NETWORK_SPACES
from vagan.errors import ModelError
from vagan.nn.classifier import CAMClassifier, Classifier

WIDTHS = [32, 64, 128, 128, 256, 256, 512, 512, 512]
SHAPES = {2: (40, 33), 3: (16, 33, 17)}


@pytest.fixture(autouse=True)
def _same_networks_in_any_order():
    torch.manual_seed(0x5EED)


def kinds(network, *names):
    return [module for module in network.modules() if type(module).__name__.rstrip("123d") in names]


def networks(dims, **options):
    return [Classifier(dims, shape=SHAPES[dims], **options), CAMClassifier(dims, **options)]


@pytest.mark.parametrize("dims", [2, 3])
def test_both_have_the_critics_convolutions_with_twice_the_maps_and_batch_norm(dims):
    for network in networks(dims):
        convolutions = kinds(network, "Conv")
        assert [layer.out_channels for layer in convolutions] == WIDTHS
        assert [layer.in_channels for layer in convolutions] == [1, *WIDTHS[:-1]]
        assert {layer.kernel_size for layer in convolutions} == {(3,) * dims}
        assert [norm.num_features for norm in kinds(network.convolutions, "BatchNorm")] == WIDTHS
        assert len(kinds(network.convolutions, "ReLU")) == len(WIDTHS)
    block, pool = "Sequential", f"MaxPool{dims}d"
    classifier, cam = ([type(module).__name__ for module in one.convolutions] for one in networks(dims))
    assert classifier == [block, pool, block, pool, block, block, pool, block, block, pool, block, block, block]
    assert cam == [block, pool, block, pool, *[block] * 7]


def test_dense_layers():
    classifier, cam = Classifier(2, shape=(40, 33), num_classes=3), CAMClassifier(2, num_classes=3)
    hidden, last = kinds(classifier, "Linear")
    assert (hidden.in_features, hidden.out_features) == (512 * 2 * 2, 512)  # 40 // 16 and 33 // 16
    assert (last.in_features, last.out_features) == (512, 3)
    assert hidden.bias is None  # the batch norm after it has one
    assert last.bias is not None
    (only,) = kinds(cam, "Linear")
    assert (only.in_features, only.out_features, only.bias) == (512, 3, None)
    (norm,) = kinds(classifier.dense, "BatchNorm")
    assert (norm.eps, norm.momentum) == (1e-3, 0.1)


@pytest.mark.parametrize("space", NETWORK_SPACES)
def test_cam_logits_are_weighted_means_of_the_features(space, rng):
    network = CAMClassifier(len(space), channels=2, num_classes=4, width=2).eval()
    images = torch.randn(2, 2, *space, generator=rng)
    features, weights = network.features(images).detach(), network.dense.weight.detach()
    assert (features >= 0).all()  # after their ReLU
    expected = [
        [sum(w * f.mean() for w, f in zip(row, sample, strict=True)) for row in weights] for sample in features
    ]
    torch.testing.assert_close(network(images), torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_a_shape_that_does_not_fit_is_a_clear_error():
    with pytest.raises(ModelError, match=r"\(16, 20\): found \(20, 16\)"):
        Classifier(2, shape=(16, 20), width=1)(torch.zeros(2, 1, 20, 16))
