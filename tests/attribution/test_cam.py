import captum.attr
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from shapes import NETWORK_SPACES, SPACES
from vagan.attribution.cam import CAM, GradCAM
from vagan.errors import ModelError
from vagan.nn.classifier import CAMClassifier, Classifier

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
POOL = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def pooled(features, *, dims=2, bias=False, after=()):
    """Feature maps, global average pooling, one dense layer."""
    return nn.Sequential(features, POOL[dims](1), nn.Flatten(), *after, nn.Linear(2, 3, bias=bias))


def signed_parts(dims):
    """Two maps: what is above zero in the image, and what is below."""
    layer = CONV[dims](1, 2, 1, bias=False)
    layer.weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, *[1] * dims)
    return nn.Sequential(layer, nn.ReLU())


WEIGHTS = torch.tensor([[0.0, 0.0], [2.0, -1.0], [0.0, 3.0]])


def hand_made(dims, **options):
    model = pooled(signed_parts(dims), dims=dims, **options)
    model[-1].weight.data = WEIGHTS.clone()
    return model


@pytest.mark.parametrize("space", SPACES)
def test_worked_by_hand(space, rng):
    images = torch.randn(2, 1, *space, generator=rng)
    model = hand_made(len(space), bias=True)
    above, below = images.clamp(min=0), (-images).clamp(min=0)
    torch.testing.assert_close(CAM(model).attribute(images), 2 * above - below)
    torch.testing.assert_close(CAM(model, 2).attribute(images), 3 * below)
    # Grad-CAM: the derivative of the logit by each pixel of a map is its weight over the number of pixels
    pixels = torch.Size(space).numel()
    for layer in (None, "0", model[0], model[0][1]):  # the last with spatial extent is the default
        torch.testing.assert_close(GradCAM(model, layer=layer).attribute(images), (2 * above - below) / pixels)
        torch.testing.assert_close(CAM(model, layer=layer).attribute(images), 2 * above - below)
    # at the convolution, half of the pixels are switched off by the ReLU that follows, and get no weight
    on, off = [
        (part > 0).flatten(1).float().mean(1).reshape(-1, *[1] * (len(space) + 1)) for part in (images, -images)
    ]
    torch.testing.assert_close(GradCAM(model, layer="0.0").attribute(images), (2 * on + off) * images / pixels)


