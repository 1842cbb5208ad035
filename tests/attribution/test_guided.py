import copy

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from shapes import NETWORK_SPACES
from vagan.attribution.gradients import GuidedBackpropagation
from vagan.errors import ModelError
from vagan.nn.classifier import CAMClassifier, Classifier


class GuidedFunction(torch.autograd.Function):
    """ReLU whose backward pass lets positive gradients through at positive inputs: the definition, independently."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values * (values > 0)

    @staticmethod
    def backward(ctx, gradient):
        (values,) = ctx.saved_tensors
        return gradient * (values > 0) * (gradient > 0)


class GuidedModule(nn.Module):
    def forward(self, values):
        return GuidedFunction.apply(values)


def reference(model, images, target=1, *, guided=True):
    model = copy.deepcopy(model).eval()
    for module in model.modules() if guided else ():
        for name, child in list(module._modules.items()):  # every place of a reused module
            if isinstance(child, nn.ReLU):
                setattr(module, name, GuidedModule())
    points = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(points)[:, target].sum(), points)
    return gradient


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, values):
        return self.function(values)


def with_activation(activation):
    """A classifier with proper ReLU modules, and one activation of another kind."""
    activation = activation if isinstance(activation, nn.Module) else Applied(activation)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), activation, nn.Flatten(), nn.Linear(4 * 3 * 4, 2)
    )


IMAGES = torch.randn(2, 1, 7, 8, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("space", NETWORK_SPACES)
@pytest.mark.parametrize("target", [0, 1])
def test_equals_an_independent_implementation(space, target, rng):
    images = torch.randn(3, 1, *space, generator=rng)
    for model in (Classifier(len(space), shape=space, width=2), CAMClassifier(len(space), width=2)):
        model(images)
        expected = reference(model, images, target)
        torch.testing.assert_close(
            GuidedBackpropagation(model, target).attribute(images), expected, rtol=1e-4, atol=1e-6
        )
        assert (expected - reference(model, images, target, guided=False)).norm() > 0.1 * expected.norm()


def test_in_place_and_reused_modules_are_right_too():
    relu = nn.ReLU(inplace=True)
    features = [nn.Conv2d(1, 4, 3), relu, nn.Conv2d(4, 4, 3), relu]
    model = nn.Sequential(*features, nn.Flatten(), nn.Linear(4 * 3 * 4, 3), relu, nn.Linear(3, 2))
    torch.testing.assert_close(GuidedBackpropagation(model).attribute(IMAGES), reference(model, IMAGES))


@pytest.mark.parametrize(
    "relu", [F.relu, torch.Tensor.relu, torch.relu, torch.Tensor.relu_, lambda values: F.relu(values, inplace=True)]
)
def test_functions_are_as_good_as_modules(relu):
    torch.manual_seed(3)
    model = with_activation(relu)
    torch.manual_seed(3)
    expected = reference(with_activation(nn.ReLU()), IMAGES)
    torch.testing.assert_close(GuidedBackpropagation(model).attribute(IMAGES), expected)


def test_work_in_place_of_which_the_result_is_not_used_counts():
    class InPlace(nn.Module):
        def forward(self, values):
            values = values * 1
            values.relu_()
            return values

    torch.manual_seed(3)
    model = with_activation(InPlace())
    torch.manual_seed(3)
    expected = reference(with_activation(nn.ReLU()), IMAGES)
    torch.testing.assert_close(GuidedBackpropagation(model).attribute(IMAGES), expected)


OTHERS = {
    "clamp": lambda values: values.clamp(min=0), "clamp_min": lambda values: values.clamp_min(0),
    "clamp to 6": lambda values: values.clamp(0, 6),
    "LeakyReLU": nn.LeakyReLU(), "ReLU6": nn.ReLU6(), "ELU": nn.ELU(), "SELU": nn.SELU(), "CELU": nn.CELU(),
    "GELU": nn.GELU(), "SiLU": nn.SiLU(), "Mish": nn.Mish(), "PReLU": nn.PReLU(), "RReLU": nn.RReLU(),
    "Softplus": nn.Softplus(), "Hardswish": nn.Hardswish(), "Threshold": nn.Threshold(0.0, 0.0),
    "F.leaky_relu": F.leaky_relu, "F.gelu": F.gelu,
}  # fmt: skip


@pytest.mark.parametrize("activation", OTHERS.values(), ids=OTHERS)
def test_any_other_activation_is_an_error(activation):
    with pytest.raises(ModelError, match=r"found \w+;"):
        GuidedBackpropagation(with_activation(activation)).attribute(IMAGES)


class Transformer(nn.Module):
    """Its layer has a ReLU inside that is no module."""

    def __init__(self):
        super().__init__()
        self.layer, self.dense = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(56, 2)

    def forward(self, images):
        return self.dense(self.layer(images.flatten(1, 2)).flatten(1))


def test_a_relu_inside_a_layer_of_torch_is_found():
    model = Transformer().eval()
    found = GuidedBackpropagation(model).attribute(IMAGES)
    assert (found - reference(model, IMAGES, guided=False)).norm() > 0.01 * found.norm()


class Leaky(nn.ReLU):
    """Not what its class says."""

    def forward(self, values):
        return F.leaky_relu(values)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (with_activation(Leaky()), "found leaky_relu"),
        (nn.Sequential(nn.Flatten(), nn.Linear(56, 2)), "found none at work"),
    ],
)
def test_other_networks_are_an_error(model, message):
    with pytest.raises(ModelError, match=message):
        GuidedBackpropagation(model).attribute(IMAGES)


BOUNDS = [torch.tanh, torch.sigmoid, lambda v: v.clamp(-3, 3), lambda v: v.clamp(max=2), nn.Hardsigmoid()]


@pytest.mark.parametrize("bound", BOUNDS)
def test_bounds_and_gates_pass_on_the_plain_gradient(bound):
    model = with_activation(bound)
    torch.testing.assert_close(GuidedBackpropagation(model).attribute(IMAGES), reference(model, IMAGES))
