import copy
import math

import pytest
import torch
from torch.optim.swa_utils import update_bn

from shapes import NETWORK_SPACES
from vagan.axes import identity_grid
from vagan.deformation import displacement_penalty, smoothness_penalty
from vagan.effect import Pose, baseline_image, is_coarse, raw_channels, velocity_of, with_effect
from vagan.errors import DivergenceError
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.training import objectives, steps
from vagan.training.config import Generator, Loss
from vagan.training.objectives import gradient_penalty, interpolate, transfer_effect
from vagan.training.sampling import Batch
from vagan.training.steps import distil_generator, update_critic, update_generator

SETTINGS = Generator(joint_batch_norm=False)


def batch(space, count, rng):
    images = torch.rand(2, count, 1, *space, generator=rng) * 2 - 1
    return Batch(images[1] + 0.5, images[0], torch.rand(count, generator=rng))


def step(update, first, second, *batches, rate=0.0, loss=None, settings=SETTINGS, **more):
    """One update of the network that learns in it: critic and generator, or generator and teacher in distillation."""
    network = second if update is update_generator else first
    options = {"loss": loss or Loss(), "settings": settings, "backward": torch.Tensor.backward} | more
    return update(first, second, torch.optim.SGD(network.parameters(), lr=rate), batches, **options)


def gradients_of(update, critic, generator, batches, loss, *, dtype=torch.float32, layout=None):
    critic, generator = copy.deepcopy(critic), copy.deepcopy(generator)
    if layout:
        critic.to(memory_format=layout), generator.to(memory_format=layout)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        step(update, critic, generator, *batches, loss=loss)
    network = critic if update is update_critic else generator
    return torch.cat([weights.grad.flatten() for weights in network.parameters()])


@pytest.fixture(params=NETWORK_SPACES, ids=["2-D", "3-D"])
def players(request):
    torch.manual_seed(2)
    dims = len(request.param)
    # evaluation mode: batch norm with fixed statistics, so that parts of a batch do not see each other
    return request.param, Critic(dims, width=4), MapGenerator(dims, width=4, zero_init=False).eval()


every_update = pytest.mark.parametrize("update", [update_critic, update_generator])


@every_update
def test_accumulated_gradients_are_those_of_the_whole_batch(players, update, rng):
    space, critic, generator = players
    whole = batch(space, 6, rng)
    parts = [Batch(*(tensor[start : start + 2] for tensor in whole[:3])) for start in (0, 2, 4)]
    loss = Loss(penalty_share=0.5, identity_weight=0)  # its weights are relative to those of a batch
    # of each half of the parts the first one is penalised, and the whole's three are these
    mixed = Batch(*(tensor[[0, 2, 4, 1, 3, 5]] for tensor in whole[:3]))
    together = gradients_of(update, critic, generator, [mixed], loss)
    torch.testing.assert_close(gradients_of(update, critic, generator, parts, loss), together, rtol=1e-3, atol=1e-6)


@every_update
def test_fast_paths_point_where_the_plain_one_does(players, update, rng):
    space, critic, generator = players
    batches = [batch(space, 6, rng)]
    plain = gradients_of(update, critic, generator, batches, Loss())
    layout = torch.channels_last if len(space) == 2 else torch.channels_last_3d
    same = gradients_of(update, critic, generator, batches, Loss(), layout=layout)
    assert (same - plain).norm() < 2e-3 * plain.norm()  # another order of summation
    reduced = gradients_of(update, critic, generator, batches, Loss(), dtype=torch.bfloat16, layout=layout)
    # eight bits of mantissa: far less than what one batch differs from the next
    assert torch.cosine_similarity(reduced, plain, dim=0) > 0.97
    assert (reduced.norm() / plain.norm()).item() == pytest.approx(1, abs=0.06)
    other = gradients_of(update, critic, generator, [batch(space, 6, rng)], Loss())
    assert (reduced - plain).norm() < (other - plain).norm()


