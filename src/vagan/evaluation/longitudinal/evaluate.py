"""Scores against follow-up scans: observed effects as ground truth, and Table 2 with its noise ceiling."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.data.table import write_table
from vagan.data.volume import read_volume, write_volume
from vagan.evaluation.evaluate import EvaluationOptions, evaluate
from vagan.evaluation.evaluation import MISSING, OBSERVED_EFFECT, Evaluation, markdown_lines, score_text
from vagan.evaluation.longitudinal.observed import Intensity, observe
from vagan.evaluation.longitudinal.pairs import Pair, find_pairs
from vagan.evaluation.maps import Cases, MethodMaps
from vagan.evaluation.metrics.agreement import compared_with
from vagan.evaluation.metrics.base import Array, Need, Values
from vagan.evaluation.metrics.registry import find_metric
from vagan.evaluation.results import ResultsFolder
from vagan.evaluation.runs import RunSelection, load_methods, without_seen
from vagan.files import read_text, write_json, write_text
from vagan.preprocessing.study import scan_of, zero_of
from vagan.progress import Bar
from vagan.seeding import numpy_generator
from vagan.training.engine.device import find_device


class ObservedEffects:
    """What changed between two scans; a `vagan.evaluation.ground_truth.GroundTruth`.

    Observed effects are written to the results folder; those that are there from before, made alike, are kept. See
    `find_pairs` for what the manifest of the cohort needs, and `observe` for the other options. At most ``limit``
    random converters, and as many stable subjects, are taken.
    """

    effects_name = OBSERVED_EFFECT

    def __init__(
        self,
        cohort: Cohort,
        label: int,
        results: ResultsFolder,
        options: EvaluationOptions,
        *,
        intensity: Intensity,
        min_months: float,
    ) -> None:
        self._cohort, self._results, self._intensity = cohort, results, intensity
        self._pairs = find_pairs(cohort.manifest, label=label, min_months=min_months)
        limit = options.limit
        order = numpy_generator(options.seed, "converters to score").permutation(len(self._pairs.converters))[:limit]
        self.converters = [self._pairs.converters[position] for position in order]
        self.stable = self._pairs.stable[:limit]
        rows = np.array([pair.after for pair in self.converters])
        table = cohort.manifest.table.iloc[rows][["subject", "label"]].reset_index(drop=True)
        none = np.array([], dtype=np.int64)
        self.cases = Cases(table.assign(case=list(map(self._case, self.converters))), rows, none, none)
        self.rules: Mapping[str, str] = {
            "truth": "follow-up minus first scan, rigidly aligned within the brain, one mask, intensities: "
            f"{intensity}; methods without a sign are scored against its size",
            "ceiling": f"from {len(self.stable)} subjects whose class stayed the same",
        }
        with Bar(len(self.converters) + len(self.stable), "observed effects") as bar:
            for pair in (*self.converters, *self.stable):
                self._observe(pair)
                bar.advance()
        read = [self._read(pair) for pair in self.converters]
        self._effects = np.stack([effect[None] for effect, _ in read])
        self._masks = np.stack([mask[None] for _, mask in read])

    def effect(self, case: int) -> Array:
        """Later minus earlier scan; 0 outside the brain of both."""
        return self._effects[case]

    def available(self, maps: MethodMaps) -> dict[Need, Any]:
        """Only what tolerates noise: where the class did *not* act is unknown."""
        count = len(maps.effect)
        return {"effects": compared_with(self._effects[:count], maps.convention), "brain masks": self._masks[:count]}

    def ceiling(self) -> dict[str, Values]:
        """`noise_ceiling` for each pair, with the mean variance of stable subjects; empty if there are none."""
        if not self.stable:
            return {}
        observed = [_variances(effect[0], mask[0]) for effect, mask in zip(self._effects, self._masks, strict=True)]
        noise = np.mean([_variances(*self._read(one)) for one in self.stable], axis=0)
        ceilings = np.array([[noise_ceiling(*pair) for pair in zip(one, noise, strict=True)] for one in observed])
        return {"ncc": ceilings[:, 0], "ncc_brain": ceilings[:, 1]}

    def write_maps(self, maps: MethodMaps) -> None:
        """Write the maps of a method, and log-Jacobians if it deforms, as NIfTI into the results folder."""
        affine = np.array(self._cohort.metadata.affine)
        for position, (case, effect) in enumerate(zip(self.cases.table["case"], maps.effect, strict=False)):
            write_volume(self._results.map(maps.name, case), effect[0], affine)
            path = self._results.log_jacobian(maps.name, case)
            path.unlink(missing_ok=True)  # of another method of this name
            if maps.log_jacobian is not None:
                write_volume(path, maps.log_jacobian[position, 0], affine)

    def write_pairs(self) -> None:
        """Write ``pairs.csv``: all pairs, and subjects that give none with the reason."""
        table = self._cohort.manifest.table
        ids, severity = table["id"], table.get("adas13", pd.Series("", index=table.index))
        used = {*self.converters, *self.stable}
        rows = [
            {
                "subject": pair.subject,
                "case": self._case(pair),
                "kind": pair.kind,
                "before": ids[pair.before],
                "after": ids[pair.after],
                "months": f"{pair.months:.1f}",
                "field_strength": pair.field,
                "adas13": severity[pair.after],
                "reason": "" if pair in used else "not among those that were drawn",
            }
            for pair in [*self._pairs.converters, *self._pairs.stable]
        ]
        rows += [{"subject": name, "kind": "left out", "reason": why} for name, why in self._pairs.left_out.items()]
        write_table(self._results.pairs, pd.DataFrame(rows).fillna(""))

    def _case(self, pair: Pair) -> str:
        """``sub-002S0295_ses-m24x1p5T_from-blx1p5T``: the later scan, and the earlier one's session."""
        table = self._cohort.manifest.table
        sessions = [table["session"][row] or table["id"][row] for row in (pair.after, pair.before)]
        subject, after, before = (
            "".join(filter(str.isalnum, str(text).removeprefix("sub-").removeprefix("ses-")))
            for text in (pair.subject, *sessions)
        )
        return f"sub-{subject}_ses-{after}_from-{before}"

    def _observe(self, pair: Pair) -> None:
        """Write an observed effect; the sidecar last, so that one that is there is whole."""
        case, cohort, results = self._case(pair), self._cohort, self._results
        about = {
            "Sources": [str(cohort.manifest.table["id"][row]) for row in (pair.before, pair.after)],
            "Cohort": cohort.metadata.content_hash,
            "Months": round(pair.months, 1),
            "Kind": pair.kind,
            "Intensity": self._intensity,
        }
        paths = results.observed_effect(case), results.brain_mask(case)
        sidecar = results.observed_effect(case).with_name(f"{case}_desc-observed_stat-effect_statmap.json")
        try:
            known = json.loads(read_text(sidecar))
        except (OSError, ValueError):
            known = {}
        if all(path.is_file() for path in paths) and all(known.get(name) == about[name] for name in about):
            return
        sidecar.unlink(missing_ok=True)
        after = scan_of(cohort, pair.after)
        before, zero = scan_of(cohort, pair.before), zero_of(cohort, pair.after)
        found = observe(before, after, intensity=self._intensity, zero=zero)
        for path, array in zip((*paths, results.scan(case)), (found.effect, found.mask, after.image), strict=True):
            write_volume(path, array, after.grid.affine)
        write_json(sidecar, {**about, "Found": found.facts})

    def _read(self, pair: Pair) -> tuple[Array, NDArray[np.bool_]]:
        """Effect, and the brain of both scans."""
        effect, mask = self._results.observed_effect(self._case(pair)), self._results.brain_mask(self._case(pair))
        return read_volume(effect).array, read_volume(mask).array > 0


