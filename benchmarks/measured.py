"""Write the tables of results: the most important rows into README.md, all into docs/reference/results.md.

python benchmarks/measured.py
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import bidirectional
import covariates
import shortcuts
import uncertainty
from study import RESULTS, as_table, column, with_seeds

ROOT = Path(__file__).parents[1]
README, ALL = ROOT / "README.md", ROOT / "docs" / "reference" / "results.md"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->"
CASES = {
    "paper": "the paper's data",
    "fixed": "one intensity range",
    "few": "1,000 images in total",
    "96x80": "images of 96×80",
    "faint": "half the amplitude",
    "discs": "discs instead of squares",
    "sites": "three locations, each in half of the images",
}
REAL = {"boots": "ankle boots and sneakers", "pullovers": "pullovers and T-shirts", "digits": "digits 8 and 3"}
VOLUMES = {"small": "64×80×56", "full": "128×160×112"}
PAPER_NCC = "0.94 ± 0.07"
CUSTOM, BEFORE = "bf16, channels last, custom second derivative", "bf16, channels last"

USUAL = {study.__name__: study.SETTINGS for study in (bidirectional, covariates, shortcuts, uncertainty)}


class Row(NamedTuple):
    """One result, and whether README.md shows it."""

    what: str
    measured: str
    on: str
    command: str
    paper: str = ""
    in_readme: bool = False


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for path, text in documents().items():
        before, rest = path.read_text(encoding="utf-8").split(BEGIN)
        path.write_text(before + BEGIN + text + END + rest.split(END)[1], encoding="utf-8")


def documents() -> dict[Path, str]:
    """The table of each document."""
    rows = measured()
    short = [[row.what, row.measured, row.paper, row.on] for row in rows if row.in_readme]
    long = [[row.what, row.measured, row.paper, row.on, f"`{row.command}`"] for row in rows]
    head = ["quantity", "result", "paper", "conditions"]
    return {README: as_table(head, short), ALL: as_table([*head, "command"], long)}


def measured() -> list[Row]:
    """One row per number, from every results file that exists."""
    rows: list[Row] = []
    for name, rows_of in SOURCES.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            rows += rows_of(json.loads(path.read_text(encoding="utf-8")))
    return rows


def _table1(result: dict[str, Any]) -> list[Row]:
    rows = []
    for name, row in sorted(result["methods"].items(), key=lambda item: -item[1]["ncc"]):
        paper = result["paper"].get(name)
        rows.append(
            Row(
                f"NCC, {'ceiling (exact counterfactual)' if name == 'ceiling' else name}",
                f"{row['ncc']:.3f} ± {row['std_over_images']:.3f}",
                f"the paper's data, {_seeds(row['by_seed'])}, {row['images']} images",
                "make table1",
                f"{paper['mean']:.2f} ± {paper['std']:.2f}" if paper else "",
                in_readme=name in ("group mean difference", "CAM", "integrated gradients"),
            )
        )
    return rows


def _quality(result: dict[str, Any]) -> list[Row]:
    rows = []
    for case, found in result["cases"].items():
        ncc, ceiling = (column(found["by_seed"], name) for name in ("ncc", "ceiling"))
        value = f"{_mean(ncc):.3f} (ceiling {_mean(ceiling):.3f})"
        on = f"{_seeds(ncc)}, worst {min(ncc):.3f}"
        is_paper = case == "paper"
        paper = PAPER_NCC if is_paper else ""
        rows.append(Row(f"NCC, VA-GAN, {CASES[case]}", value, on, "make quality", paper, in_readme=is_paper))
    return rows


def _table3d(result: dict[str, Any]) -> list[Row]:
    settings = f" --set {' '.join(result['settings'])}" if result["settings"] else ""
    members = "" if result["options"]["members"] > 1 else " --members 1"
    command = f"python benchmarks/table3d.py --runs {' '.join(result['runs'])}{members}{settings}"
    rows = []
    for method, seeds in sorted(result["methods"].items(), key=lambda item: -_mean(column(item[1], "ncc"))):
        ncc = column(seeds, "ncc")
        on = f"simulated atrophy, 2.6 mm, earlier preset, {_seeds(ncc)}"
        rows.append(Row(f"NCC on volumes, {method}", with_seeds(ncc), on, command))
    return rows


def _table3d_short(result: dict[str, Any]) -> list[Row]:
    """Deforming and additive generators, trained alike."""
    settings = "training.generator_updates=60 schedule.boosted_critic_updates=60"
    command = f"python benchmarks/table3d.py --name table3d-short --set {settings}"
    rows = []
    for method in ("VA-GAN (warp)", "VA-GAN (add)"):
        ncc = column(result["methods"][method], "ncc")
        on = f"simulated atrophy, 2.6 mm, {_seeds(ncc)}, shorter training"
        rows.append(Row(f"NCC on volumes, {method}, 60 updates", with_seeds(ncc), on, command))
    return rows


def _individual_maps(result: dict[str, Any]) -> list[Row]:
    """Whether maps are the patient's own, for every scan and as expected effects."""
    twins, seeds = (" ".join(map(str, result["options"][name])) for name in ("twins", "seeds"))
    command = (
        f"python benchmarks/table3d.py --name individual-maps --runs warp --members 1 --twins {twins} --seeds "
        f"{seeds} --limit {result['options']['limit']} --set {' '.join(result['settings'])}"
    )
    scores = {
        "NCC": ["ncc"],
        "M(x0)/M(x1)": ["baseline_response_ratio"],
        "rank correlation with severity": ["severity_correlation"],
        "rank correlation of changes of volume, hippocampi (of the wrong sign, see Volumes)": ["volume/hippocampus"],
        "rank correlation of changes of volume, ventricles": ["volume/ventricle"],
        "rank correlation of changes of volume, temporal lobes": ["volume/temporal"],
        "recall, temporal lobes": ["recall/temporal_left", "recall/temporal_right"],
        "amplitude": ["amplitude_slope"],
    }
    ours, expected = (result["methods"][name] for name in ("VA-GAN (warp)", "VA-GAN (warp), expected effect"))
    on = f"simulated atrophy, 2.6 mm, preset `brain`, {_seeds(ours)}"
    rows = []
    for label, names in scores.items():
        value, weighted = (
            _mean([one for name in names for one in column(found, name)]) for found in (ours, expected)
        )
        what, in_readme = f"individual maps of volumes, {label}", label in ("NCC", "M(x0)/M(x1)")
        rows.append(Row(what, f"{value:.2f} (expected effects {weighted:.2f})", on, command, in_readme=in_readme))
    return rows


