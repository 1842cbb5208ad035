"""Numbers that spoil a training: each is survived, or stopped with a message that names the cause."""

import math
import shutil

import numpy as np
import pytest
import torch
import zarr

from trainings import before_update, stop_after, tiny, weights_of
from vagan.data.cohort import Cohort
from vagan.errors import CohortError, DivergenceError, OutputError
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.training.config import Generator, Loss
from vagan.training.engine import record
from vagan.training.engine.loop import train
from vagan.training.engine.run_folder import RunFolder
from vagan.training.sampling import Batch
from vagan.training.steps import update_critic, update_generator


@pytest.fixture
def spoilt(small_cohort, tmp_path):
    """A copy of the cohort with one training image of each class made into something else."""

    def spoil(value):
        shutil.copytree(small_cohort.path, tmp_path / "cohort")
        store = zarr.open_group(tmp_path / "cohort" / "cohort.zarr", mode="r+")
        for row in small_cohort.manifest.indices("train"):
            store["images"][int(row), :, 3, 4] = value
        return Cohort(tmp_path / "cohort")

    return spoil


@pytest.mark.parametrize("method", ["vagan", "classifier"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_in_images_are_blamed_on_the_images(spoilt, tmp_path, value, method):
    error = (DivergenceError, CohortError)
    with pytest.raises(error, match=r"`vagan check.* names"):
        train(spoilt(value), tmp_path / "run", tiny(method=method))
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("memory_mb", [0, 100])
def test_one_huge_outlier_is_named(spoilt, tmp_path, memory_mb):
    with pytest.raises(CohortError, match=r"must lie in \[-1, 1\], but \d+ .*vagan check"):
        train(spoilt(1e4), tmp_path / "run", tiny(training__memory_mb=memory_mb))
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("rate", [1e3, 1e30])
@pytest.mark.parametrize("which", ["critic", "generator"])
def test_a_learning_rate_far_too_high_is_stopped_and_nothing_broken_is_kept(small_cohort, tmp_path, which, rate):
    settings = {f"optimizer__{which}_learning_rate": rate, "training__generator_updates": 12}
    with pytest.raises(DivergenceError, match=r"lower (the learning rate|optimizer\.\w+_learning_rate)"):
        train(small_cohort, tmp_path / "run", tiny(**settings))
    run = RunFolder(tmp_path / "run")
    if run.model.exists():
        assert all(torch.isfinite(tensor).all() for tensor in weights_of(run).values())
    for path in run.path.rglob("*.pt"):
        kept = torch.load(path, weights_only=True)
        assert all(torch.isfinite(t).all() for network in kept["networks"].values() for t in network.values())


@pytest.mark.parametrize("space", [(17, 20), (17, 16, 18)])
def test_constant_images_and_classes_alike_leave_all_weights_finite(space, rng):
    """No class, no texture: the updates have nothing to go by, and nothing becomes NaN of it."""
    torch.manual_seed(0)
    critic, generator = Critic(len(space), width=2), MapGenerator(len(space), width=2, zero_init=False)
    same = torch.rand(1, 1, *space, generator=rng).expand(3, 1, *space)
    flat = torch.full((3, 1, *space), -1.0)
    options = {"loss": Loss(), "settings": Generator(), "backward": torch.Tensor.backward}
    for batch in (Batch(same, same, torch.rand(3)), Batch(flat, flat, torch.rand(3))):
        for network, update in ((critic, update_critic), (generator, update_generator)):
            update(critic, generator, torch.optim.Adam(network.parameters()), [batch], **options)
        assert all(torch.isfinite(w).all() for network in (critic, generator) for w in network.parameters())


def test_a_dead_critic_has_no_slope_and_is_an_error(small_cohort, tmp_path, monkeypatch):
    def kill(state):
        for weight in state.networks["critic"].parameters():
            weight.data.zero_()

    before_update(3, monkeypatch, kill)
    with pytest.raises(DivergenceError, match="the critic has collapsed"):
        train(small_cohort, tmp_path / "run", tiny())


def test_the_limits_are_limits():
    for slope in (record.MIN_CRITIC_GRADIENT_NORM, 1.0, record.MAX_CRITIC_GRADIENT_NORM):
        record.check_divergence({"critic/slope": slope})
    for size in (0.0, record.MAX_MAP_SIZE):
        record.check_divergence({"generator/map": size})
    for name, value, message in (
        ("critic/slope", 1.01 * record.MAX_CRITIC_GRADIENT_NORM, "diverged"),
        ("critic/slope", 0.0, "collapsed"),
        ("generator/map", 1.01 * record.MAX_MAP_SIZE, "map generator has diverged"),
    ):
        with pytest.raises(DivergenceError, match=message):
            record.check_divergence({name: value})
    assert record.collapsed_map({"validation/map": record.MIN_MAP_SIZE}) == ""
    assert "collapsed to zero: mean |M| is 1e-06" in record.collapsed_map({"validation/map": 1e-6})
    assert "partly empty: those of 21%" in record.collapsed_map({"validation/map": 1.0, "validation/empty_map": 0.21})


def test_zero_maps_are_a_warning_at_the_end_of_training(small_cohort, tmp_path, capsys):
    """A generator that starts from M = 0 and hardly moves."""
    config = tiny(optimizer__generator_learning_rate=1e-12, schedule__distillation_updates=0)
    run = train(small_cohort, tmp_path / "run", config)
    assert "the map has collapsed to zero" in capsys.readouterr().err
    assert "warning: the map has collapsed to zero" in run.log.read_text(encoding="utf-8")


def test_a_folder_that_vanishes_gets_no_checkpoint(small_cohort, tmp_path, monkeypatch):
    """As when its disk is unmounted: another, empty folder is in its place."""
    stop_after(3, monkeypatch, lambda: ((tmp_path / "run").rename(tmp_path / "away"), (tmp_path / "run").mkdir()))
    with pytest.raises(OutputError, match="has vanished during the training; is its disk still mounted"):
        train(small_cohort, tmp_path / "run", tiny())
    assert not [path for path in (tmp_path / "run").rglob("*") if path.suffix in (".pt", ".csv", ".safetensors")]
    assert np.isfinite(torch.load(tmp_path / "away/checkpoints/latest.pt", weights_only=True)["updates"])
