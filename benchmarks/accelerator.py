"""What an NVIDIA GPU makes of VA-GAN: seconds of an update, images per second, memory, and share of the chip's limit.

The paper's images and batch, and volumes at 64x80x56 and 128x160x112 with the paper's batches: 2 images of each
class in a gradient computation, 6 of them accumulated, or all 12 batch 12. Each way is measured with the same
networks and images: plain float32 (convolutions in TensorFloat32, as PyTorch has it), then bfloat16, the layout
with channels last and the second derivatives of `vagan.nn.fast_double_backward` added one after the other: all of
them are what a training takes by itself. Last, activations recomputed. The operations of an update are counted, not
estimated; the chip's limit is what a large matrix product reaches on it in bfloat16, and its memory's what a copy
does. The projected time is that of the paper's training: 1,000 updates of the generator and 8,230 of the critic.
``streaming`` trains from the store on volumes that are never held in memory, and tells the share of the time
outside the updates. Writes ``accelerator.json`` and ``accelerator.md`` to ``benchmarks/results``.

    python benchmarks/accelerator.py
"""

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from spans import train_with_spans
from study import RESULTS, as_table, keep
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from vagan.axes import channels_last
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.nn import fast_double_backward as convolution
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.training.config import Generator, Loss
from vagan.training.sampling import Batch
from vagan.training.steps import update_critic, update_generator

PAPER = {"generator": 1_000, "critic": 8_230}
"""Updates of its training, which took about a day on a Titan Xp."""
STREAMED = (96, (64, 80, 56))
"""Volumes of the streaming cohort."""


class Case(NamedTuple):
    """Spatial shape; images of each class in an update and in a gradient computation."""

    shape: tuple[int, ...]
    images: int
    batch: int


CASES = {
    "112x112": Case((112, 112), 32, 32),
    "64x80x56, 6 × 2": Case((64, 80, 56), 12, 2),
    "64x80x56, batch 12": Case((64, 80, 56), 12, 12),
    "128x160x112, 6 × 2": Case((128, 160, 112), 12, 2),
    "128x160x112, batch 12": Case((128, 160, 112), 12, 12),
}


class Way(NamedTuple):
    """Arithmetic in bfloat16, channels last, our second derivatives, activations recomputed."""

    half: bool = True
    last: bool = True
    detour: bool = True
    recompute: bool = False