def checkpointed(network):
    copied = copy.deepcopy(network)
    copied._gradient_checkpointing = True
    return copied


@every_update
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_recomputing_changes_no_gradient_and_no_statistic(players, update, training, rng):
    """Not even those of the penalty, a derivative of a derivative."""
    space, critic, generator = players
    generator.train(training)
    batches = [batch(space, 4, rng)]
    expected = gradients_of(update, critic, generator, batches, Loss())
    found = gradients_of(update, checkpointed(critic), checkpointed(generator), batches, Loss())
    assert expected.any()
    assert torch.equal(found, expected)
    statistics = []
    for network in (copy.deepcopy(generator), checkpointed(generator)):
        network(batches[0].source).sum().backward()
        statistics.append(torch.cat([part.flatten().float() for part in network.buffers()]))
        assert {norm.momentum for norm in network.modules() if "BatchNorm" in type(norm).__name__} == {0.01}
    assert torch.equal(*statistics)


@pytest.mark.parametrize(("share", "penalised"), [(0.01, 1), (0.5, 3), (0.51, 4), (1.0, 6)])
def test_the_critics_terms_are_those_of_the_paper_with_slopes_at_a_share_of_the_batch(players, rng, share, penalised):
    space, critic, generator = players
    images = batch(space, 6, rng)
    with torch.no_grad():
        generated = images.source + generator(images.source)
        wasserstein = critic(images.target).mean() - critic(generated).mean()
    points = interpolate(images.target, generated, images.fractions)
    expected = [gradient_penalty(critic, point[None], "two-sided")[0].detach() for point in points[:penalised]]
    terms = step(update_critic, critic, generator, images, loss=Loss(penalty_share=share))
    torch.testing.assert_close(terms["critic/wasserstein"], wasserstein, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["critic/penalty"], torch.stack(expected).mean(), rtol=1e-4, atol=1e-6)


class Scaling(torch.nn.Module):
    """``M(x) = c x``, or with a direction ``w`` the critic ``D(x) = c <w, x>``, where ``c`` is the condition."""

    def __init__(self, direction=None):
        super().__init__()
        self.direction = direction

    def forward(self, images, condition):
        scaled = condition[:, :, None, None] * images
        return scaled if self.direction is None else (scaled * self.direction).flatten(1).sum(dim=1)


@pytest.mark.parametrize(("output", "joint"), [("add", True), ("tanh", False)])
def test_terms_of_conditioned_networks_are_those_computed_by_hand(output, joint, rng):
    source, target = torch.rand(2, 2, 1, 5, 4, generator=rng)
    direction, fractions = torch.rand(5, 4, generator=rng), torch.tensor([0.25, 0.75])
    own, others, reverse = (torch.tensor(rows)[:, None] for rows in ([0.1, 0.2], [0.3, 0.5], [-0.5, 0.6]))
    images, settings = (
        Batch(source, target, fractions, own, others, reverse),
        Generator(output=output, joint_batch_norm=joint),
    )
    critic, generator = Scaling(direction), Scaling()
    apply = torch.add if output == "add" else lambda x, m: torch.tanh(x + m)
    generated = apply(source, generator(source, own))
    slopes = (fractions * others[:, 0] + (1 - fractions) * own[:, 0]) * direction.norm()
    transferred = with_effect(target, source, generator(source, own), output).clamp(-1, 1)
    sizes = (apply(target, generator(target, others)) - target).abs().mean((1, 2, 3))
    shared = {
        "generator/effect_transfer": (apply(transferred, generator(transferred, others)) - target).abs().mean(),
        "generator/baseline_map": sizes.square().sum() / sizes.sum(),
    }
    expected = {
        "critic/wasserstein": critic(target, others).mean() - critic(generated, own).mean(),
        "critic/penalty": (slopes - 1).square().mean(),
        "critic/slope": slopes.mean(),
        "generator/adversarial": -critic(generated, own).mean(),
        "generator/map": (generated - source).abs().mean(),
        "generator/cycle": (apply(generated, generator(generated, reverse)) - source).abs().mean(),
    } | shared
    loss = Loss(cycle_weight=0.5, identity_weight=0.5, penalty_share=1.0, gradient_penalty=7.0)
    found = objectives.critic_terms(critic, generator, images, loss, settings)
    found |= objectives.generator_terms(critic, generator, images, loss, settings, teacher=generator)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(objectives.distillation_terms(generator, generator, images, loss, settings), shared)
    unweighted = objectives.generator_terms(critic, generator, images, Loss(identity_weight=0), settings)
    assert ("generator/baseline_map" in unweighted) == joint
    torch.testing.assert_close(objectives.map_size(source, fractions), (fractions * source.mean((1, 2, 3))).mean())
    counted = {name: weight for name, weight in objectives.critic_weights(loss).items() if name in expected}
    assert counted == {"critic/wasserstein": -1, "critic/penalty": 7, "critic/slope": 0}


