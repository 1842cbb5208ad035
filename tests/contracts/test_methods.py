"""What holds for every registered attribution method, in 2-D and 3-D."""

import copy
from typing import get_args

import pytest
import torch
from torch import nn

from shapes import NETWORK_SPACES
from vagan.attribution import gradients, perturbation
from vagan.attribution.method import AttributionMethod, Convention, Unit
from vagan.attribution.registry import METHODS
from vagan.effect import Output, is_coarse, raw_channels
from vagan.nn.classifier import CAMClassifier, Classifier
from vagan.nn.unet import MapGenerator

FAST = {
    "integrated-gradients": {"steps": 3},
    "additive-perturbation": {"updates": 3, "learning_rate": 0.1},
    "additive-perturbation-1500-steps": {"updates": 3, "learning_rate": 0.1},
    "occlusion": {"window": 8, "stride": 8},
}

FORMS = {f"vagan, {output}": output for output in get_args(Output) if output != "add"}
"""The map generator with each way of applying its map; it is ``add`` by default."""

WITH_NETWORK = [name for name, entry in METHODS.items() if "training" not in entry.needs and entry.needs != "nothing"]
WITH_NETWORK += FORMS

every_method = pytest.mark.parametrize("name", [*METHODS, *FORMS])
every_network = pytest.mark.parametrize("name", WITH_NETWORK)
every_space = pytest.mark.parametrize("space", NETWORK_SPACES)


@pytest.fixture
def images(space, rng):
    channels = {2: 3, 3: 1}[len(space)]
    return torch.randn(3, channels, *space, generator=rng)


def make_network(kind, images, output="add"):
    """A small network with batch norm statistics that are not the initial ones."""
    torch.manual_seed(0x5EED)
    channels, space = images.shape[1], tuple(images.shape[2:])
    outputs = raw_channels(output, channels=channels, num_spatial_dims=len(space))
    network = {
        "map-generator": lambda: MapGenerator(
            len(space), channels=channels, outputs=outputs, width=2, zero_init=False, coarse=is_coarse(output)
        ),
        "classifier": lambda: Classifier(len(space), shape=space, channels=channels, width=2),
        "cam-classifier": lambda: CAMClassifier(len(space), channels=channels, width=2),
    }[kind]().to(images.dtype)
    with torch.no_grad():
        for _ in range(10):
            network(images)
    return network


def make_method(name, images):
    output = FORMS.get(name, "add")
    entry = METHODS["vagan" if name in FORMS else name]
    if name in FORMS:
        arguments = [make_network(entry.needs, images, output)]
        return entry.make(*arguments, output=output), *arguments
    if entry.needs == "nothing":
        arguments = []
    elif entry.needs == "training images":
        arguments = [images.flip(0) - 0.5, images[:2]]
    else:
        arguments = [make_network(entry.needs, images)]
    return entry.make(*arguments, **FAST.get(name, {})), *arguments


@every_method
@every_space
def test_maps_have_the_images_shape_and_nothing_else_of_them(name, space, images):
    method, *_ = make_method(name, images)
    before = images.clone()
    maps = method.attribute(images)
    assert maps.shape == images.shape
    assert maps.dtype == images.dtype
    assert maps.isfinite().all()
    assert maps.any()
    assert not maps.requires_grad
    maps += 1  # a map is the caller's own: changing it must change no image, and no later map
    assert torch.equal(images, before)
    assert not images.requires_grad
    assert torch.equal(method.attribute(images) + 1, maps)


@every_method
@every_space
@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=["single", "double"])
def test_one_image_alone_in_either_precision(name, space, kind, images):
    alone = images[:1].to(kind)
    method, *_ = make_method(name, images.to(kind))
    maps = method.attribute(alone)
    assert maps.shape == alone.shape
    assert maps.dtype == kind
    assert maps.isfinite().all()
    assert maps.any()


@every_method
@every_space
def test_the_same_again(name, space, images):
    method, *_ = make_method(name, images)
    first = method.attribute(images)
    torch.rand(1)
    assert torch.equal(method.attribute(images), first)
    assert torch.equal(make_method(name, images)[0].attribute(images), first)


