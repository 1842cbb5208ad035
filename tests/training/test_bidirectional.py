"""One generator removes a class, and inserts it into images of the baseline class."""

import numpy as np
import pytest
import torch
from torch import nn

from tables import rows_by_image
from trainings import assert_resumes, tiny
from vagan.errors import ConfigError
from vagan.inference.attributor import Attributor
from vagan.model.folder import load_model, select_class
from vagan.training.config import Generator, Loss
from vagan.training.engine.loop import train
from vagan.training.sampling import Batch
from vagan.training.steps import update_generator
from vagan.training.tasks import adversarial

BOTH = {"training__bidirectional": True, "loss__cycle_weight": 5.0}


class Adder(nn.Module):
    """Removes a constant for the condition (1, 0), and inserts another one for (0, 1)."""

    def __init__(self, out, into):
        super().__init__()
        self.weight, self.out, self.into = nn.Parameter(torch.zeros(())), out, into

    def forward(self, images, condition):
        change = (condition @ torch.tensor([-self.out, self.into])).reshape(-1, *(1,) * (images.ndim - 1))
        return self.weight + change + torch.zeros_like(images)


class Indifferent(nn.Module):
    def forward(self, images, condition):
        return 0 * images.flatten(1).sum(1)


def terms_of(generator, batch, **loss):
    options = {"settings": Generator(), "backward": torch.Tensor.backward, "loss": Loss(**loss)}
    sgd = torch.optim.SGD(generator.parameters(), lr=0.0)
    return update_generator(Indifferent(), generator, sgd, [batch], **options)


@pytest.mark.parametrize("space", [(16, 17), (16, 17, 18)])
def test_coming_back_costs_what_is_not_undone_and_insertion_may_be_weighted_less(space):
    images, condition = torch.rand(4, 1, *space), torch.eye(2)[[0, 1, 0, 1]]
    batch = Batch(images, images, torch.rand(4), condition, condition, condition.flip(1))
    for into, cost in ((0.25, 0.0), (0.1, 0.15), (0.0, 0.25)):
        # out and in again, or in and out: either way the two constants' difference is left
        terms = terms_of(Adder(0.25, into), batch, cycle_weight=2.0)
        assert float(terms["generator/cycle"]) == pytest.approx(cost, abs=1e-6)
        assert "generator/cycle" not in terms_of(Adder(0.25, into), batch)
    batch = Batch(images, images, torch.rand(4), condition, condition, weight=torch.tensor([1.0, 0.5, 1.0, 0.5]))
    terms = terms_of(Adder(0.25, 0.75), batch)
    assert float(terms["generator/map"]) == pytest.approx((0.25 + 0.5 * 0.75) / 2, abs=1e-6)
    # of images of the baseline class as well, where each map counts in proportion to its size
    assert float(terms["generator/baseline_map"]) == pytest.approx(
        (0.25**2 + 0.5 * 0.75**2) / (0.25 + 0.75), abs=1e-6
    )


def test_only_images_for_insertion_are_weighted_less(small_cohort):
    (batch,) = adversarial.AdversarialTask(tiny(training__batch_size=6, **BOTH), small_cohort).load(1)
    assert batch.weight is None
    config = tiny(training__batch_size=6, loss__insertion_weight_scale=0.25, **BOTH)
    (batch,) = adversarial.AdversarialTask(config, small_cohort).load(1)
    assert batch.weight.tolist() == [1.0, 0.25] * 3
    with pytest.raises(ConfigError, match=r"insertion_weight_scale .* training\.bidirectional=true"):
        adversarial.AdversarialTask(tiny(loss__insertion_weight_scale=0.25), small_cohort)