WAYS = {
    "plain": Way(half=False, last=False, detour=False),
    "bf16": Way(last=False, detour=False),
    "bf16, channels last": Way(detour=False),
    "bf16, channels last, custom second derivative": Way(),
    "the same, checkpointing": Way(recompute=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=[*CASES, "streaming"], help=", ".join(CASES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    result: dict[str, Any] = {
        "repetitions": options.repetitions,
        "chip": torch.cuda.get_device_name(),
        "limits": _limits(),
        "updates": {},
    }
    print(result["chip"], result["limits"], flush=True)
    for case in options.cases:
        for way in WAYS if case != "streaming" else ():
            found = _measured(CASES[case], WAYS[way], options.repetitions, result["limits"]["tflops"])
            result["updates"].setdefault(case, {})[way] = found
            print(f"{case}, {way}:", found, flush=True)
            keep("accelerator", result, _markdown(result["updates"]), out=options.out)
    if "streaming" in options.cases:
        result["streaming"] = _streamed()
        print("streaming:", result["streaming"], flush=True)
    keep("accelerator", result, _markdown(result["updates"]), out=options.out)


def _measured(case: Case, way: Way, repetitions: int, limit: float) -> dict[str, float]:
    """An update of each network, and a map."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    convolution.detours = lambda _: way.detour
    torch.manual_seed(0)
    dims = len(case.shape)
    networks = {
        "critic": Critic(dims, gradient_checkpointing=way.recompute),
        "generator": MapGenerator(dims, global_context=True, zero_init=False, gradient_checkpointing=way.recompute),
        "teacher": MapGenerator(
            dims, global_context=True, zero_init=False, gradient_checkpointing=way.recompute
        ).eval(),
    }
    for network in networks.values():
        network.to("cuda", memory_format=channels_last(dims) if way.last else torch.contiguous_format)
    optimizers = {name: torch.optim.Adam(networks[name].parameters(), lr=1e-5) for name in PAPER}
    images = torch.rand(case.images // case.batch, 2, case.batch, 1, *case.shape, device="cuda") * 2 - 1
    batches = [Batch(one[1], one[0], torch.rand(case.batch, device="cuda")) for one in images]

    def update(name: str) -> None:
        arguments: dict[str, Any] = {"loss": Loss(), "settings": Generator(), "backward": torch.Tensor.backward}
        if name == "generator":  # with effect transfer, as in use
            arguments["teacher"] = networks["teacher"]
        step = update_critic if name == "critic" else update_generator
        step(networks["critic"], networks["generator"], optimizers[name], batches, **arguments)

    found: dict[str, float] = {}
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=way.half):
        try:
            for name in PAPER:
                found |= _timed(name, lambda name=name: update(name), repetitions, limit)
            networks["generator"].eval()
            with torch.no_grad():
                found |= _timed("map", lambda: networks["generator"](images[0, 0, :1]), repetitions, limit)
        except torch.OutOfMemoryError:
            return {"out_of_memory": 1.0}
    whole = sum(count * found[f"{name}_seconds"] for name, count in PAPER.items())
    seen = sum(count * 2 * case.images for count in PAPER.values())
    return found | {
        "peak_memory_gb": torch.cuda.max_memory_allocated() / 2**30,
        "images_per_second": seen / whole,
        "hours_of_the_papers_training": whole / 3600,
    }


def _timed(name: str, work: Any, repetitions: int, limit: float) -> dict[str, float]:
    with _Operations() as counted:
        work()
    work()
    seconds = []
    for _ in range(repetitions):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds)
    tflops = counted.total / median / 1e12
    return {f"{name}_seconds": median, f"{name}_tflops": tflops, f"{name}_share_of_limit": tflops / limit}


class _Operations(TorchDispatchMode):
    """Counts them as PyTorch's own counter does, which cannot look into a derivative of a derivative."""

    total = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        count = flop_registry.get(operation._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=found) if count else 0
        return found


def _limits() -> dict[str, float]:
    """Operations of a large matrix product, and bytes read and written of a large copy, in a second."""
    one, other = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    found = _timed("product", lambda: one @ other, 10, 1.0)
    source, target = (torch.empty(2**31, dtype=torch.uint8, device="cuda") for _ in range(2))
    copy = _timed("copy", lambda: target.copy_(source), 10, 1.0)
    return {"tflops": found["product_tflops"], "gb_per_second": 2 * 2**31 / copy["copy_seconds"] / 1e9}


def _streamed() -> dict[str, float]:
    count, shape = STREAMED
    with TemporaryDirectory() as folder:
        cohort = make_synthetic_cohort(Path(folder) / "cohort", n=count, size=shape)
        settings = {
            "training.generator_updates": "12",
            "training.batch_size": "4",
            "training.memory_mb": "0",
            "training.validate_every": "1000",
            "training.validation_images": "2",
            "training.checkpoint_seconds": "100000",
            "generator.bn_recalibration_images": "0",
            "schedule.warmup_generator_updates": "0",
            "schedule.distillation_updates": "0",
        }
        inside, whole = train_with_spans(cohort, Path(folder) / "run", settings, skip=12)
        return {"share_outside": 1 - inside / whole, "seconds": whole}


def _markdown(updates: dict[str, dict[str, dict[str, float]]]) -> str:
    head = [
        "images of each class",
        "way",
        "critic, s",
        "generator, s",
        "map, s",
        "images/s",
        "peak, GB",
        "of the limit",
    ]
    rows = []
    for case, ways in updates.items():
        for way, found in ways.items():
            if "out_of_memory" in found:
                rows.append([case, way, *["out of memory"] * 6, ""])
                continue
            seconds = [f"{found[f'{name}_seconds']:.4f}" for name in ("critic", "generator", "map")]
            share = f"{found['critic_share_of_limit']:.1%}, {found['generator_share_of_limit']:.1%}"
            hours = f"{found['hours_of_the_papers_training']:.2f}"
            memory = f"{found['peak_memory_gb']:.1f}"
            rows.append([case, way, *seconds, f"{found['images_per_second']:.0f}", memory, share, hours])
    return as_table([*head, "the paper's training, hours"], rows)


if __name__ == "__main__":
    main()