@pytest.mark.parametrize("space", NETWORK_SPACES)
def test_equals_a_slow_sum_over_feature_maps(space, rng):
    images = torch.randn(2, 1, *space, generator=rng)
    model = CAMClassifier(len(space), width=2).eval()
    with torch.no_grad():
        features = model.features(images)
        low = sum(weight * features[:, [k]] for k, weight in enumerate(model.dense.weight[1]))
    expected = F.interpolate(low, space, mode={2: "bilinear", 3: "trilinear"}[len(space)], align_corners=False)
    torch.testing.assert_close(CAM(model).attribute(images), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("space", [(33, 40), (32, 33, 17)])
@pytest.mark.parametrize("target", [0, 1])
def test_grad_cam_equals_captums(space, target, rng):
    images = torch.randn(2, 1, *space, generator=rng)
    model = Classifier(len(space), shape=space, width=2)
    model(images)
    model.eval()
    last = [module for module in model.modules() if isinstance(module, CONV[len(space)])][-1]
    mode = {2: "bilinear", 3: "trilinear"}[len(space)]
    low = captum.attr.LayerGradCam(model, last).attribute(images, target=target)
    expected = F.interpolate(low, space, mode=mode, align_corners=False).detach()
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(GradCAM(model, target, layer=last).attribute(images), expected, rtol=1e-3, atol=1e-6)


def test_grad_cam_takes_a_whole_block_and_not_its_last_convolution(rng):
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.new = nn.Conv2d(1, 4, 3, padding=1)

        def forward(self, images):
            return torch.cat([images, self.new(images)], 1)

    model = nn.Sequential(Dense(), nn.Flatten(), nn.Linear(5 * 7 * 8, 2))
    images = torch.randn(2, 1, 7, 8, generator=rng)
    torch.testing.assert_close(GradCAM(model).attribute(images), GradCAM(model, layer="0").attribute(images))
    assert not torch.allclose(GradCAM(model).attribute(images), GradCAM(model, layer="0.new").attribute(images))


def test_grad_cam_is_not_misled_by_work_in_place(rng):
    images = torch.randn(2, 1, 7, 8, generator=rng)
    model = hand_made(2)
    expected = GradCAM(model).attribute(images)
    model[0][1].inplace = True
    torch.testing.assert_close(GradCAM(model).attribute(images), expected)


def test_grad_cam_takes_the_last_layer_to_run_not_to_be_made(rng):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Conv2d(2, 3, 3), nn.Conv2d(1, 2, 3)
            self.dense = nn.Linear(3, 2)

        def forward(self, images):
            return self.dense(self.second(self.first(images).relu()).amax((2, 3)))

    model, images = Backwards(), torch.randn(2, 1, 9, 8, generator=rng)
    last = GradCAM(model, layer=model.second).attribute(images)
    torch.testing.assert_close(GradCAM(model).attribute(images), last)
    assert not torch.allclose(GradCAM(model, layer="first").attribute(images), last)


class ByHand(nn.Module):
    """Pooling written out instead of a module."""

    def __init__(self):
        super().__init__()
        self.features, self.dense = signed_parts(2), nn.Linear(2, 3)

    def forward(self, images):
        return self.dense(self.features(images).mean((2, 3)))


@pytest.mark.parametrize(
    "model",
    [
        hand_made(2, after=[nn.Dropout(0.5)]),
        ByHand(),
        pooled(nn.Sequential(signed_parts(2), nn.ReLU(inplace=True))),
        hand_made(2).double(),
        hand_made(2).bfloat16(),
    ],
    ids=["dropout", "written out", "in place", "double", "bfloat16"],
)
def test_every_way_to_write_the_form_is_recognised(model, rng):
    dense = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    dense.weight.data = WEIGHTS.to(dense.weight)
    images = torch.randn(2, 1, 7, 8, generator=rng).to(dense.weight)
    torch.testing.assert_close(CAM(model).attribute(images), 2 * images.clamp(min=0) - (-images).clamp(min=0))


class Functional(nn.Module):
    """The feature maps are no module's output."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense = signed_parts(2)[0], nn.Linear(2, 3)

    def forward(self, images):
        return self.dense(F.relu(self.conv(images)).mean((2, 3)))


@pytest.mark.parametrize(
    "model",
    [
        Classifier(2, shape=(17, 20), width=1),
        nn.Sequential(signed_parts(2), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2, 3)),
        pooled(signed_parts(2), after=[nn.Linear(2, 2), nn.ReLU()]),
        pooled(signed_parts(2), after=[nn.ReLU(), nn.BatchNorm1d(2, affine=True), nn.Softmax(1)]),
        nn.Sequential(pooled(signed_parts(2)), nn.Softmax(1)),
        nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        Functional(),
    ],
    ids=["flatten", "max pooling", "two dense", "between", "softmax", "no dense", "functional"],
)
def test_a_model_of_another_form_is_an_error(model, rng):
    with pytest.raises(ModelError, match="global averages"):
        CAM(model).attribute(torch.randn(2, 1, 17, 20, generator=rng))


class Aside(ByHand):
    """One layer of no influence, and one that does not run."""

    def __init__(self):
        super().__init__()
        self.aside, self.spare = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, images):
        self.aside(images)
        return super().forward(images)


@pytest.mark.parametrize(
    ("method", "layer", "message"),
    [
        (GradCAM, "layer4", "found no 'layer4'"),
        (GradCAM, nn.Conv2d(1, 1, 1), "must be a module of the model"),
        (CAM, "0.0", "choose another layer"),
        (CAM, "2", "choose another layer"),
        (GradCAM, "4", r"found \(2, 3\)"),
    ],
)
def test_a_layer_that_cannot_be_explained_is_an_error(method, layer, message, rng):
    images, model = torch.randn(2, 1, 7, 8, generator=rng), hand_made(2, after=[nn.Identity()])
    with pytest.raises(ModelError, match=message):
        method(model, layer=layer).attribute(images)
    with pytest.raises(ModelError, match="feature maps"):
        GradCAM(nn.Sequential(nn.Flatten(), nn.Linear(56, 2))).attribute(images)
    for name, told in (("spare", "module of the model that runs"), ("aside", "must depend on the layer's output")):
        with pytest.raises(ModelError, match=told):
            GradCAM(Aside(), layer=name).attribute(images)