def test_each_update_moves_its_own_network_alone_and_clipping_bounds_every_weight(players, rng):
    space, critic, generator = players
    before = copy.deepcopy(critic.state_dict())
    weights = copy.deepcopy(list(generator.parameters()))
    step(update_generator, critic, generator, batch(space, 2, rng), rate=0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in critic.state_dict().items())
    assert all(weights.requires_grad and weights.grad is None for weights in critic.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(weights, generator.parameters(), strict=True))
    clipped = Loss(constraint="clip", clip=0.01)
    terms = step(update_critic, critic, generator, batch(space, 2, rng), rate=1.0, loss=clipped)
    assert "critic/penalty" not in terms
    assert max(weights.abs().max() for weights in critic.parameters()) <= 0.01


@pytest.mark.parametrize(
    ("update", "term"), [(update_critic, "critic/wasserstein"), (update_generator, "generator/adversarial")]
)
def test_a_term_that_is_not_finite_is_named_before_any_weight_moves(players, update, term, rng):
    space, critic, generator = players
    images = batch(space, 2, rng)
    images.source[0, 0].fill_(math.nan)
    network = critic if update is update_critic else generator
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(DivergenceError, match=f"{term} must be a finite number, but is nan"):
        gradients_of(update, critic, generator, [images], Loss())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_term_without_a_weight_is_an_error():
    weight = torch.ones(1, requires_grad=True)
    terms, optimizer = {"a": weight.sum(), "b": weight.sum()}, torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(KeyError, match="b"):
        steps.step(optimizer, [(weight,)], lambda _: terms, {"a": 1.0}, torch.Tensor.backward)


class TestJointBatchNorm:
    """Batch norm sees both classes together, in training as in use."""

    def update(self, update, players, rng, *, mixed):
        space, critic, generator = players
        images = batch(space, 3, rng)
        seen = []
        first = generator.encoders[0][0][0]
        hook = first.register_forward_pre_hook(lambda module, inputs: seen.append((module.training, inputs[0])))
        step(update, critic, generator, images, rate=0.1, settings=Generator(joint_batch_norm=mixed))
        hook.remove()
        return images, seen

    def test_the_generator_passes_both_classes_at_once_or_each_on_its_own(self, players, rng):
        images, seen = self.update(update_generator, players, rng, mixed=True)
        both = torch.cat([images.source, images.target])
        assert [training for training, _ in seen] == [True, True]  # its update, and the statistics after it
        for _, passed in seen:
            assert torch.equal(passed[:, :, : both.shape[2], : both.shape[3]][..., : both.shape[-1]], both)
        _, seen = self.update(update_generator, players, rng, mixed=False)
        assert [len(passed) for _, passed in seen] == [3, 3]

    def test_the_critic_sees_what_the_generator_makes_with_the_statistics_of_both(self, players, rng):
        _, _, generator = players
        images, _ = self.update(update_generator, players, rng, mixed=True)
        norm = next(module for module in generator.modules() if "BatchNorm" in type(module).__name__)
        reached = []
        hook = norm.register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0]))
        generator.eval()(torch.cat([images.source, images.target]))
        hook.remove()
        torch.testing.assert_close(
            norm.running_mean, reached[0].transpose(0, 1).flatten(1).mean(1), rtol=1e-3, atol=1e-5
        )
        _, seen = self.update(update_critic, players, rng, mixed=True)
        assert [training for training, _ in seen] == [False]

    def test_the_statistics_are_those_of_the_new_weights_in_reduced_precision_too(self, players, rng):
        def means():
            return [b.clone() for name, b in generator.named_buffers() if name.endswith("running_mean")]

        _, _, generator = players
        with torch.autocast("cpu", dtype=torch.bfloat16):
            images, _ = self.update(update_generator, players, rng, mixed=True)
            found = means()
            update_bn([torch.cat([images.source, images.target])], generator)
        torch.testing.assert_close(found, means())


