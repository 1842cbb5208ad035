"""How much faster is an update of the critic or the generator on the fast path than on the plain one.

Plain: float32, contiguous layout, the critic's slope measured at every image. Formats: channels-last, and bfloat16
where the processor has instructions for it. Fast: these formats, and the slope measured at the preset's share of the
batch. The same networks and batch, in turn, in one run; the median over the repetitions, and the ratio.

    python benchmarks/update_time.py
"""

import argparse
import statistics
import time

import torch
from study import keep

from vagan.axes import channels_last
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.training.config import Generator, Loss
from vagan.training.engine.device import fast_precision
from vagan.training.sampling import Batch
from vagan.training.steps import update_critic, update_generator

FAST = fast_precision(torch.device("cpu"))
PATHS = ("plain", "formats", "fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=[112, 112])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    updaters = {path: _players(path, options) for path in PATHS}
    seconds: dict[str, dict[str, list[float]]] = {path: {"critic": [], "generator": []} for path in updaters}
    for repetition in range(options.repetitions + 1):
        for path, update in updaters.items():
            for network in ("critic", "generator"):
                begin = time.perf_counter()
                update(network)
                if repetition:  # the first is a warm-up
                    seconds[path][network].append(time.perf_counter() - begin)
    medians = {
        path: {name: statistics.median(times) for name, times in found.items()} for path, found in seconds.items()
    }
    ratios = {name: medians["plain"][name] / medians["fast"][name] for name in ("critic", "generator")}
    for name, ratio in ratios.items():
        medians_text = ", ".join(f"{path} {medians[path][name]:.3f} s" for path in PATHS)
        print(f"{name} update: {medians_text}, plain over fast {ratio:.2f}")
    result = {
        "options": vars(options),
        "fast_precision": FAST,
        "median_seconds": medians,
        "ratio": ratios,
    }
    keep("update_time", result)


def _players(path: str, options: argparse.Namespace):
    torch.manual_seed(0)
    dims = len(options.size)
    critic, generator = Critic(dims), MapGenerator(dims, zero_init=False)
    if path != "plain":
        critic.to(memory_format=channels_last(dims))
        generator.to(memory_format=channels_last(dims))
    images = torch.rand(2, options.batch, 1, *options.size) * 2 - 1
    batch = Batch(images[1], images[0], torch.rand(options.batch))
    optimizers = {
        "critic": torch.optim.Adam(critic.parameters(), lr=1e-5),
        "generator": torch.optim.Adam(generator.parameters(), lr=1e-5),
    }
    steps = {"critic": update_critic, "generator": update_generator}

    def update(name: str) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=path != "plain" and FAST == "bf16-mixed"):
            steps[name](
                critic,
                generator,
                optimizers[name],
                [batch],
                loss=Loss() if path == "fast" else Loss(penalty_share=1.0),
                settings=Generator(),
                backward=torch.Tensor.backward,
            )

    return update


if __name__ == "__main__":
    main()