def _preprocessing(result: dict[str, Any]) -> list[Row]:
    command = "python benchmarks/preprocessing.py"
    rows = [
        Row(
            f"preprocessing, preset {preset}",
            f"{figures['scans_per_hour_and_core']:.0f} scans per hour and core",
            f"1 mm and 1.5 mm heads, {figures['peak_memory_mb'] / 1024:.1f} GB",
            command,
        )
        for preset, figures in result["presets"].items()
    ]
    apart = result["presets"]["default"]["poses_apart"].values()
    mean, worst = (max(column(apart, name)) for name in ("mean_mm", "worst_mm"))
    what, value = "registration, distance between poses of one head", f"{mean:.2f} mm, worst voxel {worst:.2f} mm"
    return [*rows, Row(what, value, "worse of two heads", command)]


def _observed_effects(result: dict[str, Any]) -> list[Row]:
    found = result["means"]["all"]
    value = f"{found['share of the ceiling']:.2f} (NCC {found['observed']:.2f} of {found['shaded']:.2f})"
    on = f"{len(result['pairs'])} simulated patients, raw heads"
    command = "python benchmarks/observed_effects.py"
    return [Row("observed effects, share of the ceiling", value, on, command)]


def _covariates(result: dict[str, Any]) -> list[Row]:
    rows = []
    command, on = _command("covariates", result), f"{_size(result)}, class older by one standard deviation"
    for what, score in (("NCC, age as covariate", "ncc"), ("residual age effect, age as covariate", "age_driven")):
        adjusted, unadjusted = (column(result["runs"][run], score) for run in ("age as covariate", "no covariate"))
        value = f"{_mean(adjusted):.2f} ({_mean(unadjusted):.2f} without)"
        in_readme = score == "age_driven" and not _is_3d(result)
        rows.append(Row(what, value, f"{on}, {_seeds(adjusted)}", command, in_readme=in_readme))
    return rows


