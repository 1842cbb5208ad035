import pytest
import torch
from torch import nn

from vagan.attribution.method import class_scores, differentiating, preserving
from vagan.errors import ModelError


def state(model):
    """Everything about a model that an attribution must not change, in comparable form."""
    tensors = [*model.parameters(), *model.buffers()]
    return {
        "modes": [module.training for module in model.modules()],
        "values": [tensor.detach().clone().tolist() for tensor in tensors],
        "required": [tensor.requires_grad for tensor in tensors],
        "gradients": [None if tensor.grad is None else tensor.grad.tolist() for tensor in tensors],
        "tensor hooks": [
            [list((getattr(tensor, kind) or {}).values()) for tensor in tensors]
            for kind in ("_backward_hooks", "_post_accumulate_grad_hooks")
        ],
        "module hooks": [
            {name: list(value.items()) for name, value in vars(module).items() if name.endswith("_hooks")}
            | {name: dict(value) for name, value in vars(module).items() if "hooks_" in name}
            | {"kind": module._is_full_backward_hook}
            for module in model.modules()
        ],
    }


def used_model():
    """A model in the middle of its owner's work: mixed modes, frozen weights, gradients and hooks of every kind."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    model(torch.randn(2, 1, 5, 6)).sum().backward()
    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[0].register_forward_hook(lambda module, arguments, output: None)
    model[2].register_forward_pre_hook(lambda module, arguments: None)
    model[0].weight.register_hook(lambda gradient: None)
    model[4].weight.register_post_accumulate_grad_hook(lambda weight: None)
    return model


def meddle(model):
    """Do to a model everything that an attribution could."""
    model.train()
    model.requires_grad_(True)
    model(torch.randn(2, 1, 5, 6)).sum().backward()
    for module in model.modules():
        module.register_forward_hook(lambda module, arguments, output: None, always_call=True)
        module.register_forward_hook(lambda module, arguments, keywords, output: None, with_kwargs=True)
        module.register_forward_pre_hook(lambda module, arguments, keywords: None, with_kwargs=True)
        module.register_full_backward_hook(lambda module, into, out: None)
        module.register_full_backward_pre_hook(lambda module, out: None)
    for weight in model.parameters():
        weight.register_hook(lambda gradient: None)
        weight.register_post_accumulate_grad_hook(lambda weight: None)
    model.requires_grad_(False)
    model[0]._forward_hooks.clear()
    model[0].weight._backward_hooks.clear()


def weights_only(found):
    return {name: value for name, value in found.items() if name != "values"}


def test_all_is_as_before_after_everything_was_changed():
    model = used_model()
    before = state(model)
    with preserving(model):
        assert not any(module.training for module in model.modules())
        assert all(weight.grad is None for weight in model.parameters())
        meddle(model)
        assert weights_only(state(model)) != weights_only(before)
    # running statistics were changed by the forward pass in training mode, which is the meddler's own doing
    assert weights_only(state(model)) == weights_only(before)


def test_all_is_as_before_even_after_an_error():
    model = used_model()
    before = state(model)
    with pytest.raises(ZeroDivisionError), preserving(model):
        meddle(model)
        raise ZeroDivisionError
    assert weights_only(state(model)) == weights_only(before)


def test_the_owners_hooks_still_work_and_their_handles_still_remove_them():
    model = nn.Linear(2, 1)
    calls = []
    on_module = model.register_forward_hook(lambda module, arguments, output: calls.append("module"))
    on_weight = model.weight.register_hook(lambda gradient: calls.append("weight"))
    with preserving(model):
        model.register_forward_hook(lambda module, arguments, output: calls.append("ours"))
    model(torch.ones(1, 2)).sum().backward()
    assert calls == ["module", "weight"]
    on_module.remove()
    on_weight.remove()
    model(torch.ones(1, 2)).sum().backward()
    assert calls == ["module", "weight"]


def test_hooks_that_were_added_to_weights_are_gone():
    model = nn.Linear(2, 1)
    calls = []
    with preserving(model):
        model.weight.register_hook(lambda gradient: calls.append("gradient"))
        model.weight.register_post_accumulate_grad_hook(lambda weight: calls.append("accumulated"))
    model(torch.ones(1, 2)).sum().backward()
    assert calls == []


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_can_be_taken_where_the_caller_wants_none(context):
    model = nn.Linear(3, 2)
    with context():
        images = torch.ones(1, 3)[..., None]
        with differentiating(model, images) as points:
            (gradient,) = torch.autograd.grad(class_scores(model_on_flat(model), points, 1).sum(), points)
            assert not any(weight.requires_grad for weight in model.parameters())
    torch.testing.assert_close(gradient[..., 0], model.weight[1:2].detach())
    assert not images.requires_grad
    assert all(weight.requires_grad for weight in model.parameters())


def model_on_flat(linear):
    return nn.Sequential(nn.Flatten(), linear)


def test_a_model_that_works_in_place_does_not_change_the_images():
    class InPlace(nn.Module):
        def forward(self, images):
            return images.mul_(2).flatten(1)

    images = torch.ones(1, 1, 1, 2)
    assert class_scores(InPlace(), images, 0).tolist() == [2.0]
    assert images.tolist() == [[[[1.0, 1.0]]]]


@pytest.mark.parametrize("target", [-1, 2])
def test_a_class_that_does_not_exist_is_an_error(target):
    with pytest.raises(ModelError, match=f"class from 0 to 1: found {target}"):
        class_scores(model_on_flat(nn.Linear(2, 2)), torch.ones(1, 1, 1, 2), target)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (nn.Identity(), r"found shape \(3, 1, 1, 2\) for 3 images"),
        (nn.Flatten(0), r"found shape \(6,\) for 3 images"),
        (nn.Flatten(0, 2), None),
        (nn.Flatten(1, 2), r"found shape \(3, 1, 2\)"),
    ],
)
def test_what_is_not_logits_is_an_error(model, found):
    images = torch.ones(3, 1, 1, 2)
    if found is None:
        assert class_scores(model, images, 1).tolist() == [1.0] * 3
    else:
        with pytest.raises(ModelError, match=found):
            class_scores(model, images, 1)


def test_a_model_that_returns_a_tuple_is_an_error():
    class Pair(nn.Module):
        def forward(self, images):
            return images.flatten(1), None

    with pytest.raises(ModelError, match="a tuple for 1 images"):
        class_scores(Pair(), torch.ones(1, 1, 1, 2), 1)
