"""What holds on an NVIDIA GPU as on the CPU: the numbers, trainings that are stopped or moved, methods, the verbs."""

import copy
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch

import contracts.test_methods as contract
from shapes import NETWORK_SPACES
from trainings import SETTINGS, TINY, stop_after, tiny, weights_of
from vagan.attribution.registry import METHODS
from vagan.cli.app import main
from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.errors import Interrupted, NotEnoughMemoryError
from vagan.inference.attributor import Attributor
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.training.config import Generator, Loss
from vagan.training.engine.loop import train
from vagan.training.sampling import Batch
from vagan.training.steps import update_critic, update_generator

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]

SIZES = [(24, 20), (18, 20, 17)]
PLAIN = {"training__precision": "32-true"}
every_space = pytest.mark.parametrize("space", NETWORK_SPACES, ids=["2-D", "3-D"])


@pytest.fixture(autouse=True)
def plain_float32(monkeypatch):
    """TensorFloat32 has ten bits of mantissa, of which these comparisons would see the last."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # of matrix products it is off anyway


@pytest.fixture(scope="module", params=SIZES, ids=["2-D", "3-D"])
def cohort(request, tmp_path_factory) -> Cohort:
    return make_synthetic_cohort(tmp_path_factory.mktemp("gpu") / "cohort", n=60, size=request.param, seed=3)


@every_space
@pytest.mark.parametrize("update", [update_critic, update_generator])
def test_gradients_are_those_of_the_processor(space, update, rng):
    torch.manual_seed(2)
    critic, generator = Critic(len(space), width=4), MapGenerator(len(space), width=4, zero_init=False).eval()
    images = torch.rand(2, 4, 1, *space, generator=rng) * 2 - 1
    batch = Batch(images[1] + 0.5, images[0], torch.rand(4, generator=rng))

    def gradients(device, dtype):
        players = [copy.deepcopy(network).to(device, dtype) for network in (critic, generator)]
        network = players[0] if update is update_critic else players[1]
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        there = Batch(*(tensor.to(device, dtype) for tensor in batch[:3]))
        update(*players, optimizer, [there], loss=Loss(), settings=Generator(), backward=torch.Tensor.backward)
        return torch.cat([weights.grad.flatten().cpu() for weights in network.parameters()])

    exact = gradients("cpu", torch.float64)
    assert (gradients("cuda", torch.float64) - exact).norm() < 1e-6 * exact.norm()  # the penalty is in float32
    # cuDNN may take shorter ways to a convolution, which lose a few bits
    assert (gradients("cuda", torch.float32) - exact).norm() < 3e-4 * exact.norm()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trains_and_maps_as_on_the_processor(cohort, precision, tmp_path):
    config = tiny(training__precision=precision)
    run = train(cohort, tmp_path / "run", config)
    assert f"cuda:0, {precision}" in (run.path / "log.txt").read_text(encoding="utf-8")
    assert all(tensor.isfinite().all() for tensor in weights_of(run).values())
    images = cohort.images(cohort.manifest.indices("test"))
    there, here = (
        Attributor.load(run.path, device=device).effect(images.to(device)).cpu() for device in ("cuda", "cpu")
    )
    assert here.abs().max() > 0
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4)


def test_a_training_goes_as_on_the_processor(cohort, tmp_path):
    tables = [
        pd.read_csv(train(cohort, tmp_path / device, tiny(training__device=device, **PLAIN)).metrics)
        for device in ("cuda", "cpu")
    ]
    _assert_alike(*tables)


@pytest.mark.parametrize("goes_on_on", ["cuda", "cpu"])
def test_a_stopped_training_goes_on_there_or_elsewhere(cohort, goes_on_on, tmp_path, monkeypatch):
    whole = train(cohort, tmp_path / "whole", tiny(**PLAIN))
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        stop_after(3, patched, lambda: signal.raise_signal(signal.SIGTERM))
        train(cohort, tmp_path / "run", tiny(**PLAIN))
    settings = [f"{key}={value}" for key, value in (SETTINGS | {"training.precision": "32-true"}).items()]
    vagan = [sys.executable, "-c", "from vagan.cli.app import main; main()"]
    seen = {} if goes_on_on == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    command = [*vagan, "train", str(cohort.path), str(tmp_path / "run"), "--set", *settings]
    subprocess.run(command, env=os.environ | seen, check=True)
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    begun = [line for line in log.splitlines() if "cuda" in line or "cpu" in line]
    assert len(begun) == 2
    assert goes_on_on in begun[1]
    _assert_alike(pd.read_csv(tmp_path / "run" / "metrics.csv"), pd.read_csv(whole.metrics))


def _assert_alike(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Adam's first steps have one size whatever the gradient's: its last bits decide on where some weights go."""
    tables = [table.drop(columns=["seconds", "monitor/ncc"], errors="ignore") for table in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("name", [*METHODS, *contract.FORMS])
@every_space
def test_every_method_maps_as_on_the_processor(name, space, rng):
    images = torch.randn(2, 1, *space, generator=rng)
    method, *networks = contract.make_method(name, images)
    here = method.attribute(images)
    for network in networks:
        if isinstance(network, torch.nn.Module):
            network.to("cuda")
    there = method.attribute(images.to("cuda"))
    assert there.device.type == "cuda"
    assert (there.cpu() - here).norm() < 1e-2 * here.norm()


def test_a_training_that_does_not_fit_is_told_what_helps(cohort, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "mem_get_info", lambda device: (2**16, 2**30))
        with pytest.raises(NotEnoughMemoryError, match=r"GB are free on cuda:0; "):
            train(cohort, tmp_path / "refused", tiny(training__batch_size=6))
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        with pytest.raises(NotEnoughMemoryError, match=r"batch_size"):
            train(cohort, tmp_path / "run", tiny(training__batch_size=6, generator__width=32))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_the_verbs_from_a_cohort_to_a_report(tmp_path):
    cohort, out = make_synthetic_cohort(tmp_path / "cohort", n=60, size=(24, 20)).path, tmp_path / "scores"
    runs = {method: tmp_path / method for method in ("vagan", "classifier", "cam-classifier")}
    commands = [("train", cohort, run, *TINY, f"method={method}") for method, run in runs.items()]
    for command in (*commands, ("evaluate", cohort, *runs.values(), "--out", out), ("report", out)):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in command])
        assert not ended.value.code
    assert (out / "report.html").is_file()
