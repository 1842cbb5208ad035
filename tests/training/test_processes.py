"""Two processes on one machine are one process with all the batches."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from trainings import TINY
from vagan.errors import ConfigError
from vagan.training.config import load_config
from vagan.training.engine.processes import Processes, require_shares
from vagan.training.engine.run_folder import RunFolder
from vagan.training.tasks.adversarial import AdversarialTask
from vagan.training.tasks.classification import ClassifierTask

SETTINGS = [
    *TINY,
    "training.accumulate_grad_batches=4",
    "training.generator_updates=8",
    "training.checkpoint_seconds=0",
]
SETTINGS += ["training.precision=32-true", "generator.global_context=true"]


class TestShares:
    @pytest.mark.parametrize("method", ["vagan", "classifier"])
    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_together_the_processes_get_each_batch_once(self, small_cohort, method, count):
        settings = {"training.accumulate_grad_batches": "4", "training.batch_size": "3", "method": method}
        config = load_config(settings=settings)
        kind = AdversarialTask if method == "vagan" else ClassifierTask
        whole = kind(config, small_cohort).load(5)
        tasks = [kind(config, small_cohort, processes=Processes(index, count)) for index in range(count)]
        shares = [task.load(5) for task in tasks]
        assert len({len(share) for share in shares}) == 1
        for part, batch in enumerate(whole):
            same = shares[part % count][part // count]
            tensors = 3 if method == "vagan" else 2  # two classes need no condition
            assert all(torch.equal(one, other) for one, other in zip(batch[:tensors], same[:tensors], strict=True))

    def test_batches_that_cannot_be_shared_are_refused_with_a_way_out(self):
        require_shares(3, accumulate=6, batch_size=2)
        with pytest.raises(
            ConfigError, match=r"found 1 for 4 devices; .*accumulate_grad_batches=4 and training.batch_size=4"
        ):
            require_shares(4, accumulate=1, batch_size=16)


GRADIENTS = """
    import sys, torch
    from torch import distributed
    from vagan.nn.critic import Critic
    from vagan.nn.unet import MapGenerator
    from vagan.training.config import Generator, Loss
    from vagan.training.engine.processes import Processes
    from vagan.training.sampling import Batch
    from vagan.training.steps import update_critic, update_generator

    index, count, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if count > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=count)
    processes = Processes(index, count)
    found = {}
    for dims, space in ((2, (17, 20)), (3, (24, 18, 17))):
        torch.manual_seed(1)
        critic, generator = Critic(dims, width=2), MapGenerator(dims, width=2, zero_init=False)
        parts = torch.rand(4, 2, 3, 1, *space) * 2 - 1
        batches = [Batch(*parts[part].flip(0), torch.rand(3)) for part in range(4)]
        mine = [batches[part] for part in processes.share(4)]
        for network, update in ((critic, update_critic), (generator, update_generator)):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
            processes.average_gradients_of([optimizer])
            # batch norm in training, as in use: each batch has its own statistics, whoever computes it
            terms = update(critic, generator, optimizer, mine, loss=Loss(), settings=Generator(),
                           backward=torch.Tensor.backward, **({"teacher": None} if network is generator else {}))
            processes.average_statistics_of([generator])
            means, stops = processes.agree(terms, stopped=index == 1)
            assert stops == (count > 1)
            gradients = torch.cat([weights.grad.flatten() for weights in network.parameters()])
            statistics = torch.cat([part.flatten() for part in generator.buffers() if part.is_floating_point()])
            found[dims, update.__name__] = gradients, statistics, means
    torch.save(found, f"{folder}/found{index}of{count}.pt")
"""


def run_python(code, *arguments, **more):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], **more)


def test_gradients_statistics_and_terms_are_those_of_one_process(tmp_path):
    jobs = [run_python(GRADIENTS, *who, tmp_path) for who in ((0, 1), (0, 2), (1, 2))]
    assert [job.wait(timeout=120) for job in jobs] == [0, 0, 0]
    whole, first, second = (torch.load(tmp_path / f"found{who}.pt") for who in ("0of1", "0of2", "1of2"))
    for key, (gradients, statistics, terms) in whole.items():
        for found in (first, second):
            assert (found[key][0] - gradients).norm() < 1e-5 * gradients.norm(), key
            torch.testing.assert_close(found[key][1], statistics, rtol=1e-5, atol=1e-6)
            assert found[key][2] == pytest.approx(terms, rel=1e-4, abs=1e-6)
        assert torch.equal(first[key][0], second[key][0])
        assert gradients.any()


def vagan(*arguments):
    command = [sys.executable, "-c", "from vagan.cli.app import main; main()", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RANK", "WORLD"))}
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment, **pipes)


@pytest.fixture(scope="module")
def alone(small_cohort, tmp_path_factory):
    path = tmp_path_factory.mktemp("alone") / "run"
    job = vagan("train", small_cohort.path, path, *SETTINGS)
    _, stderr = job.communicate(timeout=120)
    assert job.returncode == 0, stderr
    return RunFolder(path)


def assert_same_but_for_rounding(run, other):
    one, two = (pd.read_csv(folder.metrics).drop(columns="seconds") for folder in (run, other))
    assert list(one["update"]) == list(two["update"])
    # Adam's first steps are signs of gradients: where those are all but 0, rounding decides
    np.testing.assert_allclose(one.to_numpy(), two.to_numpy(), rtol=0.05, atol=5e-3)
    one, two = (load_file(folder.model / "model.safetensors") for folder in (run, other))
    difference = torch.cat([(one[name] - two[name]).flatten() for name in one])
    assert difference.norm() < 0.05 * torch.cat([part.flatten() for part in one.values()]).norm()


@pytest.mark.long
@pytest.mark.parametrize("stopped", [False, True])
def test_training_on_two_devices_is_training_on_one(small_cohort, alone, tmp_path, stopped):
    """Also if one of the processes is asked to stop, and the run goes on with another number of them."""
    run = RunFolder(tmp_path / "run")
    job = vagan("train", small_cohort.path, run.path, "--devices", 2, *SETTINGS)
    if stopped:
        wait_for(run.checkpoint, job)
        job.send_signal(signal.SIGINT)
        _, stderr = job.communicate(timeout=120)
        assert job.returncode == 130, stderr
        assert stderr.count("repeat the command") == 1
        job = vagan("train", small_cohort.path, run.path, *SETTINGS)
    out, stderr = job.communicate(timeout=120)
    assert job.returncode == 0, stderr
    assert out.count("trained for") == 1  # by one of them
    assert "on 2 x cpu" in run.log.read_text(encoding="utf-8")
    assert_same_but_for_rounding(run, alone)


def wait_for(path, job):
    deadline = time.monotonic() + 90
    while not path.is_file():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
