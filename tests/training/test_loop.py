import math
import os
import signal

import pandas as pd
import pytest
import torch

from tables import with_columns
from trainings import SETTINGS, assert_resumes, assert_same_result, before_update, stop_after, tiny, weights_of
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.errors import CohortError, ConfigError, DivergenceError, Interrupted, RunError
from vagan.model.folder import load_model
from vagan.training import early_stopping
from vagan.training.config import load_config
from vagan.training.engine import record
from vagan.training.engine.loop import train
from vagan.training.engine.run_folder import RunFolder
from vagan.training.engine.state import TrainState
from vagan.training.sampling import training_rows
from vagan.training.schedule import updates_of
from vagan.training.tasks import adversarial


@pytest.fixture(scope="module")
def finished(small_cohort, tmp_path_factory):
    return train(small_cohort, tmp_path_factory.mktemp("runs") / "whole", tiny())


def test_mirroring_needs_an_axis_of_the_images(small_cohort, tmp_path):
    with pytest.raises(ConfigError, match="mirror_axis must be 0 to 1 for 2-D images, found 2"):
        train(small_cohort, tmp_path / "run", tiny(augmentation__mirror_axis=2))
    assert not (tmp_path / "run").exists()


def test_same_seed_same_bits_and_another_seed_others(small_cohort, finished, tmp_path):
    assert_same_result(train(small_cohort, tmp_path / "again", tiny()), finished)
    other = weights_of(train(small_cohort, tmp_path / "other", tiny(training__seed=1)))
    assert any(not torch.equal(tensor, other[name]) for name, tensor in weights_of(finished).items())


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_a_crash_after_any_update_ends_in_the_same_bits(small_cohort, finished, tmp_path, monkeypatch, count):
    assert_resumes(small_cohort, tmp_path / "run", tiny(), finished, monkeypatch, count=count)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_saves_and_says_how_to_go_on(small_cohort, finished, tmp_path, monkeypatch, number):
    config = tiny(training__checkpoint_seconds=1e6)
    with monkeypatch.context() as patch:
        stop_after(4, patch, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=r"update 4 of 15.*repeat the command") as stopped:
            train(small_cohort, tmp_path / "run", config)
    assert stopped.value.exit_code == 130
    assert_same_result(train(small_cohort, tmp_path / "run", config), finished)


def test_a_finished_run_is_left_as_it_is(small_cohort, finished):
    before = finished.checkpoint.read_bytes()
    train(small_cohort, finished.path, tiny())
    assert finished.checkpoint.read_bytes() == before


def test_the_averaged_generator_is_the_model_and_follows_its_formula(small_cohort, tmp_path, monkeypatch):
    seen = []
    update = adversarial.update_generator

    def recorded(critic, generator, *args, **kwargs):
        terms = update(critic, generator, *args, **kwargs)
        seen.append(generator.state_dict()["last.weight"].clone())
        return terms

    monkeypatch.setattr(adversarial, "update_generator", recorded)
    run = train(small_cohort, tmp_path / "run", tiny(generator__ema_decay=0.15, schedule__distillation_updates=0))
    expected = seen[0]
    for count, weights in enumerate(seen[1:], start=1):
        decay = min(0.15, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(weights_of(run)["last.weight"], expected)


def test_the_averaged_generator_teaches_and_stays_as_it_is(small_cohort, tmp_path, monkeypatch):
    teachers, rates = [], []
    distil = adversarial.distil_generator

    def recorded(generator, teacher, optimizer, *args, **kwargs):
        teachers.append({name: tensor.clone() for name, tensor in teacher.state_dict().items()})
        rates.append(optimizer.param_groups[0]["lr"])
        if len(teachers) == 1:  # it begins where the teacher is
            assert all(torch.equal(tensor, teachers[0][name]) for name, tensor in generator.state_dict().items())
        return distil(generator, teacher, optimizer, *args, **kwargs)

    monkeypatch.setattr(adversarial, "distil_generator", recorded)
    config = tiny(schedule__distillation_updates=4)
    run = train(small_cohort, tmp_path / "run", config)
    before = train(
        small_cohort, tmp_path / "before", tiny(schedule__distillation_updates=0, optimizer__decay_from=0.3)
    )
    assert len(teachers) == 4
    for name, tensor in weights_of(before).items():  # the teacher is the model without distillation
        assert all(torch.equal(teacher[name], tensor) for teacher in teachers), name
    distilled = torch.load(run.checkpoint, weights_only=True)["networks"]["generator"]
    assert not torch.equal(distilled["last.weight"], teachers[0]["last.weight"])
    rate = config.optimizer.generator_learning_rate
    assert rates == pytest.approx([rate * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)])


