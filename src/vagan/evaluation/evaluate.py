"""Score any number of methods on the same images: maps are made once, and everything else is computed from them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from vagan.attribution.method import AttributionMethod
from vagan.data.cohort import Cohort
from vagan.data.manifest import REQUIRED
from vagan.errors import ConfigError, nearest
from vagan.evaluation.evaluation import HEADLINE, RANDOM, RANDOM_RULE, Evaluation, Examples, verdict
from vagan.evaluation.ground_truth import CEILING, ExactEffects, GroundTruth
from vagan.evaluation.maps import EXPENSIVE, Cases, MethodMaps, Rows, attribute_rows, is_attributed_again, make_maps
from vagan.evaluation.metrics.base import Array, MetricScores, Need, Values, score
from vagan.evaluation.metrics.counterfactual import (
    BY_CLASSIFIER,
    IndependentClassifier,
    References,
    image_contrast,
    references,
)
from vagan.evaluation.metrics.regions import Parts
from vagan.evaluation.metrics.registry import BY_SUBJECT, METRICS
from vagan.evaluation.results import ResultsFolder
from vagan.evaluation.runs import (
    RunSelection,
    class_label,
    classifier_metrics,
    load_methods,
    require_unseen,
    without_seen,
)
from vagan.evaluation.statistics import summarise
from vagan.inference.attributor import Attributor
from vagan.progress import Bar
from vagan.training.engine.device import find_device

MEMORY_BYTES = 2**29
"""In which the images to score are held, if they fit."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What is scored, and on which images; `ConfigError` for a number of images below 1."""

    class_of_interest: str = ""
    """Its name in the cohort; needed where the cohort, or a run that is scored, has several."""
    limit: int | None = None
    """Score a random subset of this many images of each class, the same for all methods."""
    subset: int = 20
    """Methods that need many forward passes per map are scored on this many images of the class of interest, the
    first of the others', and on a quarter as many of the baseline class."""
    method_seconds: float | None = None
    """Score these methods on as many of the ``subset`` as take about this long, and at least one image. The number
    then depends on the machine."""
    parts: Parts | None = None
    """Splits effects into named parts, whose ``recall/<name>`` is scored. Default: the regions that the cohort knows,
    if any; of these ``regional/<name>`` is scored as well."""
    severity: str | None = None
    """Numeric column of the manifest, whose rank correlation with the size of the maps is scored."""
    classifiers: Sequence[IndependentClassifier] = ()
    """Independent of all methods. They score methods whose maps are in units of intensity; scores of all but the
    first are called ``flip_rate/NAME`` and so on."""
    examples: int = 4
    """Keep this many random images with their maps, and the best, the median and the worst one."""
    seed: int = 0
    """Decides the subset, the validation images and the examples."""
    device: str = "cpu"
    """Where the networks of attribution methods are: ``auto``, ``cpu``, ``cuda`` or ``mps``; an `Attributor` knows
    where its own are."""

    def __post_init__(self) -> None:
        for name, most in (("limit", self.limit), ("subset", self.subset), ("examples", self.examples)):
            if most is not None and most < 1:
                raise ConfigError(f"`{name}` must be at least 1 image, found {most}")
        if self.method_seconds is not None and not self.method_seconds > 0:
            raise ConfigError(f"`method_seconds` must be a time above 0 s, found {self.method_seconds}")


