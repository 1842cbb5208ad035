"""How long does a training take to good maps, and how long do the schedules take that are compared with it.

Trains the preset ``fast`` on the paper's data with every seed, and takes from the curves how many updates of each
kind it took until the maps of the validation images were good, and stayed so at the next validation. Then times each
kind of update of all schedules in turn, in one process and one number format, and multiplies: the ratio does not
depend on what else the machine did during the trainings. The others are not trained; their times are those of their
whole schedules: the same recipe with networks and batches of the paper's size (``wide.yaml``), which needs all of it,
and the preset ``paper``, whose maps are not that good at its end (``reference.json``). The memory of all is that of
their first updates, with the cohort's images in memory. Writes ``time_to_quality.json`` and a figure of the curves to
``benchmarks/results``. The same command again goes on where it stopped.

    python benchmarks/time_to_quality.py --precision 32-true --threads 1
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import pandas as pd
import torch
from cohorts import kept
from study import keep, options_of, settings_of

from vagan.axes import channels_last
from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.training.config import Config, load_config
from vagan.training.engine.device import fast_precision
from vagan.training.engine.loop import train
from vagan.training.sampling import Batch
from vagan.training.schedule import UpdateOrder
from vagan.training.steps import distil_generator, update_critic, update_generator

NCC = "monitor/ncc"
SIZE = (112, 112)
PRESETS = {"fast": "fast", "wide": str(Path(__file__).with_name("wide.yaml")), "paper": "paper"}
Counts = dict[str, int]
Seconds = dict[str, float]


def main() -> None:
    options = _parse()
    cohort = kept(options.work / "cohort", make_synthetic_cohort)
    configs = [load_config("fast", settings_of(options, seed)) for seed in options.seeds]
    runs = [
        train(cohort, options.work / f"fast-{config.training.seed}", config, monitor=mean_ncc) for config in configs
    ]
    seconds = _seconds_per_update(options)
    curves = [_curve(run.path, seconds["fast"]) for run in runs]
    times = [_time_to(curve, options.ncc) for curve in curves]
    fast = statistics.mean(times)
    whole = {preset: _whole(load_config(name), seconds[preset]) for preset, name in PRESETS.items()}
    print(f"NCC {options.ncc} in {fast:.0f} s of processor time")
    for preset, taken in whole.items():
        print(f"the whole schedule {preset}: {taken:.0f} s, {taken / fast:.1f} times as long")
    result = {
        "ncc": options.ncc,
        "threads": options.threads,
        "precision": options.precision,
        "seeds": options.seeds,
        "seconds_per_update": seconds,
        "peak_memory_mb": {preset: _peak_memory_mb(cohort.path, name) for preset, name in PRESETS.items()},
        "seconds_per_map": {preset: _seconds_per_map(load_config(name)) for preset, name in PRESETS.items()},
        "seconds_to_ncc": times,
        "last_ncc": [float(curve[NCC].iloc[-1]) for curve in curves],
        "seconds_of_whole_schedules": whole,
    }
    keep("time_to_quality", result, out=options.out)
    _draw(curves, options.ncc, options.out)


def _parse() -> argparse.Namespace:
    parser = options_of(__doc__, "runs/time_to_quality")
    parser.add_argument("--ncc", type=float, default=0.96)
    parser.add_argument("--threads", type=int, default=1, help="in the timing of updates")
    parser.add_argument(
        "--precision", default="32-true", choices=["32-true", "auto"], help="in the timing of updates"
    )
    parser.add_argument("--repetitions", type=int, default=5)
    return parser.parse_args()


def _curve(run: Path, seconds: Seconds) -> pd.DataFrame:
    """NCC of the validation images against seconds that the updates until then take."""
    table = pd.read_csv(run / "metrics.csv")
    length = int(table["generator/adversarial"].notna().sum())  # of a run that may have been extended
    order, rows = UpdateOrder(length, load_config("fast").schedule), table.dropna(subset=[NCC])
    spent = [_spent(_counts(order, int(update)), seconds) for update in rows["update"]]
    return rows.assign(seconds=spent)[["update", "seconds", NCC]]


def _counts(order: UpdateOrder, updates: int) -> Counts:
    generator = order.generator_updates_before(updates)
    distillation = max(0, updates - order.total)
    return {"critic": updates - generator - distillation, "generator": generator, "distillation": distillation}


def _spent(counts: Counts, seconds: Seconds) -> float:
    return sum(count * seconds[kind] for kind, count in counts.items() if count)


def _whole(config: Config, seconds: Seconds) -> float:
    order = UpdateOrder(config.training.generator_updates, config.schedule)
    return _spent(_counts(order, order.total + config.schedule.distillation_updates), seconds)


def _time_to(curve: pd.DataFrame, ncc: float) -> float:
    """Fails where a run never got there."""
    good = (curve[NCC] >= ncc) & (curve[NCC].shift(-1, fill_value=1.0) >= ncc)
    return float(curve["seconds"][good].iloc[0])


def _seconds_per_update(options: argparse.Namespace) -> dict[str, Seconds]:
    """Median processor time over repetitions in which all kinds of update of all presets take turns."""
    torch.set_num_threads(options.threads)
    updates = {preset: updates_of(load_config(name), options.precision) for preset, name in PRESETS.items()}
    taken: dict[str, dict[str, list[float]]] = {
        preset: {kind: [] for kind in kinds} for preset, kinds in updates.items()
    }
    for repetition in range(options.repetitions + 1):
        for preset, kinds in updates.items():
            for kind, update in kinds.items():
                begin = time.process_time()
                update()
                if repetition:  # the first is a warm-up
                    taken[preset][kind].append(time.process_time() - begin)
    return {
        preset: {kind: statistics.median(values) for kind, values in kinds.items()} for preset, kinds in taken.items()
    }


def _seconds_per_map(config: Config, *, images: int = 16, repetitions: int = 5) -> float:
    """Median processor time of the map of one image in a batch, in float32."""
    generator = MapGenerator(2, width=config.generator.width, global_context=config.generator.global_context).eval()
    generator.to(memory_format=channels_last(2))
    batch, taken = torch.rand(images, 1, *SIZE), []
    with torch.no_grad():
        for _ in range(repetitions + 1):
            begin = time.process_time()
            generator(batch)
            taken.append(time.process_time() - begin)
    return statistics.median(taken[1:]) / images


def _peak_memory_mb(cohort: Path, preset: str) -> float:
    """Of a process that trains on the cohort for a moment, with its images in memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_train_and_measure, cohort, preset).result()


