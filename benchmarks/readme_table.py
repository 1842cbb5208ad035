"""Write the README's table of measured results from the files in ``benchmarks/results``.

python benchmarks/readme_table.py
"""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->"


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(before + BEGIN + table() + END + after)


def table() -> str:
    """Rows for all results that are there."""
    rows = []
    path = RESULTS / "table1.json"
    if path.is_file():
        result = json.loads(path.read_text())
        for name, row in sorted(result["methods"].items(), key=lambda item: -item[1]["ncc"]):
            seeds = f"{len(row['by_seed'])} seeds" if len(row["by_seed"]) > 1 else "1 seed"
            value = f"{row['ncc']:.3f} ± {row['std_over_images']:.3f}"
            paper = result["paper"].get(name)
            theirs = f"{paper['mean']:.2f} ± {paper['std']:.2f}" if paper else ""
            label = "exact counterfactual (ceiling)" if name == "ceiling" else name
            rows.append(f"| NCC, {label} | {value} | {theirs} | {seeds}, {row['images']} images | `make table1` |")
    path = RESULTS / "update_time.json"
    if path.is_file():
        result = json.loads(path.read_text())
        for name, ratio in result["ratio"].items():
            what = f"batch {result['options']['batch']}, {result['options']['threads']} threads"
            rows.append(f"| plain over fast path, {name} update | {ratio:.1f} × | | {what} | `make bench` |")
    head = "| what | measured | paper | on | command |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(f"{row}\n" for row in rows)


if __name__ == "__main__":
    main()
