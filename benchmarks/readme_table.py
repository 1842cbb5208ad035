"""Write the README's table of measured results from the files in ``benchmarks/results``.

python benchmarks/readme_table.py
"""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PREPARING = "`python benchmarks/preprocessing.py`"
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
BEGIN, END = "<!-- results -->\n", "<!-- /results -->"


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(before + BEGIN + table() + END + after, encoding="utf-8")


def table() -> str:
    """Rows for all results that are there."""
    rows = []
    path = RESULTS / "table1.json"
    if path.is_file():
        result = json.loads(path.read_text(encoding="utf-8"))
        for name, row in sorted(result["methods"].items(), key=lambda item: -item[1]["ncc"]):
            seeds = f"{len(row['by_seed'])} seeds" if len(row["by_seed"]) > 1 else "1 seed"
            value = f"{row['ncc']:.3f} ± {row['std_over_images']:.3f}"
            paper = result["paper"].get(name)
            theirs = f"{paper['mean']:.2f} ± {paper['std']:.2f}" if paper else ""
            label = "exact counterfactual (ceiling)" if name == "ceiling" else name
            rows.append(f"| NCC, {label} | {value} | {theirs} | {seeds}, {row['images']} images | `make table1` |")
    for path in (RESULTS / "quality.json", RESULTS / "robustness.json"):
        if not path.is_file():
            continue
        for case, found in json.loads(path.read_text(encoding="utf-8"))["cases"].items():
            runs = found["by_seed"]
            ncc = [run["ncc"] for run in runs]
            ceiling = sum(run["ceiling"] for run in runs) / len(runs)
            seeds = f"{len(runs)} seeds, worst {min(ncc):.3f}" if len(runs) > 1 else "1 seed"
            value = f"{sum(ncc) / len(ncc):.3f} (exact counterfactual {ceiling:.3f})"
            rows.append(f"| NCC, VA-GAN, {CASES[case]} | {value} | | {seeds}, all test images | `make quality` |")
    path = RESULTS / "preprocessing.json"
    if path.is_file():
        result = json.loads(path.read_text(encoding="utf-8"))
        for preset, figures in result["presets"].items():
            value = f"{figures['scans_per_hour_and_core']:.0f} scans per hour and core"
            memory = f"{figures['peak_memory_mb'] / 1024:.1f} GB"
            rows.append(
                f"| preprocessing, preset {preset} | {value} | | 1 mm and 1.5 mm heads, {memory} | {PREPARING} |"
            )
        apart = result["presets"]["default"]["poses_apart"].values()
        mean, worst = max(figures["mean_mm"] for figures in apart), max(figures["worst_mm"] for figures in apart)
        value = f"{mean:.2f} mm, worst voxel {worst:.2f} mm"
        rows.append(
            f"| a head in other poses, after registration, apart | {value} | | worse of the heads | {PREPARING} |"
        )
    path = RESULTS / "time_to_quality.json"
    if path.is_file():
        result = json.loads(path.read_text(encoding="utf-8"))
        seconds = result["seconds_to_ncc"]["fast"]
        more = "" if result["paper_reached_it"] else "more than "
        what = f"NCC {result['ncc']} in {sum(seconds) / len(seconds):.0f} s, {result['threads']} threads"
        rows.append(
            f"| preset paper, plain, over preset fast, time to equal maps | {more}{result['ratio']:.0f} × | | {what} "
            "| `python benchmarks/time_to_quality.py` |"
        )
    path = RESULTS / "update_time.json"
    if path.is_file():
        result = json.loads(path.read_text(encoding="utf-8"))
        for name, ratio in result["ratio"].items():
            what = f"batch {result['options']['batch']}, {result['options']['threads']} threads"
            rows.append(f"| plain over fast path, {name} update | {ratio:.1f} × | | {what} | `make bench` |")
    path = RESULTS / "host_share.json"
    if path.is_file():
        for where, share in json.loads(path.read_text(encoding="utf-8"))["share_outside"].items():
            rows.append(
                f"| share of a step outside the networks, {where} | {share:.1%} | | batch 16 | `make bench` |"
            )
    rows += _rows_on_atrophy(RESULTS / "table3d.json")
    rows += _rows_on_covariates(RESULTS / "covariates.json")
    rows += _rows_on_volumes(RESULTS / "volumes.json")
    head = "| what | measured | paper | on | command |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(f"{row}\n" for row in rows)


def _rows_on_atrophy(path: Path) -> list[str]:
    if not path.is_file():
        return []
    result = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for method, seeds in sorted(result["methods"].items(), key=lambda item: -_mean(item[1], "ncc")):
        value = f"{_mean(seeds, 'ncc'):.3f} ({', '.join(format(one['ncc'], '.3f') for one in seeds)})"
        what = f"{len(seeds)} seeds, simulated atrophy of 2.6 mm"
        command = f"python benchmarks/table3d.py --runs {' '.join(result['runs'])}"
        rows.append(f"| NCC on volumes, {method} | {value} | | {what} | `{command}` |")
    return rows


def _rows_on_covariates(path: Path) -> list[str]:
    if not path.is_file():
        return []
    rows = []
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    for name, score in (("NCC with the disease", "ncc"), ("age in the map, of the groups' difference", "age_driven")):
        told, untold = (_mean(runs[key], score) for key in ("told of age", "not told of age"))
        value = f"{told:.2f} (not told: {untold:.2f})"
        told_seeds, untold_seeds = (len(runs[key]) for key in ("told of age", "not told of age"))
        seeds = f"{told_seeds} seeds" + ("" if told_seeds == untold_seeds else f", {untold_seeds} not told")
        what = f"{seeds}, images of 32×32, patients older by a standard deviation"
        rows.append(f"| {name}, told of age | {value} | | {what} | `python benchmarks/covariates.py` |")
    return rows


def _mean(runs: list[dict[str, float]], score: str) -> float:
    return sum(run[score] for run in runs) / len(runs)


def _rows_on_volumes(path: Path) -> list[str]:
    if not path.is_file():
        return []
    rows = []
    result = json.loads(path.read_text(encoding="utf-8"))
    for name, parts in result["updates"].items():
        size, how = name.split("/")
        for part in ("generator", "critic"):
            found = parts[part]
            value = f"{found['peak_memory_gb']:.1f} GB, {found['seconds']:.0f} s"
            what = f"{part} update, {VOLUMES[size]}, {how}"
            paper = "12 GB" if size == "full" else ""
            rows.append(f"| {what} | {value} | {paper} | 12+12 volumes | `make bench-3d` |")
        value = f"{parts['map']['seconds']:.1f} s"
        rows.append(f"| map of a volume, {VOLUMES[size]}, {how} | {value} | | one pass | `make bench-3d` |")
    for count, found in result.get("streaming", {}).items():
        value = f"{found['share_outside']:.1%} of the time, {found['peak_memory_gb']:.1f} GB"
        what = f"reading {count} volumes while training, {VOLUMES['small']}"
        rows.append(f"| {what} | {value} | | never held in memory | `make bench-3d` |")
    return rows


if __name__ == "__main__":
    main()
