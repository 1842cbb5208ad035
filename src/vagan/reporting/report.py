"""The report: one self-contained page about a results folder."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from vagan.errors import RunError
from vagan.evaluation.metrics.registry import find_metric
from vagan.evaluation.results import Results, ResultsFolder, Score
from vagan.files import replacing
from vagan.progress import duration
from vagan.reporting.figures import (
    DARK_INK,
    Format,
    as_data_uri,
    example_grid,
    reliability_curves,
    rendered,
    score_bars,
    training_curves,
)
from vagan.reporting.longitudinal import (
    Followed,
    effects_by_region,
    figure5,
    figure6,
    figure_of_means,
    read_followed,
    write_group_means,
    write_regions,
)
from vagan.reporting.page import page_template
from vagan.reporting.viewer import Case, asset, hue_bytes, viewer_data, viewer_scripts

TRUTH = "observed effect"

FORMATS: tuple[Format, ...] = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Drawn:
    """A figure of the page in a light and a dark version, its width in inches and its files."""

    inches: float
    light: str
    dark: str
    files: Mapping[Format, bytes]


def build_report(
    folder: Path, *, hide_ids: bool = False, atlas: Path | None = None, atlas_names: Path | None = None
) -> Path:
    """Write ``report.html`` and ``figures/`` into a results folder.

    Everything is drawn before anything is written, and the page is replaced last: if building fails, the older
    report is still there and whole.

    Parameters
    ----------
    folder
        Output of ``vagan evaluate``; only ``summary.json`` is required. Results of follow-up scans add Figures 5
        and 6 of the paper, and mean effects, also as NIfTI.
    hide_ids
        Number the subjects in figures and page instead of naming them.
    atlas, atlas_names
        Of follow-up scans: effects in these regions, written to ``regions.csv``; see `effects_by_region`.

    Returns
    -------
    Path
        The page. It needs no other file and no network.

    Raises
    ------
    RunError
        If the folder holds no results, or a file in it is damaged.
    OutputError
        If the folder cannot be written to.
    """
    results = ResultsFolder(folder).read()
    if hide_ids:
        results = _anonymous(results)
    followed = _followed(folder, hide_ids=hide_ids)
    if atlas is not None:
        if followed is None:
            raise RunError(f"regions are of follow-up scans, and {folder} holds none; evaluate with --longitudinal")
        write_regions(folder, effects_by_region(followed, atlas, atlas_names))
    figures = {name: _drawn(figure) for name, figure in {**_figures(results), **_followed_figures(followed)}.items()}
    page = _page(results, figures)
    for name, figure in figures.items():
        for kind, content in figure.files.items():
            with replacing(folder / "figures" / f"{name}.{kind}") as temporary:
                temporary.write_bytes(content)
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "report.html"


def _anonymous(results: Results) -> Results:
    """With numbers in place of ids, and without the names of excluded images."""
    left_out = None if results.left_out is None else results.left_out.assign(image="")
    if results.examples is None:
        return replace(results, left_out=left_out)
    numbers = {name: f"image {number}" for number, name in enumerate(results.examples.ids, start=1)}
    values = {(numbers.get(case, ""), method): value for (case, method), value in results.values.items()}
    examples = replace(results.examples, ids=tuple(numbers[name] for name in results.examples.ids))
    return replace(results, examples=examples, values=values, left_out=left_out)


def _figures(results: Results) -> dict[str, Figure]:
    """All figures that the folder has the content for."""
    figures = {"scores": score_bars(results.summary, results.metrics[0])}
    if results.examples is not None:
        figures["examples"] = example_grid(results.examples.random(), list(results.examples.maps))
    if results.summary.get("classifiers"):
        figures["reliability"] = reliability_curves(results.summary["classifiers"])
    for run in results.runs:
        if run.metrics is not None and len(run.metrics):
            figures[f"training-{run.name}"] = training_curves(run.metrics)
    return figures


def _followed(folder: Path, *, hide_ids: bool) -> Followed | None:
    """Converters with their maps, whose means are written too."""
    followed = read_followed(folder, hide_ids=hide_ids)
    if followed is not None:
        write_group_means(folder, followed)
    return followed


def _followed_figures(followed: Followed | None) -> dict[str, Figure]:
    """Figures 5 and 6, and means."""
    if followed is None:
        return {}
    figures = {"figure5": figure5(followed), "group-means": figure_of_means(followed)}
    generator = next((name for name in followed.maps if name.startswith("VA-GAN")), "")
    return figures | ({"figure6": figure6(followed, generator)} if generator else {})


def _drawn(figure: Figure) -> Drawn:
    files = {kind: rendered(figure, kind) for kind in FORMATS}
    return Drawn(figure.get_figwidth(), as_data_uri(figure), as_data_uri(figure, ink=DARK_INK), files)


def _page(results: Results, figures: Mapping[str, Drawn]) -> str:
    ranked = _ranked(results)
    shown = None if results.examples is None else _viewed(results, [name for name, _ in ranked])
    return page_template("report.html.j2", number=number, duration=duration).render(
        results=results,
        summary=results.summary,
        figures=figures,
        ranked=ranked,
        headline=results.metrics[0],
        comparable=find_metric(results.metrics[0]).needs_truth,
        describe=find_metric,
        seeds={run.name: run.settings["training.seed"] for run in results.runs if "training.seed" in run.settings},
        viewer=shown,
        hues=hue_bytes(),
        style=asset("viewer.css"),
        scripts=viewer_scripts() if shown else "",
        reasons={} if results.left_out is None else results.left_out["reason"].value_counts().to_dict(),
    )


def _viewed(results: Results, ranked: Sequence[str]) -> dict[str, Any]:
    """The examples for the viewer: the best method first, and the observed effect behind it."""
    examples, headline = results.examples, results.metrics[0]
    assert examples is not None
    named = [name for name in ranked if name in examples.maps]
    order = [*named, *(name for name in examples.maps if name not in named)]
    label = find_metric(headline).label
    cases = []
    for row, name in enumerate(examples.ids):
        maps = {method: examples.maps[method][row] for method in order}
        if examples.effects is not None:
            first, *others = maps
            maps = {first: maps[first], TRUTH: examples.effects[row], **{other: maps[other] for other in others}}
        scores = {
            method: f"{label} {number(results.values[name, method], 3)}"
            for method in order
            if (name, method) in results.values
        }
        role = examples.roles[row] if examples.roles else "random"
        cases.append(Case(name, role, examples.images[row], maps, scores, examples.affine))
    classes = results.summary.get("cohort", {}).get("classes") or ["the baseline class"]
    return viewer_data(cases, units=results.summary.get("units", {}), baseline=str(classes[0]))


def _ranked(results: Results) -> list[tuple[str, Mapping[str, Score]]]:
    """Methods by their headline score, best first; those without it at the end."""

    def key(item: tuple[str, Mapping[str, Score]]) -> float:
        score = item[1].get(results.metrics[0])
        return math.inf if score is None or math.isnan(score.mean) else -score.mean

    return sorted(results.methods.items(), key=key)


def number(value: float, decimals: int) -> str:
    """Write a number with a true minus sign; a dash where it is undefined."""
    return f"{value:.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"
