"""Memory and time of VA-GAN on volumes: an update of each network, a map, and reading while training.

At 64x80x56 (2.6 mm) and at 128x160x112 (1.3 mm), with the paper's batches: 2 images of each class in a gradient
computation, 6 of them accumulated; or as many images one by one, of which batch norm sees fewer at once. Each
measurement is a process of its own, whose peak of resident memory is that of Python, PyTorch, the networks, their
optimisers and the update. ``streaming`` trains on cohorts of two sizes that are never held in memory, and tells the
share of the time outside the updates. Writes ``volumes.json`` to ``benchmarks/results``; what is not measured this
time stays in it.

    python benchmarks/volumes.py
"""

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from machine import describe_machine
from spans import train_with_spans

from vagan.axes import channels_last
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.training.config import Generator, Loss
from vagan.training.sampling import Batch
from vagan.training.steps import update_critic, update_generator

RESULTS = Path(__file__).parent / "results"
IMAGES, BATCH = 12, 2
"""Of each class, in an update and in a gradient computation."""
SIZES = {"small": (64, 80, 56), "full": (128, 160, 112)}


class Way(NamedTuple):
    """Arithmetic in bfloat16, activations recomputed, images of each class in a gradient computation."""

    half: bool = False
    recompute: bool = False
    batch: int = BATCH


WAYS = {
    "plain": Way(),
    "bf16": Way(half=True),
    "checkpointing": Way(recompute=True),
    "bf16, checkpointing": Way(half=True, recompute=True),
    "bf16, checkpointing, batch size 1": Way(half=True, recompute=True, batch=1),
}
DEFAULT = [*(f"small/{way}" for way in WAYS), "full/bf16, checkpointing", "full/bf16, checkpointing, batch size 1"]
COHORTS = (40, 160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", default=[*DEFAULT, "streaming"], help="size/way, or streaming")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(_streamed(int(options.one[1])) if options.one[0] == "stream" else _measured(*options.one)))
        return
    path = RESULTS / "volumes.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    updates = before.get("updates", {})
    for name in options.only:
        if name != "streaming":
            updates[name] = {
                part: _in_a_process(options.threads, part, name) for part in ("generator", "critic", "map")
            }
            print(name, json.dumps(updates[name]), flush=True)
    result = {"options": vars(options), "images": IMAGES, "updates": updates}
    result["streaming"] = before.get("streaming", {})
    if "streaming" in options.only:
        result["streaming"] = {str(n): _in_a_process(options.threads, "stream", str(n)) for n in COHORTS}
        print("streaming", json.dumps(result["streaming"]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(result | describe_machine(), indent=1) + "\n", encoding="utf-8")


def _in_a_process(threads: int, *what: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--threads", str(threads), "--one", *what]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        return {"failed_with_code": found.returncode}
    return json.loads(found.stdout.splitlines()[-1])


def _measured(part: str, name: str) -> dict[str, float]:
    """Peak memory and seconds of one update, or of one map."""
    size, way = name.split("/")
    half, recompute, batch = WAYS[way]
    torch.manual_seed(0)
    generator = MapGenerator(3, global_context=True, zero_init=False, gradient_checkpointing=recompute).to(
        memory_format=channels_last(3)
    )
    critic = Critic(3, gradient_checkpointing=recompute).to(memory_format=channels_last(3))
    network = critic if part == "critic" else generator
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
    images = torch.rand(IMAGES // batch, 2, batch, 1, *SIZES[size]) * 2 - 1
    batches = [Batch(one[1], one[0], torch.rand(batch)) for one in images]
    update = {"critic": update_critic, "generator": update_generator}.get(part)
    settings = {"loss": Loss(), "settings": Generator(), "backward": torch.Tensor.backward}
    if part == "generator":  # with effect transfer, as in use
        settings["teacher"] = copy.deepcopy(generator).eval()
    begin = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        if update:
            update(critic, generator, optimizer, batches, **settings)
        else:
            with torch.no_grad():
                generator.eval()(images[0, 0, :1])
    return {"seconds": time.perf_counter() - begin, "peak_memory_gb": _peak_gb()}


def _streamed(count: int) -> dict[str, float]:
    """Share of the time outside the updates and peak memory, training from the store on volumes of 64x80x56."""
    with TemporaryDirectory() as folder:
        cohort = make_synthetic_cohort(Path(folder) / "cohort", n=count, size=SIZES["small"])
        settings = {
            "training.generator_updates": "2",
            "training.batch_size": str(BATCH),
            "training.memory_mb": "0",
            "training.num_threads": str(torch.get_num_threads()),
            "training.validate_every": "1000",
            "training.validation_images": "2",
            "training.checkpoint_seconds": "100000",
            "generator.bn_recalibration_images": "0",
            "schedule.warmup_generator_updates": "0",
            "schedule.critic_updates": "3",
            "schedule.distillation_updates": "0",
        }
        before = _peak_gb()
        inside, whole = train_with_spans(cohort, Path(folder) / "run", settings, skip=1)
        return {
            "share_outside": 1 - inside / whole,
            "seconds": whole,
            "peak_memory_gb": _peak_gb(),
            "peak_memory_before_gb": before,
            "volumes_gb": count * 4 * 64 * 80 * 56 / 2**30,
        }


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
