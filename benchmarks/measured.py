"""Write the results in ``benchmarks/results`` into documents: the main ones into README.md, all into results.md.

python benchmarks/measured.py
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import certainty
import covariates
import directions
import shortcuts
from study import RESULTS, as_table, column, with_seeds

ROOT = Path(__file__).parents[1]
README, ALL = ROOT / "README.md", ROOT / "docs" / "reference" / "results.md"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->"
CASES = {
    "paper": "the paper's data",
    "fixed": "one intensity range for all images",
    "few": "1,000 images in all",
    "96x80": "images of 96×80",
    "faint": "half the amplitude",
    "discs": "discs instead of squares",
    "sites": "three sites, each in half of the images",
}
VOLUMES = {"small": "64×80×56", "full": "128×160×112"}
OUR_WAY, BEFORE = "bf16, channels last, own second derivative", "bf16, channels last"

USUAL = {study.__name__: study.SETTINGS for study in (certainty, covariates, directions, shortcuts)}


class Row(NamedTuple):
    """One measured number, and whether it is one of the main ones."""

    what: str
    measured: str
    on: str
    command: str
    paper: str = ""
    is_main: bool = False


def main() -> None:
    for path, rows in ((README, [row for row in measured() if row.is_main]), (ALL, measured())):
        before, rest = path.read_text(encoding="utf-8").split(BEGIN)
        path.write_text(before + BEGIN + table(rows) + END + rest.split(END)[1], encoding="utf-8")


def measured() -> list[Row]:
    """Of all results that are there."""
    rows: list[Row] = []
    for name, rows_of in SOURCES.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            rows += rows_of(json.loads(path.read_text(encoding="utf-8")))
    return rows


def table(rows: Iterable[Row]) -> str:
    """Markdown; the paper's figure beside ours."""
    head = ["what", "measured", "paper", "on", "command"]
    return as_table(head, [[row.what, row.measured, row.paper, row.on, f"`{row.command}`"] for row in rows])


def _table1(result: dict[str, Any]) -> list[Row]:
    rows = []
    for name, row in sorted(result["methods"].items(), key=lambda item: -item[1]["ncc"]):
        paper = result["paper"].get(name)
        rows.append(
            Row(
                f"NCC, {'exact counterfactual (ceiling)' if name == 'ceiling' else name}",
                f"{row['ncc']:.3f} ± {row['std_over_images']:.3f}",
                f"{_seeds(row['by_seed'])}, {row['images']} images",
                "make table1",
                f"{paper['mean']:.2f} ± {paper['std']:.2f}" if paper else "",
                is_main=bool(paper) or name in ("ceiling", "group mean difference"),
            )
        )
    return rows


def _quality(result: dict[str, Any]) -> list[Row]:
    rows = []
    for case, found in result["cases"].items():
        ncc, ceiling = (column(found["by_seed"], name) for name in ("ncc", "ceiling"))
        value = f"{_mean(ncc):.3f} (exact counterfactual {_mean(ceiling):.3f})"
        on = f"{_seeds(ncc)}, worst {min(ncc):.3f}, all test images"
        is_main = case in ("paper", "few", "faint")
        rows.append(Row(f"NCC, VA-GAN, {CASES[case]}", value, on, "make quality", is_main=is_main))
    return rows


def _table3d(result: dict[str, Any]) -> list[Row]:
    settings = f" --set {' '.join(result['settings'])}" if result["settings"] else ""
    members = "" if result["options"]["members"] > 1 else " --members 1"
    command = f"python benchmarks/table3d.py --runs {' '.join(result['runs'])}{members}{settings}"
    rows = []
    for method, seeds in sorted(result["methods"].items(), key=lambda item: -_mean(column(item[1], "ncc"))):
        ncc = column(seeds, "ncc")
        on = f"{_seeds(ncc)}, simulated atrophy of 2.6 mm"
        is_main = method.startswith("VA-GAN") or method in ("group mean difference", "guided backprop", "CAM")
        rows.append(Row(f"NCC on volumes, {method}", with_seeds(ncc), on, command, is_main=is_main))
    return rows