def _classes(result: dict[str, Any]) -> list[Row]:
    rows = []
    command, on = _command("classes", result, images=10_000), f"{_size(result)}, the paper's subtypes as classes"
    together = column(result["generators"]["together"], "type A: ncc")
    for name, separate in result["generators"].items():
        if name != "together":
            score = f"{name.removesuffix(' alone')}: ncc"
            ncc = column(result["generators"]["together"], score)
            value = f"{_mean(ncc):.3f} (separate generator {_mean(column(separate, score)):.3f})"
            what = f"NCC, one generator for two classes, {name.removesuffix(' alone')}"
            rows.append(Row(what, value, f"{on}, {_seeds(together)}", command))
    return rows


def _bidirectional(result: dict[str, Any]) -> list[Row]:
    both, alone = (result["scores"][run] for run in ("bidirectional", "removal only"))
    command, on = _command("bidirectional", result), f"{_size(result)}, {_seeds(both)}"
    ncc = f"{_mean(column(both, 'ncc')):.2f} (removal only {_mean(column(alone, 'ncc')):.2f})"
    inserted = f"{_mean(column(both, 'class_after_insertion')):.0%}"
    return [
        Row("NCC of removed effects, bidirectional", ncc, on, command),
        Row("classified as the class after insertion", inserted, on, command),
    ]


def _uncertainty(result: dict[str, Any]) -> list[Row]:
    return [
        Row(
            f"rank correlation of ensemble std and error, {name}",
            f"{found['everywhere']:.2f}",
            f"{_size(result)}, ensemble of {len(result['seeds'])}",
            _command("uncertainty", result),
        )
        for name, found in result["scores"].items()
    ]


def _shortcuts(result: dict[str, Any]) -> list[Row]:
    rows = []
    for name, runs in result["scores"].items():
        shown = [run["shown"][name]["held"] for run in runs if name in run["shown"]]
        if shown:
            on = f"{_size(result)}, in 90 % of the class, {_seeds(shown)}"
            what = f"fraction of a shortcut in the map, {name}"
            rows.append(Row(what, f"{_mean(shown):.2f}", on, _command("shortcuts", result)))
    return rows


def _real(result: dict[str, Any]) -> list[Row]:
    rows = []
    for name, study in result["cohorts"].items():
        pair, size = name.split("-")
        seeds, control, real = (study[one] for one in ("by_seed", "group mean difference", "real baseline images"))
        on = f"{REAL[pair]}, {size}×{size}, {len(seeds)} seeds"
        command = f"python benchmarks/real.py --pairs {pair} --sizes {size}"
        flips = f"{with_seeds(column(seeds, 'flip_rate'))} (group mean difference {control['flip_rate']:.2f}, real "
        rows.append(
            Row(
                "flip rate, VA-GAN", f"{flips}{real['flip_rate']:.2f})", on, command, in_readme=name == "pullovers-28"
            )
        )
        distance = f"{_mean(column(seeds, 'kernel_distance')):.2f} ({control['kernel_distance']:.2f})"
        rows.append(Row("kernel distance, VA-GAN (group mean difference)", distance, on, command))
    return rows


def _time_to_quality(result: dict[str, Any]) -> list[Row]:
    times, whole = result["seconds_to_ncc"], result["seconds_of_whole_schedules"]
    seconds = _mean(times)
    on = f"NCC {result['ncc']} in {seconds:.0f} s of processor time, {result['precision']}, {len(times)} seeds"
    command = "python benchmarks/time_to_quality.py"
    return [
        Row(f"speed-up over the whole schedule, {name}", f"{whole[preset] / seconds:.1f} ×", on, command)
        for preset, name in (("wide", "networks and batches of the paper's size"), ("paper", "preset paper"))
    ]


def _update_time(result: dict[str, Any]) -> list[Row]:
    on = f"batch {result['options']['batch']}, {result['options']['threads']} threads"
    return [
        Row(f"speed-up of the optimised {name} update", f"{ratio:.1f} ×", on, "make bench")
        for name, ratio in result["ratio"].items()
    ]


def _host_share(result: dict[str, Any]) -> list[Row]:
    return [
        Row(f"share of a step outside the networks, {where}", f"{share:.1%}", "batch 16", "make bench")
        for where, share in result["share_outside"].items()
    ]


def _simulation(result: dict[str, Any]) -> list[Row]:
    return [
        Row(f"simulating a subject, {spacing}", f"{seconds:.1f} s on a core", "", "make bench-3d")
        for spacing, seconds in result["seconds_per_subject"].items()
    ]


