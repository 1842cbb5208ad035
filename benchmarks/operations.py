"""Where does the time of a training go: processor time of its updates by kind of operation.

Profiles a generator update with the critic updates before it, for the default and for networks of the paper's size
(``wide.yaml``), on random images of 112x112 and one thread. Writes ``operations.json`` and ``operations.md`` to
``benchmarks/results``.

    python benchmarks/operations.py --precision 32-true
"""

import argparse
from pathlib import Path

import torch
from study import RESULTS, as_table, keep
from time_to_quality import PRESETS, updates_of
from torch.profiler import ProfilerActivity, profile

from vagan.training.config import load_config

COMPARED = ("fast", "wide")
KINDS = {
    "convolution, forward": ("mkldnn_convolution", "conv_transpose", "thnn_conv", "_slow_conv"),
    "convolution, backward": ("convolution_backward",),
    "batch norm": ("batch_norm",),
    "pooling": ("max_pool",),
    "ReLU": ("clamp_min", "threshold", "relu"),
    "copies and conversions": ("copy_", "cat", "contiguous", "clone"),
}
"""Kind -> parts of the names of PyTorch's operators; what is in none is `OTHER`."""
OTHER = "all else"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="32-true", choices=["32-true", "auto"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {preset: _milliseconds(preset, options) for preset in COMPARED}
    rows = [[kind, *(f"{found[preset][kind]:.0f}" for preset in COMPARED)] for kind in [*KINDS, OTHER]]
    rows.append(["sum", *(f"{sum(found[preset].values()):.0f}" for preset in COMPARED)])
    table = as_table(["kind of operation", *(f"{preset}, ms" for preset in COMPARED)], rows)
    keep("operations", {"precision": options.precision, "milliseconds": found}, table, out=options.out)
    print(table)


def _milliseconds(preset: str, options: argparse.Namespace) -> dict[str, float]:
    """Of a generator update and its critic updates, the mean over repetitions."""
    config = load_config(PRESETS[preset])
    updates = updates_of(config, options.precision)
    order = ["critic"] * config.schedule.critic_updates + ["generator"]
    for kind in updates:
        updates[kind]()  # warm-up
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(options.repetitions):
            for kind in order:
                updates[kind]()
    milliseconds = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in profiler.key_averages():
        kind = next((kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)), OTHER)
        milliseconds[kind] += event.self_cpu_time_total / 1000 / options.repetitions
    return milliseconds


if __name__ == "__main__":
    main()