def _table3d_short(result: dict[str, Any]) -> list[Row]:
    """Deforming beside adding, by one recipe."""
    settings = "training.generator_updates=60 schedule.boosted_critic_updates=60"
    command = f"python benchmarks/table3d.py --name table3d-short --set {settings}"
    rows = []
    for method in ("VA-GAN (warp)", "VA-GAN (add)"):
        ncc = column(result["methods"][method], "ncc")
        on = f"{_seeds(ncc)}, simulated atrophy of 2.6 mm, a shorter training"
        rows.append(Row(f"NCC on volumes, {method}, 60 updates", with_seeds(ncc), on, command, is_main=True))
    return rows


def _preprocessing(result: dict[str, Any]) -> list[Row]:
    command = "python benchmarks/preprocessing.py"
    rows = [
        Row(
            f"preprocessing, preset {preset}",
            f"{figures['scans_per_hour_and_core']:.0f} scans per hour and core",
            f"1 mm and 1.5 mm heads, {figures['peak_memory_mb'] / 1024:.1f} GB",
            command,
            is_main=preset == "default",
        )
        for preset, figures in result["presets"].items()
    ]
    apart = result["presets"]["default"]["poses_apart"].values()
    mean, worst = (max(column(apart, name)) for name in ("mean_mm", "worst_mm"))
    what, value = "a head in other poses, after registration, apart", f"{mean:.2f} mm, worst voxel {worst:.2f} mm"
    return [*rows, Row(what, value, "worse of the heads", command)]


def _observed_effects(result: dict[str, Any]) -> list[Row]:
    found = result["means"]["all"]
    value = f"{found['share of the ceiling']:.2f} (NCC {found['observed']:.2f} of {found['shaded']:.2f})"
    on = f"{len(result['pairs'])} simulated patients, raw heads"
    command = "python benchmarks/observed_effects.py"
    return [Row("observed effect of follow-up scans, share of the ceiling", value, on, command, is_main=True)]


def _covariates(result: dict[str, Any]) -> list[Row]:
    rows = []
    for name, score in (("NCC with the disease", "ncc"), ("age in the map, of the groups' difference", "age_driven")):
        told, untold = (column(result["runs"][key], score) for key in ("told of age", "not told of age"))
        value = f"{_mean(told):.2f} (not told: {_mean(untold):.2f})"
        on = f"{_seeds(told)}, {_size(result)}, patients older by a standard deviation"
        is_main = score == "age_driven" and not _is_3d(result)
        rows.append(Row(f"{name}, told of age", value, on, _command("covariates", result), is_main=is_main))
    return rows


def _classes(result: dict[str, Any]) -> list[Row]:
    rows = []
    together = result["generators"]["together"]
    for name, alone in result["generators"].items():
        if name != "together":
            score = f"{name.removesuffix(' alone')}: ncc"
            value = f"{_mean(column(together, score)):.3f} (alone {_mean(column(alone, score)):.3f})"
            on = f"{_seeds(together)}, {_size(result)}, the paper's subtypes as classes"
            what = f"NCC of {name.removesuffix(' alone')}, one generator for both"
            rows.append(Row(what, value, on, _command("classes", result, images=10_000)))
    return rows


def _directions(result: dict[str, Any]) -> list[Row]:
    both, alone = (result["scores"][name] for name in ("out and in", "out"))
    command, on = _command("directions", result), f"{_seeds(both)}, {_size(result)}"
    value = f"{_mean(column(both, 'ncc')):.2f} (alone {_mean(column(alone, 'ncc')):.2f})"
    return [
        Row("NCC of what is taken out, both directions learnt", value, on, command),
        Row("taken for ill after the class was put in", f"{_mean(column(both, 'ill_after_in')):.0%}", on, command),
    ]


def _certainty(result: dict[str, Any]) -> list[Row]:
    return [
        Row(
            f"rank correlation of an ensemble's spread and error, {name}",
            f"{found['everywhere']:.2f}",
            f"{_seeds(result['seeds'])} together, {_size(result)}",
            _command("certainty", result),
        )
        for name, found in result["scores"].items()
    ]