def _volumes(result: dict[str, Any]) -> list[Row]:
    rows = []
    for name, parts in result["updates"].items():
        size, how = name.split("/")
        for part in ("generator", "critic"):
            found = parts[part]
            value = f"{found['peak_memory_gb']:.1f} GB, {found['seconds']:.0f} s"
            what, paper = f"{part} update, {VOLUMES[size]}, {how}", "12 GB" if size == "full" else ""
            rows.append(
                Row(
                    what,
                    value,
                    "12+12 volumes",
                    "make bench-3d",
                    paper,
                )
            )
        what, value = f"map of a volume, {VOLUMES[size]}, {how}", f"{parts['map']['seconds']:.1f} s"
        rows.append(Row(what, value, "one forward pass", "make bench-3d"))
    for count, found in result.get("streaming", {}).items():
        what = f"data loading, {count} volumes, {VOLUMES['small']}"
        value = f"{found['share_outside']:.1%} of the time, {found['peak_memory_gb']:.1f} GB"
        rows.append(Row(what, value, "no cache", "make bench-3d"))
    return rows


def _accelerator(result: dict[str, Any]) -> list[Row]:
    """The fastest variant of each case, and what the custom second derivative gains."""
    command = "python benchmarks/accelerator.py"
    rows = []
    for case, ways in result["updates"].items():
        fastest = min(ways.values(), key=lambda found: found["hours_of_the_papers_training"])
        on = f"{result['chip']}, one process"
        volumes = case.replace("x", "×")
        value = f"{fastest['images_per_second']:.0f}, {fastest['peak_memory_gb']:.1f} GB"
        rows.append(Row(f"images per second, {volumes}", value, on, command))
        if case.startswith("128"):  # the paper's own
            hours = f"{fastest['hours_of_the_papers_training']:.1f} h"
            rows.append(Row(f"the paper's training, projected, {volumes}", hours, on, command, "about 24 h"))
        ours, before = (ways.get(name) for name in (CUSTOM, BEFORE))
        if ours and before:
            ratio = f"{before['critic_seconds'] / ours['critic_seconds']:.1f} ×"
            what = f"speed-up of the critic by the custom second derivative, {volumes}"
            rows.append(Row(what, ratio, on, command))
    return rows


SOURCES: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "quality": _quality,
    "table1": _table1,
    "robustness": _quality,
    "table3d": _table3d,
    "table3d-short": _table3d_short,
    "individual-maps": _individual_maps,
    "observed_effects": _observed_effects,
    "classes": _classes,
    "classes-3d": _classes,
    "bidirectional": _bidirectional,
    "bidirectional-3d": _bidirectional,
    "covariates": _covariates,
    "covariates-3d": _covariates,
    "uncertainty": _uncertainty,
    "uncertainty-3d": _uncertainty,
    "shortcuts": _shortcuts,
    "shortcuts-3d": _shortcuts,
    "real": _real,
    "preprocessing": _preprocessing,
    "simulation": _simulation,
    "time_to_quality": _time_to_quality,
    "update_time": _update_time,
    "host_share": _host_share,
    "volumes": _volumes,
    "accelerator": _accelerator,
}
"""Rows of each results file."""


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _seeds(values: list[Any]) -> str:
    return f"{len(values)} seed{'s' * (len(values) > 1)}"


def _is_3d(result: dict[str, Any]) -> bool:
    return len(result["size"]) == 3


def _size(result: dict[str, Any]) -> str:
    return f"{'volumes' if _is_3d(result) else 'images'} of {'×'.join(map(str, result['size']))}"


def _command(study: str, result: dict[str, Any], *, images: int = 2000) -> str:
    """The command of a study with its non-default options, except for the number of threads."""
    words = [f"python benchmarks/{study}.py"]
    if result["size"] != [32, 32]:
        words += ["--size", *map(str, result["size"])]
    if result["images"] != images:
        words += ["--images", str(result["images"])]
    usual = [f"{key}={value}" for key, value in USUAL.get(study, {}).items()]
    others = [one for one in result["settings"] if one not in usual and not one.startswith("training.num_threads")]
    return " ".join([*words, *(["--set", *others] if others else [])])


if __name__ == "__main__":
    main()
