"""Settings of trainings that take a second, and how tests stop and compare them."""

import time

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.tasks import adversarial

TINY_SETTINGS = {
    "training.generator_updates": "2",
    "training.batch_size": "3",
    "training.validate_every": "1",
    "training.validation_images": "4",
    "training.num_threads": "1",
    "generator.width": "4",
    "critic.width": "4",
    "schedule.critic_updates": "1",
    "schedule.warmup_generator_updates": "0",
    "schedule.distillation_updates": "1",
}
TINY = ["--set", *(f"{key}={value}" for key, value in TINY_SETTINGS.items())]

SETTINGS = TINY_SETTINGS | {
    "generator.joint_batch_norm": "true",
    "generator.global_context": "true",
    "loss.effect_transfer_after": "1",
    "training.generator_updates": "4",
    "training.validate_every": "2",
    "training.checkpoint_seconds": "0",
    "schedule.critic_updates": "2",
    "schedule.distillation_updates": "3",
    "optimizer.decay_from": "0.3",
}


def tiny(**more):
    return load_config(settings=SETTINGS | {name.replace("__", "."): str(value) for name, value in more.items()})


def weights_of(run):
    return load_file(run.model / "model.safetensors")


def assert_same_result(one, other):
    for name, tensor in weights_of(one).items():
        assert torch.equal(tensor, weights_of(other)[name]), name
    tables = [pd.read_csv(run.metrics).drop(columns="seconds") for run in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=1e-12)


def stop_after(count, monkeypatch, action, task=adversarial.AdversarialTask):
    """Let ``action`` happen right after the given number of updates."""
    update = task.update

    def counted(self, state, batches, backward):
        terms = update(self, state, batches, backward)
        if state.updates + 1 == count:
            action()
        return terms

    monkeypatch.setattr(task, "update", counted)


def before_update(count, monkeypatch, action):
    """Let ``action(state)`` happen right before the update after the given number of them."""
    update = adversarial.AdversarialTask.update

    def preceded(self, state, batches, backward):
        if state.updates == count:
            action(state)
        return update(self, state, batches, backward)

    monkeypatch.setattr(adversarial.AdversarialTask, "update", preceded)


def assert_resumes(cohort, path, config, whole, monkeypatch, *, count=5, **more):
    """A training that is cut short after some updates, and begun again, ends in the same bits as a whole one."""

    def crash():
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        stop_after(count, patch, crash, **more)
        with pytest.raises(OSError, match="power cut"):
            train(cohort, path, config)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1e9)  # a clock that was set back
        assert_same_result(train(cohort, path, config), whole)
