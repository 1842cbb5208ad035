import pytest
import torch

from trainings import TINY_SETTINGS
from vagan.errors import NotEnoughMemoryError
from vagan.training.config import load_config
from vagan.training.engine import memory
from vagan.training.engine.loop import train
from vagan.training.engine.memory import kept_by_an_update, reraise_out_of_memory
from vagan.training.tasks.adversarial import AdversarialTask


def config_of(**more):
    return load_config(settings=TINY_SETTINGS | {name.replace("__", "."): str(value) for name, value in more.items()})


def kept(cohort, **more):
    config = config_of(**more)
    return kept_by_an_update(AdversarialTask(config, cohort).build(), config, (1, *cohort.shape))


def test_what_is_kept_is_what_autograd_saves(small_cohort):
    """Counted with numbers in it, by an independent way: the activations that the derivative needs."""
    config = config_of(loss__effect_transfer_weight=0, critic__patch_size=1)
    state = AdversarialTask(config, small_cohort).build()
    found = kept_by_an_update(state, config, (1, *small_cohort.shape))
    networks = [state.networks["generator"], state.networks["critic"]]
    weights = {weight.untyped_storage().data_ptr() for network in networks for weight in network.parameters()}
    sizes = {}
    alive = []

    def pack(tensor):
        alive.append(tensor)
        if tensor.untyped_storage().data_ptr() not in weights:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        networks[0](torch.rand(6, 1, *small_cohort.shape))
        networks[1](torch.rand(3, 1, *small_cohort.shape))
    assert found == pytest.approx(sum(sizes.values()), rel=0.05)


def test_it_grows_with_the_batch_and_shrinks_with_what_is_named_as_a_help(small_cohort):
    usual = kept(small_cohort)
    assert kept(small_cohort, training__batch_size=6) > 1.7 * usual
    assert kept(small_cohort, training__gradient_checkpointing="true") < 0.6 * usual
    assert kept(small_cohort, loss__effect_transfer_weight=0) < 0.8 * usual


def test_a_training_that_cannot_fit_is_refused_before_its_first_update(small_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**20)
    expected = r"needs more than 0\.\d GB .*0\.0 GB are free.*gradient_checkpointing=true.*batch_size=1 with training.accumulate_grad_batches=3"  # noqa: E501
    with pytest.raises(NotEnoughMemoryError, match=expected):
        train(small_cohort, tmp_path / "run", config_of(training__precision="32-true", generator__width=16))
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    train(small_cohort, tmp_path / "run", config_of(training__precision="32-true", generator__width=16))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), NotEnoughMemoryError, "training.gradient_checkpointing=true"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            NotEnoughMemoryError,
            "checkpoint",
        ),
        (MemoryError(), NotEnoughMemoryError, "training.gradient_checkpointing=true"),
        (RuntimeError("shapes differ"), RuntimeError, "shapes"),
    ],
)
def test_a_lack_that_shows_later_names_what_helps(error, kind, message):
    with pytest.raises(kind, match=message), reraise_out_of_memory(config_of(), half=True):
        raise error


def test_free_memory_is_the_smallest_that_is_reported(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n", encoding="utf-8")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    assert memory.free_bytes(torch.device("cpu")) == 5000 * 1024
    for name, text in (("max", "4000000"), ("current", "3000000"), ("stat", "anon 1\nfile 500000\n")):
        (tmp_path / f"memory.{name}").write_text(text, encoding="utf-8")
    assert memory.free_bytes(torch.device("cpu")) == 1500000
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert memory.free_bytes(torch.device("cpu")) == 5000 * 1024