def evaluate(
    methods: Sequence[Attributor | AttributionMethod] | Mapping[str, Attributor | AttributionMethod],
    cohort: Cohort,
    options: EvaluationOptions | None = None,
    *,
    truth: GroundTruth | None = None,
    on_maps: Callable[[MethodMaps], None] | None = None,
) -> Evaluation:
    """Score methods on the test images of a cohort.

    Raises `ConfigError` if two methods have one name, or the severity is no column of numbers; `CohortError` if there
    are no test or validation images of the class of interest; `LeakageError` if the run of a method was trained or
    validated on some of the images.

    Parameters
    ----------
    methods
        Models and attribution methods, which are called by their names, or by those of a mapping.
    cohort
        Only its test images are scored; thresholds come from validation images, without truth.
    truth
        What is known of the effects, and of which images; default: what the cohort stores. Without known effects only
        metrics remain that need none.
    on_maps
        Called with the maps of each method. Their arrays lie in files that are gone afterwards.
    """
    options = options or EvaluationOptions()
    device = find_device(options.device)
    named = {
        name: method if isinstance(method, Attributor) else Attributor([method], device=device)
        for name, method in (methods if isinstance(methods, Mapping) else _by_name(methods)).items()
    }
    if truth is None:
        label = class_label(cohort, options.class_of_interest)
        truth = ExactEffects(cohort, label, limit=options.limit, parts=options.parts, seed=options.seed)
    cases = truth.cases
    runs = {run for method in named.values() for run in method.runs}
    shown = np.concatenate([cases.rows, cases.baseline, cases.validation])
    cohort = cohort.in_memory(shown, memory_bytes=MEMORY_BYTES)  # each method reads them
    require_unseen(cohort, np.concatenate([cases.rows, cases.baseline]), runs, warn=False)
    scored = {name: _scored_by(method, cases, cohort, options) for name, method in named.items()}
    context = _ScoringContext(cohort, cases, options)
    rows: list[pd.DataFrame] = []
    maps: dict[str, MethodMaps] = {}
    entries = {}
    with TemporaryDirectory(prefix="vagan-maps-", ignore_cleanup_errors=True) as temporary:
        again = sum(len(scored[name].rows) for name, method in named.items() if is_attributed_again(method))
        with Bar(sum(map(len, scored.values())) + again, "scoring") as bar:
            for number, (name, method) in enumerate(named.items()):
                part, folder = scored[name], Path(temporary) / str(number)
                made = make_maps(name, method, part, cohort, folder=folder, bar=bar)
                if on_maps is not None:
                    on_maps(made)
                found = context.score(made, part, truth)
                rows += _rows(part.table, name, found.cases)
                if made.baseline_mean_abs is not None:
                    baseline = cohort.manifest.table.iloc[part.baseline].rename(columns={"id": "case"})
                    rows += _rows(baseline, name, {"mean_abs": made.baseline_mean_abs})
                maps[name], entries[name] = made, found.cohort
        rows += _rows(cases.table, CEILING, truth.ceiling())
        table = pd.concat(rows, ignore_index=True)
        table = pd.concat([table, _by_subject(table)], ignore_index=True)
        examples = _examples(named, maps, table, truth=truth, cohort=cohort, options=options)
    summary = summarise(table[table["label"] != 0])
    ceiling = summary.pop(CEILING, {})
    for name, more in entries.items():
        summary[name] |= more
    fewer = [f"{name}: {len(part.rows)}" for name, part in scored.items() if len(part.rows) < len(cases.rows)]
    rules = {
        "images": f"{len(cases.rows)} of the class of interest, {len(cases.baseline)} of the baseline class; of "
        f"methods that need many passes per map the first ones ({', '.join(fewer) or 'none here'})",
        "examples": examples.rule,
        **truth.rules,
        **context.accuracies(),
    }
    of_real_images = context.references()
    if verdicts := verdict(summary, of_real_images, cohort.manifest.classes[0]):
        rules["verdict"] = " ".join(verdicts)
    return Evaluation(
        rows=table,
        ceiling=ceiling,
        references=of_real_images,
        summary=summary,
        examples=examples,
        thresholds={name: made.threshold for name, made in maps.items() if made.threshold is not None},
        map_seconds={name: made.seconds for name, made in maps.items()},
        conventions={name: made.convention for name, made in maps.items()},
        units={name: made.unit for name, made in maps.items()},
        decisions={name: made.decisions for name, made in maps.items() if made.decisions},
        rules=rules,
    )


def evaluate_runs(
    cohort: Cohort,
    runs: Sequence[Path],
    out: Path,
    options: EvaluationOptions | None = None,
    selection: RunSelection | None = None,
) -> Evaluation:
    """Score the methods that the models of some runs allow, beside controls, and write a results folder.

    The same method of several runs gets the run's name behind its own. The classifiers are the selection's, then
    those of the options. Raises as `load_methods`, `evaluate` and `require_unseen` do.
    """
    options, selection = options or EvaluationOptions(device="auto"), selection or RunSelection()
    results = ResultsFolder(out)
    results.require_folder()
    cohort, excluded = without_seen(cohort, [*runs, *selection.classifiers], exclude=selection.exclude_seen)
    device, interest = find_device(options.device), options.class_of_interest
    loaded = load_methods(cohort, runs, selection, interest=interest, seed=options.seed, device=device)
    truth = ExactEffects(cohort, loaded.label, limit=options.limit, parts=options.parts, seed=options.seed)
    options = replace(options, classifiers=[*loaded.classifiers, *options.classifiers])
    evaluation = evaluate(loaded.methods, cohort, options, truth=truth)
    metrics, rules = classifier_metrics(loaded, cohort, truth.cases, evaluation.decisions)
    results.write(evaluation, cohort, loaded.models, rules=rules | excluded, classifiers=metrics)
    return evaluation