def noise_ceiling(observed_variance: float, noise_variance: float) -> float:
    """Correlation that the exact effect would have with an observed one, which is the effect and independent noise.

    ``sqrt(1 - noise / observed)`` of the variances over voxels of the observed effect, and of differences between
    scans of subjects whose class stayed the same; 0 where there is more noise than change.
    """
    return float(np.sqrt(max(0.0, 1 - noise_variance / observed_variance))) if observed_variance > 0 else 0.0


def _variances(effect: Array, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Over the whole volume, and within the brain."""
    return float(effect.var()), float(effect[mask].var())


COLUMNS = ("ncc", "ncc_brain", "ncc_brain_by_subject")
"""Over the whole volume (as in the paper); within the brain of both; that by subject first (as in later papers)."""


def evaluate_longitudinal(
    cohort: Cohort,
    runs: Sequence[Path],
    out: Path,
    options: EvaluationOptions | None = None,
    selection: RunSelection | None = None,
    *,
    intensity: Intensity = "smooth",
    min_months: float = 0.0,
) -> str:
    """Compare the maps of the later scans of subjects that changed their class with what changed in them.

    Returns Table 2. Leaves a results folder like `evaluate_runs`, and in it ``observed/`` and ``maps/`` as NIfTI,
    with log-Jacobians of generators that deform, ``pairs.csv`` with the subjects that give no pair and why, and
    ``table2.md``. Parameters: `evaluate_runs` and `ObservedEffects`; parts, severity and classifiers do not apply.
    """
    options, selection = options or EvaluationOptions(device="auto"), selection or RunSelection()
    results = ResultsFolder(out)
    results.require_folder()
    cohort, excluded = without_seen(cohort, runs, exclude=selection.exclude_seen)
    device, interest = find_device(options.device), options.class_of_interest
    loaded = load_methods(cohort, runs, selection, interest=interest, seed=options.seed, device=device)
    truth = ObservedEffects(cohort, loaded.label, results, options, intensity=intensity, min_months=min_months)
    options = replace(options, severity=None, classifiers=())
    evaluation = evaluate(loaded.methods, cohort, options, truth=truth, on_maps=truth.write_maps)
    results.write(evaluation, cohort, loaded.models, rules=excluded)
    truth.write_pairs()
    text = longitudinal_table(evaluation, pairs=len(truth.converters), stable=len(truth.stable))
    write_text(results.table2, text)
    return text


def longitudinal_table(evaluation: Evaluation, *, pairs: int, stable: int) -> str:
    """Table 2 in Markdown: methods, best first within the brain, and the ceiling from ``stable`` subjects."""
    summary, ceiling = evaluation.summary, evaluation.ceiling
    lines = [["method", *(find_metric(name).label for name in COLUMNS)]]
    for method in sorted(summary, key=lambda name: -summary[name]["ncc_brain"]["mean"]):
        lines.append([method, *(_cell(summary[method], name, ceiling) for name in COLUMNS)])
    if ceiling:
        lines.append(["ceiling: the exact effect", *(_cell(ceiling, name, {}) for name in COLUMNS)])
    counted = f"from {stable} subject{'s' if stable > 1 else ''} whose class stayed the same"
    noise = counted if stable else "no subject kept its class over two scans, so that no ceiling is known"
    return (
        f"{markdown_lines(lines)}\nMean ± standard deviation over {pairs} pairs, 95 % interval of the mean by "
        f"subject. Ceiling: score of the exact effect, given how scans differ without a change of class; {noise}.\n"
    )


def _cell(scores: Mapping[str, Mapping[str, object]], name: str, ceiling: Mapping[str, Mapping[str, object]]) -> str:
    """``0.210 ± 0.100 [0.150, 0.270] of 0.45``."""
    text = score_text(scores.get(name), digits=3)
    return f"{text} of {ceiling[name]['mean']:.2f}" if name in ceiling and text != MISSING else text