def test_sources_and_targets_change_places_from_image_to_image(small_cohort):
    task = adversarial.AdversarialTask(tiny(training__batch_size=6, **BOTH), small_cohort)
    row_of, label_of = rows_by_image(small_cohort), small_cohort.manifest.table["label"]
    (batch,) = task.load(1)
    assert [label_of[row_of[image.tobytes()]] for image in batch.source.numpy()] == [1, 0] * 3
    assert [label_of[row_of[image.tobytes()]] for image in batch.target.numpy()] == [0, 1] * 3
    assert torch.equal(batch.condition, torch.eye(2)[[0, 1] * 3])
    assert torch.equal(batch.target_condition, batch.condition)
    assert torch.equal(batch.reverse_condition, batch.condition.flip(1))


@pytest.mark.parametrize("output", ["add", "warp"])
def test_a_bidirectional_generator_has_a_task_for_each_direction(small_cohort, tmp_path, output):
    run = train(small_cohort, tmp_path / "run", tiny(generator__output=output, **BOTH))
    network, facts = load_model(run.path)
    assert (facts.tasks, facts.conditions, facts.bidirectional) == (2, 2, True)
    images = small_cohort.images(small_cohort.manifest.indices("test", 0)[:2])
    taking, putting = (Attributor.load(run.path, insert=into) for into in (False, True))
    for method, condition, sign in ((taking, [1.0, 0.0], 1), (putting, [0.0, 1.0], -1)):
        assert torch.equal(method.methods[0].raw_map(images), network(images, torch.tensor([condition]).expand(2, 2)))
        found = method.attribute(images)
        torch.testing.assert_close(found.effect, sign * (images - found.counterfactual))
    assert not torch.equal(taking.methods[0].raw_map(images), putting.methods[0].raw_map(images))


def test_bidirectional_training_resumes_bit_equal(small_cohort, tmp_path, monkeypatch):
    whole = train(small_cohort, tmp_path / "whole", tiny(**BOTH))
    assert_resumes(small_cohort, tmp_path / "cut", tiny(**BOTH), whole, monkeypatch)
    assert np.isfinite(whole.read_metrics()["generator/cycle"].dropna()).all()


def test_what_cannot_be_is_refused(small_cohort, tmp_path):
    with pytest.raises(ConfigError, match="cycle_weight needs training.bidirectional"):
        train(small_cohort, tmp_path / "run", tiny(loss__cycle_weight=1.0))


@pytest.mark.parametrize("classes", [1, 2])
def test_statistics_are_measured_on_each_class_in_both_directions(classes, small_cohort):
    """Maps of a combination that batch norm has not seen come out many times too large."""
    images = adversarial.AdversarialTask(tiny(**BOTH), small_cohort)._images
    images.interests, images._tasks = tuple(range(1, 1 + classes)), 2 * classes
    labels = np.arange(12 * (1 + classes)) % (1 + classes)
    condition = images._examples(labels, np.zeros_like(labels), both_ways=True).argmax(dim=1).numpy()
    assert set(zip(labels, condition, strict=True)) == {
        *((0, task) for task in range(2 * classes)),
        *((label, label - 1 + way * classes) for label in range(1, 1 + classes) for way in (0, 1)),
    }


def test_of_several_classes_each_is_inserted_by_its_own_task(small_cohort, tmp_path):
    run = train(small_cohort, tmp_path / "run", tiny(**BOTH))
    facts = load_model(run.path)[1].model_copy(update={"classes": ("none", "first", "second", "third")})
    condition = [select_class(facts, name, insert=into)[1] for into in (False, True) for name in facts.classes[1:]]
    assert torch.equal(torch.cat(condition), torch.eye(6))


def test_the_critics_rate_can_stay_while_the_generators_falls(small_cohort):
    for decays in (True, False):
        config = tiny(optimizer__decay_from=0.3, optimizer__critic_decays=decays)
        task = adversarial.AdversarialTask(config, small_cohort)
        last = task.total - config.schedule.distillation_updates - 1
        assert task.lr_factor("generator", 0) == task.lr_factor("critic", 0) == 1
        assert task.lr_factor("generator", last) < 0.2
        assert task.lr_factor("critic", last) == (task.lr_factor("generator", last) if decays else 1)