def _scored_by(method: Attributor, cases: Cases, cohort: Cohort, options: EvaluationOptions) -> Cases:
    """All cases; of a method that needs many passes per map the first ones."""
    if method.cost < EXPENSIVE:
        return cases
    part = cases.first(options.subset)
    if options.method_seconds is None:
        return part
    begin = time.perf_counter()
    method.attribute(cohort.images(cases.rows[:1]), cohort.manifest.table.iloc[cases.rows[:1]])
    seconds = max(time.perf_counter() - begin, 1e-9) * len(part)
    return part.first(max(1, int(min(1.0, options.method_seconds / seconds) * len(part.rows))))


class _ScoringContext:
    """What metrics can use of the cases whatever the method, and the scores that follow for a method's maps."""

    def __init__(self, cohort: Cohort, cases: Cases, options: EvaluationOptions) -> None:
        self._of_cases: dict[Need, Any] = {
            "subjects": cases.table["subject"].to_numpy(),
            "image contrasts": image_contrast(cohort, cases.rows),
        }
        self._of_baseline: dict[Need, Any] = {
            "baseline subjects": cohort.manifest.table["subject"].to_numpy()[cases.baseline],
            "baseline contrasts": image_contrast(cohort, cases.baseline),
        }
        if options.severity is not None:
            self._of_cases["severity"] = _severity(cohort, options.severity, cases.rows)
        self._classifiers = [  # by the first one metrics have their own names
            (f"/{one.name}" if number else "", one, one.predict(cases.rows), one.predict(cases.baseline))
            for number, one in enumerate(options.classifiers)
        ]

    def score(self, maps: MethodMaps, cases: Cases, truth: GroundTruth) -> MetricScores:
        """Every metric of a method's maps of these first cases."""
        count = len(cases.rows)
        available = {need: values[:count] for need, values in self._of_cases.items()}
        available |= {need: values[: len(cases.baseline)] for need, values in self._of_baseline.items()}
        available |= {**maps.available(), **truth.available(maps)}
        if maps.unit != "intensity":
            del available["image contrasts"]  # only effects in intensity have a size relative to an image
        found = score(METRICS.values(), available)
        for suffix, classifier, interest, _ in self._classifiers if maps.unit == "intensity" else ():
            available["prediction"] = interest[:count]
            available["prediction without effect"] = classifier.predict(cases.rows, maps.effect)
            available["reference features"] = classifier.reference
            more = score(BY_CLASSIFIER, available)
            found.cases.update({f"{name}{suffix}": one for name, one in more.cases.items()})
            found.cohort.update({f"{name}{suffix}": one for name, one in more.cohort.items()})
        return found

    def accuracies(self) -> dict[str, str]:
        """How well each classifier classifies the images as they are, as a rule."""
        about = [
            f"{classifier.name}, independent of all methods: accuracy "
            f"{np.concatenate([baseline.probabilities <= 0.5, interest.probabilities > 0.5]).mean():.1%}"
            for _, classifier, interest, baseline in self._classifiers
        ]
        return {"classifiers": "; ".join(about)} if about else {}

    def references(self) -> References:
        """Scores of real images, by all classifiers."""
        subjects = self._of_cases["subjects"], self._of_baseline["baseline subjects"]
        found: References = {}
        for suffix, classifier, interest, baseline in self._classifiers:
            for name, scores in references(interest, baseline, classifier.reference, subjects).items():
                found.setdefault(name, {}).update({f"{metric}{suffix}": entry for metric, entry in scores.items()})
        return found


def _severity(cohort: Cohort, column: str, rows: Rows) -> Values:
    """A column of the manifest; NaN where a cell is empty."""
    table = cohort.manifest.table
    if column not in table or column in REQUIRED:  # digits perhaps, but no amount
        hint = nearest(column, [name for name in map(str, table.columns) if name not in REQUIRED])
        raise ConfigError(
            f"`severity` must be a numeric column of the manifest besides its ids: found {column!r}; {hint}"
        )
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)[rows]
    if np.isfinite(values).sum() < 3:
        raise ConfigError(f"`severity` must be numeric: {column!r} has fewer than three numbers in these images")
    return values