def _train_and_measure(cohort: Path, preset: str) -> float:
    short = {
        "training.generator_updates": 8,  # effects are transferred from the sixth on
        "schedule.boosted_critic_updates": 1,
        "schedule.critic_updates": 1,
        "training.num_threads": 1,
        "training.precision": "32-true",
    }
    with TemporaryDirectory() as folder:
        train(Cohort(cohort), Path(folder) / "run", load_config(preset, short))
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage counts the parent's memory too
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


def updates_of(config: Config, precision: str) -> dict[str, Callable[[], None]]:
    """Each kind of update that the preset makes, on random images of the paper's size."""
    torch.manual_seed(0)
    generator = MapGenerator(
        2, width=config.generator.width, global_context=config.generator.global_context, zero_init=False
    )
    critic = Critic(
        2,
        width=config.critic.width,
        max_width=config.critic.max_width,
        patch_size=config.critic.patch_size,
    )
    if config.training.channels_last:
        for network in (critic, generator):
            network.to(memory_format=channels_last(2))
    average = copy.deepcopy(generator).eval()
    images = torch.rand(2, config.training.batch_size, 1, *SIZE) * 2 - 1
    batch = Batch(images[1], images[0], torch.rand(len(images[0])))
    optimizer, of_critic = (torch.optim.Adam(network.parameters(), lr=1e-5) for network in (generator, critic))
    is_reduced = "auto" == precision == config.training.precision and (
        fast_precision(torch.device("cpu")) == "bf16-mixed"
    )
    common = {"loss": config.loss, "settings": config.generator, "backward": torch.Tensor.backward}
    teacher = average if config.loss.effect_transfer_weight else None

    def reduced(update):
        def call() -> None:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_reduced):
                update()

        return call

    found = {
        "critic": lambda: update_critic(critic, generator, of_critic, [batch], **common),
        "generator": lambda: update_generator(critic, generator, optimizer, [batch], teacher=teacher, **common),
    }
    if config.schedule.distillation_updates:
        found["distillation"] = lambda: distil_generator(generator, average, optimizer, [batch], **common)
    return {kind: reduced(update) for kind, update in found.items()}


def _draw(curves: list[pd.DataFrame], ncc: float, out: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for curve in curves:
        axes.plot(curve["seconds"], curve[NCC], color="C0")
    axes.axhline(ncc, color="0.8", linewidth=0.8, zorder=0)
    axes.set(xlabel="processor time, seconds", ylabel="NCC, validation images", ylim=(0, 1))
    figure.savefig(out / "time_to_quality.pdf")
    figure.savefig(out / "time_to_quality.png", dpi=150)


if __name__ == "__main__":
    main()
