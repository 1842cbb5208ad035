"""How long does each preset take to good maps: the paper's in plain float32 against the default on its fast path.

Reads the curves of finished runs of ``quality.py`` (``--preset paper``, and ``fast``): how many updates of each kind
it took until the maps of the validation images were good, and stayed so at the next validation. Then times each kind
of update of both presets in turn, in one process, and multiplies: the ratio does not depend on what else the machine
did during the trainings. Writes ``time_to_quality.json`` and a figure of all curves to ``benchmarks/results``.

    python benchmarks/time_to_quality.py --paper runs/reference/paper/paper-0 --fast runs/quality/paper/fast-{0,1,2}
"""

import argparse
import copy
import statistics
import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from study import RESULTS, keep

from vagan.axes import channels_last
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.training.config import Config, load_config
from vagan.training.engine.device import fast_precision
from vagan.training.sampling import Batch
from vagan.training.schedule import UpdateOrder
from vagan.training.steps import distil_generator, update_critic, update_generator

NCC = "monitor/ncc"
KINDS = ("critic", "generator", "distillation")
Counts = dict[str, int]


def main() -> None:
    options = _parse()
    presets = {"paper": [options.paper], "fast": options.fast}
    seconds = _seconds_per_update(options)
    curves = {preset: [_curve(run, preset, seconds[preset]) for run in runs] for preset, runs in presets.items()}
    times = {preset: [_time_to(curve, options.ncc) for curve in found] for preset, found in curves.items()}
    whole = float(curves["paper"][0]["seconds"].iloc[-1])
    reached = times["paper"][0] is not None
    fast = float(np.mean(times["fast"]))  # fails where a run never got there, as it should
    ratio = (times["paper"][0] if reached else whole) / fast
    print(f"{'' if reached else 'more than '}{ratio:.0f} times as fast to NCC {options.ncc}: {fast:.0f} s")
    result = {
        "ncc": options.ncc,
        "threads": options.threads,
        "seconds_per_update": seconds,
        "seconds_to_ncc": times,
        "best_ncc": {preset: [float(curve[NCC].max()) for curve in found] for preset, found in curves.items()},
        "last_ncc": {preset: [float(curve[NCC].iloc[-1]) for curve in found] for preset, found in curves.items()},
        "seconds_of_the_whole_paper_preset": whole,
        "paper_reached_it": reached,
        "ratio": ratio,
    }
    keep("time_to_quality", result)
    _draw(curves, options.ncc)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", type=Path, required=True, help="finished run folder of the preset paper")
    parser.add_argument("--fast", type=Path, nargs="+", required=True, help="finished run folders of the preset fast")
    parser.add_argument("--ncc", type=float, default=0.94)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=5)
    return parser.parse_args()


def _curve(run: Path, preset: str, seconds: dict[str, float]) -> pd.DataFrame:
    """NCC of the validation images against seconds that the updates until then take."""
    config = load_config(preset)
    order = UpdateOrder(config.training.generator_updates, config.schedule)
    rows = pd.read_csv(run / "metrics.csv").dropna(subset=[NCC])
    counts = [_counts(order, int(update)) for update in rows["update"]]
    spent = [sum(count[kind] * seconds[kind] for kind in KINDS) for count in counts]
    return rows.assign(seconds=spent)[["update", "seconds", NCC]]


def _counts(order: UpdateOrder, updates: int) -> Counts:
    generator = order.generator_updates_before(updates)
    distillation = max(0, updates - order.total)
    return {"critic": updates - generator - distillation, "generator": generator, "distillation": distillation}


def _time_to(curve: pd.DataFrame, ncc: float) -> float | None:
    good = (curve[NCC] >= ncc) & (curve[NCC].shift(-1, fill_value=1.0) >= ncc)
    return float(curve["seconds"][good].iloc[0]) if good.any() else None


def _seconds_per_update(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median over repetitions in which all kinds of update of both presets take turns."""
    torch.set_num_threads(options.threads)
    updates = {preset: _updates(load_config(preset)) for preset in ("paper", "fast")}
    taken: dict[str, dict[str, list[float]]] = {preset: {kind: [] for kind in KINDS} for preset in updates}
    for repetition in range(options.repetitions + 1):
        for preset, kinds in updates.items():
            for kind, update in kinds.items():
                begin = time.perf_counter()
                update()
                if repetition:  # the first is a warm-up
                    taken[preset][kind].append(time.perf_counter() - begin)
    return {
        preset: {kind: statistics.median(values) if values else 0.0 for kind, values in kinds.items()}
        for preset, kinds in taken.items()
    }


def _updates(config: Config):
    """Each kind of update that the preset makes, on random images of the paper's size."""
    torch.manual_seed(0)
    critic, generator = Critic(2), MapGenerator(2, global_context=config.generator.global_context, zero_init=False)
    if config.training.channels_last:
        critic.to(memory_format=channels_last(2))
        generator.to(memory_format=channels_last(2))
    average = copy.deepcopy(generator).eval()
    images = torch.rand(2, config.training.batch_size, 1, 112, 112) * 2 - 1
    batch = Batch(images[1], images[0], torch.rand(len(images[0])))
    optimizer = {name: torch.optim.Adam(net.parameters(), lr=1e-5) for name, net in (("c", critic), ("g", generator))}
    is_reduced = config.training.precision == "auto" and fast_precision(torch.device("cpu")) == "bf16-mixed"
    common = {"loss": config.loss, "settings": config.generator, "backward": torch.Tensor.backward}
    teacher = average if config.loss.effect_transfer_weight else None

    def reduced(update):
        def call() -> None:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_reduced):
                update()

        return call

    found = {
        "critic": lambda: update_critic(critic, generator, optimizer["c"], [batch], **common),
        "generator": lambda: update_generator(critic, generator, optimizer["g"], [batch], teacher=teacher, **common),
    }
    if config.schedule.distillation_updates:
        found["distillation"] = lambda: distil_generator(generator, average, optimizer["g"], [batch], **common)
    return {kind: reduced(update) for kind, update in found.items()}


def _draw(curves: dict[str, list[pd.DataFrame]], ncc: float) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for (preset, found), color in zip(curves.items(), ("0.5", "C0"), strict=True):
        for number, curve in enumerate(found):
            label = {"paper": "preset paper, plain float32", "fast": "preset fast"}[preset] if not number else None
            axes.plot(curve["seconds"] / 60, curve[NCC], color=color, label=label)
    axes.axhline(ncc, color="0.8", linewidth=0.8, zorder=0)
    axes.set(xscale="log", xlabel="training, minutes", ylabel="NCC, validation images", ylim=(0, 1))
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(RESULTS / "time_to_quality.pdf")
    figure.savefig(RESULTS / "time_to_quality.png", dpi=150)


if __name__ == "__main__":
    main()