def _by_name(methods: Sequence[Attributor | AttributionMethod]) -> dict[str, Attributor | AttributionMethod]:
    names = [method.name for method in methods]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"methods need different names: {twice!r} occurs twice; give a mapping of names to methods")
    return dict(zip(names, methods, strict=True))


def _rows(about: pd.DataFrame, method: str, scores: Mapping[str, Values]) -> list[pd.DataFrame]:
    """A row for each case and metric; none where a score is undefined (NaN)."""
    columns = {name: about[name].to_numpy() for name in ("case", "subject", "label")}
    return [
        pd.DataFrame({**columns, "method": method, "metric": metric, "value": values}).dropna(subset="value")
        for metric, values in scores.items()
    ]


def _by_subject(rows: pd.DataFrame) -> pd.DataFrame:
    """NCC within the brain, averaged over each subject's pairs first, as later papers report it."""
    within = rows[rows["metric"] == "ncc_brain"].groupby(["method", "subject", "label"], sort=False, as_index=False)
    means = within["value"].mean()
    return means.assign(metric=f"ncc_brain{BY_SUBJECT}", case=means["subject"])


def choose_examples(rows: pd.DataFrame, cases: Sequence[str], *, random: int) -> tuple[dict[int, str], str]:
    """Choose the best, median and worst image by score, and the first ``random`` ones of the cases.

    Without known effects there is no best; then it is those with the largest, the median and the smallest map.
    ``rows`` are scores of images of the class of interest alone. Returns why each is shown, by its position among the
    cases, in the order shown; and the rule in words.
    """
    scored, names = rows[rows["metric"] == HEADLINE], ("best", "median", "worst")
    by, of = "NCC", "method of the highest mean"
    if scored.empty:
        scored, names = rows[rows["metric"] == "mean_abs"], ("largest map", "median map", "smallest map")
        by, of = "mean |map|", "first method"
    means = scored.groupby("method", sort=False)["value"].mean()
    method = str(means.idxmax() if by == "NCC" else means.index[0])
    order = scored[scored["method"] == method].sort_values("value", ascending=False, kind="stable")["case"]
    extremes = dict(zip(names, (order.iloc[0], order.iloc[len(order) // 2], order.iloc[-1]), strict=True))
    roles = {
        list(cases).index(case): ", ".join(
            [*(name for name, at in extremes.items() if at == case), *([RANDOM] * (case in cases[:random]))]
        )
        for case in dict.fromkeys([*extremes.values(), *cases[:random]])
    }
    return roles, f"{', '.join(names)}: by {by} of {method}, the {of}; {RANDOM}: {RANDOM_RULE}"


def _examples(
    methods: Mapping[str, Attributor],
    maps: Mapping[str, MethodMaps],
    rows: pd.DataFrame,
    *,
    truth: GroundTruth,
    cohort: Cohort,
    options: EvaluationOptions,
) -> Examples:
    """The chosen images, with the maps of all methods that were scored on as many as are random."""
    cases, names = truth.cases, list(truth.cases.table["case"])
    of_interest = rows[(rows["label"] != 0) & (rows["method"] != CEILING)]
    roles, rule = choose_examples(of_interest, names, random=options.examples)
    shown = [name for name, of in maps.items() if len(of.effect) >= min(options.examples, len(names))]
    made: dict[str, Array] = {}
    for name in shown:
        effect = maps[name].effect
        beyond = [position for position in roles if position >= len(effect)]  # of the subset of an expensive method
        with Bar(len(beyond), "examples") as bar:
            batches = attribute_rows(methods[name], cases.rows[beyond], cohort, bar=bar)
            more = dict(zip(beyond, (map_.numpy() for batch in batches for map_ in batch.effect), strict=True))
        made[name] = np.stack([more[position] if position in more else effect[position] for position in roles])
    effects = [truth.effect(position) for position in roles]
    affine = cohort.metadata.affine
    return Examples(
        ids=tuple(str(names[position]) for position in roles),
        images=cohort.images(cases.rows[list(roles)]).numpy(),
        effects=np.stack([effect for effect in effects if effect is not None]) if effects[0] is not None else None,
        maps=made,
        roles=tuple(roles.values()),
        affine=None if affine is None else np.array(affine),
        rule=rule,
        effects_name=truth.effects_name,
    )