@pytest.mark.parametrize(("share", "kept"), [(0.9, False), (0.99, True)])
def test_distillation_is_rejected_where_effects_become_smaller(small_cohort, share, kept):
    """What maps of both classes show alike, and the distilled ones do not, is no part of the effect."""
    task = adversarial.AdversarialTask(tiny(), small_cohort)
    state = task.build()
    state.networks["average"].module, state.networks["generator"] = Darkening(0.5, 0.05), Darkening(0.5 * share, 0.0)
    state.updates = task.total
    network, spec = task.model(state)
    assert network.background == (0.0 if kept else 0.05)
    assert ("lost part of the effect" in spec.rule) != kept


class Darkening(torch.nn.Module):
    """In proportion to how dark an image is: those of the class of interest are darker."""

    def __init__(self, amount, background):
        super().__init__()
        self.amount, self.background = torch.nn.Parameter(torch.tensor(amount)), background

    def forward(self, images):
        dark = (-images).relu().mean(dim=(1, 2, 3), keepdim=True)
        return -(self.amount * dark + self.background).expand_as(images)


def test_a_diverging_run_names_the_term_and_keeps_the_last_good_checkpoint(small_cohort, tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run")
    before_update(7, monkeypatch, lambda state: next(state.networks["critic"].parameters()).data.fill_(math.nan))
    with pytest.raises(DivergenceError, match="critic/wasserstein must be a finite number, but is nan"):
        train(small_cohort, run.path, tiny())
    kept = torch.load(run.checkpoint, weights_only=True)
    assert kept["updates"] == 7
    assert all(torch.isfinite(t).all() for network in kept["networks"].values() for t in network.values())
    assert all(torch.isfinite(tensor).all() for tensor in weights_of(run).values())


@pytest.mark.parametrize("stage", [(record, "save_model"), (record, "write_table"), (TrainState, "save")], ids=str)
def test_a_crash_while_saving_loses_nothing(small_cohort, finished, tmp_path, monkeypatch, stage):
    """The last save of the run fails at each of its stages; the same command makes up for it."""

    def fail(*_, **__):
        raise OSError("disk gone")

    config = tiny(training__checkpoint_seconds=1e6)
    with monkeypatch.context() as patch:
        patch.setattr(*stage, fail)
        with pytest.raises(OSError, match="disk gone"):
            train(small_cohort, tmp_path / "run", config)
    assert_same_result(train(small_cohort, tmp_path / "run", config), finished)


def test_a_beginning_cut_short_is_begun_again(small_cohort, finished, tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.locked():
        run.begin(tiny(), small_cohort)
    run.config.unlink()
    (run.path / ".x.config.yaml").write_text("half", encoding="utf-8")
    assert_same_result(train(small_cohort, run.path, tiny()), finished)


@pytest.fixture
def stopped(small_cohort, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(9, patch, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Interrupted):
            train(small_cohort, tmp_path / "run", tiny())
    return RunFolder(tmp_path / "run")


def test_figures_whose_end_is_missing_are_refused_and_may_be_deleted(stopped, small_cohort, finished):
    whole = stopped.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    for rows in ([], whole[1:-1]):
        stopped.metrics.write_text("".join([whole[0], *rows]), encoding="utf-8")
        with pytest.raises(RunError, match=r"metrics\.csv.* update \d, .* or delete it"):
            train(small_cohort, stopped.path, tiny())
    stopped.metrics.unlink()
    train(small_cohort, stopped.path, tiny())
    assert stopped.read_metrics()["update"].min() > 9
    assert all(torch.equal(tensor, weights_of(finished)[name]) for name, tensor in weights_of(stopped).items())


def test_a_stopped_run_becomes_longer_or_shorter_until_it_is_distilled(stopped, small_cohort):
    done = torch.load(stopped.checkpoint, weights_only=True)["updates"]
    with pytest.raises(RunError, match=f"{done} updates are done, and distillation began or would begin after"):
        train(small_cohort, stopped.path, tiny(training__generator_updates=1))
    longer = tiny(training__generator_updates=5, schedule__distillation_updates=1)
    train(small_cohort, stopped.path, longer)
    assert stopped.read_config() == longer
    assert stopped.read_metrics()["update"].max() == updates_of(longer)[1] > done
    with pytest.raises(RunError, match="can no longer become this"):
        train(small_cohort, stopped.path, tiny())


def test_a_run_that_ends_early_is_one_of_that_length_and_resumes_with_the_same_bits(
    small_cohort, tmp_path, monkeypatch
):
    early = {"optimizer__decay_from": 1, "training__generator_updates": 8, "schedule__early_stopping_from": 4}
    whole = train(small_cohort, tmp_path / "whole", tiny(optimizer__decay_from=1))
    reached = torch.load(whole.checkpoint, weights_only=True)["early_stopping"]["ratio"]
    monkeypatch.setattr(early_stopping, "MAX_RATIO", reached)  # only a mean that is resumed reaches it
    monkeypatch.setattr(early_stopping, "PATIENCE", 0)
    monkeypatch.setattr(early_stopping, "UPDATES_AFTER_FOUND", 0)
    stopped = train(small_cohort, tmp_path / "early", tiny(**early))
    assert_same_result(stopped, whole)
    assert "ended early, after 4 generator updates" in stopped.log.read_text(encoding="utf-8")
    with pytest.raises(RunError, match="can no longer become this: training against the critic ended early, after 4"):
        train(small_cohort, stopped.path, tiny(**early | {"schedule__distillation_updates": 9}))
    for count in (9, 12, 13):  # before the decision, at it, and in distillation
        assert_resumes(small_cohort, tmp_path / str(count), tiny(**early), whole, monkeypatch, count=count)
        records = [
            torch.load(run.checkpoint)["early_stopping"] for run in (RunFolder(tmp_path / str(count)), stopped)
        ]
        assert records[0] == records[1]


def test_another_configuration_cohort_or_split_is_refused(small_cohort, finished, tmp_path):
    with pytest.raises(RunError, match=r"another configuration: training.seed \(0, 5\)"):
        train(small_cohort, finished.path, tiny(training__seed=5))
    other = make_synthetic_cohort(tmp_path / "other", n=80, size=(24, 20), seed=9)
    with pytest.raises(RunError, match="another cohort"):
        train(other, finished.path, tiny())
    split = small_cohort.manifest.table["split"].replace({"train": "test", "test": "train"})
    with pytest.raises(RunError, match="another split"):
        train(with_columns(small_cohort, tmp_path / "cohort", split=split), finished.path, tiny())
    train(small_cohort, finished.path, tiny(training__checkpoint_seconds=7))  # changes no result


def test_two_trainings_of_one_folder_are_refused(small_cohort, tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.locked(), pytest.raises(RunError, match="another training is running"):
        train(small_cohort, run.path, tiny())


def test_too_few_images_for_the_batch_are_named(small_cohort, tmp_path):
    with pytest.raises(CohortError, match=r"a batch needs 100 training images of class 'baseline', found 2\d"):
        train(small_cohort, tmp_path / "run", tiny(training__batch_size=100))


def test_truth_changes_nothing_but_the_monitors_column(small_cohort, finished, tmp_path):
    watched = train(small_cohort, tmp_path / "run", tiny(), monitor=lambda maps, effects: 0.5)
    for name, tensor in weights_of(finished).items():
        assert torch.equal(tensor, weights_of(watched)[name])
    assert pd.read_csv(watched.metrics)["monitor/ncc"].dropna().eq(0.5).all()


def test_volumes_train_with_the_same_code(tmp_path):
    cohort = make_synthetic_cohort(tmp_path / "cohort", n=40, size=(18, 16, 17))
    run = train(cohort, tmp_path / "run", tiny(training__generator_updates=2))
    assert weights_of(run)["last.weight"].shape == (1, 4, 3, 3, 3)


def test_the_paper_presets_choices_run(small_cohort, tmp_path):
    small = {k: v for k, v in SETTINGS.items() if k != "schedule.critic_updates"}
    small |= {"schedule.boosted_critic_updates": "3", "schedule.warmup_generator_updates": "1"}
    run = train(small_cohort, tmp_path / "run", load_config("paper", small))
    assert pd.read_csv(run.metrics)["update"].iloc[0] == 4


def test_permuted_labels_keep_the_images_and_the_class_sizes(small_cohort):
    true, permuted = (
        training_rows(small_cohort, (1,), tiny(training__permute_labels=permute).training)
        for permute in (False, True)
    )
    assert [len(rows) for rows in true.values()] == [len(rows) for rows in permuted.values()]
    assert sorted([*true[0], *true[1]]) == sorted([*permuted[0], *permuted[1]])
    assert 0.2 < len(set(true[1]) & set(permuted[1])) / len(true[1]) < 0.8


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("generator", {"generator__joint_batch_norm": False}),
        ("classifier", {"method": "cam-classifier", "classifier__updates": 3, "classifier__width": 2}),
    ],
)
def test_the_models_batch_norm_statistics_are_those_of_its_own_weights(small_cohort, tmp_path, key, settings):
    """Fresh statistics: the mean of what reaches each layer, for the averaged weights, over both classes."""
    errors = []
    for count in (1000, 0):  # all training images, or the running statistics as they are
        config = tiny(**settings, **{f"{key}__bn_recalibration_images": count})
        network, _ = load_model(train(small_cohort, tmp_path / str(count), config).path)
        norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
        reached = []
        norm.register_forward_pre_hook(lambda _, inputs, reached=reached: reached.append(inputs[0].mean((0, 2, 3))))
        with torch.no_grad():
            network(small_cohort.images(small_cohort.manifest.indices("train")))
        errors.append((norm.running_mean - reached[0]).norm() / reached[0].norm())
    assert errors[0] < 0.02
    assert errors[1] > 0.3
