"""Networks conditioned on age and sex, so that their effects are not attributed to the class."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tables import rows_by_image, with_columns
from trainings import assert_resumes, tiny
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.errors import CohortError, ConfigError, ModelError, VaganError
from vagan.evaluation.evaluate import evaluate
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.inference.attributor import Attributor
from vagan.model.folder import load_model
from vagan.training.config import Generator, Loss, load_config
from vagan.training.engine.loop import train
from vagan.training.sampling import Batch
from vagan.training.steps import distil_generator, update_critic, update_generator
from vagan.training.tasks import adversarial

CONDITIONED = {"training__covariates": "[age, sex]"}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Images that show their age; every third subject is a man."""
    folder = tmp_path_factory.mktemp("aged")
    made = make_synthetic_cohort(folder / "made", n=160, size=(24, 20), intensity="fixed", ageing=40.0)
    return with_columns(made, folder / "cohort", sex=np.where(np.arange(160) % 3 == 0, "M", "F"))


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    return train(cohort, tmp_path_factory.mktemp("run") / "run", tiny(**CONDITIONED))


class Recorder(nn.Module):
    """Images are as bright as their condition, so that a wrong one is an error."""

    def __init__(self, outputs):
        super().__init__()
        self.weight, self._outputs, self.calls = nn.Parameter(torch.zeros(1)), outputs, []

    def forward(self, images, condition):
        brightness = images.mean(dim=tuple(range(1, images.ndim)))
        torch.testing.assert_close(brightness, condition[:, 0])
        assert not condition[:, 1].isnan().any()
        self.calls.append(condition[:, 1].tolist())
        return self._outputs(self.weight, images)


@pytest.mark.parametrize("space", [(7, 8), (4, 5, 6)])
@pytest.mark.parametrize("joint_batch_norm", [True, False])
def test_every_image_comes_with_its_own_condition(space, joint_batch_norm, rng):
    """Also the mixes, on which the critic's slope is measured: those of conditions alike."""
    generator = Recorder(lambda weight, images: weight * images)
    teacher = Recorder(lambda weight, images: weight * images)
    critic = Recorder(lambda weight, images: (weight + 1) * images.flatten(1).sum(1))
    conditions = torch.rand(2, 4, 2, generator=rng) - 0.5
    images = conditions[..., 0].reshape(2, 4, 1, *(1 for _ in space)).expand(2, 4, 1, *space)
    fractions = torch.rand(4, generator=rng)
    batch = Batch(images[1], images[0], fractions, conditions[1], conditions[0])
    settings = Generator(joint_batch_norm=joint_batch_norm)
    sgd = {network: torch.optim.SGD(network.parameters(), lr=0.0) for network in (critic, generator)}
    more = {"loss": Loss(penalty_share=0.5), "settings": settings, "backward": torch.Tensor.backward}
    update_critic(critic, generator, sgd[critic], [batch], **more)
    own, others = conditions[1, :, 1].tolist(), conditions[0, :, 1].tolist()
    assert critic.calls[0] == others + own
    between = fractions * conditions[0, :, 1] + (1 - fractions) * conditions[1, :, 1]
    assert critic.calls[1] == pytest.approx(between[:2].tolist())
    assert generator.calls.pop() == own
    update_generator(critic, generator, sgd[generator], [batch], teacher=teacher, **more)
    assert critic.calls[2] == own
    assert teacher.calls == [own]
    # patients, controls, and controls that were given a patient's effect
    heard = generator.calls[: 1 if joint_batch_norm else 3]
    assert [number for call in heard for number in call] == own + others + others
    generator.calls.clear()
    distil_generator(generator, teacher, sgd[generator], [batch], **more)
    assert generator.calls == [others + others]


def test_batches_are_conditioned_on_their_own_images_and_classes_match(cohort):
    task = adversarial.AdversarialTask(tiny(training__batch_size=16, **CONDITIONED), cohort)
    table, row_of = cohort.manifest.table, rows_by_image(cohort)
    ages, training = table["age"].to_numpy(float), (table["split"] == "train").to_numpy()
    drawn = {0: [], 1: []}
    for update in range(12):
        (batch,) = task.load(update)
        for label, found, condition in (
            (0, batch.target, batch.target_condition),
            (1, batch.source, batch.condition),
        ):
            rows = [row_of[image.tobytes()] for image in found.numpy()]
            assert set(table["label"].iloc[rows]) == {label}
            np.testing.assert_allclose(
                condition[:, 0] * ages[training].std() + ages[training].mean(), ages[rows], rtol=1e-5
            )
            assert [["F", "M"][int(kind)] for kind in condition[:, 1:].argmax(1)] == table["sex"].iloc[rows].tolist()
            drawn[label] += rows
    apart = ages[training & (table["label"] == 1)].mean() - ages[training & (table["label"] == 0)].mean()
    assert apart > 5
    assert abs(ages[drawn[1]].mean() - ages[drawn[0]].mean()) < 0.4 * apart
    shares = [(table["sex"].iloc[drawn[label]] == "M").mean() for label in (0, 1)]
    assert shares[0] == pytest.approx(shares[1], abs=0.08)