@every_method
@every_space
def test_a_batch_is_a_loop_over_its_images(name, space, images):
    # in double precision: in single, Adam makes much of the sign of derivatives that are zero but for rounding
    method, *_ = make_method(name, images.double())
    images = images.double()
    together = method.attribute(images)
    alone = torch.cat([method.attribute(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6 * together.abs().max().item())


@pytest.mark.parametrize("at_once", [1, 3, 4, 1000])
@pytest.mark.parametrize("name", ["integrated-gradients", "occlusion"])
@pytest.mark.parametrize("space", NETWORK_SPACES[:1])
def test_the_number_evaluated_at_once_is_a_bound_and_changes_nothing(name, at_once, space, images, monkeypatch):
    method, network = make_method(name, images)
    sizes = []
    network.register_forward_pre_hook(lambda module, arguments: sizes.append(len(arguments[0])))
    expected = method.attribute(images)
    sizes.clear()
    for module in (gradients, perturbation):
        monkeypatch.setattr(module, "AT_ONCE", at_once)
    found = method.attribute(images)
    assert max(sizes) <= at_once
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@every_method
@pytest.mark.parametrize("space", NETWORK_SPACES[:1])
def test_it_works_where_the_caller_wants_no_gradients(name, space, images):
    method, *_ = make_method(name, images)
    expected = method.attribute(images)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert torch.equal(method.attribute(images.clone()), expected)
    with torch.no_grad():
        assert torch.equal(method.attribute(images.clone().requires_grad_(True)), expected)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("space", NETWORK_SPACES[:1])
def test_it_says_what_it_is(name, space, images):
    method, *_ = make_method(name, images)
    assert isinstance(method, AttributionMethod)
    assert method.convention in get_args(Convention)
    assert method.unit in get_args(Unit)
    assert method.cost >= 1
    assert " object at 0x" not in repr(method)
    names = [make_method(other, images)[0].name for other in METHODS if other != name]
    assert method.name not in names


def put_to_use(network, images):
    """Leave a network as its owner may: in training, partly frozen, with gradients and hooks."""
    network(images).sum().backward()
    network.train()
    modules = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    modules[0].eval()
    modules[1].register_forward_hook(lambda module, arguments, output: None)
    weights = list(network.parameters())
    weights[0].requires_grad_(False)
    weights[1].register_hook(lambda gradient: None)


def state(network):
    tensors = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(
        {
            "values": [tensor.tolist() for tensor in network.state_dict().values()],
            "modes": [module.training for module in network.modules()],
            "required": [tensor.requires_grad for tensor in tensors],
            "gradients": [None if tensor.grad is None else tensor.grad.tolist() for tensor in tensors],
        }
    ) | {
        "hooks": [
            sorted((name, key) for name, hooks in vars(module).items() if name.endswith("_hooks") for key in hooks)
            for module in network.modules()
        ],
        "tensor hooks": [list(tensor._backward_hooks or {}) for tensor in tensors],
    }  # fmt: skip


@every_network
@every_space
def test_the_network_is_left_as_found(name, space, images):
    method, network = make_method(name, images)
    put_to_use(network, images)
    before = state(network)
    method.attribute(images)
    assert state(network) == before


@every_network
@pytest.mark.parametrize("space", NETWORK_SPACES[:1])
@pytest.mark.parametrize("at", ["first", "last"])
def test_the_network_is_left_as_found_when_it_fails_in_the_middle(name, at, space, images):
    method, network = make_method(name, images)
    put_to_use(network, images)
    calls = []

    def fail(module, arguments, output):
        calls.append(None)
        if len(calls) == fail_at:
            raise ZeroDivisionError

    last = [module for module in network.modules() if isinstance(module, nn.ReLU)][-1]
    last.register_forward_hook(fail)
    fail_at = 0
    method.attribute(images)
    fail_at = 1 if at == "first" else len(calls)
    calls.clear()
    before = state(network)
    with pytest.raises(ZeroDivisionError):
        method.attribute(images)
    assert state(network) == before
    fail_at = 0
    method.attribute(images)


@every_network
@pytest.mark.parametrize("space", NETWORK_SPACES[:1])
def test_it_uses_the_network_in_evaluation_mode(name, space, images):
    method, network = make_method(name, images)
    network.eval()
    expected = method.attribute(images)
    network.train()
    assert torch.equal(method.attribute(images), expected)
