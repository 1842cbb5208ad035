"""The report: one self-contained page about a results folder."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from vagan.data.sources.files import kind_of_reason
from vagan.errors import OutputError
from vagan.evaluation.evaluation import RANDOM, Examples
from vagan.evaluation.metrics.registry import find_metric
from vagan.evaluation.results import WITHOUT_TRUTH, Results, ResultsFolder
from vagan.files import regular, replacing, write_text
from vagan.progress import duration
from vagan.reporting.figures import Format, data_uri, example_grid, on_dark, rendered, score_bars, training_curves
from vagan.reporting.longitudinal import Followed, figure5, read_followed
from vagan.reporting.page import Case, asset, hue_bytes, page_template, viewer_data, viewer_scripts

_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[\d/\\_]\S*|\S+\.\w+")
"""In a reason, what may be the name of a file or a subject."""
TITLE = "<title>Effect maps: "
"""In the head of every page, by which it is recognised."""
FORMATS: tuple[Format, ...] = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Drawn:
    """A figure of the page in a light and a dark version, its width in inches and its files."""

    inches: float
    light: str
    dark: str
    files: Mapping[Format, bytes]


def build_report(folder: Path, *, hide_ids: bool = False) -> Path:
    """Write ``report.html`` and ``figures/`` into a results folder.

    Everything is drawn before anything is written, and the page is replaced last: if building fails, the older report
    is still there and whole. The page needs no other file and no network. Of the results, only ``summary.json`` is
    required; those of follow-up scans add Figure 5 of the paper. With ``hide_ids`` subjects are numbered instead of
    named, and names of files left out; the other files of the folder keep them. Raises `RunError` if the folder holds
    no results, or damaged ones; `OutputError` if it cannot be written to, or its ``report.html`` is not a report.
    """
    results, written = ResultsFolder(folder).read(), folder / "report.html"
    _require_own(written)
    if hide_ids:
        results = _anonymous(results)
    followed = read_followed(folder, hide_ids=hide_ids)
    figures = {name: _drawn(figure) for name, figure in _figures(results, followed).items()}
    page = _page(results, figures)
    for name, figure in figures.items():
        for kind, content in figure.files.items():
            with replacing(folder / "figures" / f"{name}.{kind}") as temporary:
                temporary.write_bytes(content)
    write_text(written, page)
    return written


def _require_own(page: Path) -> None:
    """Refuse to replace a page that is of somebody else."""
    try:
        with regular(page).open("rb") as file:
            is_own = TITLE.encode() in file.read(4096)
    except FileNotFoundError:
        return
    except OSError:
        is_own = False
    if not is_own:
        raise OutputError(f"{page} is not of `vagan report`, which would replace it; move it, or rename it")


def _anonymous(results: Results) -> Results:
    """With numbers in place of ids, and without the names of excluded images, also in the reasons."""
    left_out = results.left_out
    if left_out is not None:
        bare = [
            _NAMES.sub("…", kind_of_reason(reason.removeprefix(image).strip()))
            for image, reason in zip(left_out["image"], left_out["reason"], strict=True)
        ]
        left_out = left_out.assign(image="", reason=bare)
    if results.examples is None:
        return replace(results, left_out=left_out)
    numbers = {name: f"image {number}" for number, name in enumerate(results.examples.ids, start=1)}
    values = {(numbers.get(case, ""), method): value for (case, method), value in results.values.items()}
    examples = replace(results.examples, ids=tuple(numbers[name] for name in results.examples.ids))
    return replace(results, examples=examples, values=values, left_out=left_out)


def _figures(results: Results, followed: Followed | None) -> dict[str, Figure]:
    """All figures that the folder has the content for."""
    figures = {"scores": score_bars(results.summary, *_plotted(results))}
    if results.examples is not None:
        figures["examples"] = example_grid(results.examples.random(), list(results.examples.maps))
    for run in results.runs:
        if run.metrics is not None and len(run.metrics):
            figures[f"training-{run.name}"] = training_curves(run.metrics)
    if followed is not None:
        figures["figure5"] = figure5(followed)
    return figures


def _plotted(results: Results) -> list[str]:
    """The headline; where the true effects are not known, all scores of counterfactuals."""
    headline, *_ = results.summary.metrics
    if find_metric(headline).needs_truth:
        return [headline]
    kinds = (*(name for name in WITHOUT_TRUTH if name != "probability_drop"), "baseline_response_ratio")
    return [name for name in results.summary.metrics if name.partition("/")[0] in kinds] or [headline]


def _drawn(figure: Figure) -> Drawn:
    files = {kind: rendered(figure, kind, transparent=kind == "svg") for kind in FORMATS}
    light = data_uri(files["svg"])
    return Drawn(figure.get_figwidth(), light, on_dark(light), files)


def _page(results: Results, figures: Mapping[str, Drawn]) -> str:
    summary, headline = results.summary, results.summary.metrics[0]
    ranked = summary.ranked(headline)
    shown = None if results.examples is None else _viewed(results, results.examples, ranked)
    return page_template("report.html.j2", number=number, duration=duration).render(
        results=results,
        summary=summary,
        figures=figures,
        ranked=[(name, summary.methods[name]) for name in ranked],
        headline=headline,
        comparable=find_metric(headline).needs_truth,
        describe=find_metric,
        seeds={run.name: run.settings["training.seed"] for run in results.runs if "training.seed" in run.settings},
        viewer=shown,
        hues=hue_bytes(),
        style=asset("viewer.css"),
        scripts=viewer_scripts() if shown else "",
        reasons={} if results.left_out is None else results.left_out["reason"].value_counts().to_dict(),
    )


def _viewed(results: Results, examples: Examples, ranked: Sequence[str]) -> dict[str, Any]:
    """The examples for the viewer: the best method first, and the effect behind it, if known."""
    maps = {name: examples.maps[name] for name in dict.fromkeys([*ranked, *examples.maps]) if name in examples.maps}
    if examples.effects is not None:
        first, *others = maps
        maps = {first: maps[first], examples.effects_name: examples.effects, **{name: maps[name] for name in others}}
    label, values = find_metric(results.summary.metrics[0]).label, results.values
    cases = []
    for row, name in enumerate(examples.ids):
        scores = {key: f"{label} {number(values[name, key], 3)}" for key in maps if (name, key) in values}
        role = examples.roles[row] if examples.roles else RANDOM
        of_case = {method: of_method[row] for method, of_method in maps.items()}
        cases.append(Case(name, role, examples.images[row], of_case, scores, examples.affine))
    classes = results.summary.cohort.get("classes")
    baseline = str(classes[0]) if isinstance(classes, list) else "the baseline class"
    return viewer_data(cases, units=results.summary.units, baseline=baseline)


def number(value: float, decimals: int) -> str:
    """Write a number with a true minus sign; a dash where it is undefined."""
    return f"{value:.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"