def test_each_class_has_baseline_images_like_its_own(cohort, tmp_path):
    labels = cohort.manifest.table["subtype"].map({"": 0, "A": 1, "B": 2}).to_numpy()
    names = np.array(["baseline", "A", "B"])[labels]
    ages = np.array([60.0, 70.0, 50.0])[labels] + np.arange(len(names)) % 20 - 10
    three = with_columns(cohort, tmp_path / "three", age=ages, **{"class": names}, label=labels)
    task = adversarial.AdversarialTask(tiny(training__batch_size=8, training__covariates="age"), three)
    found = torch.cat([torch.cat([b.target_condition, b.condition], 1) for u in range(6) for b in task.load(u)])
    assert torch.equal(found[:, :2], found[:, 3:5])
    beside, own = ([found[found[:, one] == 1, column].mean() for one in (0, 1)] for column in (2, 5))
    assert own[0] - own[1] > 1.5  # standard deviations of age
    for there, here in zip(beside, own, strict=True):
        assert abs(there - here) < 0.25 * (own[0] - own[1])


def test_a_conditional_training_resumes_and_its_model_needs_covariates(cohort, run, tmp_path, monkeypatch):
    network, facts = load_model(run.path)
    assert [covariate.name for covariate in facts.covariates] == ["age", "sex"]
    assert facts.covariates[1].categories == ("F", "M")
    rows = cohort.manifest.indices("test")[:3]
    images, subjects = cohort.images(rows), cohort.manifest.table.iloc[rows]
    age = facts.covariates[0]
    condition = torch.tensor(
        [
            [(float(a) - age.mean) / age.std, s == "F", s == "M"]
            for a, s in zip(subjects["age"], subjects["sex"], strict=True)
        ]
    ).float()
    method = Attributor.load(run.path)
    with pytest.raises(ConfigError, match="missing covariates: .* age, sex"):
        method.attribute(images)
    with pytest.raises(ModelError, match="missing covariates: .* age, sex"):
        method.methods[0].attribute(images)
    torch.testing.assert_close(method.methods[0].raw_map(images, subjects), network(images, condition))
    for one in (method, method.methods[0]):
        with pytest.raises(VaganError, match="3 rows"):
            one.attribute(images[:2], subjects)
    assert method.attribute(images, {"age": 85, "sex": "F"}).effect.shape == images.shape  # the same for all
    assert_resumes(cohort, tmp_path / "cut", tiny(**CONDITIONED), run, monkeypatch)


def test_scores_and_ensembles_take_covariates_of_the_table(cohort, run):
    method = Attributor.load(run.path)
    rows = cohort.manifest.indices("test", 1)
    images, subjects = cohort.images(rows), cohort.manifest.table.iloc[rows]
    found = method.attribute(images, subjects)
    both = Attributor([*method.methods, *method.methods], method.spec)
    scores = evaluate({"one": method, "both": both}, cohort)
    energies = scores.rows.query("metric == 'mean_abs' and label == 1 and method == 'one'").set_index("case")["value"]
    np.testing.assert_allclose(energies[subjects["id"]], found.effect.abs().mean(dim=(1, 2, 3)), rtol=1e-4)
    assert not both.attribute(images, subjects).uncertainty.std.any()
    pd.testing.assert_frame_equal(found.covariates, subjects[["age", "sex"]].reset_index(drop=True))


def test_mistakes_are_refused_before_anything_is_written(cohort, tmp_path):
    with pytest.raises(ConfigError, match=r"training\.covariates: 'agee' must be a column .* did you mean 'age'"):
        train(cohort, tmp_path / "run", tiny(training__covariates="agee"))
    unknown = with_columns(cohort, tmp_path / "gaps", age=[""] + ["70"] * 159)
    with pytest.raises(CohortError, match="1 of"):
        train(unknown, tmp_path / "run", tiny(training__covariates="age"))
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_age_is_not_shown_as_the_class(tmp_path):
    cohort = make_synthetic_cohort(tmp_path / "cohort", n=2000, size=(32, 32), intensity="fixed", ageing=40.0)
    rows = cohort.manifest.indices("test", 1)
    subjects, ring, agreement = cohort.manifest.table.iloc[rows], {}, {}
    for names in ("", "age"):
        settings = {"generator_updates": "60", "num_threads": "1", "covariates": f"[{names}]"}
        config = load_config(settings={f"training.{key}": value for key, value in settings.items()})
        run = train(cohort, tmp_path / f"run{names}", config)
        maps = Attributor.load(run.path).effect(cohort.images(rows), subjects)
        agreement[names] = mean_ncc(maps, cohort.effects(rows))
        ring[names] = float(maps[..., 16, :7].mean())  # a piece of the ring where there is no square
    assert ring[""] > 0.02
    assert abs(ring["age"]) < 0.3 * ring[""]
    assert agreement["age"] > max(0.8, agreement[""])  # what is shown of age costs agreement
