"""What benchmarks that train with several seeds have in common: their options, and how results are kept."""

import argparse
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def options_of(
    about: str | None, work: str, *, images: int = 0, size: Sequence[int] = (), runs: Iterable[str] = ()
) -> argparse.ArgumentParser:
    """A parser with the options of all such benchmarks; with a size, of synthetic cohorts too; with runs, which."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(work), help="where cohorts and runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--set", nargs="*", type=_setting, default=[], help="settings of all trainings, e.g. training.num_threads=1"
    )
    if images:
        parser.add_argument("--images", type=int, default=images)
        parser.add_argument("--size", type=int, nargs="+", default=list(size))
    if runs:
        parser.add_argument("--runs", nargs="+", default=list(runs), choices=list(runs), help="trainings to look at")
    return parser


def _setting(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"a setting must be key=value: found {text!r}")
    return text


def settings_of(options: argparse.Namespace, seed: int) -> dict[str, str]:
    """What ``--set`` says, and the seed."""
    return dict(setting.split("=", 1) for setting in options.set) | {"training.seed": str(seed)}


def named(study: str, shape: Sequence[int]) -> str:
    """Name of a study's results, which on volumes stand beside those on images."""
    return study + ("-3d" if len(shape) == 3 else "")


def keep(name: str, result: dict[str, Any], table: str = "", *, out: Path = RESULTS) -> None:
    """Write ``name.json``, with where and when it was measured, and the table as ``name.md``."""
    result = result | describe_machine() | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if table:
        (out / f"{name}.md").write_text(table, encoding="utf-8")


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    first, *others = (f"| {' | '.join(cells)} |\n" for cells in [head, *rows])
    return first + "|---" * len(head) + "|\n" + "".join(others)


def with_seeds(values: Sequence[float]) -> str:
    """The mean, and in brackets each seed's value; empty without values."""
    if not values:
        return ""
    return f"{np.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"


def column(runs: Iterable[dict[str, Any]], score: str) -> list[float]:
    """A score of those runs that have it."""
    return [run[score] for run in runs if run.get(score) is not None]