class Removing(torch.nn.Module):
    """A teacher whose map removes a given effect."""

    def __init__(self, effect):
        super().__init__()
        self.effect, self.weight = effect, torch.nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return 0 * self.weight - self.effect.expand_as(images)


class TestEffectTransfer:
    """The effect found in one image is put into another, where it must be found again."""

    def test_it_costs_nothing_to_find_just_that_effect(self, players, rng):
        space, critic, _ = players
        images, effect = batch(space, 3, rng), 0.1 * torch.rand(1, 1, *space, generator=rng)
        images = images._replace(target=images.target * 0.5)  # nothing is clipped
        assert self.terms(critic, Removing(effect), Removing(effect), images)["generator/effect_transfer"] < 1e-6
        # a generator that finds half of it misses the other half
        half = self.terms(critic, Removing(effect / 2), Removing(effect), images)
        torch.testing.assert_close(half["generator/effect_transfer"], effect.mean() / 2)

    @pytest.mark.parametrize("update", [update_generator, distil_generator])
    def test_the_teacher_learns_nothing_from_it(self, players, update, rng):
        space, critic, generator = players
        teacher = copy.deepcopy(generator)
        before = copy.deepcopy(teacher.state_dict())
        if update is update_generator:
            assert "generator/effect_transfer" not in self.terms(critic, generator, None, batch(space, 3, rng))
            self.terms(critic, generator, teacher, batch(space, 3, rng))
        else:
            step(distil_generator, generator, teacher, batch(space, 4, rng), rate=0.1)
            assert not torch.equal(generator.last.weight, before["last.weight"])
        assert all(weights.grad is None for weights in teacher.parameters())
        assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())

    def terms(self, critic, generator, teacher, images):
        return step(update_generator, critic, generator, images, teacher=teacher)