def _shortcuts(result: dict[str, Any]) -> list[Row]:
    rows = []
    for name, runs in result["scores"].items():
        shown = [run["shown"][name]["held"] for run in runs if name in run["shown"]]
        if shown:
            on = f"{_seeds(shown)}, {_size(result)}, in nine of ten of the class"
            rows.append(
                Row(
                    f"part of a shortcut in the map, {name}", f"{_mean(shown):.2f}", on, _command("shortcuts", result)
                )
            )
    return rows


def _time_to_quality(result: dict[str, Any]) -> list[Row]:
    seconds = _mean(result["seconds_to_ncc"]["fast"])
    value = f"{'' if result['paper_reached_it'] else 'more than '}{result['ratio']:.0f} ×"
    on = f"NCC {result['ncc']} in {seconds:.0f} s, {result['threads']} threads"
    command = "python benchmarks/time_to_quality.py"
    return [Row("preset paper, plain, over preset fast, time to equal maps", value, on, command, is_main=True)]


def _update_time(result: dict[str, Any]) -> list[Row]:
    on = f"batch {result['options']['batch']}, {result['options']['threads']} threads"
    return [
        Row(f"plain over fast path, {name} update", f"{ratio:.1f} ×", on, "make bench")
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
            rows.append(Row(what, value, "12+12 volumes", "make bench-3d", paper, is_main=size == "full"))
        what, value = f"map of a volume, {VOLUMES[size]}, {how}", f"{parts['map']['seconds']:.1f} s"
        rows.append(Row(what, value, "one pass", "make bench-3d"))
    for count, found in result.get("streaming", {}).items():
        what = f"reading {count} volumes while training, {VOLUMES['small']}"
        value = f"{found['share_outside']:.1%} of the time, {found['peak_memory_gb']:.1f} GB"
        rows.append(Row(what, value, "never held in memory", "make bench-3d"))
    return rows


def _accelerator(result: dict[str, Any]) -> list[Row]:
    """The ways that were measured for each case: the fastest, and the one before our own second derivative."""
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
        ours, before = (ways.get(name) for name in (OUR_WAY, BEFORE))
        if ours and before:
            ratio = f"{before['critic_seconds'] / ours['critic_seconds']:.1f} times as fast"
            what = f"critic update with our own second derivative, {volumes}"
            rows.append(Row(what, ratio, on, command, is_main=case == "64x80x56, at once"))
    return rows


SOURCES: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "table1": _table1,
    "quality": _quality,
    "robustness": _quality,
    "table3d": _table3d,
    "table3d-short": _table3d_short,
    "observed_effects": _observed_effects,
    "classes": _classes,
    "classes-3d": _classes,
    "directions": _directions,
    "directions-3d": _directions,
    "covariates": _covariates,
    "covariates-3d": _covariates,
    "certainty": _certainty,
    "certainty-3d": _certainty,
    "shortcuts": _shortcuts,
    "shortcuts-3d": _shortcuts,
    "preprocessing": _preprocessing,
    "simulation": _simulation,
    "time_to_quality": _time_to_quality,
    "update_time": _update_time,
    "host_share": _host_share,
    "volumes": _volumes,
    "accelerator": _accelerator,
}
"""What to make of each file of results."""


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _seeds(values: list[Any]) -> str:
    return f"{len(values)} seed{'s' * (len(values) > 1)}"


def _is_3d(result: dict[str, Any]) -> bool:
    return len(result["size"]) == 3


def _size(result: dict[str, Any]) -> str:
    return f"{'volumes' if _is_3d(result) else 'images'} of {'×'.join(map(str, result['size']))}"


def _command(study: str, result: dict[str, Any], *, images: int = 2000) -> str:
    """Of a study, with what is not its default; threads do not matter."""
    words = [f"python benchmarks/{study}.py"]
    if result["size"] != [32, 32]:
        words += ["--size", *map(str, result["size"])]
    if result["images"] != images:
        words += ["--images", str(result["images"])]
    usual = [f"{key}={value}" for key, value in USUAL.get(study, {}).items()]
    others = [one for one in result["settings"] if one not in usual and not one.startswith("training.threads")]
    return " ".join([*words, *(["--set", *others] if others else [])])


if __name__ == "__main__":
    main()