@pytest.mark.parametrize("output", ["warp", "warp+add"])
class TestDeformingGenerator:
    def settings(self, output):
        return Generator(joint_batch_norm=False, output=output)

    def generator(self, space, output):
        torch.manual_seed(0)
        outputs = raw_channels(output, channels=1, num_spatial_dims=len(space))
        return MapGenerator(len(space), outputs=outputs, width=2, zero_init=False, coarse=is_coarse(output)).eval()

    @pytest.mark.parametrize(
        ("name", "penalty"), [("smoothness", smoothness_penalty), ("displacement", displacement_penalty)]
    )
    def test_deformations_cost_on_all_images_that_the_generator_sees(self, players, output, name, penalty, rng):
        space, critic, _ = players
        generator, images = self.generator(space, output), batch(space, 2, rng)
        terms, totals = {}, []

        def backward(total):
            totals.append(total.detach())
            total.backward()

        for weight in (0.0, 5.0):
            loss = Loss(**{"smoothness_weight": 0.0, f"{name}_weight": weight})
            options = {"settings": self.settings(output), "teacher": copy.deepcopy(generator), "backward": backward}
            terms[weight] = step(update_generator, critic, generator, images, loss=loss, **options)
        transferred = transfer_effect(generator, images, self.settings(output))
        maps = [generator(part).detach() for part in (images.source, images.target, transferred)]
        expected = torch.stack([penalty(velocity_of(part)) for part in maps]).mean()
        torch.testing.assert_close(terms[5.0][f"generator/{name}"], expected)
        torch.testing.assert_close(totals[1] - totals[0], 5 * expected, rtol=1e-3, atol=1e-4)

    def test_velocities_of_baseline_images_cost_their_square_and_generated_images_are_compared_with_targets(
        self, players, output, rng
    ):
        space, critic, _ = players
        generator, settings = self.generator(space, output), self.settings(output)
        images = batch(space, 2, rng)
        coordinates = identity_grid(images.source) + 0.5
        images = images._replace(pose=Pose(images.source, coordinates.expand(2, *coordinates.shape[1:])))
        loss = Loss(objective="relativistic", constraint="zero-centered", baseline_velocity_weight=1.0)
        terms = objectives.generator_terms(critic, generator, images, loss, settings)
        raw = generator(images.source)
        scores = critic(baseline_image(images.source, raw, output, images.pose)), critic(images.target)
        expected = torch.log1p(torch.exp(scores[1] - scores[0])).mean()
        torch.testing.assert_close(terms["generator/adversarial"], expected)
        expected = velocity_of(generator(images.target)).square().mean()
        torch.testing.assert_close(terms["generator/baseline_velocity"], expected)
        terms = objectives.critic_terms(critic, generator, images, loss, settings)
        expected = torch.log1p(torch.exp(scores[0] - scores[1])).mean()
        torch.testing.assert_close(terms["critic/relativistic"], expected)
        torch.testing.assert_close(terms["critic/wasserstein"], (scores[1] - scores[0]).mean())
        both = torch.cat([images.target, baseline_image(images.source, raw, output, images.pose).detach()])
        slopes = [gradient_penalty(critic, one[None], "two-sided")[1] for one in both]
        torch.testing.assert_close(terms["critic/penalty"], torch.stack(slopes).square().mean())
        weights = objectives.critic_weights(loss)
        assert (weights["critic/wasserstein"], weights["critic/relativistic"]) == (0, 1)

    def test_a_transferred_effect_moves_the_target_images_own_tissue(self, players, output, rng):
        """A movement of a constant image shows nothing; the difference of the other image's edges would."""
        space, _, _ = players
        images = batch(space, 2, rng)._replace(target=torch.full((2, 1, *space), -1.0))
        teacher, settings = self.generator(space, output), self.settings(output)
        found = transfer_effect(teacher, images, settings)
        changed = (found - images.target).abs().max()
        assert changed < 1e-5 if output == "warp" else changed > 1e-3
        terms = step(distil_generator, copy.deepcopy(teacher), teacher, batch(space, 2, rng), settings=settings)
        assert terms["generator/smoothness"] > 0


def test_a_generator_learns_a_teachers_effect_and_to_leave_the_rest_alone(rng):
    """An effect that only a look at the image tells: a bright bar, in half of the images."""
    torch.manual_seed(0)
    generator = MapGenerator(2, width=4)
    effect = torch.zeros(1, 1, 12, 14)
    effect[..., 4:8, 5:11] = 0.8
    optimizer = torch.optim.Adam(generator.parameters(), lr=5e-3)
    options = {"loss": Loss(), "settings": SETTINGS, "backward": torch.Tensor.backward}
    losses = []
    for _ in range(60):
        texture = (torch.rand(2, 8, 1, 12, 14, generator=rng) - 0.5) * 0.4
        images = Batch(texture[1], texture[0], torch.zeros(8))
        terms = distil_generator(generator, Removing(effect), optimizer, [images], **options)
        losses.append(sum(float(value) for value in terms.values()))
    assert losses[-1] < 0.3 * losses[0]
